package kernel

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"uplinkd/routes/firewall"
)

// byKey turns a look-up of a key, in a set or in a map to chains, into expressions.
func (w *nftWriter) byKey(s firewall.Statement) ([]expr.Any, error) {
	switch s := s.(type) {
	case firewall.MatchKey:
		set, load := keySet(s.Key, s.V6)
		var list []nftables.SetElement
		for _, r := range s.Ranges {
			list = append(list, keyElements(s.Key, r, nil)...)
		}
		set, err := w.anonymous(set, list)
		return append(load, lookup(set, 1)), err
	case firewall.Dispatch:
		set, load := keySet(s.Key, s.V6)
		set.IsMap, set.DataType = true, nftables.TypeVerdict
		var list []nftables.SetElement
		for _, way := range s.To {
			to := &expr.Verdict{Kind: expr.VerdictGoto, Chain: way.Chain}
			list = append(list, keyElements(s.Key, way.KeyRange, to)...)
		}
		set, err := w.anonymous(set, list)
		return append(load, mapped(set)), err
	}
	return nil, errUnknownStatement
}

// keySet returns a set of a key's values, and what loads the key of a packet.
func keySet(key firewall.Key, v6 bool) (*nftables.Set, []expr.Any) {
	set := &nftables.Set{Interval: !key.Exact()}
	switch key {
	case firewall.KeyInterface:
		set.KeyType = nftables.TypeIFName
		return set, []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}}
	case firewall.KeyMAC:
		set.KeyType = nftables.TypeEtherAddr
		return set, loadMAC()
	case firewall.KeyDPort:
		set.KeyType = nftables.TypeInetService
		return set, []expr.Any{loadPort(2)}
	case firewall.KeyTo, firewall.KeyFrom:
		set.KeyType = addressType(v6)
		return set, []expr.Any{loadAddress(v6, key == firewall.KeyFrom, 1)}
	}
	return set, nil
}

// keyElements returns the elements of one range: its first value, and where it ends.
func keyElements(key firewall.Key, r firewall.KeyRange, to *expr.Verdict) []nftables.SetElement {
	list := []nftables.SetElement{{
		Key: []byte(r.First), VerdictData: to, IntervalOpen: !key.Exact() && r.Before == "",
	}}
	if !key.Exact() && r.Before != "" {
		list = append(list, nftables.SetElement{Key: []byte(r.Before), IntervalEnd: true})
	}
	return list
}
