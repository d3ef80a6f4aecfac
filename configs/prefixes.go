package configs

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"strings"
)

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
