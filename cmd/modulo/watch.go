package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Limits of --watch.
const (
	watchEvery = "2s"
	minWatch   = 100 * time.Millisecond
)

// watchFlag adds --watch to a command that shows something. 0: once.
func watchFlag(cmd *cobra.Command) *time.Duration {
	every := cmd.Flags().Duration("watch", 0, "show it again and again, as in --watch=5s, until Ctrl-C")
	cmd.Flags().Lookup("watch").NoOptDefVal = watchEvery
	return every
}

// watch shows something once or, with an interval, until ctx ends, which is no error then. On a terminal it repaints; elsewhere
// there is one block after the other, or a line of JSON each. show writes to the app that it is given. Once it has worked, an
// error is shown too, and it is tried again.
func (a *app) watch(ctx context.Context, every time.Duration, output outputFormat, show func(*app) error) error {
	if every == 0 {
		return show(a)
	}
	if every < minWatch {
		return exit(exitUsage, fmt.Errorf("--watch=%s is less than %s", every, minWatch))
	}
	painter := painter{app: a, repaint: isTerminal(a.out) && output != asJSON}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for first := true; ; first = false {
		var block bytes.Buffer
		shown := *a
		shown.out = &block
		err := show(&shown)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && first:
			return err
		case err != nil:
			fmt.Fprintln(a.err, "modulo:", err)
		default:
			if err := painter.paint(block.Bytes(), output); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// painter writes blocks of text, each over the last where it repaints.
type painter struct {
	*app
	repaint bool
	lines   int // of the last block
}

func (p *painter) paint(block []byte, output outputFormat) error {
	var text bytes.Buffer
	if output == asJSON {
		if err := json.Compact(&text, block); err != nil {
			return fmt.Errorf("watch: %w", err)
		}
	} else {
		if p.repaint && p.lines > 0 {
			fmt.Fprintf(&text, "\x1b[%dA\x1b[J", p.lines) // up, and clear what is below
		}
		fmt.Fprintln(&text, time.Now().UTC().Format(time.RFC3339))
		text.Write(bytes.TrimRight(block, "\n"))
	}
	text.WriteByte('\n')
	if !p.repaint && output != asJSON {
		text.WriteByte('\n')
	}
	p.lines = strings.Count(text.String(), "\n")
	_, err := p.out.Write(text.Bytes())
	return err
}
