// Package protocol holds tests only: a model of how workers, broker and database keep every row from being lost, repeated
// or stranded, and a search through every interleaving of its steps, with so many faults at any point.
//
// The actors, and what their steps stand for:
//
//   - A run (worker_test.go) is a jobs.Worker in one process, while it owns the worker and after. It connects, claims and
//     makes the token's lineage (stomp.Publisher.hold, store.WorkerRows.Claim, Made), waits for the token, looks once more
//     whether it is the owner (Held), marks what the token recalls (jobs.Worker.settle), and then fetches, looks at the
//     clock of its lease (jobs.Lease), sends, marks and forgets (jobs.Worker.drain, stomp.publishTransaction,
//     Publisher.Forget). Fetch, send and mark run beside each other, so that the mark of a batch comes before, during or after the sending of the next. Its faults: it crashes,
//     loses its connection, gives its worker back.
//   - A zombie is a run whose lease has ended in the database. It goes on from where it is, at any later time or never.
//     What it has looked up before stays true for it: a COMMIT that it was about to write, it writes.
//   - The broker (broker_test.go) reads what a client has written, at any time later, also when the client has given the
//     connection up; stores a transaction and replaces the token at COMMIT; hands the token to one of those that have
//     subscribed; and drops a connection, which rolls back and puts the token into its queue again. Receipts and messages
//     that were on their way then arrive, or do not. A restart of the broker is such a drop for everybody.
//   - The database (database_test.go) gives workers to runs, ends leases, changes K (store: acquireSQL, settleSQL, reapSQL,
//     switchGeneration), and takes marks from anybody. A step of the model is a statement. That a statement's answer gets
//     lost is a crash or a repetition of it: all of them can be repeated.
//
// There are two rows, each a batch of its own; three runs at a time, of which two can be zombies; as many owners one
// after the other as the faults allow. In every state that can be reached
//
//   - no row was delivered twice, and no row is marked that was not delivered,
//   - at most one connection can deliver rows of a worker, and none of a generation that is over,
//   - no queue has two tokens,
//
// and from every such state, if no more faults come and the zombies never move again, one is reached in which every row is
// delivered and marked and the change of K is through. What a queue purged or a store lost does is not here: that needs
// a person, and has tests in broker/stomp.
//
// The clock is needed as well as the token. The database does not tell a zombie that it is one, and a token may pass through
// the hands of a successor that sends nothing, and come back to the zombie as if nothing had been. That each COMMIT is
// preceded by a look at the clock, after the token has come, keeps the zombie from using it then; mutants_test.go shows
// what happens without. What the clock cannot do, stop a process that is paused right behind that look, the token does.
package protocol
