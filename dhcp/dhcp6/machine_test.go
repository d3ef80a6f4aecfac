package dhcp6_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"uplinkd/dhcp/dhcp6"
)

var (
	start    = time.Unix(1_800_000_000, 0)
	address  = netip.MustParseAddr("2001:db8:1::a")
	prefix   = netip.MustParsePrefix("2001:db8:1:100::/56")
	identity = dhcp6.Identity{DUID: append([]byte{0, 4}, make([]byte, 16)...), IAID: [4]byte{1, 2, 3, 4}}
	both     = dhcp6.Wish{Address: true, Prefix: true}
)

// machine returns a machine that wants something, with jitter of none.
func machine(w dhcp6.Wish) *dhcp6.Machine {
	m := dhcp6.NewMachine(func() uint32 { return 0x1003e8 }) // a multiple of 2001 and half of that
	m.Adapt(identity, w)
	return m
}

// A reply is what a server answers a message with.
type reply struct {
	kind             dhcpv6.MessageType
	server           byte
	addresses        []netip.Addr
	prefixes         []netip.Prefix
	preferred, valid time.Duration
	t1, t2           time.Duration
	status           iana.StatusCode // of the message
	ia               iana.StatusCode // of both associations
	preference       uint8
}

func (r reply) to(m *dhcpv6.Message) *dhcpv6.Message {
	answer := &dhcpv6.Message{MessageType: r.kind, TransactionID: m.TransactionID}
	answer.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionClientID, OptionData: identity.DUID})
	answer.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionServerID, OptionData: []byte{0, 3, 0, 1, 2, 0, 0, 0, 0, r.server}})
	if r.preference > 0 {
		answer.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionPreference, OptionData: []byte{r.preference}})
	}
	if r.status != iana.StatusSuccess {
		answer.AddOption(&dhcpv6.OptStatusCode{StatusCode: r.status})
	}
	iaid := identity.IAID
	if asked := m.Options.OneIAPD(); asked != nil {
		iaid = asked.IaId
	}
	na := &dhcpv6.OptIANA{IaId: iaid, T1: r.t1, T2: r.t2}
	for _, a := range r.addresses {
		na.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.AsSlice(), PreferredLifetime: r.preferred, ValidLifetime: r.valid})
	}
	pd := &dhcpv6.OptIAPD{IaId: iaid, T1: r.t1, T2: r.t2}
	for _, p := range r.prefixes {
		pd.Options.Add(&dhcpv6.OptIAPrefix{
			Prefix:            &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 128)},
			PreferredLifetime: r.preferred, ValidLifetime: r.valid,
		})
	}
	if r.ia != iana.StatusSuccess {
		na.Options.Add(&dhcpv6.OptStatusCode{StatusCode: r.ia})
		pd.Options.Add(&dhcpv6.OptStatusCode{StatusCode: r.ia})
	}
	answer.AddOption(na)
	answer.AddOption(pd)
	parsed, err := dhcpv6.MessageFromBytes(answer.ToBytes()) // as it comes from the network
	if err != nil {
		panic(err)
	}
	return parsed
}

var (
	offer = reply{
		kind: dhcpv6.MessageTypeAdvertise, addresses: []netip.Addr{address}, prefixes: []netip.Prefix{prefix},
		preferred: time.Hour, valid: 2 * time.Hour,
	}
	given = func() reply { r := offer; r.kind = dhcpv6.MessageTypeReply; return r }()
)

func kinds(messages []*dhcpv6.Message) string {
	var list []string
	for _, m := range messages {
		list = append(list, m.MessageType.String())
	}
	return strings.Join(list, " ")
}

// bound returns a machine that has been given both, and the time.
func bound(t *testing.T) (*dhcp6.Machine, time.Time) {
	t.Helper()
	m := machine(both)
	sent := m.Start(start)
	receive(t, m, start, offer.to(sent[0]))
	now := m.Wake()
	sent = m.Tick(now)
	if kinds(sent) != "REQUEST" {
		t.Fatalf("after the pause for offers it sends %s", kinds(sent))
	}
	receive(t, m, now, given.to(sent[0]))
	if state, why := m.State(); state != dhcp6.Bound || m.Lease() == nil || !m.Confirmed() {
		t.Fatalf("it is %s: %s", state, why)
	}
	return m, now
}

