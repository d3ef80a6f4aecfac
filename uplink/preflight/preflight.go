// Package preflight finds what on this host would get in uplinkd's way, and
// says what to do about it.
package preflight

import (
	"fmt"
	"slices"

	"uplinkd/configs"
	"uplinkd/routes"
)

// Severity says how bad a finding is.
type Severity string

// The severities.
const (
	Problem Severity = "problem" // uplinkd cannot do its work, or will be fought
	Warning Severity = "warning" // it may be meant so
)

// A Finding is one thing in the way.
type Finding struct {
	Severity Severity `json:"severity"`
	Uplink   string   `json:"uplink,omitempty"`
	What     string   `json:"what"`
	Remedy   string   `json:"remedy"`
}

// A Host is what was found on a host beside the kernel's routing state.
type Host struct {
	Processes []Process
	Networkd  map[int]string  // by interface index: its administrative state
	NMManaged map[int]bool    // by interface index: NetworkManager manages it
	Strict    map[string]bool // by interface: rp_filter is strict
	StateDir  error           // why state_dir cannot be written

	NetworkdDeletes []string           // settings of a systemd-networkd that runs by which it deletes what is ours
	NetworkFiles    map[string]string  // by interface: the .network file that has networkd configure it
	Stanzas         map[string]Stanza  // by interface: what /etc/network/interfaces says
	NoMPTCP         bool               // this kernel has none
	NoDNS           string             // why no DNS server is known; "": one is
	MarkWrites      []routes.MarkWrite // of others, in nftables
	ForwardDrops    []string           // chains that drop what is forwarded unless a rule accepts it
	Forwards6       bool               // IPv6 is forwarded
	AcceptRA        map[string]string  // by interface: accept_ra (ip-sysctl.rst)
	NFTables        string             // /etc/nftables.conf
}

// A Stanza is what ifupdown is to do with an interface for IPv4 (interfaces(5)).
type Stanza struct {
	File    string
	Method  string // dhcp, static, manual
	Gateway bool   // it sets a default route
}

// A Process is a running program that might matter.
type Process struct {
	PID  int
	Name string
	Args []string
}

// Inspect returns what stands in the way of a configuration, given the kernel's
// state (read with Scope.Foreign) and the host's. It is pure.
func Inspect(c configs.Config, owner routes.Owner, have routes.State, host Host) []Finding {
	i := inspector{config: c, owner: owner, have: have, host: host}
	for n := range c.Uplinks {
		i.uplink(&c.Uplinks[n])
	}
	if host.StateDir != nil {
		i.add(Problem, "", fmt.Sprintf("state_dir cannot be written: %v", host.StateDir),
			"make it writable for root, or name another: without it cleanup cannot give everything back")
	}
	i.services()
	i.defaults()
	i.lastWords()
	i.ipv6()
	i.rules()
	i.marks()
	i.savedTable()
	i.forwarding()
	i.tailscale()
	i.mptcp()
	for _, pair := range configs.Shadowed(c.Policies) {
		i.add(Warning, "", fmt.Sprintf("policy %s can never match: policy %s before it takes all that it would",
			pair[0], pair[1]), "put it first, or remove it")
	}
	for n := range c.Policies {
		if why := c.Policies[n].Impossible(); why != "" {
			i.add(Warning, "", fmt.Sprintf("policy %s can never match: %s", c.Policies[n].Name, why),
				"correct it, or remove it")
		}
	}
	return i.findings
}

type inspector struct {
	config   configs.Config
	owner    routes.Owner
	have     routes.State
	host     Host
	findings []Finding
}

func (i *inspector) add(severity Severity, uplink, what, remedy string) {
	i.findings = append(i.findings, Finding{severity, uplink, what, remedy})
}

