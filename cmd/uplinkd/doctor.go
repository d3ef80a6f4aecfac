package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"uplinkd/configs"
	"uplinkd/internal/plain"
	"uplinkd/routes"
	"uplinkd/routes/kernel"
	"uplinkd/uplink"
	"uplinkd/uplink/preflight"
)

// usual are destinations that everybody's connections go to: nothing is sent there, only the kernel is asked.
var usual = []netip.Addr{
	netip.MustParseAddr("1.1.1.1"), netip.MustParseAddr("9.9.9.9"),
	netip.MustParseAddr("2620:fe::fe"),
}

func doctorCommand(c *common) *cobra.Command {
	var bundle string
	var mask bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Say in plain words what is wrong, and what to type next", Args: cobra.NoArgs,
		Long: "Read check, status, explain of usual destinations and the last switches together, into five\n" +
			"findings at the most, each with the next command to type. Nothing is changed and nothing is sent.\n" +
			"It fails when there is a problem, and not for warnings. With --bundle it writes what a bug\n" +
			"report needs; --mask puts a name in the place of each address in it.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if mask && bundle == "" {
				return usageError{errors.New("--mask goes with --bundle FILE")}
			}
			s := c.examine(cmd.Context())
			if bundle != "" {
				return c.writeBundle(cmd.Context(), bundle, mask, &s)
			}
			return c.tell(diagnose(&s))
		},
	}
	cmd.Flags().StringVar(&bundle, "bundle", "", "write a bug report to this `file` (.tar.gz)")
	cmd.Flags().BoolVar(&mask, "mask", false,
		"with --bundle: the same name in the place of each address, MAC and host name")
	c.flagSocket(cmd)
	c.flagJSON(cmd)
	return cmd
}

// examine gathers the symptoms. What cannot be read is one of them.
func (c *common) examine(ctx context.Context) symptoms {
	s := symptoms{now: time.Now(), check: checkAnswer{
		Config: c.config, Errors: []string{},
		Findings: []preflight.Finding{},
	}}
	config, err := c.load()
	var problems configs.Problems
	switch {
	case errors.As(err, &problems):
		for _, p := range problems {
			s.check.Errors = append(s.check.Errors, p.Error())
		}
	case err != nil: // it cannot be read: that says nothing of what is in it
		s.unseen = append(s.unseen, err.Error())
	default:
		var findings []preflight.Finding
		findings, err = c.inspect(ctx, config)
		if s.check.Findings = append(s.check.Findings, findings...); err != nil {
			s.check.HostError = err.Error()
			s.unseen = append(s.unseen, err.Error())
		}
		if s.ways, err = waysTo(ctx, config); err != nil {
			s.unseen = append(s.unseen, err.Error())
		}
	}
	client := c.client()
	status, err := client.Status(ctx)
	if s.silent = err; err == nil {
		s.status = &status
	}
	book, err := client.Switches(ctx)
	if s.switches = book.Switches; err != nil && s.silent == nil {
		s.unseen = append(s.unseen, err.Error())
	}
	s.unseen = unique(s.unseen)
	return s
}

// waysTo asks the kernel for the ways to the usual destinations, of the families that uplinks have.
func waysTo(ctx context.Context, config configs.Config) (list []explanation, err error) {
	k, err := kernel.Look(config.StateDir, quietLog())
	if err != nil {
		return nil, err
	}
	defer k.Close()
	have, err := k.Read(ctx, routes.ScopeOf(uplink.Watched(config)))
	if err != nil {
		return nil, err
	}
	state := uplink.New(config, time.Now())
	for _, to := range usual {
		if !state.Has(uplink.FamilyOf(to)) {
			continue
		}
		p := routes.Packet{To: to}
		way, err := k.Explain(ctx, p)
		if err != nil {
			list = append(list, explanation{
				To: to, Verdict: "refused",
				Why: fmt.Sprintf("the kernel has no way for it: %v", err),
			})
			continue
		}
		list = append(list, explained(config, have, p, way))
	}
	return list, nil
}

// becauseMost bounds what is told of one finding.
const becauseMost = 6

// tell prints the findings, the most urgent ones.
func (c *common) tell(list []diagnosis) error {
	bad := len(list) > 0 && list[0].Severity == preflight.Problem
	rest := max(len(list)-diagnosesMost, 0)
	list = list[:len(list)-rest]
	for i := range list {
		list[i].Next = c.sameDaemon(list[i].Next)
	}
	if c.json {
		if err := c.printJSON(map[string]any{"findings": append([]diagnosis{}, list...), "more": rest}); err != nil {
			return err
		}
	} else if _, err := fmt.Fprint(c.out, doctorText(list, rest)); err != nil {
		return err
	}
	if bad {
		return errQuiet{errors.New("there are problems")}
	}
	return nil
}

// sameDaemon has a command of ours speak of the configuration and to the daemon that this one was about.
func (c *common) sameDaemon(command string) string {
	if !strings.HasPrefix(command, "uplinkd ") {
		return command
	}
	if c.config != "" && c.config != defaultConfig {
		command += " -c " + c.config
	}
	return command
}

// doctorText is what a person reads.
func doctorText(list []diagnosis, rest int) string {
	if len(list) == 0 {
		return "nothing is wrong\n"
	}
	var b strings.Builder
	for i, d := range list {
		fmt.Fprintf(&b, "%d. %s: %s\n", i+1, d.Severity, plain.Line(d.What, remarkMost))
		for n, why := range d.Because {
			if why != "" && n < becauseMost {
				fmt.Fprintf(&b, "   %s\n", plain.Line(why, remarkMost))
			}
		}
		fmt.Fprintf(&b, "   next: %s\n", plain.Line(d.Next, remarkMost))
	}
	if rest > 0 {
		fmt.Fprintf(&b, "and %d more: uplinkd status, uplinkd check\n", rest)
	}
	return b.String()
}
