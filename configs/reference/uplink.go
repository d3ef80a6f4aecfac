package reference

// Forms of names, as the parser has them.
const (
	namePattern      = `^[A-Za-z0-9_-]{1,32}$`
	interfacePattern = `^[^/:\s]{1,15}$`
)

func uplink() []Key {
	return append(path(), []Key{
		{
			Name: "table", Type: Text, Form: "a number from 1 to 4294967295, or a name of rt_tables", Other: "777",
			Wrong: "nowhere",
			Means: "This uplink's own routing table; without it 501 for the first in the file, and so on.",
		},
		{
			Name: "fwmark", Type: Integer, Low: "1", High: "4294967295", Other: "0x21", Wrong: "0",
			Means: "Packets with this mark leave by this uplink; without it the next free number within " +
				"routes.fwmark_mask.",
		},
		{
			Name: "masquerade", Type: Flag, Default: "false", Other: "true", Wrong: "yes",
			Means: "What is forwarded gets this uplink's address.",
		},
		{
			Name: "max_connections", Type: Integer, Low: "0", High: "100000000", Default: "0", Other: "500",
			Wrong: "many",
			Means: "With so many it gets no new ones, until 90 % of it; 0: no limit.",
		},
		quotaKey(),
		{
			Name: "bandwidth", Type: Text, Form: "bits a second, such as 100Mbit", Pattern: "^[0-9]{1,6}[kMG]bit$",
			Other: "100Mbit", Wrong: "100",
			Means: "For routes.balance: least-traffic.",
		},
		{
			Name: "auto_disable", Type: Flag, Default: "false", Other: "true", Wrong: "yes",
			Means: "Once down it stays out until `uplinkd enable`.",
		},
		{
			Name: "slow_start", Type: Duration, Low: "0s", High: "1h", Default: "0s", Other: "30s", Wrong: "2h",
			Means: "After a fall the weight rises to its full over this time.",
		},
		{
			Name: "nameservers", Type: Text, Many: true, Only: true, Form: "a list of 3 IP addresses at most",
			Other: "[192.0.2.53]", Wrong: "[dns]",
			Means: "This provider's DNS servers, instead of those of the lease.",
		},
		{Name: "dhcp", Type: Mapping, Keys: dhcp(), Means: "How the lease is asked for and kept."},
		{
			Name: "options", Type: Mapping, Keys: options(),
			Means: "Metrics on its own default route, instead of those of routes.options.",
		},
		{
			Name: "probe", Type: Mapping, Keys: probe(),
			Means: "How its verdict is reached, where that differs from `probe` at the top.",
		},
		{
			Name: "ipv6", Type: Mapping, Keys: ipv6(),
			Words: []string{"none", "auto", "external"}, Default: "none", Other: "auto", Wrong: "yes",
			Means: "Its second family: none; auto, which is what its router says and DHCPv6; external; an " +
				"address with its prefix " +
				"length; or keys.",
		},
	}...)
}

func path() []Key {
	return []Key{
		{
			Name: "name", Type: Text, Required: true, Form: "1 to 32 letters, digits, '-' or '_'",
			Pattern: namePattern, Other: "fiber", Wrong: "a b",
			Means: "Shown everywhere.",
		},
		{
			Name: "interface", Type: Text, Required: true, Form: "an interface's name", Pattern: interfacePattern,
			Other: "eth5", Wrong: "lo",
			Means: "The interface that the provider is on. It may be absent now and appear later.",
		},
		{
			Name: "address", Type: Text, Required: true, Many: true,
			Form: "dhcp, external, none, or an address with its prefix length such as 203.0.113.5/24, or a list " +
				"of those",
			Other: "203.0.113.77/24", Wrong: "203.0.113.77",
			Means: "Who gives the address: our own DHCP client, which reads no routes of any lease; somebody " +
				"else, such as pppd or NetworkManager; or this file; none is an uplink of IPv6 alone.",
		},
		{
			Name: "gateway", Type: Text, Form: "an IP address, lease or none", Other: "203.0.113.1", Wrong: "router",
			Means: "Required with every address but none. The next hop: the provider's router; that which the " +
				"lease names; or none, on a " +
				"point-to-point link.",
		},
		{
			Name: "onlink", Type: Flag, Default: "false", Other: "true", Wrong: "yes",
			Means: "The gateway lies outside the uplink's networks.",
		},
		{
			Name: "weight", Type: Integer, Low: "1", High: "256", Default: "1", Other: "3", Wrong: "257",
			Means: "Its part of new connections, beside the others of its tier.",
		},
		{
			Name: "tier", Type: Integer, Low: "1", High: "100", Default: "1", Other: "2", Wrong: "0",
			Means: "A higher one carries traffic only while no uplink of a lower one is up.",
		},
	}
}

