package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// silenceTable is the nft table, of family inet, of a silence that was made. It is none of the
// daemon's: that may put its own back meanwhile, whole.
const silenceTable = "uplinkd_drill"

// ErrSilent is what Silence gives while another silence lasts.
var ErrSilent = errors.New("an interface is being kept silent already")

// Silence has nothing come in by an interface for a time, as if nobody behind it answered: each
// IP packet is dropped before connection tracking sees it, and those that go out go out. ARP, what
// a packet socket reads, and the carrier are left alone. The kernel itself ends it, by the timeout of an element of a
// set (nft(8)), also when this process is killed. EndSilence ends it earlier, and takes away
// what is left of it. Both need CAP_NET_ADMIN, and block for a few netlink messages.
func Silence(iface string, length time.Duration) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open a netlink socket for nftables: %w", err)
	}
	left, err := silenced(conn)
	if err != nil {
		return err
	}
	if left != nil {
		return fmt.Errorf("%w: nft list table inet %s", ErrSilent, silenceTable)
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: silenceTable}
	conn.AddTable(table) // it may be there, and empty
	conn.DelTable(table)
	conn.AddTable(table)
	set := &nftables.Set{Table: table, Name: "silent", KeyType: nftables.TypeIFName, HasTimeout: true}
	name := append([]byte(iface), make([]byte, unix.IFNAMSIZ-len(iface))...)
	if err := conn.AddSet(set, []nftables.SetElement{{Key: name, Timeout: length}}); err != nil {
		return err
	}
	// Priority raw, less ten: before connection tracking, which would note answers (NF_IP_PRI_RAW).
	priority := *nftables.ChainPriorityRaw - 10
	chain := conn.AddChain(&nftables.Chain{
		Table: table, Name: "prerouting", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting,
		Priority: &priority,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
		&expr.Counter{},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	return silenceError(conn.Flush())
}

// EndSilence ends a silence, and takes away what is left of one that has ended. Without any it
// does nothing.
func EndSilence() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open a netlink socket for nftables: %w", err)
	}
	there, err := silenceTableOf(conn)
	if err != nil || there == nil {
		return err
	}
	conn.DelTable(there)
	return silenceError(ignore(conn.Flush(), unix.ENOENT))
}

func silenceError(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: it needs root, or CAP_NET_ADMIN", err)
	}
	return err
}

// silenceTableOf returns the table; nil: there is none.
func silenceTableOf(conn *nftables.Conn) (*nftables.Table, error) {
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err = ignore(err, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT); err != nil {
		return nil, silenceError(err)
	}
	i := slices.IndexFunc(tables, func(t *nftables.Table) bool { return t.Name == silenceTable })
	if i < 0 {
		return nil, nil
	}
	return tables[i], nil
}

// silenced returns the names of the interfaces that are silent.
func silenced(conn *nftables.Conn) (names []string, err error) {
	table, err := silenceTableOf(conn)
	if err != nil || table == nil {
		return nil, err
	}
	set, err := conn.GetSetByName(table, "silent")
	if err != nil {
		return nil, ignore(err, unix.ENOENT)
	}
	elements, err := conn.GetSetElements(set)
	for _, e := range elements {
		names = append(names, string(bytes.TrimRight(e.Key, "\x00")))
	}
	return names, err
}
