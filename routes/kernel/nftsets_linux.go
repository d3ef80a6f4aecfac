package kernel

import (
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"uplinkd/routes/firewall"
)

// elementsMost is how many elements are handed to the library at once.
const elementsMost = 10_000

// addSets adds the sets that have names, and the counters, where they were not there before.
func (w *nftWriter) addSets(f firewall.Table, before writtenTable) error {
	present := func(name string) bool { return before.sets[name] != nil }
	for _, p := range f.Sets() {
		set := &nftables.Set{Table: w.table, Name: p.SetName(), KeyType: addressType(p.V6()), Interval: true}
		w.sets[set.Name] = set
		if present(set.Name) {
			continue // its name says what it holds
		}
		if err := w.conn.AddSet(set, nil); err != nil {
			return err
		}
		for part := range slices.Chunk(p.Ranges, elementsMost) {
			if err := w.conn.SetAddElements(set, rangeElements(part)); err != nil {
				return err
			}
		}
	}
	for _, s := range f.KeptSets() {
		if err := w.addKept(s, present(s.Name)); err != nil {
			return err
		}
	}
	for _, name := range f.Counters() {
		w.counts[name] = true
		if !before.counts[name] {
			w.conn.AddObj(w.counter(name))
		}
	}
	return nil
}

// deleteUnused deletes the sets that nothing asks any more, and the counters that nothing counts in.
func (w *nftWriter) deleteUnused(before writtenTable) {
	for name := range before.sets {
		if w.sets[name] == nil {
			w.conn.DelSet(&nftables.Set{Name: name, Table: w.table})
		}
	}
	for name := range before.counts {
		if !w.counts[name] {
			w.conn.DeleteObject(w.counter(name))
		}
	}
}

func (w *nftWriter) counter(name string) *nftables.NamedObj {
	return &nftables.NamedObj{Table: w.table, Name: name, Type: nftables.ObjTypeCounter, Obj: &expr.Counter{}}
}

// addressType is the type of the elements of a set of addresses.
func addressType(v6 bool) nftables.SetDatatype {
	if v6 {
		return nftables.TypeIP6Addr
	}
	return nftables.TypeIPAddr
}

// addKept adds a set that others fill. One that is not present gets what is remembered of it.
func (w *nftWriter) addKept(s firewall.KeptSet, present bool) error {
	set := &nftables.Set{
		Table: w.table, Name: s.Name, KeyType: addressType(s.V6), Dynamic: true, HasTimeout: true,
		Timeout: time.Duration(s.Seconds) * time.Second, Size: firewall.KeptMost,
	}
	if s.Pair {
		set.KeyType = nftables.MustConcatSetType(addressType(s.V6), addressType(s.V6))
		set.Concatenation = true
	}
	w.sets[set.Name] = set
	if present {
		return nil
	}
	if err := w.conn.AddSet(set, nil); err != nil {
		return err
	}
	for part := range slices.Chunk(w.kept.elements(s.Name, time.Now()), elementsMost) {
		if err := w.conn.SetAddElements(set, part); err != nil {
			return err
		}
	}
	return nil
}

func rangeElements(ranges []firewall.AddressRange) []nftables.SetElement {
	list := make([]nftables.SetElement, 0, 2*len(ranges))
	for _, r := range ranges {
		after := r.Last.Next()
		list = append(list, nftables.SetElement{Key: r.First.AsSlice(), IntervalOpen: !after.IsValid()})
		if after.IsValid() {
			list = append(list, nftables.SetElement{Key: after.AsSlice(), IntervalEnd: true})
		}
	}
	return list
}
