package probe

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// A target that answers as ever is asked, heard and judged without a byte of memory, and there is no news of it.
func TestSteadyProbingAllocatesNothing(t *testing.T) {
	spec := &Spec{Interface: "eth1", Index: 2, Source: netip.MustParseAddr("192.0.2.5"), Pace: Pace{
		Interval: 500 * time.Millisecond, Timeout: 400 * time.Millisecond, Confirm: 100 * time.Millisecond,
		DownAfter: 3, UpAfter: 3, DownWithin: time.Second, DownWithinMax: 10 * time.Second,
	}}
	for n := range 8 {
		a := netip.AddrFrom4([4]byte{198, 51, 100, byte(n + 1)})
		spec.Targets = append(spec.Targets, Target{Name: fmt.Sprint("t", n), IP: a})
	}
	var m Machine
	m.Set(spec)
	now := time.Unix(1_700_000_000, 0)
	asked, news := 0, 0
	var sent [8]uint16
	send := func(target int, seq uint16) error {
		asked++
		sent[target] = seq
		return m.connErr // none
	}
	round := func() {
		next := m.Turn(now, send)
		for i := range sent {
			m.Receive(Answer{Target: i, Seq: sent[i], At: now.Add(time.Millisecond), RTT: time.Millisecond})
		}
		if _, ok := m.News(now); ok {
			news++
		}
		now = next
	}
	for range 100 {
		round()
	}
	asked, news = 0, 0
	if n := testing.AllocsPerRun(1000, round); n > 0 {
		t.Errorf("%.0f allocations for a round of eight probes", n)
	}
	if asked < 1000 || news > 0 {
		t.Errorf("%d were asked, and %d times there was news: this says nothing of steady probing", asked, news)
	}
}
