package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"uplinkd/routes/firewall"
)

// rule turns a rule into expressions. What looks into the IP header comes after the family: without that nft does not
// know what is looked at, and lists what it cannot read itself.
func (w *nftWriter) rule(r firewall.Rule) ([]expr.Any, error) {
	var exprs []expr.Any
	known := false // the family
	for _, s := range r {
		list, err := w.statement(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s, err)
		}
		if f, ok := s.(firewall.MatchFamily); ok && !f.Not {
			known = true
		}
		if v6, ok := firewall.HeaderOf(s); ok && !known {
			exprs = append(exprs, family(v6, false)...)
			known = true
		}
		exprs = append(exprs, list...)
	}
	return exprs, nil
}

// family matches the packets of a family, or all others.
func family(v6, not bool) []expr.Any {
	number := byte(unix.NFPROTO_IPV4)
	if v6 {
		number = unix.NFPROTO_IPV6
	}
	return compare(&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, not, []byte{number})
}

// statement turns one statement into expressions. What is a match ends the rule
// where it does not hold.
func (w *nftWriter) statement(s firewall.Statement) ([]expr.Any, error) {
	switch s := s.(type) {
	case firewall.MatchFamily:
		return family(s.V6, s.Not), nil
	case firewall.MatchMark:
		return append(loadMark(s.Connection), bits(s.Mask, 0), cmp(s.Not, native32(s.Value))), nil
	case firewall.MatchIn:
		return compare(&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, false, interfaceName(s.Interface)), nil
	case firewall.MatchOwn:
		fib := &expr.Fib{Register: 1, ResultADDRTYPE: true, FlagSADDR: true}
		return compare(fib, s.Not, native32(unix.RTN_LOCAL)), nil
	case firewall.MatchOut:
		return compare(&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, false, interfaceName(s.Interface)), nil
	case firewall.MatchNew:
		return []expr.Any{
			&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, bits(expr.CtStateBitNEW, 0), cmp(true, native32(0)),
		}, nil
	case firewall.MatchForeignSource:
		fib := &expr.Fib{Register: 1, ResultADDRTYPE: true, FlagSADDR: true, FlagOIF: true}
		return compare(fib, true, native32(unix.RTN_LOCAL)), nil
	case firewall.MatchUser:
		return compare(&expr.Meta{Key: expr.MetaKeySKUID, Register: 1}, false, native32(s.ID)), nil
	case firewall.MatchDSCP:
		if s.V6 {
			return dscp6(s.Value), nil
		}
		return []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 1, Len: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{0xfc}, Xor: []byte{0}},
			cmp(false, []byte{s.Value << 2}),
		}, nil
	case firewall.MatchPrefix:
		network := s.Source.Masked().Addr().AsSlice()
		return []expr.Any{loadAddress(true, true, 1), prefixMask(s.Source), cmp(false, network)}, nil
	case firewall.MatchCgroup:
		return []expr.Any{
			&expr.Socket{Key: expr.SocketKeyCgroupv2, Level: uint32(s.Cgroup.Level), Register: 1},
			cmp(false, binaryutil.NativeEndian.PutUint64(s.Cgroup.ID)),
		}, nil
	case firewall.MatchAddress, firewall.MatchNamed, firewall.MatchProtocol, firewall.MatchPort, firewall.MatchStuck,
		firewall.MatchInAny, firewall.MatchMAC, firewall.MatchKey, firewall.Dispatch:
		return w.membership(s)
	}
	return w.action(s)
}

var errUnknownStatement = errors.New("kernel: unknown statement")

func (w *nftWriter) action(s firewall.Statement) ([]expr.Any, error) {
	switch s := s.(type) {
	case firewall.SetMark:
		store := []expr.Any{bits(^s.Mask, s.Value)}
		if s.Connection {
			store = append(store, &expr.Ct{Key: expr.CtKeyMARK, SourceRegister: true, Register: 1})
		} else {
			store = append(store, &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1})
		}
		return append(loadMark(s.Connection), store...), nil
	case firewall.Follow:
		return w.follow(s)
	case firewall.Spread:
		return w.spread(s)
	case firewall.Refresh:
		return []expr.Any{loadAddress(s.V6, false, 1), w.update(s.Set, 1, firewall.NameSeconds)}, nil
	case firewall.Stick:
		exprs, register := loadSticky(s.V6, s.Destination)
		return append(exprs, w.update(s.Set, register, s.Seconds)), nil
	case firewall.Goto, firewall.Return, firewall.Accept, firewall.Drop:
		return []expr.Any{verdict(s)}, nil
	case firewall.Reject:
		return []expr.Any{&expr.Reject{
			Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED,
		}}, nil
	case firewall.Masquerade:
		return []expr.Any{&expr.Masq{}}, nil
	case firewall.TranslatePrefix:
		return []expr.Any{
			&expr.Immediate{Register: 1, Data: s.To.Masked().Addr().AsSlice()},
			&expr.Immediate{Register: 2, Data: lastAddress(s.To)},
			&expr.NAT{
				Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV6, RegAddrMin: 1, RegAddrMax: 2, Prefix: true,
			},
		}, nil
	case firewall.Count:
		return []expr.Any{&expr.Objref{Type: int(nftables.ObjTypeCounter), Name: s.Name}}, nil
	}
	return nil, errUnknownStatement
}

// update has what is in a register stay in a set for a time.
func (w *nftWriter) update(set string, register, seconds uint32) expr.Any {
	return &expr.Dynset{
		SrcRegKey: register, SetName: set, SetID: w.sets[set].ID,
		Operation: uint32(unix.NFT_DYNSET_OP_UPDATE), Timeout: time.Duration(seconds) * time.Second,
	}
}

