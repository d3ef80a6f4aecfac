package uplink

import (
	"testing"
	"time"

	"uplinkd/configs"
	"uplinkd/uplink/api"
)

// A service level is left at its bounds, and kept again when all has been back for a while: what goes up and down
// is not of use. What is not known changes nothing.
func TestLevels(t *testing.T) {
	sla := configs.SLA{MaxRTT: 80 * time.Millisecond, MaxJitter: 20 * time.Millisecond, MaxLoss: 6}
	good := Quality{Known: true, RTT: 50 * time.Millisecond, Jitter: 5 * time.Millisecond}
	bad := func(change func(*Quality)) Quality { q := good; change(&q); return q }
	start := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		seconds []Quality
		broken  bool
	}{
		"good":      {[]Quality{good, good}, false},
		"not known": {[]Quality{{}}, false},
		"far":       {[]Quality{good, bad(func(q *Quality) { q.RTT = 80 * time.Millisecond })}, true},
		"jitter":    {[]Quality{bad(func(q *Quality) { q.Jitter = 20 * time.Millisecond })}, true},
		"loss":      {[]Quality{bad(func(q *Quality) { q.Loss = 6 })}, true},
		"some loss": {[]Quality{bad(func(q *Quality) { q.Loss = 5 })}, false},
		"nearly back": {append([]Quality{bad(func(q *Quality) { q.Loss = 6 })},
			repeat(bad(func(q *Quality) { q.Loss = 3 }), 30)...), true},
		"back for a moment": {append([]Quality{bad(func(q *Quality) { q.Loss = 6 })}, repeat(good, 9)...), true},
		"back for a while":  {append([]Quality{bad(func(q *Quality) { q.Loss = 6 })}, repeat(good, 11)...), false},
		"unknown for long": {
			append(append([]Quality{bad(func(q *Quality) { q.Loss = 6 })}, repeat(Quality{}, 60)...), good),
			true,
		},
		"loss comes and goes": {append(repeat(good, 3), bad(func(q *Quality) { q.Loss = 7 }), good, good,
			bad(func(q *Quality) { q.Loss = 7 }), good), true},
	} {
		var l level
		for n, q := range tt.seconds {
			l = l.next(&sla, q, start.Add(time.Duration(n)*time.Second))
		}
		if l.broken() != tt.broken {
			t.Errorf("%s: broken: %v, want %v", name, l.broken(), tt.broken)
		}
	}
	if q := good.smooth(bad(func(q *Quality) { q.Jitter = 50 * time.Millisecond })); q.Jitter >= sla.MaxJitter {
		t.Errorf("one late answer makes the jitter %s", q.Jitter)
	}
}

// It said "round trip 24.9ms, at most 30ms" of an uplink that was passed (found by a failing TestPolicySLA).
func TestLevelText(t *testing.T) {
	sla := configs.SLA{MaxRTT: 30 * time.Millisecond, MaxJitter: 20 * time.Millisecond, MaxLoss: 6}
	start := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		rtt, jitter float64 // milliseconds
		loss        float64
		want        string
	}{
		{45.04, 1, 0, "round trip 45ms, must be less than 30ms"},
		{24.9, 1, 0, "round trip 24.9ms, must come back to 24ms"},
		{10, 20, 0, "jitter 20ms, must be less than 20ms"},
		{10, 17, 0, "jitter 17ms, must come back to 16ms"},
		{10, 1, 7, "loss 7%, must be less than 6%"},
		{10, 1, 2.5, "loss 2.5%, must come back to 2%"},
		{10, 1, 0, "was beyond what it must keep until 12:00:01"},
	} {
		ms := func(f float64) time.Duration { return time.Duration(f * float64(time.Millisecond)) }
		is := Quality{Known: true, RTT: ms(tt.rtt), Jitter: ms(tt.jitter), Loss: tt.loss}
		beyond := Quality{Known: true}
		switch {
		case tt.rtt > 20:
			beyond.RTT = time.Second
		case tt.jitter > 10:
			beyond.Jitter = time.Second
		default:
			beyond.Loss = 100
		}
		l := level{}.next(&sla, beyond, start).next(&sla, is, start.Add(time.Second))
		if got := l.text(&sla, is); got != tt.want {
			t.Errorf("%v: %q, want %q", is, got, tt.want)
		}
		l = l.next(&sla, Quality{}, start.Add(2*time.Second))
		if got, want := l.text(&sla, Quality{}), "was beyond what it must keep, and is not measured now"; got != want {
			t.Errorf("%v, then not known: %q, want %q", is, got, want)
		}
	}
}

