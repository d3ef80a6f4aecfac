package kernel

import (
	"bytes"
	"context"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
	"uplinkd/routes/firewall"
)

// A writtenTable is our nft table as we last wrote it.
type writtenTable struct {
	handle  []byte // the kernel's, which it gives to no other table after it
	version string
	chains  map[string]writtenChain
	sets    map[string]*nftables.Set
	counts  map[string]bool // the names of its counters
}

// A writtenChain is the rules of a chain, as text and as the kernel knows them.
type writtenChain struct {
	texts []string
	rules []*nftables.Rule
}

// stands reports whether the kernel's table is this one still: not another of that name, as of a ruleset that somebody
// has saved and loaded again, and not emptied and filled anew. Rules have other handles then.
func (t *writtenTable) stands(have []*nftables.Chain, conn *nftables.Conn) bool {
	if t == nil {
		return false
	}
	i := slices.IndexFunc(have, func(c *nftables.Chain) bool { return c.Name == t.version })
	if i < 0 {
		return false
	}
	rules, err := conn.GetRules(have[i].Table, have[i])
	mine := t.chains[t.version].rules
	return err == nil && len(rules) == 1 && len(mine) == 1 && rules[0].Handle == mine[0].Handle &&
		len(t.handle) > 0 && bytes.Equal(t.handle, tableHandle(have[i].Table.Name))
}

// tableHandle returns the kernel's handle of a table, nil when it does not tell.
func tableHandle(name string) (handle []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	request := nlmsg.Request{
		Protocol: unix.NETLINK_NETFILTER, Type: nftType(unix.NFT_MSG_GETTABLE), Flags: unix.NLM_F_ACK,
		Body: nlmsg.AppendAttr([]byte{unix.NFPROTO_INET, 0, 0, 0}, unix.NFTA_TABLE_NAME, append([]byte(name), 0)),
	}
	const nftaTableHandle = 4 // linux/netfilter/nf_tables.h
	_ = nlmsg.Ask(ctx, request, func(m nlmsg.Message) bool {
		if len(m.Body) > sizeofNfgenmsg {
			handle = bytes.Clone(nlmsg.Attr(m.Body[sizeofNfgenmsg:], nftaTableHandle))
		}
		return true
	})
	return handle
}

// An nftWriter turns a firewall.Table into messages of one transaction, and notes what the table
// holds afterwards.
type nftWriter struct {
	conn  *nftables.Conn
	table *nftables.Table
	kept  *keptSets
	writtenTable
}

func (k *Kernel) newWriter(f firewall.Table) *nftWriter {
	return &nftWriter{
		conn: k.nft, kept: k.kept, table: &nftables.Table{Family: nftables.TableFamilyINet, Name: f.Name},
		writtenTable: writtenTable{
			version: f.Version(), chains: map[string]writtenChain{}, sets: map[string]*nftables.Set{},
			counts: map[string]bool{},
		},
	}
}

// versioned returns the chains of a table, and the one that says which table it is.
func versioned(f firewall.Table) []firewall.Chain {
	return append(f.Chains(), firewall.Chain{Name: f.Version(), Rules: []firewall.Rule{{firewall.Return{}}}})
}

// whole writes the table, whatever it held.
func (w *nftWriter) whole(f firewall.Table, have []*nftables.Chain) error {
	w.conn.AddTable(w.table)
	before := writtenTable{sets: map[string]*nftables.Set{}, counts: map[string]bool{}}
	if have != nil {
		objects, err := w.conn.GetNamedObjects(w.table)
		if err != nil {
			return err
		}
		for _, o := range objects {
			if named, ok := o.(*nftables.NamedObj); ok {
				before.counts[named.Name] = true
			}
		}
		sets, err := w.conn.GetSets(w.table)
		if err != nil {
			return err
		}
		for _, s := range sets {
			if !s.Anonymous {
				before.sets[s.Name] = s
			}
		}
	}
	w.conn.FlushTable(w.table)
	if err := w.addSets(f, before); err != nil {
		return err
	}
	chains := versioned(f)
	for _, c := range chains {
		w.addChain(c)
	}
	for _, c := range chains {
		if err := w.changeRules(writtenChain{}, c); err != nil {
			return err
		}
	}
	for _, c := range have {
		if _, ok := w.chains[c.Name]; !ok {
			w.conn.DelChain(&nftables.Chain{Name: c.Name, Table: w.table})
		}
	}
	w.deleteUnused(before)
	return w.conn.Flush()
}

