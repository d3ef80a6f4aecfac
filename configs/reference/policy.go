package reference

func policy() []Key {
	name := Key{
		Name: "name", Type: Text, Required: true, Form: "1 to 32 letters, digits, '-' or '_'",
		Pattern: namePattern, Other: "video", Wrong: "a b",
		Means: "Shown everywhere.",
	}
	more := []Key{
		{
			Name: "not", Type: Mapping, Keys: matches(),
			Means: "What it must not be: each key by itself is denied.",
		},
		{
			Name: "when", Type: Text, Many: true,
			Form:  `days and times of this host's zone, such as "Mon-Fri 08:00-18:00"`,
			Other: `"Sat,Sun"`, Wrong: "always",
			Means: "The times at which the policy is in force, by the clock on the wall; a period may go over " +
				"midnight, and belongs to the day that it begins on.",
		},
	}
	return append(append(append([]Key{name}, matches()...), more...), leads()...)
}

// matches are the keys of which connections it is about; without one all match.
func matches() []Key {
	address := func(name, means string) Key {
		return Key{
			Name: name, Type: Text, Many: true, Form: "IP addresses, prefixes, file:/path or bgp:name",
			Other: "192.0.2.0/24", Wrong: "example.org", Means: means,
		}
	}
	port := func(name, means string) Key {
		return Key{
			Name: name, Type: Text, Many: true, Form: "ports from 1 to 65535, or ranges such as 8000-8080",
			Pattern: "^[0-9]+(-[0-9]+)?$",
			Other:   "443", Wrong: "0", Means: means,
		}
	}
	return []Key{
		address("from", "Where a connection comes from. A file has one prefix a line, and is read again when it "+
			"changes."),
		{
			Name: "to", Type: Text, Many: true, Form: "IP addresses, prefixes, file:/path, bgp:name or dns:name",
			Other: "dns:video", Wrong: "example.org",
			Means: "Where it goes. dns:video is a set of nft, video, and video6 of IPv6, that a DNS server of this " +
				"host fills.",
		},
		{
			Name: "in", Type: Text, Many: true, Form: "interfaces, or how their names begin and '*'",
			Pattern: `^[^/:*\s]{1,15}$|^[^/:*\s]{1,14}\*$`, Other: "wlan*", Wrong: "a/b",
			Means: "The interface that it comes in by.",
		},
		{
			Name: "mac", Type: Text, Many: true, Form: "Ethernet addresses",
			Pattern: "^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$", Other: "02:00:5e:10:00:01", Wrong: "02:00",
			Means: "The Ethernet address that it comes from, on the same link.",
		},
		{
			Name: "protocol", Type: Text, Many: true,
			Form:  "tcp, udp, icmp, icmpv6, gre, esp, ah, sctp, dccp, udplite, or a number up to 255",
			Other: "tcp", Wrong: "http", Means: "Its protocol above IP. icmp is ICMPv6 in IPv6.",
		},
		port("sport", "The port that it comes from; only with protocols that have ports."),
		port("dport", "The port that it goes to; only with protocols that have ports."),
		{
			Name: "user", Type: Text, Form: "a user of this host, by name or number", Other: "1000",
			Wrong: "nobody-of-this-name",
			Means: "Whose program opens it, on this host.",
		},
		{
			Name: "unit", Type: Text, Form: "a unit of systemd", Other: "transmission-daemon.service",
			Wrong: "transmission",
			Means: "The service, scope or slice whose program opens it, on this host; it may come and go.",
		},
		{
			Name: "cgroup", Type: Text, Form: "a path below the root of cgroup2", Other: "user.slice/user-1000.slice",
			Wrong: "../etc", Means: "The control group whose program opens it, on this host; it may come and go.",
		},
		{
			Name: "dscp", Type: Integer, Low: "0", High: "63", Other: "46", Wrong: "64",
			Means: "The differentiated services code point of its first packet (RFC 2474).",
		},
	}
}

// leads are the keys of where a connection then goes.
func leads() []Key {
	return []Key{
		{
			Name: "via", Type: Text, Required: true, Many: true,
			Form:  "an uplink, a list of them in order of preference, or balance",
			Other: "isp1", Wrong: "nobody",
			Means: "The uplink that it leaves by: the first of these that is up; balance: by weight, as all else.",
		},
		{
			Name: "sticky", Type: Word, Words: []string{"none", "source", "source-destination"}, Default: "none",
			Other: "source", Wrong: "both",
			Means: "With via: balance: connections of one source, or of one source to one destination, keep to " +
				"one uplink.",
		},
		{
			Name: "sticky_for", Type: Duration, Low: "1s", High: "24h", Default: "10m", Other: "1h", Wrong: "2d",
			Means: "For so long after the last of them.",
		},
		{
			Name: "when_down", Type: Word, Words: []string{"next", "prohibit", "balance"}, Default: "next",
			Other: "prohibit", Wrong: "drop",
			Means: "None of `via` is up: the next policy is asked, the connection is refused, or it goes by weight.",
		},
		{
			Name: "sla", Type: Mapping, Keys: sla(),
			Means: "Of `via` only uplinks that keep this service level are used, as the probes measure it, by " +
				"the best " +
				"target beyond the gateway. One that was beyond is used again when it has come back to four " +
				"fifths of " +
				"the times, and a third of the loss, for 10 s. An uplink that is not good enough still carries " +
				"all else.",
		},
		{
			Name: "prefer", Type: Word, Words: []string{"order", "rtt", "jitter", "loss"}, Default: "order",
			Other: "rtt", Wrong: "speed",
			Means: "Which of these is taken: the first, or the one with the shortest round trip, the least jitter or " +
				"the least loss. Another takes its place when it is better by a fifth, or by a percent of loss.",
		},
	}
}

// sla are the keys of a service level.
func sla() []Key {
	return []Key{
		{
			Name: "max_rtt", Type: Duration, Low: "1ms", High: "1m", Other: "80ms", Wrong: "80",
			Means: "The round trip must be shorter.",
		},
		{
			Name: "max_jitter", Type: Duration, Low: "1ms", High: "1m", Other: "20ms", Wrong: "0s",
			Means: "The mean deviation of the round trip must be less.",
		},
		{
			Name: "max_loss", Type: Integer, Low: "1", High: "100", Other: "2", Wrong: "0",
			Means: "Fewer of the last 100 probes must be lost, in percent.",
		},
	}
}
