package configs

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

const targetForms = "gateway, an IP address, tcp://IP:port, http(s)://host/path, dns://IP/name, " +
	"socks5://host:port/IP:port, agent://host:port or exec:/path"

// ParseTarget reads one target, as it stands in probe.targets. It may be on this host itself.
func ParseTarget(text string) (Target, error) {
	p := parser{reader: reader{loopback: true}}
	if t, ok := p.target(value{}, text); ok {
		return t, nil
	}
	return Target{}, errors.New(p.problems[0].Text)
}

// targetReaders read what stands behind the scheme of a target.
var targetReaders = map[string]func(p *parser, v value, t *Target, rest string) bool{
	"tcp": (*parser).tcpTarget, "http": (*parser).httpTarget, "https": (*parser).httpTarget,
	"dns": (*parser).dnsTarget, "socks5": (*parser).socksTarget, "agent": (*parser).agentTarget,
	"exec": (*parser).execTarget,
}

// target reads one target.
func (p *parser) target(v value, s string) (Target, bool) {
	if s == Gateway.Text {
		return Gateway, true
	}
	scheme, rest, _ := strings.Cut(s, ":")
	t := Target{Text: s}
	if read, ok := targetReaders[scheme]; ok {
		return t, read(p, v, &t, strings.TrimPrefix(rest, "//"))
	}
	t.Kind = TargetIP
	var ok bool
	t.IP, ok = p.address(v, s, targetForms)
	t.Text = t.IP.String()
	return t, ok
}

func (p *parser) tcpTarget(v value, t *Target, rest string) bool {
	t.Kind = TargetTCP
	to, err := netip.ParseAddrPort(rest)
	if err != nil || to.Port() == 0 {
		p.fail(v, "%q: must be tcp://IP:port", t.Text)
		return false
	}
	t.IP, t.Port = to.Addr(), to.Port()
	return p.usable(v, t.IP)
}

func (p *parser) httpTarget(v value, t *Target, _ string) bool {
	t.Kind, t.Rest = TargetHTTP, t.Text
	u, err := url.Parse(t.Text)
	if err != nil || u.Hostname() == "" || u.User != nil {
		p.fail(v, "%q: must be http://host/path or https://host/path", t.Text)
		return false
	}
	t.IP, _ = netip.ParseAddr(u.Hostname()) // not valid: it is a name
	return true
}

func (p *parser) dnsTarget(v value, t *Target, rest string) (ok bool) {
	server, name, _ := strings.Cut(rest, "/")
	t.Kind, t.Rest = TargetDNS, name
	if !isHostName(name) {
		p.fail(v, "%q: must be dns://IP/name", t.Text)
		return false
	}
	t.IP, ok = p.address(v, server, "dns://IP/name")
	return ok
}

func (p *parser) socksTarget(v value, t *Target, rest string) bool {
	t.Kind = TargetSOCKS5
	server, end, _ := strings.Cut(rest, "/")
	to, err := netip.ParseAddrPort(end)
	if err != nil || to.Port() == 0 || !isHostPort(server) {
		p.fail(v, "%q: must be socks5://host:port/IP:port", t.Text)
		return false
	}
	t.Rest, t.IP, t.Port = server, to.Addr(), to.Port()
	return p.usable(v, t.IP) && p.isElsewhere(v, server)
}

func (p *parser) agentTarget(v value, t *Target, server string) bool {
	t.Kind, t.Rest = TargetAgent, server
	if !isHostPort(server) {
		p.fail(v, "%q: must be agent://host:port", t.Text)
		return false
	}
	host, _, _ := net.SplitHostPort(server)
	t.IP, _ = netip.ParseAddr(host) // not valid: it is a name
	return p.isElsewhere(v, server)
}

// isElsewhere refuses a server on this host itself, which a socket that is bound to an
// uplink does not reach.
func (p *parser) isElsewhere(v value, server string) bool {
	host, _, _ := net.SplitHostPort(server)
	if addr, err := netip.ParseAddr(host); err == nil {
		return p.usable(v, addr)
	}
	if host == "localhost" && !p.loopback {
		p.fail(v, "%s: must be a server that the uplink leads to", server)
		return false
	}
	return true
}

// isHostPort reports whether a text is a name or an address, and a port.
func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	_, notIP := netip.ParseAddr(host)
	n, notNumber := strconv.ParseUint(port, 10, 16)
	return err == nil && notNumber == nil && n > 0 && (notIP == nil || isHostName(host))
}

func (p *parser) execTarget(v value, t *Target, path string) bool {
	t.Kind, t.Rest = TargetExec, path
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || len(path) > pathMost {
		p.fail(v, "%q: must be exec: and the absolute path of a program", t.Text)
		return false
	}
	return true
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$`)

// hostNameMost is how long a name may be without the dot at its end (RFC 1035, section 2.3.4). A count in the
// expression itself would take half a megabyte.
const hostNameMost = 253

func isHostName(text string) bool {
	return len(strings.TrimSuffix(text, ".")) <= hostNameMost && hostName.MatchString(text)
}
