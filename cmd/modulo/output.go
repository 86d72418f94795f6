package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"modulo/internal/operations"
)

// isTerminal says whether a person reads w as it is written.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// outputFormat is the value of -o. A wrong one is noticed before the command does anything.
type outputFormat string

const (
	asTable outputFormat = "table"
	asJSON  outputFormat = "json"
)

func (f *outputFormat) String() string { return string(*f) }
func (f *outputFormat) Type() string   { return "format" }

func (f *outputFormat) Set(text string) error {
	switch format := outputFormat(text); format {
	case asTable, asJSON:
		*f = format
		return nil
	}
	return errors.New("want table or json")
}

// outputFlag adds -o to a command that lists.
func outputFlag(cmd *cobra.Command) *outputFormat {
	format := asTable
	cmd.Flags().VarP(&format, "output", "o", "table or json")
	return &format
}

// limit is the value of --limit. One that would be cut or taken for another is noticed before the command does anything.
type limit struct{ rows, least, most int }

func (l *limit) String() string { return strconv.Itoa(l.rows) }
func (l *limit) Type() string   { return "int" }

func (l *limit) Set(text string) error {
	rows, err := strconv.Atoi(text)
	switch {
	case err == nil && rows >= l.least && rows <= l.most:
		l.rows = rows
		return nil
	case l.most == math.MaxInt:
		return fmt.Errorf("want a number from %d on", l.least)
	}
	return fmt.Errorf("want a number from %d to %d", l.least, l.most)
}

// limitFlag adds --limit to a command that lists; l holds the default and the bounds.
func limitFlag(cmd *cobra.Command, l limit, usage string) *limit {
	cmd.Flags().Var(&l, "limit", usage)
	return &l
}

// pageFlag adds --limit to a command that lists page by page.
func pageFlag(cmd *cobra.Command) *limit {
	return limitFlag(cmd, limit{rows: 50, least: 1, most: operations.MaxPage}, fmt.Sprintf("list at most this many, up to %d", operations.MaxPage))
}

// tellMore says where the next page begins; nil: this was the last one.
func tellMore[P any](a *app, next *P) error {
	if next == nil {
		return nil
	}
	_, err := fmt.Fprintf(a.err, "there are more: raise --limit, or go on with --before %v\n", *next)
	return err
}

// printed is something that can be listed: as it is for JSON, as rows of cells for people.
type printed struct {
	value any
	head  []string
	rows  [][]string
}

func (a *app) print(format outputFormat, p printed) error {
	if format == asJSON {
		encoder := json.NewEncoder(a.out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(p.value)
	}
	table := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{p.head}, p.rows...) {
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	return table.Flush()
}
