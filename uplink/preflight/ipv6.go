package preflight

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"uplinkd/configs"
	"uplinkd/routes"
)

// ipv6Clients are programs that hear routers or speak DHCPv6, and nothing else.
var ipv6Clients = []string{"dhcp6c", "odhcp6c", "rdnssd"}

// ipv6 looks at what would get in the way of IPv6.
func (i *inspector) ipv6() {
	for n := range i.config.Uplinks {
		if u := &i.config.Uplinks[n]; u.IPv6.Present() {
			i.routersHeard(u)
		}
	}
	i.lan()
}

// routersHeard looks at who else hears the routers of an uplink's link, and whether anybody does where that
// is left to others.
func (i *inspector) routersHeard(u *configs.Uplink) {
	link, _ := i.have.Link(u.Interface)
	if u.IPv6.Address == configs.AddressExternal {
		if i.host.Forwards6 && i.host.AcceptRA[u.Interface] == "1" {
			i.add(Warning, u.Name, fmt.Sprintf("this host forwards IPv6, and net.ipv6.conf.%s.accept_ra is 1: the "+
				"kernel hears no router there", u.Interface),
				"set it to 2 if the kernel is to make the address (Docker turns forwarding on)")
		}
		return
	}
	state := i.host.Networkd[link.Index]
	if u.Address == configs.AddressExternal && state != "" && state != "unmanaged" {
		i.add(Problem, u.Name,
			fmt.Sprintf("systemd-networkd manages %s (%s), and hears its routers too", u.Interface, state),
			"IPv6AcceptRA=no, and no IPv6 in DHCP=, in its .network file")
	}
	for _, p := range i.host.Processes {
		if slices.Contains(ipv6Clients, p.Name) && (!namesInterface(p) || slices.Contains(p.Args, u.Interface)) {
			i.add(Problem, u.Name, fmt.Sprintf("%s (pid %d) may speak IPv6 with the provider on %s too",
				p.Name, p.PID, u.Interface), fmt.Sprintf("stop it, or take %s out of its configuration", u.Interface))
		}
	}
}

// lan looks at what the LAN's hosts need beside what we do.
func (i *inspector) lan() {
	if len(i.config.LAN) == 0 {
		return
	}
	if !i.host.Forwards6 {
		i.add(Warning, "", "net.ipv6.conf.all.forwarding is 0: the LAN's hosts get addresses, and no way out",
			"net.ipv6.conf.all.forwarding=1 in /etc/sysctl.d")
		return
	}
	filtered := func(chain string) bool {
		return strings.HasPrefix(chain, "table ip6 ") || strings.HasPrefix(chain, "table inet ")
	}
	if !slices.ContainsFunc(i.host.ForwardDrops, filtered) && !i.config.OwnPrefix.IsValid() {
		i.add(Warning, "", "no nft chain drops by default what of IPv6 is forwarded: hosts of the LAN have addresses "+
			"that the Internet can reach by the provider that gave the prefix",
			"a chain of `hook forward` with `policy drop` that accepts what comes from the LAN, and "+
				"`ct state established,related`")
	}
}

// lastWords looks for foreign routes of main that end every lookup: rule 20000 asks main before all of ours, and
// passes over a default route, but not over one that is an error (fib_rules_lookup in net/core/fib_rules.c).
func (i *inspector) lastWords() {
	for _, r := range i.have.Routes {
		ends := r.Type == routes.Prohibit || r.Type == routes.Unreachable || r.Type == routes.Blackhole
		if r.Table == routes.TableMain && r.Dst.Bits() == 0 && ends && !i.owner.OwnsRoute(r) {
			i.add(Problem, "", fmt.Sprintf("a foreign default route of main ends every lookup before ours: %s", r),
				"remove it, or put it into another table with a rule after ours")
		}
	}
}

// readIPv6 reads what the kernel's settings say of IPv6.
func (h *Host) readIPv6(root fs.FS, interfaces []string) {
	h.Forwards6 = read(root, "proc/sys/net/ipv6/conf/all/forwarding") == "1"
	h.AcceptRA = map[string]string{}
	for _, name := range interfaces {
		h.AcceptRA[name] = read(root, path.Join("proc/sys/net/ipv6/conf", name, "accept_ra"))
	}
}
