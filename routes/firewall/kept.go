package firewall

import (
	"fmt"
	"slices"
)

// A KeptSet is a set whose elements come from others: from packets, or from a DNS server. It is
// kept for as long as anything asks it.
type KeptSet struct {
	Name    string
	V6      bool
	Pair    bool   // its elements are a source and a destination
	Seconds uint32 // how long an element stays that nobody renews
}

// KeptMost bounds how many elements a KeptSet has.
const KeptMost = 65536

// NameSeconds is how long an address stays in a set that a DNS server fills, from when it was put
// there or a connection last went to it. It is longer than a server keeps an answer, so that
// a client that is given the answer again is still meant.
const NameSeconds = 24 * 60 * 60

// NameSet returns the name of the set of a name's addresses in a family.
func NameSet(name string, v6 bool) string {
	if v6 {
		return name + "6"
	}
	return name
}

// KeptSets returns the sets that others fill, each once.
func (t Table) KeptSets() []KeptSet {
	var list []KeptSet
	for _, s := range t.sides() {
		for _, p := range s.policies {
			for _, name := range slices.Concat(p.Match.Names, p.Not.Names) {
				set := KeptSet{Name: NameSet(name, s.v6), V6: s.v6, Seconds: NameSeconds}
				if !slices.Contains(list, set) {
					list = append(list, set)
				}
			}
			if p.Sticky != nil {
				list = append(list, sticker{sticky: *p.Sticky, policy: p.Name, side: s}.sets()...)
			}
		}
	}
	return list
}

// String returns the set as nft has it.
func (s KeptSet) String() string {
	kind := addressType(s.V6)
	if s.Pair {
		kind += " . " + kind
	}
	return fmt.Sprintf("%s { type %s; size %d; flags dynamic,timeout; timeout %ds; }", s.Name, kind, KeptMost,
		s.Seconds)
}
