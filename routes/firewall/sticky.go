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
	// Full are the marks of uplinks that take nobody new, and keep whose they are.
	Full []uint32
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
// remember where. It is asked in this order: who is at home with an uplink that takes
// connections; who is with one that does not, and goes elsewhere; who went elsewhere while
// his own, which is gone by now, took none: he is at home there.
func (k sticker) chains() []Chain {
	ask := Chain{Name: k.chain(home)}
	list, spread := k.ways(home, k.sticky.Ways)
	full := make([]StickyWay, len(k.sticky.Full))
	for i, mark := range k.sticky.Full {
		full[i].Mark = mark
	}
	more, _ := k.ways(home, full)
	list = append(list, more...)
	for _, way := range append(slices.Clone(k.sticky.Ways), full...) {
		ask.Rules = append(ask.Rules, k.known(home, home, way.Mark))
	}
	if len(k.sticky.Away) > 0 {
		elsewhere := Chain{Name: k.chain(away)}
		ways, anew := k.ways(away, k.sticky.Ways)
		for _, way := range k.sticky.Ways {
			elsewhere.Rules = append(elsewhere.Rules, k.known(away, away, way.Mark))
		}
		elsewhere.Rules = append(elsewhere.Rules, Rule{anew})
		list = append(append(list, ways...), elsewhere)
		for _, mark := range k.sticky.Away {
			ask.Rules = append(ask.Rules, Rule{k.stuck(home, mark), k.stick(home, mark), Goto{Chain: elsewhere.Name}})
		}
	}
	for _, way := range k.sticky.Ways {
		ask.Rules = append(ask.Rules, k.known(away, home, way.Mark))
	}
	ask.Rules = append(ask.Rules, Rule{spread})
	return append(list, ask)
}

// known leads who is in one of the sets of an uplink to its chain.
func (k sticker) known(in, to string, mark uint32) Rule {
	return Rule{k.stuck(in, mark), Goto{Chain: k.way(to, mark)}}
}

// way returns the name of the chain that leads to an uplink, and remembers it.
func (k sticker) way(where string, mark uint32) string {
	return fmt.Sprintf("%s.%x", k.chain(where), mark)
}

// ways returns the chains that lead to uplinks, and the statement that spreads over them.
func (k sticker) ways(where string, to []StickyWay) (list []Chain, spread Spread) {
	for _, way := range to {
		name := k.way(where, way.Mark)
		spread.To = append(spread.To, SpreadWay{name, way.Weight})
		list = append(list, Chain{Name: name, Rules: []Rule{
			{k.stick(where, way.Mark)}, {Goto{Chain: Uplink{Mark: way.Mark}.Chain()}},
		}})
	}
	return list, spread
}

// sets returns the sets that the chains need.
func (k sticker) sets() []KeptSet {
	var list []KeptSet
	add := func(where string, marks ...uint32) {
		for _, mark := range marks {
			list = append(list, KeptSet{
				Name: k.set(where, mark), V6: k.side.v6, Pair: k.sticky.Destination, Seconds: k.sticky.Seconds,
			})
		}
	}
	for _, way := range k.sticky.Ways {
		add(home, way.Mark)
		add(away, way.Mark)
	}
	add(home, k.sticky.Away...)
	add(home, k.sticky.Full...)
	// Who is away there, and his own comes to nothing meanwhile, is found again when it takes connections.
	add(away, k.sticky.Away...)
	add(away, k.sticky.Full...)
	return list
}

func equalSticky(a, b *Sticky) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Destination == b.Destination && a.Seconds == b.Seconds && slices.Equal(a.Ways, b.Ways) &&
		slices.Equal(a.Away, b.Away) && slices.Equal(a.Full, b.Full)
}
