package chaos

import (
	"maps"
	"slices"
	"strconv"
	"testing"

	"modulo/internal/testservers"
)

// TestJudge: the oracle itself finds each kind of breach, and no other.
func TestJudge(t *testing.T) {
	t.Parallel()
	const workers = 3
	at := func(d []testservers.Delivered, id int) int {
		return slices.IndexFunc(d, func(d testservers.Delivered) bool { return d.Property("row_id") == strconv.Itoa(id) })
	}
	for name, c := range map[string]struct {
		change func(rows []row, d []testservers.Delivered) []testservers.Delivered
		want   map[breach]int
	}{
		"all is well": {func(_ []row, d []testservers.Delivered) []testservers.Delivered { return d }, nil},
		"a repeat within the bound": {func(_ []row, d []testservers.Delivered) []testservers.Delivered {
			return append(d, d[0])
		}, nil},
		"repeats beyond the bound": {func(_ []row, d []testservers.Delivered) []testservers.Delivered {
			return append(d, d[0], d[0])
		}, map[breach]int{beyond: 1}},
		"a row is missing": {func(_ []row, d []testservers.Delivered) []testservers.Delivered { return d[1:] }, map[breach]int{lost: 1}},
		"a row is not marked": {func(rows []row, d []testservers.Delivered) []testservers.Delivered {
			rows[4].done = false
			return d
		}, map[breach]int{notDone: 1}},
		"a row that nobody inserted": {func(_ []row, d []testservers.Delivered) []testservers.Delivered {
			return append(d, delivered(row{id: 1000, destination: "/queue/q"}, workers))
		}, map[breach]int{unexpected: 1}},
		"another body": {func(_ []row, d []testservers.Delivered) []testservers.Delivered {
			d[2].Text += " "
			return d
		}, map[breach]int{altered: 1}},
		"a repeat with another event id": {func(_ []row, d []testservers.Delivered) []testservers.Delivered {
			repeat := d[2]
			repeat.Properties = maps.Clone(repeat.Properties)
			repeat.Properties["event_id"] = testservers.Property{Value: "new"}
			return append(d, repeat)
		}, map[breach]int{altered: 1}},
		"a foreign worker": {func(_ []row, d []testservers.Delivered) []testservers.Delivered {
			d[at(d, 30)].Properties["worker"] = testservers.Property{Value: "1/3"}
			return d
		}, map[breach]int{misplaced: 1}},
		"two rows of a worker swapped": {func(_ []row, d []testservers.Delivered) []testservers.Delivered {
			d[at(d, 6)], d[at(d, 9)] = d[at(d, 9)], d[at(d, 6)]
			return d
		}, map[breach]int{disordered: 1}},
		"rows of different workers swapped": {func(_ []row, d []testservers.Delivered) []testservers.Delivered {
			d[at(d, 6)], d[at(d, 7)] = d[at(d, 7)], d[at(d, 6)]
			return d
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var rows []row
			var received []testservers.Delivered
			for id := int64(-30); id <= 30; id++ {
				r := row{id: id, eventID: "event " + strconv.FormatInt(id, 10), destination: "/queue/q", kind: "T", key: "k", payload: "text", done: true}
				rows, received = append(rows, r), append(received, delivered(r, workers))
			}
			v := judge(rows, c.change(rows, received), workers, 1)
			if !maps.Equal(v.count, c.want) {
				t.Errorf("breaches %v, want %v (%q)", v.count, c.want, v.examples)
			}
		})
	}
}

// delivered is a row's message as it should arrive.
func delivered(r row, workers int64) testservers.Delivered {
	number := ((r.id % workers) + workers) % workers
	properties := map[string]testservers.Property{}
	for name, value := range map[string]string{
		"event_id": r.eventID, "row_id": strconv.FormatInt(r.id, 10), "job": "outbox",
		"worker": strconv.FormatInt(number, 10) + "/" + strconv.FormatInt(workers, 10),
	} {
		properties[name] = testservers.Property{Type: "String", Value: value}
	}
	return testservers.Delivered{
		Destination: "queue://q", Class: "TextMessage", Persistent: true, Type: r.kind, GroupID: r.key, Text: r.payload,
		Properties: properties,
	}
}
