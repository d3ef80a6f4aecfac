package uplink

import (
	"testing"
	"time"

	"uplinkd/routes"
)

// A carrier is gone when the kernel says so, and what was read before that does not bring it back; what was read
// afterwards does.
func TestCarrierLost(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	link := routes.Link{Name: "eth1", Index: 7, Up: true, Carrier: true}
	s := State{Uplinks: []Uplink{{Device: Device{Read: true, Link: link}}}}
	s.Uplinks[0].Config.Interface = "eth1"
	s.take(CarrierLost{Index: 8, At: now}, now)
	if !s.Uplinks[0].Device.Link.Carrier || s.HasLink(8) || !s.HasLink(7) {
		t.Error("another interface's carrier was taken for ours")
	}
	s.take(CarrierLost{Index: 7, At: now}, now.Add(time.Minute))
	if s.Uplinks[0].Device.Link.Carrier {
		t.Error("the carrier is still there")
	}
	read := func(at time.Time, link routes.Link) bool {
		s.Uplinks[0].takeDevice(routes.State{At: at, Links: []routes.Link{link}})
		return s.Uplinks[0].Device.Link.Carrier
	}
	if read(now.Add(-time.Millisecond), link) {
		t.Error("what was read before brings the carrier back")
	}
	if !read(now.Add(time.Millisecond), link) {
		t.Error("what was read afterwards does not bring it back")
	}
	s.take(CarrierLost{Index: 7, At: now.Add(time.Second)}, now.Add(time.Minute))
	other := link
	other.Index = 9
	if !read(now, other) {
		t.Error("another interface of that name is without a carrier, for the one before was")
	}
}
