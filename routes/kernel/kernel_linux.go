package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
	"uplinkd/routes"
)

// answerTimeout bounds the wait for one answer of the kernel. It answers in
// microseconds unless the rtnl lock is held, by a driver for instance.
const answerTimeout = 5 * time.Second

// A Kernel reads and changes one network namespace. It is for one goroutine.
type Kernel struct {
	handle  *netlink.Handle
	rules   map[int]*nl.SocketHandle // the library's rule code loses fields; ours needs a socket of its own
	dumps   *nlmsg.Conn              // for the routes
	nft     *nftables.Conn
	written *writtenTable // what we last made our nft table hold; nil: not known
	kept    *keptSets
	restore *restoreFile
	look    bool           // only look: the record is left as it is
	tags    bool           // this kernel keeps the tag of an address (IFA_PROTO, Linux 5.18)
	index   map[string]int // of every link, as of the last Read
	mtus    map[string]int // likewise

	settings *settingsWatch
	surveyor *surveyor
	witness  *witness
	sentry   *sentry // nil: nobody watches
	unheard  uint64  // how often it was asked then

	mptcp  mptcp
	log    *slog.Logger
	beside map[uint32]bool // tables that routes of ours may be in, beside those in scope
}

var (
	_ routes.Kernel = (*Kernel)(nil)
	_ routes.Sentry = (*Kernel)(nil)
)

// Open returns the Kernel of the calling thread's network namespace. stateDir
// is where it keeps what has to be given back; it is made on the first change
// that needs it. Close frees the sockets.
func Open(stateDir string, log *slog.Logger) (*Kernel, error) {
	nl.EnableErrorMessageReporting = true // errors then carry the kernel's own words
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	socket, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		handle.Close()
		return nil, fmt.Errorf("open a netlink socket for rules: %w", err)
	}
	k := &Kernel{
		handle:  handle,
		rules:   map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}},
		restore: newRestoreFile(stateDir, log),
		log:     log,
		tags:    keepsAddressTags(),

		settings: &settingsWatch{}, surveyor: newSurveyor(), witness: newWitness(), beside: map[uint32]bool{},
		kept: newKeptSets(),
	}
	if k.dumps, err = nlmsg.Dial(unix.NETLINK_ROUTE, true); err != nil {
		k.Close()
		return nil, err
	}
	// One for good, opened early: the library waits by select(2), which knows no file
	// descriptor beyond 1023.
	if k.nft, err = nftables.New(nftables.AsLasting()); err != nil {
		k.Close()
		return nil, fmt.Errorf("open a netlink socket for nftables: %w", err)
	}
	if err := k.boundWaits(socket); err != nil {
		k.Close()
		return nil, fmt.Errorf("bound the netlink sockets' waits: %w", err)
	}
	return k, nil
}

// keepsAddressTags reports whether this kernel is Linux 5.18 or later.
func keepsAddressTags() bool {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return false
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major > 5 || major == 5 && minor >= 18
}

func (k *Kernel) boundWaits(socket *nl.NetlinkSocket) error {
	timeout := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	return errors.Join(k.handle.SetSocketTimeout(answerTimeout),
		socket.SetSendTimeout(&timeout), socket.SetReceiveTimeout(&timeout), socket.SetExtAck(true))
}

// Look opens a Kernel that is only to Read. It leaves no trace, on disk neither.
func Look(stateDir string, log *slog.Logger) (*Kernel, error) {
	k, err := Open(stateDir, log)
	if err == nil {
		k.look = true
	}
	return k, err
}

// RecordedOwners returns the tags that were used in this boot, and not cleaned up.
func (k *Kernel) RecordedOwners() []routes.Owner { return k.restore.load().Owners }

// Forget removes the record of what has to be given back, when all of it has been.
func (k *Kernel) Forget() error { return k.restore.remove() }

