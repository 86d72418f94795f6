package browser_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"modulo/internal/browser"
)

// open opens a page in a browser of the test's own; must ends the test at an error.
func open(t *testing.T, look browser.Look) (ctx context.Context, page *browser.Page, must func(error)) {
	t.Helper()
	must = func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	b, err := browser.Start(t.TempDir())
	must(err)
	t.Cleanup(func() { _ = b.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	page, err = b.Open(ctx, look)
	must(err)
	return ctx, page, must
}

// TestAwaitLoaded: what a page shows before its scripts listen is not there yet.
func TestAwaitLoaded(t *testing.T) {
	t.Parallel()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(`<!doctype html><a id=next href=/next>next</a>`))
		case "/next":
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(`<!doctype html><p id=text>here</p><script defer src=/slow.js></script>`))
		default:
			time.Sleep(300 * time.Millisecond)
			w.Header().Set("Content-Type", "text/javascript")
			_, _ = w.Write([]byte(`listens = true`))
		}
	}))
	t.Cleanup(site.Close)
	ctx, page, must := open(t, browser.Look{})
	must(page.Go(ctx, site.URL))
	must(page.Await(ctx, browser.Clicked("#next")))
	must(page.Await(ctx, `document.getElementById("text")`))
	listens := false
	must(page.Eval(ctx, `typeof listens !== "undefined"`, &listens))
	if !listens {
		t.Error("awaited before the page's script ran")
	}
}

// TestBrowser: a page is loaded, scripts run or not, keys and clicks arrive, and what a page complains about is heard.
func TestBrowser(t *testing.T) {
	t.Parallel()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		user, secret, _ := r.BasicAuth()
		_, _ = w.Write([]byte(`<!doctype html><p id=user>` + user + " " + secret + `</p><input id=text>
<button id=b onclick="this.textContent = 'pressed'">press</button><script>document.title = "ran"; console.error("oh")</script>`))
	}))
	t.Cleanup(site.Close)
	ctx, page, must := open(t, browser.Look{User: "ada", Secret: "lovelace", Dark: true, Width: 400, Height: 300})
	must(page.Go(ctx, site.URL))
	must(page.Await(ctx, `document.title === "ran" && innerWidth === 400 && matchMedia("(prefers-color-scheme: dark)").matches`))
	must(page.Await(ctx, `document.getElementById("user").textContent === "ada lovelace"`))
	must(page.Eval(ctx, `document.body.insertAdjacentHTML("beforeend", "<div id=over style='position: fixed; inset: 0'></div>")`, nil))
	covered, uncover := context.WithTimeout(ctx, 200*time.Millisecond)
	defer uncover()
	if page.Await(covered, browser.Clicked("#b")) == nil {
		t.Error("clicked on what something else lies over")
	}
	must(page.Eval(ctx, `document.getElementById("over").remove()`, nil))
	must(page.Await(ctx, `document.getElementById("b").textContent === "press"`))
	must(page.Await(ctx, browser.Clicked("#b")))
	must(page.Await(ctx, `document.getElementById("b").textContent === "pressed"`))
	must(page.Await(ctx, browser.Clicked("#text")))
	must(page.Type(ctx, "a1 b"))
	must(page.Await(ctx, `document.getElementById("text").value === "a1 b"`))
	if heard := page.Complaints(); len(heard) != 1 {
		t.Errorf("heard %q", heard)
	}
	must(page.Look(ctx, browser.Look{NoScript: true}))
	must(page.Go(ctx, site.URL+"/?again"))
	must(page.Await(ctx, `document.title === "" && document.getElementById("b").textContent === "press"`))
	if shot, err := page.Screenshot(ctx, true); err != nil || len(shot) < 100 {
		t.Errorf("a screenshot of %d bytes, %v", len(shot), err)
	}
	must(page.Close(ctx))
}
