package uplink

import (
	"uplinkd/configs"
	"uplinkd/probe"
	"uplinkd/uplink/api"
)

// decideCarriers decides which paths carry new connections.
func (s *State) decideCarriers() {
	for f := range families {
		for i := range s.Uplinks {
			s.Uplinks[i].Paths[f].Carries = false
		}
		for _, i := range s.chooseCarriers(f) {
			s.Uplinks[i].Paths[f].Carries = true
		}
	}
}

// chooseCarriers returns the uplinks that are to carry new connections of a family:
// those that are up and not capped, and whose agents want any, of the lowest tier that has
// one; when no uplink that is up is so, those of the lowest tier take more all the same;
// when none is up, those that are doubtful: late is better than nowhere. Before it
// has been judged a path that carried under the process before us still does. What the
// operator has taken out stays out.
func (s *State) chooseCarriers(f Family) []int {
	free := func(u *Uplink) bool {
		return u.Has(f) && u.AdminIn(f).State == api.AdminUp && !u.spent(configs.ThenOut) &&
			u.deprecated(&u.Paths[f]) == ""
	}
	up := func(u *Uplink) bool {
		p := &u.Paths[f]
		adopted := p.OperState == api.Starting && p.Adopted.Carried
		return free(u) && (p.OperState == api.Up || adopted && u.obstacle(p).reason == "")
	}
	doubtful := func(u *Uplink) bool { return free(u) && u.Paths[f].OperState == api.Doubtful }
	spare := func(u *Uplink) bool { return !u.Load.Capped && !u.Paths[f].Advice.Drains() }
	active := lowestTier(s.Uplinks, f, func(u *Uplink) bool { return up(u) && spare(u) })
	if len(active) == 0 {
		active = lowestTier(s.Uplinks, f, up)
	}
	if len(active) == 0 {
		active = lowestTier(s.Uplinks, f, doubtful)
	}
	if len(active) > 0 || !s.hasLastResort(f) {
		return s.overflow(active)
	}
	return s.lastResort(f, free)
}

// overflow leaves the first of a tier that has bandwidth left, where connections are to fill one after the other;
// when none has any, all share what more there is.
func (s *State) overflow(active []int) []int {
	if s.Config.Routes.Balance != configs.BalanceOverflow {
		return active
	}
	for n, i := range active {
		if !s.Uplinks[i].Load.Full {
			return active[n : n+1]
		}
	}
	return active
}

// hasLastResort reports whether something is to carry when nothing is up.
func (s *State) hasLastResort(f Family) bool {
	return s.Settled && s.Config.Routes.LastResort != configs.LastResortNone && !s.fallsBack(f)
}

// fallsBack reports whether what cannot go by a family goes by another one: who finds IPv6
// unreachable takes IPv4 at once (RFC 8305), and who waits for a dead uplink does not.
func (s *State) fallsBack(f Family) bool {
	return f == IPv6 && s.any(func(u *Uplink) bool {
		return u.Has(IPv4) && u.Paths[IPv4].OperState == api.Up && u.AdminIn(IPv4).State == api.AdminUp
	})
}

// lastResort returns what carries when all have been judged and none is up: those that are
// only held down for having fallen often, or else those whose link and address still
// stand: perhaps only the probes fail.
func (s *State) lastResort(f Family, free func(*Uplink) bool) []int {
	held := lowestTier(s.Uplinks, f, func(u *Uplink) bool {
		p := &u.Paths[f]
		return free(u) && p.Health.Verdict == probe.Up && u.obstacle(p).reason == ""
	})
	if len(held) > 0 {
		return held
	}
	return lowestTier(s.Uplinks, f, func(u *Uplink) bool { return free(u) && u.obstacle(&u.Paths[f]).reason == "" })
}

func lowestTier(uplinks []Uplink, f Family, fit func(*Uplink) bool) []int {
	var list []int
	tierOf := func(i int) int { return uplinks[i].tier(f) }
	for i := range uplinks {
		if !fit(&uplinks[i]) {
			continue
		}
		if len(list) > 0 && tierOf(i) < tierOf(list[0]) {
			list = list[:0]
		}
		if len(list) == 0 || tierOf(i) == tierOf(list[0]) {
			list = append(list, i)
		}
	}
	return list
}

// carriers returns the uplinks whose paths in a family carry new connections, as was
// decided.
func (s *State) carriers(f Family) []int {
	var list []int
	for i := range s.Uplinks {
		if s.Uplinks[i].Paths[f].Carries {
			list = append(list, i)
		}
	}
	return list
}
