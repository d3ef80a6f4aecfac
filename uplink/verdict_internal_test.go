package uplink

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"uplinkd/configs"
	"uplinkd/probe"
	"uplinkd/uplink/api"
)

// The votes as a table. g and f are the gateway and a far target; u, d, - and v
// are up, down, unknown and void.
func TestCount(t *testing.T) {
	for _, tt := range []struct {
		votes  string
		quorum int
		want   probe.Verdict
	}{
		{"gu", 1, probe.Up},
		{"gd", 1, probe.Down},
		{"g-", 1, probe.Unknown},
		{"gu fu", 1, probe.Up},
		{"gd fu", 1, probe.Up}, // a gateway that answers no ping
		{"gu fd", 1, probe.Down},
		{"gu fd fd", 1, probe.Down},
		{"gu fd fu", 1, probe.Up},
		{"gu fd f-", 1, probe.Up},
		{"gu fd fv", 1, probe.Down},
		{"gu fv", 1, probe.Up}, // the target's own fault
		{"gu fv", 2, probe.Up}, // of two one has no vote: the other is all
		{"gv fv", 1, probe.Unknown},
		{"gd fv", 1, probe.Down},
		{"fu fu fd", 2, probe.Up},
		{"fu fd fd", 2, probe.Down},
		{"fu f- fd", 2, probe.Unknown},
		{"fu f- f-", 2, probe.Unknown},
		{"gu fu fd", 3, probe.Down},
	} {
		var votes []vote
		for _, word := range strings.Fields(tt.votes) {
			verdict := map[byte]probe.Verdict{'u': probe.Up, 'd': probe.Down, '-': probe.Unknown, 'v': probe.Down}
			votes = append(votes, vote{gateway: word[0] == 'g', verdict: verdict[word[1]], void: word[1] == 'v', reason: "reason"})
		}
		got := count(votes, tt.quorum)
		if got.verdict != tt.want {
			t.Errorf("%s, quorum %d: %v, want %v", tt.votes, tt.quorum, got.verdict, tt.want)
		}
		if got.verdict == probe.Down && got.reason == "" {
			t.Errorf("%s, quorum %d: down without a reason", tt.votes, tt.quorum)
		}
	}
}

// Better evidence never makes the verdict worse: a vote that goes from down to
// unknown, or from unknown to up, never leads from up to down, or from unknown to
// down. The one exception is wanted: a gateway that begins to answer while all
// behind it is silent says nothing new, and does not lead up either.
func TestCountIsMonotone(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	rank := map[probe.Verdict]int{probe.Down: 0, probe.Unknown: 1, probe.Up: 2}
	ladder := []probe.Verdict{probe.Down, probe.Unknown, probe.Up}
	for range 200_000 {
		votes := make([]vote, 1+random.IntN(5))
		for i := range votes {
			votes[i] = vote{gateway: i == 0 && random.IntN(2) == 0, verdict: ladder[random.IntN(3)], void: random.IntN(6) == 0}
		}
		quorum := 1 + random.IntN(len(votes))
		before := count(votes, quorum)
		i := random.IntN(len(votes))
		at := rank[votes[i].verdict]
		if at == 2 || votes[i].gateway {
			continue
		}
		votes[i].verdict = ladder[at+1]
		if after := count(votes, quorum); rank[after.verdict] < rank[before.verdict] {
			t.Fatalf("%+v with quorum %d: from %v to %v by better evidence", votes, quorum, before.verdict, after.verdict)
		}
	}
}

// shared returns a state of n uplinks that probe their gateway and one far target,
// all of them up.
func shared(n int) State {
	far := configs.Target{Kind: configs.TargetIP, Text: "198.51.100.1"}
	s := State{Read: true}
	for range n {
		s.Uplinks = append(s.Uplinks, Uplink{
			Config: configs.Uplink{Path: configs.Path{
				Address: configs.AddressDHCP, Probe: configs.Probe{Targets: []configs.Target{configs.Gateway, far}, Quorum: 1},
			}},
			Device: Device{Read: true},
			Paths: [families]Path{{
				Series:      1,
				ProbeReport: probe.Change{Series: 1, Targets: []probe.Evidence{{Verdict: probe.Up}, {Verdict: probe.Up}}},
			}},
		})
	}
	return s
}