func receive(t *testing.T, m *dhcp6.Machine, now time.Time, r *dhcpv6.Message) []*dhcpv6.Message {
	t.Helper()
	sent, err := m.Receive(now, r)
	if err != nil {
		t.Fatal(err)
	}
	return sent
}

// Solicit, a pause for other offers, Request, Reply: with an address and a prefix in one.
func TestGetsBoth(t *testing.T) {
	m, now := bound(t)
	l := m.Lease()
	if len(l.Addresses) != 1 || l.Addresses[0].Prefix.Addr() != address || !l.Addresses[0].Preferred.Equal(now.Add(time.Hour)) {
		t.Errorf("addresses %v", l.Addresses)
	}
	if len(l.Prefixes) != 1 || l.Prefixes[0].Prefix != prefix || !l.Prefixes[0].Valid.Equal(now.Add(2*time.Hour)) {
		t.Errorf("prefixes %v", l.Prefixes)
	}
	if !l.Renew.Equal(now.Add(30*time.Minute)) || !l.Rebind.Equal(now.Add(48*time.Minute)) {
		t.Errorf("to be renewed after %v and rebound after %v", l.Renew.Sub(now), l.Rebind.Sub(now))
	}
}

// Pauses of a Solicit that nobody answers (RFC 8415 section 15): from a second, about doubled, to an hour.
func TestSolicitPauses(t *testing.T) {
	m := machine(both)
	now := start
	m.Start(now)
	last := time.Duration(0)
	for i := range 16 {
		pause := m.Wake().Sub(now)
		switch {
		case i == 0 && (pause < time.Second || pause > 1100*time.Millisecond):
			t.Errorf("the first pause is %v", pause)
		case i > 0 && i < 11 && (pause < last*19/10 || pause > last*21/10):
			t.Errorf("after %v a pause of %v", last, pause)
		case pause > 66*time.Minute:
			t.Errorf("a pause of %v", pause)
		}
		last, now = pause, m.Wake()
		if got := kinds(m.Tick(now)); got != "SOLICIT" {
			t.Fatalf("it sends %q", got)
		}
	}
}

// A server bounds the pause, also one that has nothing (RFC 8415 section 21.24), which counted only for the next conversation; a
// bound that is none is not taken.
func TestSolMaxRT(t *testing.T) {
	for seconds, most := range map[uint32]time.Duration{120: 132 * time.Second, 59: 66 * time.Minute, 86401: 66 * time.Minute} {
		m := machine(both)
		now := start
		sent := m.Start(now)
		for len(sent) == 0 { // the first is delayed
			now = m.Wake()
			sent = m.Tick(now)
		}
		none := reply{kind: dhcpv6.MessageTypeAdvertise, ia: iana.StatusNoAddrsAvail}.to(sent[0])
		none.AddOption(&dhcpv6.OptionGeneric{
			OptionCode: dhcpv6.OptionSolMaxRT, OptionData: binary.BigEndian.AppendUint32(nil, seconds),
		})
		if _, err := m.Receive(now, none); err == nil {
			t.Fatal("an offer of nothing is taken")
		}
		longest := time.Duration(0)
		for range 20 {
			wake := m.Wake()
			longest, now = max(longest, wake.Sub(now)), wake
			m.Tick(now)
		}
		if longest > most || longest < most*8/10 {
			t.Errorf("a bound of %d s: the longest pause is %v, want %v", seconds, longest, most)
		}
	}
}

