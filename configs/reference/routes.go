package reference

func routes() []Key {
	return []Key{
		{
			Name: "table", Type: Text, Form: "a number from 1 to 4294967295, or a name of rt_tables",
			Default: "main", Other: "100", Wrong: "nowhere",
			Means: "Where the shared default route lives. One other than main gets a rule that leads to it, so " +
				"that a default route " +
				"in main that others look after can stay.",
		},
		{
			Name: "metric", Type: Integer, Low: "0", High: "4294967295", Default: "0", Other: "50", Wrong: "-1",
			Means: "Its metric; in IPv6, where the kernel knows no 0, that is 1.",
		},
		{
			Name: "protocol", Type: Integer, Low: "5", High: "255", Default: "201", Other: "202", Wrong: "4",
			Means: "The tag on every route and rule of ours: what carries another is never touched. A change " +
				"needs cleanup and a restart.",
		},
		{
			Name: "rule_priority", Type: Integer, Low: "1", High: "31766", Default: "20000", Other: "21000",
			Wrong: "32000",
			Means: "Our rules use this and the 999 that follow. A change needs cleanup and a restart.",
		},
		{
			Name: "fwmark_mask", Type: Integer, Low: "1", High: "4294967295", Other: "0xff00", Wrong: "0",
			Means: "The bits of a mark that are ours; without it 0xff where an uplink gives a fwmark of its own, " +
				"else 0xff000000.",
		},
		{
			Name: "hash", Type: Word, Words: []string{"l3", "l4", "inner", "keep"}, Default: "l4", Other: "l3",
			Wrong: "l2",
			Means: "What of a packet chooses its path, net.ipv4.fib_multipath_hash_policy: addresses; addresses " +
				"and ports; those of a packet " +
				"inside another; keep leaves the setting as it is.",
		},
		{
			Name: "last_resort", Type: Word, Words: []string{"keep", "none"}, Default: "keep", Other: "none",
			Wrong: "any",
			Means: "What carries when no uplink is up: those whose link and address still stand, or none.",
		},
		{
			Name: "balance", Type: Word, Words: balances,
			Default: "static", Other: "response-time", Wrong: "random",
			Means: "What the weights inside a tier follow: the configured weight alone, round trips of probes, " +
				"what is free of the bandwidth, " +
				"or connections by weight. With overflow the first uplink of the tier takes all until 90 % of its " +
				"bandwidth has been used for 2 s, then the next, and again from 70 % down.",
		},
		{
			Name: "balance_interval", Type: Duration, Low: "1s", High: "1h", Default: "10s", Other: "30s", Wrong: "10",
			Means: "At most one change of weights in each.",
		},
		{
			Name: "options", Type: Mapping, Keys: options(),
			Means: "Metrics on the shared default route, and on each uplink's own unless it has `options` of its own.",
		},
	}
}

func options() []Key {
	return []Key{
		{
			Name: "initcwnd", Type: Integer, Low: "0", High: "1024", Default: "70", Other: "10", Wrong: "1025",
			Means: "Segments that TCP sends before the first answer; 0: the kernel's own.",
		},
		{
			Name: "initrwnd", Type: Integer, Low: "0", High: "1024", Default: "70", Other: "10", Wrong: "many",
			Means: "Segments that it takes before; 0: the kernel's own.",
		},
		{
			Name: "mtu", Type: Integer, Low: "0", High: "65520", Default: "0", Other: "1400", Wrong: "70000",
			Means: "Bytes of a packet; 0: the interface's.",
		},
		{
			Name: "advmss", Type: Integer, Low: "0", High: "65495", Default: "0", Other: "1360", Wrong: "65496",
			Means: "The segment size that is announced; 0: by the MTU.",
		},
		{
			Name: "rto_min", Type: Duration, Low: "0s", High: "2m", Default: "0s", Other: "50ms", Wrong: "3m",
			Means: "The least time after which TCP sends again, whole milliseconds; 0s: the kernel's own.",
		},
		{
			Name: "quickack", Type: Flag, Default: "true", Other: "false", Wrong: "yes",
			Means: "Acknowledge at once.",
		},
	}
}

func lan() []Key {
	return []Key{
		{
			Name: "interface", Type: Text, Required: true, Form: "an interface's name", Pattern: interfacePattern,
			Other: "lan0", Wrong: "a/b",
			Means: "The interface that the hosts are on.",
		},
		{
			Name: "subnet", Type: Integer, Low: "0", High: "4294967295", Default: "0", Other: "7", Wrong: "-1",
			Means: "The number of its /64 in the prefix.",
		},
	}
}

func globalIPv6() []Key {
	return []Key{{
		Name: "lan_prefix", Type: Text, Many: true,
		Form:  "a list of uplinks, or a prefix of one's own such as fd00:aaaa::/56",
		Other: "fd00:aaaa::/56", Wrong: "10.0.0.0/8",
		Means: "Which prefix numbers the LAN: that of the first of these uplinks that has one, or one's own; " +
			"without it, of the " +
			"uplinks with ipv6 in their order.",
	}}
}

var balances = []string{"static", "response-time", "least-traffic", "least-connections", "overflow"}
