package configs_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // so that no machine lacks them

	"uplinkd/configs"
)

// policies reads policies that stand in a file with the uplinks a and b.
func policies(t *testing.T, lines ...string) []configs.Policy {
	t.Helper()
	c, err := parse(policyFile(lines...))
	if err != nil {
		t.Fatal(err)
	}
	return c.Policies
}

func policyFile(lines ...string) string {
	text := head + "}\npolicies:\n"
	for n, line := range lines {
		text += fmt.Sprintf("  - {name: p%d, %s}\n", n, line)
	}
	return text
}

// When a policy is in force, by the clock on the wall: over midnight, over the end of the week, and over both changes
// of clocks of a year.
func TestPeriods(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) time.Time {
		when, err := time.ParseInLocation("2006-01-02 15:04", s, berlin)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	for _, tt := range []struct {
		when string
		at   time.Time
		want bool
	}{
		{"Mon-Fri 08:00-18:00", at("2026-11-27 08:00"), true}, // a Friday
		{"Mon-Fri 08:00-18:00", at("2026-11-27 07:59"), false},
		{"Mon-Fri 08:00-18:00", at("2026-11-27 18:00"), false},
		{"Mon-Fri 08:00-18:00", at("2026-11-28 12:00"), false},
		{"Sat,Sun", at("2026-11-28 00:00"), true},
		{"Sat,Sun", at("2026-11-30 00:00"), false},
		{"22:00-06:00", at("2026-11-27 23:00"), true},
		{"22:00-06:00", at("2026-11-27 05:59"), true},
		{"22:00-06:00", at("2026-11-27 06:00"), false},
		{"Fri 22:00-06:00", at("2026-11-28 05:00"), true}, // of the Friday
		{"Fri 22:00-06:00", at("2026-11-27 05:00"), false},
		{"Sat-Mon", at("2026-11-29 10:00"), true},
		{"18:00-24:00", at("2026-11-29 23:59"), true},
		// Clocks go back at three: half past two is there twice.
		{"02:00-03:00", at("2026-10-25 00:30").Add(2 * time.Hour), true},
		{"02:00-03:00", at("2026-10-25 00:30").Add(3 * time.Hour), true},
		{"02:00-03:00", at("2026-10-25 00:30").Add(4 * time.Hour), false},
		{"Mon-Fri 08:00-18:00", at("2026-10-26 08:00"), true},
		// Clocks go forward at two: half past two is not there.
		{"02:00-03:00", at("2026-03-29 01:30").Add(time.Hour), false},
		{"03:00-04:00", at("2026-03-29 01:30").Add(time.Hour), true},
	} {
		p := policies(t, fmt.Sprintf("via: a, when: %q", tt.when))[0]
		if got := configs.Holds(p.When, tt.at); got != tt.want {
			t.Errorf("%s at %s: %v, want %v", tt.when, tt.at, got, tt.want)
		}
	}
	if !configs.Holds(nil, time.Now()) {
		t.Error("without periods a policy is not in force")
	}
}