// verdict says where a packet goes on.
func verdict(s firewall.Statement) expr.Any {
	if g, ok := s.(firewall.Goto); ok {
		kind := expr.VerdictGoto
		if g.Jump {
			kind = expr.VerdictJump
		}
		return &expr.Verdict{Kind: kind, Chain: g.Chain}
	}
	return &expr.Verdict{Kind: map[firewall.Statement]expr.VerdictKind{
		firewall.Return{}: expr.VerdictReturn, firewall.Accept{}: expr.VerdictAccept, firewall.Drop{}: expr.VerdictDrop,
	}[s]}
}

// follow goes by the connection's mark. nft refuses to copy bits from one mark to
// the other, so each mark leads to a chain that sets one value. The library says of
// a map without a name that its keys are in the order of the network: they are, or
// nft would list them turned around.
func (w *nftWriter) follow(s firewall.Follow) ([]expr.Any, error) {
	list := make([]nftables.SetElement, len(s.To))
	for i, u := range s.To {
		list[i] = nftables.SetElement{
			Key: big32(u.Mark), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: u.Chain()},
		}
	}
	set, err := w.anonymous(&nftables.Set{
		IsMap: true, KeyType: nftables.TypeMark, DataType: nftables.TypeVerdict,
	}, list)
	return append(loadMark(true), bits(s.Mask, 0), toNetwork(), mapped(set)), err
}

// spread goes by a random number. Ranges are compared as bytes, so the number is
// turned into the order of the network.
func (w *nftWriter) spread(s firewall.Spread) ([]expr.Any, error) {
	var list []nftables.SetElement
	total := uint32(0)
	for _, way := range s.To {
		list = append(list, nftables.SetElement{
			Key: big32(total), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: way.Chain},
		})
		total += uint32(way.Weight)
	}
	list = append(list, nftables.SetElement{Key: big32(total), IntervalEnd: true})
	set, err := w.anonymous(&nftables.Set{
		IsMap: true, Interval: true, KeyType: nftables.TypeInteger, DataType: nftables.TypeVerdict,
	}, list)
	return []expr.Any{
		&expr.Numgen{Register: 1, Modulus: total, Type: unix.NFT_NG_RANDOM},
		toNetwork(),
		mapped(set),
	}, err
}

// toNetwork turns a number of four bytes into the order of the network.
func toNetwork() expr.Any {
	return &expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4}
}

func compare(load expr.Any, not bool, data []byte) []expr.Any {
	return []expr.Any{load, cmp(not, data)}
}

func cmp(not bool, data []byte) expr.Any {
	op := expr.CmpOpEq
	if not {
		op = expr.CmpOpNeq
	}
	return &expr.Cmp{Op: op, Register: 1, Data: data}
}

func loadMark(connection bool) []expr.Any {
	if connection {
		return []expr.Any{&expr.Ct{Key: expr.CtKeyMARK, Register: 1}}
	}
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}}
}

// bits keeps the bits of the mask and sets those of value.
func bits(mask, value uint32) expr.Any {
	return &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native32(mask), Xor: native32(value)}
}

// loadAddress loads the source or destination address (RFC 791, RFC 8200 section 3).
func loadAddress(v6, source bool, register uint32) expr.Any {
	offset, size := uint32(16), uint32(4)
	switch {
	case v6 && source:
		offset, size = 8, 16
	case v6:
		offset, size = 24, 16
	case source:
		offset = 12
	}
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size}
}

// loadSticky loads the key of a sticky set, and returns where it is. Two values
// beside each other need the small registers.
func loadSticky(v6, destination bool) ([]expr.Any, uint32) {
	if !destination {
		return []expr.Any{loadAddress(v6, true, 1)}, 1
	}
	second := uint32(unix.NFT_REG32_00 + 1)
	if v6 {
		second = unix.NFT_REG32_00 + 4
	}
	return []expr.Any{loadAddress(v6, true, unix.NFT_REG32_00), loadAddress(v6, false, second)}, unix.NFT_REG32_00
}

// prefixMask keeps the bits of an address that are those of a prefix.
func prefixMask(p netip.Prefix) expr.Any {
	bits := p.Addr().BitLen()
	size := uint32(bits / 8)
	return &expr.Bitwise{
		SourceRegister: 1, DestRegister: 1, Len: size, Mask: net.CIDRMask(p.Bits(), bits), Xor: make([]byte, size),
	}
}

// lastAddress returns the last address of a prefix.
func lastAddress(p netip.Prefix) []byte {
	b := p.Masked().Addr().AsSlice()
	for i, m := range net.CIDRMask(p.Bits(), p.Addr().BitLen()) {
		b[i] |= ^m
	}
	return b
}

// dscp6 compares the six bits that follow the version (RFC 8200 section 3).
func dscp6(value uint8) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 0, Len: 2},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 2, Mask: []byte{0x0f, 0xc0}, Xor: []byte{0, 0}},
		cmp(false, big16(uint16(value)<<6)),
	}
}

func lookup(set *nftables.Set, register uint32) expr.Any {
	return &expr.Lookup{SourceRegister: register, SetName: set.Name, SetID: set.ID}
}

func mapped(set *nftables.Set) expr.Any {
	return &expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID, IsDestRegSet: true}
}

func interfaceName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func native16(n uint16) []byte { return binaryutil.NativeEndian.PutUint16(n) }
func native32(n uint32) []byte { return binaryutil.NativeEndian.PutUint32(n) }
func big32(n uint32) []byte    { return binaryutil.BigEndian.PutUint32(n) }
func big16(n uint16) []byte    { return []byte{byte(n >> 8), byte(n)} }
