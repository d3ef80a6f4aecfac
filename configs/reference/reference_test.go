package reference_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"uplinkd/configs"
	"uplinkd/configs/reference"
)

type tree = map[string]any

// parse reads a tree as a configuration.
func parse(t *testing.T, root tree) (configs.Config, error) {
	t.Helper()
	text, err := yaml.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return configs.Parse(strings.NewReader(string(text)), configs.Options{File: "f"})
}

// base returns a configuration that has every part of the file, with what each must have.
func base() tree {
	return tree{
		"uplinks": []any{tree{
			"name": "isp1", "interface": "eth1", "address": "dhcp", "gateway": "lease", "ipv6": tree{}, "dhcp": tree{},
			"options": tree{}, "probe": tree{"expect": tree{}}, "quota": tree{"bytes": "1GB"},
		}},
		"routes": tree{"options": tree{}}, "probe": tree{"expect": tree{}}, "control": tree{}, "on_down": tree{},
		"ipv6":     tree{},
		"policies": []any{tree{"name": "p", "via": "balance"}},
		"hooks":    []any{tree{"run": "/bin/true", "on": "up"}},
		"lan":      []any{tree{"interface": "lan1"}},
	}
}

// below returns the mapping that a path leads to; what is not there is made.
func below(root tree, path []string) tree {
	for _, step := range path {
		name, isList := strings.CutSuffix(step, "[]")
		if isList {
			root = root[name].([]any)[0].(tree)
			continue
		}
		if root[name] == nil {
			root[name] = tree{}
		}
		root = root[name].(tree)
	}
	return root
}

// each calls check with every key and the path of what it stands in.
func each(keys []reference.Key, path []string, check func(path []string, k *reference.Key)) {
	for i := range keys {
		k := &keys[i]
		check(path, k)
		step := k.Name
		if k.Type == reference.List {
			step += "[]"
		}
		each(k.Keys, append(slices.Clone(path), step), check)
	}
}

// set returns what gives keys beside another values; nil takes them away.
func set(values tree) func(root, at tree) {
	return func(_, at tree) {
		for name, v := range values {
			if at[name] = v; v == nil {
				delete(at, name)
			}
		}
	}
}

// What some keys need elsewhere to be right, by their name or their whole path.
var beside = map[string]func(root, at tree){
	"policies[].sla":            alone,
	"policies[].prefer":         alone,
	"policies[].sla.max_rtt":    alone,
	"policies[].sla.max_jitter": alone,
	"policies[].sla.max_loss":   alone,
	"routes.balance":            func(root, _ tree) { root["uplinks"].([]any)[0].(tree)["bandwidth"] = "1Mbit" },

	"onlink":            set(tree{"gateway": "203.0.113.1"}),
	"uplinks[].address": set(tree{"gateway": "203.0.113.1", "dhcp": nil}),
	"return_loss":       set(tree{"max_loss": 100}),
	"max_loss":          set(tree{"return_loss": 0}),
	"return_rtt":        set(tree{"max_rtt": "1m"}),
	"max_rtt":           set(tree{"return_rtt": "1ns"}),
	"return_jitter":     set(tree{"max_jitter": "1m"}),
	"max_jitter":        set(tree{"return_jitter": "1ns"}),
	"hold_down":         set(tree{"hold_down_max": "24h"}),
	"hold_down_max":     set(tree{"hold_down": "0s"}),
	"down_within":       set(tree{"down_within_max": "1m"}),
	"down_within_max":   set(tree{"down_within": "200ms"}),
	"quorum":            set(tree{"targets": []any{"gateway", "exec:/bin/true"}}),
	"sticky_for":        set(tree{"sticky": "source"}),
	"marks":             set(tree{"policies": nil}),
	"fwmark":            func(root, _ tree) { root["routes"].(tree)["fwmark_mask"] = 1<<32 - 1 },
	"uplinks[].ipv6":    func(root, _ tree) { delete(root, "lan") },
}

// prepared returns the base with what a key needs, and the mapping that it stands in.
func prepared(path []string, k *reference.Key) (root, at tree) {
	root = base()
	at = below(root, path)
	for _, key := range []string{name(path, k), k.Name} { // the whole path says it better
		if prepare, ok := beside[key]; ok {
			prepare(root, at)
			break
		}
	}
	return root, at
}

// alone has the policy lead to an uplink by its name.
func alone(root, _ tree) { root["policies"].([]any)[0].(tree)["via"] = "isp1" }

