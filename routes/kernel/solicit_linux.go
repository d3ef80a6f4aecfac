package kernel

import (
	"strings"

	"golang.org/x/sys/unix"

	"uplinkd/routes"
)

// solicit asks the routers of a link to advertise themselves, when the kernel hears them again: of itself it asks
// only when a link comes up, and would wait for minutes (RFC 4861 sections 6.2.1 and 6.3.7). That it fails is no
// matter: then it waits.
func (k *Kernel) solicit(s routes.Setting) {
	name, ok := strings.CutPrefix(s.Name, "net/ipv6/conf/")
	link, ok2 := strings.CutSuffix(name, "/accept_ra")
	if !ok || !ok2 || s.Value == "0" {
		return
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMPV6)
	if err != nil {
		return
	}
	defer unix.Close(fd) //nolint:errcheck // it holds nothing
	if unix.BindToDevice(fd, link) != nil ||
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255) != nil {
		return
	}
	allRouters := unix.SockaddrInet6{Addr: [16]byte{0: 0xff, 1: 0x02, 15: 0x02}}
	solicitation := []byte{133, 0, 0, 0, 0, 0, 0, 0} // the kernel makes the checksum
	_ = unix.Sendto(fd, solicitation, 0, &allRouters)
}
