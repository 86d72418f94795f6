package dashboard

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"
)

// count writes a number with commas, as in 1,234,567.
func count[N int | int64](n N) string {
	text := strconv.FormatInt(int64(n), 10)
	sign := ""
	if text[0] == '-' {
		sign, text = "-", text[1:]
	}
	var parts []string
	for len(text) > 3 {
		parts = append([]string{text[len(text)-3:]}, parts...)
		text = text[:len(text)-3]
	}
	return sign + strings.Join(append([]string{text}, parts...), ",")
}

// rate writes rows per second: 0, 0.4, 12, 1,234.
func rate(perSecond float64) string {
	if perSecond > 0 && perSecond < 10 {
		return strconv.FormatFloat(perSecond, 'f', 1, 64)
	}
	return count(int64(math.Round(perSecond)))
}

// span writes a duration in its two largest units, as in 3.2 s, 4 min 10 s, 2 d 3 h.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 9950*time.Millisecond:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return two(d, time.Minute, "min", time.Second, "s")
	case d < 24*time.Hour:
		return two(d, time.Hour, "h", time.Minute, "min")
	}
	return two(d, 24*time.Hour, "d", time.Hour, "h")
}

func two(d, large time.Duration, largeName string, small time.Duration, smallName string) string {
	if rest := d % large / small; rest > 0 {
		return fmt.Sprintf("%d %s %d %s", d/large, largeName, rest, smallName)
	}
	return fmt.Sprintf("%d %s", d/large, largeName)
}

// moment writes a time as people say it, "12 s ago" or "in 3 min", with the exact one in UTC beside it.
func moment(now, at time.Time) template.HTML {
	if at.IsZero() {
		return `<span class="muted">never</span>`
	}
	words := "now"
	switch d := now.Sub(at).Truncate(time.Second); {
	case d >= time.Second:
		words = span(d) + " ago"
	case d <= -time.Second:
		words = "in " + span(-d)
	}
	words = strings.Replace(words, ".0 s", " s", 1)
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s">%s</time>`, // nothing of it comes from outside
		at.UTC().Format(time.RFC3339Nano), at.UTC().Format("2006-01-02 15:04:05.000 UTC"), words))
}

// exact writes a time in UTC.
func exact(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05 UTC") }

// plural is "1 row" or "5 rows".
func plural[N int | int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// icons are drawn on 16 by 16; a state is told by its shape, its word and its colour.
var icons = map[string]string{
	"ok":     `<path d="M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm3.7 5.1-4.4 5.1a.9.9 0 0 1-1.3 0L4 9.1l1.2-1.2 1.4 1.4 3.8-4.4Z"/>`,
	"pause":  `<path d="M3.5 2h3v12h-3Zm6 0h3v12h-3Z"/>`,
	"busy":   `<path d="M8 1.5a6.5 6.5 0 1 0 6.5 6.5h-1.9A4.6 4.6 0 1 1 8 3.4V6l4.2-3.6L8-.9Z"/>`,
	"warn":   `<path fill-rule="evenodd" d="M8 1 .6 14.5h14.8ZM7.1 5.7h1.8v4.4H7.1Zm0 5.6h1.8v1.8H7.1Z"/>`,
	"bad":    `<path fill-rule="evenodd" d="M5.1 1h5.8L15 5.1v5.8L10.9 15H5.1L1 10.9V5.1Zm0 9.6 1.3 1.3L8 10.3l1.6 1.6 1.3-1.3L9.3 9l1.6-1.6-1.3-1.3L8 7.7 6.4 6.1 5.1 7.4 6.7 9Z"/>`,
	"idle":   `<path fill-rule="evenodd" d="M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm0 2a5 5 0 1 1 0 10A5 5 0 0 1 8 3Z"/>`,
	"step":   `<path d="M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6Z"/>`,
	"lock":   `<path fill-rule="evenodd" d="M4 7V5a4 4 0 0 1 8 0v2h1v8H3V7Zm2 0h4V5a2 2 0 0 0-4 0Z"/>`,
	"hidden": `<path d="M2 1 1 2l3 3C2 6.2.8 8 .8 8S3.5 13 8 13c1.3 0 2.5-.4 3.5-1L14 14.5l1-1ZM8 11a3 3 0 0 1-2.8-4.1l3.9 3.9c-.3.1-.7.2-1.1.2Zm0-8c-.7 0-1.4.1-2 .3l1.9 1.9A3 3 0 0 1 11 8l2.2 2.2C14.5 9 15.2 8 15.2 8S12.5 3 8 3Z"/>`,
}

// icon is decoration: a word stands beside it.
func icon(name string) template.HTML {
	class := "icon"
	if name == "busy" {
		class += " turn"
	}
	return template.HTML(`<svg class="` + class + `" viewBox="0 0 16 16" aria-hidden="true" focusable="false">` + icons[name] + `</svg>`)
}
