package jobs

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// triggered runs a schedule from one time to another, in no time at all, and returns when it triggered.
func triggered(t *testing.T, s Schedule, from, to string) (times []string) {
	t.Helper()
	if err := s.check(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(at(t, from)))
		clock, err := newClock()
		if err != nil {
			t.Fatal(err)
		}
		var lock sync.Mutex
		err = clock.add("test", s, func() {
			lock.Lock()
			defer lock.Unlock()
			times = append(times, time.Now().UTC().Format(time.RFC3339Nano))
		})
		if err != nil {
			t.Fatal(err)
		}
		clock.start()
		time.Sleep(time.Until(at(t, to)))
		if err := clock.stop(); err != nil {
			t.Error(err)
		}
	})
	return times
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestScheduleTriggers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		schedule Schedule
		from, to string
		want     []string
	}{
		{
			"every, at the start too", Schedule{Every: 500 * time.Millisecond}, "2000-01-01T12:00:00Z", "2000-01-01T12:00:01.25Z",
			[]string{"2000-01-01T12:00:00Z", "2000-01-01T12:00:00.5Z", "2000-01-01T12:00:01Z"},
		},
		{
			"cron, not at the start", Schedule{Cron: "*/5 * * * *"}, "2000-01-01T12:03:00Z", "2000-01-01T12:12:00Z",
			[]string{"2000-01-01T12:05:00Z", "2000-01-01T12:10:00Z"},
		},
		{
			"cron without a time zone is UTC", Schedule{Cron: "0 3 * * 1-5"}, "2000-01-07T00:00:00Z", "2000-01-11T00:00:00Z",
			[]string{"2000-01-07T03:00:00Z", "2000-01-10T03:00:00Z"}, // Friday and Monday
		},
		{
			"cron in a time zone, into summer time", Schedule{Cron: "0 3 * * *", Timezone: "Europe/Berlin"},
			"2000-03-25T00:00:00Z", "2000-03-28T00:00:00Z",
			[]string{"2000-03-25T02:00:00Z", "2000-03-26T01:00:00Z", "2000-03-27T01:00:00Z"},
		},
		{
			"cron in a time zone, into winter time", Schedule{Cron: "0 9 * * *", Timezone: "Europe/Berlin"},
			"2000-10-28T00:00:00Z", "2000-10-31T00:00:00Z",
			[]string{"2000-10-28T07:00:00Z", "2000-10-29T08:00:00Z", "2000-10-30T08:00:00Z"},
		},
		{
			"cron at a time that summer time skips", Schedule{Cron: "30 2 * * *", Timezone: "Europe/Berlin"},
			"2000-03-25T00:00:00Z", "2000-03-28T00:00:00Z",
			[]string{"2000-03-25T01:30:00Z", "2000-03-27T00:30:00Z"},
		},
		{
			"cron at a time that winter time repeats", Schedule{Cron: "30 2 * * *", Timezone: "Europe/Berlin"},
			"2000-10-28T12:00:00Z", "2000-10-30T12:00:00Z",
			[]string{"2000-10-29T00:30:00Z", "2000-10-29T01:30:00Z", "2000-10-30T01:30:00Z"},
		},
		{
			"a name, in a time zone", Schedule{Cron: "@daily", Timezone: "Asia/Kolkata"}, "2000-01-01T12:00:00Z", "2000-01-03T12:00:00Z",
			[]string{"2000-01-01T18:30:00Z", "2000-01-02T18:30:00Z"},
		},
		{
			"a period, from the start", Schedule{Cron: "@every 90m"}, "2000-01-01T12:10:00Z", "2000-01-01T15:30:00Z",
			[]string{"2000-01-01T13:40:00Z", "2000-01-01T15:10:00Z"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := triggered(t, test.schedule, test.from, test.to); !slices.Equal(got, test.want) {
				t.Errorf("triggered at %v, want %v", got, test.want)
			}
		})
	}
}

// Sunday as 7 is refused with what to write instead; a 7 elsewhere is another matter.
func TestSundayIsZero(t *testing.T) {
	t.Parallel()
	for cron, hinted := range map[string]bool{
		"0 12 * * 7": true, "0 12 * * 5-7": true, "0 12 * * 1,7": true, "0 12 * * 0-7/2": true,
		"0 12 * * 17": false, "0 24 * 7 *": false, "0 12 * * 8": false, "7": false,
	} {
		err := Schedule{Cron: cron}.check()
		if err == nil || strings.Contains(err.Error(), "Sunday is 0") != hinted {
			t.Errorf("%s: %v, want the hint: %t", cron, err, hinted)
		}
	}
	for _, cron := range []string{"7 7 7 7 0", "0 12 * * SUN", "0 12 * * */7"} {
		if err := (Schedule{Cron: cron}).check(); err != nil {
			t.Errorf("%s: %v", cron, err)
		}
	}
}

// Instances agree on when a pass was meant to begin, whatever their clocks say.
func TestMeant(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ cron, now, want string }{
		{"30 3 * * *", "2000-01-01T03:30:00.002Z", "2000-01-01T03:30:00Z"},
		{"30 3 * * *", "2000-01-01T03:30:17Z", "2000-01-01T03:30:00Z"},
		{"@hourly", "2000-01-01T03:59:58.7Z", "2000-01-01T04:00:00Z"},
		{"@every 1s", "2000-01-01T03:30:17.002Z", "2000-01-01T03:30:17Z"},
	} {
		if got := (Schedule{Cron: test.cron}).Meant(at(t, test.now)); !got.Equal(at(t, test.want)) {
			t.Errorf("%s at %s is meant for %s, want %s", test.cron, test.now, got, test.want)
		}
	}
}
