package guard

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"strings"
)

// Problem is the body of an answer that is an error (RFC 9457).
type Problem struct {
	Type   string `json:"type"` // always "about:blank": the status says what kind it is
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"` // for people
}

// Refuse answers with a problem; a browser that wants a page gets a plain one.
func Refuse(w http.ResponseWriter, r *http.Request, status int, detail string) {
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(status)
		title := html.EscapeString(http.StatusText(status))
		_, _ = fmt.Fprintf(w, `<!doctype html><html lang="en"><title>%s</title><h1>%[1]s</h1><p>%s</p></html>`, title, html.EscapeString(detail))
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Problem{"about:blank", http.StatusText(status), status, detail}) // who is gone misses nothing
}
