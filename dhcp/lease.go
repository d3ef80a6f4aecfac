package dhcp

import (
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// A Lease is an address lent for a time, and what came with it.
type Lease struct {
	Prefix netip.Prefix // the address with its network's prefix length
	Router netip.Addr   // the first of option 3; not valid unless it was asked for and given
	Server netip.Addr   // the server identifier
	DNS    []netip.Addr
	Domain string
	MTU    int // bytes, of the link (option 26); 0: not told

	// Zero in all three: the lease never ends.
	Renew  time.Time // T1: from here on the server that gave it is asked
	Rebind time.Time // T2: from here on any server is asked
	Expire time.Time
}

// Infinite reports whether the lease never ends.
func (l *Lease) Infinite() bool { return l.Expire.IsZero() }

// Same reports whether two leases mean the same to the host: address, router
// and MTU. Their times may differ.
func (l *Lease) Same(other *Lease) bool {
	if l == nil || other == nil {
		return l == other
	}
	return l.Prefix == other.Prefix && l.Router == other.Router && l.MTU == other.MTU
}

const (
	// infinite is the lease time that means for ever (RFC 2131 section 3.3).
	infinite = 1<<32 - 1

	// leaseLeast is the shortest lease that is used. Below it there is no time
	// to renew; such a server is broken or hostile.
	leaseLeast = 5 * time.Second

	// widest is the shortest prefix length that is used: a network that is larger
	// is nobody's, and would draw its part of the Internet to this link.
	widest = 8

	// t1Least is how soon a lease may ask to be renewed, as long as that is not
	// beyond half of it. It is the first interval of RFC 2131 section 4.1.
	t1Least = 4 * time.Second

	dnsMost  = 8
	mtuLeast = 68 // RFC 2132 section 5.1
)

// ErrUnusable is why an offer or acknowledgement is not taken.
var ErrUnusable = errors.New("unusable")

// leaseFrom reads a lease out of an offer or an acknowledgement. wantRouter
// says whether option 3 is looked at; options 33, 121 and 249 never are: a lease
// installs no route (CVE-2024-3661 is what comes of it).
func leaseFrom(m *dhcpv4.DHCPv4, asked time.Time, wantRouter bool) (*Lease, error) {
	address, ok := netip.AddrFromSlice(m.YourIPAddr.To4())
	if !ok || !hostAddress(address) {
		return nil, fmt.Errorf("%w: it gives the address %s", ErrUnusable, m.YourIPAddr)
	}
	length, err := prefixLength(m, address)
	if err != nil {
		return nil, err
	}
	lease := &Lease{Prefix: netip.PrefixFrom(address, length), Domain: printable(m.DomainName())}
	if lease.Server, ok = addrOption(m, dhcpv4.OptionServerIdentifier); !ok {
		return nil, fmt.Errorf("%w: it does not say which server it is from", ErrUnusable)
	}
	if wantRouter {
		if router, ok := firstAddr(m.Options.Get(dhcpv4.OptionRouter)); ok && hostAddress(router) && router != address {
			lease.Router = router
		}
	}
	for b := m.Options.Get(dhcpv4.OptionDomainNameServer); len(b) >= 4 && len(lease.DNS) < dnsMost; b = b[4:] {
		if server, ok := firstAddr(b); ok && hostAddress(server) {
			lease.DNS = append(lease.DNS, server)
		}
	}
	if mtu := m.Options.Get(dhcpv4.OptionInterfaceMTU); len(mtu) == 2 {
		if n := int(mtu[0])<<8 | int(mtu[1]); n >= mtuLeast {
			lease.MTU = n
		}
	}
	return lease, lease.setTimes(m, asked)
}

// prefixLength returns that of option 1, or of the address's class where there
// is none (RFC 2132 section 3.3 leaves that to the host).
func prefixLength(m *dhcpv4.DHCPv4, address netip.Addr) (int, error) {
	mask := m.Options.Get(dhcpv4.OptionSubnetMask)
	if mask == nil {
		length := 24
		switch first := address.As4()[0]; {
		case first < 128:
			length = 8
		case first < 192:
			length = 16
		}
		return length, checkHost(netip.PrefixFrom(address, length))
	}
	if len(mask) == 4 {
		n := uint32(mask[0])<<24 | uint32(mask[1])<<16 | uint32(mask[2])<<8 | uint32(mask[3])
		ones := bits.LeadingZeros32(^n)
		if n<<ones == 0 && ones >= widest {
			return ones, checkHost(netip.PrefixFrom(address, ones))
		}
	}
	return 0, fmt.Errorf("%w: its subnet mask is % x", ErrUnusable, mask)
}

// checkHost refuses the network's and the broadcast address.
func checkHost(p netip.Prefix) error {
	if p.Bits() >= 31 {
		return nil
	}
	a := p.Addr().As4()
	n := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	if host := n << p.Bits() >> p.Bits(); host == 0 || host == 1<<(32-p.Bits())-1 {
		return fmt.Errorf("%w: %s is no host's address", ErrUnusable, p)
	}
	return nil
}

// setTimes reads the lease time, T1 and T2, counted from when the request was
// sent (RFC 2131 section 4.4.1). Where T1 and T2 are missing, out of order or too
// early they are 0.5 and 0.875 of the lease (section 4.4.5).
func (l *Lease) setTimes(m *dhcpv4.DHCPv4, asked time.Time) error {
	seconds := m.Options.Get(dhcpv4.OptionIPAddressLeaseTime)
	if len(seconds) != 4 {
		return fmt.Errorf("%w: it has no lease time", ErrUnusable)
	}
	length := secondsOf(seconds)
	if length == infinite*time.Second {
		return nil
	}
	if length < leaseLeast {
		return fmt.Errorf("%w: its lease lasts %s, less than %s", ErrUnusable, length, leaseLeast)
	}
	t1 := secondsOf(m.Options.Get(dhcpv4.OptionRenewTimeValue))
	t2 := secondsOf(m.Options.Get(dhcpv4.OptionRebindingTimeValue))
	if t1 < min(length/2, t1Least) || t1 >= t2 || t2 >= length {
		t1, t2 = length/2, length/8*7
	}
	l.Renew, l.Rebind, l.Expire = asked.Add(t1), asked.Add(t2), asked.Add(length)
	return nil
}

// jitter brings T1 and T2 forward by one random part, at most a 32nd, so that
// clients that began together do not stay together (RFC 2131 section 4.4.5).
func (l *Lease) jitter(asked time.Time, random uint32) {
	if l.Infinite() {
		return
	}
	part := func(t time.Time) time.Duration {
		return time.Duration(float64(t.Sub(asked)) / 32 * float64(random%1000) / 1000)
	}
	l.Renew, l.Rebind = l.Renew.Add(-part(l.Renew)), l.Rebind.Add(-part(l.Rebind))
}

func secondsOf(b []byte) time.Duration {
	if len(b) != 4 {
		return 0
	}
	n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	return time.Duration(n) * time.Second
}

func addrOption(m *dhcpv4.DHCPv4, code dhcpv4.OptionCode) (netip.Addr, bool) {
	b := m.Options.Get(code)
	if len(b) != 4 {
		return netip.Addr{}, false
	}
	addr, ok := firstAddr(b)
	return addr, ok && hostAddress(addr)
}

func firstAddr(b []byte) (netip.Addr, bool) {
	if len(b) < 4 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(b[:4])), true
}

// hostAddress reports whether one host can have a.
func hostAddress(a netip.Addr) bool {
	first := a.As4()[0]
	return first != 0 && first != 127 && first < 224
}

// printable keeps a name that may be shown and logged as it is.
func printable(s string) string {
	if len(s) > 253 || slices.ContainsFunc([]byte(s), func(c byte) bool { return c <= ' ' || c >= 0x7f }) {
		return ""
	}
	return s
}
