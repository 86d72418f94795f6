package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"modulo/jobs"
)

func TestErrorClasses(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]struct{ row, unreachable bool }{
		"22001": {row: true}, // value too long
		"23505": {row: true}, // unique
		"23514": {row: true}, // check
		"P0001": {row: true}, // raise exception
		"54000": {row: true}, // row too big
		"ZZ001": {row: true}, // of the user's own
		"08006": {unreachable: true},
		"28P01": {unreachable: true},
		"3D000": {unreachable: true},
		"53300": {unreachable: true}, // too many connections
		"57P01": {unreachable: true}, // shutdown
		"57P03": {unreachable: true}, // starting up
		"25006": {unreachable: true}, // read-only
		"57014": {},                  // canceled
		"40P01": {},                  // deadlock
		"42501": {},                  // rights
		"42703": {},                  // no column
		"53100": {},                  // disk full
		"55P03": {},                  // lock
		"XX000": {},
	} {
		err := fmt.Errorf("mark: %w", &pgconn.PgError{Code: code})
		if _, got := errors.AsType[*jobs.MarkRefused](markError(err)); got != want.row {
			t.Errorf("%s: a row's fault: %v", code, got)
		}
		if got := IsUnreachable(err); got != want.unreachable {
			t.Errorf("%s: unreachable: %v", code, got)
		}
	}
	for err, want := range map[error]bool{
		nil: false, context.Canceled: false, errors.New("x"): false,
		context.DeadlineExceeded: true, io.ErrUnexpectedEOF: true, pgconn.ErrConnClosed: true,
	} {
		if got := IsUnreachable(err); got != want {
			t.Errorf("%v: unreachable: %v", err, got)
		}
		if markError(err) != err {
			t.Errorf("%v became %v", err, markError(err))
		}
	}
}