// The offer that has all that is wanted is taken, then the preferred one, then the first; one of the highest
// preference at once.
func TestChoosesOffer(t *testing.T) {
	half, preferred := offer, offer
	half.prefixes, half.preference = nil, 200
	half.server, preferred.server, preferred.preference = 1, 2, 7
	other := offer
	other.server = 3
	for name, tt := range map[string]struct {
		offers []reply
		want   byte
	}{
		"all before half":       {[]reply{half, other}, 3},
		"preferred":             {[]reply{other, preferred}, 2},
		"the first":             {[]reply{other, offer}, 3},
		"half, if all there is": {[]reply{half}, 1},
	} {
		m := machine(both)
		sent := m.Start(start)
		for _, o := range tt.offers {
			receive(t, m, start, o.to(sent[0]))
		}
		request := m.Tick(m.Wake())
		if server := request[0].GetOneOption(dhcpv6.OptionServerID).ToBytes(); server[9] != tt.want {
			t.Errorf("%s: it requests of server %d, want %d", name, server[9], tt.want)
		}
	}
	m := machine(both)
	sent := m.Start(start)
	best := offer
	best.preference = 255
	if got := kinds(receive(t, m, start, best.to(sent[0]))); got != "REQUEST" {
		t.Errorf("with the highest preference it sends %q", got)
	}
}

// Renew at T1, Rebind at T2, and again from the beginning when nothing is left.
func TestUntilTheEnd(t *testing.T) {
	m, now := bound(t)
	var story []string
	for range 60 {
		now = m.Wake()
		sent := kinds(m.Tick(now))
		if n := len(story); sent != "" && (n == 0 || story[n-1] != sent) {
			story = append(story, sent)
		}
		if m.Lease() == nil {
			break
		}
	}
	if want := []string{"RENEW", "REBIND", "SOLICIT"}; !slices.Equal(story, want) {
		t.Errorf("it sends %v, want %v", story, want)
	}
	if !now.Equal(start.Add(2*time.Hour+now.Sub(now))) && now.Sub(start) > 2*time.Hour+2*time.Second {
		t.Errorf("the lease ended after %v", now.Sub(start))
	}
}

// What a server takes back with a lifetime of 0 is gone, what it does not name stays.
func TestChangedPrefix(t *testing.T) {
	m, _ := bound(t)
	now := m.Wake()
	sent := m.Tick(now)
	other := netip.MustParsePrefix("2001:db8:1:200::/56")
	answer := reply{kind: dhcpv6.MessageTypeReply, prefixes: []netip.Prefix{other}, preferred: time.Hour, valid: time.Hour}.to(sent[0])
	answer.Options.OneIAPD().Options.Add(&dhcpv6.OptIAPrefix{
		Prefix: &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(56, 128)},
	})
	receive(t, m, now, answer)
	l := m.Lease()
	if len(l.Prefixes) != 1 || l.Prefixes[0].Prefix != other || len(l.Addresses) != 1 {
		t.Errorf("it has %v and %v", l.Prefixes, l.Addresses)
	}
}

// After a restart, or with another link: Rebind where there is a prefix, Confirm where there is none; without
// an answer the lease goes on, with a refusal it does not.
func TestConfirms(t *testing.T) {
	restored := func(prefixes bool) *dhcp6.Machine {
		l := &dhcp6.Lease{
			Server:    []byte{0, 3, 0, 1, 2, 0, 0, 0, 0, 9},
			Addresses: []dhcp6.Lent{{Prefix: netip.PrefixFrom(address, 128), Valid: start.Add(time.Hour)}},
			Renew:     start.Add(20 * time.Minute), Rebind: start.Add(30 * time.Minute),
		}
		wish := dhcp6.Wish{Address: true}
		if prefixes {
			l.Prefixes, wish = []dhcp6.Lent{{Prefix: prefix, Valid: start.Add(time.Hour)}}, both
		}
		m := machine(wish)
		m.Restore(l)
		return m
	}
	if got := kinds(restored(true).Start(start)); got != "REBIND" {
		t.Errorf("with a prefix it sends %s", got)
	}
	m := restored(false)
	sent := m.Start(start)
	if kinds(sent) != "CONFIRM" || m.Confirmed() {
		t.Errorf("with an address it sends %s", kinds(sent))
	}
	receive(t, m, start, reply{kind: dhcpv6.MessageTypeReply}.to(sent[0]))
	if state, _ := m.State(); state != dhcp6.Bound || !m.Confirmed() {
		t.Errorf("confirmed, it is %s", state)
	}
	m = restored(false)
	sent = m.Start(start)
	next := receive(t, m, start, reply{kind: dhcpv6.MessageTypeReply, status: iana.StatusNotOnLink}.to(sent[0]))
	if kinds(next) != "SOLICIT" || m.Lease() != nil {
		t.Errorf("of another link, it sends %s and has %v", kinds(next), m.Lease())
	}
	m = restored(false)
	m.Start(start)
	for range 20 {
		if state, _ := m.State(); state == dhcp6.Bound {
			break
		}
		m.Tick(m.Wake())
	}
	if state, _ := m.State(); state != dhcp6.Bound || m.Lease() == nil || m.Confirmed() {
		t.Errorf("without an answer it is %s with %v", state, m.Lease())
	}
}

