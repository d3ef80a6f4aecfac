package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"uplinkd/configs"
	"uplinkd/configs/draft"
	"uplinkd/internal/plain"
	"uplinkd/internal/statefile"
	"uplinkd/routes"
	"uplinkd/routes/kernel"
	"uplinkd/uplink"
	"uplinkd/uplink/preflight"
)

func initCommand(c *common) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "init [FILE]", Short: "Look at this host and write a first configuration", Args: cobra.MaximumNArgs(1),
		Long: "Look at the interfaces of this host, its default routes and who gives it addresses, and write\n" +
			"a first configuration to FILE, or to that of --config; - is the standard output. It asks\n" +
			"where it cannot know, changes nothing else, and never writes over a file.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				c.config = args[0]
			}
			return c.initialize(cmd.Context(), cmd.InOrStdin(), yes)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "ask nothing, and take what is most likely")
	c.flagConfig(cmd)
	return cmd
}

func (c *common) initialize(ctx context.Context, in io.Reader, yes bool) error {
	if err := c.isFree(); err != nil {
		return err
	}
	host, err := lookAround(ctx)
	if err != nil {
		return err
	}
	asked := &questions{common: c, lines: bufio.NewScanner(in), yes: yes, terminal: atTerminal()}
	d := draft.Make(host, func(q draft.Question) (string, bool) { return asked.ask(ctx, q) })
	if asked.givenUp {
		return errors.New("given up: nothing was written")
	}
	if d.Uplinks() == 0 {
		return errors.New("no interface of this host is one that can be taken for an uplink of IPv4 without " +
			"being asked: " +
			"uplinkd init at a terminal asks, and uplinkd.yaml(5) says how to write it yourself")
	}
	text := d.String()
	// What an interface is called must not make a file that means something else.
	if _, err := configs.Parse(strings.NewReader(text), configs.Options{File: c.config}); err != nil {
		return fmt.Errorf("what would be written is wrong: %w\n%s", err, text)
	}
	if c.config == "-" {
		_, err := io.WriteString(c.out, text)
		return err
	}
	if err := writeNew(c.config, text); err != nil {
		return err
	}
	unsure := atTerminal() && login() == nil && !atConsole()
	_, sayErr := io.WriteString(c.out, whatFollows(c.config, d, unsure))
	return sayErr
}

// isFree is an error where the file cannot be written, or is there.
func (c *common) isFree() error {
	if c.config == "-" {
		return nil
	}
	_, err := os.Lstat(c.config)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%w: be root, or give another FILE, or - to see what it would be", err)
	}
	return fmt.Errorf("%s is there, and is not written over: give another FILE, or - to see what it would be", c.config)
}

