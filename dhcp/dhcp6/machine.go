package dhcp6

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
)

// A schedule is how a message is sent again until it is answered (RFC 8415 section 15).
type schedule struct {
	first, most time.Duration // pauses: each is about twice the one before
	tries       int           // 0: no bound
	limit       time.Duration // 0: no bound
}

// over reports whether a message is sent no more, after so many tries or so long.
func (s *schedule) over(tries int, since time.Duration) bool {
	return s.tries > 0 && tries >= s.tries || s.limit > 0 && since >= s.limit
}

// Schedules (RFC 8415 section 7.6).
var (
	soliciting = schedule{first: time.Second, most: time.Hour}
	requesting = schedule{first: time.Second, most: 30 * time.Second, tries: 10}
	confirming = schedule{first: time.Second, most: 4 * time.Second, limit: 10 * time.Second}
	renewing   = schedule{first: 10 * time.Second, most: 10 * time.Minute}
)

// leastConfirm is the least time between two questions about a lease in force.
const leastConfirm = 5 * time.Second

// Identity is who the client is to servers.
type Identity struct {
	DUID []byte
	IAID [4]byte
}

// A Wish is what is wanted of a server.
type Wish struct {
	Address, Prefix bool
	PrefixLength    int
}

// A Machine is the client's state. It is pure: what it does follows from what it is given, the time
// included. Its zero value is not ready; see NewMachine.
type Machine struct {
	identity Identity
	wish     Wish
	random   func() uint32

	state State
	lease *Lease // the one in force, in every state
	acked bool   // a server has given or confirmed it to this process
	why   string // the reason for the last change
	lacks string // what a server said it does not have

	xid      dhcpv6.TransactionID
	began    time.Time // of the conversation: its first message
	schedule schedule
	pause    time.Duration
	tries    int
	wake     time.Time     // when Tick is to be called; zero: never
	offer    *Lease        // the best so far, or what is being requested
	worth    int           // of it
	mostWait time.Duration // a server's own bound on soliciting (SOL_MAX_RT); 0: none
	asked    time.Time     // when the lease in force was last asked about
	doubts   int           // in which way to ask once leastConfirm is over; 0: not
}

// NewMachine returns a Machine that is off. random gives numbers for transaction ids and jitter.
func NewMachine(random func() uint32) *Machine { return &Machine{random: random} }

// Adapt says who the client is from now on, and what it wants.
func (m *Machine) Adapt(identity Identity, wish Wish) { m.identity, m.wish = identity, wish }

// Restore gives the machine a lease of an earlier process. Start then confirms it.
func (m *Machine) Restore(lease *Lease) { m.lease, m.acked = lease, false }

// State returns the state, and the reason it last changed.
func (m *Machine) State() (State, string) {
	if m.lacks != "" {
		return m.state, m.why + "; " + m.lacks
	}
	return m.state, m.why
}

// Lease returns the lease in force, nil when there is none.
func (m *Machine) Lease() *Lease { return m.lease }

// Confirmed reports whether a server has given or confirmed the lease in force to this machine.
func (m *Machine) Confirmed() bool { return m.acked }

// Wake returns when Tick wants to be called; zero: never.
func (m *Machine) Wake() time.Time {
	wake := m.wake
	sooner := func(t time.Time) {
		if !t.IsZero() && (wake.IsZero() || t.Before(wake)) {
			wake = t
		}
	}
	if m.lease != nil {
		for _, x := range slices.Concat(m.lease.Addresses, m.lease.Prefixes) {
			sooner(x.Valid)
		}
	}
	if m.doubts > 0 {
		sooner(m.asked.Add(leastConfirm))
	}
	return wake
}

// converse begins a conversation in a state.
func (m *Machine) converse(now time.Time, s State, how schedule, why string) []*dhcpv6.Message {
	m.state, m.why, m.schedule, m.offer, m.worth, m.doubts = s, why, how, nil, -1, 0
	if s == Soliciting && m.mostWait > 0 {
		m.schedule.most = m.mostWait
	}
	m.xid = m.newID()
	m.began, m.asked, m.tries, m.pause = now, now, 0, 0
	return m.send(now)
}

