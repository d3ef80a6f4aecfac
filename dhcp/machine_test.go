package dhcp_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"uplinkd/dhcp"
)

// A trial drives a machine at random and watches its promises.
type trial struct {
	t       *testing.T
	random  *rand.Rand
	machine *dhcp.Machine
	now     time.Time
	last    *dhcpv4.DHCPv4 // what the machine sent last
	arps    int
	steps   []string
}

func newTrial(t *testing.T, seed uint64) *trial {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 7))
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	tr := &trial{t: t, random: random, now: time.Unix(1_700_000_000, 0), machine: dhcp.NewMachine(random.Uint32)}
	tr.machine.Adapt(dhcp.Identity{MAC: hw}, true, dhcp.AddressCheck(seed%3))
	return tr
}

func (tr *trial) failf(format string, args ...any) {
	tr.t.Helper()
	tr.t.Fatalf("%s\nafter %v", fmt.Sprintf(format, args...), tr.steps[max(0, len(tr.steps)-12):])
}

// took looks at what a step led to.
func (tr *trial) took(step string, actions []dhcp.Action) {
	tr.t.Helper()
	state, _ := tr.machine.State()
	tr.steps = append(tr.steps, fmt.Sprintf("%s at %v: %v", step, tr.now.Format("15:04:05.000"), state))
	for _, a := range actions {
		if a.ARP != nil {
			tr.arps++
			continue
		}
		tr.last = a.Message
		if len(a.Message.ToBytes()) > 1500 {
			tr.failf("a message of %d bytes", len(a.Message.ToBytes()))
		}
		if a.To.IsValid() && a.Message.MessageType() == dhcpv4.MessageTypeDiscover {
			tr.failf("a DISCOVER by unicast")
		}
	}
	lease := tr.machine.Lease()
	if lease != nil && !lease.Infinite() && tr.now.After(lease.Expire) {
		tr.failf("the lease %s is kept past its end", lease.Prefix)
	}
	if state == dhcp.Bound && lease == nil {
		tr.failf("bound to nothing")
	}
	if wake := tr.machine.Wake(); state != dhcp.Off && wake.IsZero() && (lease == nil || !lease.Infinite()) {
		tr.failf("asleep for ever in state %v", state)
	}
}

// reply answers the last message, rightly or not.
func (tr *trial) reply() *dhcpv4.DHCPv4 {
	if tr.last == nil {
		return nil
	}
	seconds := []uint32{0, 1, 5, 10, 60, 3600, 86400, 1<<32 - 2, 1<<32 - 1}[tr.random.IntN(9)]
	address := []string{"203.0.113.5", "203.0.113.6", "10.1.2.3", "0.0.0.0", "255.255.255.255", "224.0.0.9"}[tr.random.IntN(6)]
	m := ack(tr.last, address, seconds)
	switch tr.random.IntN(6) {
	case 0:
		m = nak(tr.last)
	case 1:
		m.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageType(tr.random.IntN(20))))
	case 2:
		codes := []uint8{1, 3, 6, 12, 15, 26, 33, 51, 54, 58, 59, 119, 121, 249}
		garbage := make([]byte, tr.random.IntN(255))
		for i := range garbage {
			garbage[i] = byte(tr.random.Uint32())
		}
		m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(codes[tr.random.IntN(len(codes))]), garbage))
	case 3:
		m.TransactionID[0]++
	}
	return m
}

// claim is somebody's ARP packet.
func (tr *trial) claim() dhcp.ARP {
	address := []string{"203.0.113.5", "203.0.113.6", "0.0.0.0"}
	return dhcp.ARP{
		Reply: tr.random.IntN(2) == 0, SenderMAC: [6]byte{2, 0, 0, 0, 0, byte(tr.random.IntN(3))},
		Sender: netip.MustParseAddr(address[tr.random.IntN(3)]), Target: netip.MustParseAddr(address[tr.random.IntN(3)]),
	}
}

