package probe

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A sockaddr is an address as the kernel has it, of either family (ip(7), ipv6(7)).
type sockaddr struct{ raw unix.RawSockaddrInet6 }

// newSockaddr returns an address, on the link of an interface where it is of a link alone.
func newSockaddr(a netip.Addr, index int) sockaddr {
	var s sockaddr
	if a.Is6() {
		s.raw = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: a.As16()}
		if a.IsLinkLocalUnicast() {
			s.raw.Scope_id = uint32(index)
		}
		return s
	}
	v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
	v4.Family = unix.AF_INET
	if a.Is4() {
		v4.Addr = a.As4()
	}
	return s
}

func (s *sockaddr) size() int {
	if s.raw.Family == unix.AF_INET6 {
		return unix.SizeofSockaddrInet6
	}
	return unix.SizeofSockaddrInet4
}

// address returns the address without its link.
func (s *sockaddr) address() netip.Addr {
	switch s.raw.Family {
	case unix.AF_INET6:
		return netip.AddrFrom16(s.raw.Addr)
	case unix.AF_INET:
		return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw)).Addr)
	}
	return netip.Addr{}
}

// addressOf reads an address out of a control message, not valid when there is none.
func addressOf(b []byte) netip.Addr {
	var s sockaddr
	if len(b) < unix.SizeofSockaddrInet4 {
		return netip.Addr{}
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&s.raw)), unix.SizeofSockaddrInet6), b)
	return s.address()
}
