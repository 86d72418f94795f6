// Package browser drives a headless Chromium, for tests of what people see. It speaks the DevTools protocol over the
// debugging pipe, so it needs neither a port nor a library; the Debian package chromium is all there has to be.
package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"modulo/internal/local"
)

// Browser is one process; each of its pages has cookies, storage and a cache of its own.
type Browser struct {
	cmd     *exec.Cmd
	exited  <-chan struct{}
	to      *os.File
	reading sync.WaitGroup

	mu      sync.Mutex
	last    int
	waiting map[int]chan answer
	pages   map[string]*Page // by session
	ended   error
}

// answer is one message of the browser.
type answer struct {
	ID        int
	SessionID string
	Method    string // of an event
	Params    json.RawMessage
	Result    json.RawMessage
	Error     *struct{ Message string }
}

// flags make a browser that asks nobody, calls nobody, and needs no rights.
func flags(dir string) []string {
	return []string{
		"--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--user-data-dir=" + dir, "--no-first-run",
		"--no-default-browser-check", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions", "--disable-sync",
		"--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--mute-audio",
		"--disable-features=Translate,MediaRouter,OptimizationHints", "--hide-scrollbars", "--lang=en",
		"--force-color-profile=srgb", "--font-render-hinting=none", "--disable-backgrounding-occluded-windows",
	}
}

// Start starts a browser that keeps its files in dir. Close ends it.
func Start(dir string) (*Browser, error) {
	program, err := exec.LookPath("chromium")
	if err != nil {
		return nil, fmt.Errorf("chromium: %w: the Debian package chromium is missing", local.ErrNotInstalled)
	}
	theirs, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	from, theirsOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, theirs.Close(), to.Close())
	}
	cmd := exec.Command(program, flags(dir)...)
	cmd.ExtraFiles = []*os.File{theirs, theirsOut} // file descriptors 3 and 4
	cmd.Env = append(os.Environ(), "HOME="+dir)
	exited, err := local.Launch(cmd, syscall.SIGKILL)
	_, _ = theirs.Close(), theirsOut.Close()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("chromium: %w", err), to.Close(), from.Close())
	}
	b := &Browser{cmd: cmd, exited: exited, to: to, waiting: map[int]chan answer{}, pages: map[string]*Page{}}
	b.reading.Go(func() { b.read(from) })
	return b, nil
}

// Close ends the browser with all its pages.
func (b *Browser) Close() error {
	_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) // the group: it has children
	<-b.exited
	b.reading.Wait()
	return b.to.Close()
}

// read hands answers to those who wait for them and events to their pages, until the browser ends.
func (b *Browser) read(from io.ReadCloser) {
	defer func() { _ = from.Close() }()
	messages := bufio.NewReaderSize(from, 1<<16)
	for {
		text, err := messages.ReadBytes(0)
		if err != nil {
			b.end(fmt.Errorf("the browser has ended: %w", err))
			return
		}
		var a answer
		if err := json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &a); err != nil {
			b.end(fmt.Errorf("the browser's words: %w", err))
			return
		}
		b.mu.Lock()
		to, page := b.waiting[a.ID], b.pages[a.SessionID]
		delete(b.waiting, a.ID)
		b.mu.Unlock()
		switch {
		case to != nil:
			to <- a
		case page != nil && a.Method != "":
			page.note(a)
		}
	}
}

func (b *Browser) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = err
	for _, to := range b.waiting {
		close(to)
	}
	clear(b.waiting)
}

// call asks the browser, or the page of a session, and waits for the answer.
func (b *Browser) call(ctx context.Context, session, method string, params, result any) error {
	to := make(chan answer, 1)
	if err := b.send(session, method, params, to); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case a, ok := <-to:
		switch {
		case !ok:
			return fmt.Errorf("%s: %w", method, b.ended)
		case a.Error != nil:
			return fmt.Errorf("%s: %s", method, a.Error.Message)
		case result == nil:
			return nil
		}
		return json.Unmarshal(a.Result, result)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, context.Cause(ctx))
	}
}

func (b *Browser) send(session, method string, params any, to chan answer) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended != nil {
		return b.ended
	}
	b.last++
	if params == nil {
		params = struct{}{}
	}
	text, err := json.Marshal(struct {
		ID        int    `json:"id"`
		SessionID string `json:"sessionId,omitempty"`
		Method    string `json:"method"`
		Params    any    `json:"params"`
	}{b.last, session, method, params})
	if err != nil {
		return err
	}
	b.waiting[b.last] = to
	_, err = b.to.Write(append(text, 0))
	return err
}
