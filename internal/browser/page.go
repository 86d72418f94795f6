package browser

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Look is how a page is looked at.
type Look struct {
	Width, Height int  // of the window, in CSS pixels; 0: 1280 by 800
	Dark          bool // prefers-color-scheme
	NoScript      bool // JavaScript is off
	User, Secret  string
}

// Page is a tab. Not safe for concurrent use.
type Page struct {
	browser          *Browser
	context, session string

	mu         sync.Mutex
	complaints []string
}

// values is what a call of the protocol is given.
type values map[string]any

// Open opens an empty page that shares nothing with others; Close closes it.
func (b *Browser) Open(ctx context.Context, look Look) (*Page, error) {
	p := &Page{browser: b}
	var made struct{ BrowserContextID, TargetID, SessionID string }
	if err := b.call(ctx, "", "Target.createBrowserContext", nil, &made); err != nil {
		return nil, err
	}
	p.context = made.BrowserContextID
	if err := b.call(ctx, "", "Target.createTarget", values{"url": "about:blank", "browserContextId": p.context}, &made); err != nil {
		return nil, err
	}
	if err := b.call(ctx, "", "Target.attachToTarget", values{"targetId": made.TargetID, "flatten": true}, &made); err != nil {
		return nil, err
	}
	p.session = made.SessionID
	b.mu.Lock()
	b.pages[p.session] = p
	b.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		if err := p.call(ctx, domain+".enable", nil, nil); err != nil {
			return nil, err
		}
	}
	return p, p.Look(ctx, look)
}

// Look changes how the page is looked at.
func (p *Page) Look(ctx context.Context, look Look) error {
	if look.Width == 0 {
		look.Width, look.Height = 1280, 800
	}
	scheme, headers := "light", values{}
	if look.Dark {
		scheme = "dark"
	}
	if look.User != "" {
		headers["Authorization"] = "Basic " + base64.StdEncoding.EncodeToString([]byte(look.User+":"+look.Secret))
	}
	return errors.Join(
		p.call(ctx, "Emulation.setDeviceMetricsOverride", values{"width": look.Width, "height": look.Height, "deviceScaleFactor": 1, "mobile": false}, nil),
		p.call(ctx, "Emulation.setEmulatedMedia", values{"features": []values{{"name": "prefers-color-scheme", "value": scheme}}}, nil),
		p.call(ctx, "Emulation.setScriptExecutionDisabled", values{"value": look.NoScript}, nil),
		p.call(ctx, "Network.setExtraHTTPHeaders", values{"headers": headers}, nil),
	)
}

// Close closes the page.
func (p *Page) Close(ctx context.Context) error {
	p.browser.mu.Lock()
	delete(p.browser.pages, p.session)
	p.browser.mu.Unlock()
	return p.browser.call(ctx, "", "Target.disposeBrowserContext", values{"browserContextId": p.context}, nil)
}

func (p *Page) call(ctx context.Context, method string, params, result any) error {
	return p.browser.call(ctx, p.session, method, params, result)
}

// note keeps what the page complains about: errors of scripts, refused content, answers that are missing.
func (p *Page) note(event answer) {
	var told struct {
		Type             string
		Entry            struct{ Level, Text, URL string }
		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
		Args []struct{ Value any }
	}
	_ = json.Unmarshal(event.Params, &told) // of other events nothing is wanted
	complaint := ""
	switch {
	case event.Method == "Runtime.exceptionThrown":
		complaint = told.ExceptionDetails.Text + " " + told.ExceptionDetails.Exception.Description
	case event.Method == "Log.entryAdded" && told.Entry.Level == "error":
		complaint = told.Entry.Text + " " + told.Entry.URL
	case event.Method == "Runtime.consoleAPICalled" && told.Type == "error":
		complaint = fmt.Sprint("console: ", told.Args)
	default:
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.complaints = append(p.complaints, strings.TrimSpace(complaint))
}

// Complaints are the errors of scripts and the refused content since the last call.
func (p *Page) Complaints() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := slices.Clone(p.complaints)
	p.complaints = nil
	return list
}

