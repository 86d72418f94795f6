package bench

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is everything that was found, fit for a machine.
type Report struct {
	Version  string    `json:"version"`
	Started  time.Time `json:"started"`
	Seconds  float64   `json:"seconds"`
	Machine  Machine   `json:"machine"`
	Database string    `json:"database"`
	Broker   string    `json:"broker"`
	Private  bool      `json:"private_servers"`
	Settings []string  `json:"settings,omitempty"` // of the private servers, where they are not as installed
	Rounds   int       `json:"rounds"`
	Cases    []*Case   `json:"cases"`
	Targets  []Target  `json:"targets"`
}

// Machine is where it was measured.
type Machine struct {
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	CPUs   int    `json:"cpus"`
	Model  string `json:"model,omitempty"`
	Memory string `json:"memory,omitempty"`
	Go     string `json:"go"`
}

func (b *bench) report() *Report {
	r := &Report{
		Version: b.Version, Started: b.began, Seconds: time.Since(b.began).Seconds(), Machine: thisMachine(),
		Database: "PostgreSQL " + b.stage.db.PgConn().ParameterStatus("server_version"), Broker: b.stage.server,
		Private: b.Own == nil, Rounds: b.Rounds, Cases: b.cases,
	}
	if r.Private {
		r.Settings = append(slices.Clone(postgresSettings), "broker heap "+brokerHeap, fmt.Sprintf("broker memoryUsage %d MiB", brokerMemory>>20))
	}
	for _, c := range b.cases {
		c.Median = medianRound(c.Rounds)
	}
	r.Targets = targets(b.cases)
	return r
}

func thisMachine() Machine {
	m := Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version()}
	m.Model, m.Memory = procValue("/proc/cpuinfo", "model name"), procValue("/proc/meminfo", "MemTotal")
	return m
}

// procValue is the first value of that name in a file of "name : value" lines; empty where there is none.
func procValue(file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// medianRound has the median of each value by itself.
func medianRound(rounds []Round) Round {
	value := func(of func(*Round) *float64) *float64 {
		var known []float64
		for i := range rounds {
			if v := of(&rounds[i]); v != nil {
				known = append(known, *v)
			}
		}
		if len(known) == 0 {
			return nil
		}
		return new(median(known))
	}
	m := Round{
		ProgramCPU: value(func(r *Round) *float64 { return r.ProgramCPU }), DatabaseCPU: value(func(r *Round) *float64 { return r.DatabaseCPU }),
		BrokerCPU: value(func(r *Round) *float64 { return r.BrokerCPU }), Allocations: value(func(r *Round) *float64 { return r.Allocations }),
		PeakMemory:   value(func(r *Round) *float64 { return r.PeakMemory }),
		ProgramShare: value(func(r *Round) *float64 { return r.ProgramShare }), DatabaseShare: value(func(r *Round) *float64 { return r.DatabaseShare }),
		BrokerShare: value(func(r *Round) *float64 { return r.BrokerShare }),
		LatencyP50:  value(func(r *Round) *float64 { return r.LatencyP50 }), LatencyP99: value(func(r *Round) *float64 { return r.LatencyP99 }),
	}
	if len(rounds) > 0 {
		m.Rows = rounds[0].Rows
		m.Seconds = *value(func(r *Round) *float64 { return &r.Seconds })
		m.Rate = *value(func(r *Round) *float64 { return &r.Rate })
	}
	return m
}

// median of an even number of values is the mean of the middle two.
func median(values []float64) float64 {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Print writes the tables for people.
func (r *Report) Print(out io.Writer) error {
	fmt.Fprintf(out, "modulo %s, %s, %s; %d CPUs (%s), %s; medians of %d rounds\n\n", r.Version, r.Database, r.Broker,
		r.Machine.CPUs, cmp.Or(r.Machine.Model, r.Machine.Arch), cmp.Or(r.Machine.Memory, "memory unknown"), r.Rounds)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	r.printDrains(table)
	r.printWaits(table)
	if len(r.Targets) > 0 {
		fmt.Fprintln(table, "target\twanted\tmeasured\t")
	}
	for _, t := range r.Targets {
		fmt.Fprintf(table, "%s\t%s %g%s\t%.3g%s\t%s\n", t.Name, t.Relation, t.Wanted, t.Unit, t.Measured, t.Unit, t.verdict())
	}
	return table.Flush()
}

func (r *Report) printDrains(table io.Writer) {
	fmt.Fprintln(table, "drain\trows/s\tlowest\thighest\tCPU µs/row: program\tdatabase\tbroker\tallocations/row\tpeak memory")
	for _, c := range r.Cases {
		if c.Task != Drain {
			continue
		}
		low, high := spread(c.Rounds)
		m := c.Median
		fmt.Fprintf(table, "%s\t%.0f\t%.0f\t%.0f\t%s\t%s\t%s\t%s\t%s\n", c.Name, m.Rate, low, high, number(m.ProgramCPU, "%.1f"),
			number(m.DatabaseCPU, "%.1f"), number(m.BrokerCPU, "%.1f"), number(m.Allocations, "%.2f"), megabytes(m.PeakMemory))
	}
	fmt.Fprintln(table)
}

// printWaits is about the cases that wait for rows most of the time.
func (r *Report) printWaits(table io.Writer) {
	if !slices.ContainsFunc(r.Cases, func(c *Case) bool { return c.Task != Drain }) {
		return
	}
	fmt.Fprintln(table, "wait\trows/s\tlatency ms: p50\tp99\tCPU % of a core: program\tdatabase\tbroker\tpeak memory")
	for _, c := range r.Cases {
		if c.Task == Drain {
			continue
		}
		m := c.Median
		fmt.Fprintf(table, "%s\t%.0f\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Name, m.Rate, number(m.LatencyP50, "%.1f"), number(m.LatencyP99, "%.1f"),
			number(m.ProgramShare, "%.1f"), number(m.DatabaseShare, "%.1f"), number(m.BrokerShare, "%.1f"), megabytes(m.PeakMemory))
	}
	fmt.Fprintln(table)
}

// brief is a round in a line of progress.
func (r Round) brief(task Task) string {
	switch task {
	case Pace:
		return fmt.Sprintf("p50 %s ms, p99 %s ms  (%d rows)", number(r.LatencyP50, "%.1f"), number(r.LatencyP99, "%.1f"), r.Rows)
	case Idle:
		return fmt.Sprintf("%s %% of a core, database %s %%", number(r.ProgramShare, "%.1f"), number(r.DatabaseShare, "%.1f"))
	}
	return fmt.Sprintf("%8.0f rows/s  (%d rows)", r.Rate, r.Rows)
}

func spread(rounds []Round) (low, high float64) {
	for i, r := range rounds {
		if i == 0 || r.Rate < low {
			low = r.Rate
		}
		high = max(high, r.Rate)
	}
	return low, high
}

func number(value *float64, format string) string {
	if value == nil {
		return "-"
	}
	return fmt.Sprintf(format, *value)
}

func megabytes(value *float64) string {
	if value == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f MiB", *value/(1<<20))
}
