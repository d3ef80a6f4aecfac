package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"uplinkd/internal/figures"
	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// Lines of 100, 50 and 25 Mbit/s, at 4:2:1, by sixty flows: how much of them is used.
func TestFigureThroughput(t *testing.T) {
	labtest.Bench(t)
	labtest.NeedRoot(t, "tc")
	b := newBench(t, 3)
	b.configure(b.static(4, 2, 1), "")
	b.start()
	b.untilStates(10*time.Second, "up", "up", "up")
	rates := []float64{100, 50, 25}
	for i, rate := range rates {
		b.kernel(fmt.Sprintf("tc qdisc add dev eth%d root tbf rate %.0fmbit burst 64kb latency 30ms", i+1, rate))
	}
	b.serveAt(b.world.Internet, "0.0.0.0:7002", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	for k := range 60 {
		conn, err := net.Dial("tcp4", netip.AddrPortFrom(lab.Somewhere(1000+k), 7002).String())
		b.ok(err)
		t.Cleanup(func() { _ = conn.Close() })
		go func() {
			chunk := make([]byte, 64<<10)
			for {
				if _, err := conn.Write(chunk); err != nil {
					return
				}
			}
		}()
	}
	sent := func() (n [3]float64) {
		for i := range n {
			out, err := exec.Command("ip", "-j", "-s", "link", "show", fmt.Sprintf("eth%d", i+1)).Output()
			b.ok(err)
			var links []struct {
				Stats struct{ TX struct{ Bytes float64 } } `json:"stats64"`
			}
			b.ok(json.Unmarshal(out, &links))
			n[i] = links[0].Stats.TX.Bytes
		}
		return n
	}
	var shares []float64
	var each [3][]float64
	time.Sleep(3 * time.Second)
	for range 5 {
		before, began := sent(), time.Now()
		time.Sleep(2 * time.Second)
		after, took := sent(), time.Since(began).Seconds()
		sum := 0.0
		for i := range rates {
			mbit := (after[i] - before[i]) * 8 / 1e6 / took
			each[i] = append(each[i], mbit)
			sum += mbit
		}
		shares = append(shares, 100*sum/175)
	}
	all := figures.SpreadOf(shares)
	t.Logf("%s%% of the sum", all)
	if all.Median < 97 {
		t.Errorf("%s%% of the sum of the lines is used, want 97%% at least", all)
	}
	table := figures.Table{
		Title:   "Throughput",
		About:   "Lines of 100, 50 and 25 Mbit/s (tbf) at weights 4:2:1, sixty TCP connections of this host, five times two seconds.",
		Command: "UPLINKD_BENCH=1 go test -run TestFigureThroughput ./cmd/uplinkd",
		Limit:   "a connection keeps to its line: with few of them a line may have none.",
		Columns: []string{"100 Mbit/s line", "50", "25", "of the sum, %"},
		Rows: [][]string{{
			figures.SpreadOf(each[0]).String(), figures.SpreadOf(each[1]).String(), figures.SpreadOf(each[2]).String(), all.String(),
		}},
	}
	if err := table.Keep(); err != nil {
		t.Fatal(err)
	}
}
