package main

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/replay"
)

// starlink returns the recording of Starlink while driving (docs/tuning.md), or, where
// there is none, a link that is made to be like it.
func starlink(t *testing.T) replay.Trace {
	t.Helper()
	dir := os.Getenv("UPLINKD_TRACES")
	if dir == "" {
		dir = "../../../shared/traces"
	}
	f, err := os.Open(filepath.Join(dir, "driving-starlink.trace"))
	if err != nil {
		t.Log("no recording of Starlink here (UPLINKD_TRACES): a link that is made to be like it")
		return replay.Generate(replay.Starlink, 10*time.Minute, 1)
	}
	defer f.Close()
	trace, err := replay.Read("driving-starlink", f)
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

// The whole daemon over Starlink while driving: connections that run over it are not
// ended by us, and fewer new ones fail than by the fixed rule over the same part of the
// link. UPLINKD_WATCH says for how long, and has both rules tried; `make bench-long` does so
// for ten minutes each.
func TestStarlink(t *testing.T) {
	labtest.Measured(t)
	length, rules := 6*time.Second, []string{"learned"}
	if text := os.Getenv("UPLINKD_WATCH"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
		rules = append(rules, "fixed")
	}
	trace := starlink(t)
	failed := map[string]int{}
	for _, rule := range rules {
		t.Run(rule, func(t *testing.T) {
			b := slowBench(t, 2)
			b.configure(b.static(1, 1), "probe: {rule: "+rule+"}\n")
			b.ok(b.world.ISPs[0].Delay(20*time.Millisecond, 0))
			b.ok(b.world.ISPs[1].Delay(linkDelay, 0))
			b.start()
			b.untilStates(10*time.Second, "up", "up")
			long := b.longConnections(50)
			b.ok(b.world.ISPs[0].Follow(trace.At))
			lost, all := b.newConnections(length)
			b.ok(b.world.ISPs[0].Follow(nil))
			aborted, ended := long()
			failed[rule] = lost
			t.Logf("%v: %d of %d new connections failed; of 50 long ones %d were ended by us, %d otherwise",
				length, lost, all, aborted, ended)
			if rule == "learned" && lost > all/20 {
				t.Errorf("%d of %d new connections failed", lost, all)
			}
			if rule == "learned" && aborted > 0 {
				t.Errorf("%d connections were ended that would have lived", aborted)
			}
		})
	}
	if len(rules) > 1 && failed["learned"]*3 > failed["fixed"] {
		t.Errorf("%d new connections failed, and %d by the fixed rule: want a third of them at most", failed["learned"], failed["fixed"])
	}
}

// longConnections opens connections that say something twice a second and wait for it to
// come back, however long that takes. The function it returns ends them, and tells how many
// the host has aborted, and how many have ended otherwise.
func (b *bench) longConnections(n int) (end func() (aborted, ended int)) {
	b.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	aborted, ended := 0, 0
	stop := make(chan struct{})
	for i := range n {
		f, err := b.dialTCP(30_000+i, net.Dial)
		b.ok(err)
		all.Go(func() {
			defer f.conn.Close()
			for {
				select {
				case <-stop:
					return
				case <-time.After(500 * time.Millisecond):
				}
				err := echoWithin(f.conn, 50*time.Second)
				if err == nil {
					continue
				}
				mu.Lock()
				if errors.Is(err, syscall.ECONNABORTED) {
					aborted++
				} else {
					ended++
				}
				mu.Unlock()
				return
			}
		})
	}
	return func() (int, int) {
		close(stop)
		all.Wait()
		return aborted, ended
	}
}

// patientCall is when a new connection counts as failed: a link that pauses, or loses the
// first packet, makes it late, and that is nobody's fault.
const patientCall = 5 * time.Second

// newConnections opens twenty a second, and returns how many failed.
func (b *bench) newConnections(length time.Duration) (failed, all int) {
	b.Helper()
	var mu sync.Mutex
	var calls sync.WaitGroup
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for began := time.Now(); time.Since(began) < length; all++ {
		<-ticker.C
		n := all % 20_000
		calls.Go(func() {
			if _, err := b.world.Dial(n, patientCall); err != nil {
				mu.Lock()
				failed++
				mu.Unlock()
			}
		})
	}
	calls.Wait()
	return failed, all
}

// A host that only sends, 20 Mbit/s of datagrams that nobody answers, is not doubted, and
// is not probed much more often. UPLINKD_WATCH says for how long.
func TestOneWayUpload(t *testing.T) {
	labtest.Measured(t)
	length := 4 * time.Second
	if text := os.Getenv("UPLINKD_WATCH"); text != "" {
		length = 5 * time.Minute
	}
	b := newBench(t, 2)
	b.configure(b.static(1, 1), "")
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	to := netip.AddrPortFrom(lab.Somewhere(9), 9)
	b.ok(b.world.Internet.Do(func() error {
		sink, err := net.ListenPacket("udp4", "0.0.0.0:9")
		if err == nil {
			t.Cleanup(func() { _ = sink.Close() })
		}
		return err
	}))
	from := net.UDPAddr{IP: b.world.ISPs[0].Static.Addr().AsSlice()}
	conn, err := net.DialUDP("udp4", &from, net.UDPAddrFromAddrPort(to))
	b.ok(err)
	defer conn.Close()
	time.Sleep(3 * time.Second)
	before, last := b.probesSent(), b.lastEvent()
	ticker := time.NewTicker(4 * time.Millisecond)
	defer ticker.Stop()
	for began := time.Now(); time.Since(began) < length; {
		<-ticker.C
		for range 7 { // 1,750 of 1,430 bytes a second
			_, _ = conn.Write(make([]byte, 1430))
		}
	}
	after := b.probesSent()
	with, without := after[0]-before[0], after[1]-before[1]
	t.Logf("%v: %d probes over the uplink, %d over the other", length, with, without)
	// In a short run the few that make the listener patient weigh more.
	if most := without*11/10 + 6; with > most {
		t.Errorf("%d probes, want %d at most", with, most)
	}
	if b.lastEvent() != last {
		t.Error("something was doubted")
	}
}

// probesSent returns how many probes each uplink has sent.
func (b *bench) probesSent() (list []uint64) {
	b.Helper()
	for _, u := range b.status().Uplinks {
		list = append(list, u.Probes[0].Sent)
	}
	return list
}

// A carrier that goes right after another link event: the kernel holds the second event
// back for up to a second, and new connections went there for as long (0.73 s at the worst).
func TestCarrierAfterAnotherEvent(t *testing.T) {
	labtest.Measured(t)
	b := slowBench(t, 3)
	b.configure(b.static(1, 1, 1), normalProbe)
	b.start()
	b.untilStates(5*time.Second, "up", "up", "up")
	var times []time.Duration
	for range runsOr(t, 2) {
		before := b.lastEvent()
		b.ok(b.world.ISPs[1].Carrier(false))
		time.Sleep(20 * time.Millisecond)
		gone := b.defaultWithout(internet4, b.world.ISPs[0].Interface)
		died := time.Now()
		b.ok(b.world.ISPs[0].Carrier(false))
		select {
		case at := <-gone:
			times = append(times, at.Sub(died))
		case <-time.After(5 * time.Second):
			t.Fatal("the uplink without carrier stays in the default route")
		}
		_ = b.verdictTime(before, "down")
		b.ok(b.world.ISPs[0].Carrier(true))
		b.ok(b.world.ISPs[1].Carrier(true))
		b.untilStates(10*time.Second, "up", "up", "up")
		time.Sleep(1500 * time.Millisecond)
	}
	slices.Sort(times)
	t.Logf("%d times: the route changed after %v in the median, %v at the worst", len(times), times[len(times)/2], times[len(times)-1])
	most := 100 * time.Millisecond * slowFactor
	if os.Getenv("UPLINKD_RUNS") == "" {
		most *= 4 // a few runs on a busy machine
	}
	if worst := times[len(times)-1]; worst > most {
		t.Errorf("the route changed after %v, want 100 ms at most", worst)
	}
}
