package routes

import "slices"

// Apply returns what the kernel holds after an operation that it has carried out,
// and what follows from it: routes that lose their last way go (fib_sync_down_dev,
// fib_sync_down_addr in net/ipv4/fib_semantics.c). It is pure; s is not changed. An
// operation that the kernel would refuse for want of its object changes nothing.
func Apply(s State, op Op) State {
	switch op := op.(type) {
	case SetLinkUp:
		return s.withLink(op.Interface, true)
	case SetLinkDown:
		return s.withLink(op.Interface, false)
	case WriteSetting:
		return s.withSetting(op.Setting)
	case RestoreSetting:
		return s.withRestored(op.Saved)
	case PutAddress:
		s.Addresses = put(s.Addresses, s.asked(op.Address), op.Address.same)
	case DeleteAddress:
		s.Addresses = without(s.Addresses, op.Address.same)
		if !slices.ContainsFunc(s.Addresses, func(a Address) bool { return a.Interface == op.Address.Interface }) {
			s.Routes = s.routesWithout(op.Address.Interface)
		}
	case PutFirewall:
		s.Firewall = op.Firewall.Version()
	case DeleteFirewall:
		s.Firewall = ""
	case PutEndpoint:
		s.Endpoints = put(s.Endpoints, op.Endpoint, func(e Endpoint) bool { return e.ID == op.Endpoint.ID })
	case DeleteEndpoint:
		s.Endpoints = without(s.Endpoints, func(e Endpoint) bool { return e.ID == op.Endpoint.ID })
	default:
		return applyRouting(s, op)
	}
	return s
}

// asked returns an address as it is when it has been put: one of IPv6 that was not there does not serve
// until nobody on the link has claimed it (RFC 4862 section 5.4).
func (s State) asked(a Address) Address {
	i := slices.IndexFunc(s.Addresses, a.same)
	switch {
	case i >= 0:
		a.Condition = s.Addresses[i].Condition
		if a.Condition == Deprecated {
			a.Condition = Serves
		}
	case a.Prefix.Addr().Is6() && !a.NoDAD:
		a.Condition = Tentative
	}
	return a
}

// Asked returns the State when every address has been asked about, and nobody has claimed one.
func (s State) Asked() State {
	s.Addresses = slices.Clone(s.Addresses)
	for i := range s.Addresses {
		if s.Addresses[i].Condition == Tentative {
			s.Addresses[i].Condition = Serves
		}
	}
	return s
}

// applyRouting is Apply for routes and rules.
func applyRouting(s State, op Op) State {
	switch op := op.(type) {
	case AddRoute:
		if !slices.ContainsFunc(s.Routes, op.Route.sameKey) {
			s.Routes = append(slices.Clone(s.Routes), op.Route)
		}
	case ReplaceRoute:
		s.Routes = put(s.Routes, op.Route, op.Route.sameKey)
	case DeleteRoute:
		s.Routes = without(s.Routes, func(r Route) bool {
			return r.sameKey(op.Route) && r.Protocol == op.Route.Protocol
		})
	case AddRule:
		if !slices.ContainsFunc(s.Rules, op.Rule.same) {
			s.Rules = append(slices.Clone(s.Rules), op.Rule)
		}
	case DeleteRule:
		s.Rules = without(s.Rules, func(r Rule) bool { return r == op.Rule })
	}
	return s
}

// put returns the list with an item in the place of the first that is the same, or
// at its end.
func put[T any](list []T, item T, same func(T) bool) []T {
	list = slices.Clone(list)
	if i := slices.IndexFunc(list, same); i >= 0 {
		list[i] = item
		return list
	}
	return append(list, item)
}

func without[T any](list []T, gone func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(list), gone)
}

func (s State) withLink(name string, up bool) State {
	i := slices.IndexFunc(s.Links, func(l Link) bool { return l.Name == name })
	if i < 0 {
		return s
	}
	s.Links = slices.Clone(s.Links)
	was := s.Links[i].Up
	s.Links[i].Up = up
	switch {
	case up && !was:
		s.RaisedUp = append(slices.Clone(s.RaisedUp), name)
	case !up:
		s.RaisedUp = without(s.RaisedUp, func(n string) bool { return n == name })
		s.Routes = s.routesWithout(name)
	}
	return s
}

// routesWithout returns the routes that are left when an interface carries none any
// more; a route that has another usable way keeps all of them.
func (s State) routesWithout(name string) []Route {
	usable := func(h NextHop) bool {
		l, ok := s.Link(h.Interface)
		return ok && l.Up && h.Interface != name
	}
	return without(s.Routes, func(r Route) bool {
		return r.Type == Unicast && !slices.ContainsFunc(r.NextHops, usable)
	})
}

func (s State) withSetting(w Setting) State {
	was, ok := s.setting(w)
	if !ok {
		return s
	}
	s.Settings = put(s.Settings, w, w.same)
	saved := Saved{Setting: w, Set: w.Value}
	saved.Value = was
	i := slices.IndexFunc(s.Saved, func(o Saved) bool { return o.same(w) })
	if i >= 0 && s.Saved[i].Set == was {
		saved.Value = s.Saved[i].Value // what it was before us; not what we made it
	}
	s.Saved = put(s.Saved, saved, func(o Saved) bool { return o.same(w) })
	return s
}

func (s State) withRestored(saved Saved) State {
	if now, ok := s.setting(saved.Setting); ok && now == saved.Set {
		s.Settings = put(s.Settings, saved.Setting, saved.same)
	}
	s.Saved = without(s.Saved, func(o Saved) bool { return o.same(saved.Setting) })
	return s
}
