package store_test

import (
	"fmt"
	"testing"
)

// Rows with equal keys get one worker: a type whose equal values can differ as text, by which the worker is picked, is refused.
func TestShardKeyTypes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create type colour as enum ('red', 'blue');
		create domain customer as bigint check (value > 0); create domain price as numeric;
		create collation folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`)
	const differ, session = "can be equal and have different texts", "depends on settings of the session"
	for n, test := range []struct{ column, want string }{
		{"smallint", ""}, {"int", ""}, {"bigint", ""}, {"text", ""}, {"varchar(20)", ""}, {"char(8)", ""}, {"uuid", ""},
		{"boolean", ""}, {"colour", ""}, {"customer", ""}, {`text collate "C"`, ""},
		{"numeric", differ}, {"price", differ}, {"float8", differ}, {"json", differ}, {"jsonb", differ}, {"text collate folded", differ},
		{"int[]", session}, {"timestamptz", session}, {"date", session}, {"bytea", differ}, {"interval", session},
	} {
		name := fmt.Sprintf("keyed%d", n)
		f.exec(fmt.Sprintf("create table %s (id bigint primary key, payload text, tenant text, sent_at timestamptz, shard %s)", name, test.column))
		job := tableJob(name)
		job.Source.ShardBy = "shard"
		_, _, err := f.OpenSource(t.Context(), job)
		switch {
		case test.want != "":
			wantError(t, err, "source.shard_by: ", test.want, "choose a column")
		case err != nil:
			t.Errorf("%s: %v", test.column, err)
		}
	}
}
