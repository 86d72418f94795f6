// Command river sends one message per job of River (github.com/riverqueue/river) and waits for its receipt. It works with
// as many workers at a time as it has connections, and asks for new jobs as soon as River can be told to.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-stomp/stomp/v3"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"rivals/line"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "river:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	settings, err := line.Read()
	if err != nil {
		return err
	}
	config, err := pgxpool.ParseConfig(settings.Database)
	if err != nil {
		return err
	}
	config.MaxConns = int32(settings.Workers) + 10 // for River's own
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	driver := riverpgxv5.New(pool)
	migrator, err := rivermigrate.New(driver, nil)
	if err != nil {
		return err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return err
	}
	conns, err := settings.Connect()
	if err != nil {
		return err
	}
	sender := &sender{queue: settings.Queue, free: make(chan *stomp.Conn, len(conns))}
	for _, conn := range conns {
		sender.free <- conn
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, sender)
	client, err := river.NewClient(driver, &river.Config{
		Workers: workers, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: settings.Workers}},
		// The shortest time that River allows; by default it waits for 100 ms between two looks for jobs.
		FetchCooldown: river.FetchCooldownMin, FetchPollInterval: 100 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Stop(ctx)) }()
	j := &jobs{pool: pool, client: client}
	return line.Serve(ctx, os.Stdin, os.Stdout, line.Commands{
		"fill":  func(ctx context.Context, n []int) error { return j.fill(ctx, n[0], n[1]) },
		"drain": func(ctx context.Context, _ []int) error { return j.drain(ctx) },
		"pace": func(ctx context.Context, n []int) error {
			return j.pace(ctx, n[0], time.Duration(n[1])*time.Millisecond, n[2])
		},
	})
}

// message is the job's arguments.
type message struct {
	EventID string `json:"event_id"`
	Payload string `json:"payload"`
}

func (message) Kind() string { return "message" }

// sender is the worker; each of its runs takes a connection of its own.
type sender struct {
	river.WorkerDefaults[message]
	queue string
	free  chan *stomp.Conn
}

func (s *sender) Work(_ context.Context, job *river.Job[message]) error {
	conn := <-s.free
	defer func() { s.free <- conn }()
	return line.Send(conn, s.queue, job.Args.EventID, []byte(job.Args.Payload))
}

// jobs fills River's table within a transaction, whose commit lets River begin.
type jobs struct {
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
	open   pgx.Tx
	serial int
}

const insertBatch = 5000

func (j *jobs) fill(ctx context.Context, rows, payload int) error {
	if _, err := j.pool.Exec(ctx, "truncate river_job"); err != nil {
		return err
	}
	tx, err := j.pool.Begin(ctx)
	if err != nil {
		return err
	}
	text := strings.Repeat("x", payload)
	for rows > 0 {
		list := make([]river.InsertManyParams, min(rows, insertBatch))
		rows -= len(list)
		for i := range list {
			j.serial++
			list[i].Args = message{EventID: "river-" + strconv.Itoa(j.serial), Payload: text}
		}
		if _, err := j.client.InsertManyFastTx(ctx, tx, list); err != nil {
			return errors.Join(err, tx.Rollback(ctx))
		}
	}
	j.open = tx
	return nil
}

func (j *jobs) drain(ctx context.Context) error {
	if err := j.open.Commit(ctx); err != nil {
		return err
	}
	return j.await(ctx)
}

// pace inserts jobs at random times, in a transaction each.
func (j *jobs) pace(ctx context.Context, rate int, length time.Duration, payload int) error {
	if _, err := j.pool.Exec(ctx, "truncate river_job"); err != nil {
		return err
	}
	text := strings.Repeat("x", payload)
	end := time.Now().Add(length)
	for next := time.Now(); next.Before(end) && time.Now().Before(end); {
		time.Sleep(time.Until(next))
		j.serial++
		if _, err := j.client.Insert(ctx, message{EventID: "river-" + strconv.Itoa(j.serial), Payload: text}, nil); err != nil {
			return err
		}
		next = next.Add(time.Duration(rand.ExpFloat64() * float64(time.Second) / float64(rate)))
	}
	return j.await(ctx)
}

// await returns when every job is completed.
func (j *jobs) await(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var pending, failed int
		err := j.pool.QueryRow(ctx, `select count(*) filter (where state <> 'completed'), count(*) filter (where errors is not null)
from river_job`).Scan(&pending, &failed)
		switch {
		case err != nil:
			return err
		case failed > 0:
			return fmt.Errorf("%d jobs failed", failed)
		case pending == 0:
			return nil
		}
		<-tick.C
	}
}
