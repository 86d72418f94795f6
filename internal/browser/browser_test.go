package browser_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"modulo/internal/browser"
)

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
	b, err := browser.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	page, err := b.Open(ctx, browser.Look{User: "ada", Secret: "lovelace", Dark: true, Width: 400, Height: 300})
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(page.Go(ctx, site.URL))
	must(page.Await(ctx, `document.title === "ran" && innerWidth === 400 && matchMedia("(prefers-color-scheme: dark)").matches`))
	must(page.Await(ctx, `document.getElementById("user").textContent === "ada lovelace"`))
	must(page.Click(ctx, "#b"))
	must(page.Await(ctx, `document.getElementById("b").textContent === "pressed"`))
	must(page.Click(ctx, "#text"))
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