// A server that does not know the lease is asked for it anew; one that has nothing leaves us with nothing.
func TestRefusals(t *testing.T) {
	m, _ := bound(t)
	now := m.Wake()
	sent := m.Tick(now)
	unknown := reply{kind: dhcpv6.MessageTypeReply, server: 7, ia: iana.StatusNoBinding}
	next := receive(t, m, now, unknown.to(sent[0]))
	if kinds(next) != "REQUEST" || m.Lease() == nil {
		t.Errorf("not known, it sends %s and has %v", kinds(next), m.Lease())
	}
	if server := next[0].GetOneOption(dhcpv6.OptionServerID).ToBytes(); server[9] != 7 {
		t.Errorf("it asks server %d", server[9])
	}
	m = machine(both)
	sent = m.Start(start)
	if _, err := m.Receive(start, reply{kind: dhcpv6.MessageTypeAdvertise, ia: iana.StatusNoPrefixAvail}.to(sent[0])); err == nil {
		t.Error("an offer of nothing is taken")
	}
	if _, why := m.State(); !strings.Contains(why, "no prefix (NoPrefixAvail)") {
		t.Errorf("it says %q", why)
	}
}

// What is not for us, or makes no sense, changes nothing.
func TestStrangers(t *testing.T) {
	m, now := bound(t)
	before := m.Lease()
	sent := m.Tick(m.Wake())
	wrong := given.to(sent[0])
	wrong.TransactionID[0]++
	theirs := given.to(sent[0])
	theirs.UpdateOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionClientID, OptionData: append([]byte{0, 4}, slices.Repeat([]byte{9}, 16)...)})
	for name, r := range map[string]*dhcpv6.Message{"of another conversation": wrong, "for another client": theirs} {
		if next, err := m.Receive(now, r); err != nil || next != nil || m.Lease() != before {
			t.Errorf("%s: %v, %v", name, next, err)
		}
	}
	for name, r := range map[string]reply{
		"preferred beyond its end": {kind: dhcpv6.MessageTypeReply, addresses: []netip.Addr{netip.MustParseAddr("2001:db8::66")}, preferred: 2 * time.Hour, valid: time.Hour},
		"of the link":              {kind: dhcpv6.MessageTypeReply, addresses: []netip.Addr{netip.MustParseAddr("fe80::66")}, preferred: time.Hour, valid: time.Hour},
		"too long a prefix":        {kind: dhcpv6.MessageTypeReply, prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:9::/65")}, preferred: time.Hour, valid: time.Hour},
		"too short a prefix":       {kind: dhcpv6.MessageTypeReply, prefixes: []netip.Prefix{netip.MustParsePrefix("2001::/31")}, preferred: time.Hour, valid: time.Hour},
		"all of IPv6":              {kind: dhcpv6.MessageTypeReply, prefixes: []netip.Prefix{netip.MustParsePrefix("::/0")}, preferred: time.Hour, valid: time.Hour},
	} {
		m, now := bound(t)
		sent := m.Tick(m.Wake())
		_, _ = m.Receive(now, r.to(sent[0]))
		if l := m.Lease(); l == nil || len(l.Addresses) != 1 || len(l.Prefixes) != 1 {
			t.Errorf("%s: it has %+v", name, l)
		}
	}
}

