package dashboard

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"modulo/internal/operations"
)

// A sparkline is drawn on a grid of sparkWidth by sparkHeight that the style sheet stretches.
const (
	sparkWidth  = 120
	sparkHeight = 32
)

// spark draws values, oldest first and ending now, from zero, with words for those who do not see it: an hour at most, as
// much of it as was recorded.
func spark(class, what string, values []float64, say func(float64) string) template.HTML {
	words, most := what+": nothing recorded yet", 0.0
	if n := len(values); n > 0 {
		most = slices.Max(values)
		words = fmt.Sprintf("%s over %s: now %s, at most %s", what, span(time.Duration(n)*operations.HistoryStep), say(values[n-1]), say(most))
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="spark %s" viewBox="0 0 %d %d" preserveAspectRatio="none" role="img" aria-label="%s"><title>%[4]s</title>`,
		class, sparkWidth, sparkHeight, template.HTMLEscapeString(words))
	fmt.Fprintf(&b, `<line class="base" x1="0" x2="%d" y1="%d" y2="%[2]d"/>`, sparkWidth, sparkHeight-1)
	if len(values) > 1 {
		points := pointsOf(thinned(values), most)
		line := strings.Join(points, " ")
		first, last := points[0], points[len(points)-1]
		x := func(point string) string { before, _, _ := strings.Cut(point, ","); return before }
		fmt.Fprintf(&b, `<polygon class="area" points="%s,%d %s %s,%[2]d"/><polyline class="line" points="%[3]s"/>`,
			x(first), sparkHeight-1, line, x(last))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// thinned merges neighbours until one point per unit is left, and keeps the peaks.
func thinned(values []float64) []float64 {
	merged := (len(values) + sparkWidth - 1) / sparkWidth
	if merged <= 1 {
		return values
	}
	var thin []float64
	for end := len(values); end > 0; end -= merged { // from now back
		thin = append(thin, slices.Max(values[max(0, end-merged):end]))
	}
	slices.Reverse(thin)
	return thin
}

// pointsOf stretches the values over the whole width.
func pointsOf(values []float64, most float64) []string {
	points := make([]string, len(values))
	for i, v := range values {
		y := float64(sparkHeight - 1)
		if most > 0 {
			y -= v / most * (sparkHeight - 3)
		}
		points[i] = fmt.Sprintf("%.1f,%.1f", float64(i)*sparkWidth/float64(len(values)-1), y)
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