// change writes what differs from the table that stands. Rules that stay as they are stay in the
// kernel, and so does all that they use.
func (w *nftWriter) change(before writtenTable, f firewall.Table) error {
	if err := w.addSets(f, before); err != nil {
		return err
	}
	chains := versioned(f)
	for _, c := range chains {
		if _, ok := before.chains[c.Name]; !ok {
			w.addChain(c)
		}
	}
	for _, c := range chains {
		if err := w.changeRules(before.chains[c.Name], c); err != nil {
			return err
		}
	}
	// A chain can go when no rule leads there any more, and those that go may lead to each other.
	var gone []*nftables.Chain
	for name := range before.chains {
		if _, ok := w.chains[name]; !ok {
			gone = append(gone, &nftables.Chain{Name: name, Table: w.table})
		}
	}
	for _, c := range gone {
		w.conn.FlushChain(c)
	}
	for _, c := range gone {
		w.conn.DelChain(c)
	}
	w.deleteUnused(before)
	return w.conn.Flush()
}

// seal is the user data of the rule in the chain that says which table it is. nft neither lists nor loads user data
// that it does not know: a table that somebody has saved and loaded again is not taken for the one that we wrote.
var seal = userdata.Append(nil, sealType, []byte("uplinkd"))

const sealType userdata.Type = 0x75 // nft has 0 and 1 (NFTNL_UDATA_RULE_*, libnftnl/udata.h)

func sealOf(version, chain string) []byte {
	if chain != version {
		return nil
	}
	return seal
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
	w.conn.AddChain(chain)
}

// changeRules leaves the rules of a chain alone that begin and end it as before, and writes those
// between.
func (w *nftWriter) changeRules(was writtenChain, c firewall.Chain) error {
	texts := make([]string, len(c.Rules))
	for i, r := range c.Rules {
		texts[i] = r.String()
	}
	first, last := 0, len(texts) // those between are written
	for first < min(len(was.texts), last) && was.texts[first] == texts[first] {
		first++
	}
	end := len(was.texts)
	for end > first && last > first && was.texts[end-1] == texts[last-1] {
		end, last = end-1, last-1
	}
	for _, r := range was.rules[first:end] {
		if err := w.conn.DelRule(r); err != nil {
			return err
		}
	}
	fresh := make([]*nftables.Rule, last-first)
	for n := range fresh {
		exprs, err := w.rule(c.Rules[first+n])
		if err != nil {
			return err
		}
		fresh[n] = &nftables.Rule{
			Table: w.table, Chain: &nftables.Chain{Name: c.Name, Table: w.table}, Exprs: exprs,
			UserData: sealOf(w.version, c.Name),
		}
	}
	w.place(was.rules, first, end, fresh)
	w.chains[c.Name] = writtenChain{
		texts: texts, rules: slices.Concat(was.rules[:first], fresh, was.rules[end:]),
	}
	return nil
}

// place adds rules to a chain in the place of those from first to end.
func (w *nftWriter) place(have []*nftables.Rule, first, end int, fresh []*nftables.Rule) {
	switch {
	case end == len(have):
		for _, r := range fresh {
			w.conn.AddRule(r)
		}
	case first == 0:
		for _, r := range slices.Backward(fresh) {
			w.conn.InsertRule(r)
		}
	default:
		for _, r := range slices.Backward(fresh) {
			r.Position = have[first-1].Handle // each right behind it, before those added there already
			w.conn.AddRule(r)
		}
	}
}
