package kernel

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
	"uplinkd/routes"
)

func TestRuleCodec(t *testing.T) {
	for _, want := range []routes.Rule{
		{Priority: 20000, Table: 254, SuppressDefault: true, Protocol: 201},
		{Priority: 20001, Table: 1 << 31, SuppressDefault: true, Protocol: 201},
		{Priority: 20100, Mark: 0x97, Mask: 0xff, Table: 501, Protocol: 201},
		{Priority: 20300, From: netip.MustParsePrefix("192.0.2.5/32"), Table: 501, Protocol: 201},
		{Priority: 20500, To: netip.MustParsePrefix("192.0.2.53/32"), Table: 501, Protocol: 201},
		{Priority: 20501, From: netip.MustParsePrefix("192.0.2.0/24"), To: netip.MustParsePrefix("198.51.100.0/25"), Table: 501, Protocol: 201},
		{Priority: 20300, From: netip.MustParsePrefix("2001:db8::/64"), V6: true, Table: 501, Protocol: 201},
		{Priority: 20200, V6: true, Unreachable: true, Protocol: 201},
	} {
		got, err := parseRule(encodeRule(want))
		if err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

// A rule that also looks at something else is not one of ours, whatever it is.
func TestForeignMatches(t *testing.T) {
	plain := encodeRule(routes.Rule{Priority: 1, Table: 254, Protocol: 3})
	change := func(edit func([]byte) []byte) []byte { return edit(append([]byte(nil), plain...)) }
	for name, m := range map[string][]byte{
		"to":       change(func(b []byte) []byte { b[1] = 8; return b }), // a prefix that it does not name
		"tos":      change(func(b []byte) []byte { b[3] = 4; return b }),
		"goto":     change(func(b []byte) []byte { b[7] = 2; return putUint32(b, fraGoto, 9) }),
		"not":      change(func(b []byte) []byte { b[8] |= ruleInvert; return b }),
		"iif":      change(func(b []byte) []byte { return nlmsg.AppendAttr(b, fraIIFName, []byte("lo\x00")) }),
		"uid":      change(func(b []byte) []byte { return nlmsg.AppendAttr(b, fraUIDRange, make([]byte, 8)) }),
		"port":     change(func(b []byte) []byte { return nlmsg.AppendAttr(b, fraIPProto+2, make([]byte, 4)) }),
		"suppress": change(func(b []byte) []byte { return putUint32(b, fraSuppressPrefixlen, 8) }),
	} {
		r, err := parseRule(m)
		if err != nil || !r.Foreign {
			t.Errorf("%s: got %+v, %v; want it foreign", name, r, err)
		}
	}
	if r, err := parseRule(putUint32(plain, fraSuppressPrefixlen, unset)); err != nil || r.Foreign || r.SuppressDefault {
		t.Errorf("no suppression, as the kernel says it: %+v, %v", r, err)
	}
}

func FuzzParseRule(f *testing.F) {
	f.Add(encodeRule(routes.Rule{Priority: 20300, From: netip.MustParsePrefix("192.0.2.5/32"), Table: 501, Protocol: 201}))
	f.Add([]byte{unix.AF_INET, 0, 200, 0, 0, 0, 0, 1, 0, 0, 0, 0, 8, 0, 2, 0, 1, 2, 3, 4})
	f.Add(append(make([]byte, 12), 3, 0, 1, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := parseRule(b); err == nil && r.From.IsValid() && r.From.Bits() < 0 {
			t.Errorf("a source without a length: %+v", r)
		}
	})
}
