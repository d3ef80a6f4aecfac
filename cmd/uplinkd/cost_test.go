package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"uplinkd/internal/figures"
	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// A forwarding is a gateway whose configuration is changed between measurements.
type forwarding struct {
	*bench
	text   string // of the configuration, that masquerades
	server string
}

// forwards are the configurations, the dearer the later.
var forwards = []string{"neither", "masquerade", "marks and masquerade"}

// newForwarding makes a gateway whose LAN has an address that the ISP leads to it, so that none need be translated.
func newForwarding(t *testing.T) *forwarding {
	t.Helper()
	f := &forwarding{bench: gatewayBench(t, []int{1}, nil, ""), server: lab.Somewhere(1).String()}
	isp := f.world.ISPs[0]
	client := isp.Static.Addr()
	for range 90 {
		client = client.Next()
	}
	f.ok(isp.Delegate(netip.PrefixFrom(client, 32), isp.Static.Addr()))
	f.kernel(fmt.Sprintf("ip route replace %s/32 dev lan0", client))
	f.at(f.world.Client, fmt.Sprintf("ip addr add %s/32 dev eth0; ip route replace default via %s src %[1]s", client, lab.LANHost.Addr()))
	f.swallow()
	f.start()
	f.untilStates(5*time.Second, "up")
	f.in(f.world.Internet, "iperf3", "-s", "-B", f.server)
	text, err := os.ReadFile(f.config)
	f.ok(err)
	f.text = string(text)
	return f
}

// as has the daemon take a configuration over.
func (f *forwarding) as(name string) {
	f.Helper()
	marks, masquerade := name == forwards[2], name != forwards[0]
	text := strings.Replace(f.text, "state_dir:", fmt.Sprintf("marks: %t\nstate_dir:", marks), 1)
	text = strings.ReplaceAll(text, "masquerade: true", fmt.Sprintf("masquerade: %t", masquerade))
	f.ok(os.WriteFile(f.config, []byte(text), 0o600))
	f.ok(f.cmd.Process.Signal(syscall.SIGHUP))
	f.until("the table is as wanted", 2*time.Second, func() bool {
		table := f.kernel("nft list table inet uplinkd 2>/dev/null || true")
		return strings.Contains(table, "chain postrouting") == marks && strings.Contains(table, "masquerade") == masquerade
	})
}

