package probe

import "testing"

// From the second reading: where connection tracking has no bound, all service probes were withdrawn.
func TestNoRoom(t *testing.T) {
	for _, c := range []struct {
		count, most int
		want        bool
	}{
		{0, 0, false},
		{1000, 0, false},
		{0, 1000, false},
		{989, 1000, false},
		{990, 1000, true},
		{1001, 1000, true},
		{5, 10, false},
		{10, 10, true},
		{261_888, 262_144, true},
	} {
		if got := noRoom(c.count, c.most); got != c.want {
			t.Errorf("%d of %d: %v, want %v", c.count, c.most, got, c.want)
		}
	}
}
