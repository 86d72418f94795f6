package store

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
)

func TestCompareSchema(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		have, want int64
		state      SchemaState
		sentence   string
	}{
		{0, 3, SchemaMissing, "run `modulo migrate up`"},
		{2, 3, SchemaOlder, "version 2, this binary needs 3: run `modulo migrate up`"},
		{4, 3, SchemaNewer, "roll out the release of modulo that brought version 4"},
	} {
		err := compareSchema(c.have, c.want)
		schema, ok := errors.AsType[*SchemaError](err)
		if !ok || schema.State != c.state || !strings.Contains(err.Error(), c.sentence) {
			t.Errorf("%d against %d: %v", c.have, c.want, err)
		}
	}
	if err := compareSchema(3, 3); err != nil {
		t.Error(err)
	}
}

// A migration without a transaction is printed without one, goose's marks are gone, and only newer ones are printed.
func TestPrintMigrations(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{
		bookkeepingFile: {Data: []byte("-- books\n")},
		"00001_a.sql":   {Data: []byte("-- +goose Up\n-- +goose StatementBegin\nselect 1;\n-- +goose StatementEnd\n-- +goose Down\nselect -1;\n")},
		"00002_b.sql":   {Data: []byte("-- +goose NO TRANSACTION\n-- +goose Up\ncreate index concurrently on b (id);\n\n-- +goose Down\nselect -2;\n")},
	}
	var all, newer strings.Builder
	if err := errors.Join(printMigrations(&all, files, 0), printMigrations(&newer, files, 1)); err != nil {
		t.Fatal(err)
	}
	const second = `
-- 00002_b.sql
create index concurrently on b (id);
insert into modulo.schema_version (version_id, is_applied) values (2, true);
`
	const first = `
-- 00001_a.sql
begin;
select 1;
insert into modulo.schema_version (version_id, is_applied) values (1, true);
commit;
`
	if !strings.HasSuffix(all.String(), "-- books\n"+first+second) {
		t.Errorf("printed:\n%s", all.String())
	}
	if !strings.HasSuffix(newer.String(), "-- books\n"+second) {
		t.Errorf("printed after 1:\n%s", newer.String())
	}
}
