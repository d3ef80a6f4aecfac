package routes

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Numbers of the kernel's own tables (include/uapi/linux/rtnetlink.h).
const (
	TableDefault uint32 = 253
	TableMain    uint32 = 254
	TableLocal   uint32 = 255
)

// RouteType says what a route does with a packet.
type RouteType uint8

// The types. Blackhole is not ours to set. Foreign routes of a type that
// is not named here read as Other.
const (
	Unicast RouteType = iota
	Prohibit
	Unreachable
	Blackhole
	Other
)

// typeNames are those that `ip route` puts before a destination.
var typeNames = [...]string{"", "prohibit ", "unreachable ", "blackhole ", ""}

// endsLookups reports whether a route of that type is the kernel's last word: no rule
// after the one that led there is asked (fib_rules_lookup in net/core/fib_rules.c).
func (t RouteType) endsLookups() bool { return t == Prohibit || t == Unreachable || t == Blackhole }

// A RouteKey is what the kernel tells routes apart by. The key also holds a
// TOS, which is always 0 here. Two routes with one key cannot be told apart by
// a replace (net/ipv4/fib_trie.c, fib_table_insert), so a key has one owner.
type RouteKey struct {
	Table  uint32
	Dst    netip.Prefix
	Metric uint32
}

// A NextHop is one way out of a route.
type NextHop struct {
	Interface string
	Gateway   netip.Addr // not valid: the destination is on the link itself
	OnLink    bool       // the gateway is reached on the link whatever the addresses say
	Weight    int        // 1..256; meaningful beside other nexthops
}

// Options are the metrics that apply to every connection over a route. Zero
// leaves the kernel's own value.
type Options struct {
	InitCwnd uint32        // segments
	InitRwnd uint32        // segments
	MTU      uint32        // bytes
	AdvMSS   uint32        // bytes
	RTOMin   time.Duration // the kernel counts in milliseconds
	QuickAck bool
}

// A Route is one route of any table. Unicast routes have one nexthop or more,
// prohibit routes none.
type Route struct {
	RouteKey
	Type     RouteType
	NextHops []NextHop
	Options  Options
	Protocol uint8 // who put it there (ip-route(8), "proto")
}

// DefaultDst returns the prefix of a default route for the family of addr.
func DefaultDst(addr netip.Addr) netip.Prefix {
	if addr.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// Equal reports whether r and other do the same. The order of nexthops does not
// count, and a lone nexthop has no weight.
func (r Route) Equal(other Route) bool {
	if r.RouteKey != other.RouteKey || r.Type != other.Type || r.Options != other.Options ||
		r.Protocol != other.Protocol || len(r.NextHops) != len(other.NextHops) {
		return false
	}
	return slices.Equal(r.canonicalHops(), other.canonicalHops())
}

// OnLinkNetwork reports whether the route leads to a network on the link itself.
func (r Route) OnLinkNetwork() bool {
	return r.Type == Unicast && r.Dst.Bits() > 0 && len(r.NextHops) == 1 && !r.NextHops[0].Gateway.IsValid()
}

func (r Route) interfaces() []string {
	names := make([]string, len(r.NextHops))
	for i, hop := range r.NextHops {
		names[i] = hop.Interface
	}
	return names
}

func (r Route) canonicalHops() []NextHop {
	hops := slices.Clone(r.NextHops)
	if len(hops) == 1 {
		hops[0].Weight = 1
		return hops
	}
	slices.SortFunc(hops, func(a, b NextHop) int {
		return cmp.Or(strings.Compare(a.Interface, b.Interface), a.Gateway.Compare(b.Gateway))
	})
	return hops
}

// String returns the route as arguments of `ip route`.
func (r Route) String() string {
	var b strings.Builder
	b.WriteString(typeNames[r.Type])
	b.WriteString(dstName(r.Dst))
	if len(r.NextHops) == 1 {
		b.WriteString(r.NextHops[0].String())
	}
	b.WriteString(" table " + tableName(r.Table))
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	fmt.Fprintf(&b, " proto %d", r.Protocol)
	// ip would choose scope link for a route without a gateway; our defaults are global.
	if len(r.NextHops) == 1 && !r.NextHops[0].Gateway.IsValid() && !r.OnLinkNetwork() {
		b.WriteString(" scope global")
	}
	b.WriteString(r.Options.String())
	if len(r.NextHops) > 1 {
		for _, hop := range r.NextHops {
			fmt.Fprintf(&b, " nexthop%s weight %d", hop, hop.Weight)
		}
	}
	return b.String()
}

// String returns the nexthop as `ip route` takes it, with a space in front.
func (h NextHop) String() string {
	s := ""
	if h.Gateway.IsValid() {
		s = " via " + h.Gateway.String()
	}
	s += " dev " + h.Interface
	if h.OnLink {
		s += " onlink"
	}
	return s
}

// String returns the options as `ip route` takes them, with a space in front,
// or nothing when none is set.
func (o Options) String() string {
	var b strings.Builder
	number := func(name string, n uint32) {
		if n != 0 {
			fmt.Fprintf(&b, " %s %d", name, n)
		}
	}
	number("mtu", o.MTU)
	number("advmss", o.AdvMSS)
	if o.RTOMin != 0 {
		fmt.Fprintf(&b, " rto_min %dms", o.RTOMin.Milliseconds())
	}
	number("initcwnd", o.InitCwnd)
	number("initrwnd", o.InitRwnd)
	if o.QuickAck {
		b.WriteString(" quickack 1")
	}
	return b.String()
}

// sameKey reports whether the kernel cannot tell two routes apart by a replace.
func (r Route) sameKey(other Route) bool { return r.RouteKey == other.RouteKey }

// dstName returns a destination as `ip route` has it.
func dstName(dst netip.Prefix) string {
	if dst.Bits() == 0 {
		return "default"
	}
	return dst.String()
}

func tableName(table uint32) string {
	switch table {
	case TableMain:
		return "main"
	case TableDefault:
		return "default"
	case TableLocal:
		return "local"
	}
	return strconv.FormatUint(uint64(table), 10)
}
