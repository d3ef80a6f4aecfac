package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"uplinkd/routes"
)

// versionPrefix begins the name of the chain that says what our table holds.
const versionPrefix = "v_"

// strangeVersion is what a table of ours says that has no such chain.
const strangeVersion = "?"

// readFirewall notes what our nft table holds, by the name it goes by.
func (k *Kernel) readFirewall(state *routes.State, owner routes.Owner) error {
	chains, err := ours(k.nft, owner.Table())
	if err != nil || chains == nil {
		return err
	}
	state.Firewall = strangeVersion
	for _, c := range chains {
		if !strings.HasPrefix(c.Name, versionPrefix) {
			continue
		}
		// Who flushes the table leaves the chains, and takes this one's rule away.
		rules, err := k.nft.GetRules(c.Table, c)
		if err != nil {
			return err
		}
		if len(rules) > 0 {
			state.Firewall = c.Name
		}
	}
	return nil
}

// ours returns the chains of our table, nil when there is none.
func ours(conn *nftables.Conn, table string) ([]*nftables.Chain, error) {
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	// A kernel without nftables has no table either.
	if err = ignore(err, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == table }) {
		return nil, nil
	}
	all, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, err
	}
	chains := slices.DeleteFunc(all, func(c *nftables.Chain) bool { return c.Table.Name != table })
	return slices.Grow(chains, 1), nil // never nil
}

// Counters returns what our table has counted, by name: packets and bytes.
func Counters(table string) (map[string][2]uint64, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, err
	}
	objects, err := conn.GetNamedObjects(&nftables.Table{Family: nftables.TableFamilyINet, Name: table})
	if err != nil {
		return nil, err
	}
	counters := map[string][2]uint64{}
	for _, o := range objects {
		if named, ok := o.(*nftables.NamedObj); ok {
			if c, ok := named.Obj.(*expr.Counter); ok {
				counters[named.Name] = [2]uint64{c.Packets, c.Bytes}
			}
		}
	}
	return counters, nil
}

func (k *Kernel) deleteFirewall(name string) error {
	k.nft.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: name})
	return ignore(k.nft.Flush(), fs.ErrNotExist, unix.ENOENT)
}

// putFirewall makes our table hold f, in one transaction. Counters and sets of
// sources that stick outlive it, and sets of addresses that are there already are
// not sent again.
func (k *Kernel) putFirewall(f routes.Firewall) error {
	conn := k.nft
	have, err := ours(conn, f.Table)
	if err != nil {
		return err
	}
	w := &nftWriter{
		conn: conn, chains: map[string]*nftables.Chain{}, sets: map[string]*nftables.Set{},
		table: conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: f.Table}),
	}
	present := map[string]bool{}
	if have != nil {
		sets, err := conn.GetSets(w.table)
		if err != nil {
			return err
		}
		for _, s := range sets {
			present[s.Name] = !s.Anonymous
		}
	}
	conn.FlushTable(w.table)
	if err := w.addSets(f, present); err != nil {
		return err
	}
	chains := f.Chains()
	version := routes.Chain{Name: f.Version(), Rules: []routes.FirewallRule{{routes.Return{}}}}
	chains = append(chains, version)
	for _, c := range chains {
		w.addChain(c)
	}
	for _, c := range chains {
		for _, r := range c.Rules {
			exprs, err := w.rule(r)
			if err != nil {
				return err
			}
			conn.AddRule(&nftables.Rule{Table: w.table, Chain: w.chains[c.Name], Exprs: exprs})
		}
	}
	w.removeRest(have, present)
	return conn.Flush()
}

// An nftWriter turns a routes.Firewall into messages of one transaction.
type nftWriter struct {
	conn   *nftables.Conn
	table  *nftables.Table
	chains map[string]*nftables.Chain
	sets   map[string]*nftables.Set
}

func (w *nftWriter) addChain(c routes.Chain) {
	chain := &nftables.Chain{Name: c.Name, Table: w.table}
	if c.Hook != "" {
		chain.Type = nftables.ChainType(c.Type)
		chain.Hooknum = map[string]*nftables.ChainHook{
			"prerouting": nftables.ChainHookPrerouting, "output": nftables.ChainHookOutput,
			"postrouting": nftables.ChainHookPostrouting,
		}[c.Hook]
		chain.Priority = nftables.ChainPriorityRef(nftables.ChainPriority(c.Priority))
	}
	w.chains[c.Name] = w.conn.AddChain(chain)
}