func (i *inspector) uplink(u *configs.Uplink) {
	if p := &u.Probe; p.Timeout > p.Interval {
		i.add(Warning, u.Name, fmt.Sprintf("probe.timeout %s is longer than probe.interval %s: the next is sent "+
			"before the last is given up, and a fault is seen late", p.Timeout, p.Interval),
			"lower timeout to what a round trip takes at its worst, or raise interval")
	}
	link, ok := i.have.Link(u.Interface)
	if !ok {
		i.add(Warning, u.Name, fmt.Sprintf("there is no interface %s now", u.Interface),
			"correct the name (ip link shows them); if it appears later, as a modem's does, nothing is to be done")
		i.files(u, link)
		return
	}
	i.managers(u, link)
	i.files(u, link)
	i.clients(u)
	if i.host.Strict[u.Interface] {
		i.add(Warning, u.Name,
			fmt.Sprintf("strict rp_filter on %s: it drops what comes in by this uplink but is not routed out by it",
				u.Interface),
			"run sets it to 2 (loose); see that nothing in /etc/sysctl.d sets it to 1 again")
	}
	for _, a := range i.have.Addresses {
		foreign := a.Interface == u.Interface && a.Prefix.Addr().Is4() && !i.owner.OwnsAddress(a)
		if foreign && u.Address == configs.AddressDHCP && !a.Prefix.Addr().IsLinkLocalUnicast() {
			i.add(Warning, u.Name,
				fmt.Sprintf("%s already has the address %s, which is not ours", u.Interface, a.Prefix),
				fmt.Sprintf("stop what put it there, then: ip addr del %s dev %s", a.Prefix, u.Interface))
		}
	}
	for _, r := range i.have.Routes {
		if r.Table == u.Table && !i.owner.OwnsRoute(r) {
			i.add(Problem, u.Name, fmt.Sprintf("table %d holds a foreign route: %s", u.Table, r),
				"give the uplink another `table:`, or remove what put the route there")
		}
	}
}

func (i *inspector) managers(u *configs.Uplink, link routes.Link) {
	switch managed := i.host.NMManaged[link.Index]; {
	case managed && u.Address == configs.AddressExternal:
		i.add(Warning, u.Name, fmt.Sprintf("NetworkManager manages %s, and gives it its address", u.Interface),
			"it must set no default route there: nmcli connection modify NAME ipv4.never-default yes "+
				"ipv6.never-default yes")
	case managed:
		i.add(Problem, u.Name, fmt.Sprintf("NetworkManager manages %s", u.Interface),
			fmt.Sprintf("nmcli device set %s managed no; and for good: [keyfile] unmanaged-devices=interface-name:%s "+
				"in /etc/NetworkManager/conf.d/uplinkd.conf", u.Interface, u.Interface))
	}
	state := i.host.Networkd[link.Index]
	if state != "" && state != "unmanaged" && u.Address != configs.AddressExternal {
		i.add(Problem, u.Name, fmt.Sprintf("systemd-networkd manages %s (%s)", u.Interface, state),
			fmt.Sprintf("a .network file with [Match] Name=%s and [Link] Unmanaged=yes; "+
				"and ManageForeignRoutes=no, ManageForeignRoutingPolicyRules=no in networkd.conf", u.Interface))
	}
}

// dhcpClients are the programs that ask for leases. Those that name no
// interface on their command line ask on all.
var dhcpClients = []string{"dhclient", "dhcpcd", "udhcpc", "dhcpcd5", "connmand"}

func (i *inspector) clients(u *configs.Uplink) {
	told := map[string]bool{} // programs of several processes
	for _, p := range i.host.Processes {
		if !slices.Contains(dhcpClients, p.Name) {
			continue
		}
		if !told[p.Name] && p.asksOn(u.Interface, i.have.Links) {
			told[p.Name] = true
			i.add(Problem, u.Name, fmt.Sprintf("%s (pid %d) may ask for leases on %s too", p.Name, p.PID, u.Interface),
				fmt.Sprintf("take %s out of its configuration (for ifupdown: `iface %s inet manual`) and stop it",
					u.Interface, u.Interface))
		}
	}
}

// asksOn reports whether a DHCP client may ask for leases on an interface: it is named, or no other is.
func (p *Process) asksOn(iface string, links []routes.Link) bool {
	others := slices.ContainsFunc(links, func(l routes.Link) bool {
		return l.Name != iface &&
			slices.Contains(p.Args, l.Name)
	})
	return !isHelper(*p) && (slices.Contains(p.Args, iface) || !others && !namesInterface(*p))
}