// stream returns how many Gbit/s one TCP connection of the LAN brings.
func (f *forwarding) stream(seconds string) float64 {
	f.Helper()
	var out []byte
	f.inLAN(func() (err error) {
		for range 20 { // until the server listens
			out, err = exec.Command("iperf3", "-c", f.server, "-t", seconds, "-J").Output()
			if err == nil {
				return nil
			}
			time.Sleep(100 * time.Millisecond)
		}
		return fmt.Errorf("%w: %s", err, out)
	})
	var result struct {
		End struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	f.ok(json.Unmarshal(out, &result))
	return result.End.Received.BitsPerSecond / 1e9
}

// What masquerading and marks cost what is forwarded: a stream, and floods of small packets, with and without, in
// turns. UPLINKD_RUNS says how often; `make bench` sets it, and only then is the promised figure held, and are there
// floods: a short run on a busy machine says too little.
func TestMarksCostLittle(t *testing.T) {
	labtest.NeedRoot(t, "iperf3", "conntrack", "nft")
	rounds, seconds, most := 2, "1", 0.30
	whole := os.Getenv("UPLINKD_RUNS") != ""
	if whole {
		rounds, seconds, most = runsOr(t, 9), "2", 0.05
	}
	f := newForwarding(t)
	kinds := []string{"one TCP connection, Gbit/s"}
	if whole {
		kinds = append(kinds, "flood of known flows, packets a second", "flood of first packets")
	}
	measure := func(name string) (of [3]float64) {
		f.as(name)
		of[0] = f.stream(seconds)
		if whole {
			of[1], of[2] = f.flood(time.Second, false), f.flood(time.Second, true)
		}
		return of
	}
	// Each is compared with the mean of those before and after it: what else the machine does comes and goes.
	// The dearest is between two that only masquerade, and those are between two that do neither.
	var values [3][3][]float64 // by configuration and kind
	var left [3][3][]float64   // what is left of the cheaper one's
	plain := measure(forwards[0])
	for range rounds {
		before, marked, after, next := measure(forwards[1]), measure(forwards[2]), measure(forwards[1]), measure(forwards[0])
		for k := range kinds {
			masqueraded := (before[k] + after[k]) / 2
			left[1][k] = append(left[1][k], 2*masqueraded/(plain[k]+next[k]))
			left[2][k] = append(left[2][k], marked[k]/masqueraded)
			for c, v := range []float64{next[k], masqueraded, marked[k]} {
				values[c][k] = append(values[c][k], v)
			}
		}
		plain = next
	}
	table := figures.Table{
		Title:   "Forwarding",
		About:   "Through the gateway, from an address that the ISP leads to it: untouched, masqueraded, and with `marks` besides, in turns.",
		Command: "UPLINKD_RUNS=3 go test -run TestMarksCostLittle ./cmd/uplinkd",
		Limit:   "veth: what a packet takes of a processor. Masquerading has the kernel track connections, whoever asks for it. With marks a known flow is asked by one look-up in a map, and its mark is set.",
		Columns: []string{"", "neither", "masqueraded", "less, %", "marks besides", "less than masqueraded, %"},
	}
	fewer := func(left []float64) string {
		s := figures.SpreadOf(left)
		return fmt.Sprintf("%.1f (%.1f – %.1f)", 100*(1-s.Median), 100*(1-s.Most), 100*(1-s.Least))
	}
	for k, kind := range kinds {
		cells := []string{kind}
		for c := range forwards {
			cells = append(cells, figures.SpreadOf(values[c][k]).String())
			if c > 0 {
				cells = append(cells, fewer(left[c][k]))
			}
		}
		t.Log(cells)
		table.Rows = append(table.Rows, cells)
	}
	f.kept(table, rounds > 2)
	if cost := 1 - figures.SpreadOf(left[2][0]).Median; cost > most {
		t.Errorf("%.1f%% less with marks, want %.0f%% at most", 100*cost, 100*most)
	}
}

// kept keeps a table for docs/benchmarks.md, unless it was measured for a test alone.
func (b *bench) kept(table figures.Table, whole bool) {
	b.Helper()
	if whole {
		b.ok(table.Keep())
	}
}

// mostIdle returns what a daemon may use of a core, in percent. `make bench` holds it to what
// is promised; in `make test`, on a busy machine whose system calls may cost ten times as
// much as another's, to what only a loop that spins would exceed.
func mostIdle() time.Duration {
	if os.Getenv("UPLINKD_BENCH") != "" {
		return 1
	}
	return 4
}

// Idle with three uplinks at the default pace: under 1 % of a core, under 30 MB.
func TestIdle(t *testing.T) {
	labtest.Measured(t)
	b := newBench(t, 3)
	b.configure(b.dhcp(time.Hour, 1, 1, 1), "")
	b.launch(exec.Command(b.build(), "run", "-c", b.config))
	b.untilStates(10*time.Second, "up", "up", "up")
	const span = 5 * time.Second
	before := cpuTime(t, b.cmd.Process.Pid)
	time.Sleep(span)
	used := cpuTime(t, b.cmd.Process.Pid) - before
	if os.Getenv("UPLINKD_STRACE") != "" {
		out, _ := exec.Command("timeout", "-s", "INT", "10", "strace", "-f", "-c", "-p", fmt.Sprint(b.cmd.Process.Pid)).CombinedOutput()
		t.Logf("%s", out)
	}
	resident := residentKB(t, b.cmd.Process.Pid)
	t.Logf("idle with 3 uplinks: %.2f%% of a core, %.1f MB resident", 100*used.Seconds()/span.Seconds(), float64(resident)/1024)
	if used > span*mostIdle()/100 {
		t.Errorf("used %v of %v, want %d%% at the most", used, span, mostIdle())
	}
	if resident > 30<<10 {
		t.Errorf("%d kB resident, want under 30 MB", resident)
	}
}

// With 1 Gbit/s over an uplink the daemon looks at its counters twenty times a second.
func TestBusy(t *testing.T) {
	labtest.NeedRoot(t, "iperf3")
	b := newBench(t, 3)
	b.configure(b.static(1, 1, 1), "")
	b.launch(exec.Command(b.build(), "run", "-c", b.config))
	b.untilStates(10*time.Second, "up", "up", "up")
	server := lab.Somewhere(1).String()
	b.in(b.world.Internet, "iperf3", "-s", "-B", server)
	from := b.world.ISPs[0].Static.Addr().String()
	ended := make(chan error, 1)
	const span = 3 * time.Second
	b.until("iperf3 is answered", 3*time.Second, func() bool {
		return exec.Command("iperf3", "-c", server, "-B", from, "-n", "1K").Run() == nil
	})
	go func() {
		ended <- exec.Command("iperf3", "-c", server, "-B", from, "-b", "1G", "-t", "5").Run()
	}()
	time.Sleep(time.Second)
	sent, before := b.txBytes(), cpuTime(t, b.cmd.Process.Pid)
	time.Sleep(span)
	used, carried := cpuTime(t, b.cmd.Process.Pid)-before, float64(b.txBytes()-sent)*8/span.Seconds()/1e9
	b.ok(<-ended)
	t.Logf("busy with %.2f Gbit/s over one of 3 uplinks: %.2f%% of a core", carried, 100*used.Seconds()/span.Seconds())
	if carried < 0.5 {
		t.Errorf("%.2f Gbit/s went over the uplink: the test proves nothing", carried)
	}
	if used > span*mostIdle()/100 {
		t.Errorf("used %v of %v, want %d%% at the most", used, span, mostIdle())
	}
}

// txBytes returns what the first uplink's interface has sent, as of the last second.
func (b *bench) txBytes() uint64 {
	b.Helper()
	return b.status().Uplinks[0].Counters.TxBytes.N
}

// cpuTime returns what a process has used, in user and kernel (proc_pid_schedstat).
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("no schedstat of process %d: %v", pid, err)
	}
	var sum time.Duration
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(strings.Fields(string(b))[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(n)
	}
	return sum
}

func residentKB(t *testing.T, pid int) int { t.Helper(); return statusKB(t, pid, "VmRSS") }

// statusKB returns one of the sizes that proc_pid_status(5) has of a process.
func statusKB(t *testing.T, pid int, name string) int {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name+":"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no " + name)
	return 0
}
