package kernel

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"uplinkd/routes"
	"uplinkd/routes/firewall"
)

// versionPrefix begins the name of the chain that says what our table holds.
const versionPrefix = "v_"

// readFirewall notes what our nft table holds, by the name it goes by.
func (k *Kernel) readFirewall(state *routes.State, owner routes.Owner) error {
	chains, err := ours(k.nft, owner.Table())
	if err != nil || chains == nil {
		return err
	}
	state.Firewall = routes.StrangeFirewall
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

func (k *Kernel) deleteFirewall(name string) error {
	k.nft.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: name})
	return ignore(k.nft.Flush(), fs.ErrNotExist, unix.ENOENT)
}

// putFirewall makes our table hold f, in one transaction. Counters and sets of
// sources that stick outlive it, and sets of addresses that are there already are
// not sent again.
func (k *Kernel) putFirewall(f firewall.Table) error {
	conn := k.nft
	have, err := ours(conn, f.Name)
	if err != nil {
		return err
	}
	w := &nftWriter{
		conn: conn, chains: map[string]*nftables.Chain{}, sets: map[string]*nftables.Set{},
		table: conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: f.Name}),
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
	version := firewall.Chain{Name: f.Version(), Rules: []firewall.Rule{{firewall.Return{}}}}
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

// An nftWriter turns a firewall.Table into messages of one transaction.
type nftWriter struct {
	conn   *nftables.Conn
	table  *nftables.Table
	chains map[string]*nftables.Chain
	sets   map[string]*nftables.Set
}

func (w *nftWriter) addChain(c firewall.Chain) {
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
func (w *nftWriter) addSets(f firewall.Table, present map[string]bool) error {
	for _, p := range f.Sets() {
		set := &nftables.Set{Table: w.table, Name: p.SetName(), KeyType: addressType(p.V6()), Interval: true}
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
	counted := map[string]bool{}
	for _, p := range slices.Concat(f.Policies, f.Policies6) {
		if !counted[p.Counter()] {
			counted[p.Counter()] = true
			w.conn.AddObj(&nftables.NamedObj{
				Table: w.table, Name: p.Counter(), Type: nftables.ObjTypeCounter, Obj: &expr.Counter{},
			})
		}
	}
	return errors.Join(w.addStickySets(f.Policies, f.Uplinks, false), w.addStickySets(f.Policies6, f.Uplinks6, true))
}

func (w *nftWriter) addStickySets(policies []firewall.Policy, uplinks []firewall.Uplink, v6 bool) error {
	for _, p := range policies {
		if p.Sticky == nil {
			continue
		}
		for _, u := range uplinks {
			if err := w.addSticky(p, v6, u.Mark); err != nil {
				return err
			}
		}
	}
	return nil
}

// addressType is the type of the elements of a set of addresses.
func addressType(v6 bool) nftables.SetDatatype {
	if v6 {
		return nftables.TypeIP6Addr
	}
	return nftables.TypeIPAddr
}

func (w *nftWriter) addSticky(p firewall.Policy, v6 bool, mark uint32) error {
	set := &nftables.Set{
		Table: w.table, Name: p.StickySet(v6, mark), KeyType: addressType(v6), Dynamic: true, HasTimeout: true,
		Timeout: time.Duration(p.Sticky.Seconds) * time.Second, Size: stickyMost,
	}
	if p.Sticky.Destination {
		set.KeyType = nftables.MustConcatSetType(addressType(v6), addressType(v6))
		set.Concatenation = true
	}
	w.sets[set.Name] = set
	return w.conn.AddSet(set, nil)
}

// stickyMost bounds how many sources stick to one uplink.
const stickyMost = 65536

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
