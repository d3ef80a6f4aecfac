package firewall

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
)

// Prefixes is a set of addresses: ranges in order that neither overlap nor touch.
// It is never changed once made.
type Prefixes struct {
	Ranges []AddressRange
	sum    string
}

// An AddressRange is both ends included.
type AddressRange struct{ First, Last netip.Addr }

// NewPrefixes makes a set of prefixes of one family in any order, overlapping or not.
func NewPrefixes(list []netip.Prefix) *Prefixes {
	ranges := make([]AddressRange, len(list))
	for i, p := range list {
		ranges[i] = AddressRange{p.Masked().Addr(), lastOf(p)}
	}
	slices.SortFunc(ranges, func(a, b AddressRange) int { return a.First.Compare(b.First) })
	merged := ranges[:0]
	for _, r := range ranges {
		if n := len(merged); n > 0 && merged[n-1].touches(r) {
			if merged[n-1].Last.Less(r.Last) {
				merged[n-1].Last = r.Last
			}
			continue
		}
		merged = append(merged, r)
	}
	h := sha256.New()
	for _, r := range merged {
		h.Write(r.First.AsSlice())
		h.Write(r.Last.AsSlice())
	}
	return &Prefixes{Ranges: slices.Clip(merged), sum: hex.EncodeToString(h.Sum(nil)[:6])}
}

// touches reports whether next, which begins no earlier, overlaps r or follows it
// at once.
func (r AddressRange) touches(next AddressRange) bool {
	after := r.Last.Next() // not valid after the last address there is
	return !after.IsValid() || next.First.Compare(after) <= 0
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b) // of the length of an address
	return last
}

// SetName returns the name of the nft set that holds the addresses. It follows
// from them, so that a set of that name need not be looked into.
func (p *Prefixes) SetName() string {
	if p.V6() {
		return fmt.Sprintf("net6_%s_%d", p.sum, len(p.Ranges))
	}
	return fmt.Sprintf("net_%s_%d", p.sum, len(p.Ranges))
}

// V6 reports whether the addresses are of IPv6.
func (p *Prefixes) V6() bool { return len(p.Ranges) > 0 && p.Ranges[0].First.Is6() }

func (p *Prefixes) protocol() string { return protocol(p.V6()) }

// addressType is what nft calls the type of the addresses.
func (p *Prefixes) addressType() string { return addressType(p.V6()) }

func addressType(v6 bool) string {
	if v6 {
		return "ipv6_addr"
	}
	return "ipv4_addr"
}
