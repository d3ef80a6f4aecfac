package routes

import (
	"fmt"
	"time"

	"uplinkd/routes/firewall"
)

// An Op is one change to the kernel. It prints as the `ip` or `sysctl` command
// that does the same; Text also knows the time, which lifetimes need.
type Op interface {
	fmt.Stringer
	key() Key
	effect() string
}

// Brief returns an operation as it prints, but for an nft table, of which it only says
// that it is put: a log and a status are no place for two kilobytes.
func Brief(op Op) string {
	if put, ok := op.(PutFirewall); ok {
		return fmt.Sprintf("nft table inet %s, of %d chains", put.Firewall.Name, len(put.Firewall.Chains()))
	}
	return op.String()
}

// EffectOf tells what an operation makes of its object, times aside; "": it is to go.
// Two operations on one key with one effect do the same.
func EffectOf(op Op) string { return op.effect() }

// The changes there are. Each but AddRoute is idempotent: adding what is there
// and deleting what is gone both succeed.
type (
	// SetLinkUp sets an interface up, and remembers that it was down.
	SetLinkUp struct{ Interface string }
	// SetLinkDown gives an interface back that was down before us.
	SetLinkDown struct{ Interface string }
	// WriteSetting changes a setting, after its old value has been kept on disk.
	WriteSetting struct{ Setting Setting }
	// RestoreSetting writes the old value back and forgets it.
	RestoreSetting struct{ Saved Saved }
	// PutAddress adds an address or gives it a new lifetime.
	PutAddress struct {
		Address Address
		Now     time.Time // lifetimes are told as seconds from here
	}
	// DeleteAddress takes an address of ours away.
	DeleteAddress struct{ Address Address }
	// AddRoute adds a route where none of that key is; one that is there makes
	// it fail with ErrConflict.
	AddRoute struct{ Route Route }
	// ReplaceRoute puts a route in the place of ours with the same key, in one
	// message: there is no moment without either.
	ReplaceRoute struct{ Route Route }
	// DeleteRoute takes a route of ours away.
	DeleteRoute struct{ Route Route }
	// AddRule adds a rule.
	AddRule struct{ Rule Rule }
	// DeleteRule takes a rule of ours away, and no other that looks like it.
	DeleteRule struct{ Rule Rule }
	// PutFirewall makes our nft table hold that, in one transaction.
	PutFirewall struct{ Firewall firewall.Table }
	// DeleteFirewall takes our nft table away.
	DeleteFirewall struct{ Table string }
	// PutEndpoint makes one of our endpoints so, in the place of that of the same number.
	PutEndpoint struct{ Endpoint Endpoint }
	// DeleteEndpoint takes an endpoint of ours away. Its subflows end.
	DeleteEndpoint struct{ Endpoint Endpoint }
)

func (o SetLinkUp) effect() string      { return "up" }
func (o SetLinkDown) effect() string    { return "" }
func (o WriteSetting) effect() string   { return o.Setting.Value }
func (o RestoreSetting) effect() string { return "" }
func (o PutAddress) effect() string     { return o.Address.Prefix.String() }
func (o DeleteAddress) effect() string  { return "" }
func (o AddRoute) effect() string       { return o.Route.String() }
func (o ReplaceRoute) effect() string   { return o.Route.String() }
func (o DeleteRoute) effect() string    { return "" }
func (o AddRule) effect() string        { return o.Rule.String() }
func (o DeleteRule) effect() string     { return "" }
func (o PutFirewall) effect() string    { return o.Firewall.Version() }
func (o DeleteFirewall) effect() string { return "" }
func (o PutEndpoint) effect() string    { return o.Endpoint.flags() + " dev " + o.Endpoint.Interface }
func (o DeleteEndpoint) effect() string { return "" }

func (o PutFirewall) String() string    { return "nft '" + o.Firewall.String() + "'" }
func (o DeleteFirewall) String() string { return "nft delete table inet " + o.Table }
func (o PutEndpoint) String() string    { return "ip mptcp endpoint add " + o.Endpoint.String() }
func (o DeleteEndpoint) String() string {
	return fmt.Sprintf("ip mptcp endpoint delete id %d", o.Endpoint.ID)
}

func (o SetLinkUp) String() string      { return "ip link set dev " + o.Interface + " up" }
func (o SetLinkDown) String() string    { return "ip link set dev " + o.Interface + " down" }
func (o WriteSetting) String() string   { return o.Setting.String() }
func (o RestoreSetting) String() string { return o.Saved.String() }

func (o PutAddress) String() string {
	a := o.Address
	flags := ""
	if a.NoPrefixRoute {
		flags = " noprefixroute"
	}
	if a.NoDAD {
		flags += " nodad"
	}
	return fmt.Sprintf("ip addr replace %s dev %s%s%s proto %d",
		a.Prefix, a.Interface, flags, a.lifetimeText(o.Now), a.Protocol)
}

func (o DeleteAddress) String() string {
	return fmt.Sprintf("ip addr del %s dev %s", o.Address.Prefix, o.Address.Interface)
}

func (o AddRoute) String() string     { return ip(o.Route.v6()) + " route add " + o.Route.String() }
func (o ReplaceRoute) String() string { return ip(o.Route.v6()) + " route replace " + o.Route.String() }

func (o DeleteRoute) String() string {
	r := o.Route
	kind := typeNames[r.Type]
	return fmt.Sprintf("%s route del %s%s table %s metric %d proto %d",
		ip(r.v6()), kind, dstName(r.Dst), tableName(r.Table), r.Metric, r.Protocol)
}
func (o AddRule) String() string    { return ip(o.Rule.V6) + " rule add " + o.Rule.String() }
func (o DeleteRule) String() string { return ip(o.Rule.V6) + " rule del " + o.Rule.String() }

func (r Route) v6() bool { return !r.Dst.Addr().Is4() }

func ip(v6 bool) string {
	if v6 {
		return "ip -6"
	}
	return "ip"
}

// Interfaces returns the interfaces that an operation puts something on, or takes
// something from.
func Interfaces(op Op) []string {
	switch op := op.(type) {
	case SetLinkUp:
		return []string{op.Interface}
	case PutAddress:
		return []string{op.Address.Interface}
	case DeleteAddress:
		return []string{op.Address.Interface}
	case AddRoute:
		return op.Route.interfaces()
	case ReplaceRoute:
		return op.Route.interfaces()
	case DeleteRoute:
		return op.Route.interfaces()
	case PutEndpoint:
		return []string{op.Endpoint.Interface}
	case DeleteEndpoint:
		return []string{op.Endpoint.Interface}
	}
	return nil
}
