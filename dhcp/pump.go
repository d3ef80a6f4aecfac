package dhcp

import (
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// messages reads DHCP from the Conn. What cannot be parsed is none of ours; the codec copies what it keeps.
func (c *Client) messages() func() (received, bool, bool) {
	conn, buffer := c.conn, make([]byte, messageMost)
	return func() (r received, use, more bool) {
		n, err := conn.Receive(buffer)
		if err != nil {
			return received{conn: conn, err: err}, true, false
		}
		message, err := dhcpv4.FromBytes(buffer[:n])
		return received{conn: conn, message: message}, err == nil, true
	}
}

// claimPause bounds what a flood of claims can make us do.
const claimPause = 10 * time.Millisecond

// claims reads ARP from the Conn.
func (c *Client) claims() func() (received, bool, bool) {
	conn, pause := c.conn, time.Duration(0)
	return func() (r received, use, more bool) {
		time.Sleep(pause)
		pause = claimPause
		a, err := conn.ReceiveARP()
		return received{conn: conn, arp: a, err: err}, true, err == nil
	}
}
