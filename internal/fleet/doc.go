// Package fleet holds tests only. They run several `modulo run` processes on one job, between a real PostgreSQL and a real
// ActiveMQ and under load, and change K, restart, kill, pause and cut off instances. What they promise is read from the
// stream of messages itself: nothing is lost or altered, what is repeated is explained by a fault, and no worker ever has
// two owners. What single instances go through is in internal/chaos.
//
// TestStorm puts each instance into a network namespace of its own, with one cable to the database and one to the
// broker, if it runs as root; else it cuts by a proxy. TestStormOfServers has servers of its own, and kills them too.
// MODULO_CHAOS_SEED=<seed> draws the same faults again; MODULO_CHAOS=long has shorter leases, for a machine that does nothing
// else.
package fleet
