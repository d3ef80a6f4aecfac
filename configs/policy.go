package configs

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// A Policy says by which uplink new connections leave. Empty fields match all.
type Policy struct {
	Name         string
	From, To     Addresses
	In           string // interface
	Protocol     []uint8
	SPort, DPort []PortRange
	User         *uint32 // of local programs
	DSCP         *uint8

	Via      []string // uplinks, the first that is up; none: by weight
	Sticky   StickyKind
	For      time.Duration // how long a source sticks
	WhenDown WhenDown      // none of Via is up
}

// Addresses are prefixes, given here or in files.
type Addresses struct {
	Prefixes []netip.Prefix
	Files    []string
}

// Any reports whether nothing was given, so that all match.
func (a Addresses) Any() bool { return len(a.Prefixes)+len(a.Files) == 0 }

// A PortRange is both ends included.
type PortRange struct{ First, Last uint16 }

// StickyKind says what keeps connections that go by weight on one uplink.
type StickyKind uint8

// The kinds.
const (
	StickyNone StickyKind = iota
	StickySource
	StickySourceDestination
)

// WhenDown says what becomes of connections when no uplink of a policy is up.
type WhenDown uint8

// The ways.
const (
	WhenDownNext     WhenDown = iota // the next policy is asked
	WhenDownProhibit                 // they are refused
	WhenDownBalance                  // they go by weight
)

const (
	policyMost    = 200
	addressMost   = 1000 // given in the file itself; more belong in one of their own
	portMost      = 100
	defaultSticky = 10 * time.Minute
)

var policyName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// A rawPolicy is a policy as it stands in the file, with the places of its keys.
type rawPolicy struct {
	Policy
	at     map[string]value
	self   value
	viaSet bool
}

func (p *parser) readPolicy(v value) {
	raw := rawPolicy{at: map[string]value{}, self: v}
	raw.For = defaultSticky
	keys := map[string]func(value){
		"name":     func(v value) { p.readName(v, &raw.Name, policyName, "1 to 32 letters, digits, '-' or '_'") },
		"from":     func(v value) { p.readAddresses(v, &raw.From) },
		"to":       func(v value) { p.readAddresses(v, &raw.To) },
		"in":       func(v value) { p.readName(v, &raw.In, interfaceName, "an interface's name, at most 15 bytes") },
		"protocol": func(v value) { p.readProtocols(v, &raw.Protocol) },
		"sport":    func(v value) { p.readPorts(v, &raw.SPort) },
		"dport":    func(v value) { p.readPorts(v, &raw.DPort) },
		"user":     func(v value) { p.readUser(v, &raw) },
		"dscp": func(v value) {
			if n, ok := p.integer(v, 0, 63); ok {
				dscp := uint8(n)
				raw.DSCP = &dscp
			}
		},
		"via":        func(v value) { p.readVia(v, &raw) },
		"sticky":     func(v value) { setWord(p, v, &raw.Sticky, "none", "source", "source-destination") },
		"sticky_for": func(v value) { setDuration(p, v, &raw.For, time.Second, 24*time.Hour) },
		"when_down":  func(v value) { setWord(p, v, &raw.WhenDown, "next", "prohibit", "balance") },
	}
	for key, read := range keys {
		keys[key] = func(v value) { raw.at[key] = v; read(v) }
	}
	p.mapping(v, keys)
	p.checkPolicy(&raw)
	p.policies = append(p.policies, raw)
}

