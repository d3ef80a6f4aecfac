package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"uplinkd/configs"
	"uplinkd/routes"
	"uplinkd/routes/kernel"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
	"uplinkd/uplink/control"
	"uplinkd/uplink/daemon"
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
