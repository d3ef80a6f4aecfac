package ra_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/ndp"

	"uplinkd/dhcp/ra"
)

var (
	start  = time.Unix(1_800_000_000, 0)
	one    = netip.MustParseAddr("fe80::1")
	two    = netip.MustParseAddr("fe80::2")
	first  = netip.MustParsePrefix("2001:db8:1::/64")
	second = netip.MustParsePrefix("2001:db8:2::/64")
)

// listening returns a machine that has been started, and has solicited once.
func listening() *ra.Machine {
	m := ra.NewMachine(func() uint32 { return 1000 }) // jitter of none
	m.Start(start)
	m.Tick(start)
	return m
}

func advert(lifetime time.Duration, options ...ndp.Option) *ndp.RouterAdvertisement {
	return &ndp.RouterAdvertisement{RouterLifetime: lifetime, Options: options}
}

func network(p netip.Prefix, preferred, valid time.Duration) *ndp.PrefixInformation {
	return &ndp.PrefixInformation{
		PrefixLength: uint8(p.Bits()), OnLink: true, AutonomousAddressConfiguration: true,
		PreferredLifetime: preferred, ValidLifetime: valid, Prefix: p.Addr(),
	}
}

// RFC 7559: 4 s, doubled up to an hour, and never an end.
func TestSolicits(t *testing.T) {
	m := ra.NewMachine(func() uint32 { return 1000 })
	m.Start(start)
	var pauses []time.Duration
	now := start
	for range 14 {
		if !m.Tick(now) {
			t.Fatalf("no solicitation at %v", now.Sub(start))
		}
		next := m.Wake()
		for next.Sub(now) < 4*time.Second { // it also wakes to say that nobody answers
			m.Tick(next)
			next = m.Wake()
		}
		pauses = append(pauses, next.Sub(now))
		now = next
	}
	want := []time.Duration{4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600, 3600, 3600}
	for i := range want {
		want[i] *= time.Second
	}
	if !slices.Equal(pauses, want) {
		t.Errorf("pauses %v, want %v", pauses, want)
	}
	m.Receive(now, one, 255, advert(time.Hour))
	if wake := m.Wake(); !wake.Equal(now.Add(time.Hour)) {
		t.Errorf("with a router it wakes at %v, want when that is one no longer", wake.Sub(now))
	}
	m.Tick(now.Add(time.Hour))
	if !m.Tick(now.Add(time.Hour)) && !m.Wake().Before(now.Add(time.Hour+5*time.Second)) {
		t.Error("without its router it does not ask again")
	}
}

// What is not valid (RFC 4861 section 6.1.2), or of another router than the one that is read, is not heard.
func TestIgnores(t *testing.T) {
	global := netip.MustParseAddr("2001:db8::1")
	for name, tt := range map[string]struct {
		from netip.Addr
		hops int
		only netip.Addr
	}{
		"from beyond the link":  {one, 64, netip.Addr{}},
		"from a global address": {global, 255, netip.Addr{}},
		"of another router":     {two, 255, one},
	} {
		m := listening()
		m.Only = tt.only
		m.Receive(start, tt.from, tt.hops, advert(time.Hour, network(first, time.Hour, time.Hour)))
		if c := m.Change(); c.Heard || c.Router.IsValid() || len(c.Prefixes) > 0 {
			t.Errorf("%s: it says %+v", name, c)
		}
	}
	m := ra.NewMachine(func() uint32 { return 0 })
	m.Receive(start, one, 255, advert(time.Hour))
	if m.Change().Heard {
		t.Error("a machine that is stopped has heard something")
	}
}

