// Package local runs private PostgreSQL and ActiveMQ servers on loopback ports, for `modulo demo`, `modulo bench` and the
// tests. The servers use the programs that the system's packages installed, keep everything in a directory of the
// caller's, and end when this program ends, however it ends.
package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// ErrNotInstalled says that a server's programs are not on this machine; the error around it names the package.
var ErrNotInstalled = errors.New("not installed")

const (
	startLimit = 2 * time.Minute // a server that is not ready by then is given up
	stopLimit  = time.Minute     // a server that has not stopped by then is killed
	logLines   = 20              // how much of a server's log an error shows
)

// TempDir makes a directory under os.TempDir that the server's user can enter too; the caller removes it.
func TempDir(pattern string) (string, error) {
	dir, err := os.MkdirTemp("", pattern)
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return "", errors.Join(err, os.Remove(dir))
	}
	return dir, nil
}

// await tries ready until it succeeds; it gives up when the process ends or ctx or the start limit is over.
func await(ctx context.Context, p *process, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.exited:
			return fmt.Errorf("ended at once: %s%s", p.cmd.ProcessState, logTail(p.log))
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w: %w%s", ctx.Err(), err, logTail(p.log))
		}
	}
}

// logTail is the end of a server's log, fit to follow an error message. Of a Java exception it keeps what happened and
// leaves out where.
func logTail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "\tat ") && !strings.HasPrefix(line, "\t... ") {
			lines = append(lines, strings.TrimRight(line, "\n"))
		}
	}
	lines = lines[max(0, len(lines)-logLines):]
	return "\nend of " + file + ":\n  " + strings.Join(lines, "\n  ")
}
