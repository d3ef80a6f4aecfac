package configs

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"uplinkd/internal/plain"
)

// Bounds on what of a file is compared and shown: how many nodes, how long a path to one, and
// how much of a value.
const (
	nodesMost = 10_000
	keyMost   = 300
	valueMost = 100
)

// Difference returns what is other in one configuration than in another, a line a key in
// the order of the keys: "uplinks.isp1.weight: 1 -> 2", where a key that is not there is
// "-". What stands in a list goes by its name. Comments and the order of keys are no
// difference, and a text that is no YAML has no keys. It is pure.
func Difference(before, after []byte) []string {
	old, moreOld := leaves(before)
	fresh, moreFresh := leaves(after)
	more := (moreOld || moreFresh) && !bytes.Equal(before, after)
	keys := maps.Clone(old)
	maps.Copy(keys, fresh)
	lines := []string{}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		was, is := old[key], fresh[key]
		if was == is {
			continue
		}
		if was == "" {
			was = "-"
		}
		if is == "" {
			is = "-"
		}
		lines = append(lines, fmt.Sprintf("%s: %s -> %s", key, plain.Line(was, valueMost), plain.Line(is, valueMost)))
	}
	if more {
		lines = append(lines, "and perhaps more: the files are too long to compare")
	}
	return lines
}

// leaves returns the values of a file by the path of keys that leads to them, and whether
// there are more of them than are looked at.
func leaves(text []byte) (values map[string]string, more bool) {
	g := gatherer{all: map[string]string{}, left: nodesMost}
	var root yaml.Node
	if err := yaml.Load(text, &root); err == nil && root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
		g.gather("", root.Content[0])
	}
	return g.all, g.left < 0
}

// A gatherer looks at a bounded number of nodes: an alias may lead to what holds it.
type gatherer struct {
	all  map[string]string
	left int
}

func (g *gatherer) gather(path string, n *yaml.Node) {
	if g.left--; g.left < 0 || len(path) > keyMost {
		return
	}
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	switch {
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			g.gather(join(path, n.Content[i].Value), n.Content[i+1])
		}
	case n.Kind == yaml.SequenceNode && slices.ContainsFunc(n.Content, isMapping):
		for i, entry := range n.Content {
			g.gather(join(path, nameOf(entry, i)), entry)
		}
	case n.Kind == yaml.SequenceNode:
		values := make([]string, len(n.Content))
		for i, entry := range n.Content {
			values[i] = entry.Value
		}
		g.all[path] = "[" + strings.Join(values, ", ") + "]"
	default:
		g.all[path] = n.Value
	}
}

func isMapping(n *yaml.Node) bool { return n.Kind == yaml.MappingNode }

// nameOf returns what an entry of a list is called: its name, or its number.
func nameOf(n *yaml.Node, number int) string {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "name" && n.Content[i+1].Value != "" {
			return n.Content[i+1].Value
		}
	}
	return fmt.Sprint(number + 1)
}
