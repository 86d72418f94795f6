package dashboard_test

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"modulo/internal/browser"
	"modulo/internal/local"
	"modulo/internal/programtest"
	"modulo/internal/testservers"
)

// chromium is the browser that the tests share. It is global because tests have no other place in common.
var chromium struct {
	mu      sync.Mutex
	dir     string
	browser *browser.Browser
}

func TestMain(m *testing.M) {
	if err := testservers.AtATime(6); err != nil { // they wait for pages
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := programtest.Main(m)
	if err := stopChromium(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// startChromium returns the shared browser; the first who asks starts it.
func startChromium() (*browser.Browser, error) {
	chromium.mu.Lock()
	defer chromium.mu.Unlock()
	if chromium.browser != nil {
		return chromium.browser, nil
	}
	dir, err := local.TempDir("modulo-chromium-*")
	if err != nil {
		return nil, err
	}
	chromium.dir = dir
	chromium.browser, err = browser.Start(dir)
	return chromium.browser, err
}

func stopChromium() error {
	chromium.mu.Lock()
	defer chromium.mu.Unlock()
	if chromium.browser != nil {
		if err := chromium.browser.Close(); err != nil {
			return err
		}
	}
	return os.RemoveAll(chromium.dir)
}
