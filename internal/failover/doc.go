// Package failover holds tests only. They run several `modulo run` processes on one job under load while their database is
// in trouble: it fails over to a standby, restarts, crashes, ends sessions at random, or has a pooler in front of it.
package failover
