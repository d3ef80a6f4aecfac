package configs

import (
	"net"
	"net/netip"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Match says which connections are meant. What is empty matches all; of a list, one is enough.
type Match struct {
	From, To     Addresses
	In           []string // interfaces; one with '*' at its end is all that begin so
	MAC          []net.HardwareAddr
	Protocol     []uint8
	SPort, DPort []PortRange
	User         *uint32 // of local programs
	Unit         string  // of systemd, that local programs belong to
	Cgroup       string  // likewise, by the path below the root of cgroup2
	DSCP         *uint8
}

// Addresses are prefixes, given here or in files, and names whose addresses a DNS server tells.
type Addresses struct {
	Prefixes []netip.Prefix
	Files    []string
	Names    []string // of sets of nft that the server fills
}

// Any reports whether nothing was given, so that all match.
func (a Addresses) Any() bool { return len(a.Prefixes)+len(a.Files)+len(a.Names) == 0 }

// A PortRange is both ends included.
type PortRange struct{ First, Last uint16 }

const (
	addressMost = 1000 // given in the file itself; more belong in one of their own
	portMost    = 100
	inMost      = 50
	macMost     = 1000
	nameMost    = 8
)

// The forms of what a Match names.
var (
	inName = regexp.MustCompile(`^[^/:*\s\x00-\x20\x7f]{1,15}$|^[^/:*\s\x00-\x20\x7f]{1,14}\*$`)
	// An underscore would make it one of our own sets, and nft has no name that begins otherwise.
	nameSet  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,30}$`)
	unitName = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]{1,200}\.(service|scope|slice|socket|mount|swap)$`)
)

// matchKeys are the keys of a match.
func (p *parser) matchKeys(m *Match) map[string]func(value) {
	return map[string]func(value){
		"from":     func(v value) { p.readAddresses(v, &m.From, false) },
		"to":       func(v value) { p.readAddresses(v, &m.To, true) },
		"in":       func(v value) { p.readInterfaces(v, &m.In) },
		"mac":      func(v value) { p.readMACs(v, &m.MAC) },
		"protocol": func(v value) { p.readProtocols(v, &m.Protocol) },
		"sport":    func(v value) { p.readPorts(v, &m.SPort) },
		"dport":    func(v value) { p.readPorts(v, &m.DPort) },
		"user":     func(v value) { p.readUser(v, &m.User) },
		"unit": func(v value) {
			p.readName(v, &m.Unit, unitName, "a unit of systemd, such as transmission-daemon.service")
		},
		"cgroup": func(v value) { p.readCgroup(v, &m.Cgroup) },
		"dscp": func(v value) {
			if n, ok := p.integer(v, 0, 63); ok {
				dscp := uint8(n)
				m.DSCP = &dscp
			}
		},
	}
}

// readNot reads what must not hold. Each key is denied by itself, so a protocol beside a port would
// deny more than it seems to.
func (p *parser) readNot(v value, to *Match) {
	at := map[string]value{}
	keys := p.matchKeys(to)
	for key, read := range keys {
		keys[key] = func(v value) { at[key] = v; read(v) }
	}
	p.mapping(v, keys)
	if place, ok := at["protocol"]; ok && len(to.SPort)+len(to.DPort) > 0 {
		p.fail(place, "not beside a port: each is denied by itself, and a port is one of TCP and UDP")
	}
	p.checkPorts(to, at)
}

// checkMatch looks for what can never hold together.
func (p *parser) checkMatch(m *Match, at map[string]value) {
	p.checkPorts(m, at)
	for _, key := range []string{"user", "unit", "cgroup"} {
		if v, ok := at[key]; ok && len(m.In)+len(m.MAC) > 0 {
			p.fail(v, "not with in or mac: what a program of this host sends came in by no interface")
		}
	}
	if v, ok := at["cgroup"]; ok && m.Unit != "" {
		p.fail(v, "not with unit: a unit is a cgroup, keep one of them")
	}
}

// checkPorts wants protocols that have ports beside one.
func (p *parser) checkPorts(m *Match, at map[string]value) {
	for _, key := range []string{"sport", "dport"} {
		if v, ok := at[key]; ok && slices.ContainsFunc(m.Protocol, func(n uint8) bool { return !hasPorts(n) }) {
			p.fail(v, "only with protocols that have ports: tcp, udp, sctp, dccp, udplite")
		}
	}
}

func (p *parser) readInterfaces(v value, to *[]string) {
	p.scalars(v, func(v value, s string) {
		if !inName.MatchString(s) {
			p.fail(v, "%q: must be an interface's name, at most 15 bytes, or the beginning of some and '*'", s)
			return
		}
		*to = append(*to, s)
	})
	if len(*to) > inMost {
		p.fail(v, "%d interfaces: at most %d", len(*to), inMost)
	}
}

func (p *parser) readMACs(v value, to *[]net.HardwareAddr) {
	p.scalars(v, func(v value, s string) {
		mac, err := net.ParseMAC(s)
		if err != nil || len(mac) != 6 {
			p.fail(v, "%q: must be an Ethernet address, such as 02:00:5e:10:00:01", s)
			return
		}
		*to = append(*to, mac)
	})
	if len(*to) > macMost {
		p.fail(v, "%d addresses: at most %d", len(*to), macMost)
	}
}

