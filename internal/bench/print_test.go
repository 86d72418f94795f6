package bench

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the goldens anew")

// TestPrint keeps what people and machines get in goldens, so that a change is seen in review.
func TestPrint(t *testing.T) {
	t.Parallel()
	r := sample()
	var table bytes.Buffer
	if err := r.Print(&table); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", table.Bytes())
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", append(text, '\n'))
}

// sample has a case of each task, and values that are not known.
func sample() *Report {
	standard := &Case{Kind: Modulo, Task: Drain, Workers: 5, Confirm: Transaction, Tokens: true, Batch: 1000, Payload: 512}
	standard.Rounds = []Round{
		{Rows: 60_000, Seconds: 3, Rate: 20_000, ProgramCPU: new(5.0), DatabaseCPU: new(9.5), BrokerCPU: new(55.0),
			Allocations: new(1.25), PeakMemory: new(float64(52 << 20))},
		{Rows: 60_000, Seconds: 2.5, Rate: 24_000, ProgramCPU: new(4.0), DatabaseCPU: new(9.0), BrokerCPU: new(54.0),
			Allocations: new(1.35), PeakMemory: new(float64(50 << 20))},
	}
	ceiling := &Case{Kind: Ceiling, Task: Drain, Workers: 5, Confirm: Transaction, Batch: 1000, Payload: 512,
		Rounds: []Round{{Rows: 60_000, Seconds: 2.4, Rate: 25_000}}}
	paced := &Case{Kind: Modulo, Task: Pace, Workers: 5, Confirm: Transaction, Tokens: true, Batch: 1000, Payload: 512, Listen: true,
		Rounds: []Round{{Rows: 4500, Seconds: 9, Rate: 500, LatencyP50: new(5.2), LatencyP99: new(17.6), ProgramShare: new(23.1)}}}
	idle := &Case{Kind: Modulo, Task: Idle, Workers: 64, Confirm: Transaction, Tokens: true, Batch: 1000, Payload: 512,
		Rounds: []Round{{Seconds: 12, ProgramShare: new(1.6), DatabaseShare: new(3.4)}}}
	r := &Report{
		Version: "v1.2.3", Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seconds: 61.5,
		Machine:  Machine{OS: "linux", Arch: "amd64", CPUs: 2, Model: "Some CPU", Go: "go1.26.0"},
		Database: "PostgreSQL 15.1", Broker: "ActiveMQ/5.17.2", Private: true, Settings: []string{"max_wal_size=4GB"}, Rounds: 2,
		Cases: []*Case{ceiling, standard, paced, idle},
	}
	for _, c := range r.Cases {
		c.Name, c.Median = c.name(), medianRound(c.Rounds)
	}
	r.Targets = targets(r.Cases)
	return r
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it anew); got:\n%s\nwant:\n%s", file, got, want)
	}
}
