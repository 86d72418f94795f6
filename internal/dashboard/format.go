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
	"ok":     `<path d="M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm3.7 5.1-4.4 5.1a.9.9 0 0 1-1.3 0L4 9.100l1.200-1.200 1.400 1.400 3.800-4.400Z"/>`,
	"pause":  `<path d="M3.500 2h3v12h-3Zm6 0h3v12h-3Z"/>`,
	"busy":   `<path d="M8 1.500a6.500 6.500 0 1 0 6.500 6.500h-1.900A4.600 4.600 0 1 1 8 3.400V6l4.200-3.600L8-.9Z"/>`,
	"warn":   `<path fill-rule="evenodd" d="M8 1 .6 14.500h14.800ZM7.100 5.700h1.800v4.400H7.100Zm0 5.600h1.800v1.800H7.100Z"/>`,
	"bad":    `<path fill-rule="evenodd" d="M5.100 1h5.800L15 5.100v5.800L10.900 15H5.100L1 10.900V5.100Zm0 9.600 1.300 1.300L8 10.300l1.600 1.600 1.300-1.300L9.300 9l1.600-1.600-1.300-1.300L8 7.700 6.400 6.100 5.100 7.400 6.700 9Z"/>`,
	"idle":   `<path fill-rule="evenodd" d="M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm0 2a5 5 0 1 1 0 10A5 5 0 0 1 8 3Z"/>`,
	"step":   `<path d="M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6Z"/>`,
	"lock":   `<path fill-rule="evenodd" d="M4 7V5a4 4 0 0 1 8 0v2h1v8H3V7Zm2 0h4V5a2 2 0 0 0-4 0Z"/>`,
	"hidden": `<path d="M2 1 1 2l3 3C2 6.200.8 8 .8 8S3.500 13 8 13c1.300 0 2.500-.4 3.500-1L14 14.500l1-1ZM8 11a3 3 0 0 1-2.800-4.100l3.900 3.900c-.3.1-.7.2-1.100.2Zm0-8c-.7 0-1.400.1-2 .3l1.900 1.900A3 3 0 0 1 11 8l2.200 2.200C14.500 9 15.200 8 15.200 8S12.500 3 8 3Z"/>`,
}

// icon is decoration: a word stands beside it.
func icon(name string) template.HTML {
	class := "icon"
	if name == "busy" {
		class += " turn"
	}
	return template.HTML(`<svg class="` + class + `" viewBox="0 0 16 16" aria-hidden="true" focusable="false">` + icons[name] + `</svg>`)
}