// send sends the message of the state, and says when it is to be sent again.
func (m *Machine) send(now time.Time) []*dhcpv6.Message {
	jitter := func(d time.Duration) time.Duration { // a tenth more or less
		return d - d/10 + time.Duration(m.random()%2001)*(d/10)/1000
	}
	switch {
	case m.pause == 0 && m.state == Soliciting:
		// Never shorter: offers are waited for that long (RFC 8415 section 18.2.1).
		m.pause = m.schedule.first + time.Duration(m.random()%1001)*m.schedule.first/10_000
	case m.pause == 0:
		m.pause = jitter(m.schedule.first)
	case 2*m.pause > m.schedule.most:
		m.pause = jitter(m.schedule.most)
	default:
		m.pause += jitter(m.pause)
	}
	m.tries++
	m.wake = now.Add(m.pause)
	return []*dhcpv6.Message{m.message(now)}
}

// Start begins to work on a link that is up. A lease still in force is confirmed first, and stays in
// use meanwhile: its addresses by Confirm, a prefix by Rebind (RFC 8415 section 18.2.12).
func (m *Machine) Start(now time.Time) []*dhcpv6.Message {
	switch {
	case m.lease == nil:
		return m.converse(now, Soliciting, soliciting, "the link is up")
	case len(m.lease.Prefixes) > 0 || m.lacksWish():
		return m.converse(now, Rebinding, confirming, "the link is up: confirming the lease")
	}
	return m.converse(now, Confirming, confirming, "the link is up: confirming the lease")
}

// lacksWish reports whether more is wanted than the lease in force has.
func (m *Machine) lacksWish() bool {
	return m.wish.Address && len(m.lease.Addresses) == 0 || m.wish.Prefix && len(m.lease.Prefixes) == 0
}

// Wishes takes another wish while the link stays up.
func (m *Machine) Wishes(now time.Time, w Wish) []*dhcpv6.Message {
	another := m.wish != w
	m.wish = w
	switch {
	case m.lease == nil && m.state == Soliciting && another:
		return m.converse(now, Soliciting, soliciting, "something else is wanted")
	case m.lease == nil || !m.lacksWish():
		return nil
	}
	return m.converse(now, Rebinding, confirming, "more is wanted than the lease has")
}

// Stop stops sending, as on a link that is down. The lease stays in force until it ends.
func (m *Machine) Stop(why string) {
	m.state, m.why, m.wake, m.offer, m.doubts = Off, why, time.Time{}, nil, 0
}

// Release gives the lease back and stops (RFC 8415 section 18.2.7).
func (m *Machine) Release(now time.Time) []*dhcpv6.Message {
	lease := m.lease
	m.Stop("released")
	if lease == nil {
		return nil
	}
	message := m.give(now, dhcpv6.MessageTypeRelease, lease)
	m.lease = nil
	return []*dhcpv6.Message{message}
}

// Decline says that another host on the link has an address (RFC 8415 section 18.2.8), and asks for another.
func (m *Machine) Decline(now time.Time, address netip.Addr) []*dhcpv6.Message {
	has := func(x Lent) bool { return x.Prefix.Addr() == address }
	if m.lease == nil || !slices.ContainsFunc(m.lease.Addresses, has) {
		return nil
	}
	declined := &Lease{Server: m.lease.Server, Addresses: []Lent{{Prefix: netip.PrefixFrom(address, 128)}}}
	message := m.give(now, dhcpv6.MessageTypeDecline, declined)
	rest := *m.lease
	rest.Addresses = slices.DeleteFunc(slices.Clone(rest.Addresses), has)
	why := fmt.Sprintf("another host has %s", address)
	if len(rest.Addresses) == 0 && len(rest.Prefixes) == 0 {
		m.lease = nil
		return append([]*dhcpv6.Message{message}, m.converse(now, Soliciting, soliciting, why)...)
	}
	m.lease = &rest
	return append([]*dhcpv6.Message{message}, m.converse(now, Rebinding, confirming, why)...)
}