// Whatever comes, in whatever order: no panic, no address past its lease, no
// state that sleeps for ever, and no sending faster than a person would bear.
func TestMachineAtRandom(t *testing.T) {
	for seed := range uint64(300) {
		tr := newTrial(t, seed)
		sent := 0
		begun := tr.now
		links := 0
		for range 400 {
			switch tr.random.IntN(13) {
			case 12:
				actions, _ := tr.machine.ReceiveARP(tr.now, tr.claim())
				tr.took("claim", actions)
			case 0:
				links++
				tr.took("link up", tr.machine.Start(tr.now, seed%2 == 0))
			case 1:
				tr.machine.Stop("link down")
				tr.took("link down", nil)
			case 2:
				tr.took("doubt", tr.machine.Confirm(tr.now, tr.random.IntN(5)))
			case 3:
				if tr.random.IntN(10) == 0 {
					tr.took("release", tr.machine.Release(tr.now))
				}
			case 4, 5, 6:
				if m := tr.reply(); m != nil {
					parsed, err := dhcpv4.FromBytes(m.ToBytes())
					if err != nil {
						continue
					}
					actions, _ := tr.machine.Receive(tr.now, parsed)
					tr.took("message", actions)
				}
			case 7:
				tr.now = tr.now.Add(time.Duration(tr.random.Int64N(int64(2 * time.Hour))))
				tr.took("long after", tr.machine.Tick(tr.now))
			default:
				if wake := tr.machine.Wake(); wake.After(tr.now) {
					tr.now = wake
				}
				actions := tr.machine.Tick(tr.now)
				for _, a := range actions {
					if a.Message != nil {
						sent++
					}
				}
				tr.took("tick", actions)
			}
			tr.now = tr.now.Add(time.Millisecond)
		}
		// Of its own accord, with nobody answering and no link event, a client sends
		// once in three seconds at the most (RFC 2131 section 4.1: 4 s less 1).
		span := tr.now.Sub(begun)
		if most := int(span/(3*time.Second)) + 3*links + 400; sent > most {
			t.Errorf("seed %d: %d messages in %v", seed, sent, span)
		}
	}
}

// With a server that is silent, at any time of the client's life, no two
// messages of its own accord lie closer together than the RFC allows.
func TestMachineNeverHurries(t *testing.T) {
	for seed := range uint64(200) {
		tr := newTrial(t, seed)
		tr.took("link up", tr.machine.Start(tr.now, seed%2 == 0))
		if tr.random.IntN(2) == 0 {
			for range 2 { // an offer and an acknowledgement, of a lease of some length
				m := ack(tr.last, "203.0.113.5", []uint32{10, 60, 3600, 86400}[tr.random.IntN(4)])
				actions, _ := tr.machine.Receive(tr.now, m)
				tr.took("message", actions)
			}
		}
		var before time.Time
		state, _ := tr.machine.State()
		for range 60 {
			tr.now = tr.machine.Wake()
			actions := tr.machine.Tick(tr.now)
			tr.took("tick", actions)
			was := state
			state, _ = tr.machine.State()
			if !slices.ContainsFunc(actions, func(a dhcp.Action) bool { return a.Message != nil }) {
				continue
			}
			gap := tr.now.Sub(before)
			least := 3 * time.Second
			if was == state && (state == dhcp.Renewing || state == dhcp.Rebinding) {
				least = time.Minute
			}
			if was != state {
				least = 0 // another state: not a repetition
			}
			if !before.IsZero() && gap < least {
				t.Fatalf("seed %d: %v after the last message in state %v: %v", seed, gap, state, tr.steps)
			}
			before = tr.now
		}
	}
}

// Bytes from the network go through the codec and the machine in every state.
func FuzzMachine(f *testing.F) {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		f.Fatal(err)
	}
	fresh := func() (*dhcp.Machine, *dhcpv4.DHCPv4) {
		m := dhcp.NewMachine(func() uint32 { return 0x01020304 })
		m.Adapt(dhcp.Identity{MAC: hw}, true, dhcp.CheckNone)
		return m, m.Start(time.Unix(1_700_000_000, 0), true)[0].Message
	}
	_, discover := fresh()
	f.Add(ack(discover, "203.0.113.5", hour).ToBytes(), ack(discover, "203.0.113.5", hour).ToBytes())
	f.Add(nak(discover).ToBytes(), []byte{})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		m, _ := fresh()
		now := time.Unix(1_700_000_000, 0)
		for _, b := range [][]byte{first, second, first} {
			parsed, err := dhcpv4.FromBytes(b)
			if err != nil {
				continue
			}
			_, _ = m.Receive(now, parsed)
			if l := m.Lease(); l != nil && (!l.Prefix.Addr().Is4() || l.Prefix.Addr().IsMulticast() || l.Prefix.Addr().IsLoopback() ||
				!l.Infinite() && !l.Expire.After(now)) {
				t.Errorf("took %+v", l)
			}
		}
	})
}

func FuzzARP(f *testing.F) {
	valid := dhcp.ARP{Sender: serverIP, Target: routerIP, SenderMAC: [6]byte{2, 3, 4, 5, 6, 7}, Reply: true}
	f.Add(valid.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := dhcp.ParseARP(b)
		if err != nil {
			return
		}
		if again, err := dhcp.ParseARP(a.Bytes()); err != nil || again != a {
			t.Errorf("%+v became %+v, %v", a, again, err)
		}
	})
}

func FuzzUnwrap(f *testing.F) {
	f.Add([]byte{0x45, 0, 0, 28})
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = dhcp.Unwrap(b) })
}
