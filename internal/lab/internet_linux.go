package lab

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
)

// Port is where the internet answers on every address: by TCP and UDP with the
// caller's address and port, in text.
const Port = 7000

// A Server is the internet's side of every connection.
type Server struct {
	tcp net.Listener
	udp net.PacketConn

	tcp6 net.Listener // nil without IPv6
	udp6 net.PacketConn

	all sync.WaitGroup
}

func serve(ns *Namespace) (*Server, error) {
	s := &Server{}
	err := ns.Do(func() (err error) {
		at := fmt.Sprintf("0.0.0.0:%d", Port)
		if s.tcp, err = net.Listen("tcp4", at); err != nil {
			return err
		}
		s.udp, err = net.ListenPacket("udp4", at)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.all.Go(func() { s.serveTCP(s.tcp) })
	s.all.Go(s.serveUDP)
	return s, nil
}

// serveTCP tells each caller its address and then echoes what it says.
func (s *Server) serveTCP(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close() //nolint:errcheck // nothing to lose
			if _, err := fmt.Fprintln(conn, conn.RemoteAddr()); err != nil {
				return
			}
			_, _ = io.Copy(conn, idleReader{conn})
		}()
	}
}

// An idleReader ends a connection over which nothing has come for three minutes: longer than any test waits.
type idleReader struct{ net.Conn }

func (r idleReader) Read(b []byte) (int, error) {
	if err := r.SetDeadline(time.Now().Add(3 * time.Minute)); err != nil {
		return 0, err
	}
	return r.Conn.Read(b)
}

// serveUDP answers each datagram with its caller's address, from the address that
// was asked.
func (s *Server) serveUDP() {
	conn := ipv4.NewPacketConn(s.udp)
	if err := conn.SetControlMessage(ipv4.FlagDst, true); err != nil {
		return
	}
	buffer := make([]byte, 64)
	for {
		_, asked, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		// Lost on the way is lost on the way.
		_, _ = conn.WriteTo([]byte(from.String()+"\n"), &ipv4.ControlMessage{Src: asked.Dst}, from)
	}
}

func (s *Server) close() {
	_ = s.tcp.Close()
	_ = s.udp.Close()
	if s.tcp6 != nil {
		_ = s.tcp6.Close()
		_ = s.udp6.Close()
	}
	s.all.Wait()
}

// ISPOf returns the ISP whose network an address is in, nil for none.
func (w *World) ISPOf(a netip.Addr) *ISP {
	for _, isp := range w.ISPs {
		own := !w.twins && isp.Network.Contains(a) || w.twins && a == isp.outside()
		if own || isp.v6 && isp.Network6().Contains(a) {
			return isp
		}
	}
	return nil
}

// callerMost is the longest text of an address and a port.
const callerMost = 64

// callerWait bounds how long the internet may take to tell: a connection that has lost its way tells never.
const callerWait = 10 * time.Second

// ReadCaller reads the line in which the internet tells a caller its address. It takes callerWait at most.
func ReadCaller(conn net.Conn) (netip.Addr, error) {
	if err := conn.SetReadDeadline(time.Now().Add(callerWait)); err != nil {
		return netip.Addr{}, err
	}
	defer conn.SetReadDeadline(time.Time{}) //nolint:errcheck // the next read tells
	line := make([]byte, 0, callerMost)
	one := make([]byte, 1)
	for len(line) < callerMost {
		if _, err := conn.Read(one); err != nil {
			return netip.Addr{}, err
		}
		if one[0] == '\n' {
			at, err := netip.ParseAddrPort(string(line))
			return at.Addr(), err
		}
		line = append(line, one[0])
	}
	return netip.Addr{}, fmt.Errorf("lab: %q is no address", line)
}
