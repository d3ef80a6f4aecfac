package dhcp

import (
	"context"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

func pump(ctx context.Context, conn Conn, to chan<- received) {
	buffer := make([]byte, messageMost)
	for {
		n, err := conn.Receive(buffer)
		r := received{conn: conn, err: err}
		if err == nil {
			// What cannot be parsed is none of ours; the codec copies what it keeps.
			if r.message, err = dhcpv4.FromBytes(buffer[:n]); err != nil {
				continue
			}
		}
		select {
		case to <- r:
		case <-ctx.Done():
			return
		}
		if r.err != nil {
			return
		}
	}
}

// claimPause bounds what a flood of claims can make us do.
const claimPause = 10 * time.Millisecond

func pumpARP(ctx context.Context, conn Conn, to chan<- received) {
	for {
		a, err := conn.ReceiveARP()
		select {
		case to <- received{conn: conn, arp: a, err: err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
		time.Sleep(claimPause)
	}
}
