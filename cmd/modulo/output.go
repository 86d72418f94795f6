package main

import (
	"encoding/json"
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

// outputFlag adds -o to a command that lists.
func outputFlag(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("output", "o", "table", "table or json")
}

// printed is something that can be listed: as it is for JSON, as rows of cells for people.
type printed struct {
	value any
	head  []string
	rows  [][]string
}

func (a *app) print(format string, p printed) error {
	switch format {
	case "json":
		encoder := json.NewEncoder(a.out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(p.value)
	case "table":
		table := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
		for _, row := range append([][]string{p.head}, p.rows...) {
			fmt.Fprintln(table, strings.Join(row, "\t"))
		}
		return table.Flush()
	}
	return exit(exitUsage, fmt.Errorf("-o %q: want table or json", format))
}
