package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	bundleFileMost = 4 << 20 // bytes of one file in it
	bundleWait     = 10 * time.Second
)

// A page is one file of a bundle.
type page struct {
	name string
	text []byte
}

// writeBundle writes what a bug report needs, for its owner alone to read.
func (c *common) writeBundle(ctx context.Context, path string, masked bool, s *symptoms) error {
	pages := c.pages(ctx, s)
	if masked {
		m := newMask()
		for i := range pages {
			pages[i].text = m.apply(pages[i].text)
		}
	}
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write the report: %w; name another file", err)
	}
	if err = errors.Join(pack(to, pages, s.now), to.Close()); err != nil {
		_ = os.Remove(path) // half of one helps nobody
		return fmt.Errorf("write the report: %w", err)
	}
	note := "it names addresses: --mask puts names in their place"
	if masked {
		note = "addresses, MACs and the host's name are masked; read it before you send it"
	}
	_, err = fmt.Fprintf(c.out, "%s: %d files; %s\n", path, len(pages), note)
	return err
}

// pages gathers the files. What cannot be had is a file that says why.
func (c *common) pages(ctx context.Context, s *symptoms) []page {
	list := []page{{"doctor.txt", []byte(doctorText(diagnose(s), 0))}}
	add := func(name string, v any, err error) {
		text, marshalErr := json.MarshalIndent(v, "", "  ")
		if why := errors.Join(err, marshalErr); why != nil {
			text = []byte("not had: " + why.Error())
		}
		list = append(list, page{name, append(text, '\n')})
	}
	add("version.json", map[string]string{"version": versionText(), "time": s.now.Format(time.RFC3339)}, nil)
	add("check.json", s.check, nil)
	add("ways.json", s.ways, nil)
	client := c.client()
	status, err := client.Status(ctx)
	add("status.json", status, err)
	events, err := client.Events(ctx, 0, false)
	add("events.json", events, err)
	book, err := client.Switches(ctx)
	add("switches.json", book, err)
	config, err := readBounded(c.config)
	if err != nil {
		config = []byte("not had: " + err.Error())
	}
	list = append(list, page{"uplinkd.yaml", config})
	for name, command := range map[string]string{
		"uname.txt": "uname -a", "ip-link.txt": "ip -d -s link", "ip-address.txt": "ip address",
		"ip-rule.txt":  "ip rule",
		"ip-rule6.txt": "ip -6 rule", "ip-neighbour.txt": "ip neighbour", "nft.txt": "nft list table inet uplinkd",
		"ip-route.txt":  "ip route show table all proto 201",
		"ip-route6.txt": "ip -6 route show table all proto 201", "ip-default.txt": "ip route show default",
		"journal.txt": "journalctl -u uplinkd -n 5000 --no-pager -o short-iso-precise",
	} {
		list = append(list, page{name, output(ctx, strings.Fields(command))})
	}
	slices.SortFunc(list, func(a, b page) int { return strings.Compare(a.name, b.name) })
	return list
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	return io.ReadAll(io.LimitReader(f, bundleFileMost))
}

// output returns what a program says, or why it says nothing.
func output(ctx context.Context, command []string) []byte {
	ctx, cancel := context.WithTimeout(ctx, bundleWait)
	defer cancel()
	out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput() //nolint:gosec // ours, above
	if len(out) > bundleFileMost {
		out = out[:bundleFileMost]
	}
	if err != nil {
		out = fmt.Appendf(out, "%s: %v\n", strings.Join(command, " "), err)
	}
	return out
}

func pack(to io.Writer, pages []page, now time.Time) error {
	zipped := gzip.NewWriter(to)
	archive := tar.NewWriter(zipped)
	for _, p := range pages {
		header := &tar.Header{Name: "uplinkd-report/" + p.name, Mode: 0o600, Size: int64(len(p.text)), ModTime: now}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(p.text); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), zipped.Close())
}

// A mask puts a name in the place of each address, the same one each time: what is equal stays equal.
type mask struct {
	names map[string]string
	host  string
}

func newMask() *mask {
	host, err := os.Hostname()
	if err != nil || len(host) < 3 {
		host = ""
	}
	return &mask{names: map[string]string{}, host: host}
}

// escaped is what JSON has in the place of a character.
var escaped = regexp.MustCompile(`(\\[nrt]|\\u00[0-9a-fA-F]{2})`)

// What looks like an address: of a link (or an identifier that has one in it), of IPv4, of IPv6.
var (
	linkLike = regexp.MustCompile(`\b[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5,}\b|\bhex:[0-9A-Fa-f:]{12,}`)
	ipv4Like = regexp.MustCompile(`[0-9]{1,3}(?:\.[0-9]{1,3}){3}`)
	ipv6Like = regexp.MustCompile(`(?:\b[0-9A-Fa-f]+)?(?::[0-9A-Fa-f]*){2,}`)
)

func (m *mask) apply(text []byte) []byte {
	text = escaped.ReplaceAll(text, []byte("$1\x00")) // no letter stands before what follows
	text = linkLike.ReplaceAllFunc(text, func(found []byte) []byte { return m.name("LINK", string(found)) })
	for _, like := range []*regexp.Regexp{ipv4Like, ipv6Like} {
		text = like.ReplaceAllFunc(text, m.address)
	}
	text = bytes.ReplaceAll(text, []byte{0}, nil)
	if m.host == "" {
		return text
	}
	label, _, _ := strings.Cut(m.host, ".")
	for _, name := range []string{m.host, label} {
		text = regexp.MustCompile(`(?i)\b`+regexp.QuoteMeta(name)+`\b`).ReplaceAll(text, []byte("HOST"))
	}
	return text
}

// address returns what stands for an address; what is none, or is everybody's, stays. A colon after one is
// the sentence's.
func (m *mask) address(found []byte) []byte {
	text, before, after := string(found), "", ""
	a, err := netip.ParseAddr(text)
	if err != nil && strings.HasSuffix(text, ":") {
		text, after = strings.TrimSuffix(text, ":"), ":"
		a, err = netip.ParseAddr(text)
	}
	if err != nil && strings.HasPrefix(text, ":") {
		if a, err = netip.ParseAddr(text[1:]); err == nil {
			before = ":"
		}
	}
	if err != nil || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || isMask(a) {
		return found
	}
	kind := "IPV4"
	if a.Is6() {
		kind = "IPV6"
	}
	return slices.Concat([]byte(before), m.name(kind, a.String()), []byte(after))
}

// name returns the name of what has a text, the same one each time.
func (m *mask) name(kind, text string) []byte {
	text = strings.ToLower(text)
	if m.names[text] == "" {
		m.names[text] = fmt.Sprintf("%s-%d", kind, len(m.names)+1)
	}
	return []byte(m.names[text])
}

// isMask reports whether an address is a network mask.
func isMask(a netip.Addr) bool { return a.Is4() && a.As4()[0] == 255 }
