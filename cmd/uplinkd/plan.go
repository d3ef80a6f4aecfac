package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"uplinkd/configs"
	"uplinkd/routes"
	"uplinkd/routes/kernel"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
	"uplinkd/uplink/control"
	"uplinkd/uplink/daemon"
	"uplinkd/uplink/resolver"
)

func planCommand(c *common) *cobra.Command {
	cmd := &cobra.Command{
		Use: "plan [FILE]", Short: "Print the operations that would make the kernel match", Args: cobra.MaximumNArgs(1),
		Long: "Print, as ip, sysctl and nft commands, the operations that would make the kernel match a\n" +
			"configuration: FILE, or the one of --config. Nothing is changed; nothing is printed when it\n" +
			"matches. A running daemon answers from what it knows, and what it answers is what it would\n" +
			"then do; what probes and DHCP would say later is not known. Without a daemon an uplink is\n" +
			"taken to be up when its interface is, and what DHCP would give is not known either.",
		RunE: func(cmd *cobra.Command, args []string) error {
			file := c.config
			if len(args) > 0 {
				file = args[0]
			}
			return c.plan(cmd.Context(), file)
		},
	}
	c.flagSocket(cmd)
	c.flagJSON(cmd)
	return cmd
}

func (c *common) plan(ctx context.Context, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the configuration: %w; name another with --config", err)
	}
	config, err := daemon.Parse(file, text)
	if err != nil {
		return err
	}
	plan, err := c.planOfDaemon(ctx, config, file, text)
	if !errors.Is(err, control.ErrNotRunning) {
		if err != nil {
			return err
		}
		return c.printPlan(plan)
	}
	have, err := c.read(ctx, config)
	if err != nil {
		return err
	}
	return c.printPlan(daemon.PlanText(routes.Diff(uplink.Forecast(config, have), have)))
}

// planOfDaemon asks the running daemon: at the socket that was named, or that of the
// running configuration, which the candidate need not be.
func (c *common) planOfDaemon(
	ctx context.Context, config configs.Config, file string, text []byte,
) (api.Plan, error) {
	client := control.NewClient(config.Control.Socket)
	if c.socket != "" || file != c.config {
		client = c.client()
	}
	name, err := filepath.Abs(file)
	if err != nil {
		return api.Plan{}, err
	}
	return client.Plan(ctx, name, text, login())
}

// read reads the kernel as far as a configuration goes.
func (c *common) read(ctx context.Context, config configs.Config) (routes.State, error) {
	k, err := kernel.Look(config.StateDir, quietLog())
	if err != nil {
		return routes.State{}, err
	}
	defer k.Close()
	return k.Read(ctx, scopeOf(config))
}

// scopeOf is what a configuration may have to do with.
func scopeOf(config configs.Config) routes.Scope {
	scope := routes.ScopeOf(uplink.Watched(config))
	if table := config.Routes.Table; !slices.Contains(scope.Shared, table) {
		scope.Shared = append(scope.Shared, table)
	}
	return scope
}

func (c *common) printPlan(plan api.Plan) error {
	if c.json {
		return c.printJSON(plan)
	}
	for _, op := range plan.Operations {
		if _, err := fmt.Fprintln(c.out, op); err != nil {
			return err
		}
	}
	for _, conflict := range plan.Conflicts {
		fmt.Fprintf(c.err, "conflict: %s stands where %s belongs; %s\n", conflict.Have, conflict.Want, conflict.Remedy)
	}
	c.printEffects(plan)
	return nil
}

func cleanupCommand(c *common) *cobra.Command {
	cmd := &cobra.Command{
		Use: "cleanup", Short: "Give back everything that is ours in the kernel", Args: cobra.NoArgs,
		Long: "Give back everything that is ours: routes, rules, addresses and settings. It needs no\n" +
			"daemon and touches nothing foreign. While a daemon runs it refuses: that would only\n" +
			"put everything back. With --keep-login it also refuses where the SSH connection that it\n" +
			"is typed over goes by what is ours: a package that is removed leaves the way in as it is.",
	}
	keepLogin := cmd.Flags().Bool("keep-login", false,
		"give nothing back that the SSH connection goes by that this is typed over")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return c.cleanup(cmd.Context(), *keepLogin) }
	c.flagConfig(cmd)
	c.flagJSON(cmd)
	return cmd
}

func (c *common) cleanup(ctx context.Context, keepLogin bool) error {
	config, err := c.load()
	if errors.Is(err, fs.ErrNotExist) && c.config == defaultConfig {
		config, err = configs.Defaults(), nil // the file is gone; what it led to may not be
	}
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
	owners := []routes.Owner{uplink.Owner(config)}
	for _, recorded := range k.RecordedOwners() {
		if !slices.Contains(owners, recorded) {
			owners = append(owners, recorded) // the configuration has changed since
		}
	}
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
	if keepLogin {
		if err := sparesLogin(ctx, k, owners, login()); err != nil {
			return err
		}
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

// sparesLogin is an error where a login goes by what is ours: its address is, or a route over its interface.
func sparesLogin(ctx context.Context, k *kernel.Kernel, owners []routes.Owner, l *api.Login) error {
	if l == nil {
		return nil
	}
	at := interfaceWith(l.Local.Addr())
	for _, owner := range owners {
		have, err := k.Read(ctx, routes.Scope{Owner: owner, IPv6: true})
		if err != nil {
			return err
		}
		if owner.Carries(have, at, l.Local.Addr()) {
			return fmt.Errorf("the login from %s goes over %s, which is an uplink: nothing was given back, and "+
				"it stays as it is "+
				"until this host starts again; from its console uplinkd cleanup gives all back", l.Peer, at)
		}
	}
	return nil
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
