package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"uplinkd/configs"
	"uplinkd/uplink/control"
	"uplinkd/uplink/daemon"
)

const defaultConfig = "/etc/uplinkd/uplinkd.yaml"

// What the Makefile sets; a plain go build takes what Go knows of the module and the checkout.
var version, commit string

// stdio is where answers and everything else go.
type stdio struct {
	out, err io.Writer
	terminal *os.File // behind out; nil when it is known to be none
}

// A usageError is a command line that cannot be.
type usageError struct{ error }

// errQuiet is a failure that has been told already.
type errQuiet struct{ error }

// common are the flags that several commands share.
type common struct {
	stdio
	config string
	socket string
	json   bool
}

func newRoot(io stdio) *cobra.Command {
	c := &common{stdio: io}
	root := &cobra.Command{
		Use:   "uplinkd",
		Short: "Policy routing for a host with several Internet uplinks",
		Long: "uplinkd sends new connections out over all live uplinks of this host, in proportion\n" +
			"to their weights, and stops using an uplink the moment it cannot carry traffic.",
		SilenceErrors: true, SilenceUsage: true,
		Args: noSuchCommand,
	}
	// Not cobra's own: its template would have the linker keep every method there is,
	// 5 MB of them.
	version := root.Flags().Bool("version", false, "print the version")
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		if *version {
			return c.printVersion()
		}
		return cmd.Help()
	}
	root.SuggestionsMinimumDistance = 2
	root.SetOut(io.out)
	root.SetErr(io.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	root.AddCommand(
		initCommand(c), runCommand(c), checkCommand(c), planCommand(c), applyCommand(c), confirmCommand(c),
		reloadCommand(c),
		statusCommand(c), cleanupCommand(c), hooksCommand(c),
		enableCommand(c), disableCommand(c), drainCommand(c), weightCommand(c), renewCommand(c), quotaCommand(c),
		eventsCommand(c),
		explainCommand(c), pingCommand(c), probeCommand(c), drillCommand(c), doctorCommand(c), watchCommand(c),
		replayCommand(c),
		importCommand(c), demoCommand(c),
		versionCommand(c), manualCommand(c),
	)
	// Now, so that they too are checked as ours are.
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Args = knownTopic(root)
		case "completion":
			cmd.Args = cobra.ArbitraryArgs
			cmd.RunE = func(_ *cobra.Command, args []string) error {
				const shells = "name bash, zsh, fish or powershell"
				if len(args) == 0 {
					return usageError{errors.New("SHELL is missing: " + shells)}
				}
				return usageError{fmt.Errorf("%q is no shell known here: %s", args[0], shells)}
			}
		}
	}
	usage(root)
	return root
}

// noSuchCommand wants no arguments: one is a command that there is not.
func noSuchCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := root.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("unknown command %q: did you mean %s?", args[0], strings.Join(near, " or "))
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// usage makes every complaint about arguments a usageError.
func usage(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		usage(sub)
	}
}

// knownTopic wants the name of a command, or nothing.
func knownTopic(root *cobra.Command) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if cmd, _, err := root.Find(args); err != nil || len(args) > 0 && cmd == root {
			return fmt.Errorf("unknown command %q", args[0])
		}
		return nil
	}
}

// named wants exactly the arguments that are named.
func named(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return fmt.Errorf("%s is missing", names[len(args)])
		}
		if len(args) > len(names) {
			return fmt.Errorf("%q is one argument too many", args[len(names)])
		}
		for i, arg := range args {
			if arg == "" {
				return fmt.Errorf("%s is empty", names[i])
			}
		}
		return nil
	}
}

// uplinkNames completes an uplink's name, as the configuration has them.
func (c *common) uplinkNames(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	config, err := c.load()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp // what is wrong with it is for check to say
	}
	names := make([]string, len(config.Uplinks))
	for i := range config.Uplinks {
		names[i] = config.Uplinks[i].Name
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (c *common) flagConfig(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&c.config, "config", "c", defaultConfig, "configuration file")
}

func (c *common) flagSocket(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.socket, "socket", "",
		"the daemon's control socket (default: control.socket of the configuration)")
	cmd.Flags().StringVarP(&c.config, "config", "c", defaultConfig, "configuration file that names the socket")
}

func (c *common) flagJSON(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&c.json, "json", false, "answer in JSON")
}

// load reads the configuration file.
func (c *common) load() (configs.Config, error) { return daemon.Load(c.config) }

// client returns a client for the daemon's socket: the one given, or the
// configuration's. A configuration that is missing or cannot be parsed does not
// keep anybody from asking the daemon how it is.
func (c *common) client() *control.Client { return control.NewClient(c.socketPath()) }

// socketPath is where the daemon listens.
func (c *common) socketPath() string {
	if c.socket != "" {
		return c.socket
	}
	f, err := os.Open(c.config)
	if err != nil {
		if c.config != defaultConfig {
			fmt.Fprintf(c.err, "uplinkd: %v: asking at the default socket\n", err)
		}
		return configs.DefaultSocket
	}
	defer f.Close() //nolint:errcheck // only read
	socket, ok := configs.SocketOf(f)
	if !ok {
		fmt.Fprintf(c.err, "uplinkd: %s is broken, so its socket is not known: asking at the default one; "+
			"--socket names another\n", c.config)
		socket = configs.DefaultSocket
	}
	return socket
}

func (c *common) printJSON(v any) error {
	encoder := json.NewEncoder(c.out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// versionText is what `uplinkd version` says.
func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "devel"
}

func (c *common) printVersion() error {
	v := built{Version: versionText(), Commit: cmp.Or(commit, revision(), "unknown"), Go: runtime.Version()}
	if c.json {
		return c.printJSON(v)
	}
	_, err := fmt.Fprintf(c.out, "uplinkd %s (commit %s, %s)\n", v.Version, v.Commit, v.Go)
	return err
}

// revision is what Go noted of the checkout, "" when that is nothing.
func revision() string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

// A built says what this program was made of.
type built struct {
	Version string `json:"version"`
	Commit  string `json:"commit"` // "-dirty" at its end: and what was not committed; "unknown": of no checkout
	Go      string `json:"go"`
}

func versionCommand(c *common) *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return c.printVersion() },
	}
	c.flagJSON(cmd)
	return cmd
}
