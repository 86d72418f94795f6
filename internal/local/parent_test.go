package local_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"modulo/internal/local"
)

// parent starts both servers, pauses them if asked to, prints "ready" and waits for its end.
func parent() int {
	dir, paused := os.Args[1], os.Args[2] == "paused"
	ctx := context.Background()
	pg, err := local.StartPostgres(ctx, local.PostgresConfig{Dir: filepath.Join(dir, "postgres"), Unsafe: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	mq, err := local.StartActiveMQ(ctx, local.ActiveMQConfig{Dir: filepath.Join(dir, "activemq"), QuickStart: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, s := range []server{pg, mq} {
		if paused {
			if err := s.Pause(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
	}
	fmt.Println("ready")
	select {}
}

func TestServersEndWithTheirParent(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"running", "paused"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			dir := serverDir(t)
			cmd := exec.Command(os.Args[0], dir, state)
			cmd.Env = append(os.Environ(), asParent+"=1")
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			line, err := bufio.NewReader(out).ReadString('\n')
			if line != "ready\n" {
				t.Fatalf("parent said %q: %v", line, err)
			}
			family := descendants(cmd.Process.Pid)
			if len(family) < 4 { // broker, postmaster and some of its children
				t.Fatalf("the parent has %d descendants", len(family))
			}
			must(t, cmd.Process.Kill())
			_ = cmd.Wait() // killed
			for _, pid := range family {
				eventually(t, fmt.Sprintf("process %d of %v is gone", pid, family), func() bool { return !running(pid) })
			}
		})
	}
}

// descendants are the processes below pid.
func descendants(pid int) []int {
	var found []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is well-formed
	for _, file := range tasks {
		text, _ := os.ReadFile(file) // a thread may have ended
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				found = append(append(found, child), descendants(child)...)
			}
		}
	}
	return found
}

// running is false for a process that is gone or waits to be reaped.
func running(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && !strings.Contains(string(text), "State:\tZ")
}
