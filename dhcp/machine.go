package dhcp

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Retransmission (RFC 2131 sections 4.1 and 4.4.5).
const (
	firstRetry   = 4 * time.Second
	mostRetry    = 64 * time.Second
	retryJitter  = time.Second      // plus or minus
	leastRenewal = 60 * time.Second // between two renewals or rebindings
	requestTries = 4                // then it is DISCOVER again
	// rebootSilence is how long an INIT-REBOOT waits. Many servers say nothing to
	// a client they do not know.
	rebootSilence = 3 * time.Second
	leastConfirm  = 5 * time.Second // between two questions about a lease in force
	nakFirst      = time.Second     // pause after the second NAK in a row; doubles
)

// An Action is something the machine wants sent: a message, or an ARP packet.
type Action struct {
	Message *dhcpv4.DHCPv4
	To      netip.Addr // not valid: broadcast
	From    netip.Addr // not valid: 0.0.0.0, as long as the client has no address (RFC 2131 section 4.1)
	ARP     *ARP       // broadcast
}

// A Machine is the client's state. It is pure: what it does follows from what
// it is given, the time included. Its zero value is not ready; see NewMachine.
type Machine struct {
	identity   Identity
	wantRouter bool
	check      AddressCheck
	random     func() uint32

	state State
	lease *Lease // the one in force, in every state
	acked bool   // a server has given or confirmed it to this process
	why   string // the reason for the last change

	xid    dhcpv4.TransactionID
	began  time.Time  // when this transaction's first message was sent
	secs   uint16     // of the last DISCOVER
	moved  bool       // the link may be another than when the lease was confirmed
	shun   netip.Addr // a server that offered, and then fell silent
	asked  time.Time  // when the request was sent that an acknowledgement answers
	offer  *Lease     // what is being requested or probed
	wake   time.Time  // when Tick is to be called; zero: never
	giveUp time.Time  // of INIT-REBOOT
	tries  int        // messages sent in this state
	naks   int        // in a row
	doubts int        // in which way to ask once leastConfirm is over; 0: not

	conflicts  int  // declined in a row
	unasked    bool // what is being probed is a kept lease that no server has confirmed
	probed     bool // nobody had the address of the lease in force when it was asked about
	announces  int  // still to be sent
	announceAt time.Time
	defended   time.Time // when the address in force was last defended
	claimed    time.Time // when another host last claimed it
	complained time.Time
	rival      Conflict
}

// NewMachine returns a machine that is off. random gives numbers for
// transaction ids and jitter. Adapt must follow.
func NewMachine(random func() uint32) *Machine { return &Machine{random: random} }

// Restore gives the machine a lease of an earlier process. Start then confirms
// it, by INIT-REBOOT.
func (m *Machine) Restore(lease *Lease) { m.lease, m.acked, m.probed = lease, false, false }

// Confirmed reports whether a server has given or confirmed the lease in force
// to this machine, rather than to one before it.
func (m *Machine) Confirmed() bool { return m.acked }

// Adapt says who the client is from now on, whether it wants to be told the
// router, and how it asks about an address before it uses it. A lease in force
// stays so; Start has it confirmed under another identity.
func (m *Machine) Adapt(identity Identity, wantRouter bool, check AddressCheck) {
	m.identity, m.wantRouter, m.check = identity, wantRouter, check
}

// State returns the state, and the reason it last changed.
func (m *Machine) State() (State, string) { return m.state, m.why }

// Lease returns the lease in force, nil when there is none.
func (m *Machine) Lease() *Lease { return m.lease }

// Wake returns when Tick wants to be called, zero for never.
func (m *Machine) Wake() time.Time {
	wake := m.wake
	if m.lease != nil && !m.lease.Infinite() {
		wake = first(wake, m.lease.Expire)
	}
	if m.lease != nil && m.announces > 0 {
		wake = first(wake, m.announceAt)
	}
	if m.rival != (Conflict{}) {
		wake = first(wake, m.claimed.Add(conflictQuiet))
	}
	if m.doubts > 0 {
		wake = first(wake, m.asked.Add(leastConfirm))
	}
	return wake
}

