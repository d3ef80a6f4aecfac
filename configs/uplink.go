package configs

import (
	"encoding/hex"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// A rawUplink is an uplink as it stands in the file, with the places of its keys.
type rawUplink struct {
	Uplink
	self     value
	at       map[string]value
	probeAt  map[string]value
	routeSet bool // the gateway key was given
}

// where returns the place of a key, or of the uplink when the key is not there.
func (u *rawUplink) where(key string) value {
	if v, ok := u.at[key]; ok {
		return v
	}
	return value{node: u.self.node, path: key}
}

var (
	uplinkName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)
	// As the kernel has it (dev_valid_name): no slash, colon or white space, 15 bytes.
	interfaceName = regexp.MustCompile(`^[^/:\s\x00-\x20\x7f]{1,15}$`)
)

func (p *parser) readUplink(v value) {
	u := rawUplink{self: v, at: map[string]value{}, probeAt: map[string]value{}}
	u.Weight, u.Tier, u.DHCP = 1, 1, defaultDHCP
	u.Probe, u.Options = p.probe, p.options
	var ipv6 *value
	p.uplink = p.nameOf(v)
	defer func() { p.uplink = "" }()
	noted := func(key string, read func(value)) func(value) {
		return func(v value) {
			v.path = key // the uplink is named beside it; its place in the list says nothing
			u.at[key] = v
			read(v)
		}
	}
	keys := map[string]func(value){
		"name": func(v value) { p.readName(v, &u.Name, uplinkName, "1 to 32 letters, digits, '-' or '_'") },
		"interface": func(v value) {
			p.readName(v, &u.Interface, interfaceName, "an interface's name, at most 15 bytes")
			// The kernel's settings have directories of the other two names.
			if slices.Contains([]string{"lo", "all", "default"}, u.Interface) {
				p.fail(v, "%q is no way to the Internet: name the interface that the provider is on", u.Interface)
			}
		},
		"address": func(v value) { p.readAddress(v, &grammar4, &u.Path) },
		"gateway": func(v value) { u.routeSet = true; p.readGateway(v, &grammar4, &u.Path) },
		"onlink": func(v value) {
			if on, ok := p.flag(v); ok {
				u.OnLink = on
			}
		},
		"weight":  func(v value) { setInteger(p, v, &u.Weight, 1, 256) },
		"tier":    func(v value) { setInteger(p, v, &u.Tier, 1, 100) },
		"table":   func(v value) { p.table(v, &u.Table) },
		"fwmark":  func(v value) { setInteger(p, v, &u.FwMark, 1, 1<<32-1) },
		"probe":   func(v value) { p.readProbe(v, &u.Probe, u.probeAt) },
		"dhcp":    func(v value) { p.readDHCP(v, &u.DHCP) },
		"options": func(v value) { p.readOptions(v, &u.Options) },
		"ipv6":    func(v value) { ipv6 = &v },

		"nameservers": func(v value) { p.list(v, func(v value) { p.readNameserver(v, &u.Nameservers) }) },

		"masquerade":      func(v value) { setFlag(p, v, &u.Masquerade) },
		"max_connections": func(v value) { setInteger(p, v, &u.MaxConnections, 0, 100_000_000) },
		"quota":           func(v value) { p.readQuota(v, &u.Quota) },
		"bandwidth":       func(v value) { p.readBandwidth(v, &u.Bandwidth) },
		"auto_disable":    func(v value) { setFlag(p, v, &u.AutoDisable) },
		"slow_start":      func(v value) { setDuration(p, v, &u.SlowStart, 0, time.Hour) },
	}
	for key, read := range keys {
		keys[key] = noted(key, read)
	}
	p.mapping(value{node: v.node}, keys)
	if ipv6 != nil {
		p.readIPv6(*ipv6, &u)
	}
	p.checkUplink(&u)
	p.uplinks = append(p.uplinks, u)
}

// nameOf finds an uplink's name before anything else of it is read, so that
// every problem can say whose it is. Without one it is the place in the list.
func (p *parser) nameOf(v value) string {
	n := resolve(v.node)
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == "name" && uplinkName.MatchString(n.Content[i+1].Value) {
				return n.Content[i+1].Value
			}
		}
	}
	return v.path
}

func (p *parser) readName(v value, to *string, pattern *regexp.Regexp, must string) {
	s, ok := p.text(v)
	if ok && (!pattern.MatchString(s) || s == "." || s == "..") {
		p.fail(v, "%q: must be %s", s, must)
		return
	}
	*to = s
}

var bandwidthText = regexp.MustCompile(`^([0-9]{1,6})([kMG])bit$`)

// readBandwidth reads bits a second: 100Mbit. Units are powers of ten.
func (p *parser) readBandwidth(v value, to *uint64) {
	s, ok := p.text(v)
	if !ok {
		return
	}
	parts := bandwidthText.FindStringSubmatch(s)
	if parts == nil {
		p.fail(v, "%q: must be bits a second with their unit, such as 100Mbit", s)
		return
	}
	n, _ := strconv.ParseUint(parts[1], 10, 64) // six digits
	*to = n * map[string]uint64{"k": 1e3, "M": 1e6, "G": 1e9}[parts[2]]
}

