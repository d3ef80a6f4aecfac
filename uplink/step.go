package uplink

import (
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/uplink/api"
)

// Step returns the state after e. It is pure: s is not changed. An event that says
// nothing, at the time of the last one, changes nothing.
func Step(s State, e Event, now time.Time) State {
	before := s
	s.Uplinks = slices.Clone(s.Uplinks)
	s.take(e, now)
	s.tellConflicts(now)
	if s.Read {
		s.decide(now)
	}
	if _, ok := e.(Reloaded); ok {
		s.hold(&before)
	}
	return s
}

// take notes what happened, and decides nothing.
func (s *State) take(e Event, now time.Time) {
	switch e := e.(type) {
	case Observed:
		s.takeObserved(e.Applied)
	case ProbeChanged, AdvertChanged, LeaseChanged:
		s.takeOfPath(e)
	case Together:
		s.takeTogether(e)
	case Commanded:
		if u := s.Named(e.Uplink); u != nil {
			u.takeCommand(e.Command, now)
		}
	case Restored:
		for i := range s.Uplinks {
			s.Uplinks[i].Admin = e.Admins[s.Uplinks[i].Config.Name]
			s.Uplinks[i].Usage = e.Usage[s.Uplinks[i].Config.Name]
		}
	case Sampled:
		s.takeSamples(e.Samples, now)
	case GroupsFound:
		s.Groups = e.Groups
	case NeighbourFailed: // is for the probers, which the engine tells
	case CarrierLost:
		s.loseCarrier(e)
	case Resumed:
		s.SuspendedFor += e.SuspendedFor
	case Reloaded:
		s.takeConfig(e.Config, now)
		s.OnTrial = e.OnTrial
	case Confirmed:
		s.OnTrial = false
	}
}

// loseCarrier notes that an interface had no carrier, as of when the kernel was asked.
func (s *State) loseCarrier(e CarrierLost) {
	for i := range s.Uplinks {
		if d := &s.Uplinks[i].Device; d.Link.Index == e.Index && d.Link.Carrier {
			d.Link.Carrier, d.CarrierLostAt = false, e.At
		}
	}
}

// takeOfPath notes what a path's prober or its clients say.
func (s *State) takeOfPath(e Event) {
	switch e := e.(type) {
	case ProbeChanged:
		if u := s.On(e.Interface); u != nil {
			u.takeReport(e)
		}
	case AdvertChanged:
		if u := s.On(e.Interface); u != nil {
			u.Paths[IPv6].takeAdvert(e.Advert)
		}
	case LeaseChanged:
		if u := s.On(e.Interface); u != nil {
			u.Paths[e.Family].takeLease(e.Report)
		}
	}
}

// takeTogether notes what several probers say, and which links have lost their carrier.
func (s *State) takeTogether(list Together) {
	on := make(map[string]*Uplink, len(s.Uplinks))
	for i := range s.Uplinks {
		on[s.Uplinks[i].Config.Interface] = &s.Uplinks[i]
	}
	for _, e := range list {
		switch e := e.(type) {
		case ProbeChanged:
			if u := on[e.Interface]; u != nil {
				u.takeReport(e)
			}
		case CarrierLost:
			s.loseCarrier(e)
		}
	}
}

// takeReport notes what a path's prober says. A verdict that was under way when the series changed is void: see
// evidence.
func (u *Uplink) takeReport(e ProbeChanged) {
	u.Paths[e.Family].ProbeReport, u.Paths[e.Family].Unheard = e.Change, e.Unheard
}

// decide draws the conclusions, one kind after the other, each for all paths: what
// is decided of one path rests on what was decided of all before, whatever their
// order in the file.
func (s *State) decide(now time.Time) {
	s.decideUsage(now)
	s.At = now
	for i := range s.Uplinks {
		s.Uplinks[i].Admin.expire(now)
	}
	for _, p := range s.paths() {
		p.Adopted.expire(now)
	}
	s.siftDelegations()
	s.decideLAN(now)
	s.decideLeases(now)
	for u, p := range s.paths() {
		s.decideSeries(u, p, now)
	}
	shared := s.opinions()
	for u, p := range s.paths() {
		u.decideProbe(p, shared)
		p.Health.conclude(u.poll(p, shared), p.Series)
	}
	for u, p := range s.paths() {
		before := p.OperState
		if u.decideState(p, now); p.OperState != before && before != api.Doubtful {
			s.switches++
			p.Switch = s.switches // what follows from doubt is part of the switch that began with it
		}
		p.ConfirmRequests = u.confirmRequests(p, now)
	}
	undecided := func(u *Uplink) bool { return !u.everDecided() }
	s.Settled = s.Settled || now.Sub(s.StartedAt) >= startLimit || !s.any(undecided)
	for u, p := range s.paths() {
		u.takeAdvice(p, now, s.Config.Routes.BalanceInterval)
	}
	s.decideLevels(now)
	s.decideCarriers()
	s.decideOusted()
	s.decideLeads()
	s.balance(now)
}

func (u *Uplink) everDecided() bool {
	for p := range u.Present() {
		if !p.EverDecided {
			return false
		}
	}
	return true
}

// takeConfig takes a new configuration over. What is known of an uplink stays while
// its interface does, whatever its name; what the operator wants stays with the
// name. The rest follows from comparing.
func (s *State) takeConfig(c configs.Config, now time.Time) {
	old := *s
	s.Config, s.Uplinks, s.sets, s.named = c, nil, policySets(c), groupNames(c)
	for _, config := range c.Uplinks {
		u := newUplink(config, now)
		if known := old.On(config.Interface); known != nil {
			u = *known
			u.Config = config
			u.carryLevels(old.Config.Policies, c.Policies)
			for f := range families {
				switch p := &u.Paths[f]; {
				case !known.Has(f) || !u.Has(f):
					*p = newPath(f, u.In(f).Weight, now)
				case known.In(f).Address != u.In(f).Address:
					if p.Lease = nil; f == IPv4 {
						p.Report = LeaseReport{} // in IPv6 the clients may go on, and say only what is new
					}
					p.Adopted, p.EverAssigned = Adopted{}, nil
				}
			}
		}
		u.Admin = Admin{}
		if named := old.Named(config.Name); named != nil {
			u.Admin = named.Admin
			if old.On(config.Interface) == nil {
				u.Usage = named.Usage // the line has moved to another interface
			}
		}
		s.Uplinks = append(s.Uplinks, u)
	}
	s.renameOwners(&old)
	s.carryLeads(&old)
}

// renameOwners has the LAN's networks be of the uplinks that they are of, also of those that are called
// otherwise now.
func (s *State) renameOwners(old *State) {
	s.LANNets = slices.Clone(s.LANNets)
	for i := range s.LANNets {
		owner := old.Named(s.LANNets[i].Of)
		if owner == nil {
			continue
		}
		if u := s.On(owner.Config.Interface); u != nil {
			s.LANNets[i].Of = u.Config.Name
		}
	}
}

// takeCommand notes what the operator wants.
func (u *Uplink) takeCommand(c api.Command, now time.Time) {
	for p := range u.Present() {
		if c.Family != "" && c.Family != p.Family.String() {
			continue
		}
		switch c.Action {
		case api.Renew:
			p.OperatorRenews++
		case api.Enable:
			p.Health.Hold = Hold{} // a person knows better
		case api.Disable, api.Drain, api.Weight, api.Drill, api.SetQuota:
		}
	}
	if c.Action == api.SetQuota {
		u.Usage.Used = c.Bytes
	}
	if standing(c.Action) {
		u.Admin = applyCommand(u.Admin, u.scoped(c), now)
	}
}
