// Package line is how `modulo bench` speaks with the programs that it measures: a command per line on standard input, an
// answer per line on standard output. It also reads their settings and opens what each of them needs.
package line

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/go-stomp/stomp/v3"
	"github.com/go-stomp/stomp/v3/frame"
)

// Settings come from the environment.
type Settings struct {
	Database string // URL
	Broker   string // host:port
	Queue    string // destination
	Workers  int
}

// Read reads the environment.
func Read() (Settings, error) {
	workers, err := strconv.Atoi(os.Getenv("BENCH_WORKERS"))
	if err != nil {
		return Settings{}, fmt.Errorf("BENCH_WORKERS: %w", err)
	}
	return Settings{
		Database: os.Getenv("MODULO_DATABASE_URL"), Broker: os.Getenv("BENCH_BROKER"),
		Queue: "/queue/" + os.Getenv("BENCH_QUEUE"), Workers: workers,
	}, nil
}

// Connect opens a connection per worker. close ends them.
func (s Settings) Connect() (conns []*stomp.Conn, err error) {
	for range s.Workers {
		conn, err := stomp.Dial("tcp", s.Broker, stomp.ConnOpt.HeartBeat(0, 0))
		if err != nil {
			return nil, fmt.Errorf("connect to the broker: %w", err)
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

// Send sends one persistent text message and waits for its receipt.
func Send(conn *stomp.Conn, queue, eventID string, payload []byte) error {
	return conn.Send(queue, "", payload, stomp.SendOpt.Receipt, stomp.SendOpt.NoContentLength,
		stomp.SendOpt.Header("persistent", "true"), stomp.SendOpt.Header("event_id", eventID), withoutType)
}

// withoutType leaves out the empty content type.
func withoutType(f *frame.Frame) error {
	f.Header.Del(frame.ContentType)
	return nil
}

// Commands are what a program can be asked for, by name, and the numbers that follow it.
type Commands map[string]func(ctx context.Context, numbers []int) error

// Serve obeys until the input ends.
func Serve(ctx context.Context, in io.Reader, out io.Writer, c Commands) error {
	for commands := bufio.NewScanner(in); commands.Scan(); {
		if err := c.obey(ctx, strings.Fields(commands.Text())); err != nil {
			fmt.Fprintln(out, strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		fmt.Fprintln(out, "ok")
	}
	return nil
}

func (c Commands) obey(ctx context.Context, words []string) error {
	if len(words) == 0 || c[words[0]] == nil {
		return fmt.Errorf("unknown command %q", words)
	}
	numbers := make([]int, len(words)-1)
	for i, word := range words[1:] {
		var err error
		if numbers[i], err = strconv.Atoi(word); err != nil {
			return err
		}
	}
	return c[words[0]](ctx, numbers)
}