// removeRest removes the chains and sets that nothing uses any more.
func (w *nftWriter) removeRest(have []*nftables.Chain, present map[string]bool) {
	for _, c := range have {
		if w.chains[c.Name] == nil {
			w.conn.DelChain(&nftables.Chain{Name: c.Name, Table: w.table})
		}
	}
	for name, named := range present {
		if named && w.sets[name] == nil {
			w.conn.DelSet(&nftables.Set{Name: name, Table: w.table})
		}
	}
}

// elementsMost is how many elements are handed to the library at once.
const elementsMost = 10_000

// addSets adds the sets that have names: addresses, sticky sources, counters.
func (w *nftWriter) addSets(f routes.Firewall, present map[string]bool) error {
	for _, p := range f.Sets() {
		set := &nftables.Set{Table: w.table, Name: p.SetName(), KeyType: nftables.TypeIPAddr, Interval: true}
		w.sets[set.Name] = set
		if present[set.Name] {
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
	for _, p := range f.Policies {
		w.conn.AddObj(&nftables.NamedObj{
			Table: w.table, Name: p.Counter(), Type: nftables.ObjTypeCounter, Obj: &expr.Counter{},
		})
		if p.Sticky == nil {
			continue
		}
		for _, u := range f.Uplinks {
			if err := w.addSticky(p, u.Mark); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *nftWriter) addSticky(p routes.Policy, mark uint32) error {
	set := &nftables.Set{
		Table: w.table, Name: p.StickySet(mark), KeyType: nftables.TypeIPAddr, Dynamic: true, HasTimeout: true,
		Timeout: time.Duration(p.Sticky.Seconds) * time.Second, Size: stickyMost,
	}
	if p.Sticky.Destination {
		set.KeyType = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeIPAddr)
		set.Concatenation = true
	}
	w.sets[set.Name] = set
	return w.conn.AddSet(set, nil)
}

// stickyMost bounds how many sources stick to one uplink.
const stickyMost = 65536

func rangeElements(ranges []routes.AddressRange) []nftables.SetElement {
	list := make([]nftables.SetElement, 0, 2*len(ranges))
	for _, r := range ranges {
		first := r.First.As4()
		after := r.Last.Next()
		list = append(list, nftables.SetElement{Key: first[:], IntervalOpen: !after.IsValid()})
		if after.IsValid() {
			end := after.As4()
			list = append(list, nftables.SetElement{Key: end[:], IntervalEnd: true})
		}
	}
	return list
}

func (w *nftWriter) rule(r routes.FirewallRule) ([]expr.Any, error) {
	var exprs []expr.Any
	for _, s := range r {
		list, err := w.statement(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s, err)
		}
		exprs = append(exprs, list...)
	}
	return exprs, nil
}

// statement turns one statement into expressions. What is a match ends the rule
// where it does not hold.
func (w *nftWriter) statement(s routes.Statement) ([]expr.Any, error) {
	switch s := s.(type) {
	case routes.MatchIPv4:
		return compare(&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, s.Not, []byte{unix.NFPROTO_IPV4}), nil
	case routes.MatchMark:
		return append(loadMark(s.Connection), bits(s.Mask, 0), cmp(s.Not, native32(s.Value))), nil
	case routes.MatchIn:
		return compare(&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, false, interfaceName(s.Interface)), nil
	case routes.MatchOwn:
		fib := &expr.Fib{Register: 1, ResultADDRTYPE: true, FlagSADDR: true}
		return compare(fib, s.Not, native32(unix.RTN_LOCAL)), nil
	case routes.MatchOut:
		return compare(&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, false, interfaceName(s.Interface)), nil
	case routes.MatchNew:
		return []expr.Any{
			&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, bits(expr.CtStateBitNEW, 0), cmp(true, native32(0)),
		}, nil
	case routes.MatchForeignSource:
		fib := &expr.Fib{Register: 1, ResultADDRTYPE: true, FlagSADDR: true, FlagOIF: true}
		return compare(fib, true, native32(unix.RTN_LOCAL)), nil
	case routes.MatchUser:
		return compare(&expr.Meta{Key: expr.MetaKeySKUID, Register: 1}, false, native32(s.ID)), nil
	case routes.MatchDSCP:
		return []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 1, Len: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{0xfc}, Xor: []byte{0}},
			cmp(false, []byte{s.Value << 2}),
		}, nil
	case routes.MatchAddress, routes.MatchProtocol, routes.MatchPort, routes.MatchStuck:
		return w.membership(s)
	}
	return w.action(s)
}

