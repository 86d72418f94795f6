package local_test

import (
	"testing"

	"modulo/internal/local"
)

func TestStandby(t *testing.T) {
	t.Parallel()
	primary := startPostgres(t, local.PostgresConfig{Unsafe: true})
	standby, err := primary.StartStandby(t.Context(), local.PostgresConfig{Dir: serverDir(t), Unsafe: true})
	must(t, err)
	t.Cleanup(func() { must(t, standby.Stop()) })
	mustQuery(t, primary, "create table kept as select 7 as id")
	eventually(t, "the standby has the row", func() bool {
		got, err := query(t.Context(), standby, "select string_agg(id::text, ',') from kept")
		return err == nil && got == "7"
	})
	if _, err := query(t.Context(), standby, "create table own as select 1"); err == nil {
		t.Error("the standby takes writes")
	}
	if primary.Demote() == nil {
		t.Error("a running server was demoted")
	}
	primary.Kill()
	must(t, standby.Promote(t.Context()))
	mustQuery(t, standby, "insert into kept values (8)")
	must(t, primary.Demote())
	must(t, primary.Start(t.Context()))
	if got := mustQuery(t, primary, "select pg_is_in_recovery()::text"); got != "true" {
		t.Errorf("in recovery: %s", got)
	}
}
