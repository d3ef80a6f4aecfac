package main

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"uplinkd/internal/lab"
)

// share returns what part of the connections that began in a span left by an ISP.
func share(calls []lab.Call, isp int, from, to time.Time) float64 {
	all, by := 0, 0
	for _, c := range calls {
		if c.Began.Before(from) || c.Began.After(to) {
			continue
		}
		all++
		if c.ISP == isp {
			by++
		}
	}
	if all == 0 {
		return 0
	}
	return float64(by) / float64(all)
}

// serveTCP accepts connections on a port of the host until the test ends.
func (b *bench) serveTCP(port int) {
	b.Helper()
	listener, err := net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
	b.ok(err)
	b.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			b.Cleanup(func() { _ = conn.Close() })
		}
	}()
}

// strangers opens n connections from the internet to each uplink's address.
func (b *bench) strangers(n, port int) []net.Conn {
	b.Helper()
	var conns []net.Conn
	for _, isp := range b.world.ISPs {
		to := netip.AddrPortFrom(isp.Static.Addr(), uint16(port)).String()
		b.ok(isp.Namespace().Do(func() error {
			for range n {
				conn, err := net.DialTimeout("tcp4", to, time.Second)
				if err != nil {
					return err
				}
				conns = append(conns, conn)
			}
			return nil
		}))
	}
	return conns
}

// dialMany opens n connections to the internet and leaves them open.
func (b *bench) dialMany(n int) []net.Conn {
	b.Helper()
	var conns []net.Conn
	for i := range n {
		conn, err := net.DialTimeout("tcp4", netip.AddrPortFrom(lab.Somewhere(3000+i), lab.Port).String(), time.Second)
		b.ok(err)
		conns = append(conns, conn)
	}
	return conns
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		_ = c.Close()
	}
}
