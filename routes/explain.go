package routes

import "net/netip"

// A Packet is what a route is looked up for. What is zero is not told.
type Packet struct {
	To, From     netip.Addr
	Mark         uint32
	Protocol     uint8
	SPort, DPort uint16
	In           string // the interface it comes in by; "": this host sends it
}

// A Way is the kernel's own answer.
type Way struct {
	Type      string // unicast, local, prohibit, ...
	Table     uint32
	Interface string
	Gateway   netip.Addr // not valid: the target is on the link
	Source    netip.Addr
	Rule      string // that led to the table, as of `ip rule`; "" when none of those that are known did
}

// matches reports whether the rule is for such a packet, as far as that is told.
func (r Rule) matches(p Packet) bool {
	return r.V6 == p.To.Is6() && !r.Foreign && r.Out == "" && (r.Mask == 0 || p.Mark&r.Mask == r.Mark) &&
		(!r.From.IsValid() || p.From.IsValid() && r.From.Contains(p.From)) && (!r.To.IsValid() || r.To.Contains(p.To))
}

// LedBy returns the first of the rules that leads such a packet to that table.
// The kernel does not tell it. One that shows no default route is taken not to have
// led to a gateway: a more specific route via one is rare.
func LedBy(rules []Rule, p Packet, w Way) string {
	for _, r := range rules {
		if r.matches(p) && r.Table == w.Table && (!r.SuppressDefault || !w.Gateway.IsValid()) {
			return r.String()
		}
	}
	switch w.Table {
	case TableLocal:
		return "pref 0 lookup local"
	case TableMain:
		return "pref 32766 lookup main"
	}
	return ""
}
