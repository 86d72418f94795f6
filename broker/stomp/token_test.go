package stomp

import (
	"cmp"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"modulo/jobs"
)

// What a token names is read back exactly, for any set of ids, and takes little where ids are evenly spaced.
func TestIDsRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOf(rapid.OneOf(
			rapid.Int64Range(-40, 40), rapid.Int64(), rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64}),
		)).Draw(t, "ids")
		slices.Sort(ids)
		ids = slices.Compact(ids)
		got, err := parseIDs(string(appendIDs(nil, ids)))
		if err != nil || !slices.Equal(got, ids) {
			t.Fatalf("%v became %v, %v (%s)", ids, got, err, appendIDs(nil, ids))
		}
	})
	even := make([]int64, 1000)
	for i := range even {
		even[i] = int64(7 + 5*i)
	}
	if got := string(appendIDs(nil, even)); got != "7,5*999" {
		t.Errorf("a batch of a worker of five: %q", got)
	}
}

func TestReadToken(t *testing.T) {
	t.Parallel()
	good := token{Format: tokenFormat, Job: "outbox", Worker: 3, Of: 8, Epoch: 17, Serial: 42, Timeline: 2, Rows: "3,8*2", Events: []byte("aaaabbbbcccc")}
	body, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	got, rows, err := readToken(body, "outbox", 3)
	named := []jobs.Delivered{{RowID: 3, Event: 0x61616161}, {RowID: 11, Event: 0x62626262}, {RowID: 19, Event: 0x63636363}}
	if err != nil || !reflect.DeepEqual(got, good) || !slices.Equal(rows, named) {
		t.Errorf("%+v, %v, %v", got, rows, err)
	}
	now := time.Date(2026, 11, 20, 3, 0, 0, 0, time.UTC)
	after := good.next(jobs.Shard{Number: 3, Of: 4, Epoch: 18}, 3, named[1:2], now)
	want := token{Format: tokenFormat, Job: "outbox", Worker: 3, Of: 4, Epoch: 18, Serial: 43, At: now, Timeline: 3, Rows: "11", Events: []byte("bbbb")}
	if !reflect.DeepEqual(after, want) {
		t.Errorf("next %+v, want %+v", after, want)
	}
	for name, text := range map[string]string{
		"no JSON":         "token",
		"no events":       strings.Replace(string(body), `"events":"`, `"other":"`, 1),
		"another format":  strings.Replace(string(body), `"modulo":1`, `"modulo":2`, 1),
		"another job":     strings.Replace(string(body), "outbox", "other", 1),
		"another worker":  strings.Replace(string(body), `"worker":3`, `"worker":4`, 1),
		"odd rows":        strings.Replace(string(body), "3,8*2", "3,x", 1),
		"rows backwards":  strings.Replace(string(body), "3,8*2", "3,-1", 1),
		"a row twice":     strings.Replace(string(body), "3,8*2", "3,0", 1),
		"too many rows":   strings.Replace(string(body), "3,8*2", "3,1*2000000000", 1),
		"nothing":         "",
		"half of a token": string(body[:len(body)/2]),
	} {
		if got, rows, err := readToken([]byte(text), "outbox", 3); err == nil {
			t.Errorf("%s: %+v, %v", name, got, rows)
		}
	}
}

// FuzzReadToken: whatever stands in a token queue, reading it takes bounded memory and never panics.
func FuzzReadToken(f *testing.F) {
	f.Add([]byte(`{"modulo":1,"job":"outbox","worker":3,"of":8,"epoch":1,"serial":1,"rows":"3,8*1","events":"YWFhYWJiYmI="}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		_, rows, err := readToken(body, "outbox", 3)
		if err == nil && (len(rows) > maxNamed || !slices.IsSortedFunc(rows, func(a, b jobs.Delivered) int { return cmp.Compare(a.RowID, b.RowID) })) {
			t.Errorf("%d rows", len(rows))
		}
	})
}
