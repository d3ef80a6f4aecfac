package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"uplinkd/configs"
	"uplinkd/routes"
	"uplinkd/routes/kernel"
	"uplinkd/uplink"
	"uplinkd/uplink/control"
	"uplinkd/uplink/daemon"
	"uplinkd/uplink/resolver"
)

func cleanupCommand(c *common) *cobra.Command {
	cmd := &cobra.Command{
		Use: "cleanup", Short: "Give back everything that is ours in the kernel", Args: cobra.NoArgs,
		Long: "Give back everything that is ours: routes, rules, addresses and settings. It needs no\n" +
			"daemon and touches nothing foreign. While a daemon runs it refuses: that would only\n" +
			"put everything back. Where the file has mistakes --by-record goes by what the record in\n" +
			"state_dir says is ours. With --check-login it changes nothing, and fails where an SSH\n" +
			"connection to this host goes by what is ours: a package asks so before it is removed.",
	}
	byRecord := cmd.Flags().Bool("by-record", false, "where the file has mistakes, go by the record of what is ours")
	checkLogin := cmd.Flags().Bool("check-login", false, "only fail where an SSH connection goes by what is ours")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *checkLogin {
			return c.checkLogins(cmd.Context())
		}
		return c.cleanup(cmd.Context(), *byRecord)
	}
	c.flagConfig(cmd)
	c.flagJSON(cmd)
	return cmd
}

// lastConfig returns the configuration, defaults where the file is gone, and byRecord as much as a file tells that has
// a mistake: what it led to is in the kernel all the same, and the record in state_dir says by which tags.
func (c *common) lastConfig(byRecord bool) (configs.Config, error) {
	text, err := os.ReadFile(c.config)
	switch {
	case errors.Is(err, fs.ErrNotExist) && c.config == defaultConfig:
		return configs.Defaults(), nil
	case err != nil:
		return configs.Config{}, err
	}
	config, err := c.load()
	if err == nil || !byRecord {
		return config, err
	}
	fmt.Fprintf(c.err, "uplinkd: %v\nuplinkd: %s is followed only in where the socket and the state are, and in "+
		"dns\n", err, c.config)
	return remainsOf(text), nil
}

// What can be made out in a file that cannot be read as a whole.
var (
	dnsLine       = regexp.MustCompile(`(?m)^dns:[ \t]*([a-z]+)`)
	interfaceText = regexp.MustCompile(`\binterface:[ \t]*["']?([^\s,"'}]+)`)
)

// remainsOf returns what a file tells that has mistakes.
func remainsOf(text []byte) configs.Config {
	config := configs.Defaults()
	config.StateDir = configs.StateDirOf(bytes.NewReader(text))
	if socket, ok := configs.SocketOf(bytes.NewReader(text)); ok {
		config.Control.Socket = socket
	}
	if found := dnsLine.FindSubmatch(text); found != nil && string(found[1]) == configs.DNSResolved.String() {
		config.DNS = configs.DNSResolved
	}
	for _, found := range interfaceText.FindAllSubmatch(text, -1) {
		config.Uplinks = append(config.Uplinks, configs.Uplink{Interface: string(found[1])})
	}
	return config
}

// ownersOf returns the tags of a configuration and those that the record has.
func ownersOf(config configs.Config, k *kernel.Kernel) []routes.Owner {
	owners := []routes.Owner{uplink.Owner(config)}
	for _, recorded := range k.RecordedOwners() {
		if !slices.Contains(owners, recorded) {
			owners = append(owners, recorded) // the configuration has changed since
		}
	}
	return owners
}

