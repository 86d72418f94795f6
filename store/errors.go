package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"modulo/jobs"
)

// SQLSTATE codes and classes (PostgreSQL manual, appendix A) that decide what happens next.
const (
	codeInsufficientPrivilege = "42501"
	codeUndefinedTable        = "42P01"
	codeReadOnlyTransaction   = "25006"
	codeProtocolViolation     = "08P01"
	codeTooManyConnections    = "53300"
	codeForeignKeyViolation   = "23503"
	codeLockNotAvailable      = "55P03"
	codeQueryCanceled         = "57014"
)

// IsUnreachable says whether the database could not be asked: network, login, starting up, shutting down, no answer
// in time, or a server that is (now) read-only. Trying again later may help; the rows are not to blame.
func IsUnreachable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		class := pgErr.Code[:min(2, len(pgErr.Code))]
		return class == "08" || class == "28" || class == "3D" ||
			class == "57" && pgErr.Code != codeQueryCanceled ||
			pgErr.Code == codeTooManyConnections || pgErr.Code == codeReadOnlyTransaction
	}
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	_, network := errors.AsType[*net.OpError](err) // net.Error would take in the errors of files
	return connecting || network || pgconn.Timeout(err) || pgconn.SafeToRetry(err) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, pgconn.ErrConnClosed) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// environmentClasses are the SQLSTATE classes that tell of the server, the session, the schema or rights: every row
// would get the same answer. What is not in here comes from the row itself: a bad value, a constraint, a trigger that
// raises a state of its own.
var environmentClasses = []string{
	"03", // statement not yet complete
	"08", // connection
	"0A", // feature not supported, as in "cached plan must not change result type"
	"25", // transaction state, as in read-only
	"26", // prepared statement is gone
	"28", // login
	"2D", // transaction termination
	"3D", // database
	"3F", // schema
	"40", // deadlock, serialization
	"42", // syntax, missing names, rights
	"53", // disk, memory, connections
	"55", // lock not available
	"57", // shutdown, cancel
	"58", // I/O
	"72", // snapshot too old
	"F0", // server configuration
	"XX", // internal
}

// markError tells a row's fault from the database's.
func markError(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || len(pgErr.Code) != 5 {
		return err
	}
	if slices.Contains(environmentClasses, pgErr.Code[:2]) {
		return err
	}
	return &jobs.MarkRefused{Err: err}
}

func hasCode(err error, codes ...string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains(codes, pgErr.Code)
}

// explainConnect adds what to do where the bare answer is a riddle.
func explainConnect(err error) error {
	switch {
	case errors.Is(err, pgconn.ErrReadOnlyConnection):
		return fmt.Errorf("%w: the server or the role is read-only (a standby?); connect to the primary", err)
	case hasCode(err, codeProtocolViolation):
		return fmt.Errorf("%w: said by a pooler such as PgBouncer? Its log tells more; migrations need a direct connection", err)
	}
	return err
}

// unparsable says why a connection string was not understood, without any part of it: a password may be anywhere.
func unparsable(err error) string {
	parseErr, ok := errors.AsType[*pgconn.ParseConfigError](err)
	if !ok || parseErr.Unwrap() != nil {
		return "not understood; expected postgres://user:password@host:5432/name?sslmode=verify-full or key=value pairs, " +
			"with special characters in a URL encoded, as in %40 for @"
	}
	text := parseErr.Error()
	return text[strings.LastIndex(text, "`: ")+len("`: "):]
}

// wrap says what was being done when an error came; nil stays nil.
func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}
