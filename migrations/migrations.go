// Package migrations holds the SQL that creates and changes the schema modulo, embedded in the binary.
//
// Rules for a new file NNNNN_name.sql (goose format, "-- +goose Up" and "-- +goose Down"):
//   - Files are applied oldest first and never edited once released: what is wrong is put right by the next file.
//   - Every migration runs beside the previous release: add first, stop using in a release, drop in the one after.
//   - Each has a way down that leaves what the previous release needs.
//   - A file runs in one transaction. "create index concurrently" cannot: it stands alone in a file that says
//     "-- +goose NO TRANSACTION", starts with "set lock_timeout = 0;" (it waits for every older snapshot) and drops
//     an invalid left-over of an earlier try before it creates.
//   - Nothing needs a superuser or an extension. The role needs create on the database the first time (or a schema
//     modulo that it owns), later only ownership of the tables.
//
// The role that runs the service needs: usage on schema modulo; select, insert, update, delete on the tables in it;
// usage on the sequence modulo.epoch; on a table of its own, select on the columns it reads and update on those the
// done statement sets. Applications need usage on the schema and insert on modulo.outbox. Granting is left to the
// owner of the database.
package migrations

import "embed"

// Files are the migrations, and bookkeeping.sql, which is run before them.
//
//go:embed *.sql
var Files embed.FS