func TestBadPolicies(t *testing.T) {
	for line, want := range map[string]string{
		"via: a, when: noon":                      `"noon": must be days and times`,
		`via: a, when: "08:00-08:00"`:             `"08:00-08:00": must be days and times`,
		`via: a, when: "Mon 08:00-25:00"`:         `must be days and times`,
		`via: a, when: "Mon 08:60-09:00"`:         `must be days and times`,
		`via: a, to: "dns:a_b"`:                   `must be dns: and a letter`,
		`via: a, to: "dns:video6"`:                `a 6 at its end is for the set of IPv6: leave it out`,
		`via: a, in: "*"`:                         `must be an interface's name`,
		`via: a, to: "dns:mark"`:                  `nft has that word for something else: add another, such as my-mark`,
		`via: a, from: "dns:video"`:               `must be an IP address, a prefix, file:/path, bgp:name`,
		`via: a, mac: 02:00`:                      `must be an Ethernet address, such as 02:00:5e:10:00:01`,
		`via: a, in: "w*n"`:                       `must be an interface's name, at most 15 bytes, or the beginning of some and '*'`,
		`via: a, user: 7, mac: 02:00:5e:10:00:01`: `not with in or mac: what a program of this host sends came in by no interface`,
		`via: a, unit: x.service, in: lan0`:       `not with in or mac`,
		`via: a, unit: x.service, cgroup: a/b`:    `not with unit: a unit is a cgroup, keep one of them`,
		`via: a, unit: x`:                         `must be a unit of systemd, such as transmission-daemon.service`,
		`via: a, cgroup: ../x`:                    `must be a path below /sys/fs/cgroup`,
		`via: a, not: {protocol: tcp, dport: 25}`: `not beside a port: each is denied by itself`,
		`via: a, not: {nme: x}`:                   `not.nme: unknown key`,
	} {
		_, err := parse(policyFile(line))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	// Each is denied by itself. From a review: these were refused.
	policies(t, "via: a, not: {in: lan0, user: 7}", "via: a, not: {unit: x.service, cgroup: a/b}")
}

// Amounts of data, as they are written and read.
func TestBytes(t *testing.T) {
	for text, n := range map[string]uint64{"0B": 0, "999B": 999, "1kB": 1000, "42.7GB": 42_700_000_000, "100GB": 1e11, "1TB": 1e12, "1000TB": 1e15} {
		if got, ok := configs.ParseBytes(text); !ok || got != n {
			t.Errorf("%s: %d, %v; want %d", text, got, ok, n)
		}
		if text != "1000TB" && configs.BytesText(n) != text {
			t.Errorf("%d is written %s, want %s", n, configs.BytesText(n), text)
		}
	}
	for n, want := range map[uint64]string{999_700_000_000: "1000GB", 10_240_000_000: "10.2GB", 1_234_567: "1.23MB"} {
		if got := configs.BytesText(n); got != want {
			t.Errorf("%d is written %s, want %s", n, got, want)
		}
	}
	for _, text := range []string{"", "GB", "1", "1.GB", "-1GB", "1e9B", "2000TB"} {
		if n, ok := configs.ParseBytes(text); ok && text != "1" {
			t.Errorf("%q is taken for %d", text, n)
		}
	}
}

// Which policy is never reached because of an earlier one, and which can match nothing at all.
func TestShadowedAndImpossible(t *testing.T) {
	const balance = "via: a, when_down: balance, "
	for name, tt := range map[string]struct {
		earlier, later string
		want           bool
	}{
		"a wider interface":        {"in: 'wlan*'", "in: [wlan0, wlan1]", true},
		"a narrower interface":     {"in: wlan0", "in: 'wlan*'", false},
		"the same times":           {"when: Mon", "when: Mon, dport: 1", true},
		"other times":              {"when: Mon", "dport: 1", false},
		"not for some":             {"not: {dport: 25}", "dport: 25", false},
		"not for the same":         {"not: {dport: 25}", "not: {dport: 25}, protocol: tcp", true},
		"a cgroup above":           {"cgroup: a", "cgroup: a/b", true},
		"a cgroup beside":          {"cgroup: a", "cgroup: ab", false},
		"a name":                   {"to: 'dns:x'", "to: 'dns:x', dport: 1", true},
		"a name beside a prefix":   {"to: 'dns:x'", "to: ['dns:x', 192.0.2.1]", false},
		"mac":                      {"mac: 02:00:5e:10:00:01", "mac: 02:00:5e:10:00:01, dport: 1", true},
		"a unit, and all programs": {"unit: x.service", "user: 5", false},
	} {
		list := policies(t, balance+tt.earlier, balance+tt.later)
		if got := len(configs.Shadowed(list)) > 0; got != tt.want {
			t.Errorf("%s: shadowed: %v, want %v", name, got, tt.want)
		}
	}
	for line, want := range map[string]bool{
		"from: 192.0.2.1, to: '2001:db8::1'":              true,
		"from: 192.0.2.1, to: ['2001:db8::1', 192.0.2.9]": false,
		"to: 192.0.2.9, not: {to: 192.0.2.0/24}":          true,
		"to: 192.0.2.0/24, not: {to: 192.0.2.9}":          false,
		"in: wlan0, not: {in: 'wlan*'}":                   true,
		"protocol: icmpv6, to: 192.0.2.9":                 true,
		"protocol: icmpv6":                                false,
		"dport: 25, not: {dport: 20-30}":                  true,
		"protocol: sctp, dport: 25, not: {dport: 25}":     false, // a port denied is one of TCP and UDP
		"not: {dport: 25}":                                false,
	} {
		p := policies(t, "via: a, "+line)[0]
		if got := p.Impossible() != ""; got != want {
			t.Errorf("%s: impossible: %v (%q), want %v", line, got, p.Impossible(), want)
		}
	}
}

// Which policies a connection is meant by, as explain tells it.
func TestMeant(t *testing.T) {
	user, dscp := uint32(7), uint8(46)
	to := netip.MustParseAddr("192.0.2.9")
	for line, tt := range map[string]struct {
		c    configs.Connection
		want bool
	}{
		"to: 192.0.2.0/24":                    {configs.Connection{To: to}, true},
		"to: 'dns:x'":                         {configs.Connection{To: to, Names: []string{"x"}}, true},
		"to: 'dns:y'":                         {configs.Connection{To: to, Names: []string{"x"}}, false},
		"to: 'file:/list'":                    {configs.Connection{To: to}, true},
		"in: 'wl*'":                           {configs.Connection{To: to, In: "wlan0"}, true},
		"in: 'wl*', dport: 1":                 {configs.Connection{To: to, In: "wlan0"}, false},
		"in: 'e*'":                            {configs.Connection{To: to}, false}, // this host sends it
		"mac: 02:00:5e:10:00:01":              {configs.Connection{To: to, MAC: net.HardwareAddr{2, 0, 0x5e, 0x10, 0, 1}}, true},
		"user: 7":                             {configs.Connection{To: to, User: &user}, true},
		"user: 8":                             {configs.Connection{To: to, User: &user}, false},
		"user: 9":                             {configs.Connection{To: to}, false}, // not told
		"unit: x.service":                     {configs.Connection{To: to, Cgroup: "system.slice/x.service"}, true},
		"cgroup: system.slice":                {configs.Connection{To: to, Cgroup: "system.slice/x.service"}, true},
		"cgroup: system":                      {configs.Connection{To: to, Cgroup: "system.slice/x.service"}, false},
		"dscp: 46":                            {configs.Connection{To: to, DSCP: &dscp}, true},
		"dport: 25":                           {configs.Connection{To: to, Protocol: 6, DPort: 25}, true},
		"dport: 25, sport: 1":                 {configs.Connection{To: to, Protocol: 6, DPort: 25}, false},
		"not: {dport: 25}":                    {configs.Connection{To: to, Protocol: 6, DPort: 25}, false},
		"not: {dport: 25, sport: 1}":          {configs.Connection{To: to, Protocol: 1}, true}, // no port, no port denied
		"not: {to: 192.0.2.9}":                {configs.Connection{To: to}, false},
		"protocol: icmp":                      {configs.Connection{To: netip.MustParseAddr("2001:db8::1"), Protocol: 58}, true},
		"when: '00:00-24:00'":                 {configs.Connection{To: to}, true},
		"when: '00:00-24:00', not: {user: 7}": {configs.Connection{To: to, User: &user}, false},
	} {
		list := policies(t, "via: a, "+line)
		lists := map[string][]netip.Prefix{"/list": {netip.MustParsePrefix("192.0.2.8/29")}}
		if got := len(configs.Meant(list, tt.c, lists, time.Now())) > 0; got != tt.want {
			t.Errorf("%s: %v, want %v", line, got, tt.want)
		}
	}
}