func repeat(q Quality, n int) []Quality {
	list := make([]Quality, n)
	for i := range list {
		list[i] = q
	}
	return list
}

// Who is preferred, and that nobody changes places for a little.
func TestPrefer(t *testing.T) {
	quality := func(rtt, jitter int, loss float64) Quality {
		return Quality{
			Known: true, RTT: time.Duration(rtt) * time.Millisecond,
			Jitter: time.Duration(jitter) * time.Millisecond, Loss: loss,
		}
	}
	for name, tt := range map[string]struct {
		prefer configs.Prefer
		now    int
		of     [2]Quality
		want   int
	}{
		"in order":                 {configs.PreferOrder, noLead, [2]Quality{quality(50, 9, 9), quality(10, 1, 0)}, 0},
		"near":                     {configs.PreferRTT, noLead, [2]Quality{quality(50, 1, 0), quality(49, 9, 9)}, 1},
		"a little nearer":          {configs.PreferRTT, 0, [2]Quality{quality(50, 1, 0), quality(42, 9, 9)}, 0},
		"much nearer":              {configs.PreferRTT, 0, [2]Quality{quality(50, 1, 0), quality(38, 9, 9)}, 1},
		"still a little nearer":    {configs.PreferRTT, 1, [2]Quality{quality(42, 1, 0), quality(50, 9, 9)}, 1},
		"no longer":                {configs.PreferRTT, 1, [2]Quality{quality(38, 1, 0), quality(50, 9, 9)}, 0},
		"steady":                   {configs.PreferJitter, noLead, [2]Quality{quality(10, 9, 0), quality(50, 3, 9)}, 1},
		"whole":                    {configs.PreferLoss, 0, [2]Quality{quality(10, 1, 3), quality(50, 9, 1)}, 1},
		"a little less loss":       {configs.PreferLoss, 0, [2]Quality{quality(10, 1, 2), quality(50, 9, 1)}, 0},
		"nothing known of the one": {configs.PreferRTT, noLead, [2]Quality{{}, quality(1, 1, 0)}, 0},
	} {
		s := State{Config: configs.Config{Policies: []configs.Policy{{
			Name: "p", Via: []string{"a", "b"},
			Prefer: tt.prefer,
		}}}}
		for n, q := range tt.of {
			u := Uplink{Config: configs.Uplink{Name: string(rune('a' + n))}}
			u.Config.Address = configs.AddressExternal
			u.Paths[IPv4] = Path{OperState: api.Up, Quality: q}
			s.Uplinks = append(s.Uplinks, u)
		}
		if tt.now != noLead {
			s.leads[IPv4] = []int{tt.now}
		}
		if got := s.chooseLead(0, IPv4); got != tt.want {
			t.Errorf("%s: uplink %d, want %d", name, got, tt.want)
		}
	}
}

// An uplink is full after two seconds of nine tenths of its bandwidth, and free again below seven tenths.
func TestFullBandwidth(t *testing.T) {
	start := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		used []int // percent of the bandwidth, each second; -1: not known
		full bool
	}{
		"idle":          {[]int{0, 0, 0}, false},
		"a peak":        {[]int{95, 95, 10}, false},
		"full":          {[]int{95, 95, 95}, true},
		"a second":      {[]int{95, 95}, false},
		"eight tenths":  {[]int{95, 95, 95, 80, 80, 80}, true},
		"free again":    {[]int{95, 95, 95, 80, 69}, false},
		"never that":    {[]int{89, 89, 89, 89}, false},
		"not known":     {[]int{95, 95, 95, -1, -1}, true},
		"full, a pause": {[]int{95, 80, 95, 95}, false},
	} {
		var l Load
		for n, percent := range tt.used {
			l.Sample.RxBPS, l.Sample.TxBPS = api.Known(uint64(max(percent, 0))), api.Known[uint64](0)
			if percent < 0 {
				l.Sample.RxBPS = api.Figure[uint64]{}
			}
			l.noteBandwidth(100, start.Add(time.Duration(n)*time.Second))
		}
		if l.Full != tt.full {
			t.Errorf("%s: full: %v, want %v", name, l.Full, tt.full)
		}
	}
}

