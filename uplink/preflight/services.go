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

// services looks at what on the host has to do with all uplinks.
func (i *inspector) services() {
	if list := i.host.NetworkdDeletes; len(list) > 0 {
		i.add(Problem, "", fmt.Sprintf("systemd-networkd runs without %s: it deletes our routes and rules when it is "+
			"restarted or reloaded", strings.Join(list, " and ")),
			"put networkd-foreign.conf (make install does) in /etc/systemd/networkd.conf.d, and restart "+
				"systemd-networkd once")
	}
	leases := slices.ContainsFunc(i.config.Uplinks, func(u configs.Uplink) bool {
		return u.Address == configs.AddressDHCP
	})
	if i.host.NoDNS != "" && leases && i.config.DNS <= configs.DNSRoute {
		i.add(Warning, "", "no DNS server is known to this host: "+i.host.NoDNS,
			"uplinkd does not touch resolv.conf: write a nameserver there, or give the leases' servers to "+
				"systemd-resolved or a file by `dns: resolved` or `dns: file`")
	}
}

// files looks at what others will do with an uplink's interface when they next begin.
func (i *inspector) files(u *configs.Uplink, link routes.Link) {
	if s, ok := i.host.Stanzas[u.Interface]; ok {
		switch {
		case s.Method == "dhcp":
			i.add(Problem, u.Name, fmt.Sprintf("%s: iface %s inet dhcp: ifupdown asks for a lease too when it next "+
				"begins, and sets a default route of its own", s.File, u.Interface),
				fmt.Sprintf("ifdown %s, then make it `iface %s inet manual` there", u.Interface, u.Interface))
		case s.Gateway:
			i.add(Problem, u.Name, fmt.Sprintf("%s: iface %s has a gateway: ifupdown sets a default route of its own "+
				"when it next begins", s.File, u.Interface),
				"remove the line `gateway` there")
		}
	}
	file := i.host.NetworkFiles[u.Interface]
	now := i.host.Networkd[link.Index]
	reported := link.Index != 0 && now != "" && now != "unmanaged" // it is told by what it does
	if file != "" && !reported && u.Address != configs.AddressExternal {
		i.add(Problem, u.Name,
			fmt.Sprintf("%s has systemd-networkd configure %s when it next begins", file, u.Interface),
			fmt.Sprintf("take %s out of its [Match], or a file that comes before it, with [Match] Name=%s and "+
				"[Link] Unmanaged=yes", u.Interface, u.Interface))
	}
}

// mptcp looks whether the kernel has what mptcp: true asks for.
func (i *inspector) mptcp() {
	if i.config.MPTCP && i.host.NoMPTCP {
		i.add(Problem, "", "mptcp: true, and this kernel has no MPTCP",
			"run a kernel that has it (Debian's from 12 on), or mptcp: false")
	}
}

// marks looks at who else writes marks.
func (i *inspector) marks() {
	mask := i.config.Routes.FwMarkMask
	if !i.config.Marks {
		return
	}
	for _, w := range i.host.MarkWrites {
		switch {
		case w.Sets&mask != 0:
			i.add(Problem, "", fmt.Sprintf("a foreign nft rule sets bits of our marks (%#x): %s", mask, w),
				"set routes.fwmark_mask to bits that nothing else uses")
		case w.Connection && w.Bits&mask != 0:
			i.add(Warning, "", fmt.Sprintf("a foreign nft rule takes our bits (%#x) out of connections' marks: %s: "+
				"such a connection may move to another uplink, and end", mask, w),
				fmt.Sprintf("have it keep them: ct mark set ct mark and %#x or …", mask))
		}
	}
}

// savedTable looks whether the host's own ruleset has been saved with our table in it.
func (i *inspector) savedTable() {
	table := "table inet " + i.owner.Table()
	ours := func(line string) bool {
		rest, ok := strings.CutPrefix(strings.Join(strings.Fields(line), " "), table)
		return ok && strings.Trim(rest, " {") == ""
	}
	if slices.ContainsFunc(strings.Split(i.host.NFTables, "\n"), ours) {
		i.add(Warning, "", fmt.Sprintf("/etc/nftables.conf holds our %s as it was once: a policy's unit or cgroup "+
			"that is not there yet at the boot keeps the whole file from being loaded", table),
			"remove it there: uplinkd makes its table itself")
	}
}

// forwarding looks at who else decides about what is forwarded: Docker drops what is not its
// own.
func (i *inspector) forwarding() {
	gateway := slices.ContainsFunc(i.config.Uplinks, func(u configs.Uplink) bool { return u.Masquerade })
	for _, chain := range i.host.ForwardDrops {
		if gateway && !strings.HasPrefix(chain, "table ip6 ") {
			i.add(Warning, "", chain+" drops what is forwarded unless a rule there accepts it",
				"have it accept what comes from your LAN and what belongs to it: with Docker "+
					"`iptables -I DOCKER-USER -i lan0 -j ACCEPT`, and the same with "+
					"`-o lan0 -m conntrack --ctstate RELATED,ESTABLISHED`")
		}
	}
}

// Tailscale's own packets bear this mark, and look for their way in main alone
// (net/netns and wgengine/router of its source).
const tailscaleMark = 0x80000

// tailscale looks whether Tailscale finds the shared default route.
func (i *inspector) tailscale() {
	table := i.config.Routes.Table
	if table == routes.TableMain {
		return
	}
	theirs := func(r routes.Rule) bool { return r.Mark == tailscaleMark && r.Priority < mainRule }
	if slices.ContainsFunc(i.have.Rules, theirs) {
		i.add(Problem, "",
			fmt.Sprintf("routes.table is %d, and Tailscale's own packets look for their way in main alone", table),
			"leave routes.table at main")
	}
}

