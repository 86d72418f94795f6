package store

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// Problem is something about a job's table that a person has to change: an error, or a warning where the job works
// all the same.
type Problem struct {
	Where string // setting of the job, as in "source.where"
	What  string
	Do    string // what puts it right; a statement where there is one
}

func (p *Problem) Error() string { return fmt.Sprintf("%s: %s: %s", p.Where, p.What, p.Do) }

// message is the server's own words, without the decoration of the driver.
func message(err error) string {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err.Error()
	}
	if pgErr.Hint != "" {
		return pgErr.Message + " (" + pgErr.Hint + ")"
	}
	return pgErr.Message
}
