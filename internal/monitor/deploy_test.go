package monitor

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// These tests keep what deploy/ has for Prometheus and Grafana true to the metrics. internal/alerts lets the rules fire.

const repository = "../.."

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// exported are the labels of every series that a monitor can have, by its name in a query.
func exported(t *testing.T) map[string][]string {
	t.Helper()
	families, err := fullMonitor().registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string][]string{}
	for _, family := range families {
		labels := []string{}
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, label.GetName())
		}
		names[family.GetName()] = labels
		if family.GetMetric()[0].GetHistogram() != nil {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				names[family.GetName()+suffix] = append(slices.Clone(labels), "le")
			}
		}
	}
	return names
}

var (
	metricName = regexp.MustCompile(`\b(?:modulo|process|go)_[a-z0-9_]+\b`)
	aggregated = regexp.MustCompile(`\b(?:by|on) \(([a-z, ]*)\)`)
)

// checkQuery says which metrics of a query do not exist, and which labels none of its metrics has.
func checkQuery(t *testing.T, where, query string, names map[string][]string) {
	t.Helper()
	found := metricName.FindAllString(query, -1)
	if len(found) == 0 {
		t.Errorf("%s: no metric in %s", where, query)
	}
	known := []string{"instance", ""} // of Prometheus; of no label
	for _, name := range found {
		labels, exists := names[name]
		if !exists {
			t.Errorf("%s: %s does not exist", where, name)
		}
		known = append(known, labels...)
	}
	for _, list := range aggregated.FindAllStringSubmatch(query, -1) {
		for label := range strings.SplitSeq(list[1], ",") {
			if !slices.Contains(known, strings.TrimSpace(label)) {
				t.Errorf("%s: no metric has the label %s in %s", where, label, query)
			}
		}
	}
}

// rule is one of deploy/prometheus/alerts.yml.
type rule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal([]byte(readFile(t, "deploy/prometheus/alerts.yml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

var (
	heading  = regexp.MustCompile(`(?m)^#+ (.+)$`)
	noAnchor = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// anchors are what links to the headings of a document end with.
func anchors(text string) (all []string) {
	for _, found := range heading.FindAllStringSubmatch(text, -1) {
		all = append(all, strings.ReplaceAll(noAnchor.ReplaceAllString(strings.ToLower(found[1]), ""), " ", "-"))
	}
	return all
}

// TestAlerts: every alert is about metrics that exist, and its paragraph in the runbook says the five things one wants to
// know at night; no paragraph is about an alert that does not exist.
func TestAlerts(t *testing.T) {
	t.Parallel()
	names, runbook := exported(t), readFile(t, "docs/runbook.md")
	var known []string
	for _, r := range rules(t) {
		known = append(known, r.Alert)
		checkQuery(t, r.Alert, r.Expr, names)
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: severity, summary or description is missing", r.Alert)
		}
		file, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "#")
		if file != "docs/runbook.md" || !slices.Contains(anchors(runbook), anchor) {
			t.Errorf("%s: %s does not exist", r.Alert, r.Annotations["runbook_url"])
		}
		_, paragraph, _ := strings.Cut(runbook, "\n## "+r.Alert+"\n")
		paragraph, _, _ = strings.Cut(paragraph, "\n## ")
		for _, part := range []string{"**Means**", "**At risk**", "**Look**", "**Put right**", "**Over**"} {
			if !strings.Contains(paragraph, part) {
				t.Errorf("%s: no %s in the runbook", r.Alert, part)
			}
		}
	}
	if len(known) < 10 {
		t.Errorf("only %d alerts", len(known))
	}
	for _, found := range heading.FindAllStringSubmatch(runbook, -1) {
		if strings.HasPrefix(found[1], "Modulo") && !slices.Contains(known, found[1]) {
			t.Errorf("the runbook is about %s, which does not exist", found[1])
		}
	}
	if text := readFile(t, "docs/metrics.md"); slices.ContainsFunc(known, func(name string) bool { return !strings.Contains(text, name) }) {
		t.Errorf("docs/metrics.md does not have all of %q", known)
	}
}

var link = regexp.MustCompile(`\]\(([^)#]*)#([^)]+)\)`)

// TestRunbookLinks: what the runbook points to is there.
func TestRunbookLinks(t *testing.T) {
	t.Parallel()
	for _, found := range link.FindAllStringSubmatch(readFile(t, "docs/runbook.md"), -1) {
		file := "runbook.md"
		if found[1] != "" {
			file = found[1]
		}
		if !slices.Contains(anchors(readFile(t, "docs/"+file)), found[2]) {
			t.Errorf("%s#%s does not exist", file, found[2])
		}
	}
}

// panel is one of a dashboard.
type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct{ Expr, RefID string }
}

// TestDashboard: every query is about metrics that exist, and the panels neither overlap nor leave the grid.
func TestDashboard(t *testing.T) {
	t.Parallel()
	var dashboard struct {
		Title, UID string
		Panels     []panel
		Templating struct {
			List []struct{ Name, Definition string }
		}
	}
	decoder := json.NewDecoder(strings.NewReader(readFile(t, "deploy/grafana/modulo.json")))
	if err := decoder.Decode(&dashboard); err != nil {
		t.Fatal(err)
	}
	names := exported(t)
	for _, variable := range dashboard.Templating.List {
		if variable.Definition != "" {
			checkQuery(t, "variable "+variable.Name, variable.Definition, names)
		}
	}
	taken := map[[2]int]string{}
	ids := map[int]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("%s: id %d is there twice", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s: no query", p.Title)
		}
		for _, target := range p.Targets {
			checkQuery(t, p.Title, target.Expr, names)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s overlaps %q, or leaves the grid, at %d, %d", p.Title, other, x, y)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	if len(ids) < 10 || dashboard.UID == "" {
		t.Errorf("%d panels, uid %q", len(ids), dashboard.UID)
	}
}
