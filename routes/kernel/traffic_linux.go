package kernel

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Traffic returns the bytes received and sent by interface, of the calling
// process's network namespace (proc_net(5), /proc/net/dev).
func Traffic() (map[string][2]uint64, error) {
	b, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		return nil, err
	}
	traffic := map[string][2]uint64{}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		name, rest, ok := strings.Cut(lines.Text(), ":")
		fields := strings.Fields(rest)
		if !ok || len(fields) < 9 {
			continue // the two lines of headings
		}
		rx, _ := strconv.ParseUint(fields[0], 10, 64)
		tx, _ := strconv.ParseUint(fields[8], 10, 64)
		traffic[strings.TrimSpace(name)] = [2]uint64{rx, tx}
	}
	return traffic, nil
}

// Connections returns how many established TCP connections of this host have
// each of the addresses as their own (sock_diag(7)).
func Connections(addresses []string) (map[string]int, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_INET_DIAG)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	sockets, err := handle.SocketDiagTCP(unix.AF_INET)
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for _, s := range sockets {
		if s.State == netlink.TCP_ESTABLISHED {
			counts[s.ID.Source.String()]++
		}
	}
	wanted := map[string]int{}
	for _, a := range addresses {
		if ip := net.ParseIP(a); ip != nil {
			wanted[a] = counts[ip.String()]
		}
	}
	return wanted, nil
}
