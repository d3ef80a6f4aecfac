package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/spf13/cobra"

	"uplinkd/configs"
	"uplinkd/routes"
	"uplinkd/routes/kernel"
	"uplinkd/uplink"
	"uplinkd/uplink/control"
)

func planCommand(c *common) *cobra.Command {
	cmd := &cobra.Command{
		Use: "plan", Short: "Print the operations that would make the kernel match", Args: cobra.NoArgs,
		Long: "Print, as ip and sysctl commands, the operations that would make the kernel match the\n" +
			"configuration. Nothing is changed; nothing is printed when it matches. What a running\n" +
			"daemon knows of the uplinks counts; without one an uplink is taken to be up when its\n" +
			"interface is, and what DHCP would give is not known.",
		RunE: func(cmd *cobra.Command, _ []string) error { return c.plan(cmd.Context()) },
	}
	c.flagSocket(cmd)
	c.flagJSON(cmd)
	return cmd
}

func (c *common) plan(ctx context.Context) error {
	config, err := c.load()
	if err != nil {
		return err
	}
	socket := c.socket
	if socket == "" {
		socket = config.Control.Socket
	}
	running, err := c.running(ctx, control.NewClient(socket))
	if err != nil {
		return err
	}
	have, err := c.read(ctx, config, false)
	if err != nil {
		return err
	}
	return c.printPlan(routes.Diff(uplink.Forecast(config, have, running), have))
}

// read reads the kernel as far as a configuration goes.
func (c *common) read(ctx context.Context, config configs.Config, foreign bool) (routes.State, error) {
	k, err := kernel.Look(config.StateDir, quietLog())
	if err != nil {
		return routes.State{}, err
	}
	defer k.Close()
	scope := routes.ScopeOf(uplink.Watched(config))
	scope.Tables = append(scope.Tables, config.Routes.Table)
	scope.Foreign = foreign
	return k.Read(ctx, scope)
}

func (c *common) printPlan(plan routes.Plan) error {
	if c.json {
		ops := make([]string, len(plan.Ops))
		for i, op := range plan.Ops {
			ops[i] = op.String()
		}
		conflicts := plan.Conflicts
		if conflicts == nil {
			conflicts = []routes.Conflict{}
		}
		return c.printJSON(map[string]any{"operations": ops, "conflicts": conflicts})
	}
	for _, op := range plan.Ops {
		if _, err := fmt.Fprintln(c.out, op); err != nil {
			return err
		}
	}
	for _, conflict := range plan.Conflicts {
		fmt.Fprintf(c.err, "conflict: %s stands where %s belongs; %s\n", conflict.Have, conflict.Want, conflict.Remedy)
	}
	return nil
}

func cleanupCommand(c *common) *cobra.Command {
	cmd := &cobra.Command{
		Use: "cleanup", Short: "Give back everything that is ours in the kernel", Args: cobra.NoArgs,
		Long: "Give back everything that is ours: routes, rules, addresses and settings. It needs no\n" +
			"daemon and touches nothing foreign. While a daemon runs it refuses: that would only\n" +
			"put everything back.",
		RunE: func(cmd *cobra.Command, _ []string) error { return c.cleanup(cmd.Context()) },
	}
	c.flagConfig(cmd)
	c.flagJSON(cmd)
	return cmd
}

func (c *common) cleanup(ctx context.Context) error {
	config, err := c.load()
	if errors.Is(err, fs.ErrNotExist) && c.config == defaultConfig {
		config, err = configs.Defaults(), nil // the file is gone; what it led to may not be
	}
	if err != nil {
		return err
	}
	if running, askErr := c.running(ctx, control.NewClient(config.Control.Socket)); askErr == nil && running != nil {
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
		lock, err := control.Lock(ctx, owner.Protocol, owner.RulePriority)
		if err != nil {
			return fmt.Errorf("%w; it would put everything back", err)
		}
		defer lock.Close() //nolint:errcheck // the process ends
	}
	errs := []error{k.Unreadable()}
	for _, owner := range owners {
		errs = append(errs, c.giveBack(ctx, k, owner))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return k.Forget()
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
	return errors.Join(errors.Join(errs...), c.printPlan(plan))
}
