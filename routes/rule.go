package routes

import (
	"fmt"
	"net/netip"
	"strings"
)

// A Rule sends the packets it matches to a table.
type Rule struct {
	Priority uint32
	V6       bool // the family: a rule that matches by mark alone has no address to tell it by
	From     netip.Prefix
	To       netip.Prefix
	Out      string // the interface a program has bound its socket to; "": any
	Mark     uint32
	Mask     uint32 // 0: the mark is not looked at
	Table    uint32

	// Unreachable ends the lookup of what matches: it can go nowhere (ip-rule(8)). Table is 0.
	Unreachable bool

	// SuppressDefault leaves the table's routes of prefix length 0 unseen, so
	// that only more specific ones answer (suppress_prefixlength 0).
	SuppressDefault bool

	// Foreign matches that no rule of ours has (iif, ports, uid, goto, ...). A
	// rule with one is never equal to a rule of ours.
	Foreign bool

	Protocol uint8
}

// same reports whether two rules match the same and lead to the same. Whose
// they are does not count: the kernel refuses a second one (rule_exists in
// net/core/fib_rules.c).
func (r Rule) same(other Rule) bool {
	r.Protocol, other.Protocol = 0, 0
	return r == other
}

// LeadsAllTo reports whether the rule sends every packet to a table that asks it.
func (r Rule) LeadsAllTo(table uint32) bool {
	matchesAll := !r.From.IsValid() && !r.To.IsValid() && r.Out == "" && r.Mask == 0
	return r.Table == table && matchesAll && !r.Unreachable && !r.SuppressDefault && !r.Foreign
}

// String returns the rule as arguments of `ip rule`.
func (r Rule) String() string {
	return fmt.Sprintf("%s protocol %d", r.matchText(), r.Protocol)
}

// matchText is the rule without its protocol.
func (r Rule) matchText() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pref %d", r.Priority)
	if r.From.IsValid() {
		fmt.Fprintf(&b, " from %s", hostOrPrefix(r.From))
	}
	if r.To.IsValid() {
		fmt.Fprintf(&b, " to %s", hostOrPrefix(r.To))
	}
	if r.Out != "" {
		b.WriteString(" oif " + r.Out)
	}
	if r.Mask != 0 {
		fmt.Fprintf(&b, " fwmark %#x/%#x", r.Mark, r.Mask)
	}
	if r.Unreachable {
		b.WriteString(" unreachable")
	} else {
		b.WriteString(" lookup " + tableName(r.Table))
	}
	if r.SuppressDefault {
		b.WriteString(" suppress_prefixlength 0")
	}
	if r.Foreign {
		b.WriteString(" (and more)")
	}
	return b.String()
}

func hostOrPrefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