// first returns the earlier of two times, of which zero means never.
func first(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (m *Machine) enter(s State, why string) {
	m.state, m.why, m.tries, m.wake, m.offer, m.doubts = s, why, 0, time.Time{}, nil, 0
}

// Start begins to work on a link that is up. With a lease still in force that
// one is confirmed first, by INIT-REBOOT, and stays in use meanwhile. moved says
// that the link may be another than when that was last done: then its address is
// asked about too.
func (m *Machine) Start(now time.Time, moved bool) []Action {
	m.moved = moved || !m.acked
	if m.lease == nil {
		return m.discover(now, "the link is up")
	}
	m.enter(InitReboot, "the link is up: confirming the lease")
	m.newTransaction(now)
	m.giveUp = now.Add(rebootSilence)
	m.wake = m.giveUp
	return m.broadcast(m.message(dhcpv4.MessageTypeRequest, now, requested(m.lease.Prefix.Addr())))
}

// Stop stops sending, as on a link that is down. The lease stays in force until
// it ends.
func (m *Machine) Stop(why string) {
	m.enter(Off, why)
	m.announces = 0
}

// Release gives the lease back and stops (RFC 2131 section 4.4.6).
func (m *Machine) Release(now time.Time) []Action {
	lease := m.lease
	m.lease = nil
	m.enter(Off, "released")
	if lease == nil {
		return nil
	}
	m.newTransaction(now)
	release := m.message(dhcpv4.MessageTypeRelease, now,
		dhcpv4.WithClientIP(lease.Prefix.Addr().AsSlice()), server(lease.Server))
	return []Action{{Message: release, From: lease.Prefix.Addr(), To: lease.Server}}
}

// Suspended says that the machine was suspended for d: the lease is that much
// nearer its end, and on a link that is up it is confirmed at once, for the
// network may be another (RFC 2131 section 3.7).
func (m *Machine) Suspended(now time.Time, d time.Duration) []Action {
	if m.lease == nil {
		if m.state == Off {
			return nil
		}
		return m.discover(now, "the machine was suspended")
	}
	if !m.lease.Infinite() {
		earlier := *m.lease // the old one has been handed out
		earlier.Renew, earlier.Rebind = m.lease.Renew.Add(-d), m.lease.Rebind.Add(-d)
		earlier.Expire = m.lease.Expire.Add(-d)
		m.lease = &earlier
		if !now.Before(earlier.Expire) {
			return m.Tick(now)
		}
	}
	if m.state == Off {
		return nil
	}
	actions := m.Start(now, true)
	m.why = "the machine was suspended: confirming the lease"
	return actions
}

// Tick lets the time pass. It is to be called at Wake, and may be at any time.
func (m *Machine) Tick(now time.Time) []Action {
	if m.lease != nil && !m.lease.Infinite() && !now.Before(m.lease.Expire) {
		m.lease = nil
		if m.state == Off {
			m.why = "the lease has expired"
			return nil
		}
		if m.state >= Bound || m.state == InitReboot {
			return m.discover(now, "the lease has expired")
		}
	}
	if m.state == Checking && !m.offer.Infinite() && !now.Before(m.offer.Expire) {
		return m.discover(now, "the lease expired before it was used")
	}
	if m.rival != (Conflict{}) && now.Sub(m.claimed) >= conflictQuiet {
		m.rival, m.claimed = Conflict{}, time.Time{}
	}
	return m.work(now)
}

// work does what is due by now.
func (m *Machine) work(now time.Time) []Action {
	if m.doubts > 0 && now.Sub(m.asked) >= leastConfirm {
		return m.Confirm(now, m.doubts)
	}
	actions := m.announce(now)
	if m.wake.IsZero() || now.Before(m.wake) {
		return actions
	}
	return append(actions, m.due(now)...)
}

// due does what the state does when its time has come.
func (m *Machine) due(now time.Time) []Action {
	switch m.state {
	case Init, Selecting:
		return m.sendDiscover(now)
	case InitReboot:
		if m.acked || m.check == CheckNone {
			return m.discover(now, "no server confirmed the lease")
		}
		// It may serve all the same, but not where another host has it by now.
		actions := m.checkAddress(now, m.lease)
		m.unasked = true
		m.why = fmt.Sprintf("no server answered: asking whether another host has %s by now", m.lease.Prefix.Addr())
		return actions
	case Requesting:
		if m.tries >= requestTries {
			m.shun = m.offer.Server
			return m.discover(now, "the server fell silent after its offer")
		}
		return m.sendRequest(now)
	case Checking:
		return m.sendProbe(now)
	case Bound:
		m.enter(Renewing, "T1")
		return m.sendRenewal(now)
	case Renewing:
		if !now.Before(m.lease.Rebind) {
			m.enter(Rebinding, "T2: the server did not renew the lease")
		}
		return m.sendRenewal(now)
	case Rebinding:
		return m.sendRenewal(now)
	default:
		return nil
	}
}

// discover begins anew. A lease in force stays so.
func (m *Machine) discover(now time.Time, why string) []Action {
	m.enter(Selecting, why)
	m.newTransaction(now)
	return m.sendDiscover(now)
}

func (m *Machine) newTransaction(now time.Time) {
	x := m.random()
	m.xid = dhcpv4.TransactionID{byte(x >> 24), byte(x >> 16), byte(x >> 8), byte(x)}
	m.began, m.asked = now, now
}

func (m *Machine) sendDiscover(now time.Time) []Action {
	m.state = Selecting
	m.wake = now.Add(m.backoff())
	if m.tries > 1 {
		m.shun = netip.Addr{} // nobody else has offered anything
	}
	m.secs = m.elapsed(now)
	var wish []dhcpv4.Modifier
	if m.lease != nil {
		wish = append(wish, requested(m.lease.Prefix.Addr()))
	}
	return m.broadcast(m.message(dhcpv4.MessageTypeDiscover, now, wish...))
}

// sendRequest asks for what was offered. Its secs field and transaction id are the
// DISCOVER's (RFC 2131 section 3.1).
func (m *Machine) sendRequest(now time.Time) []Action {
	m.wake = now.Add(m.backoff())
	request := m.message(dhcpv4.MessageTypeRequest, now, requested(m.offer.Prefix.Addr()), server(m.offer.Server))
	request.NumSeconds = m.secs
	return m.broadcast(request)
}

// sendRenewal asks the server at first, later any, to prolong the lease, and
// waits half of what is left before it does again, but a minute at least. Each
// is a transaction of its own: a lease runs from when the request was sent that
// the answer belongs to, and these may lie hours apart.
func (m *Machine) sendRenewal(now time.Time) []Action {
	m.newTransaction(now)
	address := m.lease.Prefix.Addr()
	request := m.message(dhcpv4.MessageTypeRequest, now, dhcpv4.WithClientIP(address.AsSlice()))
	until := m.lease.Rebind
	action := Action{Message: request, From: address, To: m.lease.Server}
	if m.state == Rebinding {
		until = m.lease.Expire
		action = Action{Message: request, From: address}
	}
	m.tries++
	m.wake = now.Add(max(until.Sub(now)/2, leastRenewal))
	if m.state == Renewing && m.wake.After(until) {
		m.wake = until // to rebind, which is not a repetition
	}
	return []Action{action}
}

func (m *Machine) broadcast(message *dhcpv4.DHCPv4) []Action {
	return []Action{{Message: message}}
}

// backoff returns the time to the next repetition: 4 s, doubling to 64 s, each
// plus or minus up to one.
func (m *Machine) backoff() time.Duration {
	wait := min(firstRetry<<min(m.tries, 5), mostRetry)
	m.tries++
	return wait - retryJitter + time.Duration(m.random()%2001)*time.Millisecond
}
