package ra_test

import (
	"testing"
	"time"

	"github.com/mdlayher/ndp"
)

// BenchmarkAdvertisement is a router's advertisement from the wire to what the machine knows of it.
func BenchmarkAdvertisement(b *testing.B) {
	wire, err := ndp.MarshalMessage(advert(time.Hour, network(first, time.Hour, time.Hour), ndp.NewMTU(1400)))
	if err != nil {
		b.Fatal(err)
	}
	m := listening()
	b.ReportAllocs()
	for b.Loop() {
		message, err := ndp.ParseMessage(wire)
		if err != nil {
			b.Fatal(err)
		}
		m.Receive(start, one, 255, message.(*ndp.RouterAdvertisement))
	}
}