// A confirmation that has to wait, while the lease turns out not to be known, kept a core busy: the machine wanted
// to be woken up in the past until the server answered.
func TestConfirmsNothingWhileRequesting(t *testing.T) {
	m, now := bound(t)
	now = now.Add(10 * time.Second)
	sent := m.Confirm(now, 1)
	m.Confirm(now.Add(time.Second), 2)
	unknown := reply{kind: dhcpv6.MessageTypeReply, ia: iana.StatusNoBinding}
	if next := receive(t, m, now.Add(time.Second), unknown.to(sent[0])); kinds(next) != "REQUEST" {
		t.Fatalf("it sends %s", kinds(next))
	}
	for range 20 {
		wake := m.Wake()
		m.Tick(wake)
		if !m.Wake().After(wake) {
			t.Fatalf("woken up at %v, it wants that again", wake.Sub(now))
		}
	}
}

// Whoever asks for the lease anew, or for something else, need not wait for the pause of an hour.
func TestAsksAnew(t *testing.T) {
	m := machine(both)
	m.Start(start)
	now := start
	for range 20 {
		now = m.Wake()
		m.Tick(now)
	}
	if got := kinds(m.Confirm(now.Add(10*time.Second), 1)); got != "SOLICIT" {
		t.Errorf("asked for a lease, it sends %q", got)
	}
	if got := kinds(m.Wishes(now.Add(20*time.Second), dhcp6.Wish{Prefix: true})); got != "SOLICIT" {
		t.Errorf("asked for something else, it sends %q", got)
	}
}

// Giving back, and an address that another host has.
func TestReleaseAndDecline(t *testing.T) {
	m, now := bound(t)
	if got := kinds(m.Release(now)); got != "RELEASE" || m.Lease() != nil {
		t.Errorf("it sends %s and has %v", got, m.Lease())
	}
	m, now = bound(t)
	if got := kinds(m.Decline(now, address)); got != "DECLINE REBIND" || len(m.Lease().Addresses) != 0 || len(m.Lease().Prefixes) != 1 {
		t.Errorf("it sends %s and has %v", got, m.Lease())
	}
	m, now = bound(t)
	if got := m.Decline(now, netip.MustParseAddr("2001:db8::1")); got != nil {
		t.Errorf("for an address of another's it sends %s", kinds(got))
	}
	m, now = bound(t)
	if got := kinds(m.Suspended(now, 3*time.Hour)); got == "" {
		t.Error("after a long sleep it asks nobody")
	}
	m.Tick(now)
	if m.Lease() != nil {
		t.Error("after a sleep beyond its end it has the lease still")
	}
}

// Whatever happens at random, it never stops waking up with a lease or a link, and has no lease that is over.
func TestAtRandom(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 6))
		m := dhcp6.NewMachine(random.Uint32)
		m.Adapt(identity, dhcp6.Wish{Address: random.IntN(2) == 0, Prefix: true})
		now := start
		last := m.Start(now)
		for range 200 {
			var sent []*dhcpv6.Message
			switch random.IntN(8) {
			case 0:
				sent = m.Confirm(now, random.IntN(4))
			case 1, 2:
				r := []reply{offer, given, {kind: dhcpv6.MessageTypeReply, ia: iana.StatusNoBinding}, {kind: dhcpv6.MessageTypeReply, status: iana.StatusUnspecFail}}[random.IntN(4)]
				if len(last) > 0 {
					sent, _ = m.Receive(now, r.to(last[len(last)-1]))
				}
			case 3:
				sent = m.Wishes(now, dhcp6.Wish{Address: random.IntN(2) == 0, Prefix: random.IntN(2) == 0})
			case 4:
				sent = m.Suspended(now, time.Duration(random.Int64N(int64(time.Hour))))
			default:
				if wake := m.Wake(); !wake.IsZero() {
					now = wake
				}
				sent = m.Tick(now)
			}
			if len(sent) > 0 {
				last = sent
			}
			m.Tick(now)
			if l := m.Lease(); l != nil && !l.Expire().IsZero() && !now.Before(l.Expire()) {
				t.Fatalf("seed %d: a lease that is over", seed)
			}
			if wake := m.Wake(); wake.IsZero() {
				state, why := m.State()
				t.Fatalf("seed %d: it will never wake up again: %s, %s", seed, state, why)
			} else if !wake.After(now) {
				state, why := m.State()
				t.Fatalf("seed %d: it wants to be woken up %v ago: %s, %s", seed, now.Sub(wake), state, why)
			}
		}
	}
}

