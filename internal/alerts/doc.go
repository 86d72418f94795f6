// Package alerts holds tests only. They let the rules of deploy/prometheus fire: by promtool, minute by minute, and by a real
// Prometheus that scrapes real instances, while what each rule watches is broken and put right again.
package alerts
