package alerts

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"modulo/internal/local"
	"modulo/internal/programtest"
)

const rulesFile = "../../deploy/prometheus/alerts.yml"

// hasty shortens the times of the rules, and nothing else. Rows are counted every five seconds, so old counts are older. What
// happens once is seen for long enough that a machine which stops for some seconds does not miss it.
var hasty = strings.NewReplacer(
	"for: 1m\n", "for: 1s\n", "for: 2m\n", "for: 1s\n", "for: 5m\n", "for: 1s\n", "for: 10m\n", "for: 1s\n", "for: 1h\n", "for: 1s\n",
	"[10m]", "[8s]", "offset 10m", "offset 8s", "[15m]", "[8s]", "> 300", "> 8",
)

const prometheusSettings = `
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs:
  - {job_name: modulo, honor_labels: true, file_sd_configs: [{files: [targets.json]}]}
  - {job_name: careless, file_sd_configs: [{files: [careless.json]}]}
`

// prometheus is a real one that looks every second. It scrapes nothing until it is told to.
type prometheus struct {
	t    testing.TB
	dir  string
	port local.Port // of our choice: it does not tell which it has chosen
}

func startPrometheus(t testing.TB) *prometheus {
	t.Helper()
	port, err := local.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	p := &prometheus{t: t, dir: t.TempDir(), port: port}
	rules, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	p.write("rules.yml", hasty.Replace(string(rules)))
	p.write("prometheus.yml", prometheusSettings)
	p.scrape("targets.json")
	p.scrape("careless.json")
	log, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address="+p.port.Addr())
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	exited, err := local.Launch(cmd, syscall.SIGKILL)
	if err != nil {
		t.Fatalf("%v: `make install` installs it", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-exited
		if text, err := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("prometheus: %v\n%s", err, text)
		}
	})
	p.within("prometheus is ready", func() bool {
		answer, err := http.Get("http://" + p.port.Addr() + "/-/ready")
		if err == nil {
			_ = answer.Body.Close()
		}
		return err == nil && answer.StatusCode == http.StatusOK
	})
	return p
}

func (p *prometheus) write(name, text string) {
	p.t.Helper()
	unfinished := filepath.Join(p.dir, name+".new") // renamed at once: it is read when it changes
	if err := os.WriteFile(unfinished, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(unfinished, filepath.Join(p.dir, name)); err != nil {
		p.t.Fatal(err)
	}
}

// scrape lets a scrape configuration have these targets and no others.
func (p *prometheus) scrape(file string, targets ...string) {
	p.t.Helper()
	quoted, err := json.Marshal(append([]string{}, targets...))
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(file, fmt.Sprintf(`[{"targets": %s}]`, quoted))
}

// ask returns what an address of the API says.
func (p *prometheus) ask(path string, into any) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.port.Addr()+"/api/v1/"+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil || answer.StatusCode != http.StatusOK {
		p.t.Fatalf("%s: %s, %v, %v", path, answer.Status, err, into)
	}
}

// count is how many series a query finds.
func (p *prometheus) count(query string) int {
	p.t.Helper()
	var answer struct {
		Data struct{ Result []json.RawMessage }
	}
	p.ask("query?query="+url.QueryEscape(query), &answer)
	return len(answer.Data.Result)
}

// alert is one that is pending or fires.
type alert struct {
	State  string
	Labels map[string]string
}

// name is that of the rule, and of the job if it is about one of ours, as in "ModuloRowsWait locked".
func (a alert) name() string {
	if job := a.Labels["job"]; job != "" && job != "modulo" {
		return a.Labels["alertname"] + " " + job
	}
	return a.Labels["alertname"]
}

func (p *prometheus) alerts() (all []alert) {
	p.t.Helper()
	var answer struct{ Data struct{ Alerts []alert } }
	p.ask("alerts", &answer)
	return answer.Data.Alerts
}

// watch looks at the alerts until something holds, and notes those that fire.
func (p *prometheus) watch(fired map[string]bool, what string, holds func(now []alert) bool) {
	p.t.Helper()
	var now []alert
	defer func() {
		if p.t.Failed() {
			p.t.Logf("%s: seen so far %v, now %v", what, fired, now)
		}
	}()
	p.within(what, func() bool {
		now = p.alerts()
		for _, a := range now {
			if a.State == "firing" {
				fired[a.name()] = true
			}
		}
		return holds(now)
	})
}

// awaitFired waits until each of the alerts has fired.
func (p *prometheus) awaitFired(fired map[string]bool, names ...string) {
	p.t.Helper()
	p.watch(fired, strings.Join(names, ", ")+" fire", func([]alert) bool {
		return !slices.ContainsFunc(names, func(name string) bool { return !fired[name] })
	})
}

// awaitQuiet waits until no alert fires, or is about to.
func (p *prometheus) awaitQuiet(fired map[string]bool) {
	p.t.Helper()
	p.watch(fired, "all alerts have cleared", func(now []alert) bool { return len(now) == 0 })
}

// patience bounds every wait.
const patience = programtest.Patience

func (p *prometheus) within(what string, holds func() bool) {
	p.t.Helper()
	programtest.Within(p.t, patience, what, func() (bool, error) { return holds(), nil })
}

// TestRules: promtool's own tests of the rules.
func TestRules(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"check", "config", "prometheus.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.CommandContext(t.Context(), "promtool", args...)
		cmd.Dir = filepath.Dir(rulesFile)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v (`make install` installs it)\n%s", args, err, out)
		}
	}
}
