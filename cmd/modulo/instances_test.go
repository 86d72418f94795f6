package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"modulo/internal/operations"
)

// TestInstances: what runs, what is stopping and what is dead is told from the database alone.
func TestInstances(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if told := f.ok("instances"); strings.Count(told, "\n") != 1 {
		t.Errorf("nothing runs:\n%s", told)
	}
	running := f.start("run", "--http", "off", "--max-workers", "3")
	await(t, "it owns three workers", func() bool { return strings.Contains(f.ok("instances"), "3 of 3 at most") })
	f.exec(`insert into modulo.instances (instance, host, pid, version, jobs, max_workers, started_at, expires_at) values
		(gen_random_uuid(), 'elsewhere', 7, 'v0.9', '{outbox,orders}', 0, now() - interval '1 hour', now() + interval '1 hour'),
		(gen_random_uuid(), 'gone', 8, 'v0.8', '{outbox}', null, now() - interval '2 hours', now())`)
	told := f.ok("instances") // by their age
	for n, want := range []string{"gone pid 8  ", "elsewhere pid 7  ", "  v"} {
		if line := strings.Split(told, "\n")[n+1]; !strings.Contains(line, want) {
			t.Errorf("no %q in %q", want, line)
		}
	}
	for _, want := range []string{"lease over", "stopping", "outbox,orders", "running"} {
		if !strings.Contains(told, want) {
			t.Errorf("no %q in\n%s", want, told)
		}
	}
	f.exec("insert into modulo.jobs (job, workers) values ('orders', 2)")
	if told := f.ok("status"); !regexp.MustCompile(`(?m)^orders +.*, not configured here `).MatchString(told) {
		t.Errorf("nothing tells of orders:\n%s", told)
	}
	var list []operations.Instance
	if err := json.Unmarshal([]byte(f.ok("instances", "-o", "json")), &list); err != nil || len(list) != 3 {
		t.Errorf("%v: %+v", err, list)
	}
	running.end()
}
