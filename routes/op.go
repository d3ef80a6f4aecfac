package routes

import (
	"fmt"
	"time"
)

// An Op is one change to the kernel. It prints as the `ip` or `sysctl` command
// that does the same; Text also knows the time, which lifetimes need.
type Op interface {
	fmt.Stringer
	isOp()
}

// The changes there are. Each but AddRoute is idempotent: adding what is there
// and deleting what is gone both succeed.
type (
	// SetLinkUp sets an interface up, and remembers that it was down.
	SetLinkUp struct{ Interface string }
	// SetLinkDown gives an interface back that was down before us.
	SetLinkDown struct{ Interface string }
	// WriteSysctl changes a setting, after its old value has been kept on disk.
	WriteSysctl struct{ Sysctl Sysctl }
	// RestoreSysctl writes the old value back and forgets it.
	RestoreSysctl struct{ Saved Saved }
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
	PutFirewall struct{ Firewall Firewall }
	// DeleteFirewall takes our nft table away.
	DeleteFirewall struct{ Table string }
)

func (SetLinkUp) isOp()     {}
func (SetLinkDown) isOp()   {}
func (WriteSysctl) isOp()   {}
func (RestoreSysctl) isOp() {}
func (PutAddress) isOp()    {}
func (DeleteAddress) isOp() {}
func (AddRoute) isOp()      {}
func (ReplaceRoute) isOp()  {}
func (DeleteRoute) isOp()   {}
func (AddRule) isOp()       {}
func (DeleteRule) isOp()    {}

func (PutFirewall) isOp()    {}
func (DeleteFirewall) isOp() {}

func (o PutFirewall) String() string    { return "nft '" + o.Firewall.String() + "'" }
func (o DeleteFirewall) String() string { return "nft delete table inet " + o.Table }

func (o SetLinkUp) String() string     { return "ip link set dev " + o.Interface + " up" }
func (o SetLinkDown) String() string   { return "ip link set dev " + o.Interface + " down" }
func (o WriteSysctl) String() string   { return o.Sysctl.String() }
func (o RestoreSysctl) String() string { return o.Saved.String() }

func (o PutAddress) String() string {
	a := o.Address
	return fmt.Sprintf("ip addr replace %s dev %s%s proto %d", a.Prefix, a.Interface, a.lifetimeText(o.Now), a.Protocol)
}

func (o DeleteAddress) String() string {
	return fmt.Sprintf("ip addr del %s dev %s", o.Address.Prefix, o.Address.Interface)
}

func (o AddRoute) String() string     { return ip(o.Route.v6()) + " route add " + o.Route.String() }
func (o ReplaceRoute) String() string { return ip(o.Route.v6()) + " route replace " + o.Route.String() }

func (o DeleteRoute) String() string {
	r := o.Route
	kind := ""
	if r.Type == Prohibit {
		kind = "prohibit "
	}
	dst := r.Dst.String()
	if r.Dst.Bits() == 0 {
		dst = "default"
	}
	return fmt.Sprintf("%s route del %s%s table %s metric %d proto %d",
		ip(r.v6()), kind, dst, tableName(r.Table), r.Metric, r.Protocol)
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
