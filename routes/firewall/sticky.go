package firewall

import (
	"fmt"
	"slices"
)

// Sticky keeps the connections of one source on one uplink for a time.
type Sticky struct {
	Destination bool // of one source and one destination
	Seconds     uint32
	Ways        []StickyWay // among which a new source is spread
	// Away are the marks of uplinks that take no new connections for now. Whose they are goes
	// elsewhere meanwhile, and back when that is over.
	Away []uint32
}

// A StickyWay is an uplink that carries, and its weight.
type StickyWay struct {
	Mark   uint32
	Weight int
}

// Where a source is: at home, or for a while elsewhere.
const (
	home = "stuck"
	away = "away"
)

// A sticker makes the chains and sets of one sticky policy in one family.
type sticker struct {
	sticky Sticky
	policy string
	side   side
}

// chain returns the name of the chain that asks where a source is.
func (k sticker) chain(where string) string { return where + k.side.suffix + "." + k.policy }

// set returns the name of the set of sources that are on an uplink. What kind of set it is stands
// in its name: the kernel changes none into another.
func (k sticker) set(where string, mark uint32) string {
	kind := "s"
	if k.sticky.Destination {
		kind = "sd"
	}
	if k.side.v6 {
		kind += "6_"
	}
	return fmt.Sprintf("%s_%s%d_%s_%x", where, kind, k.sticky.Seconds, k.policy, mark)
}

func (k sticker) stuck(where string, mark uint32) MatchStuck {
	return MatchStuck{Set: k.set(where, mark), V6: k.side.v6, Destination: k.sticky.Destination}
}

func (k sticker) stick(where string, mark uint32) Stick {
	return Stick{
		Set: k.set(where, mark), V6: k.side.v6, Destination: k.sticky.Destination, Seconds: k.sticky.Seconds,
	}
}

// chains returns the chains that keep a source where it was, or else spread it by weight and
// remember where.
func (k sticker) chains() []Chain {
	list, ask := k.spread(home)
	if len(k.sticky.Away) > 0 {
		more, elsewhere := k.spread(away)
		list = append(append(list, more...), elsewhere)
		last := len(ask.Rules) - 1 // the one that spreads
		for _, mark := range k.sticky.Away {
			ask.Rules = slices.Insert(ask.Rules, last, Rule{
				k.stuck(home, mark), k.stick(home, mark), Goto{Chain: elsewhere.Name},
			})
		}
	}
	return append(list, ask)
}

// spread returns the chain that leads a known source to its uplink and any other to one by
// weight, and the chains for each uplink.
func (k sticker) spread(where string) (ways []Chain, ask Chain) {
	ask.Name = k.chain(where)
	var spread Spread
	for _, way := range k.sticky.Ways {
		name := fmt.Sprintf("%s.%x", ask.Name, way.Mark)
		ask.Rules = append(ask.Rules, Rule{k.stuck(where, way.Mark), Goto{Chain: name}})
		spread.To = append(spread.To, SpreadWay{name, way.Weight})
		ways = append(ways, Chain{Name: name, Rules: []Rule{
			{k.stick(where, way.Mark)}, {Goto{Chain: Uplink{Mark: way.Mark}.Chain()}},
		}})
	}
	ask.Rules = append(ask.Rules, Rule{spread})
	return ways, ask
}

// sets returns the sets that the chains need.
func (k sticker) sets() []KeptSet {
	var list []KeptSet
	add := func(where string, mark uint32) {
		list = append(list, KeptSet{
			Name: k.set(where, mark), V6: k.side.v6, Pair: k.sticky.Destination, Seconds: k.sticky.Seconds,
		})
	}
	for _, way := range k.sticky.Ways {
		add(home, way.Mark)
		if len(k.sticky.Away) > 0 {
			add(away, way.Mark)
		}
	}
	for _, mark := range k.sticky.Away {
		add(home, mark)
	}
	return list
}

func equalSticky(a, b *Sticky) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Destination == b.Destination && a.Seconds == b.Seconds && slices.Equal(a.Ways, b.Ways) &&
		slices.Equal(a.Away, b.Away)
}
