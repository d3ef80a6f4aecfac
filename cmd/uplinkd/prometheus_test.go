package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/lab/labtest"
)

// tool returns a program of Debian's package prometheus.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		labtest.Skip(t, "needs "+name+" (package prometheus)")
	}
	return path
}

// Each alert fires by its series, and on a host where all is well none does.
func TestAlerts(t *testing.T) {
	promtool := tool(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = "../../configs/prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// A prometheus is a real one that scrapes the daemon each second.
type prometheus struct {
	*bench
	client http.Client
}

func (b *bench) startPrometheus(path string) *prometheus {
	b.Helper()
	dir := b.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	b.ok(os.WriteFile(config, []byte("global: {scrape_interval: 1s, scrape_timeout: 1s}\n"+
		"scrape_configs: [{job_name: uplinkd, static_configs: [{targets: ['127.0.0.1:9877']}]}]\n"), 0o600))
	cmd := exec.Command(path, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address=127.0.0.1:9090", "--enable-feature=native-histograms")
	b.ok(cmd.Start())
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	p := &prometheus{bench: b, client: http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	b.until("prometheus has scraped", 20*time.Second, func() bool {
		values, err := p.query("uplinkd_build_info")
		return err == nil && values == 1
	})
	return p
}

// query returns how many numbers a query has: what is no number does not count.
func (p *prometheus) query(expr string) (int, error) {
	answer, err := p.client.Get("http://127.0.0.1:9090/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err
	}
	var found struct {
		Error string
		Data  struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.Unmarshal(body, &found); err != nil || found.Error != "" {
		return 0, fmt.Errorf("%s: %s, %w", expr, found.Error, err)
	}
	numbers := 0
	for _, r := range found.Data.Result {
		if text, ok := r.Value[1].(string); ok && text != "NaN" {
			numbers++
		}
	}
	return numbers, nil
}

// panels returns the queries of the dashboard, with its variables filled in.
func panels(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../configs/grafana/uplinkd.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	list := map[string]string{}
	fill := strings.NewReplacer("$instance", ".*", "$uplink", ".*", "$__rate_interval", "15s", "$__range", "5m")
	for _, p := range dashboard.Panels {
		for n, target := range p.Targets {
			list[fmt.Sprintf("%s, %d", p.Title, n)] = fill.Replace(target.Expr)
		}
	}
	if len(list) < 20 {
		t.Fatalf("only %d queries in the dashboard", len(list))
	}
	return list
}

// After an outage no panel of the dashboard is empty, asked of a real Prometheus; and what it scraped passes
// promtool's own rules.
func TestDashboard(t *testing.T) {
	labtest.Measured(t)
	server, promtool := tool(t, "prometheus"), tool(t, "promtool")
	queries := panels(t)
	b := newBench(t, 2)
	b.configure(b.dhcp(time.Hour, 1, 1), "probe: {interval: 100ms, hold_down: 0s}\n")
	text, err := os.ReadFile(b.config)
	b.ok(err)
	b.ok(os.WriteFile(b.config, []byte(strings.Replace(string(text), "control: {", "control: {metrics: '127.0.0.1:9877', ", 1)), 0o600))
	b.start()
	b.untilStates(20*time.Second, "up", "up")
	p := b.startPrometheus(server)
	b.openHere(20, b.dialTCPHere)
	time.Sleep(3 * time.Second)
	b.ok(b.world.ISPs[0].Silence(true))
	b.untilStates(12*time.Second, "down", "up")
	var empty []string
	b.until("every panel has numbers", 20*time.Second, func() bool {
		empty = nil
		for name, expr := range queries {
			if n, err := p.query(expr); err != nil || n == 0 {
				empty = append(empty, fmt.Sprintf("%s: %s: %d %v", name, expr, n, err))
			}
		}
		if len(empty) > 0 {
			time.Sleep(300 * time.Millisecond)
		}
		return len(empty) == 0
	})
	t.Logf("%d queries, empty: %s", len(queries), strings.Join(empty, "\n"))
	answer, err := p.client.Get("http://127.0.0.1:9877/metrics")
	b.ok(err)
	defer answer.Body.Close()
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = answer.Body
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
