package main

import (
	"fmt"
	"io"
	"os/exec"
	"testing"
	"time"

	"uplinkd/internal/figures"
	"uplinkd/internal/lab/labtest"
)

// manyRules gives the host n rules of others, behind ours, that no packet matches.
func (b *bench) manyRules(n int) {
	b.Helper()
	words := make([]byte, 0, 64*n)
	for i := range n {
		words = fmt.Appendf(words, "rule add from 10.%d.%d.%d lookup 7777 pref %d\n", i>>16, i>>8&0xff, i&0xff, 22_000+i%10_000)
	}
	b.batch(words)
	b.Cleanup(func() { _ = exec.Command("sh", "-c", "while ip rule del lookup 7777 2>/dev/null; do :; done").Run() })
}

// batch has ip(8) carry out many commands.
func (b *bench) batch(commands []byte) {
	b.Helper()
	cmd := exec.Command("ip", "-batch", "-")
	in, err := cmd.StdinPipe()
	b.ok(err)
	b.ok(cmd.Start())
	_, err = in.Write(commands)
	b.ok(err)
	b.ok(in.Close())
	b.ok(cmd.Wait())
}

// linkEvents changes a foreign interface a hundred times a second, until the test ends. Each is an event of the kernel's.
func (b *bench) linkEvents() {
	b.Helper()
	b.kernel("ip link add ev0 type veth peer name ev1 && ip link set ev0 up && ip link set ev1 up")
	cmd := exec.Command("ip", "-batch", "-")
	in, err := cmd.StdinPipe()
	b.ok(err)
	b.ok(cmd.Start())
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
		_ = exec.Command("ip", "link", "del", "ev0").Run()
	})
	b.untilTheEnd(10*time.Millisecond, func(i int) {
		_, _ = io.WriteString(in, fmt.Sprintf("link set dev ev0 mtu %d\n", 1400+i%2))
	})
}

// linksComeAndGo makes and removes links, as containers do that start and end.
func (b *bench) linksComeAndGo() {
	b.Helper()
	b.untilTheEnd(200*time.Millisecond, func(i int) {
		script := fmt.Sprintf("ip link add ca%d type veth peer name cb%[1]d && ip link set ca%[1]d up && "+
			"ip link set cb%[1]d up && ip link del ca%[1]d", i)
		_ = exec.Command("sh", "-c", script).Run()
	})
}

// untilTheEnd does something again and again, until the test ends.
func (b *bench) untilTheEnd(every time.Duration, do func(i int)) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-ticker.C:
				do(i)
			}
		}
	}()
	b.Cleanup(func() { close(stop); <-ended })
}

// What the daemon takes beside ten thousand rules of others, and beside a hundred events of links a second, and when
// the default route leaves an uplink that has fallen silent.
func TestFigureBesideRulesAndEvents(t *testing.T) {
	labtest.Bench(t)
	labtest.Need(t)
	runs := runsOr(t, 3)
	table := figures.Table{
		Title: "Beside rules and events",
		About: "Two uplinks at rest, the first falls silent: what the daemon takes of a core meanwhile, how long after the silence there is " +
			"doubt, and how long after that the default route is another.",
		Command: "UPLINKD_BENCH=1 go test -run TestFigureBesideRulesAndEvents ./cmd/uplinkd",
		Limit: "rules have no index in the kernel, and are listed whole when something has changed, 50 times a second at the most; " +
			"what an event tells of a link that is not ours is looked at, and where it changes nothing for us no more is done.",
		Columns: []string{"beside", "of a core, %", "silence to doubt, ms", "doubt to new route, ms"},
	}
	for _, beside := range []struct {
		name string
		make func(*bench)
	}{
		{"nothing", func(*bench) {}},
		{"10,000 rules", func(b *bench) { b.manyRules(10_000) }},
		{"100 changes of a foreign link a second", (*bench).linkEvents},
		{"5 pairs of foreign links a second that come and go", (*bench).linksComeAndGo},
	} {
		t.Run(beside.name, func(t *testing.T) {
			b := newBench(t, 2)
			b.configure(b.static(2, 1), "probe: {max_loss: 0, hold_down: 0s}\n")
			program := b.build()
			beside.make(b)
			b.launch(exec.Command(program, "run", "-c", b.config))
			b.untilUp(internet4)
			time.Sleep(2 * time.Second)
			const span = 5 * time.Second
			before := cpuTime(t, b.cmd.Process.Pid)
			time.Sleep(span)
			cpu := 100 * (cpuTime(t, b.cmd.Process.Pid) - before).Seconds() / span.Seconds()
			var doubts, lates []float64
			for range runs {
				last := b.lastEvent()
				changed := b.defaultWithout(internet4, b.world.ISPs[0].Interface)
				fault := time.Now()
				b.ok(b.world.ISPs[0].Silence(true))
				doubt := b.verdictTime(last, "doubtful")
				doubts = append(doubts, doubt.Sub(fault).Seconds()*1000)
				select {
				case at := <-changed:
					lates = append(lates, at.Sub(doubt).Seconds()*1000)
				case <-time.After(5 * time.Second):
					t.Fatal("the dead uplink stays in the default route")
				}
				b.ok(b.world.ISPs[0].Silence(false))
				b.untilUp(internet4)
			}
			late := figures.SpreadOf(lates)
			table.Rows = append(table.Rows, []string{
				beside.name, figures.Number(cpu), figures.SpreadOf(doubts).String(), late.String(),
			})
			t.Log(table.Rows[len(table.Rows)-1])
			if late.Median > 200 {
				t.Errorf("beside %s the route follows %s ms after doubt, want 200 at most", beside.name, late)
			}
		})
	}
	if err := table.Keep(); err != nil {
		t.Fatal(err)
	}
}