func (p *parser) readDHCP(v value, to *DHCP) {
	p.mapping(v, map[string]func(value){
		"renew_after": func(v value) {
			if d, ok := p.duration(v, 0, 24*time.Hour); ok {
				to.RenewAfter = d
			}
		},
		"host_name":    func(v value) { p.readSent(v, &to.Send.HostName, 63) },
		"client_id":    func(v value) { p.readClientID(v, &to.Send) },
		"vendor_class": func(v value) { p.readSent(v, &to.Send.VendorClass, 200) },
		"user_class":   func(v value) { p.readSent(v, &to.Send.UserClass, 200) },
		"lease_time": func(v value) {
			if d, ok := p.duration(v, 10*time.Second, 365*24*time.Hour); ok {
				to.Send.LeaseTime = d.Truncate(time.Second)
			}
		},
		"broadcast": func(v value) {
			if on, ok := p.flag(v); ok {
				to.Send.Broadcast = on
			}
		},
		"conflict_probe": func(v value) { setWord(p, v, &to.ConflictProbe, "quick", "rfc5227", "none") },
		"mtu":            func(v value) { setWord(p, v, &to.MTU, "ignore", "accept") },
	})
}

// readClientID reads option 61: the words mac and duid, bytes after hex:, or a
// text, which is sent with type 0 (RFC 2132 section 9.14).
func (p *parser) readClientID(v value, to *DHCPOptions) {
	var s string
	p.readSent(v, &s, 200)
	digits, isHex := strings.CutPrefix(s, "hex:")
	switch {
	case s == "" || s == "mac":
	case s == "duid":
		to.SendDUID = true
	case isHex:
		b, err := hex.DecodeString(strings.ReplaceAll(digits, ":", ""))
		if err != nil || len(b) < 2 {
			p.fail(v, "%q: after hex: must stand at least two bytes in hexadecimal digits, the type first", s)
		}
		to.ClientID = string(b)
	default:
		to.ClientID = "\x00" + s
	}
}

// readSent reads a text that goes into a DHCP option.
func (p *parser) readSent(v value, to *string, most int) {
	s, ok := p.text(v)
	if ok && (s == "" || len(s) > most || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })) {
		p.fail(v, "%q: must be 1 to %d bytes without control characters", s, most)
		return
	}
	*to = s
}

// checkUplink looks at what an uplink's keys are together.
func (p *parser) checkUplink(u *rawUplink) {
	for _, key := range []string{"name", "interface", "address"} {
		if _, ok := u.at[key]; !ok {
			p.fail(value{node: u.self.node, path: key}, "missing: %s", missing[key])
		}
	}
	if _, ok := u.at["address"]; ok && u.Present() {
		p.checkGateway(u)
	}
	if v, ok := u.at["address"]; ok && !u.Present() && !u.IPv6.Present() && len(p.problems) == 0 {
		p.fail(v, "none: the uplink has no address in any family: give it one, or ipv6")
	}
	if v, ok := u.at["dhcp"]; ok && u.Address != AddressDHCP {
		p.fail(v, "only with address: dhcp: remove it, or take the address by DHCP")
	}
	p.checkProbe(u.Probe, u.probeAt)
	if !u.IPv6.Present() {
		p.checkOtherTargets(u.probeAt, u.Probe, false, "an uplink that has ipv6")
		if i := slices.IndexFunc(u.Nameservers, netip.Addr.Is6); i >= 0 {
			p.fail(u.where("nameservers"),
				"%s is of IPv6, which this uplink does not have: remove it, or give the uplink ipv6", u.Nameservers[i])
		}
	}
	p.checkGatewayTarget(u)
}

// checkGatewayTarget wants something to probe where there is no gateway.
func (p *parser) checkGatewayTarget(u *rawUplink) {
	if u.Present() && u.Gateway == GatewayNone && u.routeSet && slices.Contains(u.Probe.Targets, Gateway) {
		p.fail(u.where("gateway"),
			"none: there is no gateway to probe: name addresses under probe.targets of this uplink")
	}
	if u.IPv6.Present() && u.IPv6.Gateway == GatewayNone && slices.Contains(u.IPv6.Probe.Targets, Gateway) {
		p.fail(u.where("ipv6"),
			"gateway: none: there is no gateway to probe: name addresses under ipv6.probe.targets of this uplink")
	}
}

var missing = map[string]string{
	"name":      "give it 1 to 32 letters, digits, '-' or '_'",
	"interface": "name the interface this uplink is on",
	"address":   "must be dhcp, external, or an address with its prefix length such as 203.0.113.5/24",
}

func (p *parser) checkGateway(u *rawUplink) {
	at := u.where("gateway")
	switch {
	case !u.routeSet && u.Address == AddressDHCP:
		p.fail(at, "missing: with address dhcp give it the address of this ISP's router, "+
			"or lease to take the router that DHCP names")
	case !u.routeSet:
		p.fail(at, "missing: give it the address of this ISP's router, or none on a point-to-point link")
	case u.Gateway == GatewayLease && u.Address != AddressDHCP:
		p.fail(at, "lease: only with address: dhcp; give the address of this ISP's router, or none")
	case u.Gateway != GatewayFixed && u.OnLink:
		p.fail(u.where("onlink"), "true: only with an address as gateway")
	case u.Gateway == GatewayFixed && u.Address == AddressStatic && u.GatewayIP.IsValid():
		p.checkGatewayNetwork(u, at)
	}
}

func (p *parser) checkGatewayNetwork(u *rawUplink, at value) {
	inside := false
	networks := make([]string, len(u.Prefixes))
	for i, prefix := range u.Prefixes {
		networks[i] = prefix.Masked().String()
		inside = inside || prefix.Contains(u.GatewayIP)
		if prefix.Addr() == u.GatewayIP {
			p.fail(at, "%s: this is the uplink's own address: give the router's", u.GatewayIP)
		}
	}
	if !inside && !u.OnLink && len(networks) > 0 {
		p.fail(at, "%s: outside the uplink's networks (%s): correct one of them, or set onlink: true",
			u.GatewayIP, strings.Join(networks, ", "))
	}
}
