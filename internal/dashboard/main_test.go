package dashboard_test

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"

	"modulo/internal/browser"
	"modulo/internal/local"
	"modulo/internal/programtest"
)

// chromium is the browser that the tests share. It is global because tests have no other place in common.
var chromium struct {
	mu      sync.Mutex
	dir     string
	browser *browser.Browser
}

// atATime is how many tests run beside each other: they wait for pages most of the time.
const atATime = "6"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", atATime); err != nil {
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