// networkdSettings are those by which systemd-networkd deletes what it did not make
// (networkd.conf(5)).
var networkdSettings = []string{"ManageForeignRoutes", "ManageForeignRoutingPolicyRules"}

// networkd returns which of the settings a systemd-networkd that runs lacks, and which
// .network file it has for each interface. One that neither runs nor is enabled has
// none.
func networkd(root fs.FS, interfaces []string) (lacks []string, files map[string]string) {
	runs := runs(root, "systemd-network") // comm holds 15 characters
	_, err := fs.Stat(root, "etc/systemd/system/multi-user.target.wants/systemd-networkd.service")
	if !runs && err != nil {
		return nil, nil
	}
	values := map[string]string{}
	texts := append([]string{read(root, "etc/systemd/networkd.conf")}, dropIns(root, "networkd.conf.d/*.conf")...)
	for _, text := range texts {
		for _, key := range networkdSettings {
			if value := assigned(text, key); value != "" {
				values[key] = value
			}
		}
	}
	for _, key := range networkdSettings {
		if !slices.Contains([]string{"no", "false", "off", "0", "n", "f"}, strings.ToLower(values[key])) {
			lacks = append(lacks, key+"=no")
		}
	}
	return lacks, networkFiles(root, interfaces)
}

func runs(root fs.FS, comm string) bool {
	names, _ := fs.Glob(root, "proc/[0-9]*/comm")
	return slices.ContainsFunc(names, func(name string) bool { return read(root, name) == comm })
}

// systemdDirs are where systemd's files lie, those first that count for more.
var systemdDirs = []string{"etc/systemd", "run/systemd", "usr/lib/systemd"}

// found returns the files of a pattern below systemd's directories, in the order in which
// systemd reads them: by name; of the same name the one that counts for more.
func found(root fs.FS, pattern string) []string {
	byName := map[string]string{}
	for _, dir := range systemdDirs {
		names, _ := fs.Glob(root, path.Join(dir, pattern))
		for _, name := range names {
			if byName[path.Base(name)] == "" {
				byName[path.Base(name)] = name
			}
		}
	}
	list := make([]string, 0, len(byName))
	for _, name := range byName {
		list = append(list, name)
	}
	slices.SortFunc(list, func(a, b string) int { return strings.Compare(path.Base(a), path.Base(b)) })
	return list
}

func dropIns(root fs.FS, pattern string) (texts []string) {
	for _, name := range found(root, pattern) {
		texts = append(texts, read(root, name))
	}
	return texts
}

// networkFiles returns by interface the .network file that systemd-networkd would take
// for it (systemd.network(5)), if that has it configured.
func networkFiles(root fs.FS, interfaces []string) map[string]string {
	files := map[string]string{}
	names := found(root, "network/*.network")
	for _, iface := range interfaces {
		for _, name := range names {
			text := read(root, name)
			if !matches(assigned(text, "Name"), iface) {
				continue
			}
			if yes := assigned(text, "Unmanaged"); yes != "yes" && yes != "true" && yes != "1" && yes != "on" {
				files[iface] = "/" + name
			}
			break // the first that matches is taken
		}
	}
	return files
}

// matches reports whether the words of Name= match an interface's name. A file that
// matches by something else than a name is not understood here.
func matches(words, iface string) bool {
	others := false
	for _, word := range strings.Fields(words) {
		pattern, not := strings.CutPrefix(word, "!")
		if ok, _ := path.Match(pattern, iface); ok {
			return !not
		}
		others = others || not
	}
	return others
}

// stanzas reads /etc/network/interfaces and the files beside it.
func stanzas(root fs.FS) map[string]Stanza {
	more, _ := fs.Glob(root, "etc/network/interfaces.d/*")
	list := map[string]Stanza{}
	for _, name := range append([]string{"etc/network/interfaces"}, more...) {
		iface := ""
		for line := range strings.Lines(read(root, name)) {
			words := strings.Fields(line)
			switch {
			case len(words) == 0 || strings.HasPrefix(words[0], "#"):
			case words[0] == "iface" && len(words) >= 4:
				iface = ""
				if words[2] == "inet" {
					iface = words[1]
					list[iface] = Stanza{File: "/" + name, Method: words[3]}
				}
			case words[0] == "auto", words[0] == "mapping", strings.HasPrefix(words[0], "allow-"),
				strings.HasPrefix(words[0], "source"):
				iface = ""
			case words[0] == "gateway" && iface != "":
				s := list[iface]
				s.Gateway = true
				list[iface] = s
			}
		}
	}
	return list
}

// resolvedStub is the address at which systemd-resolved answers for others.
const resolvedStub = "127.0.0.53"

// noDNS returns why this host knows no DNS server, "" when it does.
func noDNS(root fs.FS) string {
	servers := nameservers(read(root, "etc/resolv.conf"))
	if len(servers) == 0 {
		return "/etc/resolv.conf names none"
	}
	onlyStub := !slices.ContainsFunc(servers, func(s string) bool { return s != resolvedStub })
	if onlyStub && len(nameservers(read(root, "run/systemd/resolve/resolv.conf"))) == 0 {
		return "systemd-resolved, which /etc/resolv.conf names, has none (resolvectl shows them)"
	}
	return ""
}

func nameservers(text string) (list []string) {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "nameserver" {
			list = append(list, words[1])
		}
	}
	return list
}
