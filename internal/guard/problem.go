package guard

import (
	"encoding/json"
	"net/http"
)

// Problem is the body of an answer that is an error (RFC 9457).
type Problem struct {
	Type   string `json:"type"` // always "about:blank": the status says what kind it is
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"` // for people
}

// Refuse answers with a problem.
func Refuse(w http.ResponseWriter, _ *http.Request, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Problem{"about:blank", http.StatusText(status), status, detail}) // who is gone misses nothing
}
