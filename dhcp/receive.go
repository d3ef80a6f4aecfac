package dhcp

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Receive takes a message in. One that is not for this transaction, or of no
// use, changes nothing; the error says why.
func (m *Machine) Receive(now time.Time, r *dhcpv4.DHCPv4) ([]Action, error) {
	if r.OpCode != dhcpv4.OpcodeBootReply || r.TransactionID != m.xid ||
		!bytes.Equal(r.ClientHWAddr, m.identity.MAC) {
		return nil, nil
	}
	var actions []Action
	var err error
	switch kind := r.MessageType(); {
	case kind == dhcpv4.MessageTypeOffer && m.state == Selecting:
		actions, err = m.receiveOffer(now, r)
	case kind == dhcpv4.MessageTypeAck && m.awaitsAnswer():
		actions, err = m.receiveAck(now, r)
	case kind == dhcpv4.MessageTypeNak && m.awaitsAnswer():
		actions, err = m.receiveNak(now, r)
	}
	if err != nil {
		m.why = err.Error() // status tells it
	}
	return actions, err
}

// serverOf names the server a message is from, for people.
func serverOf(r *dhcpv4.DHCPv4) string {
	if server, ok := addrOption(r, dhcpv4.OptionServerIdentifier); ok {
		return server.String()
	}
	return "a server that does not name itself"
}

func (m *Machine) awaitsAnswer() bool {
	switch m.state {
	case Requesting, InitReboot, Renewing, Rebinding:
		return true
	default:
		return false
	}
}

func (m *Machine) receiveOffer(now time.Time, r *dhcpv4.DHCPv4) ([]Action, error) {
	offer, err := leaseFrom(r, now, m.wantRouter)
	if err != nil {
		return nil, fmt.Errorf("the offer of %s is %w", serverOf(r), err)
	}
	if offer.Server == m.shun {
		return nil, nil // others first
	}
	m.enter(Requesting, fmt.Sprintf("%s offers %s", offer.Server, offer.Prefix))
	m.offer, m.asked = offer, now
	return m.sendRequest(now), nil
}

// receiveAck takes an acknowledgement in. An address that was not in use before,
// or was on a link that has been down, is probed first.
func (m *Machine) receiveAck(now time.Time, r *dhcpv4.DHCPv4) ([]Action, error) {
	lease, err := leaseFrom(r, m.asked, m.wantRouter)
	if err != nil {
		return nil, fmt.Errorf("the acknowledgement of %s is %w", serverOf(r), err)
	}
	asked := m.lease
	if m.state == Requesting {
		asked = m.offer
	}
	if given, wanted := lease.Prefix.Addr(), asked.Prefix.Addr(); given != wanted {
		return nil, fmt.Errorf("the acknowledgement is %w: it gives %s where %s was asked for",
			ErrUnusable, given, wanted)
	}
	if !lease.Infinite() && !now.Before(lease.Renew) {
		return nil, fmt.Errorf("the acknowledgement is %w: it comes when its lease is half over", ErrUnusable)
	}
	lease.jitter(m.asked, m.random())
	m.naks, m.shun = 0, netip.Addr{}
	fresh := m.state == Requesting && (m.lease == nil || m.lease.Prefix.Addr() != lease.Prefix.Addr()) ||
		m.state == InitReboot && m.moved
	if !fresh || m.check == CheckNone {
		return m.bind(now, lease), nil
	}
	return m.checkAddress(now, lease), nil
}

// bind takes a lease into use, and announces its address when it was not in use
// before, or the link was down.
func (m *Machine) bind(now time.Time, lease *Lease) []Action {
	renewed := m.state == Renewing || m.state == Rebinding
	if m.state == Checking || m.lease == nil || m.lease.Prefix.Addr() != lease.Prefix.Addr() {
		m.defended, m.claimed, m.rival = time.Time{}, time.Time{}, Conflict{}
	}
	m.lease, m.acked, m.probed, m.conflicts = lease, true, true, 0
	m.enter(Bound, fmt.Sprintf("%s gives %s", lease.Server, lease.Prefix))
	if !lease.Infinite() {
		m.wake = lease.Renew
	}
	if renewed {
		return nil
	}
	m.announces, m.announceAt = announceCount, now
	return m.announce(now)
}

// receiveNak drops what was refused at once, as it must (RFC 2131 section 3.1, 4.4.5),
// and begins anew; a server that refuses again and again is asked ever slower.
func (m *Machine) receiveNak(now time.Time, r *dhcpv4.DHCPv4) ([]Action, error) {
	from, ok := addrOption(r, dhcpv4.OptionServerIdentifier)
	if !ok {
		return nil, fmt.Errorf("the refusal is %w: it does not say which server it is from", ErrUnusable)
	}
	if m.state == Requesting && from != m.offer.Server {
		return nil, fmt.Errorf("the refusal is %w: it is from %s, the offer was from %s",
			ErrUnusable, from, m.offer.Server)
	}
	if m.state != Requesting || m.lease != nil && m.lease.Prefix.Addr() == m.offer.Prefix.Addr() {
		m.lease = nil // an offer that is taken back says nothing of another address
	}
	why := fmt.Sprintf("%s refused the address", from)
	m.naks++
	if m.naks == 1 {
		return m.discover(now, why), nil
	}
	m.enter(Init, why)
	m.newTransaction(now)
	m.wake = now.Add(min(nakFirst<<min(m.naks-2, 6), mostRetry))
	return nil, nil
}