// Go loads a page and waits until it is complete.
func (p *Page) Go(ctx context.Context, url string) error {
	var went struct{ ErrorText, LoaderID string }
	if err := p.call(ctx, "Page.navigate", values{"url": url}, &went); err != nil {
		return err
	}
	if went.ErrorText != "" {
		return fmt.Errorf("%s: %s", url, went.ErrorText)
	}
	err := await(ctx, func() (bool, error) { // the page before may still be there, and is complete
		var tree struct {
			FrameTree struct{ Frame struct{ LoaderID string } }
		}
		err := p.call(ctx, "Page.getFrameTree", nil, &tree)
		return tree.FrameTree.Frame.LoaderID == went.LoaderID, err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	return p.Await(ctx, "true")
}

// Eval evaluates an expression in the page, a promise included; result may be nil.
func (p *Page) Eval(ctx context.Context, expression string, result any) error {
	var told struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	asked := values{"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true}
	if err := p.call(ctx, "Runtime.evaluate", asked, &told); err != nil {
		return err
	}
	if wrong := told.ExceptionDetails; wrong != nil {
		return fmt.Errorf("%.200s: %s %s", expression, wrong.Text, wrong.Exception.Description)
	}
	if result == nil || len(told.Result.Value) == 0 {
		return nil
	}
	return json.Unmarshal(told.Result.Value, result)
}

// Await waits until an expression is true. While a page is being loaded nothing is: its scripts do not listen yet.
func (p *Page) Await(ctx context.Context, expression string) error {
	err := await(ctx, func() (holds bool, err error) {
		err = p.Eval(ctx, `document.readyState === "complete" && !!(`+expression+")", &holds)
		return holds, err
	})
	if err != nil {
		return fmt.Errorf("in vain for %s: %w", expression, err)
	}
	return nil
}

// await asks until the answer is yes. An error counts as no: a page that is just replaced has no answer.
func await(ctx context.Context, ready func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		is, err := ready()
		if is && err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// Clicked is an expression for Await: it clicks on the middle of what a CSS selector finds first, unless something else lies
// there, and says whether it did. All of it happens at one moment of the page: between a mouse that is moved and one that is
// pressed, the page could put another element there.
func Clicked(selector string) string {
	return fmt.Sprintf(`(() => { const e = document.querySelector(%q); if (!e) return false;
		e.scrollIntoView({block: "center", behavior: "instant"});
		const r = e.getBoundingClientRect(), at = document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2);
		if (!e.contains(at)) return false;
		e.focus(); at.click(); return true; })()`, selector)
}

// Press presses and releases a key: Tab, Enter, Space, or one that writes a character.
func (p *Page) Press(ctx context.Context, key string) error {
	codes := map[string]int{"Tab": 9, "Enter": 13, "Space": 32, "Backspace": 8}
	press := values{"type": "keyDown", "key": key, "windowsVirtualKeyCode": codes[key], "code": key}
	switch {
	case key == "Enter":
		press["text"] = "\r"
	case key == "Space":
		press["key"], press["text"] = " ", " "
	case codes[key] == 0:
		press["text"] = key
	}
	if err := p.call(ctx, "Input.dispatchKeyEvent", press, nil); err != nil {
		return err
	}
	return p.call(ctx, "Input.dispatchKeyEvent", values{"type": "keyUp", "key": press["key"], "windowsVirtualKeyCode": codes[key], "code": key}, nil)
}

// Type presses the keys of a text.
func (p *Page) Type(ctx context.Context, text string) error {
	for _, character := range text {
		if err := p.Press(ctx, string(character)); err != nil {
			return err
		}
	}
	return nil
}

// Screenshot is a PNG of the window, or of the whole page.
func (p *Page) Screenshot(ctx context.Context, whole bool) ([]byte, error) {
	var shot struct{ Data []byte }
	err := p.call(ctx, "Page.captureScreenshot", values{"format": "png", "captureBeyondViewport": whole}, &shot)
	return shot.Data, err
}
