package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"
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
