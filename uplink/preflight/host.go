package preflight

import (
	"bytes"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"uplinkd/routes"
)

// fileMost bounds what is read of any one file, in bytes.
const fileMost = 64 << 10

// ReadHost reads what Inspect needs from a file system that begins at the
// host's root: about links, and about interfaces by their names, which may come later.
// What cannot be read is as if it were not there.
func ReadHost(root fs.FS, links []routes.Link, interfaces []string) Host {
	h := Host{Networkd: map[int]string{}, NMManaged: map[int]bool{}, Strict: map[string]bool{}}
	h.Processes = processes(root)
	h.NetworkdDeletes, h.NetworkFiles = networkd(root, interfaces)
	h.Stanzas = stanzas(root)
	h.NoDNS = noDNS(root)
	h.NFTables = read(root, "etc/nftables.conf")
	_, err := fs.Stat(root, "proc/sys/net/mptcp/enabled")
	h.NoMPTCP = err != nil
	h.readIPv6(root, interfaces)
	all := read(root, "proc/sys/net/ipv4/conf/all/rp_filter")
	for _, l := range links {
		index := strconv.Itoa(l.Index)
		if state := assigned(read(root, "run/systemd/netif/links/"+index), "ADMIN_STATE"); state != "" {
			h.Networkd[l.Index] = state
		}
		if assigned(read(root, "run/NetworkManager/devices/"+index), "managed") == "true" {
			h.NMManaged[l.Index] = true
		}
		// The kernel takes the larger of the two; 2 is loose (ip-sysctl.rst).
		own := read(root, path.Join("proc/sys/net/ipv4/conf", l.Name, "rp_filter"))
		h.Strict[l.Name] = max(own, all) == "1"
	}
	return h
}

func read(root fs.FS, name string) string {
	f, err := root.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, fileMost))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// assigned returns the value of KEY=value in a text.
func assigned(text, key string) string {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && k == key {
			return v
		}
	}
	return ""
}

// processes returns the running DHCP clients.
func processes(root fs.FS) []Process {
	entries, _ := fs.ReadDir(root, "proc")
	var list []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		name := read(root, path.Join("proc", e.Name(), "comm"))
		if slices.Contains(dhcpClients, name) || slices.Contains(ipv6Clients, name) {
			list = append(list, Process{PID: pid, Name: name, Args: args(root, e.Name())})
		}
	}
	return list
}

// words takes a title apart that dhcpcd gives its processes ("dhcpcd: eth0 [ip4]"). Other
// arguments are one word each.
func words(arg string) []string {
	title, ok := strings.CutPrefix(arg, "dhcpcd: ")
	if !ok {
		return []string{arg}
	}
	return append([]string{"dhcpcd"}, strings.Fields(title)...)
}

func args(root fs.FS, pid string) []string {
	var list []string
	for _, arg := range bytes.Split([]byte(read(root, path.Join("proc", pid, "cmdline"))), []byte{0}) {
		if len(arg) > 0 {
			list = append(list, words(string(arg))...)
		}
	}
	return list
}