// CheckStateDir returns why a directory cannot hold the record of what has to
// be given back, nil if it can, or can be made.
func CheckStateDir(dir string) error {
	for {
		err := unix.Access(dir, unix.W_OK|unix.X_OK)
		if !errors.Is(err, unix.ENOENT) || dir == filepath.Dir(dir) {
			if err != nil {
				return fmt.Errorf("%s: %w", dir, err)
			}
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// Unreadable returns why the record of what to give back cannot be read, nil if
// it can or there is none.
func (k *Kernel) Unreadable() error {
	k.restore.load()
	return k.restore.unreadable
}

// PassedOver returns, as commands, what the record of what to give back names when it is
// of another boot, or of another network namespace: then it is void. After a restart of
// the machine nothing is to be given back; in a container both may only look other.
func (k *Kernel) PassedOver() []string {
	k.restore.load()
	return k.restore.elsewhere
}

// Close frees the sockets.
func (k *Kernel) Close() {
	if k.sentry != nil {
		_ = unix.Close(k.sentry.fd)
		k.sentry = nil
	}
	k.handle.Close()
	if k.nft != nil {
		_ = k.nft.CloseLasting()
	}
	if k.dumps != nil {
		_ = k.dumps.Close()
	}
	k.mptcp.close()
	for _, socket := range k.rules {
		_ = socket.Close()
	}
}

// Do implements routes.Kernel.
func (k *Kernel) Do(ctx context.Context, op routes.Op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := k.surveyor.shared6.do(op, func() error { return k.do(ctx, op) })
	switch {
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%w (%w)", routes.ErrGone, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: uplinkd needs to be root or to have CAP_NET_ADMIN", err)
	}
	return err
}

func (k *Kernel) do(ctx context.Context, op routes.Op) error {
	switch op := op.(type) {
	case routes.SetLinkUp:
		return k.setLinkUp(op.Interface)
	case routes.SetLinkDown:
		return k.setLinkDown(op.Interface)
	case routes.WriteSetting:
		return k.writeSetting(ctx, op.Setting)
	case routes.RestoreSetting:
		return k.restoreSetting(ctx, op.Saved)
	case routes.PutAddress:
		return k.putAddress(op.Address, op.Now)
	case routes.DeleteAddress:
		return k.deleteAddress(op.Address)
	case routes.PutEndpoint:
		return k.putEndpoint(ctx, op.Endpoint)
	case routes.DeleteEndpoint:
		return k.deleteEndpoint(ctx, op.Endpoint)
	}
	return k.doRouting(op)
}

// doRouting is do for routes, rules and the nft table.
func (k *Kernel) doRouting(op routes.Op) error {
	switch op := op.(type) {
	case routes.AddRoute:
		return k.addRoute(op.Route)
	case routes.ReplaceRoute:
		return k.replaceRoute(op.Route)
	case routes.DeleteRoute:
		return k.deleteRoute(op.Route)
	case routes.AddRule:
		return k.addRule(op.Rule)
	case routes.DeleteRule:
		return k.deleteRule(op.Rule)
	case routes.PutFirewall:
		return k.putFirewall(op.Firewall)
	case routes.DeleteFirewall:
		return k.deleteFirewall(op.Table)
	}
	return fmt.Errorf("kernel: unknown operation %T", op)
}

// linkIndex returns the index of a link, from the last Read when it was there.
func (k *Kernel) linkIndex(name string) (int, error) {
	if index, ok := k.index[name]; ok {
		return index, nil
	}
	link, err := k.handle.LinkByName(name) //nolint:forbidigo // one link by its name, not a dump
	if err != nil {
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return 0, fmt.Errorf("%s: %w", name, unix.ENODEV)
		}
		return 0, fmt.Errorf("look up interface %s: %w", name, err)
	}
	return link.Attrs().Index, nil
}

// linkNames returns the name of every link by its index, as of the last Read.
func (k *Kernel) linkNames() map[int]string {
	names := make(map[int]string, len(k.index))
	for name, index := range k.index {
		names[index] = name
	}
	return names
}

func linkWithIndex(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

func (k *Kernel) setLinkUp(name string) error {
	index, err := k.linkIndex(name)
	if err != nil {
		return err
	}
	k.restore.raise(name, index)
	return k.handle.LinkSetUp(linkWithIndex(index))
}

func (k *Kernel) setLinkDown(name string) error {
	index, err := k.linkIndex(name)
	if err == nil && k.restore.raised(name, index) {
		err = k.handle.LinkSetDown(linkWithIndex(index))
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return err
	}
	k.restore.lower(name)
	return nil
}

// ignore returns nil for an error that says the wanted state is already there.
func ignore(err error, harmless ...error) error {
	for _, h := range harmless {
		if errors.Is(err, h) {
			return nil
		}
	}
	return err
}
