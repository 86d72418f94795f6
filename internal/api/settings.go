package api

import "modulo/internal/config"

func settings(r *request) (any, error) {
	return struct {
		Settings []config.Setting `json:"settings"`
	}{r.console.Settings}, nil
}

func checkup(r *request) (any, error) { return r.console.Checkup(), nil }

func examine(r *request) (any, error) {
	if _, err := body[struct{}](r); err != nil {
		return nil, err
	}
	return r.console.Examine(r.Context())
}
