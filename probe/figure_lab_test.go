package probe_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-ping/ping" //nolint:staticcheck // archived; what is compared with it is why we probe ourselves
	"golang.org/x/sys/unix"

	"uplinkd/internal/figures"
	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/probe"
)

// A toll is what probing has taken for a time.
type toll struct {
	cpu     float64 // percent of a core
	allocs  float64 // a probe; of this process alone
	memory  float64 // MB: of this process what it has more of than before, of another all that is resident
	answers float64 // a second
}

// text is the share of a core, and how many of the answers that were to come have not.
func (t toll) text(want float64) string {
	if want > 10 && t.answers < want*0.8 {
		return fmt.Sprintf("%s, and %.0f %% unanswered", figures.Number(t.cpu), 100-100*t.answers/want)
	}
	return figures.Number(t.cpu)
}

const (
	tollRamp = 500 * time.Millisecond
	tollSpan = 2 * time.Second
)

func selfCPU(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// inProcess measures what this process takes while something probes, which says how many answers it has had.
func inProcess(t *testing.T, base uint64, answered func() uint64) toll {
	t.Helper()
	time.Sleep(tollRamp)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	used, had, began := selfCPU(t), answered(), time.Now()
	time.Sleep(tollSpan)
	took, got := time.Since(began).Seconds(), float64(answered()-had)
	used = selfCPU(t) - used
	runtime.ReadMemStats(&after)
	return toll{
		cpu: 100 * used.Seconds() / took, allocs: float64(after.Mallocs-before.Mallocs) / max(got, 1), answers: got / took,
		memory: max(0, float64(inUse(&after))-float64(base)) / 1e6,
	}
}

// inUse is what a process of Go has in use, its stacks included.
func inUse(m *runtime.MemStats) uint64 { return m.HeapInuse + m.StackInuse }

// atRest returns what is in use before something begins.
func atRest() uint64 {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return inUse(&m)
}

// ours probes so many targets, as 64 a prober: more an uplink has not.
func ours(t *testing.T, base probe.Spec, targets int, every time.Duration) toll {
	t.Helper()
	resting := atRest()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var probers []*probe.Prober
	for first := 0; first < targets; first += 64 {
		spec := base
		spec.Pace.Interval, spec.Pace.Timeout = every, every*9/10
		spec.Targets = nil
		for n := first; n < min(first+64, targets); n++ {
			a := lab.Somewhere(n + 1)
			spec.Targets = append(spec.Targets, probe.Target{Name: a.String(), IP: a})
		}
		p := probe.New(probe.Open, func(probe.Change) {})
		all.Go(func() { _ = p.Run(ctx) })
		p.Set(&spec)
		probers = append(probers, p)
	}
	r := inProcess(t, resting, func() (n uint64) {
		for _, p := range probers {
			for _, s := range p.Status() {
				n += s.Received
			}
		}
		return n
	})
	cancel()
	all.Wait()
	return r
}

// goPing probes with go-ping, one pinger for each target, as its documentation has it.
func goPing(t *testing.T, targets int, every time.Duration) toll {
	t.Helper()
	resting := atRest()
	var all sync.WaitGroup
	var pingers []*ping.Pinger
	for n := range targets {
		p, err := ping.NewPinger(lab.Somewhere(n + 1).String())
		if err != nil {
			t.Fatal(err)
		}
		p.SetPrivileged(true)
		p.SetNetwork("ip4")
		p.Interval, p.RecordRtts = every, false
		pingers = append(pingers, p)
		all.Go(func() { _ = p.Run() })
	}
	r := inProcess(t, resting, func() (n uint64) {
		for _, p := range pingers {
			n += uint64(p.Statistics().PacketsRecv)
		}
		return n
	})
	for _, p := range pingers {
		p.Stop()
	}
	all.Wait()
	return r
}

// fping probes with one fping in its loop.
func fping(t *testing.T, targets int, every time.Duration) toll {
	t.Helper()
	args := []string{"-l", "-q", "-i", "0", "-p", fmt.Sprint(every.Milliseconds())}
	for n := range targets {
		args = append(args, lab.Somewhere(n+1).String())
	}
	cmd := exec.Command("fping", args...)
	var out bytes.Buffer
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", cmd.Process.Pid, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	spent := func() (ns float64) { // proc_pid_schedstat(5)
		_, err := fmt.Sscan(read("schedstat"), &ns)
		if err != nil {
			t.Fatal(err)
		}
		return ns
	}
	started := time.Now()
	time.Sleep(tollRamp)
	used, began := spent(), time.Now()
	time.Sleep(tollSpan)
	used = spent() - used
	span := time.Since(began).Seconds()
	_, rss, _ := strings.Cut(read("status"), "VmRSS:")
	var kB float64
	_, _ = fmt.Sscan(rss, &kB)
	_ = cmd.Process.Signal(unix.SIGINT)
	_ = cmd.Wait()
	took := time.Since(started).Seconds()
	answers := 0.0
	for _, line := range strings.Split(out.String(), "\n") { // ADDRESS : xmt/rcv/%loss = 5/5/0%, …
		var sent, got float64
		if _, after, ok := strings.Cut(line, "%loss = "); ok {
			_, _ = fmt.Sscanf(after, "%f/%f/", &sent, &got)
			answers += got
		}
	}
	return toll{cpu: 100 * used / 1e9 / span, memory: kB * 1024 / 1e6, answers: answers / took}
}

