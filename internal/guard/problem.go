package guard

import (
	"encoding/json"
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

// Refuse answers with a problem; a browser that asked for a page gets a line to read.
func Refuse(w http.ResponseWriter, r *http.Request, status int, detail string) {
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Error(w, http.StatusText(status)+": "+detail, status)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Problem{"about:blank", http.StatusText(status), status, detail}) // who is gone misses nothing
}
