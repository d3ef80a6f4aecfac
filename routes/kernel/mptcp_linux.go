package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
	"uplinkd/routes"
)

// Of the path manager (linux/mptcp_pm.h), a family of generic netlink.
const (
	mptcpFamily  = "mptcp_pm"
	mptcpVersion = 1

	mptcpAddAddress = 1 // MPTCP_PM_CMD_*
	mptcpDelAddress = 2
	mptcpGetAddress = 3
	mptcpSetLimits  = 5
	mptcpGetLimits  = 6
	mptcpSetFlags   = 7 // Linux 5.12

	mptcpAttrAddress  = 1 // MPTCP_PM_ATTR_*
	mptcpAttrSubflows = 3

	mptcpAddrFamily = 1 // MPTCP_PM_ADDR_ATTR_*
	mptcpAddrID     = 2
	mptcpAddr4      = 3
	mptcpAddr6      = 4
	mptcpAddrFlags  = 6
	mptcpAddrIndex  = 7

	mptcpSubflow = 1 << 1 // MPTCP_PM_ADDR_FLAG_*
	mptcpBackup  = 1 << 2
)

var errNoMPTCP = errors.New("this kernel has no MPTCP path manager (CONFIG_MPTCP, Linux 5.6; sysctl net.mptcp.enabled)")

// An mptcp asks the kernel's path manager. It is for one goroutine; the zero value serves.
type mptcp struct {
	conn   *nlmsg.Conn
	family uint16 // 0: not yet known
	absent bool   // this kernel has none
}

func (m *mptcp) close() {
	if m.conn != nil {
		_ = m.conn.Close()
	}
}

// open finds the path manager out, once.
func (m *mptcp) open(ctx context.Context) error {
	if m.absent {
		return errNoMPTCP
	}
	if m.family != 0 {
		return nil
	}
	var err error
	if m.conn == nil {
		if m.conn, err = nlmsg.Dial(unix.NETLINK_GENERIC, false); err != nil {
			return err
		}
	}
	m.family, err = genericFamily(ctx, m.conn.Ask, mptcpFamily)
	if errors.Is(err, unix.ENOENT) {
		m.absent = true
		return errNoMPTCP
	}
	return err
}

// ask sends one command and calls each with the attributes of every answer.
func (m *mptcp) ask(ctx context.Context, command uint8, flags uint16, attrs []byte, each func([]byte)) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := m.open(ctx); err != nil {
		return err
	}
	body := append([]byte{command, mptcpVersion, 0, 0}, attrs...)
	err := m.conn.Ask(ctx, nlmsg.Request{Type: m.family, Flags: flags, Body: body}, func(a nlmsg.Message) bool {
		if each != nil && len(a.Body) >= genericHeader {
			each(a.Body[genericHeader:])
		}
		return flags&(unix.NLM_F_DUMP|unix.NLM_F_ACK) != 0
	})
	return err
}

// endpoints returns all endpoints.
func (m *mptcp) endpoints(ctx context.Context, names map[int]string) ([]routes.Endpoint, error) {
	return retried(func() ([]routes.Endpoint, error) {
		var list []routes.Endpoint
		err := m.ask(ctx, mptcpGetAddress, unix.NLM_F_DUMP, nil, func(attrs []byte) {
			if e, ok := parseEndpoint(nlmsg.Attr(attrs, mptcpAttrAddress), names); ok {
				list = append(list, e)
			}
		})
		slices.SortFunc(list, func(a, b routes.Endpoint) int { return int(a.ID) - int(b.ID) })
		return list, err
	})
}

// parseEndpoint reads one endpoint.
func parseEndpoint(b []byte, names map[int]string) (e routes.Endpoint, ok bool) {
	id, four, six := nlmsg.Attr(b, mptcpAddrID), nlmsg.Attr(b, mptcpAddr4), nlmsg.Attr(b, mptcpAddr6)
	if len(id) != 1 {
		return e, false
	}
	if four == nil {
		four = six
	}
	if e.Address, ok = netip.AddrFromSlice(four); !ok {
		return e, false
	}
	e.ID = id[0]
	if n := nlmsg.Attr(b, mptcpAddrIndex); len(n) == 4 {
		index := int(int32(native.Uint32(n)))
		if e.Interface = names[index]; e.Interface == "" && index != 0 {
			e.Interface = "?" + strconv.Itoa(index) // it has gone, or moved to another namespace
		}
	}
	if flags := nlmsg.Attr(b, mptcpAddrFlags); len(flags) == 4 {
		e.Backup = native.Uint32(flags)&mptcpBackup != 0
	}
	return e, true
}