type clock struct{}

func (clock) BootID() string           { return "b" }
func (clock) SinceBoot() time.Duration { return time.Hour }

// A lease outlives the process, and no longer than it is in force.
func TestStore(t *testing.T) {
	spec := dhcp6.Spec{Interface: "eth1", MAC: "02:00:00:00:00:01"}
	files := dhcp6.Files{Dir: t.TempDir(), Clock: clock{}}
	now := time.Now()
	lease := &dhcp6.Lease{
		Server: []byte{1, 2}, DNS: []netip.Addr{address}, Renew: now.Add(time.Minute), Rebind: now.Add(2 * time.Minute),
		Addresses: []dhcp6.Lent{{Prefix: netip.PrefixFrom(address, 128)}},
		Prefixes:  []dhcp6.Lent{{Prefix: prefix, Preferred: now.Add(time.Hour), Valid: now.Add(2 * time.Hour)}},
	}
	if err := files.Save(spec, lease); err != nil {
		t.Fatal(err)
	}
	got, err := files.Load(spec)
	if err != nil || got == nil || len(got.Addresses) != 1 || !got.Addresses[0].Valid.IsZero() ||
		got.Prefixes[0].Valid.Sub(now.Add(2*time.Hour)).Abs() > time.Second {
		t.Fatalf("%+v, %v", got, err)
	}
	other := spec
	other.MAC = "02:00:00:00:00:02"
	if got, err := files.Load(other); got != nil || err == nil {
		t.Errorf("of another interface: %v, %v", got, err)
	}
	if err := files.Save(spec, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := files.Load(spec); got != nil || err != nil {
		t.Errorf("forgotten: %v, %v", got, err)
	}
}

func FuzzLease6File(f *testing.F) {
	f.Add([]byte(`{"interface":"eth1","mac":"02:00:00:00:00:01","boot_id":"b","server":"AQI=","addresses":[{"prefix":"2001:db8::1/128"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		spec := dhcp6.Spec{Interface: "eth1", MAC: "02:00:00:00:00:01"}
		files := dhcp6.Files{Dir: t.TempDir(), Clock: clock{}}
		if err := os.WriteFile(filepath.Join(files.Dir, "lease-eth1-6.json"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		lease, err := files.Load(spec)
		if err != nil && lease != nil {
			t.Error("a lease and an error")
		}
		if lease != nil && len(lease.Addresses)+len(lease.Prefixes) == 0 {
			t.Error("a lease of nothing")
		}
	})
}

// What any server on the link may send, in answer to each message.
func FuzzMessage6(f *testing.F) {
	m := machine(both)
	sent := m.Start(start)
	f.Add(offer.to(sent[0]).ToBytes(), given.to(sent[0]).ToBytes())
	f.Fuzz(func(t *testing.T, first, second []byte) {
		m := machine(both)
		m.Start(start)
		now := start
		for _, b := range [][]byte{first, second} {
			r, err := dhcpv6.MessageFromBytes(b)
			if err != nil {
				return
			}
			_, _ = m.Receive(now, r)
			if wake := m.Wake(); !wake.IsZero() && wake.After(now) {
				now = wake
			}
			m.Tick(now)
		}
		if l := m.Lease(); l != nil {
			for _, x := range slices.Concat(l.Addresses, l.Prefixes) {
				if !x.Prefix.Addr().IsGlobalUnicast() || fmt.Sprint(x.Prefix) == "invalid Prefix" {
					t.Errorf("it has been lent %s", x.Prefix)
				}
			}
		}
	})
}
