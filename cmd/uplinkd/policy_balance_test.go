package main

import (
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"uplinkd/internal/lab/labtest"
)

// A shareSample is the part of the new connections of two seconds that left by the first of two uplinks.
type shareSample struct {
	at    time.Duration
	first float64 // percent
}

// Phases of a measurement of balances: both alike, the first loaded or slow, and both alike again.
const (
	alike  = 20 * time.Second
	loaded = 50 * time.Second
	again  = 50 * time.Second
)

// sharesOver opens connections from the LAN for all phases, and returns how they were shared.
func (b *bench) sharesOver(change func(loaded bool)) []shareSample {
	b.Helper()
	var list []shareSample
	began := time.Now()
	phase := 0
	for {
		now := time.Since(began)
		switch {
		case phase == 0 && now >= alike:
			change(true)
			phase = 1
		case phase == 1 && now >= alike+loaded:
			change(false)
			phase = 2
		case now >= alike+loaded+again:
			return list
		}
		first, all := 0, 0
		for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if isp, err := b.fromLAN(all); err == nil {
				all++
				if isp == 1 {
					first++
				}
			}
		}
		list = append(list, shareSample{time.Since(began), 100 * float64(first) / float64(max(all, 1))})
	}
}

// settled returns the mean share and how far single samples are from it, of those between two moments.
func settled(list []shareSample, from, until time.Duration) (mean, swing float64) {
	n := 0.0
	for _, s := range list {
		if s.at > from && s.at <= until {
			mean += s.first
			n++
		}
	}
	mean /= n
	for _, s := range list {
		if s.at > from && s.at <= until {
			swing = max(swing, math.Abs(s.first-mean))
		}
	}
	return mean, swing
}

// reached returns how long after a moment a share is within ten percent points of one, and stays so for ten seconds.
func reached(list []shareSample, from time.Duration, want float64) time.Duration {
	since := time.Duration(-1)
	for _, s := range list {
		if s.at < from {
			continue
		}
		if math.Abs(s.first-want) > 10 {
			since = -1
		} else if since < 0 {
			since = s.at - from
		}
		if since >= 0 && s.at-from-since >= 10*time.Second {
			return since
		}
	}
	return -1
}

// Balances on two links of 16 Mbit/s, or of 10 ms: how near the shares of new connections come to what is free, or to
// the round trips, how long that takes when the first is loaded with three quarters of it, or four times as far, and
// whether the shares swing. The plot of docs/flows.md is of this, by UPLINKD_UPDATE=1.
func TestPolicyBalances(t *testing.T) {
	labtest.Bench(t)
	plots := map[string][]shareSample{}
	for _, tt := range []struct {
		balance string
		want    float64 // percent of the first, while it is loaded
	}{{"least-traffic", 20}, {"response-time", 20}} {
		t.Run(tt.balance, func(t *testing.T) {
			b := slowBench(t, 2)
			for _, isp := range b.world.ISPs {
				b.ok(isp.Delay(5*time.Millisecond, 0))
			}
			b.gateway([]int{1, 1}, []string{"bandwidth: 16Mbit", "bandwidth: 16Mbit"}, "probe: {hold_down: 0s}\n"+
				"routes: {balance: "+tt.balance+", balance_interval: 2s}\npolicies: [{name: load, to: 198.18.7.0/24, via: isp1}]\n")
			b.start()
			b.untilStates(10*time.Second, "up", "up")
			unload := func() {}
			list := b.sharesOver(func(loaded bool) {
				switch {
				case tt.balance == "response-time" && loaded:
					b.ok(b.world.ISPs[0].Delay(20*time.Millisecond, 0))
				case tt.balance == "response-time":
					b.ok(b.world.ISPs[0].Delay(5*time.Millisecond, 0))
				case loaded:
					unload = b.load(12_000_000)
				default:
					unload()
				}
			})
			before, _ := settled(list, 6*time.Second, alike)
			during, swing := settled(list, alike+loaded/2, alike+loaded)
			after, _ := settled(list, alike+loaded+again-15*time.Second, alike+loaded+again)
			t.Logf("%s: %.1f%% by the first, loaded %.1f%% (of %.0f%%; samples within %.1f of it), then %.1f%%; within ten points after %v, and back after %v",
				tt.balance, before, during, tt.want, swing, after,
				reached(list, alike, tt.want).Round(time.Second), reached(list, alike+loaded, 50).Round(time.Second))
			plots[tt.balance] = list
			if math.Abs(before-50) > 8 || math.Abs(during-tt.want) > 8 || math.Abs(after-50) > 8 {
				t.Errorf("the shares are not what is free")
			}
		})
	}
	if os.Getenv("UPLINKD_UPDATE") != "" && !t.Failed() {
		if err := os.WriteFile("../../docs/balance.svg", []byte(plotShares(plots)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// load sends so many bits a second by the first uplink, and returns what ends that.
func (b *bench) load(rate int) (end func()) {
	b.Helper()
	flows, _ := b.open(1, at256(7), func(n int) (*flow, error) { return b.dialTCP(n, net.Dial) })
	conn := flows[0].conn
	var all sync.WaitGroup
	stop := make(chan struct{})
	all.Go(func() { _, _ = io.Copy(io.Discard, conn) })
	all.Go(func() {
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for chunk := make([]byte, rate/8/100); ; <-ticker.C {
			select {
			case <-stop:
				_ = conn.Close()
				return
			default:
			}
			if _, err := conn.Write(chunk); err != nil {
				return
			}
		}
	})
	end = sync.OnceFunc(func() { close(stop); all.Wait() })
	b.Cleanup(end)
	return end
}

// plotShares draws the shares over time.
func plotShares(plots map[string][]shareSample) string {
	var s strings.Builder
	x := func(d time.Duration) float64 { return 40 + d.Seconds()*6 }
	y := func(percent float64) float64 { return 210 - 2*percent }
	s.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 250" font-family="sans-serif" font-size="11">` +
		`<rect width="780" height="250" fill="white"/>`)
	fmt.Fprintf(&s, `<rect x="%.0f" y="10" width="%.0f" height="200" fill="#eee"/>`, x(alike), x(loaded)-x(0))
	for _, percent := range []float64{0, 20, 50, 100} {
		fmt.Fprintf(&s, `<line x1="40" x2="770" y1="%.0f" y2="%.0f" stroke="#ccc"/><text x="8" y="%.0f">%.0f %%</text>`,
			y(percent), y(percent), y(percent)+4, percent)
	}
	for n, balance := range []string{"least-traffic", "response-time"} {
		colour := []string{"#1f6fb2", "#c0562f"}[n]
		var points []string
		for _, p := range plots[balance] {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(p.at), y(p.first)))
		}
		fmt.Fprintf(&s, `<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/><text x="%d" y="240" fill="%s">%s</text>`,
			colour, strings.Join(points, " "), 520+120*n, colour, balance)
	}
	s.WriteString(`<text x="40" y="228">0 s</text><text x="735" y="228">120 s</text>` +
		`<text x="40" y="240">part of new connections by the first uplink; grey: it is loaded, or slow</text></svg>` + "\n")
	return s.String()
}
