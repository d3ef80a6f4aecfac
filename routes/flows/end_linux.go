package flows

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
)

// EndSockets ends the connections of this host that have one of the addresses as
// their own: TCP over IPv4 or IPv6, and connected UDP. The programs see
// ECONNABORTED. Those that a local listener has accepted are left: who is at the
// other end has chosen the address, and may be who looks after this host. So are
// those within the address's own network, or of this host with itself: they go by no
// gateway. It returns how many it has ended, and blocks for some milliseconds.
func EndSockets(ctx context.Context, addresses []netip.Prefix) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return 0, fmt.Errorf("open a sock_diag socket: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // it has served
	wanted := map[netip.Addr]netip.Prefix{}
	for _, a := range addresses {
		wanted[a.Addr()] = a
	}
	ended := 0
	for _, k := range allKinds {
		victims, err := connectionsOf(ctx, k, wanted)
		if err != nil {
			return ended, err
		}
		n, err := destroy(fd, k, victims)
		ended += n
		if err != nil {
			return ended, err
		}
	}
	return ended, nil
}

// connectionsOf returns the sockets with one of the addresses that are connected
// and were not accepted by a listener.
func connectionsOf(ctx context.Context, k kind, wanted map[netip.Addr]netip.Prefix) ([]socket, error) {
	var found []socket
	listening := map[uint16]bool{}
	err := list(ctx, k, allStates&^(1<<stateTimeWait), 0, func(s socket, _ []byte) {
		switch {
		case k.protocol == unix.IPPROTO_TCP && s.state == stateListen:
			listening[s.port()] = true
		case !s.peerless():
			if own, ok := wanted[s.own()]; ok && !own.Contains(s.peer()) {
				found = append(found, s)
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list sockets: %w", err)
	}
	return slices.DeleteFunc(found, func(s socket) bool { return listening[s.port()] }), nil
}

// destroyBatch is how many orders stand in one message. The kernel carries them
// out before the call returns.
const destroyBatch = 64

// destroy ends sockets, by their cookies, so that none can be mistaken for another
// that has taken its place, and returns how many. One that has ended by itself
// meanwhile does not count.
func destroy(fd int, k kind, victims []socket) (int, error) {
	ended := 0
	for batch := range slices.Chunk(victims, destroyBatch) {
		var b []byte
		for i := range batch {
			of := kind{batch[i].family, k.protocol}
			// An answer comes only if it fails.
			b = nlmsg.Append(b, sockDestroy, unix.NLM_F_REQUEST, uint32(i), diagHeader(of, 0, batch[i].id[:]))
		}
		if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return ended, fmt.Errorf("end sockets: %w", err)
		}
		failed, err := failures(fd, batch)
		ended += len(batch) - failed
		if err != nil {
			return ended, err
		}
	}
	return ended, nil
}

// answerSize is more than all answers to one batch.
const answerSize = 64 << 10

// failures reads the answers there are, and returns how many orders failed. An error says
// that all will. What is left of a closed connection (TIME_WAIT, and FIN_WAIT2 after a while)
// Linux 5.10 refuses to end, and that says nothing of the others: found by make test-kernels.
func failures(fd int, batch []socket) (failed int, err error) {
	b := make([]byte, answerSize)
	for {
		n, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return failed, nil
		}
		if err != nil {
			return failed, fmt.Errorf("end sockets: %w", err)
		}
		for m, rest, ok := nlmsg.Next(b[:n]); ok; m, rest, ok = nlmsg.Next(rest) {
			if len(m.Body) < 4 {
				continue
			}
			failed++
			whole := int(m.Sequence) < len(batch) && batch[m.Sequence].state == stateEstablished
			switch errno := unix.Errno(-int32(native.Uint32(m.Body))); {
			case errno == unix.EOPNOTSUPP && whole:
				return failed, errors.New("the kernel cannot end sockets (CONFIG_INET_DIAG_DESTROY): " +
					"connections over a dead uplink wait for their own timeouts")
			case errno == unix.EPERM:
				return failed, errors.New("end sockets: uplinkd needs to be root or to have CAP_NET_ADMIN")
			default: // it has ended by itself
			}
		}
	}
}
