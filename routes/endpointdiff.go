package routes

import "slices"

// endpointPuts makes the wanted endpoints be there. One that somebody else has put there for
// the same address serves as well, and stays theirs.
func (d *differ) endpointPuts() (ops []Op) {
	taken := map[uint8]bool{}
	for _, h := range d.have.Endpoints {
		taken[h.ID] = true
	}
	for _, w := range d.want.Endpoints {
		if _, ok := d.have.Link(w.Interface); !ok {
			continue
		}
		i := slices.IndexFunc(d.have.Endpoints, func(h Endpoint) bool { return h.Address == w.Address })
		switch {
		case i >= 0 && !d.want.Owner.OwnsEndpoint(d.have.Endpoints[i]):
			continue
		case i >= 0:
			w.ID = d.have.Endpoints[i].ID
			if d.have.Endpoints[i] == w {
				continue
			}
		default:
			if w.ID = d.freeEndpoint(taken); w.ID == 0 {
				return ops // the kernel takes no more
			}
			taken[w.ID] = true
		}
		ops = append(ops, PutEndpoint{Endpoint: w})
	}
	return ops
}

// freeEndpoint returns a number of ours that is free, or else one of an endpoint that is to
// go; 0: there is none.
func (d *differ) freeEndpoint(taken map[uint8]bool) uint8 {
	first := d.want.Owner.firstEndpoint()
	for n := range uint8(Endpoints) {
		if !taken[first+n] {
			return first + n
		}
	}
	for _, h := range d.have.Endpoints {
		if d.isStale(h) && !d.reused[h.ID] {
			if d.reused == nil {
				d.reused = map[uint8]bool{}
			}
			d.reused[h.ID] = true
			return h.ID
		}
	}
	return 0
}

// isStale reports whether an endpoint is ours, and of an address for which none is wanted.
func (d *differ) isStale(h Endpoint) bool {
	return d.want.Owner.OwnsEndpoint(h) &&
		!slices.ContainsFunc(d.want.Endpoints, func(w Endpoint) bool { return w.Address == h.Address })
}

func (d *differ) endpointDeletes() (ops []Op) {
	for _, h := range d.have.Endpoints {
		if d.isStale(h) && !d.reused[h.ID] {
			ops = append(ops, DeleteEndpoint{Endpoint: h})
		}
	}
	return ops
}