func (p *parser) readCgroup(v value, to *string) {
	s, ok := p.text(v)
	if !ok {
		return
	}
	clean := strings.TrimPrefix(path.Clean("/"+s), "/")
	if clean == "" || len(s) > pathMost || clean != strings.Trim(s, "/") {
		p.fail(v, "%q: must be a path below /sys/fs/cgroup, such as user.slice/user-1000.slice", s)
		return
	}
	*to = clean
}

// readNameSet reads the name of a set that a DNS server fills.
func (p *parser) readNameSet(v value, name string, to *Addresses) {
	switch {
	case !nameSet.MatchString(name):
		p.fail(v, "%q: must be dns: and a letter, then letters, digits or '-', 31 at most", "dns:"+name)
	case nftWords[name] || nftWords[name+"6"]:
		p.fail(v, "%q: nft has that word for something else: add another, such as my-%s", "dns:"+name, name)
	case strings.HasSuffix(name, "6"):
		p.fail(v, "%q: a 6 at its end is for the set of IPv6: leave it out", "dns:"+name)
	case len(to.Names) == nameMost:
		p.fail(v, "at most %d names", nameMost)
	case !slices.Contains(to.Names, name):
		to.Names = append(to.Names, name)
	}
}

func (p *parser) readAddresses(v value, to *Addresses, names bool) {
	p.scalars(v, func(v value, s string) {
		if file, ok := strings.CutPrefix(s, "file:"); ok {
			if !filepath.IsAbs(file) || len(file) > pathMost {
				p.fail(v, "%q: must be file: and an absolute path", s)
				return
			}
			to.Files = append(to.Files, filepath.Clean(file))
			return
		}
		if name, ok := strings.CutPrefix(s, "bgp:"); ok {
			if !uplinkName.MatchString(name) {
				p.fail(v, "%q: must be bgp: and a name of 1 to 32 letters, digits, '-' or '_'", s)
				return
			}
			to.Files = append(to.Files, BGPFile(name))
			return
		}
		if name, ok := strings.CutPrefix(s, "dns:"); ok && names {
			p.readNameSet(v, name, to)
			return
		}
		prefix, err := parsePrefix(s)
		if err != nil {
			p.fail(v, "%q: must be an IP address, a prefix, file:/path, bgp:name%s", s,
				map[bool]string{true: " or dns:name"}[names])
			return
		}
		to.Prefixes = append(to.Prefixes, prefix)
	})
	if n := len(to.Prefixes); n > addressMost {
		p.fail(v, "%d prefixes: at most %d; put more into a file", n, addressMost)
	}
}

// protocols are those that may be named; others are numbers.
var protocols = map[string]uint8{
	"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "esp": 50, "ah": 51, "icmpv6": 58,
	"sctp": 132, "udplite": 136,
}

func hasPorts(protocol uint8) bool {
	return slices.Contains([]uint8{6, 17, 33, 132, 136}, protocol)
}

func (p *parser) readProtocols(v value, to *[]uint8) {
	p.scalars(v, func(v value, s string) {
		n, known := protocols[s]
		if !known {
			number, err := strconv.ParseUint(s, 10, 8)
			if err != nil {
				p.fail(v, "%q: must be tcp, udp, icmp, gre, esp or a protocol's number", s)
				return
			}
			n = uint8(number)
		}
		if !slices.Contains(*to, n) {
			*to = append(*to, n)
		}
	})
}

func (p *parser) readPorts(v value, to *[]PortRange) {
	p.scalars(v, func(v value, s string) {
		first, last, isRange := strings.Cut(s, "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 16)
		b, errB := strconv.ParseUint(last, 10, 16)
		if errA != nil || errB != nil || a > b || a == 0 {
			p.fail(v, "%q: must be a port or a range such as 8000-8080", s)
			return
		}
		*to = append(*to, PortRange{uint16(a), uint16(b)})
	})
	if len(*to) > portMost {
		p.fail(v, "%d ranges of ports: at most %d", len(*to), portMost)
		return
	}
	*to = mergePorts(*to)
}

// mergePorts puts ranges in order and joins those that overlap or touch.
func mergePorts(list []PortRange) []PortRange {
	slices.SortFunc(list, func(a, b PortRange) int { return int(a.First) - int(b.First) })
	merged := list[:0]
	for _, r := range list {
		if n := len(merged); n > 0 && int(r.First) <= int(merged[n-1].Last)+1 {
			merged[n-1].Last = max(merged[n-1].Last, r.Last)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

func (p *parser) readUser(v value, to **uint32) {
	s, ok := p.text(v)
	if !ok {
		return
	}
	n, err := strconv.ParseUint(s, 10, 32)
	id := uint32(n)
	if err != nil {
		id, ok = 0, false
		if p.users != nil {
			id, ok = p.users(s)
		}
		if !ok {
			p.fail(v, "%q: no user has that name on this host: give the number", s)
			return
		}
	}
	*to = &id
}
