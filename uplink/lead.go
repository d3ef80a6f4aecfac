package uplink

import (
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/uplink/api"
)

// noLead is that a policy leads to no uplink.
const noLead = -1

// decideLeads decides to which uplink each policy leads in each family.
func (s *State) decideLeads() {
	for f := range families {
		fresh := len(s.leads[f]) != len(s.Config.Policies)
		for i := range s.Config.Policies {
			now := s.chooseLead(i, f)
			if !fresh && s.leads[f][i] == now {
				continue
			}
			if fresh {
				s.leads[f] = slices.Repeat([]int{noLead}, len(s.Config.Policies))
			} else {
				s.leads[f] = slices.Clone(s.leads[f]) // states share it
			}
			fresh = false
			s.leads[f][i] = now
		}
	}
}

// carryLeads keeps where policies lead under a new configuration, by their names and the interfaces: what is as good as
// another is not left for it.
func (s *State) carryLeads(old *State) {
	s.leads = [families][]int{}
	for f := range families {
		s.leads[f] = slices.Repeat([]int{noLead}, len(s.Config.Policies))
		for i := range s.Config.Policies {
			same := func(p configs.Policy) bool { return p.Name == s.Config.Policies[i].Name }
			was := old.lead(slices.IndexFunc(old.Config.Policies, same), f)
			if was == nil {
				continue
			}
			s.leads[f][i] = s.index(func(u *Uplink) bool { return u.Config.Interface == was.Config.Interface })
		}
	}
}

// lead returns the uplink that the i-th policy leads to in a family, nil when there is none.
func (s *State) lead(i int, f Family) *Uplink {
	if i < 0 || i >= len(s.leads[f]) || s.leads[f][i] == noLead || s.leads[f][i] >= len(s.Uplinks) {
		return nil
	}
	return &s.Uplinks[s.leads[f][i]]
}

// chooseLead returns the uplink that a policy is to lead to, of those that keep its service level: the one it
// prefers of those that are up, or else the first that is and whose agent wants no new connections, or else
// the first that is doubtful.
func (s *State) chooseLead(i int, f Family) int {
	p := &s.Config.Policies[i]
	best, drained, doubtful := noLead, noLead, noLead
	for _, name := range p.Via {
		n := s.index(func(u *Uplink) bool { return u.Config.Name == name })
		if n < 0 {
			continue
		}
		u := &s.Uplinks[n]
		path := &u.Paths[f]
		if u.Load.Capped || u.spent(configs.ThenOut) || !u.Has(f) || path.level(i).broken() {
			continue
		}
		switch {
		case path.OperState == api.Up && path.Advice.Drains():
			drained = or(drained, n)
		case path.OperState == api.Up, s.startsAs(u, path):
			if best == noLead || s.better(p.Prefer, f, n, best, i) {
				best = n
			}
		case path.OperState == api.Doubtful:
			doubtful = or(doubtful, n)
		}
	}
	return or(or(best, drained), doubtful)
}

// startsAs reports whether a path is taken for one that is up: at a start nobody has been judged, and what flows is
// not to be led elsewhere.
func (s *State) startsAs(u *Uplink, p *Path) bool {
	return p.OperState == api.Starting && !s.Settled && u.AdminIn(p.Family).State == api.AdminUp &&
		u.obstacle(p).reason == ""
}

func or(first, second int) int {
	if first != noLead {
		return first
	}
	return second
}

// How much better a path must be than the one that a policy leads to, to take its place: what is measured
// is never twice the same.
const (
	betterBy     = 0.8 // of the other's round trip or jitter
	betterByLoss = 1   // percent
)

// better reports whether a policy rather leads to the uplink n than to best.
func (s *State) better(prefer configs.Prefer, f Family, n, best, policy int) bool {
	a, b := s.Uplinks[n].Paths[f].Quality, s.Uplinks[best].Paths[f].Quality
	if prefer == configs.PreferOrder || !a.Known || !b.Known {
		return false
	}
	// Between two that are as good the one stays that it is.
	now := noLead
	if policy < len(s.leads[f]) {
		now = s.leads[f][policy]
	}
	share, points := 1.0, 0.0
	switch now {
	case best:
		share, points = betterBy, betterByLoss
	case n:
		share, points = 1/betterBy, -betterByLoss
	}
	times := func(a, b time.Duration) bool { return a.Seconds() < share*b.Seconds() }
	switch prefer {
	case configs.PreferRTT:
		return times(a.RTT, b.RTT)
	case configs.PreferJitter:
		return times(a.Jitter, b.Jitter)
	case configs.PreferLoss:
		return a.Loss+points < b.Loss
	case configs.PreferOrder:
	}
	return false
}

// Where a policy leads when that is no uplink.
const (
	LeadsNext    = "the next policy"
	LeadsNowhere = "nowhere"
	LeadsBalance = "balance"
)

// Leads says where the i-th policy leads now in a family, in words.
func (s *State) Leads(i int, f Family) string {
	p := &s.Config.Policies[i]
	if _, there := s.group(p.Match); !there || !configs.Holds(p.When, s.At) || s.sets[f][i].never {
		return LeadsNext
	}
	if u := s.lead(i, f); u != nil {
		return u.Config.Name
	}
	if len(p.Via) == 0 {
		return LeadsBalance
	}
	return map[configs.WhenDown]string{
		configs.WhenDownNext: LeadsNext, configs.WhenDownProhibit: LeadsNowhere,
		configs.WhenDownBalance: LeadsBalance,
	}[p.WhenDown]
}

// Passed says which uplinks a policy leads past for its service level in a family, and why, by name.
func (s *State) Passed(i int, f Family) map[string]string {
	p := &s.Config.Policies[i]
	passed := map[string]string{}
	for _, name := range p.Via {
		u := s.Named(name)
		if u == nil || !u.Has(f) {
			continue
		}
		if path := &u.Paths[f]; path.level(i).broken() {
			passed[name] = path.level(i).text(&p.SLA, path.Quality)
		}
	}
	return passed
}
