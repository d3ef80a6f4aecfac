package api

// Share returns which part of new connections the default route gives an uplink in a family, from 0 to 1;
// false: it carries by policies alone, or not at all.
func (s *Snapshot) Share(uplink, family string) (part float64, known bool) {
	route := &s.DefaultRoute
	if family == "ipv6" {
		route = s.DefaultRoute6
	}
	if route == nil {
		return 0, false
	}
	own, total := 0, 0
	for _, hop := range route.NextHops {
		total += hop.Weight
		if hop.Uplink == uplink {
			own += hop.Weight
		}
	}
	if own == 0 {
		return 0, false
	}
	return float64(own) / float64(total), true
}

// ConnectionShare returns which part of the connections of all uplinks one has, from 0 to 1; false: they
// cannot be counted, or there are none.
func (s *Snapshot) ConnectionShare(u *Uplink) (part float64, known bool) {
	total := Known(0)
	for i := range s.Uplinks {
		total = total.Plus(s.Uplinks[i].Counters.Connections)
	}
	if !total.Known || total.N == 0 {
		return 0, false
	}
	return float64(u.Counters.Connections.N) / float64(total.N), true
}
