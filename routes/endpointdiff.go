package routes

import (
	"fmt"
	"slices"
)

// endpointPuts makes the wanted endpoints be there. One that somebody else has put there for
// the same address serves as well, and stays theirs.
func (d *differ) endpointPuts() (ops []Op) {
	if !d.have.MPTCP {
		return nil
	}
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
			d.endpointConflict(w, d.have.Endpoints[i])
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

// endpointConflict notes a foreign endpoint that does not serve.
func (d *differ) endpointConflict(w, foreign Endpoint) {
	if foreign.NoSubflow || foreign.Backup && !w.Backup {
		d.conflicts = append(d.conflicts, Conflict{
			Want: "mptcp endpoint " + w.String(), Have: "mptcp endpoint " + foreign.describe(),
			Remedy: fmt.Sprintf("remove it where it is configured, or by hand: ip mptcp endpoint delete id %d",
				foreign.ID),
		})
	}
}

// describe is String for an endpoint of others, which may be of another kind.
func (e Endpoint) describe() string {
	if e.NoSubflow {
		return fmt.Sprintf("%s id %d, without subflow", e.Address, e.ID)
	}
	return fmt.Sprintf("%s id %d %s", e.Address, e.ID, e.flags())
}

// freeEndpoint returns a number that is free, or else that of an endpoint of ours that is to
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