// membership turns a match in a set into expressions.
func (w *nftWriter) membership(s routes.Statement) ([]expr.Any, error) {
	switch s := s.(type) {
	case routes.MatchAddress:
		set := w.sets[s.Set.SetName()]
		return []expr.Any{loadAddress(s.Source, 1), lookup(set, 1)}, nil
	case routes.MatchProtocol:
		list := make([]nftables.SetElement, len(s.Protocols))
		for i, p := range s.Protocols {
			list[i].Key = []byte{p}
		}
		set, err := w.anonymous(&nftables.Set{KeyType: nftables.TypeInetProto}, list)
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, lookup(set, 1)}, err
	case routes.MatchPort:
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
		return []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
			lookup(set, 1),
		}, err
	case routes.MatchStuck:
		exprs, register := loadSticky(s.Destination)
		return append(exprs, lookup(w.sets[s.Set], register)), nil
	}
	return nil, errUnknownStatement
}

var errUnknownStatement = errors.New("kernel: unknown statement")

func (w *nftWriter) action(s routes.Statement) ([]expr.Any, error) {
	switch s := s.(type) {
	case routes.SetMark:
		store := []expr.Any{bits(^s.Mask, s.Value)}
		if s.Connection {
			store = append(store, &expr.Ct{Key: expr.CtKeyMARK, SourceRegister: true, Register: 1})
		} else {
			store = append(store, &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1})
		}
		return append(loadMark(s.Connection), store...), nil
	case routes.Follow:
		return w.follow(s)
	case routes.Spread:
		return w.spread(s)
	case routes.Stick:
		exprs, register := loadSticky(s.Destination)
		return append(exprs, &expr.Dynset{
			SrcRegKey: register, SetName: s.Set, SetID: w.sets[s.Set].ID,
			Operation: uint32(unix.NFT_DYNSET_OP_UPDATE), Timeout: time.Duration(s.Seconds) * time.Second,
		}), nil
	case routes.Goto:
		kind := expr.VerdictGoto
		if s.Jump {
			kind = expr.VerdictJump
		}
		return []expr.Any{&expr.Verdict{Kind: kind, Chain: s.Chain}}, nil
	case routes.Return:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}}, nil
	case routes.Reject:
		return []expr.Any{&expr.Reject{
			Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED,
		}}, nil
	case routes.Masquerade:
		return []expr.Any{&expr.Masq{}}, nil
	case routes.Count:
		return []expr.Any{&expr.Objref{Type: int(nftables.ObjTypeCounter), Name: s.Name}}, nil
	}
	return nil, errUnknownStatement
}

// follow goes by the connection's mark. nft refuses to copy bits from one mark to
// the other, so each mark leads to a chain that sets one value.
func (w *nftWriter) follow(s routes.Follow) ([]expr.Any, error) {
	list := make([]nftables.SetElement, len(s.To))
	for i, u := range s.To {
		list[i] = nftables.SetElement{
			Key: native32(u.Mark), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: u.Chain()},
		}
	}
	set, err := w.anonymous(&nftables.Set{
		IsMap: true, KeyType: nftables.TypeMark, DataType: nftables.TypeVerdict, KeyByteOrder: binaryutil.NativeEndian,
	}, list)
	return append(loadMark(true), bits(s.Mask, 0), mapped(set)), err
}

// spread goes by a random number. Ranges are compared as bytes, so the number is
// turned into the order of the network.
func (w *nftWriter) spread(s routes.Spread) ([]expr.Any, error) {
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
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		mapped(set),
	}, err
}

// anonymous adds a set that belongs to one rule.
func (w *nftWriter) anonymous(set *nftables.Set, list []nftables.SetElement) (*nftables.Set, error) {
	set.Table, set.Anonymous, set.Constant = w.table, true, true
	return set, w.conn.AddSet(set, list)
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

// loadAddress loads the source or destination address (RFC 791).
func loadAddress(source bool, register uint32) expr.Any {
	offset := uint32(16)
	if source {
		offset = 12
	}
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4}
}

// loadSticky loads the key of a sticky set, and returns where it is. Two values
// beside each other need the small registers.
func loadSticky(destination bool) ([]expr.Any, uint32) {
	if !destination {
		return []expr.Any{loadAddress(true, 1)}, 1
	}
	return []expr.Any{loadAddress(true, unix.NFT_REG32_00), loadAddress(false, unix.NFT_REG32_00+1)}, unix.NFT_REG32_00
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

func native32(n uint32) []byte { return binaryutil.NativeEndian.PutUint32(n) }
func big32(n uint32) []byte    { return binaryutil.BigEndian.PutUint32(n) }
func big16(n uint16) []byte    { return []byte{byte(n >> 8), byte(n)} }
