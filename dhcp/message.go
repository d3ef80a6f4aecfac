package dhcp

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// messageMost is the largest message we say we take (option 57), and read.
const messageMost = 1500

// An Identity is how a client is known to servers. It stands in every message:
// a server may forget a client that changes it (RFC 2131 section 4.2).
type Identity struct {
	MAC  net.HardwareAddr // 6 bytes
	IAID [4]byte          // of the interface, beside the DUID
	DUID []byte           // of the host; empty: made of the MAC
	Options
}

// Options are what a provider may want to be told. Empty ones are not sent.
type Options struct {
	HostName    string        // option 12
	ClientID    string        // option 61 as it is sent, its type first; empty: the hardware address
	SendDUID    bool          // option 61 is the host's DUID instead (RFC 4361)
	VendorClass string        // option 60
	UserClass   string        // option 77, as most servers read it: one plain text (RFC 3004 wants a length before it)
	LeaseTime   time.Duration // option 51, as a wish
	Broadcast   bool          // the flag: answer by broadcast
}

// clientID returns option 61: the hardware address with its type (RFC 2132
// section 9.14), what the user gave, or type 255, IAID and DUID (RFC 4361
// section 6.1).
func (i *Identity) clientID() []byte {
	switch {
	case i.ClientID != "":
		return []byte(i.ClientID)
	case i.SendDUID:
		duid := i.DUID
		if len(duid) == 0 {
			duid = append([]byte{0, 3, 0, byte(iana.HWTypeEthernet)}, i.MAC...) // DUID-LL (RFC 8415 section 11.4)
		}
		return slices.Concat([]byte{255}, i.IAID[:], duid)
	}
	return append([]byte{byte(iana.HWTypeEthernet)}, i.MAC...)
}

// wishes returns what a client tells of itself, and what it would like, in each
// message that asks for something.
func (i *Identity) wishes() []dhcpv4.Modifier {
	var list []dhcpv4.Modifier
	if i.HostName != "" {
		list = append(list, dhcpv4.WithOption(dhcpv4.OptHostName(i.HostName)))
	}
	if i.VendorClass != "" {
		list = append(list, dhcpv4.WithOption(dhcpv4.OptClassIdentifier(i.VendorClass)))
	}
	if i.UserClass != "" {
		list = append(list, dhcpv4.WithUserClass(i.UserClass, false))
	}
	if i.LeaseTime != 0 {
		list = append(list, dhcpv4.WithLeaseTime(uint32(i.LeaseTime/time.Second)))
	}
	return list
}

// asked returns the options a client asks for. With a fixed gateway the router
// is not among them, and the ways to send routes never are.
func asked(wantRouter bool) []dhcpv4.OptionCode {
	codes := []dhcpv4.OptionCode{
		dhcpv4.OptionSubnetMask, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName, dhcpv4.OptionInterfaceMTU,
		dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionServerIdentifier,
		dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue,
	}
	if wantRouter {
		codes = append(codes, dhcpv4.OptionRouter)
	}
	return codes
}

// message builds a client's message with what every one of its kind has. A
// DECLINE or RELEASE says who sends it and no more (RFC 2131 table 5).
func (m *Machine) message(kind dhcpv4.MessageType, now time.Time, modifiers ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	common := []dhcpv4.Modifier{
		dhcpv4.WithHwAddr(m.identity.MAC),
		dhcpv4.WithOption(dhcpv4.OptClientIdentifier(m.identity.clientID())),
		dhcpv4.WithTransactionID(m.xid),
		dhcpv4.WithMessageType(kind),
	}
	if kind == dhcpv4.MessageTypeDiscover || kind == dhcpv4.MessageTypeRequest {
		common = append(common,
			dhcpv4.WithBroadcast(m.identity.Broadcast),
			dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(messageMost)),
			dhcpv4.WithRequestedOptions(asked(m.wantRouter)...))
		common = append(common, m.identity.wishes()...)
	}
	message, err := dhcpv4.New(append(common, modifiers...)...)
	if err != nil {
		panic("dhcp: " + err.Error()) // New fails only when it makes a transaction id, which it is given
	}
	if kind == dhcpv4.MessageTypeDecline || kind == dhcpv4.MessageTypeRelease {
		return message
	}
	message.NumSeconds = m.elapsed(now)
	return message
}

// elapsed is the secs field: how long this transaction has been going on.
func (m *Machine) elapsed(now time.Time) uint16 {
	return uint16(min(now.Sub(m.began)/time.Second, 1<<16-1))
}

func requested(a netip.Addr) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(a.AsSlice()))
}

func server(a netip.Addr) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(a.AsSlice()))
}
