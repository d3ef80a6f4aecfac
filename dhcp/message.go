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
	MAC      net.HardwareAddr // 6 bytes
	HostName string           // option 12; "" sends none
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
	id := append([]byte{byte(iana.HWTypeEthernet)}, m.identity.MAC...)
	common := []dhcpv4.Modifier{
		dhcpv4.WithTransactionID(m.xid),
		dhcpv4.WithHwAddr(m.identity.MAC),
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptClientIdentifier(id)),
		dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(messageMost)),
	}
	if m.identity.HostName != "" {
		common = append(common, dhcpv4.WithOption(dhcpv4.OptHostName(m.identity.HostName)))
	}
	if kind == dhcpv4.MessageTypeDiscover || kind == dhcpv4.MessageTypeRequest {
		common = append(common, dhcpv4.WithRequestedOptions(asked(m.wantRouter)...))
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
