package firewall

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// dispatchLeast is how many policies that follow each other are worth a table: asking the tables costs about
// as much as asking so many rules.
const dispatchLeast = 12

// A keyed policy is one that a table can tell apart from others.
type keyed struct {
	name  string
	rules []Rule
	keys  map[Key][]KeyRange
}

// A cell is a range of values of a key, and the policies that name it, in order.
type cell struct {
	KeyRange
	of []int
}

// A dispatcher finds the one policy of many that a packet may be meant by, in the number of look-ups that there
// are keys.
//
// Every policy is in the table of one key. A packet whose value is in no table is meant by none of them; one
// that is in a single table is asked of the policies that it names there; one that is in several, which is rare,
// is asked of all in order. That is what the order among them demands, for a policy of the second table can come
// before that of the first.
type dispatcher struct {
	side side
	name string // of its first policy
	run  []keyed
}

func (d dispatcher) chain(what string) string { return what + d.side.suffix + "." + d.name }

// chains returns the chains that stand in the place of the rules of the policies, the first of which is to be
// jumped to.
func (d dispatcher) chains() []Chain {
	tables := d.tables()
	first, all := Chain{Name: d.chain("dispatch")}, Chain{Name: d.chain("all")}
	var list []Chain
	for _, p := range d.run {
		own := Chain{Name: d.policy(p), Rules: p.rules}
		list = append(list, own)
		all.Rules = append(all.Rules, Rule{Goto{Chain: own.Name, Jump: true}})
	}
	used := slices.Sorted(maps.Keys(tables))
	for i, key := range used {
		hit := Chain{Name: d.chain(fmt.Sprint("hit", key))}
		first.Rules = append(first.Rules, Rule{d.any(key, tables[key]), Goto{Chain: hit.Name}})
		for _, other := range used[i+1:] {
			hit.Rules = append(hit.Rules, Rule{d.any(other, tables[other]), Goto{Chain: all.Name}})
		}
		choose := Dispatch{Key: key, V6: d.side.v6}
		for _, c := range tables[key] {
			to, shared := d.target(c)
			if len(shared.Rules) > 0 && !slices.ContainsFunc(list, func(o Chain) bool { return o.Name == to }) {
				list = append(list, shared)
			}
			choose.To = append(choose.To, DispatchWay{c.KeyRange, to})
		}
		hit.Rules = append(hit.Rules, Rule{choose})
		list = append(list, hit)
	}
	return append(list, all, first)
}

// policy returns the name of the chain that asks one policy.
func (d dispatcher) policy(p keyed) string { return "policy" + d.side.suffix + "." + p.name }

// any matches the packets that are in a table.
func (d dispatcher) any(key Key, table []cell) MatchKey {
	m := MatchKey{Key: key, V6: d.side.v6}
	for _, c := range table {
		// nft (1.0.6) does not list names from one to another that do not all begin alike.
		if n := len(m.Ranges); n > 0 && !key.Exact() && key != KeyInterface && m.Ranges[n-1].Before == c.First {
			m.Ranges[n-1].Before = c.Before
			continue
		}
		m.Ranges = append(m.Ranges, c.KeyRange)
	}
	return m
}

// target returns the name of the chain that asks the policies of a cell, and what is in it when there are several.
func (d dispatcher) target(c cell) (string, Chain) {
	if len(c.of) == 1 {
		return d.policy(d.run[c.of[0]]), Chain{}
	}
	names := make([]string, len(c.of))
	rules := make([]Rule, len(c.of))
	for i, n := range c.of {
		names[i] = d.run[n].name
		rules[i] = Rule{Goto{Chain: d.policy(d.run[n]), Jump: true}}
	}
	sum := sha256.Sum256([]byte(strings.Join(names, "\x00")))
	shared := Chain{Name: d.chain("shared." + hex.EncodeToString(sum[:6])), Rules: rules}
	return shared.Name, shared
}

// jumpsMost is how many policies the cells of a run may name together, for each policy: where ranges lie across each
// other, each cell would name most of them.
const jumpsMost = 8

// worth reports whether tables of the run are smaller than they are useful.
func (d dispatcher) worth() bool {
	named := 0
	for _, table := range d.tables() {
		for _, c := range table {
			named += len(c.of)
		}
	}
	return len(d.run) >= dispatchLeast && named <= jumpsMost*len(d.run)
}

// tables puts every policy into the table of the key by which fewest others are meant together with it.
func (d dispatcher) tables() map[Key][]cell {
	together := make([]map[Key]int, len(d.run)) // how many policies name a value of it, at most
	for i := range together {
		together[i] = map[Key]int{}
	}
	for _, key := range allKeys {
		for _, c := range d.cells(key, func(int) bool { return true }) {
			for _, i := range c.of {
				together[i][key] = max(together[i][key], len(c.of))
			}
		}
	}
	tables := map[Key][]cell{}
	chosen := make([]Key, len(d.run))
	for i, of := range together {
		sorted := slices.Sorted(maps.Keys(of))
		chosen[i] = slices.MinFunc(sorted, func(a, b Key) int { return of[a] - of[b] })
	}
	for _, key := range allKeys {
		if list := d.cells(key, func(i int) bool { return chosen[i] == key }); len(list) > 0 {
			tables[key] = list
		}
	}
	return tables
}

// cells returns the ranges of a key's values that the same policies name, in order.
func (d dispatcher) cells(key Key, which func(int) bool) []cell {
	type edge struct {
		at   string
		of   int
		ends bool
	}
	var edges []edge
	for i, p := range d.run {
		if !which(i) {
			continue
		}
		for _, r := range p.keys[key] {
			edges = append(edges, edge{at: r.First, of: i})
			if r.Before != "" {
				edges = append(edges, edge{at: r.Before, of: i, ends: true})
			}
		}
	}
	slices.SortStableFunc(edges, func(a, b edge) int { return strings.Compare(a.at, b.at) })
	var list []cell
	open := map[int]int{} // how many ranges of a policy the value is in
	for n, e := range edges {
		if e.ends {
			open[e.of]--
		} else {
			open[e.of]++
		}
		if open[e.of] == 0 {
			delete(open, e.of)
		}
		before := ""
		if n+1 < len(edges) {
			before = edges[n+1].at
		}
		if before == e.at || len(open) == 0 {
			continue
		}
		list = append(list, cell{KeyRange{e.at, before}, slices.Sorted(maps.Keys(open))})
	}
	return list
}

// The statements of a dispatcher.
type (
	// MatchKey matches packets with one of several values.
	MatchKey struct {
		Key    Key
		V6     bool
		Ranges []KeyRange
	}
	// Dispatch goes to the chain of a packet's value.
	Dispatch struct {
		Key Key
		V6  bool
		To  []DispatchWay
	}
)

// A DispatchWay is a range of values and the chain that they lead to.
type DispatchWay struct {
	KeyRange
	Chain string
}

func (m MatchKey) String() string {
	list := make([]string, len(m.Ranges))
	for i, r := range m.Ranges {
		list[i] = r.text(m.Key)
	}
	return m.Key.word(m.V6) + " { " + strings.Join(list, ", ") + " }"
}

func (d Dispatch) String() string {
	list := make([]string, len(d.To))
	for i, way := range d.To {
		list[i] = way.text(d.Key) + " : goto " + way.Chain
	}
	return d.Key.word(d.V6) + " vmap { " + strings.Join(list, ", ") + " }"
}