// Client says who gives an interface its address, and whether by DHCP; "" when nobody is known to.
func (h *Host) Client(link routes.Link, links []routes.Link) (name string, leases bool) {
	for i := range h.Processes {
		if p := &h.Processes[i]; slices.Contains(dhcpClients, p.Name) && p.asksOn(link.Name, links) {
			return fmt.Sprintf("%s (pid %d)", p.Name, p.PID), p.Name == "connmand" || slices.Contains(p.Args, link.Name)
		}
	}
	switch state := h.Networkd[link.Index]; {
	case h.NMManaged[link.Index]:
		return "NetworkManager", false
	case state != "" && state != "unmanaged":
		return "systemd-networkd", false
	}
	if s, ok := h.Stanzas[link.Name]; ok && s.Method != "manual" {
		return "ifupdown", s.Method == "dhcp"
	}
	return "", false
}

// isHelper reports whether a process is one of dhcpcd's that works for others of it, on
// no interface of its own: [privileged proxy], [network proxy], [control proxy].
func isHelper(p Process) bool { return slices.Contains(p.Args, "proxy]") }

// namesInterface reports whether a command line has a last word that looks like
// an interface's name.
func namesInterface(p Process) bool {
	if len(p.Args) < 2 {
		return false
	}
	last := p.Args[len(p.Args)-1]
	return last != "" && last[0] != '-' && last[0] != '/'
}

// defaults looks for foreign default routes that would win over the shared one,
// or stand in its place.
func (i *inspector) defaults() {
	c := i.config.Routes
	for _, r := range i.have.Routes {
		if r.Table != c.Table || r.Dst.Bits() != 0 || i.owner.OwnsRoute(r) {
			continue
		}
		metric, what := c.Metric, ""
		if r.Dst.Addr().Is6() && metric == 0 {
			metric = 1 // there is no 0 in IPv6
		}
		remedy := fmt.Sprintf("remove it where it is configured (ifupdown `gateway`, networkd, NetworkManager), "+
			"or by hand: ip route del %s", r)
		switch {
		case r.Metric == metric:
			what = fmt.Sprintf("a foreign default route stands where ours belongs: %s", r)
		case r.Metric < metric:
			what = fmt.Sprintf("a foreign default route wins over ours of metric %d: %s", metric, r)
		default:
			continue
		}
		i.add(Problem, "", what, remedy)
	}
}

// ruleOfMarks looks at a foreign rule that looks at bits of our marks. One for a mark that has
// none of them set leads nothing of ours; that one is not that mark may.
func (i *inspector) ruleOfMarks(r routes.Rule) {
	mask := i.config.Routes.FwMarkMask
	switch {
	case r.Mask&mask == 0:
	case r.Mark&mask != 0:
		i.add(Problem, "", fmt.Sprintf("a foreign rule looks at bits of our marks: %s", r),
			fmt.Sprintf("set routes.fwmark_mask (now %#x) to bits that nothing else uses", mask))
	case r.Foreign && r.Priority < i.owner.RulePriority:
		i.add(Warning, "", fmt.Sprintf("a foreign rule before ours may be about every other mark than its own, and "+
			"so about ours: %s: answers to what comes in by an uplink, and what policies lead, would go where "+
			"it leads", r),
			fmt.Sprintf("give it a priority after ours, %d and more; with wg-quick `Table = off`, and rules of your "+
				"own in PostUp",
				i.owner.RulePriority+1000))
	}
}

func (i *inspector) rules() {
	for _, r := range i.have.Rules {
		if i.owner.OwnsRule(r) {
			continue
		}
		if i.owner.InRange(r.Priority) {
			i.add(Warning, "", fmt.Sprintf("a foreign rule stands in our range of priorities: %s", r),
				"move it, or set routes.rule_priority to another range")
		}
		i.ruleOfMarks(r)
		for n := range i.config.Uplinks {
			if u := &i.config.Uplinks[n]; u.Table == r.Table {
				i.add(Problem, u.Name, fmt.Sprintf("a foreign rule leads to table %d: %s", u.Table, r),
					"give the uplink another `table:`, or remove the rule (an old if-up script?)")
			}
		}
		plain := !r.From.IsValid() && !r.To.IsValid() && r.Mask == 0 && !r.Foreign && !r.SuppressDefault
		if plain && r.Table != i.config.Routes.Table && r.Priority < mainRule {
			i.add(Warning, "",
				fmt.Sprintf("a foreign rule sends all packets to another table before ours is asked: %s", r),
				"if that table has a default route, it wins: remove the rule or the route")
		}
	}
}

// mainRule is the priority of the kernel's own rule for table main.
const mainRule = 32766
