package jobs

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/go-co-op/gocron/v2"
)

// minEvery bounds how often a schedule may trigger.
const minEvery = 10 * time.Millisecond

// Schedule says when passes begin: at intervals, or at the times of a cron expression in a time zone.
type Schedule struct {
	Every    time.Duration
	Cron     string // five fields, or a name such as @hourly
	Timezone string // IANA name, only with Cron; empty is UTC
}

func (s Schedule) check() error {
	switch {
	case (s.Every != 0) == (s.Cron != ""):
		return errors.New("schedule: needs either every or cron")
	case s.Cron == "" && s.Every < minEvery:
		return fmt.Errorf("every: %s is less than %s", s.Every, minEvery)
	case s.Cron == "" && s.Timezone != "":
		return errors.New("timezone: goes with cron only")
	case s.Cron == "":
		return nil
	}
	location, err := time.LoadLocation(s.Timezone)
	if err != nil {
		return fmt.Errorf("timezone: %w", err)
	}
	if err := gocron.NewDefaultCron(false).IsValid(s.crontab(), location, time.Now()); err != nil {
		if s.hasDay7() {
			return fmt.Errorf("cron %q: Sunday is 0 or SUN here, not 7; 5-7 is 5,6,0: %w", s.Cron, err)
		}
		return fmt.Errorf("cron %q: %w", s.Cron, err)
	}
	if period, is := s.period(); is && (period < time.Second || period%time.Second != 0) {
		return fmt.Errorf("cron %q: takes whole seconds only; write every: instead, for any interval", s.Cron)
	}
	return nil
}

// day7 is Sunday as crontab can write it.
var day7 = regexp.MustCompile(`(^|[,-])7($|[,/])`)

func (s Schedule) hasDay7() bool {
	fields := strings.Fields(s.Cron)
	return len(fields) == 5 && day7.MatchString(fields[4])
}

// period is that of an expression such as "@every 90m". It counts from the start of an instance, unlike any other.
func (s Schedule) period() (period time.Duration, is bool) {
	text, is := strings.CutPrefix(strings.TrimSpace(s.Cron), "@every ")
	if !is {
		return 0, false
	}
	period, err := time.ParseDuration(text)
	return period, err == nil
}

// crontab is the cron expression with its time zone, as gocron takes it.
func (s Schedule) crontab() string { return "CRON_TZ=" + cmp.Or(s.Timezone, "UTC") + " " + s.Cron }

func (s Schedule) definition() gocron.JobDefinition {
	if s.Cron == "" {
		return gocron.DurationJob(s.Every)
	}
	return gocron.CronJob(s.crontab(), false)
}

// clock triggers passes by gocron. Its tasks only send on channels and never block: gocron cancels the context of its
// tasks first thing when it stops, may run one task twice at a time, and spins while a task drains.
type clock struct{ scheduler gocron.Scheduler }

func newClock() (*clock, error) {
	scheduler, err := gocron.NewScheduler(gocron.WithLocation(time.UTC))
	if err != nil {
		return nil, fmt.Errorf("schedule: %w", err)
	}
	return &clock{scheduler}, nil
}

// add triggers by the schedule and, at intervals, once at the start.
func (c *clock) add(name string, s Schedule, trigger func()) error {
	options := []gocron.JobOption{gocron.WithName(name)}
	if s.Cron == "" {
		options = append(options, gocron.WithStartAt(gocron.WithStartImmediately()))
	}
	if _, err := c.scheduler.NewJob(s.definition(), gocron.NewTask(trigger), options...); err != nil {
		return fmt.Errorf("schedule of job %s: %w", name, err)
	}
	return nil
}

func (c *clock) start() { c.scheduler.Start() }

func (c *clock) stop() error { return c.scheduler.Shutdown() }

// Meant is when, by the cron expression, a pass should have begun that the clock begins now. Instances agree on it unless
// one is off, or late, by half a minute.
func (s Schedule) Meant(now time.Time) time.Time {
	if _, is := s.period(); is {
		return now.Round(time.Second)
	}
	return now.Round(time.Minute)
}

// Next is when the clock begins the next pass, at the latest; false where the expression names no further time.
func (s Schedule) Next(now time.Time) (time.Time, bool) {
	if s.Cron == "" {
		return now.Add(s.Every), true
	}
	cron := gocron.NewDefaultCron(false)
	location, err := time.LoadLocation(s.Timezone)
	if err != nil || cron.IsValid(s.crontab(), location, now) != nil {
		return time.Time{}, false
	}
	next := cron.Next(now)
	return next, !next.IsZero()
}
