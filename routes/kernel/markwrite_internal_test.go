package kernel

import (
	"testing"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"

	"uplinkd/routes"
)

// What iptables-nft makes of its targets that write marks.
func TestTargetWrites(t *testing.T) {
	words := func(list ...uint32) *xt.Unknown {
		var b xt.Unknown
		for _, w := range list {
			b = native.AppendUint32(b, w)
		}
		return &b
	}
	for name, tt := range map[string]struct {
		target expr.Target
		want   []routes.MarkWrite
	}{
		"-j MARK --set-mark 1": {
			expr.Target{Name: "MARK", Rev: 2, Info: words(1, 0xffffffff)}, []routes.MarkWrite{{Bits: 0xffffffff, Sets: 1}},
		},
		"-j MARK --or-mark 0x10": {
			expr.Target{Name: "MARK", Rev: 2, Info: words(0x10, 0x10)}, []routes.MarkWrite{{Bits: 0x10, Sets: 0x10}},
		},
		"-j CONNMARK --set-mark 1": {
			expr.Target{Name: "CONNMARK", Rev: 1, Info: words(1, 0xffffffff, 0xffffffff, 0)},
			[]routes.MarkWrite{{Connection: true, Bits: 0xffffffff, Sets: 1}},
		},
		"-j CONNMARK --save-mark --mask 0xff": {
			expr.Target{Name: "CONNMARK", Rev: 1, Info: words(0, 0xff, 0xff, 1)}, []routes.MarkWrite{{Connection: true, Bits: 0xff}},
		},
		"-j CONNMARK --restore-mark": {expr.Target{Name: "CONNMARK", Rev: 1, Info: words(0, 0xffffffff, 0xffffffff, 2)}, nil},
		"too short":                  {expr.Target{Name: "MARK", Rev: 2, Info: words(1)}, nil},
		"-j ACCEPT":                  {expr.Target{Name: "ACCEPT", Info: words()}, nil},
	} {
		got := markWrites([]expr.Any{&expr.Counter{}, &tt.target})
		if len(got) != len(tt.want) || len(got) == 1 && got[0] != tt.want[0] {
			t.Errorf("%s: read as %+v, want %+v", name, got, tt.want)
		}
	}
}