// Networks that no address is made of, or none that this host should have.
func TestPrefixesOfNoUse(t *testing.T) {
	notAutonomous := network(first, time.Hour, time.Hour)
	notAutonomous.AutonomousAddressConfiguration = false
	for name, o := range map[string]*ndp.PrefixInformation{
		"longer than an interface's": network(netip.MustParsePrefix("2001:db8:1::/113"), time.Hour, time.Hour),
		"shorter":                    network(netip.MustParsePrefix("2001:db8::/48"), time.Hour, time.Hour),
		"only on the link":           notAutonomous,
		"of the link":                network(netip.MustParsePrefix("fe80::/64"), time.Hour, time.Hour),
		"of many hosts":              network(netip.MustParsePrefix("ff0e::/64"), time.Hour, time.Hour),
		"preferred beyond its end":   network(first, 2*time.Hour, time.Hour),
		"over at once":               network(first, 0, 0),
	} {
		m := listening()
		m.Receive(start, one, 255, advert(time.Hour, o))
		if c := m.Change(); len(c.Prefixes) > 0 {
			t.Errorf("%s: %+v", name, c.Prefixes)
		}
	}
}

// The most preferred router, then the one in use, then the first; one that has said nothing since the link
// came up after those that have.
func TestChoosesRouter(t *testing.T) {
	m := listening()
	say := func(now time.Time, from netip.Addr, p ndp.Preference, lifetime time.Duration) netip.Addr {
		a := advert(lifetime)
		a.RouterSelectionPreference = p
		m.Receive(now, from, 255, a)
		return m.Change().Router
	}
	for i, tt := range []struct {
		from     netip.Addr
		p        ndp.Preference
		lifetime time.Duration
		want     netip.Addr
	}{
		{one, ndp.Medium, time.Hour, one},
		{two, ndp.Medium, time.Hour, one}, // that in use stays
		{two, ndp.High, time.Hour, two},
		{two, ndp.Low, time.Hour, one},
		{one, ndp.Medium, 0, two}, // withdrawn
		{two, ndp.Medium, 0, netip.Addr{}},
	} {
		if got := say(start.Add(time.Duration(i)*time.Second), tt.from, tt.p, tt.lifetime); got != tt.want {
			t.Errorf("step %d: the router is %s, want %s", i, got, tt.want)
		}
	}
	if reason := m.Change().Reason; !strings.Contains(reason, "fe80::2 has withdrawn itself") {
		t.Errorf("the reason is %q", reason)
	}
	later := start.Add(time.Minute)
	say(later, one, ndp.Medium, time.Hour)
	m.Start(later) // another cable, perhaps
	if got := say(later, two, ndp.Medium, time.Hour); got != two {
		t.Errorf("the router is %s, want the one that has spoken since", got)
	}
}

// The router in use is one no longer, and another is there: it is taken at once, which it was not before the next
// advertisement. What the gone one named is no longer preferred, once another names networks.
func TestAnotherRouterIsThere(t *testing.T) {
	m := listening()
	m.Receive(start, one, 255, advert(time.Minute, network(first, time.Hour, 2*time.Hour)))
	m.Receive(start, two, 255, advert(time.Hour))
	now := start.Add(time.Minute)
	m.Tick(now)
	c := m.Change()
	if c.Router != two {
		t.Errorf("the router is %s, want %s", c.Router, two)
	}
	if len(c.Prefixes) != 1 || !now.Before(c.Prefixes[0].Preferred) {
		t.Errorf("nobody names networks, and it has %+v", c.Prefixes)
	}
	m.Receive(now, two, 255, advert(time.Hour, network(second, time.Hour, 2*time.Hour)))
	for _, p := range m.Change().Prefixes {
		if preferred := now.Before(p.Preferred); preferred != (p.Prefix == second) {
			t.Errorf("%s is preferred: %v", p.Prefix, preferred)
		}
	}
	// One that is no default router, and names networks, is not gone.
	m.Receive(now, one, 255, advert(0, network(first, time.Hour, 2*time.Hour)))
	for _, p := range m.Change().Prefixes {
		if !now.Before(p.Preferred) {
			t.Errorf("%s is no longer preferred, and has been named", p.Prefix)
		}
	}
}

