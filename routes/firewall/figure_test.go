package firewall

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"uplinkd/internal/figures"
)

// A cost is what a packet is asked in a table.
type cost struct{ rules, lookUps int }

// looksUp reports whether a statement is a look-up in a set or a map. What has one value is compared.
func looksUp(s Statement) bool {
	switch s := s.(type) {
	case Dispatch, Follow, MatchAddress, MatchNamed, MatchStuck, MatchKey:
		return true
	case MatchPort:
		return len(s.Ranges) > 1
	case MatchMAC:
		return len(s.Addresses) > 1
	case MatchInAny:
		return len(s.Interfaces) > 1
	case MatchProtocol:
		return len(s.Protocols) > 1
	}
	return false
}

// ask counts what a forwarded packet of IPv4 is asked in a chain: of a known connection, whose mark that is, or a
// first one, 0. It reports whether the hook is done with it.
func (c *cost) ask(p packet, chains map[string]Chain, name string, mark uint32) (done bool) {
	for _, r := range chains[name].Rules {
		c.rules++
		next, over, ended := c.askRule(p, chains, r, mark)
		if next != "" {
			return c.ask(p, chains, next, mark)
		}
		if over || ended {
			return over
		}
	}
	return false
}

// askRule counts one rule. next is the chain it goes to for good.
func (c *cost) askRule(p packet, chains map[string]Chain, r Rule, mark uint32) (next string, done, ended bool) {
	for _, s := range r {
		if looksUp(s) {
			c.lookUps++
		}
		holds := true
		switch s := s.(type) {
		case Count, SetMark:
		case Accept, Reject:
			return "", true, true
		case Return:
			return "", false, true
		case Goto:
			if !s.Jump {
				return s.Chain, false, false
			}
			if c.ask(p, chains, s.Chain, mark) {
				return "", true, true
			}
		case Follow:
			for _, u := range s.To {
				if u.Mark == mark&s.Mask {
					return u.Chain(), false, false
				}
			}
			holds = false
		case Dispatch:
			for _, way := range s.To {
				if within(way.KeyRange, p.value(s.Key)) {
					return way.Chain, false, false
				}
			}
			holds = false
		case MatchFamily:
			holds = s.V6 == s.Not
		case MatchNew:
			holds = mark == 0
		case MatchMark:
			holds = (mark&s.Mask == s.Value) != s.Not
		case MatchIn:
			holds = p.in == s.Interface
		case MatchOut:
			holds = s.Interface == "eth0"
		default:
			holds = p.matches(s)
		}
		if !holds {
			return "", false, false
		}
	}
	return "", false, false
}

// What a forwarded packet is asked in our table: rules, and look-ups in sets and maps, for flows that are known and
// for a flow's first packet that no policy means. TestDispatchInTheKernel holds that the kernel comes to the same end.
func TestFigureLookUps(t *testing.T) {
	table := figures.Table{
		Title:   "Look-ups",
		About:   "What our table asks a packet of the LAN that is forwarded, with three uplinks and so many policies by ports, prefixes, interfaces and Ethernet addresses, none of which means it: rules, and among them look-ups in sets and maps. Counted along its way through the chains.",
		Command: "go test -run TestFigureLookUps ./routes/firewall",
		Limit:   "a known flow is looked up once, by its mark; a flow's first packet once for that, and once for each field that policies name.",
		Columns: []string{"policies", "known flow: rules", "look-ups", "first packet: rules", "look-ups"},
	}
	p := packet{in: "lan", mac: net.HardwareAddr{4, 0, 0, 0, 0, 1}, protocol: 17, dport: 9, to: netip.MustParseAddr("192.0.2.1")}
	for _, n := range []int{0, 1, 100, 200} {
		chains := map[string]Chain{}
		for _, c := range busy(n).Chains() {
			chains[c.Name] = c
		}
		var known, first cost
		for _, hook := range []string{"prerouting", "postrouting"} {
			if _, ok := chains[hook]; !ok {
				t.Fatalf("no chain %s", hook)
			}
			known.ask(p, chains, hook, 1)
			first.ask(p, chains, hook, 0)
		}
		table.Rows = append(table.Rows, []string{
			fmt.Sprint(n), fmt.Sprint(known.rules), fmt.Sprint(known.lookUps), fmt.Sprint(first.rules), fmt.Sprint(first.lookUps),
		})
		t.Log(table.Rows[len(table.Rows)-1])
		if known.lookUps != 1 || first.lookUps > 1+4 {
			t.Errorf("%d policies: %d look-ups of a known flow, %d of a first packet; want 1, and one for each of four fields",
				n, known.lookUps, first.lookUps)
		}
	}
	if err := table.Keep(); err != nil {
		t.Fatal(err)
	}
}
