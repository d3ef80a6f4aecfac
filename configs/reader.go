package configs

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// A value is a node of the file with the path of keys that leads to it.
type value struct {
	node *yaml.Node
	path string
}

// A reader collects problems while values are read. Each method that reads a
// value notes a problem and returns false when it is not one.
type reader struct {
	file     string
	uplink   string // the uplink being read, for problems
	problems Problems
	loopback bool // addresses of this host itself will do
}

func (r *reader) fail(at value, format string, args ...any) {
	p := Problem{File: r.file, Uplink: r.uplink, Field: at.path, Text: fmt.Sprintf(format, args...)}
	if at.node != nil {
		p.Line, p.Column = at.node.Line, at.node.Column
	}
	r.problems = append(r.problems, p)
}

// aliases bounds how many aliases lead to one node: a chain of them is a trick.
const aliases = 8

// document parses text into the one mapping it must be.
func (r *reader) document(text []byte) (value, bool) {
	var root yaml.Node
	if len(bytes.TrimSpace(text)) == 0 {
		r.fail(value{}, "empty: name at least one uplink under `uplinks:`")
		return value{}, false
	}
	if err := yaml.Load(text, &root); err != nil {
		var list *yaml.LoadErrors
		if errors.As(err, &list) {
			for _, e := range list.Errors {
				r.syntax(e, text)
			}
			return value{}, false
		}
		var one *yaml.LoadError
		if errors.As(err, &one) {
			r.syntax(one, text)
			return value{}, false
		}
		r.fail(value{}, "not YAML: %v", err)
		return value{}, false
	}
	if root.Kind != yaml.DocumentNode || len(root.Content) != 1 || root.Content[0].Kind != yaml.MappingNode {
		r.fail(value{node: &root}, "must be a mapping with at least the key uplinks")
		return value{}, false
	}
	return value{node: root.Content[0]}, true
}

func (r *reader) syntax(e *yaml.LoadError, text []byte) {
	p := Problem{File: r.file, Line: e.Mark.Line, Column: e.Mark.Column, Text: "not YAML: " + e.Message}
	lines := bytes.Split(text, []byte("\n"))
	if n := e.Mark.Line - 1; n >= 0 && n < len(lines) && bytes.HasPrefix(bytes.TrimLeft(lines[n], " "), []byte("\t")) {
		p.Text += ": a tab: indent with spaces"
	}
	if p.Line == 0 { // not in any line: there are no documents, or several
		p.Text = "must hold one YAML document with at least the key uplinks: " + e.Message
	}
	r.problems = append(r.problems, p)
}

// resolve follows aliases to what they stand for.
func resolve(n *yaml.Node) *yaml.Node {
	for range aliases {
		if n.Kind != yaml.AliasNode || n.Alias == nil {
			break
		}
		n = n.Alias
	}
	return n
}

// mapping calls the function of each key that is there, in the order of the
// file. An unknown or doubled key is a problem.
func (r *reader) mapping(v value, keys map[string]func(value)) {
	n := resolve(v.node)
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return // `probe:` with nothing below it
	}
	if n.Kind != yaml.MappingNode {
		r.fail(v, "must be a mapping with the keys %s", keyList(keys))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		at := value{node: key, path: join(v.path, key.Value)}
		read, known := keys[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode:
			r.fail(value{node: key, path: v.path}, "a key must be a plain word")
		case !known:
			r.fail(at, "unknown key%s", suggest(key.Value, keys))
		case seen[key.Value] > 0:
			r.fail(at, "given twice, first on line %d: keep one", seen[key.Value])
		default:
			seen[key.Value] = key.Line
			read(value{node: n.Content[i+1], path: at.path})
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func keyList(keys map[string]func(value)) string {
	return strings.Join(slices.Sorted(maps.Keys(keys)), ", ")
}

// suggest names the known key that a mistyped one most resembles, or all.
func suggest(word string, keys map[string]func(value)) string {
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if near(word, key) {
			return fmt.Sprintf(": did you mean %s?", key)
		}
	}
	return ": the keys here are " + keyList(keys)
}

// near reports whether one edit at most, or another way to write '_', lies
// between two words.
func near(a, b string) bool {
	plain := strings.NewReplacer("_", "", "-", "")
	a, b = plain.Replace(strings.ToLower(a)), plain.Replace(strings.ToLower(b))
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) == len(b) {
		return i == len(a) || a[i+1:] == b[i+1:] ||
			i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
	}
	return a[i:] == b[i+1:]
}

