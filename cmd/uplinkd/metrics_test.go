package main

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// Prometheus sees an uplink doubtful, then down, at the address of the configuration.
func TestScrape(t *testing.T) {
	b := newBench(t, 2)
	b.configure(b.static(1, 1), "probe: {interval: 100ms, hold_down: 0s}\n")
	text, err := os.ReadFile(b.config)
	b.ok(err)
	b.ok(os.WriteFile(b.config, []byte(strings.Replace(string(text), "control: {", "control: {metrics: '127.0.0.1:9877', ", 1)), 0o600))
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	scrape := func() string {
		answer, err := client.Get("http://127.0.0.1:9877/metrics")
		b.ok(err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		b.ok(err)
		return string(body)
	}
	for _, line := range []string{
		`uplinkd_uplink_state{family="ipv4",state="up",uplink="isp1"} 1`, `uplinkd_uplink_active{family="ipv4",uplink="isp2"} 1`, "uplinkd_kernel_in_sync 1",
	} {
		if text := scrape(); !strings.Contains(text, line) {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
	b.ok(b.world.ISPs[0].Silence(true))
	for _, state := range []string{"doubtful", "down"} {
		b.until(state, 12*time.Second, func() bool {
			return strings.Contains(scrape(), `uplinkd_uplink_state{family="ipv4",state="`+state+`",uplink="isp1"} 1`)
		})
	}
	if answer, err := client.Get("http://127.0.0.1:9877/v1/status"); err != nil || answer.StatusCode != http.StatusNotFound {
		t.Errorf("there is more than metrics: %v", err)
	}
}
