package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"modulo/internal/operations"
	"modulo/store"
)

func (a *app) rowsShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show JOB ROW",
		Short: "Show all that is known of a row: why it failed, its message as it would be sent, what people did about it",
		Example: `  modulo rows show outbox 1004
  modulo rows show outbox 1004 --payload -o json`,
		Args: cobra.ExactArgs(2),
	}
	output := outputFlag(cmd)
	payload := cmd.Flags().Bool("payload", false, "with the body of the message and the values of its headers")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil {
			return exit(exitUsage, fmt.Errorf("row %q is not a number", args[1]))
		}
		return a.withTables(cmd.Context(), args[:1], func(c *operations.Console) error {
			row, err := c.Row(cmd.Context(), args[0], id, *payload)
			if errors.Is(err, store.ErrNoFailure) {
				return fmt.Errorf("job %s, row %d: %w, and is not pending: it is done or unknown", args[0], id, store.ErrNoFailure)
			}
			if err != nil {
				return err
			}
			if *output == asJSON {
				return a.print(asJSON, printed{value: row})
			}
			return a.printRow(args[0], id, row)
		})
	}
	return cmd
}

// printRow writes what is known of a row as names and values, then what people did about it.
func (a *app) printRow(job string, id int64, row operations.Row) error {
	pairs := [][2]string{{"row", strconv.FormatInt(id, 10)}, {"job", job}}
	if row.Failure == nil {
		pairs = append(pairs, [2]string{"state", "pending"})
	} else {
		pairs = append(pairs, failurePairs(*row.Failure)...)
	}
	pairs = append(pairs, messagePairs(row)...)
	table := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, pair := range pairs {
		fmt.Fprintf(table, "%s\t%s\n", pair[0], pair[1])
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if row.Message != nil && row.Message.Body != nil {
		if err := a.printBody(*row.Message); err != nil {
			return err
		}
	}
	if len(row.History) == 0 {
		return nil
	}
	if _, err := io.WriteString(a.out, "\n"); err != nil {
		return err
	}
	return a.printAudit(asTable, operations.Audit{Entries: row.History})
}

func failurePairs(f operations.Failure) [][2]string {
	key, next := "-", "-"
	if f.Key != nil {
		key = oneLine(*f.Key)
	}
	if f.NextAttempt != nil {
		next = f.NextAttempt.UTC().Format(time.RFC3339)
	}
	return [][2]string{
		{"event_id", oneLine(f.EventID)}, {"key", key}, {"state", string(f.State)}, {"class", string(f.Class)},
		{"attempts", strconv.Itoa(f.Attempts)}, {"delivered", strconv.FormatBool(f.Delivered)},
		{"first failed", f.FirstAt.UTC().Format(time.RFC3339)}, {"last failed", f.LastAt.UTC().Format(time.RFC3339)},
		{"next attempt", next}, {"reason", oneLine(f.Error)},
	}
}

// messagePairs are the message as it would be sent now, without its body, or why there is none.
func messagePairs(row operations.Row) (pairs [][2]string) {
	m := row.Message
	switch {
	case row.Failure != nil && row.Invalid == row.Failure.Error:
		return [][2]string{{"message", "none: the row still cannot become one"}}
	case row.Invalid != "":
		return [][2]string{{"message", "none: " + oneLine(row.Invalid)}}
	case m == nil && row.Pending:
		return nil
	case m == nil:
		return [][2]string{{"message", "none: the row is not pending in its table, or its job is not in this configuration"}}
	}
	kind := "text"
	if m.Binary {
		kind = "bytes"
	}
	pairs = [][2]string{{"would go to", m.Destination}, {"payload", fmt.Sprintf("%d bytes, %s; --payload shows it and the headers", m.Bytes, kind)}}
	if m.Body != nil {
		pairs[1][1] = fmt.Sprintf("%d bytes, %s", m.Bytes, kind)
	}
	for _, h := range m.Headers {
		value := "hidden"
		if h.Value != nil {
			value = oneLine(*h.Value)
		}
		pairs = append(pairs, [2]string{"header " + h.Name, value})
	}
	return pairs
}

// printBody writes a body for people: what would move the cursor of a terminal is quoted.
func (a *app) printBody(m operations.Message) error {
	text := *m.Body
	moves := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
	if !m.Binary && strings.ContainsFunc(text, moves) {
		text = strconv.Quote(text)
	}
	if m.Truncated {
		text += "\n... and more"
	}
	_, err := fmt.Fprintf(a.out, "\n%s\n", text)
	return err
}
