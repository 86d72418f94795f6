package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// goodbye is how long a server gets to notice that a session ends.
const goodbye = 500 * time.Millisecond

// session is a connection beside the pool, so that no load on the pool delays what it is for. After an error it is
// dropped, and the next use connects anew. Not safe for concurrent use.
type session struct {
	config *pgx.ConnConfig
	conn   *pgx.Conn
}

func (db *DB) newSession() *session {
	config := db.pool.Config().ConnConfig
	dropPlanSettings(config) // they are for the fetch
	return &session{config: config}
}

func (s *session) use(ctx context.Context, do func(*pgx.Conn) error) error {
	if s.conn == nil {
		conn, err := pgx.ConnectConfig(ctx, s.shared(ctx))
		if err != nil {
			return explainConnect(err)
		}
		s.conn = conn
	}
	err := do(s.conn)
	if err != nil {
		s.close(ctx)
	}
	return err
}

// shared gives every host of the URL its share of the time there is: a machine that is gone does not answer, and must not
// use up what the next one needs.
func (s *session) shared(ctx context.Context) *pgx.ConnConfig {
	deadline, ok := ctx.Deadline()
	if !ok {
		return s.config
	}
	config := s.config.Copy()
	share := time.Until(deadline) / time.Duration(1+len(config.Fallbacks))
	config.ConnectTimeout = max(min(config.ConnectTimeout, share), time.Millisecond) // 0 would be no limit
	return config
}

func (s *session) close(ctx context.Context) {
	if s.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	_ = s.conn.Close(ctx) // it is given up either way
	s.conn = nil
}
