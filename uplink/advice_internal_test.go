package uplink

import (
	"strings"
	"testing"
	"time"

	"uplinkd/configs"
	"uplinkd/probe"
)

// The least that any agent wants counts: none at once, another share after an interval. What was
// said counts until an agent that has not been judged yet says something.
func TestTakeAdvice(t *testing.T) {
	config, err := configs.Parse(strings.NewReader("uplinks: [{name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1, "+
		"probe: {targets: [gateway, 'agent://192.0.2.7:7', 'agent://192.0.2.8:7']}}]"), configs.Options{File: "t"})
	if err != nil {
		t.Fatal(err)
	}
	s := New(config, time.Unix(0, 0))
	u := &s.Uplinks[0]
	p := &u.Paths[IPv4]
	p.Series = 1
	none, some := probe.Advice{}, func(percent int) probe.Advice { return probe.Advice{Given: true, Percent: percent} }
	now := time.Unix(1000, 0)
	for _, tt := range []struct {
		after time.Duration
		one   probe.Advice
		other probe.Advice
		want  probe.Advice
	}{
		{0, none, none, none},
		{0, none, some(80), some(80)},
		{time.Second, some(50), some(80), some(80)}, // too soon
		{10 * time.Second, some(50), some(80), some(50)},
		{time.Second, some(0), some(80), some(0)},
		{time.Second, some(20), some(80), some(0)}, // too soon
		{10 * time.Second, some(20), some(80), some(20)},
		{10 * time.Second, none, none, none},
	} {
		now = now.Add(tt.after)
		p.ProbeReport = probe.Change{Series: 1, Targets: []probe.Evidence{{Verdict: probe.Up}, {Verdict: probe.Up, Advice: tt.one}, {Verdict: probe.Up, Advice: tt.other}}}
		u.takeAdvice(p, now, 10*time.Second)
		if p.Advice != tt.want {
			t.Errorf("%v and %v after %v: %v, want %v", tt.one, tt.other, tt.after, p.Advice, tt.want)
		}
	}
	u.takeAdvice(p, now, 0)
	p.ProbeReport.Targets[1].Advice = some(0)
	u.takeAdvice(p, now, time.Hour)
	p.ProbeReport.Targets[1] = probe.Evidence{} // a new series, and no answer yet
	u.takeAdvice(p, now.Add(time.Hour), time.Second)
	p.Series = 2 // nothing of this one has been told
	u.takeAdvice(p, now.Add(time.Hour), time.Second)
	if !p.Advice.Drains() {
		t.Errorf("before the agent has been asked anew it wants %v", p.Advice)
	}
}
