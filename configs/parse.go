package configs

import (
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// Most is the largest configuration file that is read, in bytes.
const Most = 1 << 20

// Options are what Parse needs beside the text.
type Options struct {
	File   string            // its name, for errors
	Tables map[string]uint32 // names of routing tables (LoadTables); main and default are known anyhow
	Users  func(name string) (id uint32, known bool)
}

// Defaults of the file. They are also what a table of docs and the example say.
var (
	defaultProbe = Probe{
		Interval: 500 * time.Millisecond, Timeout: 400 * time.Millisecond, Confirm: 100 * time.Millisecond,
		DownWithin: time.Second, DownWithinMax: 10 * time.Second,
		DownAfter: 3, UpAfter: 5, MaxLoss: 15, ReturnLoss: returnUnset, ExecTimeout: 5 * time.Second, Passive: true,
		HoldDown: 2 * time.Second, HoldDownMax: 5 * time.Minute, FlapWindow: 10 * time.Minute,
	}
	defaultRoutes = Routes{
		Table: tableMain, Protocol: 201, RulePriority: 20000, FwMarkMask: defaultMask,
		Hash: HashL4, LastResort: LastResortKeep, BalanceInterval: 10 * time.Second,
	}
	defaultDHCP    = DHCP{RenewAfter: 10 * time.Second}
	defaultOptions = RouteOptions{InitCwnd: 70, InitRwnd: 70, QuickAck: true}
)

// DefaultSocket is control.socket where the file does not set it.
const DefaultSocket = "/run/uplinkd/uplinkd.sock"

const defaultGroup = "uplinkd"

const (
	defaultStateDir = "/var/lib/uplinkd"
	defaultTable    = 500 // plus the uplink's position
)

// Defaults returns what a file without uplinks would say.
func Defaults() Config {
	c := Config{
		Routes: defaultRoutes, Control: Control{Socket: DefaultSocket, Group: defaultGroup},
		StateDir: defaultStateDir, Marks: true,
		OnDown: OnDown{Conntrack: true, Sockets: true, Again: true},
	}
	c.Routes.Options = defaultOptions
	return c
}

// SocketOf returns control.socket of a file that may be wrong in all else, and
// whether it could be made out.
func SocketOf(r io.Reader) (string, bool) {
	c, _, ok := glance(r)
	return c.Control.Socket, ok
}

// stateDirLine is the key in a file that is no YAML, as one in the middle of an edit.
var stateDirLine = regexp.MustCompile(`(?m)^state_dir:[ \t]*["']?(/[^"'#\s]+)`)

// StateDirOf returns state_dir of a file that may be wrong in all else; the default where
// none can be made out.
func StateDirOf(r io.Reader) string {
	c, text, ok := glance(r)
	if found := stateDirLine.FindSubmatch(text); !ok && found != nil {
		return filepath.Clean(string(found[1]))
	}
	return c.StateDir
}

// glance reads what is needed of a file that may be wrong in all else, and reports whether
// it is a mapping at all.
func glance(r io.Reader) (c Config, text []byte, ok bool) {
	text, err := io.ReadAll(io.LimitReader(r, Most))
	if err != nil {
		return Defaults(), nil, false
	}
	p := parser{whole: Defaults()}
	root, ok := p.document(text)
	if !ok {
		return Defaults(), text, false
	}
	ignore := func(value) {}
	p.mapping(root, map[string]func(value){
		"control": p.readControl, "uplinks": ignore, "routes": ignore, "probe": ignore,
		"state_dir": func(v value) { p.path(v, &p.whole.StateDir, pathMost) },
		"marks":     ignore, "mptcp": ignore, "dns": ignore, "policies": ignore, "on_down": ignore, "on_return": ignore,
		"hooks": ignore, "lan": ignore, "ipv6": ignore,
	})
	return p.whole, text, true
}

// Parse reads a configuration and returns it whole and checked, or else
// Problems with every mistake in it. It keeps nothing of r.
func Parse(r io.Reader, options Options) (Config, error) {
	text, err := io.ReadAll(io.LimitReader(r, Most+1))
	if err != nil {
		return Config{}, fmt.Errorf("read %s: %w", options.File, err)
	}
	p := parser{reader: reader{file: options.File}, tables: options.Tables, users: options.Users}
	if len(text) > Most {
		p.fail(value{}, "more than %d bytes: this cannot be a configuration of uplinkd", Most)
		return Config{}, p.problems
	}
	if root, ok := p.document(text); ok {
		p.config(root)
	}
	if len(p.problems) > 0 {
		slices.SortStableFunc(p.problems, func(a, b Problem) int {
			if a.Line != b.Line {
				return a.Line - b.Line
			}
			return a.Column - b.Column
		})
		return Config{}, p.problems
	}
	return p.whole, nil
}

// A parser reads the file into raw uplinks, each with the places of its keys,
// then fills in defaults, then looks for clashes.
type parser struct {
	reader
	tables  map[string]uint32
	whole   Config
	routes  map[string]value // places of the keys below routes
	options RouteOptions     // routes.options, what uplinks start from
	probe   Probe
	probeAt map[string]value
	uplinks []rawUplink
	lanAt   []value // the places of lan

	lanPrefixAt value

	users    func(name string) (id uint32, known bool)
	policies []rawPolicy
	hooks    []Hook
	hooksAt  []value // the places of their uplinks
}

func (p *parser) config(root value) {
	p.whole = Defaults()
	p.options, p.probe = defaultOptions, defaultProbe
	p.probe.Targets, p.probe.Quorum = []Target{Gateway}, quorumAny
	var uplinks, policies *value
	p.routes, p.probeAt = map[string]value{}, map[string]value{}
	p.mapping(root, map[string]func(value){
		"uplinks":   func(v value) { uplinks = &v },
		"routes":    p.readRoutes,
		"probe":     func(v value) { p.readProbe(v, &p.probe, p.probeAt) },
		"control":   p.readControl,
		"state_dir": func(v value) { p.path(v, &p.whole.StateDir, pathMost) },
		"marks":     func(v value) { setFlag(p, v, &p.whole.Marks) },
		"mptcp":     func(v value) { setFlag(p, v, &p.whole.MPTCP) },
		"dns":       func(v value) { setWord(p, v, &p.whole.DNS, dnsWords...) },
		"policies":  func(v value) { policies = &v },
		"on_down":   p.readOnDown,
		"on_return": func(v value) { setWord(p, v, &p.whole.OnReturn, "keep", "move") },
		"hooks":     func(v value) { p.list(v, p.readHook) },
		"lan":       func(v value) { p.list(v, p.readLAN) },
		"ipv6":      p.readGlobalIPv6,
	})
	if policies != nil {
		p.list(*policies, p.readPolicy)
	}
	if len(p.policies) > policyMost {
		p.fail(*policies, "%d policies: at most %d", len(p.policies), policyMost)
	}
	if uplinks == nil {
		p.fail(value{}, "uplinks: missing: name at least one uplink")
		return
	}
	// Last, since uplinks inherit from the other sections wherever those stand.
	p.list(*uplinks, p.readUplink)
	if len(p.uplinks) == 0 && len(p.problems) == 0 {
		p.fail(*uplinks, "empty: name at least one uplink")
	}
	if len(p.uplinks) > uplinkMost {
		p.fail(*uplinks, "%d uplinks: at most %d fit into the range of rule priorities", len(p.uplinks), uplinkMost)
	}
	p.checkProbe(p.probe, p.probeAt)
	p.whole.Routes.Options = p.options
	p.fillIn()
	p.clashes()
	p.checkLAN()
	p.checkVia()
	p.checkHooks()
	if policies != nil && !p.whole.Marks {
		p.fail(*policies, "only with marks: true: policies lead connections by their marks")
	}
	for _, raw := range p.policies {
		p.whole.Policies = append(p.whole.Policies, raw.Policy)
	}
	p.whole.Hooks = p.hooks
	for _, u := range p.uplinks {
		p.whole.Uplinks = append(p.whole.Uplinks, u.Uplink)
	}
}

const (
	pathMost   = 4095 // PATH_MAX less its end
	socketMost = 107  // sun_path less its end, unix(7)
	uplinkMost = 200  // as many priorities as a kind of rule has: uplink/desired.go
)

func (p *parser) path(v value, to *string, most int) {
	s, ok := p.text(v)
	switch {
	case !ok:
	case !filepath.IsAbs(s) || len(s) > most:
		p.fail(v, "%q: must be an absolute path of at most %d bytes", s, most)
	default:
		*to = filepath.Clean(s)
	}
}

// groupName is what groupadd(8) takes.
var groupName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

func (p *parser) readControl(v value) {
	p.mapping(v, map[string]func(value){
		"socket": func(v value) { p.path(v, &p.whole.Control.Socket, socketMost) },
		"group": func(v value) {
			switch s, ok := p.text(v); {
			case !ok:
			case !groupName.MatchString(s):
				p.fail(v, "%q: must be the name of a group", s)
			default:
				p.whole.Control.Group = s
			}
		},
		"metrics": func(v value) { p.listen(v, &p.whole.Control.Metrics, "127.0.0.1:9877") },
		"web":     func(v value) { p.listen(v, &p.whole.Control.Web, "127.0.0.1:9878") },
	})
}

// listen reads where something listens; empty: nowhere.
func (p *parser) listen(v value, to *netip.AddrPort, example string) {
	s, ok := p.text(v)
	if !ok || s == "" {
		return
	}
	address, err := netip.ParseAddrPort(s)
	if err != nil || address.Port() == 0 {
		p.fail(v, "%q: must be an address and a port, such as %s", s, example)
		return
	}
	*to = address
}
