package dhcp

import (
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// messageMost is the largest message we say we take (option 57), and read.
const messageMost = 1500

// An Identity is how a client is known to servers. It stands in every message:
// a server may forget a client that changes it (RFC 2131 section 4.2).
type Identity struct {
	MAC net.HardwareAddr // 6 bytes
	Options
}

// Options are what a provider may want to be told. Empty ones are not sent.
type Options struct {
	HostName    string        // option 12
	ClientID    string        // option 61; empty: the hardware address
	VendorClass string        // option 60
	UserClass   string        // option 77, as most servers read it: one plain text (RFC 3004 wants a length before it)
	LeaseTime   time.Duration // option 51, as a wish
	Broadcast   bool          // the flag: answer by broadcast
}

// clientID returns option 61: the hardware address with its type, or a text with
// type 0 (RFC 2132 section 9.14).
func (i *Identity) clientID() []byte {
	if i.ClientID != "" {
		return append([]byte{0}, i.ClientID...)
	}
	return append([]byte{byte(iana.HWTypeEthernet)}, i.MAC...)
}

// modifiers returns what stands in every message of the identity.
func (i *Identity) modifiers() []dhcpv4.Modifier {
	list := []dhcpv4.Modifier{
		dhcpv4.WithHwAddr(i.MAC),
		dhcpv4.WithOption(dhcpv4.OptClientIdentifier(i.clientID())),
		dhcpv4.WithBroadcast(i.Broadcast),
	}
	if i.HostName != "" {
		list = append(list, dhcpv4.WithOption(dhcpv4.OptHostName(i.HostName)))
	}
	if i.VendorClass != "" {
		list = append(list, dhcpv4.WithOption(dhcpv4.OptClassIdentifier(i.VendorClass)))
	}
	if i.UserClass != "" {
		list = append(list, dhcpv4.WithUserClass(i.UserClass, false))
	}
	return list
}

// asked returns the options a client asks for. With a fixed gateway the router
// is not among them, and the ways to send routes never are.
func asked(wantRouter bool) []dhcpv4.OptionCode {
	codes := []dhcpv4.OptionCode{
		dhcpv4.OptionSubnetMask, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName,
		dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionServerIdentifier,
		dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue,
	}
	if wantRouter {
		codes = append(codes, dhcpv4.OptionRouter)
	}
	return codes
}

// message builds a client's message with what every one has.
func (m *Machine) message(kind dhcpv4.MessageType, now time.Time, modifiers ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	common := append(m.identity.modifiers(),
		dhcpv4.WithTransactionID(m.xid),
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(messageMost)),
	)
	if kind == dhcpv4.MessageTypeDiscover || kind == dhcpv4.MessageTypeRequest {
		common = append(common, dhcpv4.WithRequestedOptions(asked(m.wantRouter)...))
		if wish := m.identity.LeaseTime; wish != 0 {
			common = append(common, dhcpv4.WithLeaseTime(uint32(wish/time.Second)))
		}
	}
	message, err := dhcpv4.New(append(common, modifiers...)...)
	if err != nil {
		panic("dhcp: " + err.Error()) // New fails only when it makes a transaction id, which it is given
	}
	message.NumSeconds = uint16(min(now.Sub(m.began)/time.Second, 1<<16-1))
	return message
}

func requested(a netip.Addr) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(a.AsSlice()))
}

func server(a netip.Addr) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(a.AsSlice()))
}
