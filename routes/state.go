package routes

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"uplinkd/routes/firewall"
)

// RulePriorities is how many rule priorities from Owner.RulePriority on are ours.
const RulePriorities = 1000

// An Owner is what marks an object in the kernel as ours.
type Owner struct {
	Protocol     uint8  // on routes, rules and addresses
	RulePriority uint32 // the first of RulePriorities
}

// OwnsRoute reports whether r carries our tag.
func (o Owner) OwnsRoute(r Route) bool { return r.Protocol == o.Protocol }

// OwnsRule reports whether r carries our tag and stands in our range.
func (o Owner) OwnsRule(r Rule) bool { return r.Protocol == o.Protocol && o.InRange(r.Priority) }

// OwnsAddress reports whether a carries our tag.
func (o Owner) OwnsAddress(a Address) bool { return a.Protocol == o.Protocol }

// Table returns the name of our nft table, of family inet.
func (o Owner) Table() string {
	if o == (Owner{Protocol: 201, RulePriority: 20000}) {
		return "uplinkd"
	}
	return fmt.Sprintf("uplinkd_%d_%d", o.Protocol, o.RulePriority)
}

// InRange reports whether a rule priority is one of ours.
func (o Owner) InRange(priority uint32) bool {
	return priority >= o.RulePriority && priority < o.RulePriority+RulePriorities
}

// Carries reports whether what an address of an interface sends or gets goes by what is ours: the address itself, or a
// route over the interface.
func (o Owner) Carries(have State, iface string, a netip.Addr) bool {
	return slices.ContainsFunc(have.Addresses, func(own Address) bool {
		return o.OwnsAddress(own) &&
			own.Prefix.Addr() == a
	}) ||
		slices.ContainsFunc(have.Routes, func(r Route) bool {
			return o.OwnsRoute(r) && slices.ContainsFunc(r.NextHops,
				func(h NextHop) bool { return h.Interface == iface })
		})
}

// A Set is what is wanted of the kernel. Everything we own that is not in it is
// to go, once Prune is set.
type Set struct {
	Owner Owner

	// Prune is false while it is not yet known what is wanted: at start, before
	// every uplink has been judged. Nothing is deleted then.
	Prune bool

	// Leave gives interfaces back down that were down before us: at the very
	// end, when nothing of ours is to stay. At any other time someone may have
	// come to rely on them.
	Leave bool

	IPv6      bool     // anything is wanted of that family
	Observe   []string // interfaces whose state and addresses are to be read
	Inside    []string // of these, those of the site, and not to the Internet
	Links     []string // interfaces that must be administratively up
	Settings  []Setting
	Addresses []Address
	Tables    []Route // what stands in the uplinks' own tables
	Rules     []Rule
	Firewall  *firewall.Table // our nft table; nil: none
	Default   []Route         // the default route all uplinks share, one a family
	Endpoints []Endpoint      // of MPTCP
}

// Routes returns all routes of the set, in the order they are to be put.
func (s Set) Routes() []Route { return slices.Concat(s.Tables, s.Default) }

// A Link is the state of an interface.
type Link struct {
	Name    string
	Index   int // another index is another interface, whatever its name
	Up      bool
	Carrier bool
	MAC     string
	InUse   bool // others rest on it: it is a bridge's member or a VLAN's parent, or has an IPv6 address
}

// A State is what was read from the kernel: everything of ours, and what is
// foreign but stands where ours would.
type State struct {
	At        time.Time
	Links     []Link         // of every name asked for that exists
	Addresses []Address      // on those links, ours and foreign, and ours anywhere
	Elsewhere []Address      // on all other links, loopback aside
	Routes    []Route        // ours in every table; foreign defaults of the tables asked for, in the kernel's order
	Site      []netip.Prefix // private networks that foreign routes of main lead to, not by a link asked for
	Rules     []Rule         // all but the kernel's own
	MainRule  bool           // somebody's rule leads all packets to main, as the kernel's own does (32766)
	MainRule6 bool           // likewise in IPv6
	Firewall  string         // Version of our nft table; "": there is none; "?": one that says nothing
	Endpoints []Endpoint     // of MPTCP, foreign ones too
	MPTCP     bool           // they have been read: otherwise nothing is known of them
	Settings  []Setting      // current values of those asked for and of those saved
	Saved     []Saved        // settings changed by us or by the process before us
	SeenUp    []string       // links that were up before, with us or the process before us to look after them
	RaisedUp  []string       // links found down and set up by us or the process before us
}

// StrangeFirewall is what State.Firewall is of a table that does not say what it holds:
// somebody has flushed it.
const StrangeFirewall = "?"

// LacksFirewall reports whether our nft table is missing, or somebody has emptied it.
func (s State) LacksFirewall() bool { return s.Firewall == "" || s.Firewall == StrangeFirewall }

// Link returns the link of that name, and whether there is one.
func (s State) Link(name string) (Link, bool) {
	for _, l := range s.Links {
		if l.Name == name {
			return l, true
		}
	}
	return Link{}, false
}

// HasAddress reports whether the interface has that very address and prefix.
func (s State) HasAddress(name string, prefix netip.Prefix) bool {
	for _, a := range s.Addresses {
		if a.Interface == name && a.Prefix == prefix {
			return true
		}
	}
	return false
}

// setting returns the current value of a setting, and whether there is such a one
// now: it goes and comes with its interface.
func (s State) setting(w Setting) (string, bool) {
	for _, c := range s.Settings {
		if c.same(w) {
			return c.Value, true
		}
	}
	return "", false
}