// beyond lists the bounds that may not be tried: other keys forbid them first.
var beyond = map[string]string{
	"probe.return_loss 100":  "it must lie below max_loss, which is 100 at most",
	"probe.return_rtt 1m":    "it must lie below max_rtt",
	"probe.return_jitter 1m": "it must lie below max_jitter",
	"probe.quorum 64":        "it needs 64 targets",
}

// with returns the base with one value set.
func with(t *testing.T, path []string, k *reference.Key, value string) tree {
	t.Helper()
	root, at := prepared(path, k)
	var v any
	if err := yaml.Unmarshal([]byte(value), &v); err != nil {
		t.Fatalf("%s: %v", value, err)
	}
	at[k.Name] = v
	return root
}

// without is with, less the key.
func without(path []string, k *reference.Key) tree {
	root, at := prepared(path, k)
	delete(at, k.Name)
	return root
}

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := reference.Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("uplinkd.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("uplinkd.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// valid asks the schema about a tree, by way of JSON as an editor's server does.
func valid(t *testing.T, s *jsonschema.Schema, root any) error {
	t.Helper()
	text, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

func name(path []string, k *reference.Key) string {
	return strings.Join(append(slices.Clone(path), k.Name), ".")
}

// The parser knows these keys at each place, and no others.
func TestKeys(t *testing.T) {
	listed := regexp.MustCompile(`the keys here are ([a-z0-9_, ]+)`)
	check := func(path []string, keys []reference.Key) {
		root := base()
		below(root, path)["no_such_key_at_all"] = 1
		_, err := parse(t, root)
		if err == nil {
			t.Fatalf("%v: an unknown key is taken", path)
		}
		found := listed.FindStringSubmatch(err.Error())
		if found == nil {
			t.Fatalf("%v: %v", path, err)
		}
		var want []string
		for i := range keys {
			want = append(want, keys[i].Name)
		}
		slices.Sort(want)
		if got := strings.Split(found[1], ", "); !slices.Equal(got, want) {
			t.Errorf("%v: the parser knows %v, the reference %v", path, got, want)
		}
	}
	check(nil, reference.File())
	count := 0
	each(reference.File(), nil, func(path []string, k *reference.Key) {
		count++
		if k.Means == "" || !strings.HasSuffix(k.Means, ".") {
			t.Errorf("%s: %q is no sentence", name(path, k), k.Means)
		}
		switch k.Type {
		case reference.List:
			check(append(slices.Clone(path), k.Name+"[]"), k.Keys)
		case reference.Mapping:
			check(append(slices.Clone(path), k.Name), k.Keys)
		default:
		}
	})
	t.Logf("%d keys", count)
}

// What is right is taken by the parser and the schema; what is wrong is refused by the parser, and by the schema
// where it can tell.
func TestValues(t *testing.T) {
	s := schema(t)
	each(reference.File(), nil, func(path []string, k *reference.Key) {
		if k.Type == reference.List || k.Type == reference.Mapping && k.Other == "" {
			return
		}
		right := with(t, path, k, k.Other)
		if _, err := parse(t, right); err != nil {
			t.Errorf("%s: %s: %v", name(path, k), k.Other, err)
		}
		if err := valid(t, s, right); err != nil {
			t.Errorf("%s: %s: the schema refuses it: %v", name(path, k), k.Other, err)
		}
		wrong := with(t, path, k, k.Wrong)
		if _, err := parse(t, wrong); err == nil {
			t.Errorf("%s: %s is taken", name(path, k), k.Wrong)
		}
		tells := k.Type != reference.Text && k.Type != reference.Mapping || k.Pattern != ""
		low, _ := time.ParseDuration(k.Low)
		if d, err := time.ParseDuration(k.Wrong); k.Type == reference.Duration && err == nil && d != low {
			tells = false // bounds of durations are beyond it
		}
		if n, err := strconv.Atoi(k.Wrong); k.Type == reference.Text && err == nil && n >= 0 ||
			slices.Contains([]string{"lo", "1kB"}, k.Wrong) {
			tells = false // a pattern says nothing of numbers, and the words that are no interfaces are not in it
		}
		if err := valid(t, s, wrong); err == nil && tells {
			t.Errorf("%s: %s: the schema takes it", name(path, k), k.Wrong)
		}
	})
}

// A file that gives the default is one that does not give the key, and another value makes another.
func TestDefaults(t *testing.T) {
	count := 0
	each(reference.File(), nil, func(path []string, k *reference.Key) {
		if k.Default == "" || k.Type == reference.Mapping && len(k.Words) == 0 {
			return
		}
		count++
		absent, err := parse(t, without(path, k))
		if err != nil {
			t.Fatalf("%s: %v", name(path, k), err)
		}
		given, err := parse(t, with(t, path, k, k.Default))
		if err != nil {
			t.Errorf("%s: its default %s: %v", name(path, k), k.Default, err)
			return
		}
		if !reflect.DeepEqual(absent, given) {
			t.Errorf("%s: the default is not %s", name(path, k), k.Default)
		}
		if other, err := parse(t, with(t, path, k, k.Other)); err != nil || reflect.DeepEqual(absent, other) {
			t.Errorf("%s: %s makes no difference (%v)", name(path, k), k.Other, err)
		}
	})
	t.Logf("%d defaults", count)
}

// The bounds are taken, and what lies beyond them by the least is not; of numbers the schema says the same.
func TestBounds(t *testing.T) {
	s, count := schema(t), 0
	each(reference.File(), nil, func(path []string, k *reference.Key) {
		if k.Low == "" {
			return
		}
		count++
		try := func(value string, inside bool) {
			at := path[max(0, len(path)-1):]
			if _, cannot := beyond[strings.Join(append(slices.Clone(at), k.Name), ".")+" "+value]; cannot && inside {
				return
			}
			root := with(t, path, k, value)
			_, err := parse(t, root)
			if (err == nil) != inside {
				t.Errorf("%s: %s: %v, want it taken: %t", name(path, k), value, err, inside)
			}
			if err := valid(t, s, root); k.Type == reference.Integer && (err == nil) != inside {
				t.Errorf("%s: %s: the schema says %v, want it taken: %t", name(path, k), value, err, inside)
			}
		}
		low, high := next(t, k, k.Low, -1), next(t, k, k.High, 1)
		try(k.Low, true)
		try(k.High, true)
		try(low, false)
		try(high, false)
	})
	t.Logf("%d keys with bounds", count)
}

// next returns the value beside another.
func next(t *testing.T, k *reference.Key, value string, step int64) string {
	t.Helper()
	if k.Type == reference.Duration {
		d, err := time.ParseDuration(value)
		if err != nil {
			t.Fatal(err)
		}
		return (d + time.Duration(step)).String()
	}
	n, err := strconv.ParseInt(value, 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.FormatInt(n+step, 10)
}

// Every configuration that we ship is right by the schema, and names it where it is to be edited.
func TestShippedFiles(t *testing.T) {
	s := schema(t)
	files, err := filepath.Glob("../examples/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, file := range append(files, "../uplinkd.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var root any
		if err := yaml.Unmarshal(text, &root); err != nil {
			t.Fatal(err)
		}
		if err := valid(t, s, root); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if first, _, _ := strings.Cut(string(text), "\n"); first != reference.ModelLine {
			t.Errorf("%s begins with %q, want %q", file, first, reference.ModelLine)
		}
	}
}

// docs/reference.md is that of the source. UPLINKD_UPDATE=1 writes it.
func TestPage(t *testing.T) {
	const file = "../../docs/reference.md"
	want := reference.Markdown()
	if os.Getenv("UPLINKD_UPDATE") != "" {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("%s is another (%v): UPLINKD_UPDATE=1 go test ./configs/reference", file, err)
	}
}

// The manual has the events that the parser takes.
func TestHookEvents(t *testing.T) {
	var names []string
	for _, e := range reference.HookEvents() {
		names = append(names, e.Name)
	}
	if !slices.Equal(names, configs.HookEvents) {
		t.Errorf("%v, the parser takes %v", names, configs.HookEvents)
	}
}

// The manual page has every key, and no line that its formatter would take for a request of its own.
func TestManual(t *testing.T) {
	page := reference.Roff("2026-11-27")
	each(reference.File(), nil, func(path []string, k *reference.Key) {
		if len(path) > 0 && !strings.Contains(page, strings.ReplaceAll(k.Name, "-", `\-`)) {
			t.Errorf("%s is not in it", name(path, k))
		}
	})
	known := []string{".TH", ".SH", ".TP", ".B ", ".BR", ".PP", ".nf", ".fi", ".RS", ".RE"}
	for line := range strings.SplitSeq(page, "\n") {
		if strings.HasPrefix(line, ".") && !slices.ContainsFunc(known,
			func(r string) bool { return strings.HasPrefix(line, r) }) {
			t.Errorf("a request of nobody's: %s", line)
		}
	}
}