// mptcpAddress is the attribute that names an endpoint.
func (k *Kernel) mptcpAddress(e routes.Endpoint) ([]byte, error) {
	index, err := k.linkIndex(e.Interface)
	if err != nil {
		return nil, err
	}
	kind, family := uint16(mptcpAddr4), uint16(unix.AF_INET)
	if !e.Address.Is4() {
		kind, family = mptcpAddr6, unix.AF_INET6
	}
	flags := uint32(mptcpSubflow)
	if e.Backup {
		flags |= mptcpBackup
	}
	b := nlmsg.AppendAttr(nil, mptcpAddrFamily, native.AppendUint16(nil, family))
	b = nlmsg.AppendAttr(b, mptcpAddrID, []byte{e.ID})
	b = nlmsg.AppendAttr(b, kind, e.Address.AsSlice())
	b = nlmsg.AppendAttr(b, mptcpAddrFlags, native.AppendUint32(nil, flags))
	b = nlmsg.AppendAttr(b, mptcpAddrIndex, native.AppendUint32(nil, uint32(index)))
	return nlmsg.AppendAttr(nil, mptcpAttrAddress|unix.NLA_F_NESTED, b), nil
}

// putEndpoint makes an endpoint so. One that only becomes backup, or no longer is it, keeps
// its subflows.
func (k *Kernel) putEndpoint(ctx context.Context, e routes.Endpoint) error {
	attrs, err := k.mptcpAddress(e)
	if err != nil {
		return err
	}
	have, err := k.mptcp.endpoints(ctx, k.linkNames())
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(have, func(h routes.Endpoint) bool { return h.ID == e.ID }); i >= 0 {
		now := have[i]
		if now == e {
			return nil
		}
		if now.Backup = e.Backup; now == e {
			err := k.mptcp.ask(ctx, mptcpSetFlags, unix.NLM_F_ACK, attrs, nil)
			if !errors.Is(err, unix.EOPNOTSUPP) { // before Linux 5.12
				return err
			}
		}
		if err := k.deleteEndpoint(ctx, have[i]); err != nil {
			return err
		}
	}
	return k.mptcp.ask(ctx, mptcpAddAddress, unix.NLM_F_ACK, attrs, nil)
}

func (k *Kernel) deleteEndpoint(ctx context.Context, e routes.Endpoint) error {
	id := nlmsg.AppendAttr(nil, mptcpAddrID, []byte{e.ID})
	attrs := nlmsg.AppendAttr(nil, mptcpAttrAddress|unix.NLA_F_NESTED, id)
	err := k.mptcp.ask(ctx, mptcpDelAddress, unix.NLM_F_ACK, attrs, nil)
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	// Which is also what the kernel says of one that has gone.
	have, listErr := k.mptcp.endpoints(ctx, nil)
	if listErr == nil && !slices.ContainsFunc(have, func(h routes.Endpoint) bool { return h.ID == e.ID }) {
		return nil
	}
	return err
}

// readEndpoints adds the endpoints of MPTCP, if any are wanted, or were ours when they were
// last read.
func (k *Kernel) readEndpoints(
	ctx context.Context, state *routes.State, scope routes.Scope, names map[int]string,
) error {
	k.settings.expectEndpoints(nil)
	if !scope.MPTCP && k.noEndpoints {
		return nil
	}
	list, err := k.mptcp.endpoints(ctx, names)
	if errors.Is(err, errNoMPTCP) {
		err = nil // there are none, and what asks for one is refused
	}
	if err != nil {
		return err
	}
	state.Endpoints = list
	k.noEndpoints = !slices.ContainsFunc(list, scope.Owner.OwnsEndpoint)
	if scope.MPTCP {
		k.settings.expectEndpoints(append([]routes.Endpoint{}, list...))
	}
	return nil
}

// readSubflows returns how many further subflows a connection may have.
func (m *mptcp) readSubflows(ctx context.Context) (string, error) {
	value := ""
	err := m.ask(ctx, mptcpGetLimits, 0, nil, func(attrs []byte) {
		if b := nlmsg.Attr(attrs, mptcpAttrSubflows); len(b) == 4 {
			value = strconv.FormatUint(uint64(native.Uint32(b)), 10)
		}
	})
	if errors.Is(err, errNoMPTCP) {
		return "", fs.ErrNotExist
	}
	if err == nil && value == "" {
		err = errors.New("the kernel does not tell the limits of MPTCP")
	}
	return value, err
}

func (m *mptcp) writeSubflows(ctx context.Context, value string) error {
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return fmt.Errorf("MPTCP subflows: %w", err)
	}
	attrs := nlmsg.AppendAttr(nil, mptcpAttrSubflows, native.AppendUint32(nil, uint32(n)))
	return m.ask(ctx, mptcpSetLimits, unix.NLM_F_ACK, attrs, nil)
}