func (p *parser) checkPolicy(raw *rawPolicy) {
	for _, key := range []string{"name", "via"} {
		if _, ok := raw.at[key]; !ok {
			p.fail(value{node: raw.self.node, path: raw.self.path + "." + key}, "missing: %s", map[string]string{
				"name": "give it 1 to 32 letters, digits, '-' or '_'",
				"via":  "name an uplink, a list of them in order of preference, or balance",
			}[key])
		}
	}
	if slices.ContainsFunc(p.policies, func(other rawPolicy) bool { return other.Name == raw.Name && raw.Name != "" }) {
		p.fail(raw.at["name"], "%s: an earlier policy has it: give each its own", raw.Name)
	}
	if v, ok := raw.at["sticky"]; ok && raw.viaSet && len(raw.Via) > 0 && raw.Sticky != StickyNone {
		p.fail(v, "only with via: balance: an uplink that is named is kept to anyhow")
	}
	if v, ok := raw.at["user"]; ok && raw.In != "" {
		p.fail(v, "not with in: what a program of this host sends came in by no interface")
	}
	for _, key := range []string{"sport", "dport"} {
		if v, ok := raw.at[key]; ok && slices.ContainsFunc(raw.Protocol, func(n uint8) bool { return !hasPorts(n) }) {
			p.fail(v, "only with protocols that have ports: tcp, udp, sctp, dccp, udplite")
		}
	}
}

// checkVia wants every uplink that a policy names to be there.
func (p *parser) checkVia() {
	known := func(name string) bool {
		return slices.ContainsFunc(p.uplinks, func(u rawUplink) bool { return u.Name == name })
	}
	for _, raw := range p.policies {
		for _, name := range raw.Via {
			if !known(name) {
				p.fail(raw.at["via"], "%s: no such uplink", name)
			}
		}
	}
}

func (p *parser) readVia(v value, raw *rawPolicy) {
	raw.viaSet = true
	p.scalars(v, func(v value, s string) {
		if s == "balance" && resolve(v.node).Kind == yaml.ScalarNode && v.path == raw.at["via"].path {
			return
		}
		if slices.Contains(raw.Via, s) {
			p.fail(v, "%s: named twice: keep one", s)
			return
		}
		raw.Via = append(raw.Via, s)
	})
}

// scalars calls read for a single value, or for each of a list.
func (p *parser) scalars(v value, read func(value, string)) {
	one := func(v value) {
		if s, ok := p.text(v); ok {
			read(v, s)
		}
	}
	if resolve(v.node).Kind == yaml.SequenceNode {
		p.list(v, one)
		return
	}
	one(v)
}

func (p *parser) readAddresses(v value, to *Addresses) {
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
		prefix, err := parsePrefix(s)
		if err != nil {
			p.fail(v, "%q: must be an IP address, a prefix, file:/path or bgp:name", s)
			return
		}
		to.Prefixes = append(to.Prefixes, prefix)
	})
	if n := len(to.Prefixes); n > addressMost {
		p.fail(v, "%d prefixes: at most %d; put more into a file", n, addressMost)
	}
}

// bgpDir is where uplinkd-bgp@NAME.service puts what neighbours announce.
const bgpDir = "/var/lib/uplinkd-bgp"

// BGPFile returns the file of the prefixes that a BGP neighbour announces.
func BGPFile(name string) string { return filepath.Join(bgpDir, name+".prefixes") }

// IsBGPFile reports whether a file is one of those. Until a neighbour has announced anything
// there is none, and no prefix in it.
func IsBGPFile(path string) bool { return filepath.Dir(path) == bgpDir }

func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && !a.Is4In6() && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil || prefix.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is no prefix of IP", s)
	}
	return prefix.Masked(), nil
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

func (p *parser) readUser(v value, raw *rawPolicy) {
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
	raw.User = &id
}

// prefixFileMost bounds a file of prefixes, in bytes and in prefixes.
const (
	prefixFileMost = 64 << 20
	prefixesMost   = 2_000_000
)

// ReadPrefixes reads a file of prefixes and addresses, one a line; what
// follows '#' is a remark.
func ReadPrefixes(r io.Reader) ([]netip.Prefix, error) {
	var list []netip.Prefix
	limited := &io.LimitedReader{R: r, N: prefixFileMost + 1}
	lines := bufio.NewScanner(limited)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		prefix, err := parsePrefix(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if list = append(list, prefix); len(list) > prefixesMost {
			return nil, fmt.Errorf("more than %d prefixes", prefixesMost)
		}
	}
	if limited.N <= 0 {
		return nil, fmt.Errorf("more than %d bytes", prefixFileMost)
	}
	return list, lines.Err()
}