// Whose fault a silent target is.
func TestBlame(t *testing.T) {
	down, up := probe.Evidence{Verdict: probe.Down, Reason: probe.NoAnswer}, probe.Evidence{Verdict: probe.Up}
	doubtful, returning := up, down
	doubtful.Suspect, returning.Suspect = true, true
	for name, tt := range map[string]struct {
		far  []probe.Evidence // by uplink; of a zero one nothing is known
		want probe.Verdict    // on the first uplink
	}{
		"silent here, answers there":           {[]probe.Evidence{down, up}, probe.Down},
		"silent here, doubtful there":          {[]probe.Evidence{down, doubtful}, probe.Unknown},
		"silent here, not known there":         {[]probe.Evidence{down, {}}, probe.Unknown},
		"silent everywhere":                    {[]probe.Evidence{down, down, down}, probe.Up},
		"silent here, one of two answers":      {[]probe.Evidence{down, down, up}, probe.Down},
		"silent here, one dead, one doubtful":  {[]probe.Evidence{down, down, doubtful}, probe.Unknown},
		"returning here, back there":           {[]probe.Evidence{returning, up}, probe.Unknown},
		"nobody else to ask":                   {[]probe.Evidence{down}, probe.Down},
		"answers here, whatever is said there": {[]probe.Evidence{up, down}, probe.Up},
	} {
		t.Run(name, func(t *testing.T) {
			s := shared(len(tt.far))
			for i, e := range tt.far {
				s.Uplinks[i].Paths[IPv4].ProbeReport.Targets[1] = e
			}
			if name == "returning here, back there" || tt.want == probe.Unknown {
				// With the gateway up and the far target undecided nothing changes.
				s.Uplinks[0].Config.Probe.Quorum = 2
			}
			if got := s.Uplinks[0].poll(&s.Uplinks[0].Paths[IPv4], s.opinions()).verdict; got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

// A target that another uplink has doubts about is asked about at once here, and
// no other.
func TestHurryBits(t *testing.T) {
	s := shared(2)
	hurry := func() uint64 { return s.Uplinks[0].hurry(&s.Uplinks[0].Paths[IPv4], s.opinions()) }
	if bits := hurry(); bits != 0 {
		t.Errorf("%b while nobody doubts", bits)
	}
	s.Uplinks[1].Paths[IPv4].ProbeReport.Targets[0].Suspect = true // its own gateway: none of our business
	if bits := hurry(); bits != 0 {
		t.Errorf("%b for another's gateway", bits)
	}
	s.Uplinks[1].Paths[IPv4].ProbeReport.Targets[1].Suspect = true
	if bits := hurry(); bits != 0b10 {
		t.Errorf("%b, want the far target's", bits)
	}
	s.Uplinks[0].Load.Stalled = true
	if bits := hurry(); bits != 0b11 {
		t.Errorf("%b with connections that stall, want all", bits)
	}
}

// It doubles with each fall, to a ceiling, and forgives with time.
func TestHold(t *testing.T) {
	c := &configs.Probe{HoldDown: 2 * time.Second, HoldDownMax: 10 * time.Second, FlapWindow: time.Minute}
	var h Hold
	now := time.Unix(1_700_000_000, 0)
	var got []time.Duration
	for _, pause := range []time.Duration{0, 5 * time.Second, 5 * time.Second, 5 * time.Second, 5 * time.Second, 2 * time.Minute, time.Hour} {
		now = now.Add(pause)
		h.fall(now, c)
		got = append(got, h.Until.Sub(now)/time.Second)
	}
	want := []time.Duration{0, 2, 4, 8, 10, 8, 0}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("held for %v seconds, want %v", got, want)
		}
	}
	c.HoldDown = 0
	h.fall(now, c)
	if h.fall(now, c); h.Until.After(now) {
		t.Error("held down though that is switched off")
	}
}

func TestToIntegers(t *testing.T) {
	for _, tt := range []struct {
		shares []float64
		want   []int
	}{
		{[]float64{2, 1}, []int{2, 1}},
		{[]float64{256, 2}, []int{256, 2}},
		{[]float64{1, 0.25}, []int{4, 1}},
		{[]float64{0.5, 1, 1}, []int{1, 2, 2}},
		{[]float64{1000, 1}, []int{256, 1}},
		{[]float64{0.5}, []int{1}},
		{nil, []int{}},
	} {
		got := toIntegers(tt.shares)
		for i := range tt.want {
			if len(got) != len(tt.want) || got[i] != tt.want[i] {
				t.Errorf("%v becomes %v, want %v", tt.shares, got, tt.want)
				break
			}
		}
	}
}

// What each balance makes of what was measured, after a while.
func TestBalances(t *testing.T) {
	sample := func(rtt time.Duration, bps uint64, connections int) Sample {
		return Sample{RTT: rtt, RxBPS: api.Known(bps), TxBPS: api.Known[uint64](0), Connections: api.Known(connections)}
	}
	for name, tt := range map[string]struct {
		balance    configs.Balance
		bandwidth  [2]uint64
		samples    [2]Sample
		least, max float64 // share of the first of two uplinks of weight 1
	}{
		"static":                       {configs.BalanceStatic, [2]uint64{}, [2]Sample{sample(1, 1, 1), sample(900, 900, 900)}, 0.5, 0.5},
		"twice as fast":                {configs.BalanceResponseTime, [2]uint64{}, [2]Sample{sample(10, 0, 0), sample(20, 0, 0)}, 0.6, 0.72},
		"a hundred times as fast":      {configs.BalanceResponseTime, [2]uint64{}, [2]Sample{sample(10, 0, 0), sample(1000, 0, 0)}, 0.85, 0.95},
		"full and free":                {configs.BalanceLeastTraffic, [2]uint64{100, 100}, [2]Sample{sample(0, 100, 0), sample(0, 10, 0)}, 0.03, 0.25},
		"as many connections":          {configs.BalanceLeastConnections, [2]uint64{}, [2]Sample{sample(0, 0, 50), sample(0, 0, 50)}, 0.5, 0.5},
		"four times the connections":   {configs.BalanceLeastConnections, [2]uint64{}, [2]Sample{sample(0, 0, 80), sample(0, 0, 20)}, 0.1, 0.3},
		"nothing measured":             {configs.BalanceResponseTime, [2]uint64{}, [2]Sample{}, 0.5, 0.5},
		"traffic without a bandwidth":  {configs.BalanceLeastTraffic, [2]uint64{}, [2]Sample{sample(0, 900, 0), sample(0, 100, 0)}, 0.1, 0.3},
		"a bandwidth that is exceeded": {configs.BalanceLeastTraffic, [2]uint64{100, 100}, [2]Sample{sample(0, 500, 0), sample(0, 500, 0)}, 0.5, 0.5},
	} {
		t.Run(name, func(t *testing.T) {
			s := shared(2)
			s.Config.Routes.Balance, s.Config.Routes.BalanceInterval = tt.balance, 10*time.Second
			for i := range s.Uplinks {
				u := &s.Uplinks[i]
				p := &u.Paths[IPv4]
				u.Config.Weight, u.Config.Tier, p.Weight, p.Factor, p.OperState = 1, 1, 1, 1, api.Up
				u.Load.Sample, u.Config.Bandwidth = tt.samples[i], tt.bandwidth[i]
			}
			now := time.Unix(1_700_000_000, 0)
			changes, last := 0, [2]int{}
			for range 600 { // ten minutes of beats
				now = now.Add(time.Second)
				s.decideCarriers()
				s.balance(now)
				if weights := [2]int{s.Uplinks[0].Paths[IPv4].Weight, s.Uplinks[1].Paths[IPv4].Weight}; weights != last {
					changes, last = changes+1, weights
				}
			}
			share := float64(last[0]) / float64(last[0]+last[1])
			if share < tt.least || share > tt.max {
				t.Errorf("%v: the first has %.0f%%, want %.0f to %.0f", last, 100*share, 100*tt.least, 100*tt.max)
			}
			if changes > 12 {
				t.Errorf("%d changes of a route under a steady load", changes)
			}
		})
	}
}
