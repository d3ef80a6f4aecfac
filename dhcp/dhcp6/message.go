package dhcp6

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// Bounds on what is kept of a server's answer.
const (
	lentMost    = 4
	serversMost = 6
	duidMost    = 130 // RFC 8415 section 11.1
)

// infinity is the lifetime of what is lent for good (RFC 8415 section 7.7).
const infinity = time.Duration(1<<32-1) * time.Second

// message returns the message of the state.
func (m *Machine) message(now time.Time) *dhcpv6.Message {
	kind := map[State]dhcpv6.MessageType{
		Soliciting: dhcpv6.MessageTypeSolicit, Requesting: dhcpv6.MessageTypeRequest,
		Confirming: dhcpv6.MessageTypeConfirm, Renewing: dhcpv6.MessageTypeRenew, Rebinding: dhcpv6.MessageTypeRebind,
	}[m.state]
	lease := m.lease
	if m.state == Requesting {
		lease = m.offer
	}
	message := m.blank(now, kind)
	if lease != nil && (m.state == Requesting || m.state == Renewing) {
		message.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionServerID, OptionData: lease.Server})
	}
	m.addWish(message, lease)
	return message
}

// blank returns a message with what each has.
func (m *Machine) blank(now time.Time, kind dhcpv6.MessageType) *dhcpv6.Message {
	message := &dhcpv6.Message{MessageType: kind, TransactionID: m.xid}
	message.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionClientID, OptionData: m.identity.DUID})
	elapsed := min(max(now.Sub(m.began), 0), 655350*time.Millisecond)
	message.AddOption(dhcpv6.OptElapsedTime(elapsed))
	if kind != dhcpv6.MessageTypeRelease && kind != dhcpv6.MessageTypeDecline && kind != dhcpv6.MessageTypeConfirm {
		message.AddOption(dhcpv6.OptRequestedOption(
			dhcpv6.OptionDNSRecursiveNameServer, dhcpv6.OptionDomainSearchList, dhcpv6.OptionSolMaxRT,
		))
	}
	return message
}

// addWish adds what is wanted, with what the lease has of it.
func (m *Machine) addWish(message *dhcpv6.Message, lease *Lease) {
	if m.wish.Address || lease != nil && len(lease.Addresses) > 0 {
		ia := &dhcpv6.OptIANA{IaId: m.identity.IAID}
		if lease != nil {
			for _, x := range lease.Addresses {
				ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: x.Prefix.Addr().AsSlice()})
			}
		}
		message.AddOption(ia)
	}
	wanted := m.wish.Prefix || lease != nil && len(lease.Prefixes) > 0
	if message.MessageType == dhcpv6.MessageTypeConfirm || !wanted {
		return
	}
	ia := &dhcpv6.OptIAPD{IaId: m.identity.IAID}
	switch {
	case lease != nil && len(lease.Prefixes) > 0:
		for _, x := range lease.Prefixes {
			ia.Options.Add(&dhcpv6.OptIAPrefix{Prefix: ipNet(x.Prefix)})
		}
	case m.wish.PrefixLength > 0:
		ia.Options.Add(&dhcpv6.OptIAPrefix{Prefix: &net.IPNet{
			IP: net.IPv6zero, Mask: net.CIDRMask(m.wish.PrefixLength, 128),
		}})
	}
	message.AddOption(ia)
}

// give returns a message that gives a lease back, or part of one.
func (m *Machine) give(now time.Time, kind dhcpv6.MessageType, lease *Lease) *dhcpv6.Message {
	m.xid, m.began = m.newID(), now
	message := m.blank(now, kind)
	message.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionServerID, OptionData: lease.Server})
	wish := m.wish
	m.wish = Wish{}
	m.addWish(message, lease)
	m.wish = wish
	return message
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 128)}
}

// Receive takes a message in. One that is not for this conversation, or of no use, changes nothing; the
// error says why.
func (m *Machine) Receive(now time.Time, r *dhcpv6.Message) ([]*dhcpv6.Message, error) {
	if r.TransactionID != m.xid || !bytes.Equal(option(r, dhcpv6.OptionClientID), m.identity.DUID) {
		return nil, nil
	}
	server := option(r, dhcpv6.OptionServerID)
	if len(server) == 0 || len(server) > duidMost {
		return nil, fmt.Errorf("a server that does not name itself")
	}
	m.takeBounds(r)
	switch kind := r.MessageType; {
	case kind == dhcpv6.MessageTypeAdvertise && m.state == Soliciting:
		return m.receiveOffer(now, r)
	case kind == dhcpv6.MessageTypeReply && m.state == Confirming:
		return m.receiveConfirmation(now, r)
	case kind == dhcpv6.MessageTypeReply && (m.state == Requesting || m.state == Renewing || m.state == Rebinding):
		return m.receiveReply(now, r)
	}
	return nil, nil
}

