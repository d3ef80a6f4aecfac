package dhcp

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// An AddressCheck says how an address is asked about on the link before it is used.
type AddressCheck uint8

// The checks.
const (
	// CheckQuick asks three times at intervals of 200 ms, and takes 600 ms. The
	// times of RFC 5227 are meant for links whose switches block for seconds; an
	// uplink that is out for that long costs more.
	CheckQuick AddressCheck = iota
	// CheckRFC5227 takes the times of RFC 5227 section 1.1: 4 to 7 s.
	CheckRFC5227
	// CheckNone uses an address at once.
	CheckNone
)

// A tempo is when the probes of a check are sent.
type tempo struct {
	before  time.Duration // up to so long before the first, at random
	between time.Duration
	spread  time.Duration // up to so much more between two, at random
	after   time.Duration // wait after the last
}

var tempos = map[AddressCheck]tempo{
	CheckQuick:   {between: 200 * time.Millisecond, after: 200 * time.Millisecond},
	CheckRFC5227: {before: time.Second, between: time.Second, spread: time.Second, after: 2 * time.Second},
}

// RFC 5227 section 1.1.
const (
	probeCount       = 3
	announceCount    = 2
	announceInterval = 2 * time.Second
	conflictsMost    = 10
	conflictPause    = time.Minute
	defendInterval   = 10 * time.Second
)

// conflictQuiet is after how long without a claim a conflict is over. So long also
// lies between two complaints about one.
const conflictQuiet = 10 * time.Minute

// declinePause is the wait after a DECLINE (RFC 2131 section 3.1).
const declinePause = 10 * time.Second

// A Conflict is another host that claims the address in force.
type Conflict struct {
	MAC string
	At  time.Time // when its claim was last taken note of
}

// Watches returns the address whose ARP the machine wants to hear, not valid
// when there is none.
func (m *Machine) Watches() netip.Addr {
	switch {
	case m.state == Checking:
		return m.offer.Prefix.Addr()
	case m.lease != nil:
		return m.lease.Prefix.Addr()
	}
	return netip.Addr{}
}

// Conflict returns the other host that goes on to claim the address in force though
// it was defended; zero: none has, for a while.
func (m *Machine) Conflict() Conflict { return m.rival }

// checkAddress asks the link whether another host has the address of lease, which a
// server has given (RFC 5227 section 2.1.1). A lease in force stays so meanwhile.
func (m *Machine) checkAddress(now time.Time, lease *Lease) []Action {
	m.enter(Checking, fmt.Sprintf("%s gives %s: asking whether another host has it", lease.Server, lease.Prefix))
	m.offer, m.unasked = lease, false
	m.wake = now.Add(m.upTo(tempos[m.check].before))
	return m.sendProbe(now)
}

// sendProbe sends the next probe when it is due, and after the last takes the
// lease into use.
func (m *Machine) sendProbe(now time.Time) []Action {
	if now.Before(m.wake) {
		return nil
	}
	if m.tries == probeCount {
		if m.unasked {
			m.probed, m.announces, m.announceAt = true, announceCount, now
			return append(m.announce(now), m.discover(now, "no server confirmed the lease")...)
		}
		return m.bind(now, m.offer)
	}
	m.tries++
	t := tempos[m.check]
	wait := t.after
	if m.tries < probeCount {
		wait = t.between + m.upTo(t.spread)
	}
	m.wake = now.Add(wait)
	return []Action{m.arp(netip.IPv4Unspecified(), m.offer.Prefix.Addr())}
}

// upTo returns a random time, d at most.
func (m *Machine) upTo(d time.Duration) time.Duration {
	if d == 0 {
		return 0
	}
	return time.Duration(m.random()) % (d + 1)
}

func (m *Machine) arp(sender, target netip.Addr) Action {
	return Action{ARP: &ARP{SenderMAC: [6]byte(m.identity.MAC), Sender: sender, Target: target}}
}

// announce sends one announcement of the address in force and plans the next
// (RFC 5227 section 2.3).
func (m *Machine) announce(now time.Time) []Action {
	if m.lease == nil || m.announces == 0 || now.Before(m.announceAt) {
		return nil
	}
	m.announces--
	m.announceAt = now.Add(announceInterval)
	address := m.lease.Prefix.Addr()
	return []Action{m.arp(address, address)}
}

// ReceiveARP takes an ARP packet in. Another host that answers for an address
// being probed, or probes for it too, is a conflict: the address is declined. One
// that claims the address in force is told off once; if that does not help, it
// is reported, and the address is kept (RFC 5227 section 2.4, c): whether it
// still serves, the uplink's probes tell.
func (m *Machine) ReceiveARP(now time.Time, a ARP) ([]Action, error) {
	if a.SenderMAC == [6]byte(m.identity.MAC) {
		return nil, nil
	}
	if m.state == Checking {
		address := m.offer.Prefix.Addr()
		if a.Sender == address || !a.Reply && a.Sender.IsUnspecified() && a.Target == address {
			return m.decline(now, a)
		}
	}
	if m.state == Off || m.lease == nil || !m.probed || a.Sender != m.lease.Prefix.Addr() {
		return nil, nil
	}
	return m.claim(now, a)
}

// claim deals with another host that claims the address in force.
func (m *Machine) claim(now time.Time, a ARP) (actions []Action, err error) {
	again := !m.claimed.IsZero() && now.Sub(m.claimed) < conflictQuiet
	m.claimed = now
	if m.defended.IsZero() || now.Sub(m.defended) >= defendInterval {
		m.defended = now
		actions = []Action{m.arp(a.Sender, a.Sender)}
	}
	if !again {
		return actions, nil
	}
	if mac := a.MAC().String(); m.rival.MAC != mac || now.Sub(m.rival.At) >= defendInterval {
		m.rival = Conflict{MAC: mac, At: now}
	}
	if m.complained.IsZero() || now.Sub(m.complained) >= conflictQuiet {
		m.complained = now
		err = fmt.Errorf("another host, %s, claims %s too: find it, or have the provider give another address",
			a.MAC(), a.Sender)
	}
	return actions, err
}

// decline tells the server that the address it gave is in use, and begins anew
// after a pause (RFC 2131 section 3.1).
func (m *Machine) decline(now time.Time, a ARP) ([]Action, error) {
	lease := m.offer
	if m.lease != nil && m.lease.Prefix.Addr() == lease.Prefix.Addr() {
		m.lease = nil
	}
	pause := declinePause
	if m.conflicts++; m.conflicts >= conflictsMost {
		pause = conflictPause
	}
	m.newTransaction(now)
	address := lease.Prefix.Addr()
	message := m.message(dhcpv4.MessageTypeDecline, now, requested(address), server(lease.Server))
	m.enter(Init, fmt.Sprintf("declined %s: %s has it", address, a.MAC()))
	m.wake = now.Add(pause)
	return m.broadcast(message),
		fmt.Errorf("the address %s of %s is in use by %s: declined", address, lease.Server, a.MAC())
}