// Suspended says that the machine was suspended for d: the lease is that much nearer its end, and on a
// link that is up it is confirmed at once.
func (m *Machine) Suspended(now time.Time, d time.Duration) []*dhcpv6.Message {
	if m.lease != nil {
		m.lease = m.lease.earlier(d)
	}
	if m.state == Off {
		return nil
	}
	return m.Start(now)
}

// Confirm asks about the lease in force: the server that gave it the first time, then any.
func (m *Machine) Confirm(now time.Time, count int) []*dhcpv6.Message {
	switch {
	case m.state == Soliciting && m.tries > 1 && now.Sub(m.asked) >= leastConfirm:
		return m.converse(now, Soliciting, soliciting, "asking anew")
	case m.lease == nil || m.state == Off || m.state == Soliciting || m.state == Requesting:
		m.doubts = 0
		return nil
	case now.Sub(m.asked) < leastConfirm:
		m.doubts = count
		return nil
	case count <= 1:
		return m.converse(now, Renewing, renewing, "asking about the lease")
	}
	return m.converse(now, Rebinding, renewing, "asking any server about the lease")
}

// Tick lets the time pass. It is to be called at Wake, and may be at any time.
func (m *Machine) Tick(now time.Time) []*dhcpv6.Message {
	if m.lease != nil {
		m.lease = m.lease.at(now)
		if m.lease == nil {
			m.acked = false
			if m.state == Off {
				m.why = "the lease has expired"
				return nil
			}
			return m.converse(now, Soliciting, soliciting, "the lease has expired")
		}
	}
	if m.doubts > 0 && now.Sub(m.asked) >= leastConfirm {
		return m.Confirm(now, m.doubts)
	}
	if m.wake.IsZero() || now.Before(m.wake) {
		return nil
	}
	return m.due(now)
}

// due does what the state does when its time has come.
func (m *Machine) due(now time.Time) []*dhcpv6.Message {
	over := m.schedule.over(m.tries, now.Sub(m.began))
	switch m.state {
	case Off:
		return nil
	case Soliciting:
		if m.offer != nil {
			return m.request(now, "a server has offered a lease")
		}
	case Requesting:
		if over {
			return m.converse(now, Soliciting, soliciting, "the server fell silent after its offer")
		}
	case Confirming, Rebinding:
		if over && m.lease != nil { // it may serve all the same (RFC 8415 section 18.2.3)
			m.bound(now, "nobody answered: going on with the lease")
			return nil
		}
	case Bound:
		return m.converse(now, Renewing, renewing, "T1")
	case Renewing:
		return m.renew(now)
	}
	return m.send(now)
}

// renew asks the server of the lease again, until it is time to ask any.
func (m *Machine) renew(now time.Time) []*dhcpv6.Message {
	rebind := m.lease.Rebind
	if !rebind.IsZero() && !now.Before(rebind) {
		return m.converse(now, Rebinding, renewing, "T2: the server did not renew the lease")
	}
	messages := m.send(now)
	if !rebind.IsZero() && m.wake.After(rebind) {
		m.wake = rebind // to rebind, which is not a repetition
	}
	return messages
}

// request asks the server of the offer for it.
func (m *Machine) request(now time.Time, why string) []*dhcpv6.Message {
	m.state, m.why, m.schedule, m.tries, m.pause, m.doubts = Requesting, why, requesting, 0, 0, 0
	m.began, m.xid = now, m.newID()
	return m.send(now)
}

// newID returns the number of a conversation.
func (m *Machine) newID() dhcpv6.TransactionID {
	x := m.random()
	return dhcpv6.TransactionID{byte(x >> 16), byte(x >> 8), byte(x)}
}

// bound has the lease in force rest until it is to be renewed.
func (m *Machine) bound(now time.Time, why string) {
	m.state, m.why, m.offer, m.doubts, m.wake = Bound, why, nil, 0, m.lease.Renew
	if !m.wake.IsZero() && m.wake.Before(now) {
		m.wake = now.Add(renewing.first)
	}
}
