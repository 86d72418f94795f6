package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"modulo/jobs"
)

// ErrDeaf says that a notification did not reach the session that listens.
var ErrDeaf = errors.New("a notification to itself did not arrive: the connection is dead, leads to another database, or " +
	"through a pooler in transaction mode; see database.listen_url")

// WakeupConfig says for which jobs to listen. The zero value of URL and the durations means their default.
type WakeupConfig struct {
	Jobs []*jobs.Job // those that do not listen are left out
	// URL leads to the same database as that of the DB, without a pooler in between. Default: that of the DB.
	URL string
	// CheckEvery is the time between two proofs that notifications arrive, Patience how long one may take.
	CheckEvery, Patience time.Duration
}

const (
	defaultCheckEvery = 15 * time.Second
	defaultPatience   = 5 * time.Second
)

// Wakeups implements jobs.Wakeups by LISTEN on one connection beside the pool, and by triggers that call
// modulo.notify_rows.
type Wakeups struct {
	WakeupConfig
	db      *DB
	session *session
}

var _ jobs.Wakeups = (*Wakeups)(nil)

// NewWakeups does not connect.
func (db *DB) NewWakeups(cfg WakeupConfig) (*Wakeups, error) {
	w := &Wakeups{WakeupConfig: cfg, db: db, session: db.newSession()}
	w.Jobs = slices.DeleteFunc(slices.Clone(cfg.Jobs), func(job *jobs.Job) bool { return !job.Listen })
	w.CheckEvery = orDefault(w.CheckEvery, defaultCheckEvery)
	w.Patience = orDefault(w.Patience, defaultPatience)
	if cfg.URL != "" {
		direct, err := poolConfig(Config{URL: cfg.URL})
		if err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
		w.session.config = direct.ConnConfig
	}
	w.session.config.OnNotification = nil // Listen waits for them
	return w, nil
}

// rowsChannel carries what modulo.notify_rows sends, a table as in "modulo.outbox", and the proofs.
const rowsChannel = "modulo_rows"

// Listen implements jobs.Wakeups.
func (w *Wakeups) Listen(ctx context.Context, listening func(), inserted func(job string)) error {
	listeners, err := w.listeners(ctx)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer w.session.close(ctx)
	err = w.session.use(ctx, func(conn *pgx.Conn) error {
		if err := w.subscribe(ctx, conn); err != nil {
			return err
		}
		ctx, cancel := context.WithCancelCause(ctx)
		var proving sync.WaitGroup
		defer proving.Wait()
		defer cancel(nil)
		proof, proofs := "proof "+uuid.NewString(), make(chan struct{}, 1)
		proving.Go(func() { cancel(w.prove(ctx, proof, proofs, listening)) })
		for {
			notification, err := conn.WaitForNotification(ctx)
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case err != nil:
				return err
			case notification.Payload == proof:
				select {
				case proofs <- struct{}{}:
				default: // one of an earlier try is not taken yet
				}
			}
			for _, job := range listeners[notification.Payload] {
				inserted(job)
			}
		}
	})
	return wrap("listen", err)
}

func (w *Wakeups) subscribe(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := w.db.bounded(ctx)
	defer cancel()
	_, err := conn.Exec(ctx, "listen "+rowsChannel)
	return err
}

// prove sends notifications through the pool and returns ErrDeaf when one does not arrive in proofs. The session that
// listens cannot send them itself: what answers a statement of its own gets through a pooler, too.
func (w *Wakeups) prove(ctx context.Context, proof string, proofs <-chan struct{}, listening func()) error {
	for proven := false; ; {
		select {
		case <-proofs: // came after the patience with its statement was over
		default:
		}
		wait := w.Patience // until the next try, if the pool is at fault
		if err := w.notify(ctx, proof); err == nil {
			select {
			case <-proofs:
			case <-ctx.Done():
				return nil
			case <-time.After(w.Patience):
				return ErrDeaf
			}
			wait = w.CheckEvery
			if !proven {
				proven = true
				listening()
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (w *Wakeups) notify(ctx context.Context, payload string) error {
	ctx, cancel := context.WithTimeout(ctx, w.Patience)
	defer cancel()
	_, err := w.db.pool.Exec(ctx, `select pg_notify('`+rowsChannel+`', $1::text)`, payload)
	return err
}

// listeners are the names of the jobs by what notifications call their tables.
func (w *Wakeups) listeners(ctx context.Context) (map[string][]string, error) {
	listeners := map[string][]string{}
	for _, job := range w.Jobs {
		t, err := w.db.lookUpTrigger(ctx, job.Source.Table)
		if err != nil {
			return nil, err
		}
		listeners[t.payload] = append(listeners[t.payload], job.Name)
	}
	return listeners, nil
}

// Check tells what keeps inserts from waking the workers, without changing it: a *Problem for each table whose trigger is
// missing or disabled, and what Listen would fail with.
func (w *Wakeups) Check(ctx context.Context) error {
	problems := w.eachTable(func(job *jobs.Job) error {
		t, err := w.db.lookUpTrigger(ctx, job.Source.Table)
		if err == nil && !t.enabled {
			err = t.problem()
		}
		return err
	})
	if len(w.Jobs) > 0 {
		problems = append(problems, w.hear(ctx))
	}
	return errors.Join(problems...)
}

// hear listens for a notification of its own, once.
func (w *Wakeups) hear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*w.Patience)
	defer cancel()
	defer w.session.close(ctx)
	err := w.session.use(ctx, func(conn *pgx.Conn) error {
		if err := w.subscribe(ctx, conn); err != nil {
			return err
		}
		proof := "proof " + uuid.NewString()
		if err := w.notify(ctx, proof); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeoutCause(ctx, w.Patience, ErrDeaf)
		defer cancel()
		for {
			notification, err := conn.WaitForNotification(ctx)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil || notification.Payload == proof {
				return err
			}
		}
	})
	return wrap("listen", err)
}
