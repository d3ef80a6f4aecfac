package lab

import (
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// faults are what an ISP does to packets.
type faults struct {
	silent   bool // drop all from and to the customer: the gateway is gone
	upstream bool // drop all that is forwarded: the gateway answers, the internet is gone
	loss     int  // percent of the customer's packets

	// Of one family alone.
	silent4, silent6, upstream4, upstream6 bool
}

// Silence makes the gateway fall silent, with the carrier still there, or ends that.
func (isp *ISP) Silence(on bool) error {
	isp.faults.silent = on
	return isp.apply()
}

// Upstream cuts the ISP off from the internet, behind a gateway that still
// answers, or ends that.
func (isp *ISP) Upstream(dead bool) error {
	isp.faults.upstream = dead
	return isp.apply()
}

// Loss drops that many in a hundred of the packets that come from the host. Of 100, what
// others send to the host still comes in, and again and again, as nobody acknowledges it.
func (isp *ISP) Loss(percent int) error {
	isp.faults.loss = percent
	return isp.apply()
}

// apply puts the faults into the ISP's namespace, all in one batch.
func (isp *ISP) apply() error {
	if isp.nft == nil {
		// One for good: the library cannot wait on a file descriptor beyond 1023.
		conn, err := nftables.New(nftables.WithNetNSFd(int(isp.ns.ns)), nftables.AsLasting())
		if err != nil {
			return err
		}
		isp.nft = conn
	}
	conn := isp.nft
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: "lab"}
	conn.AddTable(table)
	conn.FlushTable(table)
	chain := func(name string, hook *nftables.ChainHook) *nftables.Chain {
		return conn.AddChain(&nftables.Chain{
			Name: name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook,
			Priority: nftables.ChainPriorityRaw,
		})
	}
	in, forward := chain("in", nftables.ChainHookPrerouting), chain("forward", nftables.ChainHookForward)
	drop := func(c *nftables.Chain, match ...expr.Any) {
		exprs := slices.Concat(match, []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}})
		conn.AddRule(&nftables.Rule{Table: table, Chain: c, Exprs: exprs})
	}
	isp.drops(in, forward, drop)
	if isp.v6 {
		if err := isp.countSpoofed(conn, table, forward); err != nil {
			return err
		}
	}
	if isp.world.twins {
		nat := conn.AddChain(&nftables.Chain{
			Name: "nat", Table: table, Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
		})
		masquerade := append(interfaceIs(expr.MetaKeyOIFNAME, internetSide), &expr.Masq{})
		conn.AddRule(&nftables.Rule{Table: table, Chain: nat, Exprs: masquerade})
	}
	return conn.Flush()
}

// drops has packets dropped as the faults say.
func (isp *ISP) drops(in, forward *nftables.Chain, drop func(*nftables.Chain, ...expr.Any)) {
	if isp.faults.silent {
		drop(in, fromCustomer()...)
		drop(forward, interfaceIs(expr.MetaKeyOIFNAME, customerSide)...)
	}
	for family, fault := range map[byte]struct{ silent, upstream bool }{
		unix.NFPROTO_IPV4: {isp.faults.silent4, isp.faults.upstream4},
		unix.NFPROTO_IPV6: {isp.faults.silent6, isp.faults.upstream6},
	} {
		if fault.silent {
			drop(in, append(fromCustomer(), familyIs(family)...)...)
			drop(forward, append(interfaceIs(expr.MetaKeyOIFNAME, customerSide), familyIs(family)...)...)
		}
		if fault.upstream {
			drop(forward, familyIs(family)...)
		}
	}
	if isp.faults.loss > 0 {
		drop(in, append(fromCustomer(),
			&expr.Numgen{Register: 1, Modulus: 100, Type: unix.NFT_NG_RANDOM},
			&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binaryutil.NativeEndian.PutUint32(uint32(isp.faults.loss))},
		)...)
	}
	if isp.faults.upstream {
		drop(forward)
	}
}

func fromCustomer() []expr.Any { return interfaceIs(expr.MetaKeyIIFNAME, customerSide) }

func interfaceIs(key expr.MetaKey, name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: padded},
	}
}