// What probing takes, beside fping and go-ping, of so many targets so often.
func TestFigureProbing(t *testing.T) {
	labtest.Bench(t)
	labtest.NeedRoot(t, "fping")
	world, spec := room(t)
	isp := world.ISPs[0]
	if err := world.Host().Route(netip.MustParsePrefix("198.18.0.0/15"), isp.Gateway, isp.Interface); err != nil {
		t.Fatal(err)
	}
	if _, err := net.InterfaceByName(isp.Interface); err != nil {
		t.Fatal(err)
	}
	spec.Mark, spec.Pace = 0, normal
	table := figures.Table{
		Title:   "Probing",
		About:   "ICMP echo through the lab's wires to as many addresses: percent of a core (and what a probe allocates). The kernel that answers is the same, and part of it.",
		Command: "UPLINKD_BENCH=1 go test -run TestFigureProbing ./probe",
		Limit:   "a packet each way through two wires of the lab takes this kernel some 5 to 10 µs, whoever sends it. Each pinger of go-ping reads the answers of all.",
		Columns: []string{"targets", "a second each", "uplinkd, %", "allocations a probe", "heap and stacks, MB", "fping, %", "resident, MB", "go-ping, %", "allocations a probe", "heap and stacks, MB"},
	}
	for _, targets := range []int{1, 16, 64, 256} {
		for _, rate := range []int{1, 10, 20} {
			every := time.Second / time.Duration(rate)
			us, f, g := ours(t, spec, targets, every), fping(t, targets, every), goPing(t, targets, every)
			row := []string{fmt.Sprint(targets), fmt.Sprint(rate)}
			want := float64(targets * rate)
			row = append(row, us.text(want), figures.Number(us.allocs), figures.Number(us.memory), f.text(want),
				figures.Number(f.memory), g.text(want), figures.Number(g.allocs), figures.Number(g.memory))
			t.Log(row)
			table.Rows = append(table.Rows, row)
			if want >= 100 && us.answers < want*0.9 {
				t.Errorf("%d targets %d times a second: %.0f answers, which says nothing of the cost", targets, rate, us.answers)
			}
			if want >= 1000 && us.allocs > 0.2 {
				t.Errorf("%d targets %d times a second: %.2f allocations a probe, want none", targets, rate, us.allocs)
			}
		}
	}
	if err := table.Keep(); err != nil {
		t.Fatal(err)
	}
}
