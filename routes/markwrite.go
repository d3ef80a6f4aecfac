package routes

import "fmt"

// A MarkWrite is a rule of others, in nftables or iptables-nft, that writes marks.
type MarkWrite struct {
	Table, Chain string // "inet qos", "prerouting"
	Connection   bool   // the connection's mark; false: the packet's
	Bits         uint32 // those that are other after it, or may be
	Sets         uint32 // those of them that it sets
}

// String names the rule's place, and what it writes.
func (m MarkWrite) String() string {
	what := "meta mark"
	if m.Connection {
		what = "ct mark"
	}
	return fmt.Sprintf("table %s, chain %s: %s set %#x", m.Table, m.Chain, what, m.Sets)
}
