// Package reference tells what every key of the configuration file is: once, for the manual, the pages of docs and
// the schema that editors read. Tests hold it to the parser.
package reference

// A Type is what stands behind a key.
type Type int

// The types.
const (
	Integer  Type = iota // decimal, or 0x, 0o, 0b
	Duration             // a number with its unit: 500ms, 2s, 1h30m (time.ParseDuration)
	Flag                 // true or false
	Word                 // one of a few
	Text                 // a text that has a form
	Mapping              // further keys
	List                 // of mappings, each with further keys
)

// A Key is one key of the file.
type Key struct {
	Name     string
	Type     Type
	Required bool

	Low, High string   // of Integer and Duration, as they stand in the file; both included
	Words     []string // of Word; beside the other forms of Integer and Text
	Form      string   // of Text, in words
	Pattern   string   // of Text, what an editor may go by (ECMA 262); "": any
	Many      bool     // a list of them will do as well; of Text and Word
	Only      bool     // it must be such a list

	// Default is what a file without the key says, as it would stand there: "" none, or what Means tells.
	Default string
	Other   string // another value that is right, as it would stand in a file
	Wrong   string // one that is not
	Means   string // sentences of plain text

	Keys []Key // of Mapping, and of each item of List
}

// File is what stands at the top of the file.
func File() []Key { return append(parts(), switches()...) }

// parts are the keys that have further ones.
func parts() []Key {
	return []Key{
		{
			Name: "uplinks", Type: List, Required: true, Keys: uplink(),
			Means: "The ways to the Internet, 200 at most. Their order numbers the tables and marks that are not " +
				"given.",
		},
		{
			Name: "routes", Type: Mapping, Keys: routes(),
			Means: "What is put into the kernel, and how it is marked as ours.",
		},
		{
			Name: "probe", Type: Mapping, Keys: probe(),
			Means: "How the verdict on an uplink is reached. Each uplink may have its own `probe`, which " +
				"overrides this key by key.",
		},
		{
			Name: "policies", Type: List, Keys: policy(),
			Means: "Which connections leave by an uplink of their own, 200 at most: of a new connection the " +
				"first policy counts that matches it.",
		},
		{
			Name: "lan", Type: List, Keys: lan(),
			Means: "Interfaces whose hosts get IPv6 addresses of a prefix that is ours.",
		},
		{
			Name: "ipv6", Type: Mapping, Keys: globalIPv6(),
			Means: "What is of IPv6 and of no single uplink.",
		},
		{
			Name: "on_down", Type: Mapping, Keys: onDown(),
			Means: "What is done about the connections of an uplink that is down, once the routes have changed.",
		},
		{
			Name: "hooks", Type: List, Keys: hook(),
			Means: "Programs that are run on what happens, 20 at most: uplinkd-hooks(7).",
		},
		{
			Name: "control", Type: Mapping, Keys: control(),
			Means: "Where the daemon is spoken to.",
		},
	}
}

// switches are those that have not.
func switches() []Key {
	return []Key{
		{
			Name: "marks", Type: Flag, Default: "true", Other: "false", Wrong: "yes",
			Means: "Connections are marked with their uplink in an nft table of ours, and stay on it. Without " +
				"marks there are no policies.",
		},
		{
			Name: "mptcp", Type: Flag, Default: "false", Other: "true", Wrong: "1",
			Means: "The kernel's MPTCP endpoints follow the uplinks.",
		},
		{
			Name: "dns", Type: Word, Words: []string{"none", "route", "resolved", "file", "hook"},
			Default: "none", Other: "route", Wrong: "resolv.conf",
			Means: "What becomes of each provider's DNS servers: nothing; they are asked by way of their uplink; " +
				"that, and they are given " +
				"to systemd-resolved, written to a file as resolv.conf(5) has it, or told to hooks.",
		},
		{
			Name: "on_return", Type: Word, Words: []string{"keep", "move"}, Default: "keep", Other: "move",
			Wrong: "stay",
			Means: "What becomes of flows on worse tiers when a better one is back: they go on, or end, so that " +
				"they begin anew there.",
		},
		{
			Name: "state_dir", Type: Text, Form: "an absolute path", Pattern: absolute,
			Default: "/var/lib/uplinkd", Other: "/srv/uplinkd", Wrong: "lib",
			Means: "Where what must outlive the process is kept: leases, orders, a configuration on trial.",
		},
	}
}

// absolute is the form of a path of the file system.
const absolute = "^/"

func onDown() []Key {
	flag := func(name, means string) Key {
		return Key{Name: name, Type: Flag, Default: "true", Other: "false", Wrong: "on", Means: means}
	}
	return []Key{
		flag("conntrack", "Its flows are forgotten by connection tracking, and begin anew elsewhere."),
		flag("sockets", "Connections of this host that have its address are ended: programs see ECONNABORTED."),
		flag("again", "Both once more a second later, for what slipped between."),
	}
}

func hook() []Key {
	return []Key{
		{
			Name: "run", Type: Text, Required: true, Many: true,
			Form:  "the absolute path of a program, or a list of it and its arguments: no shell",
			Other: "/bin/true", Wrong: "true", Means: "What is run, with the event in its environment.",
		},
		{
			Name: "on", Type: Word, Required: true, Many: true,
			Words: []string{"lease", "address", "up", "down", "doubtful", "switch", "dns", "prefix", "quota"},
			Other: "up",
			Wrong: "everything",
			Means: "The events that it is run on.",
		},
		{
			Name: "uplinks", Type: Text, Many: true, Form: "names of uplinks", Other: "isp1", Wrong: "nobody",
			Means: "Only what happens to these; without it, to any.",
		},
		{
			Name: "timeout", Type: Duration, Low: "100ms", High: "10m", Default: "10s", Other: "20s", Wrong: "10",
			Means: "It is ended after so long.",
		},
	}
}

func control() []Key {
	const listen = `^$|^.+:[0-9]{1,5}$`
	return []Key{
		{
			Name: "socket", Type: Text, Form: "an absolute path of at most 107 bytes", Pattern: absolute,
			Default: "/run/uplinkd/uplinkd.sock", Other: "/run/uplinkd/other.sock", Wrong: "sock",
			Means: "The socket that the commands ask at.",
		},
		{
			Name: "metrics", Type: Text, Form: "an address and a port, or empty", Pattern: listen,
			Default: `""`, Other: "127.0.0.1:9877", Wrong: "9877",
			Means: "Where Prometheus scrapes; empty: on the socket alone.",
		},
		{
			Name: "web", Type: Text, Form: "an address and a port, or empty", Pattern: listen,
			Default: `""`, Other: "127.0.0.1:9878", Wrong: "localhost",
			Means: "Where the page is that shows the uplinks live: read only, and everybody who reaches it sees " +
				"it. Empty: nowhere.",
		},
		{
			Name: "group", Type: Text, Form: "the name of a group", Pattern: "^[a-z_][a-z0-9_-]{0,31}$",
			Default: "uplinkd", Other: "adm", Wrong: "No Group",
			Means: "Who is in it may ask; root and the daemon's own user may order as well.",
		},
	}
}
