// Package chaos holds tests only. They run the built program, `modulo run`, as a real process between a real PostgreSQL
// and a real ActiveMQ, under load, and kill, stop, pause and cut all three at random moments. Afterwards an independent
// consumer takes what is in the queues, and an oracle holds it against the table: nothing lost, nothing altered, the
// order kept, repeats within their bound.
//
// `make test` plays the short version of every scenario, `make chaos` (MODULO_CHAOS=long) the long one. Each scenario
// prints its seed; MODULO_CHAOS_SEED=<seed> draws the same faults again.
package chaos
