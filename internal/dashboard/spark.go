package dashboard

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"modulo/internal/operations"
)

// A sparkline is drawn on a grid of sparkWidth by sparkHeight that the style sheet stretches.
const (
	sparkWidth  = 120
	sparkHeight = 32
)

// spark draws an hour of values, oldest first and ending now, with words for those who do not see it. Values are drawn
// from zero; a start in the middle is left empty on the left.
func spark(class, what string, values []float64, say func(float64) string) template.HTML {
	var most float64
	for _, v := range values {
		most = max(most, v)
	}
	words := what + ": nothing recorded yet"
	if n := len(values); n > 0 {
		words = fmt.Sprintf("%s over %s: now %s, at most %s", what, span(time.Duration(n)*operations.HistoryStep), say(values[n-1]), say(most))
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="spark %s" viewBox="0 0 %d %d" preserveAspectRatio="none" role="img" aria-label="%s"><title>%[4]s</title>`,
		class, sparkWidth, sparkHeight, template.HTMLEscapeString(words))
	fmt.Fprintf(&b, `<line class="base" x1="0" x2="%d" y1="%d" y2="%[2]d"/>`, sparkWidth, sparkHeight-1)
	if points := pointsOf(thinned(values), most); len(points) > 1 {
		line := strings.Join(points, " ")
		first, last := points[0], points[len(points)-1]
		x := func(point string) string { before, _, _ := strings.Cut(point, ","); return before }
		fmt.Fprintf(&b, `<polygon class="area" points="%s,%d %s %s,%[2]d"/><polyline class="line" points="%[3]s"/>`,
			x(first), sparkHeight-1, line, x(last))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// thinned halves the number of values until they fit, and keeps the peaks.
func thinned(values []float64) []float64 {
	const merged = operations.HistoryLen / sparkWidth
	var thin []float64
	for end := len(values); end > 0; end -= merged { // from now back, so that a point stays what it is
		peak := 0.0
		for _, v := range values[max(0, end-merged):end] {
			peak = max(peak, v)
		}
		thin = append(thin, peak)
	}
	for i, j := 0, len(thin)-1; i < j; i, j = i+1, j-1 {
		thin[i], thin[j] = thin[j], thin[i]
	}
	return thin
}

func pointsOf(values []float64, most float64) []string {
	points := make([]string, len(values))
	for i, v := range values {
		y := float64(sparkHeight - 1)
		if most > 0 {
			y -= v / most * (sparkHeight - 3)
		}
		points[i] = fmt.Sprintf("%d,%.1f", sparkWidth-len(values)+1+i, y)
	}
	return points
}

// barOf draws a share between 0 and 1. It repeats what a number beside it says.
func barOf(share float64, class string) template.HTML {
	const width = 100
	filled := min(max(share, 0), 1) * width
	return template.HTML(fmt.Sprintf(`<svg class="bar %s" viewBox="0 0 %d 6" preserveAspectRatio="none" aria-hidden="true" focusable="false">`+
		`<rect class="track" width="%[2]d" height="6" rx="1.5"/><rect class="fill" width="%.1f" height="6" rx="1.5"/></svg>`, class, width, filled))
}