// Bounds on SOL_MAX_RT (RFC 8415 section 21.24), in seconds.
const (
	solicitLeast = 60
	solicitMost  = 86400
)

// takeBounds takes in how rarely a server wants to be asked.
func (m *Machine) takeBounds(r *dhcpv6.Message) {
	b := option(r, dhcpv6.OptionSolMaxRT)
	if len(b) != 4 {
		return
	}
	n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	if n >= solicitLeast && n <= solicitMost {
		m.mostWait = time.Duration(n) * time.Second
		if m.state == Soliciting {
			m.schedule.most = m.mostWait
		}
	}
}

// option returns the bytes of a message's option, nil when there is none.
func option(r *dhcpv6.Message, code dhcpv6.OptionCode) []byte {
	if o := r.GetOneOption(code); o != nil {
		return o.ToBytes()
	}
	return nil
}

// receiveOffer keeps the best offer: that which has all that is wanted, then the preferred one, then the first.
func (m *Machine) receiveOffer(now time.Time, r *dhcpv6.Message) ([]*dhcpv6.Message, error) {
	lease, lacks := m.leaseOf(now, r, nil)
	if lease == nil {
		m.lacks = lacks
		return nil, fmt.Errorf("an offer of nothing: %s", lacks)
	}
	preference := int(r.Options.Preference())
	worth := preference
	for _, has := range []bool{m.wish.Address && len(lease.Addresses) > 0, m.wish.Prefix && len(lease.Prefixes) > 0} {
		if has {
			worth += preferenceMost + 1
		}
	}
	if worth > m.worth {
		m.offer, m.worth = lease, worth
	}
	// The first pause is for others; after it, or with the highest preference, none is waited for.
	if m.tries > 1 || preference == preferenceMost {
		return m.request(now, "a server has offered a lease"), nil
	}
	return nil, nil
}

// preferenceMost ends the wait for other offers (RFC 8415 section 21.8).
const preferenceMost = 255

func (m *Machine) receiveConfirmation(now time.Time, r *dhcpv6.Message) ([]*dhcpv6.Message, error) {
	if status := r.Options.Status(); status != nil && status.StatusCode == iana.StatusNotOnLink {
		m.lease, m.acked = nil, false
		return m.converse(now, Soliciting, soliciting, "the lease is of another link"), nil
	}
	m.acked = true
	m.bound(now, "the lease is confirmed")
	return nil, nil
}

// receiveReply takes over what a server gives.
func (m *Machine) receiveReply(now time.Time, r *dhcpv6.Message) ([]*dhcpv6.Message, error) {
	if status := r.Options.Status(); status != nil && status.StatusCode != iana.StatusSuccess {
		if status.StatusCode == iana.StatusUseMulticast || status.StatusCode == iana.StatusUnspecFail {
			return nil, fmt.Errorf("the server answers %s", text(status.StatusCode.String()))
		}
		m.lease, m.acked = nil, false
		return m.converse(now, Soliciting, soliciting, "the server answers "+text(status.StatusCode.String())), nil
	}
	before := m.lease
	if m.state == Requesting {
		before = nil
	}
	lease, lacks := m.leaseOf(now, r, before)
	m.lacks = lacks
	if m.unknown(r) && m.state != Requesting && m.lease != nil {
		// It knows nothing of what we have: it is asked for (RFC 8415 section 18.2.10.1).
		wanted := *m.lease
		wanted.Server = bytes.Clone(option(r, dhcpv6.OptionServerID))
		m.offer = &wanted
		return m.request(now, "the server does not know the lease: asking for it anew"), nil
	}
	if lease == nil {
		m.lease, m.acked = nil, false
		return m.converse(now, Soliciting, soliciting, "the server gives nothing: "+lacks), nil
	}
	m.lease, m.acked = lease, true
	m.bound(now, "a server has given the lease")
	return nil, nil
}

// unknown reports whether a server has no binding for what it was asked to prolong.
func (m *Machine) unknown(r *dhcpv6.Message) bool {
	for _, ia := range r.Options.IANA() {
		if s := ia.Options.Status(); ia.IaId == m.identity.IAID && s != nil && s.StatusCode == iana.StatusNoBinding {
			return true
		}
	}
	for _, ia := range r.Options.IAPD() {
		if s := ia.Options.Status(); ia.IaId == m.identity.IAID && s != nil && s.StatusCode == iana.StatusNoBinding {
			return true
		}
	}
	return false
}

// text makes a server's words safe to show.
func text(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
}