// A router was replaced while the link was down: the networks of the old one are not preferred once the new one
// speaks and the old one does not.
func TestReplacedRouter(t *testing.T) {
	m := listening()
	m.Receive(start, one, 255, advert(time.Hour, network(first, time.Hour, 2*time.Hour)))
	now := start.Add(time.Minute)
	m.Stop()
	m.Start(now)
	m.Receive(now, two, 255, advert(time.Hour, network(second, time.Hour, 2*time.Hour)))
	if p := m.Change().Prefixes; len(p) != 2 || !now.Before(p[0].Preferred) {
		t.Errorf("the old router has had no time to speak, and there is %+v", p)
	}
	now = now.Add(5 * time.Second)
	m.Receive(now, two, 255, advert(time.Hour, network(second, time.Hour, 2*time.Hour)))
	for _, p := range m.Change().Prefixes {
		if preferred := now.Before(p.Preferred); preferred != (p.Prefix == second) {
			t.Errorf("%s is preferred: %v", p.Prefix, preferred)
		}
	}
}

// RFC 4862 section 5.5.3 e: a stranger cannot end an address sooner than in two hours; that it is no longer
// preferred counts at once.
func TestTwoHours(t *testing.T) {
	const day = 24 * time.Hour
	for name, tt := range map[string]struct{ first, then, want time.Duration }{
		"longer":                      {time.Hour, day, day},
		"shorter, above two hours":    {day, 3 * time.Hour, 3 * time.Hour},
		"shorter, below":              {day, time.Minute, 2 * time.Hour},
		"shorter than what is left":   {time.Hour, time.Minute, time.Hour},
		"longer than what is left":    {time.Minute, time.Hour, time.Hour},
		"for good, then below":        {ndp.Infinity, time.Minute, 2 * time.Hour},
		"below, then for good":        {time.Hour, ndp.Infinity, 0},
		"over at once":                {day, 0, 2 * time.Hour},
		"for good, then above":        {ndp.Infinity, day, day},
		"what is left, to the brim":   {2 * time.Hour, 2 * time.Hour, 2 * time.Hour},
		"what is left, a bit shorter": {2 * time.Hour, 2*time.Hour - 1, 2 * time.Hour},
	} {
		m := listening()
		m.Receive(start, one, 255, advert(time.Hour, network(first, 0, tt.first)))
		m.Receive(start, one, 255, advert(time.Hour, network(first, 0, tt.then)))
		c := m.Change()
		want := start.Add(tt.want)
		if tt.want == 0 {
			want = time.Time{}
		}
		if len(c.Prefixes) != 1 || !c.Prefixes[0].Valid.Equal(want) {
			t.Errorf("%s: %+v, want it to end after %v", name, c.Prefixes, tt.want)
		}
		if p := c.Prefixes[0].Preferred; !p.Equal(start) {
			t.Errorf("%s: preferred until %v, want no longer", name, p)
		}
	}
}

// A router that has been restarted names what its provider gives it now, and its old network no more; one that
// names its networks in turn keeps both.
func TestFlashRenumbering(t *testing.T) {
	preferred := func(m *ra.Machine, now time.Time, p netip.Prefix) bool {
		for _, x := range m.Change().Prefixes {
			if x.Prefix == p {
				return now.Before(x.Preferred)
			}
		}
		return false
	}
	m := listening()
	m.Receive(start, one, 255, advert(time.Hour, network(first, time.Hour, time.Hour)))
	now := start
	for i := range 3 {
		if !preferred(m, now, first) {
			t.Errorf("after %d others the old network is out", i)
		}
		now = now.Add(time.Second)
		m.Receive(now, one, 255, advert(time.Hour, network(second, time.Hour, time.Hour)))
		if i < 2 && m.Wake().After(now.Add(time.Second)) {
			t.Error("it does not ask, to know soon")
		}
	}
	if preferred(m, now, first) || !preferred(m, now, second) {
		t.Error("the old network is not out after three advertisements without it")
	}

	m = listening()
	for i := range 20 {
		p := first
		if i%2 == 1 {
			p = second
		}
		m.Receive(start, one, 255, advert(time.Hour, network(p, time.Hour, time.Hour)))
	}
	m.Receive(start, two, 255, advert(time.Hour, network(netip.MustParsePrefix("2001:db8:3::/64"), time.Hour, time.Hour)))
	m.Receive(start, one, 255, advert(time.Hour)) // without any
	if !preferred(m, start, first) || !preferred(m, start, second) {
		t.Error("of networks named in turn one is out")
	}
}

