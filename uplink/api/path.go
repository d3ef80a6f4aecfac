package api

import "time"

// A Path is an uplink in one family.
type Path struct {
	Family          string // ipv4 | ipv6
	State           OperState
	Reason          string
	Since           time.Time
	Active          bool
	EffectiveWeight int
	Hold            Hold
	DHCP            *DHCP // nil: it has no lease to keep
	Probes          []Probe
	ProbeInterval   Millis
	ProbeStretched  bool
	ProbeBudget     uint64
}

// Paths returns an uplink's paths, that which speaks for it first.
func (u *Uplink) Paths() []Path {
	list := []Path{{
		u.Family, u.State, u.Reason, u.Since, u.Active, u.EffectiveWeight, u.Hold, u.DHCP, u.Probes,
		u.ProbeInterval, u.ProbeStretched, u.ProbeBudget,
	}}
	if p := u.IPv6; p != nil && u.Family != "ipv6" {
		list = append(list, Path{
			"ipv6", p.State, p.Reason, p.Since, p.Active, p.EffectiveWeight, p.Hold, p.DHCP, p.Probes,
			p.ProbeInterval, p.ProbeStretched, p.ProbeBudget,
		})
	}
	return list
}

// Best returns the probe that loses least, which speaks for the path; an empty one where there is none.
func (p *Path) Best() Probe {
	var best Probe
	for i := range p.Probes {
		if t := &p.Probes[i]; t.Sent > 0 && (best.Sent == 0 || t.Loss < best.Loss) {
			best = *t
		}
	}
	return best
}