// A configuration that is read anew, as for a list of prefixes that has changed, forgets neither which levels are broken
// nor where policies lead. From a review.
func TestLevelsOverAReload(t *testing.T) {
	s := shared(2)
	for i, name := range []string{"a", "b"} {
		s.Uplinks[i].Config.Name, s.Uplinks[i].Config.Interface = name, "eth"+name
	}
	policy := configs.Policy{Name: "voice", Via: []string{s.Uplinks[0].Config.Name, s.Uplinks[1].Config.Name}, SLA: configs.SLA{MaxRTT: 100 * time.Millisecond}}
	s.Config.Policies = []configs.Policy{policy}
	s.sets = policySets(s.Config)
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		u.Device.Read = true
		u.Config.Address = configs.AddressExternal
		u.Paths[IPv4].OperState = api.Up
	}
	now := time.Unix(1_700_000_000, 0)
	decide := func(rtt time.Duration) string {
		s.Uplinks[0].Paths[IPv4].Quality = Quality{Known: true, RTT: rtt}
		s.decideLevels(now)
		s.decideLeads()
		return s.Leads(0, IPv4)
	}
	if got := decide(150 * time.Millisecond); got != s.Uplinks[1].Config.Name {
		t.Fatalf("beyond its bound, it leads to %s", got)
	}
	again := s.Config
	again.Uplinks = []configs.Uplink{s.Uplinks[0].Config, s.Uplinks[1].Config}
	again.Policies = []configs.Policy{{Name: "new", Via: policy.Via}, policy}
	s.takeConfig(again, now)
	s.decideLevels(now)
	s.decideLeads()
	if got := s.Leads(1, IPv4); got != s.Uplinks[1].Config.Name {
		t.Errorf("after a reload it leads to %s, though nothing is better", got)
	}
	if got := s.Leads(0, IPv4); got != s.Uplinks[0].Config.Name {
		t.Errorf("a policy that asks nothing leads to %s", got)
	}
}

// What runs over an uplink whose quota is used up ends once others carry, also when that is later; and not while a
// configuration is on trial. From a review.
func TestOusted(t *testing.T) {
	s := shared(2)
	s.Uplinks[0].Config.Interface, s.Uplinks[1].Config.Interface = "etha", "ethb"
	s.Config.OnDown, s.Config.Marks, s.Config.Routes.FwMarkMask = configs.OnDown{Conntrack: true}, true, 0xff
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		u.Config.Address, u.Config.FwMark, u.Config.Tier = configs.AddressExternal, uint32(i+1), 1
	}
	s.Uplinks[0].Config.Quota = configs.Quota{Bytes: 100, Then: configs.ThenOut}
	s.Uplinks[0].Usage.Used = 100
	step := func(carries, trial bool) []Disconnect {
		before := s
		before.Uplinks = append([]Uplink{}, s.Uplinks...)
		s.Uplinks[1].Paths[IPv4].Carries, s.OnTrial = carries, trial
		s.decideOusted()
		return spentDisconnects(&before, &s)
	}
	if list := step(false, false); len(list) > 0 {
		t.Errorf("nobody else carries, and %v ends", list)
	}
	if list := step(true, true); len(list) > 0 {
		t.Errorf("on trial, and %v ends", list)
	}
	if list := step(true, false); len(list) != 1 || list[0].Mark != 1 {
		t.Errorf("another carries, and %v ends, want what runs over the first", list)
	}
	if list := step(true, false); len(list) > 0 {
		t.Errorf("it ends again: %v", list)
	}
	if list := step(false, false); len(list) > 0 {
		t.Errorf("when nobody carries again %v ends", list)
	}
}