// Whoever is on the link may say anything: what is kept is bounded.
func TestBounds(t *testing.T) {
	m := listening()
	for i := range 5000 {
		from := netip.MustParseAddr(fmt.Sprintf("fe80::%x", i+1))
		p := netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x::/64", i))
		m.Receive(start, from, 255, advert(time.Hour, network(p, time.Hour, time.Hour), &ndp.RecursiveDNSServer{
			Lifetime: time.Hour, Servers: []netip.Addr{netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1))},
		}, ndp.NewMTU(uint32(i))))
	}
	c := m.Change()
	if len(c.Prefixes) != 16 || len(c.DNS) != 6 || c.MTU != 0 {
		t.Errorf("%d networks, %d DNS servers, MTU %d", len(c.Prefixes), len(c.DNS), c.MTU)
	}
	m.Suspended(2 * time.Hour)
	m.Tick(start)
	if c = m.Change(); len(c.Prefixes) != 0 || len(c.DNS) != 0 || c.Router.IsValid() {
		t.Errorf("two hours of sleep later: %+v", c)
	}
}

// Whatever is heard, and whenever, it never wants to be woken up in the past: its client would do nothing else.
// Without an answer it once did, after five seconds.
func TestWakesInTheFuture(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		m := ra.NewMachine(random.Uint32)
		now := start
		for range 100 {
			switch random.IntN(6) {
			case 0:
				m.Start(now)
			case 1:
				lifetime := time.Duration(random.IntN(3)) * time.Minute
				m.Receive(now, []netip.Addr{one, two}[random.IntN(2)], 255, advert(lifetime, network(first, lifetime/2, lifetime)))
			case 2:
				m.Suspended(time.Duration(random.IntN(100)) * time.Second)
			case 3:
				m.Retry(now.Add(time.Second))
			default:
				if wake := m.Wake(); !wake.IsZero() {
					now = wake
				}
			}
			m.Tick(now)
			if wake := m.Wake(); !wake.IsZero() && !wake.After(now) {
				t.Fatalf("seed %d: at %v it wants to be woken up %v ago", seed, now.Sub(start), now.Sub(wake))
			}
		}
	}
}

// What anybody may send: no message makes it say what is not so.
func FuzzAdvertisement(f *testing.F) {
	for _, a := range []*ndp.RouterAdvertisement{
		advert(time.Hour, network(first, time.Hour, time.Hour)),
		advert(0, ndp.NewMTU(1400), &ndp.RecursiveDNSServer{Lifetime: time.Minute, Servers: []netip.Addr{one}}),
	} {
		b, err := ndp.MarshalMessage(a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		message, err := ndp.ParseMessage(b)
		a, ok := message.(*ndp.RouterAdvertisement)
		if err != nil || !ok {
			return
		}
		m := listening()
		m.Receive(start, one, 255, a)
		m.Receive(start.Add(time.Second), one, 255, a)
		m.Tick(start.Add(time.Minute))
		for _, p := range m.Change().Prefixes {
			if p.Prefix.Bits() != 64 || !p.Prefix.Addr().IsGlobalUnicast() || p.Prefix != p.Prefix.Masked() {
				t.Errorf("%s is a network of this host", p.Prefix)
			}
		}
	})
}
