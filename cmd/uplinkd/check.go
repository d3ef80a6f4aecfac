package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"uplinkd/configs"
	"uplinkd/routes"
	"uplinkd/routes/kernel"
	"uplinkd/uplink"
	"uplinkd/uplink/preflight"
)

func checkCommand(c *common) *cobra.Command {
	var fileOnly bool
	cmd := &cobra.Command{
		Use: "check [FILE]", Short: "Check the configuration, and the host for what would get in its way",
		Args: cobra.MaximumNArgs(1),
		Long: "Check the configuration and this host: interfaces that are missing, other DHCP clients\n" +
			"and network managers on an uplink, foreign routes that would win, tables and marks in\n" +
			"use by others. Each finding says what to do. It fails when there is a problem, and not\n" +
			"for warnings.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				c.config = args[0]
			}
			return c.check(cmd.Context(), fileOnly)
		},
	}
	cmd.Flags().BoolVar(&fileOnly, "file-only", false, "look at the file alone, and not at this host")
	c.flagConfig(cmd)
	c.flagJSON(cmd)
	return cmd
}

// A checkAnswer is what check answers in JSON.
type checkAnswer struct {
	Config   string              `json:"config"`
	Errors   []string            `json:"errors"`
	Findings []preflight.Finding `json:"findings"`

	// HostError is why this host was not looked at; "": it was.
	HostError string `json:"host_error,omitempty"`
}

func (c *common) check(ctx context.Context, fileOnly bool) error {
	answer := checkAnswer{Config: c.config, Errors: []string{}, Findings: []preflight.Finding{}}
	config, err := c.load()
	if err == nil && !fileOnly {
		answer.Findings, err = c.inspect(ctx, config)
		if errors.Is(err, fs.ErrPermission) {
			answer.Findings = []preflight.Finding{}
			answer.HostError, err = "be root, and this host is looked at too: "+err.Error(), nil
		}
	}
	var problems configs.Problems
	switch {
	case errors.As(err, &problems):
		for _, p := range problems {
			answer.Errors = append(answer.Errors, p.Error())
		}
	case err != nil:
		return err
	}
	if err := c.printCheck(answer, fileOnly); err != nil {
		return err
	}
	for _, f := range answer.Findings {
		if f.Severity == preflight.Problem {
			return errQuiet{errors.New("there are problems")}
		}
	}
	if len(answer.Errors) > 0 {
		return errQuiet{errors.New("the configuration has errors")}
	}
	return nil
}

// inspect reads the kernel and the host.
func (c *common) inspect(ctx context.Context, config configs.Config) ([]preflight.Finding, error) {
	have, nft, err := c.readAll(ctx, config)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(config.Uplinks))
	for i := range config.Uplinks {
		names[i] = config.Uplinks[i].Interface
	}
	host := preflight.ReadHost(os.DirFS("/"), have.Links, names)
	host.MarkWrites, host.ForwardDrops = nft.MarkWrites, nft.ForwardDrops
	host.StateDir = kernel.CheckStateDir(config.StateDir)
	findings := append([]preflight.Finding{}, preflight.Inspect(config, uplink.Owner(config), have, host)...)
	return append(findings, unreadable(c.config, config)...), nil
}

// readAll reads the kernel as far as a configuration goes, and what foreign routes and
// rules of nftables may have to do with it: of the host, what is in nftables.
func (c *common) readAll(
	ctx context.Context, config configs.Config,
) (have routes.State, nft preflight.Host, err error) {
	k, err := kernel.Look(config.StateDir, quietLog())
	if err != nil {
		return have, nft, err
	}
	defer k.Close()
	scope := scopeOf(config)
	scope.Foreign = true
	if have, err = k.Read(ctx, scope); err != nil {
		return have, nft, err
	}
	if nft.MarkWrites, err = k.ReadMarkWrites(scope.Owner); err != nil {
		return have, nft, err
	}
	nft.ForwardDrops, err = k.ReadForwardDrops()
	return have, nft, err
}

func (c *common) printCheck(a checkAnswer, fileOnly bool) error {
	if c.json {
		return c.printJSON(a)
	}
	for _, line := range a.Errors {
		fmt.Fprintln(c.err, line)
	}
	for _, f := range a.Findings {
		whose := ""
		if f.Uplink != "" {
			whose = "uplink " + f.Uplink + ": "
		}
		if _, err := fmt.Fprintf(c.out, "%s: %s%s\n  to do: %s\n", f.Severity, whose, f.What, f.Remedy); err != nil {
			return err
		}
	}
	if len(a.Errors) == 0 && a.HostError != "" {
		_, err := fmt.Fprintf(c.out, "%s: good; %s\n", a.Config, a.HostError)
		return err
	}
	if len(a.Errors) == 0 && fileOnly {
		_, err := fmt.Fprintf(c.out, "%s: good\n", a.Config)
		return err
	}
	if len(a.Errors) == 0 && len(a.Findings) == 0 {
		_, err := fmt.Fprintf(c.out, "%s: good, and nothing on this host is in its way\n", a.Config)
		return err
	}
	return nil
}
