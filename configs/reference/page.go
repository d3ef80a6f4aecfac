package reference

import (
	"fmt"
	"strings"
)

// An entry is a key with the keys above it.
type entry struct {
	path string
	key  *Key
}

// entries returns all keys, those of a part of the file together. The keys of `probe` and `options` are told once.
func entries() []entry {
	var list []entry
	var add func(above string, keys []Key)
	add = func(above string, keys []Key) {
		for i := range keys {
			k := &keys[i]
			path := join(above, k.Name)
			list = append(list, entry{path, k})
			if k.Type == List {
				path += "[]"
			}
			repeated := above != "" && (k.Name == "probe" || k.Name == "options" && above != "routes")
			if !repeated {
				add(path, k.Keys)
			}
		}
	}
	add("", File())
	return list
}

func join(above, name string) string {
	if above == "" {
		return name
	}
	return above + "." + name
}

// Markdown returns docs/reference.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString("# Every key of the configuration\n\nThis page, uplinkd.yaml(5) and the schema for editors are " +
		"made of one source, " +
		"which tests hold to the parser: every key,\ndefault and bound (`TestKeys`, `TestDefaults`, " +
		"`TestBounds`). `UPLINKD_UPDATE=1 go test ./configs/reference` writes it.\n\n" +
		"An editor with a language server for YAML checks a file whose first line is\n\n    " + ModelLine + "\n\n" +
		"Durations are numbers with their unit: 500ms, 2s, 1h30m. A key that is left out has its default.\n")
	for _, e := range entries() {
		if !strings.Contains(e.path, ".") {
			fmt.Fprintf(&b, "\n## %s\n\n%s%s\n", e.path, e.key.Means, facts(e.key))
			if e.key.Type == Mapping || e.key.Type == List {
				b.WriteString("\n| key | takes | default | |\n|---|---|---|---|\n")
			}
			continue
		}
		_, name, _ := strings.Cut(e.path, ".")
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", code(name), cell(e.key.Takes()), code(e.key.Default),
			cell(required(e.key)+e.key.Means))
	}
	return b.String()
}

// facts says what a key at the top takes.
func facts(k *Key) string {
	if k.Takes() == "" {
		return ""
	}
	return fmt.Sprintf("\n\nTakes %s. Default: %s.", k.Takes(), code(k.Default))
}

func required(k *Key) string {
	if k.Required {
		return "**Required.** "
	}
	return ""
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// Roff returns uplinkd.yaml(5), for man(7). date is when it was last changed, as 2026-11-27.
func Roff(date string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH UPLINKD.YAML 5 %s uplinkd \"uplinkd\"\n", date)
	b.WriteString(".SH NAME\nuplinkd.yaml \\- configuration of uplinkd\n.SH " +
		"SYNOPSIS\n/etc/uplinkd/uplinkd.yaml\n.SH DESCRIPTION\n" +
		"One YAML document. Mistakes are all told at once, with line and column; a file with one changes nothing.\n" +
		"Durations are numbers with their unit: 500ms, 2s, 1h30m. A key that is left out has its default.\n" +
		".PP\nAll that is required:\n.PP\n.nf\n.RS 4\nuplinks:\n" +
		"  \\- {name: isp1, interface: eth1, address: dhcp, gateway: lease, weight: 2}\n" +
		"  \\- {name: isp2, interface: eth2, address: 203.0.113.5/24, gateway: 203.0.113.1}\n.RE\n.fi\n")
	for _, e := range entries() {
		if !strings.Contains(e.path, ".") {
			fmt.Fprintf(&b, ".SH %s\n%s\n", strings.ToUpper(e.path), Escape(e.key.Describe()))
			continue
		}
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", Escape(e.path), Escape(needed(e.key)+e.key.Describe()))
	}
	b.WriteString(".SH FILES\n" + SchemaFile +
		" is the schema for editors.\n.SH SEE ALSO\n.BR uplinkd (8),\n.BR uplinkd\\-hooks (7)\n")
	return b.String()
}

func needed(k *Key) string {
	if k.Required {
		return "Required. "
	}
	return ""
}

// Escape has a text stand in one line of a manual page as it is, and not as a request of roff(7).
func Escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "`", "", "\n", " ").Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}