// cleanup gives everything back. byRecord is for a file that has mistakes, which is an error without.
func (c *common) cleanup(ctx context.Context, byRecord bool) error {
	config, err := c.lastConfig(byRecord)
	if err != nil {
		return err
	}
	if running, askErr := control.NewClient(config.Control.Socket).Status(ctx); askErr == nil {
		return fmt.Errorf("a daemon (pid %d) runs and would put everything back: stop it first", running.Daemon.PID)
	}
	k, err := kernel.Open(config.StateDir, quietLog())
	if err != nil {
		return err
	}
	defer k.Close()
	owners := ownersOf(config, k)
	// All of them before anything is touched: settings belong to no tag.
	for _, owner := range owners {
		lock, err := control.Lock(ctx, owner.Protocol, owner.RulePriority, config.StateDir)
		if err != nil {
			return fmt.Errorf("%w; it would put everything back", err)
		}
		defer lock.Close() //nolint:errcheck // the process ends
	}
	if list := k.PassedOver(); len(list) > 0 {
		fmt.Fprintf(c.err, "uplinkd: the record of what to give back, in %s, is of another boot or network "+
			"namespace, and is not followed. If this host has not been restarted since (a container?), "+
			"this is what it says:\n  %s\n",
			config.StateDir, strings.Join(list, "\n  "))
	}
	errs := []error{k.Unreadable(), kernel.EndSilence()}
	for _, owner := range owners {
		errs = append(errs, c.giveBack(ctx, k, owner))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return errors.Join(k.Forget(), takeBackDNS(ctx, config))
}

// resolverLimit is how long the host's resolver may take to give up what is ours.
const resolverLimit = 5 * time.Second

// takeBackDNS takes the DNS servers of the uplinks back from the host's resolver.
func takeBackDNS(ctx context.Context, config configs.Config) error {
	ctx, cancel := context.WithTimeout(ctx, resolverLimit)
	defer cancel()
	d := uplink.DNS{Mode: config.DNS}
	for _, u := range config.Uplinks {
		if link, err := net.InterfaceByName(u.Interface); err == nil {
			d.Links = append(d.Links, uplink.DNSLink{Interface: u.Interface, Index: link.Index})
		}
	}
	return resolver.New(filepath.Dir(config.Control.Socket)).TakeBack(ctx, d)
}

// checkLogins is an error where somebody is logged in by SSH over what is ours: the address of the connection is, or a
// route over its interface. It changes nothing. What cannot be looked at is said, and is no error.
func (c *common) checkLogins(ctx context.Context) error {
	over, err := c.loginsOver(ctx)
	if err != nil {
		fmt.Fprintf(c.err, "uplinkd: who is logged in over an uplink is not known: %v\n", err)
	}
	if len(over) == 0 {
		return nil
	}
	return fmt.Errorf("somebody is logged in %s, which is an uplink, and would be cut off. Where that may be, as "+
		"at the console: "+
		"systemctl disable --now uplinkd && uplinkd cleanup; then again", strings.Join(over, "; "))
}

// loginsOver says from where, and over which interfaces of ours, people are logged in.
func (c *common) loginsOver(ctx context.Context) (over []string, err error) {
	config, err := c.lastConfig(true)
	if err != nil {
		return nil, err
	}
	k, err := kernel.Look(config.StateDir, quietLog())
	if err != nil {
		return nil, err
	}
	defer k.Close()
	for _, owner := range ownersOf(config, k) {
		have, err := k.Read(ctx, routes.Scope{Owner: owner, IPv6: true})
		if err != nil {
			return nil, err
		}
		for _, l := range logins() {
			if at := interfaceWith(l.Local.Addr()); owner.Carries(have, at, l.Local.Addr()) {
				over = append(over, fmt.Sprintf("from %s over %s", l.Peer.Addr(), at))
			}
		}
	}
	return over, nil
}

// interfaceWith returns the interface that has an address, "" when none has it.
func interfaceWith(a netip.Addr) string {
	links, err := net.Interfaces()
	if err != nil {
		return ""
	}
	for _, link := range links {
		addresses, err := link.Addrs()
		if err != nil {
			continue
		}
		for _, address := range addresses {
			if p, err := netip.ParsePrefix(address.String()); err == nil && p.Addr() == a {
				return link.Name
			}
		}
	}
	return ""
}

// giveBack takes everything away that carries a tag.
func (c *common) giveBack(ctx context.Context, k *kernel.Kernel, owner routes.Owner) error {
	have, err := k.Read(ctx, routes.Scope{Owner: owner})
	if err != nil {
		return err
	}
	plan := routes.Cleanup(owner, have)
	var errs []error
	for _, op := range plan.Ops {
		if err := k.Do(ctx, op); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", op, err))
		}
	}
	return errors.Join(errors.Join(errs...), c.printPlan(daemon.PlanText(plan)))
}
