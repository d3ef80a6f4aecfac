package kernel

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"

	"uplinkd/routes"
)

// ReadMarkWrites returns the rules of others that write marks, of IPv4 and of both
// families. Those of iptables-legacy are not among them: nftables does not know them. It
// reads all rules there are.
func (k *Kernel) ReadMarkWrites(owner routes.Owner) ([]routes.MarkWrite, error) {
	var list []routes.MarkWrite
	for name, family := range map[string]nftables.TableFamily{
		"ip": nftables.TableFamilyIPv4, "inet": nftables.TableFamilyINet,
	} {
		chains, err := k.nft.ListChainsOfTableFamily(family)
		if err != nil {
			return nil, fmt.Errorf("list the nft chains of family %s: %w", name, err)
		}
		for _, c := range chains {
			if family == nftables.TableFamilyINet && c.Table.Name == owner.Table() {
				continue
			}
			rules, err := k.nft.GetRules(c.Table, c)
			if err != nil {
				return nil, fmt.Errorf("list the rules of table %s %s, chain %s: %w", name, c.Table.Name, c.Name, err)
			}
			for _, r := range rules {
				for _, w := range markWrites(r.Exprs) {
					w.Table, w.Chain = name+" "+c.Table.Name, c.Name
					list = append(list, w)
				}
			}
		}
	}
	return list, nil
}

// ReadForwardDrops returns the chains of nftables, as "table ip filter, chain FORWARD", that drop
// what is forwarded unless a rule of theirs accepts it.
func (k *Kernel) ReadForwardDrops() ([]string, error) {
	chains, err := k.nft.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list the nft chains: %w", err)
	}
	var list []string
	for _, c := range chains {
		family, ours := map[nftables.TableFamily]string{
			nftables.TableFamilyIPv4: "ip", nftables.TableFamilyINet: "inet", nftables.TableFamilyIPv6: "ip6",
		}[c.Table.Family]
		forwards := c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward && c.Type == nftables.ChainTypeFilter
		if ours && forwards && c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
			list = append(list, fmt.Sprintf("table %s %s, chain %s", family, c.Table.Name, c.Name))
		}
	}
	return list, nil
}

// A register holds a value that may go into a mark: bits of the mark as it was, and bits
// that the rule gives.
type register struct {
	kept  uint32 // of the connection's mark, or the packet's
	given uint32
	of    *bool // whose: true the connection's; nil: neither
}

// markWrites follows the registers of one rule (nft --debug=netlink shows them).
func markWrites(exprs []expr.Any) (list []routes.MarkWrite) {
	registers := map[uint32]register{}
	mark := func(connection, write bool, n uint32) {
		if !write {
			registers[n] = register{kept: ^uint32(0), of: &connection}
			return
		}
		r := registers[n]
		if r.of != nil && *r.of != connection {
			r.kept = 0 // what the other mark was: nobody knows
		}
		list = append(list, routes.MarkWrite{Connection: connection, Bits: ^r.kept | r.given, Sets: r.given})
	}
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Immediate:
			registers[e.Register] = register{given: word(e.Data)}
		case *expr.Bitwise:
			r := registers[e.SourceRegister]
			r.kept, r.given = r.kept&word(e.Mask), r.given&word(e.Mask)^word(e.Xor)
			registers[e.DestRegister] = r
		case *expr.Ct:
			if e.Key == expr.CtKeyMARK {
				mark(true, e.SourceRegister, e.Register)
			}
		case *expr.Meta:
			if e.Key == expr.MetaKeyMARK {
				mark(false, e.SourceRegister, e.Register)
			}
		case *expr.Target:
			if w, ok := targetWrite(e); ok {
				list = append(list, w)
			}
		}
	}
	return list
}

// word reads a value of four bytes, 0 for another.
func word(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return native.Uint32(b)
}

// targetWrite reads what a target of iptables-nft writes: MARK (struct xt_mark_tginfo2:
// mark, mask) and CONNMARK (struct xt_connmark_tginfo1: ctmark, ctmask, nfmask, mode) of
// include/uapi/linux/netfilter/xt_mark.h and xt_connmark.h.
func targetWrite(t *expr.Target) (routes.MarkWrite, bool) {
	raw, ok := t.Info.(*xt.Unknown)
	if !ok || raw == nil {
		return routes.MarkWrite{}, false
	}
	b := []byte(*raw)
	switch {
	case t.Name == "MARK" && len(b) >= 8:
		value := word(b[:4])
		return routes.MarkWrite{Bits: word(b[4:8]) | value, Sets: value}, true
	case t.Name == "CONNMARK" && len(b) >= 13 && b[12] == connmarkSet:
		value := word(b[:4])
		return routes.MarkWrite{Connection: true, Bits: word(b[4:8]) | value, Sets: value}, true
	case t.Name == "CONNMARK" && len(b) >= 13 && b[12] == connmarkSave:
		return routes.MarkWrite{Connection: true, Bits: word(b[4:8])}, true
	}
	return routes.MarkWrite{}, false
}

// Modes of CONNMARK.
const (
	connmarkSet  = 0
	connmarkSave = 1
)
