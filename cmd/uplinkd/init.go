package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"uplinkd/configs"
	"uplinkd/configs/draft"
	"uplinkd/internal/plain"
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
	if _, err := os.Lstat(c.config); c.config != "-" && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there, and is not written over: give another FILE, or - to see what it would be",
			c.config)
	}
	host, err := lookAround(ctx)
	if err != nil {
		return err
	}
	d := draft.Make(host, c.questions(in, yes))
	if d.Uplinks() == 0 {
		return errors.New("no interface here looks like an uplink: there is no default route, and none has a " +
			"carrier and no address; " +
			"uplinkd.yaml(5) says how to write it yourself")
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
	return c.sayNext(d)
}

// writeNew writes a file that is not there, for its owner to write and its group to read: that of the directory.
func writeNew(path, text string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return readableByDaemon(path)
}

// sayNext tells which commands follow.
func (c *common) sayNext(d *draft.Draft) error {
	option := ""
	if c.config != defaultConfig {
		option = " -c " + c.config
	}
	start := "systemctl enable --now uplinkd"
	remark := ""
	if iface, from := d.Login(); iface != "" && c.config == defaultConfig {
		start = "uplinkd apply --confirm 2m"
		remark = fmt.Sprintf("You are logged in over %s, from %s: the third starts it and gives all back after "+
			"two minutes,\n"+
			"unless `uplinkd confirm` comes, which also has it start at each boot.\n", iface, from)
	}
	_, err := fmt.Fprintf(c.out, "%s: %d uplinks. Look at it; then:\n\n"+
		"  uplinkd check%[3]s\n  uplinkd plan%[3]s\n  %[4]s\n\n"+
		"The first says what on this host would be in the way and what to do about it, the second what would be\n"+
		"changed, as ip commands. %[5]s", c.config, d.Uplinks(), option, start, remark)
	if remark == "" {
		fmt.Fprintln(c.out)
	}
	return err
}

// questions asks on the terminal; where there is none it takes no guess, unless it may.
func (c *common) questions(in io.Reader, yes bool) draft.Ask {
	lines := bufio.NewScanner(in)
	terminal := atTerminal()
	return func(q draft.Question) (string, bool) {
		if yes {
			return q.Guess, true
		}
		if !terminal {
			return "", false
		}
		for {
			fmt.Fprintf(c.err, "%s", plain.Line(q.Text, lineMost))
			if len(q.Choices) > 0 {
				fmt.Fprintf(c.err, " %s", strings.Join(q.Choices, ", "))
			}
			fmt.Fprintf(c.err, " [%s] ", q.Guess)
			if !lines.Scan() {
				return "", false
			}
			answer := strings.TrimSpace(lines.Text())
			if answer == "" {
				return q.Guess, true
			}
			if len(q.Choices) == 0 || slices.Contains(q.Choices, answer) {
				return answer, true
			}
		}
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
	come := login()
	for i := range links {
		l := &links[i]
		if l.Flags&net.FlagLoopback != 0 {
			continue
		}
		h.Links = append(h.Links, linkOf(l, have, seen, root))
		if at := &h.Links[len(h.Links)-1]; come != nil && interfaceWith(come.Local.Addr()) == l.Name {
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
	_, err := fs.Stat(root, "sys/class/net/"+l.Name+"/master")
	link.Member = err == nil
	for _, a := range have.Addresses {
		if a.Interface == l.Name && a.Prefix.Addr().Is4() && !a.Prefix.Addr().IsLinkLocalUnicast() {
			link.Addresses = append(link.Addresses, a.Prefix)
			link.Leased = link.Leased || !a.Until.IsZero()
		}
	}
	for _, r := range have.Routes {
		for _, hop := range r.NextHops {
			switch {
			case hop.Interface != l.Name || r.Dst.Bits() != 0:
			case r.Dst.Addr().Is6():
				link.IPv6 = true
			default:
				link.Default, link.Gateway = true, hop.Gateway
			}
		}
	}
	return link
}
