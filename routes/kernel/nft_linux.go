package kernel

import (
	"bytes"
	"io/fs"
	"slices"
	"strings"

	"github.com/google/nftables"
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
	if err := k.kept.adopt(k.nft, owner.Table()); err != nil {
		return err
	}
	state.Firewall = routes.StrangeFirewall
	for _, c := range chains {
		if !strings.HasPrefix(c.Name, versionPrefix) {
			continue
		}
		// Who flushes the table leaves the chains, and takes this one's rule away; who loads what nft has listed
		// takes its seal.
		rules, err := k.nft.GetRules(c.Table, c)
		if err != nil {
			return err
		}
		if len(rules) > 0 && bytes.Equal(rules[0].UserData, seal) {
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
	k.written = nil
	k.nft.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: name})
	return ignore(k.nft.Flush(), fs.ErrNotExist, unix.ENOENT)
}

// putFirewall makes our table hold f, in one transaction. Where it holds what we wrote last, only
// what differs is sent. Counters and sets that others fill outlive it, and sets of addresses that
// are there already are not sent again.
func (k *Kernel) putFirewall(f firewall.Table) error {
	have, err := ours(k.nft, f.Name)
	if err != nil {
		return err
	}
	before := k.written
	k.written = nil // until the kernel has taken it, what it holds is not known
	w := k.newWriter(f)
	if !before.stands(have, k.nft) || w.change(*before, f) != nil {
		w = k.newWriter(f)
		err = w.whole(f, have)
	}
	if err != nil {
		return err
	}
	w.handle = tableHandle(f.Name)
	k.written = &w.writtenTable
	k.kept.keep(f)
	return nil
}