// list calls read for each item.
func (r *reader) list(v value, read func(value)) {
	n := resolve(v.node)
	if n.Kind != yaml.SequenceNode {
		r.fail(v, "must be a list")
		return
	}
	for i, item := range n.Content {
		read(value{node: item, path: fmt.Sprintf("%s[%d]", v.path, i)})
	}
}

func (r *reader) text(v value) (string, bool) {
	n := resolve(v.node)
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		r.fail(v, "must be a single value")
		return "", false
	}
	return n.Value, true
}

// integer reads a decimal, 0x, 0o or 0b number.
func (r *reader) integer(v value, low, high uint64) (uint64, bool) {
	s, ok := r.text(v)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil || n < low || n > high {
		r.fail(v, "%s: must be %d to %d", s, low, high)
		return 0, false
	}
	return n, true
}

func (r *reader) duration(v value, low, high time.Duration) (time.Duration, bool) {
	s, ok := r.text(v)
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		r.fail(v, "%q: must be a number with its unit, such as 500ms or 2s", s)
		return 0, false
	}
	if d < low || d > high {
		r.fail(v, "%s: must be %s to %s", s, low, high)
		return 0, false
	}
	return d, true
}

func (r *reader) flag(v value) (bool, bool) {
	s, ok := r.text(v)
	if !ok {
		return false, false
	}
	if s != "true" && s != "false" {
		r.fail(v, "%q: must be true or false", s)
		return false, false
	}
	return s == "true", true
}

// word reads one of a few words and returns its position among them.
func (r *reader) word(v value, words ...string) (int, bool) {
	s, ok := r.text(v)
	if !ok {
		return 0, false
	}
	i := slices.Index(words, s)
	if i < 0 {
		r.fail(v, "%q: must be %s", s, strings.Join(words, " or "))
		return 0, false
	}
	return i, true
}

// address reads an address that a host can have. what says what it is for.
func (r *reader) address(v value, s, what string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		r.fail(v, "%q: must be %s", s, what)
		return netip.Addr{}, false
	}
	return addr, r.usable(v, addr)
}

func (r *reader) usable(v value, addr netip.Addr) bool {
	switch {
	case addr.IsLoopback() && r.loopback:
		return true
	case addr.IsUnspecified(), addr.IsMulticast(), addr.IsLoopback(), addr == broadcastAll, addr.Is4In6(),
		addr.Zone() != "":
		r.fail(v, "%s: must be an address that one host can have", addr)
	default:
		return true
	}
	return false
}

// broadcastAll is the address of all hosts on a link (RFC 919).
var broadcastAll = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// usableIn reads an address of one family that a host can have. elsewhere says where one of
// the other family belongs.
func (r *reader) usableIn(v value, addr netip.Addr, v6 bool, elsewhere string) bool {
	if addr.Is6() != v6 {
		r.fail(v, "%s: must be an IPv%d address%s", addr, map[bool]int{false: 4, true: 6}[v6], elsewhere)
		return false
	}
	return r.usable(v, addr)
}

// scalars calls read for a single value, or for each of a list.
func (r *reader) scalars(v value, read func(value, string)) {
	one := func(v value) {
		if s, ok := r.text(v); ok {
			read(v, s)
		}
	}
	if resolve(v.node).Kind == yaml.SequenceNode {
		r.list(v, one)
		return
	}
	one(v)
}
