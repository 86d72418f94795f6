// Package fleet holds tests only. They run several `modulo run` processes on one job, between a real PostgreSQL and a real
// ActiveMQ and under load, and change K, restart, kill, pause and cut off instances. What they promise is read from the
// stream of messages itself: nothing is lost, what is repeated is bounded, and no worker ever has two owners.
package fleet