func dhcp() []Key {
	return []Key{
		{
			Name: "renew_after", Type: Duration, Low: "0s", High: "24h", Default: "10s", Other: "30s", Wrong: "10",
			Means: "If nothing answers for this long although the carrier is there, the lease is renewed; 0s: never.",
		},
		{
			Name: "conflict_probe", Type: Word, Words: []string{"quick", "rfc5227", "none"}, Default: "quick",
			Other: "none", Wrong: "arp",
			Means: "Whether another host has the address is asked on the link before it is used: in 0.6 s, in " +
				"the 4 to 7 s of RFC 5227, or not.",
		},
		{
			Name: "mtu", Type: Word, Words: []string{"ignore", "accept"}, Default: "ignore", Other: "accept",
			Wrong: "1500",
			Means: "What becomes of the MTU that the lease names: it is shown, or given to the interface.",
		},
		{
			Name: "client_id", Type: Text, Form: "mac, duid, hex: and at least two bytes, or a text",
			Default: "mac", Other: "duid", Wrong: "hex:0",
			Means: "Option 61: the hardware address, the host's DUID (RFC 4361), bytes, or a text of type 0.",
		},
		{
			Name: "host_name", Type: Text, Form: "1 to 63 bytes without control characters", Other: "gateway",
			Wrong: `""`,
			Means: "Option 12.",
		},
		{
			Name: "vendor_class", Type: Text, Form: "1 to 200 bytes without control characters", Other: "box",
			Wrong: `""`,
			Means: "Option 60.",
		},
		{
			Name: "user_class", Type: Text, Form: "1 to 200 bytes without control characters", Other: "box",
			Wrong: `""`,
			Means: "Option 77.",
		},
		{
			Name: "lease_time", Type: Duration, Low: "10s", High: "8760h", Other: "1h", Wrong: "1s",
			Means: "How long a lease is wished for; without it, as long as the server likes.",
		},
		{
			Name: "broadcast", Type: Flag, Default: "false", Other: "true", Wrong: "yes",
			Means: "The server is to answer by broadcast.",
		},
	}
}

func ipv6() []Key {
	return []Key{
		{
			Name: "address", Type: Text, Many: true, Form: "none, auto, external, or an address with its prefix " +
				"length such as 2001:db8::5/64, or a list of those",
			Default: "auto", Other: "2001:db8::77/64", Wrong: "203.0.113.77/24", Means: "Who gives the address.",
		},
		{
			Name: "gateway", Type: Text, Form: "an IPv6 address, ra or none", Default: "ra", Other: "fe80::1",
			Wrong: "lease",
			Means: "The next hop: that which advertises itself as a router (RFC 4861), an address, or none.",
		},
		{
			Name: "prefix", Type: Text, Form: "ask, none, or a prefix that is routed to this host", Default: "ask",
			Other: "2001:db8:1:100::/56", Wrong: "2001:db8::/96",
			Means: "Where the prefix for the LAN comes from: DHCPv6 is asked while there is a `lan` (RFC 8415), " +
				"nowhere, or this file.",
		},
		{
			Name: "prefix_length", Type: Integer, Low: "32", High: "64", Other: "56", Wrong: "65",
			Means: "What DHCPv6 is asked for; without it, what the server likes.",
		},
		{
			Name: "translate", Type: Flag, Default: "true", Other: "false", Wrong: "yes",
			Means: "What is forwarded with an address of another prefix gets one of this uplink's.",
		},
		{
			Name: "weight", Type: Integer, Low: "1", High: "256", Other: "3", Wrong: "257",
			Means: "Its part of new connections in IPv6; without it, as in IPv4.",
		},
		{
			Name: "tier", Type: Integer, Low: "1", High: "100", Other: "2", Wrong: "0",
			Means: "Its tier in IPv6; without it, as in IPv4.",
		},
		{
			Name: "probe", Type: Mapping, Keys: probe(),
			Means: "How its verdict is reached in IPv6, where that differs from IPv4.",
		},
	}
}

func quotaKey() Key {
	return Key{
		Name: "quota", Type: Mapping, Keys: quota(),
		Means: "How much the uplink may carry in a period, and what it is when that is used up. The kernel counts in " +
			"our nft table, of both families and with the headers of IP.",
	}
}

// quota are the keys of what an uplink may carry.
func quota() []Key {
	return []Key{
		{
			Name: "bytes", Type: Text, Required: true,
			Form:    "bytes with their unit, 1MB to 1000TB; units are powers of ten",
			Pattern: `^[0-9]+(\.[0-9]+)?(|k|M|G|T)B$`, Other: "100GB", Wrong: "100",
			Means: "So much.",
		},
		{
			Name: "every", Type: Word, Words: []string{"month", "week", "day"}, Default: "month", Other: "day",
			Wrong: "year",
			Means: "The period. It begins at midnight by the clock on the wall. Clocks that go back or are set " +
				"begin none.",
		},
		{
			Name: "on", Type: Text, Form: "the day of the month, 1 to 31, or of the week, such as Mon", Default: "1",
			Other: "15", Wrong: "32",
			Means: "The day that a period begins on; Mon where it is a week. A month that is too short begins on " +
				"its last.",
		},
		{
			Name: "direction", Type: Word, Words: []string{"both", "rx", "tx"}, Default: "both", Other: "rx",
			Wrong: "in",
			Means: "What counts: what comes in, what goes out, or both.",
		},
		{
			Name: "then", Type: Word, Words: []string{"spare", "out"}, Default: "spare", Other: "out", Wrong: "stop",
			Means: "What the uplink is when all is used: of use when no other is up, as behind the last tier; or " +
				"of none: " +
				"only probes go by it, no policy leads there, and what ran over it ends as `on_down` says, once " +
				"others carry.",
		},
		{
			Name: "warn", Type: Integer, Low: "1", High: "99", Many: true, Default: "[80, 95]", Other: "50",
			Wrong: "100", Means: "Percentages that are told, as an event and to hooks.",
		},
	}
}
