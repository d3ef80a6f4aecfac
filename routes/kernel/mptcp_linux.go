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

	mptcpSubflow  = 1 << 1 // MPTCP_PM_ADDR_FLAG_*
	mptcpBackup   = 1 << 2
	mptcpImplicit = 1 << 4 // the kernel's own, of an address that a connection uses
)

var errNoMPTCP = errors.New("this kernel has no MPTCP path manager (CONFIG_MPTCP, Linux 5.6; sysctl net.mptcp.enabled)")

// An mptcp asks the kernel's path manager. It is for one goroutine; the zero value serves.
type mptcp struct {
	conn   *nlmsg.Conn
	family uint16 // 0: not yet known
	absent bool   // this kernel has none
	told   string // why they could not be read, as it was told

	implicit []routes.Endpoint // the kernel's own, as they were last read
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

// endpoints returns all endpoints but the kernel's own.
func (m *mptcp) endpoints(ctx context.Context, names map[int]string) ([]routes.Endpoint, error) {
	return retried(func() ([]routes.Endpoint, error) {
		var list []routes.Endpoint
		m.implicit = nil
		err := m.ask(ctx, mptcpGetAddress, unix.NLM_F_DUMP, nil, func(attrs []byte) {
			e, implicit, ok := parseEndpoint(nlmsg.Attr(attrs, mptcpAttrAddress), names)
			switch {
			case ok && implicit:
				m.implicit = append(m.implicit, e)
			case ok:
				list = append(list, e)
			}
		})
		slices.SortFunc(list, func(a, b routes.Endpoint) int { return int(a.ID) - int(b.ID) })
		return list, err
	})
}

// parseEndpoint reads one endpoint, and whether it is the kernel's own.
func parseEndpoint(b []byte, names map[int]string) (e routes.Endpoint, implicit, ok bool) {
	id, four, six := nlmsg.Attr(b, mptcpAddrID), nlmsg.Attr(b, mptcpAddr4), nlmsg.Attr(b, mptcpAddr6)
	if len(id) != 1 {
		return e, false, false
	}
	if four == nil {
		four = six
	}
	if e.Address, ok = netip.AddrFromSlice(four); !ok {
		return e, false, false
	}
	e.ID = id[0]
	if n := nlmsg.Attr(b, mptcpAddrIndex); len(n) == 4 {
		index := int(int32(native.Uint32(n)))
		if e.Interface = names[index]; e.Interface == "" && index != 0 {
			e.Interface = "?" + strconv.Itoa(index) // it has gone, or moved to another namespace
		}
	}
	if flags := nlmsg.Attr(b, mptcpAddrFlags); len(flags) == 4 {
		set := native.Uint32(flags)
		e.Backup, e.NoSubflow, implicit = set&mptcpBackup != 0, set&mptcpSubflow == 0, set&mptcpImplicit != 0
	}
	return e, implicit, true
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
// its subflows. A number that somebody else has taken meanwhile is left alone.
func (k *Kernel) putEndpoint(ctx context.Context, e routes.Endpoint) error {
	attrs, err := k.mptcpAddress(e)
	if err != nil {
		return err
	}
	have, err := k.endpoints(ctx, k.linkNames())
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(have, func(h routes.Endpoint) bool { return h.ID == e.ID }); i >= 0 {
		now := have[i]
		switch {
		case now == e:
			return nil
		case now.Protocol != e.Protocol:
			return fmt.Errorf("another program has put endpoint %d there", e.ID)
		}
		if now.Backup = e.Backup; now == e {
			err = k.mptcp.ask(ctx, mptcpSetFlags, unix.NLM_F_ACK, attrs, nil)
			if !errors.Is(err, unix.EOPNOTSUPP) { // before Linux 5.12
				return err
			}
		}
		if err = k.deleteEndpoint(ctx, have[i]); err != nil {
			return err
		}
	}
	// First on disk, then in the kernel: the record is all that says whose it is.
	k.restore.addEndpoint(e)
	err = k.mptcp.ask(ctx, mptcpAddAddress, unix.NLM_F_ACK, attrs, nil)
	if errors.Is(err, unix.EINVAL) && k.deleteImplicit(ctx, e.Address) {
		err = k.mptcp.ask(ctx, mptcpAddAddress, unix.NLM_F_ACK, attrs, nil)
	}
	if err != nil {
		k.restore.removeEndpoint(e)
	}
	return err
}

// deleteImplicit takes away the endpoint that the kernel itself has made of an address, when
// a connection used it, and reports whether there was one. Beside it none can be put there.
func (k *Kernel) deleteImplicit(ctx context.Context, address netip.Addr) bool {
	found := false
	for _, e := range k.mptcp.implicit {
		if e.Address == address {
			found = k.deleteNumber(ctx, e.ID) == nil
		}
	}
	return found
}

// deleteEndpoint takes an endpoint of ours away; one of that number that is not ours by now
// stays.
func (k *Kernel) deleteEndpoint(ctx context.Context, e routes.Endpoint) error {
	have, err := k.endpoints(ctx, nil)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(have, func(h routes.Endpoint) bool {
		return h.ID == e.ID && h.Address == e.Address && h.Protocol == e.Protocol
	}) {
		if err := k.deleteNumber(ctx, e.ID); err != nil {
			return err
		}
	}
	k.restore.removeEndpoint(e)
	return nil
}

func (k *Kernel) deleteNumber(ctx context.Context, id uint8) error {
	attr := nlmsg.AppendAttr(nil, mptcpAddrID, []byte{id})
	attr = nlmsg.AppendAttr(nil, mptcpAttrAddress|unix.NLA_F_NESTED, attr)
	return k.mptcp.ask(ctx, mptcpDelAddress, unix.NLM_F_ACK, attr, nil)
}

// endpoints returns all endpoints, with whose they are.
func (k *Kernel) endpoints(ctx context.Context, names map[int]string) ([]routes.Endpoint, error) {
	list, err := k.mptcp.endpoints(ctx, names)
	for i := range list {
		list[i].Protocol = k.restore.whoseEndpoint(list[i].ID, list[i].Address)
	}
	return list, err
}

// readEndpoints adds the endpoints of MPTCP, if any are wanted, or were ours. Where they
// cannot be read nothing is known of them, and all else goes on.
func (k *Kernel) readEndpoints(ctx context.Context, state *routes.State, scope routes.Scope, names map[int]string) {
	k.settings.expectEndpoints(nil)
	if !scope.MPTCP && len(k.restore.load().Endpoints) == 0 {
		return
	}
	list, err := k.endpoints(ctx, names)
	switch {
	case errors.Is(err, errNoMPTCP): // there are none, and what asks for one is refused
		state.MPTCP = true
	case err != nil:
		if text := err.Error(); text != k.mptcp.told {
			k.mptcp.told = text
			k.log.Warn("the MPTCP endpoints cannot be read, and are left as they are", "err", err)
		}
	default:
		state.Endpoints, state.MPTCP = list, true
		k.mptcp.told = ""
		if scope.MPTCP {
			k.settings.expectEndpoints(append([]routes.Endpoint{}, list...))
		}
	}
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
