package resolver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"uplinkd/uplink"
)

// Where systemd-resolved is asked (org.freedesktop.resolve1(5)).
const (
	resolvedName    = "org.freedesktop.resolve1"
	resolvedPath    = "/org/freedesktop/resolve1"
	resolvedManager = resolvedName + ".Manager."
)

// A server is a DNS server as systemd-resolved takes it.
type server struct {
	Family  int32
	Address []byte
}

// A domain is one that a link's servers are asked for. Of ours there is none: what a provider
// names would lead the names of this site to him.
type domain struct {
	Name        string
	RoutingOnly bool
}

// errAbsent is why systemd-resolved cannot be given anything.
var errAbsent = errors.New("systemd-resolved does not run")

// absentNames are what the bus says of a name that nobody has and nobody is started for.
var absentNames = []string{
	"org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner",
	"org.freedesktop.DBus.Error.Spawn.ServiceNotFound", "org.freedesktop.systemd1.NoSuchUnit",
}

// A resolved gives servers to systemd-resolved, link by link.
type resolved struct {
	given map[int]string // names of the links that have servers of ours, by index
	clean map[int]bool   // links that have none: what an earlier process gave has been taken back
}

// give sets the servers of the links that are offered, and then takes away those of the
// others: what is in use is never without. Each is set anew each time, for another program
// may have changed it; one that is as it was is no change for systemd-resolved. One that does
// not run is an error where there is something to give.
func (r *resolved) give(ctx context.Context, links []uplink.DNSLink) error {
	if len(links) == 0 && len(r.given) == 0 {
		return nil
	}
	err := r.giveOver(ctx, links)
	if errors.Is(err, errAbsent) && !slices.ContainsFunc(links, func(l uplink.DNSLink) bool { return l.Offered }) {
		return nil
	}
	return err
}

func (r *resolved) giveOver(ctx context.Context, links []uplink.DNSLink) error {
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("%w: no system bus to ask it over: %w: install dbus, or choose dns: file", errAbsent, err)
	}
	defer bus.Close() //nolint:errcheck // all answers have come
	manager := bus.Object(resolvedName, resolvedPath)
	call := func(method string, args ...any) error {
		return manager.CallWithContext(ctx, method, 0, args...).Err
	}
	// Where nobody has the name the bus starts who is to have it.
	if err := call("org.freedesktop.DBus.Peer.Ping"); hasName(err, absentNames...) {
		return fmt.Errorf("%w: %w: install and start it, or choose dns: file", errAbsent, err)
	}
	if r.given == nil {
		r.given, r.clean = map[int]string{}, map[int]bool{}
	}
	rest := maps.Clone(r.given) // that is to be taken away
	var errs []error
	for _, l := range links {
		switch {
		case l.Index == 0: // the interface is away, and what was set of it
		case !l.Offered && !r.clean[l.Index]:
			rest[l.Index] = l.Interface
		case !l.Offered:
		default:
			delete(rest, l.Index)
			delete(r.clean, l.Index)
			r.given[l.Index] = l.Interface
			errs = append(errs, explain(l.Interface, setLink(call, l)))
		}
	}
	for index, name := range rest {
		err := call(resolvedManager+"RevertLink", int32(index))
		if err == nil || hasName(err, "org.freedesktop.resolve1.NoSuchLink") {
			delete(r.given, index)
			r.clean[index] = true
			continue
		}
		errs = append(errs, explain(name, err))
	}
	return errors.Join(errs...)
}

// setLink gives one link its servers. Those of one that carries no new connections are asked
// only when no other link's can be.
func setLink(call func(method string, args ...any) error, l uplink.DNSLink) error {
	servers := make([]server, len(l.Servers))
	for i, a := range l.Servers {
		servers[i] = serverOf(a)
	}
	for _, err := range []error{
		call(resolvedManager+"SetLinkDNS", int32(l.Index), servers),
		call(resolvedManager+"SetLinkDomains", int32(l.Index), []domain{}),
		call(resolvedManager+"SetLinkDefaultRoute", int32(l.Index), l.Carries),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func serverOf(a netip.Addr) server {
	if a.Is4() {
		return server{unix.AF_INET, a.AsSlice()}
	}
	return server{unix.AF_INET6, a.AsSlice()}
}

func hasName(err error, names ...string) bool {
	var refused dbus.Error
	return errors.As(err, &refused) && slices.Contains(names, refused.Name)
}

// explain says what to do about an answer of systemd-resolved or of the bus.
func explain(iface string, err error) error {
	switch {
	case err == nil:
		return nil
	case hasName(err, "org.freedesktop.resolve1.LinkBusy"):
		return fmt.Errorf("%s: %w: systemd-networkd manages it: Unmanaged=yes in its .network file", iface, err)
	case hasName(err, "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
		"org.freedesktop.DBus.Error.AccessDenied"):
		return fmt.Errorf("%s: %w: install polkitd and /usr/share/polkit-1/rules.d/50-uplinkd.rules, "+
			"or take the hook resolved instead", iface, err)
	}
	return fmt.Errorf("%s: systemd-resolved: %w", iface, err)
}
