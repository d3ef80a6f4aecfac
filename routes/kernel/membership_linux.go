package kernel

import (
	"bytes"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"uplinkd/routes/firewall"
)

// membership turns a match in a set into expressions.
func (w *nftWriter) membership(s firewall.Statement) ([]expr.Any, error) {
	switch s := s.(type) {
	case firewall.MatchAddress:
		set := w.sets[s.Set.SetName()]
		return []expr.Any{loadAddress(s.Set.V6(), s.Source, 1), lookup(set, 1)}, nil
	case firewall.MatchNamed:
		return []expr.Any{loadAddress(s.V6, false, 1), lookup(w.sets[s.Set], 1)}, nil
	case firewall.MatchInAny:
		set, err := w.anonymous(&nftables.Set{KeyType: nftables.TypeIFName, Interval: true},
			interfaceElements(s.Interfaces))
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, lookup(set, 1)}, err
	case firewall.MatchMAC:
		return w.mac(s)
	case firewall.MatchProtocol:
		list := make([]nftables.SetElement, len(s.Protocols))
		for i, p := range s.Protocols {
			list[i].Key = []byte{p}
		}
		set, err := w.anonymous(&nftables.Set{KeyType: nftables.TypeInetProto}, list)
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, lookup(set, 1)}, err
	case firewall.MatchPort:
		list := make([]nftables.SetElement, 0, 2*len(s.Ranges))
		for _, r := range s.Ranges {
			list = append(list, nftables.SetElement{Key: big16(r.First), IntervalOpen: r.Last == 0xffff})
			if r.Last != 0xffff {
				list = append(list, nftables.SetElement{Key: big16(r.Last + 1), IntervalEnd: true})
			}
		}
		set, err := w.anonymous(&nftables.Set{KeyType: nftables.TypeInetService, Interval: true}, list)
		offset := uint32(2)
		if s.Source {
			offset = 0
		}
		return []expr.Any{loadPort(offset), lookup(set, 1)}, err
	case firewall.MatchStuck:
		exprs, register := loadSticky(s.V6, s.Destination)
		return append(exprs, lookup(w.sets[s.Set], register)), nil
	}
	return w.byKey(s)
}

// mac goes by the source of the Ethernet header, where there is one.
func (w *nftWriter) mac(s firewall.MatchMAC) ([]expr.Any, error) {
	list := make([]nftables.SetElement, len(s.Addresses))
	for i, a := range s.Addresses {
		list[i].Key = a
	}
	set, err := w.anonymous(&nftables.Set{KeyType: nftables.TypeEtherAddr}, list)
	return append(loadMAC(), lookup(set, 1)), err
}

// loadMAC loads the source of the Ethernet header, and ends the rule where there is none.
func loadMAC() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFTYPE, Register: 1}, cmp(false, native16(unix.ARPHRD_ETHER)),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 6, Len: 6},
	}
}

// loadPort loads a port: the source is at offset 0, the destination at 2.
func loadPort(offset uint32) expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2}
}

// interfaceElements returns ranges of names, in order: one with '*' at its end is all that begin so.
func interfaceElements(names []string) []nftables.SetElement {
	ranges := make([][2][]byte, 0, len(names)) // from, and before what
	for _, name := range names {
		begins, all := strings.CutSuffix(name, "*")
		from, until := interfaceName(begins), interfaceName(begins)
		last := unix.IFNAMSIZ - 1
		if all {
			last = max(len(begins)-1, 0) // the file has none that is nothing but '*'
		}
		until[last]++
		ranges = append(ranges, [2][]byte{from, until})
	}
	slices.SortFunc(ranges, func(a, b [2][]byte) int { return bytes.Compare(a[0], b[0]) })
	var list []nftables.SetElement
	for i, r := range ranges {
		if i > 0 && bytes.Compare(r[0], ranges[i-1][1]) < 0 {
			ranges[i] = ranges[i-1] // within the one before
			continue
		}
		list = append(list, nftables.SetElement{Key: r[0]}, nftables.SetElement{Key: r[1], IntervalEnd: true})
	}
	return list
}

// anonymous adds a set that belongs to one rule.
func (w *nftWriter) anonymous(set *nftables.Set, list []nftables.SetElement) (*nftables.Set, error) {
	set.Table, set.Anonymous, set.Constant = w.table, true, true
	return set, w.conn.AddSet(set, list)
}
