package store

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"modulo/migrations"
)

const gooseMark = "-- +goose "

// MigratePrint writes the SQL of all migrations newer than a version (0: of all) for a DBA to apply with psql.
// It keeps the same books as MigrateUp, which then finds nothing left to do.
func MigratePrint(w io.Writer, after int64) error {
	return printMigrations(w, migrations.Files, after)
}

func printMigrations(w io.Writer, files fs.FS, after int64) error {
	known, err := knownMigrations(files)
	if err != nil {
		return err
	}
	bookkeeping, err := fs.ReadFile(files, bookkeepingFile)
	if err != nil {
		return err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "-- Apply with psql as the role that is to own schema modulo. It stops at the first error.\n"+
		"\\set ON_ERROR_STOP on\nset lock_timeout = '%s';\n\n%s", ddlLockTimeout, bookkeeping)
	for _, m := range known {
		if m.Version <= after {
			continue
		}
		text, err := fs.ReadFile(files, m.Name)
		if err != nil {
			return err
		}
		up, transaction := upSection(string(text))
		begin, commit := "begin;\n", "commit;\n"
		if !transaction {
			begin, commit = "", ""
		}
		fmt.Fprintf(&out, "\n-- %s\n%s%s\ninsert into %s (version_id, is_applied) values (%d, true);\n%s",
			m.Name, begin, strings.TrimSpace(up), versionTable, m.Version, commit)
	}
	_, err = io.WriteString(w, out.String())
	return err
}

// upSection returns the way up of a migration without goose's marks, and whether it wants a transaction.
func upSection(text string) (up string, transaction bool) {
	var out strings.Builder
	inUp, transaction := false, true
	for line := range strings.Lines(text) {
		mark, marked := strings.CutPrefix(strings.TrimSpace(line), gooseMark)
		switch {
		case !marked && inUp:
			out.WriteString(line)
		case !marked:
		case strings.EqualFold(mark, "Up"):
			inUp = true
		case strings.EqualFold(mark, "Down"):
			inUp = false
		case strings.EqualFold(mark, "NO TRANSACTION"):
			transaction = false
		}
	}
	return out.String(), transaction
}

// knownMigrations lists the migrations of this binary, oldest first.
func knownMigrations(files fs.FS) ([]Migration, error) {
	names, err := fs.Glob(files, "[0-9]*_*.sql")
	if err != nil {
		return nil, err
	}
	known := make([]Migration, 0, len(names))
	for _, name := range names {
		number, _, _ := strings.Cut(path.Base(name), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("migration %s: %w", name, err)
		}
		known = append(known, Migration{Version: version, Name: name})
	}
	slices.SortFunc(known, func(a, b Migration) int { return cmp.Compare(a.Version, b.Version) })
	return known, nil
}
