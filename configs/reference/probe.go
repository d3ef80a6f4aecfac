package reference

func probe() []Key { return append(append(verdict(), limits()...), beyondVerdict()...) }

// verdict are the keys of how silence leads to a verdict.
func verdict() []Key {
	count := func(name, standard, means string) Key {
		return Key{
			Name: name, Type: Integer, Low: "1", High: "100", Default: standard, Other: "7", Wrong: "0",
			Means: means,
		}
	}
	pace := func(name, standard, means string) Key {
		return Key{
			Name: name, Type: Duration, Low: "10ms", High: "1h", Default: standard, Other: "700ms",
			Wrong: "5", Means: means,
		}
	}
	silence := func(name, standard, other, means string) Key {
		return Key{
			Name: name, Type: Duration, Low: "200ms", High: "1m", Default: standard, Other: other,
			Wrong: "100ms", Means: means,
		}
	}
	return []Key{
		{
			Name: "targets", Type: Text, Many: true, Only: true,
			Form: "a list of 64 at most: gateway, an IP address, tcp://IP:port, http(s)://host/path, " +
				"dns://IP/name, socks5://host:port/IP:port, agent://host:port or exec:/path",
			Default: "[gateway]", Other: "[gateway, 'exec:/bin/true']", Wrong: "[icmp]",
			Means: "What is probed, each by way of the uplink alone. exec runs a program, whose exit code is the " +
				"answer.",
		},
		pace("interval", "500ms", "The steady pace to each target."),
		{
			Name: "rule", Type: Word, Words: []string{"learned", "fixed"}, Default: "learned", Other: "fixed",
			Wrong: "strict",
			Means: "How silence leads to a verdict: by what the link has been like, or by timeout and down_after.",
		},
		silence("down_within", "1s", "2s", "By the learned rule a shorter silence never means down."),
		silence("down_within_max", "10s", "20s", "By the learned rule a longer one always does."),
		pace("timeout", "400ms", "By the fixed rule a probe without an answer by then is missed."),
		pace("confirm", "100ms", "The pace while the verdict is not clear."),
		count("down_after", "3", "By the fixed rule: so many misses in a row are down."),
		count("up_after", "5", "So many answers in a row are up again."),
		{
			Name: "quorum", Type: Integer, Low: "1", High: "64", Words: []string{"any", "all"}, Default: "any",
			Other: "all", Wrong: "some",
			Means: "How many targets must answer.",
		},
	}
}

// limits are those of what a target that answers must keep.
func limits() []Key {
	limit := func(name, standard, means string) Key {
		return Key{
			Name: name, Type: Duration, Low: "0s", High: "1m", Default: standard, Other: "300ms",
			Wrong: "2m", Means: means,
		}
	}
	return []Key{
		{
			Name: "max_loss", Type: Integer, Low: "0", High: "100", Default: "15", Other: "30", Wrong: "101",
			Means: "Percent of the last 100 probes: too much is down; 0: no limit.",
		},
		{
			Name: "return_loss", Type: Integer, Low: "0", High: "100", Other: "2", Wrong: "101",
			Means: "Loss must come back to so much; without it, to a third of max_loss.",
		},
		limit("max_rtt", "0s", "The round trip, smoothed: a longer one is down; 0s: no limit."),
		limit("return_rtt", "", "It must come back to so much; without it, to four fifths of max_rtt."),
		limit("max_jitter", "0s", "How much it may vary; 0s: no limit."),
		limit("return_jitter", "", "It must come back to so much; without it, to four fifths of max_jitter."),
	}
}

// beyondVerdict are all others.
func beyondVerdict() []Key {
	hold := func(name, high, standard, other, means string) Key {
		return Key{
			Name: name, Type: Duration, Low: "0s", High: high, Default: standard, Other: other,
			Wrong: "never", Means: means,
		}
	}
	return []Key{
		{
			Name: "expect", Type: Mapping, Keys: expect(),
			Means: "What an HTTP target must answer.",
		},
		{
			Name: "exec_timeout", Type: Duration, Low: "10ms", High: "1h", Default: "5s", Other: "700ms", Wrong: "5",
			Means: "How long a program may take.",
		},
		{
			Name: "passive", Type: Flag, Default: "true", Other: "false", Wrong: "no",
			Means: "Connections without an answer hurry the next probe.",
		},
		{
			Name: "budget", Type: Text,
			Form:    "bytes a month with their unit, such as 500MB, 100kB at least; 0: no limit",
			Pattern: "^(0|[0-9]+[kMGT]?B)$", Default: "0", Other: "500MB", Wrong: "1kB",
			Means: "What the probes of the uplink may use in 30 days: the pace is stretched to keep it.",
		},
		hold("hold_down", "1h", "2s", "4s", "After the second fall within flap_window an uplink stays down for "+
			"so long; twice that after each further one."),
		hold("hold_down_max", "24h", "5m", "10m", "Up to this."),
		{
			Name: "flap_window", Type: Duration, Low: "1s", High: "24h", Default: "10m", Other: "20m", Wrong: "10",
			Means: "After each such time without a fall one fall is forgotten.",
		},
	}
}

func expect() []Key {
	return []Key{
		{
			Name: "status", Type: Integer, Low: "100", High: "599", Other: "204", Wrong: "99",
			Means: "The status; without it any from 200 to 299.",
		},
		{
			Name: "body", Type: Text, Form: "1 to 1000 bytes", Pattern: `^[\s\S]+$`, Other: "ok", Wrong: `""`,
			Means: "What must stand in the answer.",
		},
	}
}
