package routes

import "strings"

// A SettingKind says what a Setting is a setting of.
type SettingKind uint8

// The kinds.
const (
	Sysctl        SettingKind = iota // a file below /proc/sys
	LinkMTU                          // the MTU of an interface
	MPTCPSubflows                    // how many subflows an MPTCP connection may have beside its first
)

// A Setting is one value of the kernel's that we change, and give back.
type Setting struct {
	Kind      SettingKind
	Interface string // of LinkMTU
	Name      string // of Sysctl, with slashes: net/ipv4/conf/eth1/rp_filter, as interface names have dots
	Value     string
}

// NewSysctl returns the setting of a file below /proc/sys.
func NewSysctl(name, value string) Setting { return Setting{Name: name, Value: value} }

// NewMTU returns the setting of an interface's MTU.
func NewMTU(link, value string) Setting {
	return Setting{Kind: LinkMTU, Interface: link, Value: value}
}

// NewMPTCPSubflows returns the setting of how many further subflows a connection may have.
func NewMPTCPSubflows(value string) Setting { return Setting{Kind: MPTCPSubflows, Value: value} }

// same reports whether two settings are one in the kernel.
func (s Setting) same(other Setting) bool { return s.ID() == other.ID() }

const (
	linkPrefix = "link/"
	mtuSuffix  = "/mtu"
	subflowsID = "mptcp/subflows"
)

// ID names the setting, whatever its value: net/ipv4/ip_forward, or link/eth1/mtu.
// That is how it stands in the record of what to give back.
func (s Setting) ID() string {
	switch s.Kind {
	case LinkMTU:
		return linkPrefix + s.Interface + mtuSuffix
	case MPTCPSubflows:
		return subflowsID
	case Sysctl:
	}
	return s.Name
}

// ParseSetting returns the setting of that ID, without a value.
func ParseSetting(id string) Setting {
	if id == subflowsID {
		return NewMPTCPSubflows("")
	}
	name, link := strings.CutPrefix(id, linkPrefix)
	name, mtu := strings.CutSuffix(name, mtuSuffix)
	if link && mtu {
		return NewMTU(name, "")
	}
	return NewSysctl(id, "")
}

// String returns the command that makes the setting so.
func (s Setting) String() string {
	switch s.Kind {
	case LinkMTU:
		return "ip link set dev " + s.Interface + " mtu " + s.Value
	case MPTCPSubflows:
		return "ip mptcp limits set subflows " + s.Value
	case Sysctl:
	}
	return "sysctl -w " + s.Name + "=" + s.Value
}

// A Saved is a setting that was changed, and what is needed to give it back.
type Saved struct {
	Setting        // Value is what it was
	Set     string // what we made it; given back only while it still is that
}