// writeNew writes a file that is not there, for its owner to write and the daemon's group to read. Killed at any
// point it leaves the whole file or none.
func writeNew(path, text string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".uplinkd-init-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // what stays is the other name
	_, err = f.WriteString(text)
	// The mode is that, whatever the mask of this shell.
	if err = errors.Join(err, f.Chmod(0o640), readableByDaemon(f.Name()), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil { // and never over what is there
		return err
	}
	return statefile.Flush(path)
}

// whatFollows tells which commands follow. Who is logged in over an uplink, or from nobody knows where, starts it on
// trial.
func whatFollows(config string, d *draft.Draft, unsure bool) string {
	if config != defaultConfig {
		return fmt.Sprintf("%s: %d uplinks. Look at it; then:\n\n  uplinkd check %[1]s\n  uplinkd plan %[1]s\n"+
			"  install -m 640 -g uplinkd %[1]s %[3]s\n\nand uplinkd apply --confirm 2m starts it with that.\n",
			config, d.Uplinks(), defaultConfig)
	}
	start, remark := "systemctl enable --now uplinkd", ""
	if iface, from := d.Login(); iface != "" {
		remark = fmt.Sprintf("You are logged in over %s, from %s: the third", iface, from)
	} else if unsure {
		remark = "Should you be logged in over one of them: the third"
	}
	if remark != "" {
		start = "uplinkd apply --confirm 2m"
		remark += " starts it, and gives all back after two minutes\n" +
			"unless uplinkd confirm comes, which also has it start at each boot.\n"
	}
	return fmt.Sprintf("%s: %d uplinks. Look at it; then:\n\n  uplinkd check\n  uplinkd plan\n  %s\n\n"+
		"The first says what on this host would be in the way and what to do about it, the second what would be\n"+
		"changed, as ip commands.\n%s", config, d.Uplinks(), start, remark)
}

// atConsole reports whether this is typed at the machine itself: a virtual or a serial console.
func atConsole() bool {
	name, err := os.Readlink("/proc/self/fd/0")
	return err == nil && strings.HasPrefix(name, "/dev/tty")
}

// questions are asked on the terminal; where there is none no guess is taken, unless it may be.
type questions struct {
	*common
	lines         *bufio.Scanner
	yes, terminal bool
	givenUp       bool // by Ctrl-C or Ctrl-D
}

func (a *questions) ask(ctx context.Context, q draft.Question) (string, bool) {
	if a.yes {
		return q.Guess, true
	}
	for a.terminal && !a.givenUp {
		fmt.Fprintf(a.err, "%s", plain.Line(q.Text, lineMost))
		if len(q.Choices) > 0 {
			fmt.Fprintf(a.err, " %s", strings.Join(q.Choices, ", "))
		}
		fmt.Fprintf(a.err, " [%s] ", q.Guess)
		line, ok := a.line(ctx)
		if !ok {
			a.givenUp = true
			break
		}
		answer := strings.TrimSpace(line)
		switch {
		case answer == "":
			return q.Guess, true
		case len(q.Choices) == 0 || slices.Contains(q.Choices, answer):
			return answer, true
		}
	}
	return "", false
}

// line reads an answer; ok is false at the end of the input and when the program is told to end. What reads on then
// ends with the process.
func (a *questions) line(ctx context.Context) (text string, ok bool) {
	read := make(chan bool, 1)
	go func() { read <- a.lines.Scan() }()
	select {
	case ok = <-read:
		return a.lines.Text(), ok
	case <-ctx.Done():
		return "", false
	}
}

// lookAround reads what a first configuration is made of.
func lookAround(ctx context.Context) (draft.Host, error) {
	var h draft.Host
	h.Name, _ = os.Hostname() // for a remark
	links, err := net.Interfaces()
	if err != nil {
		return h, err
	}
	names := make([]string, len(links))
	for i := range links {
		names[i] = links[i].Name
	}
	owner := uplink.Owner(configs.Defaults())
	k, err := kernel.Look(os.TempDir(), quietLog())
	if err != nil {
		return h, err
	}
	defer k.Close()
	have, err := k.Read(ctx, routes.Scope{Owner: owner, Links: names, Shared: []uint32{mainTable}, IPv6: true})
	if err != nil {
		return h, err
	}
	root := os.DirFS("/")
	seen := preflight.ReadHost(root, have.Links, names)
	h.Forwards = strings.TrimSpace(readFile(root, "proc/sys/net/ipv4/ip_forward")) == "1"
	come, comeOver := login(), ""
	if come != nil {
		comeOver = interfaceWith(come.Local.Addr())
	}
	for i := range links {
		l := &links[i]
		if l.Flags&net.FlagLoopback != 0 {
			continue
		}
		h.Links = append(h.Links, linkOf(l, have, seen, root))
		if at := &h.Links[len(h.Links)-1]; come != nil && comeOver == l.Name {
			at.Login = come.Peer.Addr().String()
		}
	}
	return h, nil
}

const mainTable = 254 // RT_TABLE_MAIN

func readFile(root fs.FS, name string) string {
	b, _ := fs.ReadFile(root, name) // what is not there says nothing
	return string(b)
}

func linkOf(l *net.Interface, have routes.State, seen preflight.Host, root fs.FS) draft.Link {
	link := draft.Link{Name: l.Name, PointTo: l.Flags&net.FlagPointToPoint != 0}
	if found, ok := have.Link(l.Name); ok {
		link.Carrier = found.Carrier
		link.Client, link.Leased = seen.Client(found, have.Links)
	}
	link.Member = there(root, "sys/class/net/"+l.Name+"/master")
	link.Carries = there(root, "sys/class/net/"+l.Name+"/upper_*") || there(root, "sys/class/net/"+l.Name+"/bridge")
	for _, a := range have.Addresses {
		if a.Interface == l.Name && a.Prefix.Addr().Is4() && !a.Prefix.Addr().IsLinkLocalUnicast() {
			link.Addresses = append(link.Addresses, a.Prefix)
			link.Leased = link.Leased || !a.Until.IsZero()
		}
	}
	metric := uint32(math.MaxUint32)
	for _, r := range have.Routes {
		for _, hop := range r.NextHops {
			switch {
			case hop.Interface != l.Name || r.Dst.Bits() != 0:
			case r.Dst.Addr().Is6():
				link.IPv6 = true
			case !link.Default || r.Metric < metric: // the one that counts
				link.Default, link.Gateway, metric = true, hop.Gateway, r.Metric
			}
		}
	}
	return link
}

// there reports whether a file matches.
func there(root fs.FS, pattern string) bool {
	found, _ := fs.Glob(root, pattern) // the pattern is right
	return len(found) > 0
}
