package store

import (
	"testing"
	"time"
)

// Behind a pooler nothing may be set that it refuses; otherwise the plan settings go with each connection.
func TestPoolConfig(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"postgres://u@h/d": "force_generic_plan",
		"postgres://u@h/d?default_query_exec_mode=exec":            "",
		"postgres://u@h/d?default_query_exec_mode=simple_protocol": "",
		"postgres://u@h/d?default_query_exec_mode=cache_describe":  "",
		"host=h default_query_exec_mode=exec":                      "",
	} {
		config, err := poolConfig(Config{URL: url, MaxConns: 3})
		if err != nil {
			t.Fatal(err)
		}
		params := config.ConnConfig.RuntimeParams
		if params["plan_cache_mode"] != want || params["application_name"] != "modulo" || config.MaxConns != 3 {
			t.Errorf("%s: %v, %d connections", url, params, config.MaxConns)
		}
		if config.ConnConfig.ValidateConnect == nil || config.ConnConfig.ConnectTimeout != connectTimeout {
			t.Errorf("%s: no check for a read-only server, or no connect timeout", url)
		}
	}
	config, err := poolConfig(Config{URL: "postgres://u@h/d?target_session_attrs=any&application_name=mine&connect_timeout=7"})
	if err != nil {
		t.Fatal(err)
	}
	if c := config.ConnConfig; c.ValidateConnect != nil || c.RuntimeParams["application_name"] != "mine" || c.ConnectTimeout != 7*time.Second {
		t.Errorf("what the URL says is not kept: %+v", c.RuntimeParams)
	}
}
