package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"uplinkd/configs"
	"uplinkd/internal/plain"
	"uplinkd/probe"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

// A probeOrder is what `uplinkd probe` is asked for.
type probeOrder struct {
	target  configs.Target
	via     string // an uplink; "": by whatever way this host takes
	timeout time.Duration
	expect  configs.Expect
}

func probeCommand(c *common) *cobra.Command {
	var o probeOrder
	cmd := &cobra.Command{
		Use: "probe TARGET [--via UPLINK]", Short: "Check one target once, for scripts", Args: named("TARGET"),
		Long: "Check once whether a target answers: an IP address, tcp://IP:port, http(s)://host/path,\n" +
			"dns://IP/name, socks5://host:port/IP:port, agent://host:port, exec:/path, or with --via\n" +
			"the uplink's gateway.\n" +
			"Exit code 0: it does; 1: it does not, or could not be asked. keepalived, haproxy and scripts\n" +
			"can so ask what uplinkd itself asks. Without --via it needs no daemon, and no rights but for\n" +
			"an IP address.",
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.target, err = configs.ParseTarget(args[0]); err != nil {
				return usageError{err}
			}
			if o.timeout < time.Millisecond || o.timeout > time.Hour {
				return usageError{errors.New("timeout must be 1ms to 1h")}
			}
			if o.target.Kind == configs.TargetGateway && o.via == "" {
				return usageError{errors.New("gateway: of which uplink? --via UPLINK")}
			}
			return c.probeOnce(cmd.Context(), o)
		},
	}
	c.flagSocket(cmd)
	c.flagJSON(cmd)
	cmd.Flags().StringVar(&o.via, "via", "", "the uplink to go by; without it the host's own choice")
	cmd.Flags().DurationVarP(&o.timeout, "timeout", "w", 2*time.Second, "how long to wait for the answer")
	cmd.Flags().IntVar(&o.expect.Status, "status", 0, "of http: the status wanted (default any from 200 to 299)")
	cmd.Flags().StringVar(&o.expect.Body, "body", "", "of http: text that must stand in the answer")
	_ = cmd.RegisterFlagCompletionFunc("via", c.uplinkNames) // the flag exists
	return cmd
}

// A probeAnswer is what probe answers in JSON.
type probeAnswer struct {
	Target   string  `json:"target"`
	Uplink   string  `json:"uplink"` // "": by whatever way the host took
	Asked    bool    `json:"asked"`  // false: this host, or the daemon, lacks what it takes to ask
	Answered bool    `json:"answered"`
	RTT      float64 `json:"rtt_ms"` // of an answer
	Error    string  `json:"error"`
	Advice   string  `json:"advice,omitempty"` // of an agent
}

func (c *common) probeOnce(ctx context.Context, o probeOrder) error {
	spec := probe.Spec{Unbound: true, Pace: probe.Pace{Timeout: o.timeout}}
	if o.via != "" {
		var err error
		if spec, err = c.specBy(ctx, o); err != nil {
			return err
		}
	}
	how := configs.Probe{Expect: o.expect, ExecTimeout: o.timeout}
	spec.Targets = []probe.Target{uplink.ProbeTarget(o.target, &how, spec.Gateway)}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	answer, err := probe.Once(ctx, spec)
	result := probeAnswer{Target: o.target.Text, Uplink: o.via, Answered: err == nil, Asked: !answer.Unsent}
	if err == nil {
		result.RTT, result.Advice = milliseconds(answer.RTT), answer.Advice.String()
	} else {
		result.Error = plain.Line(err.Error(), remarkMost)
	}
	if c.json {
		if printed := c.printJSON(result); printed != nil {
			return printed
		}
		if err != nil {
			return errQuiet{err}
		}
		return nil
	}
	by := ""
	if o.via != "" {
		by = " by " + o.via
	}
	if err != nil {
		return fmt.Errorf("%s%s: %s", o.target.Text, by, result.Error)
	}
	says := ""
	if result.Advice != "" {
		says = ", and wants " + result.Advice
	}
	_, err = fmt.Fprintf(c.out, "%s%s: answered in %.3f ms%s\n", o.target.Text, by, result.RTT, says)
	return err
}

// specBy returns how to probe by an uplink. A socket that is bound to its interface takes the
// uplink's table by a rule of ours, without a mark, which only root could give it.
func (c *common) specBy(ctx context.Context, o probeOrder) (probe.Spec, error) {
	s, err := c.client().Status(ctx)
	if err != nil {
		return probe.Spec{}, err
	}
	u, err := uplinkNamed(&s, o.via)
	if err != nil {
		return probe.Spec{}, err
	}
	link, err := net.InterfaceByName(u.Interface)
	if err != nil {
		return probe.Spec{}, fmt.Errorf("uplink %s: %s: %w", u.Name, u.Interface, err)
	}
	spec := probe.Spec{
		Uplink: u.Name, Interface: u.Interface, Index: link.Index, Gateway: u.Gateway,
		Pace: probe.Pace{Timeout: o.timeout},
	}
	if spec.Source, err = addressFor(u, o.target.IP); err != nil {
		return spec, err
	}
	if u.DHCP != nil {
		spec.DNS = u.DHCP.DNS
	}
	if o.target.Kind == configs.TargetExec {
		spec.Mark = u.FwMark // is told to the program; no socket here gets it
	}
	if o.target.Kind == configs.TargetGateway && !u.Gateway.IsValid() {
		return spec, fmt.Errorf("uplink %s has no gateway: name another target", u.Name)
	}
	return spec, nil
}

// addressFor returns the address of an uplink that asks another one: of the same family; of what is no
// address, its first.
func addressFor(u *api.Uplink, target netip.Addr) (netip.Addr, error) {
	addresses := u.Addresses
	if target.Is6() && u.IPv6 != nil {
		addresses = u.IPv6.Addresses
	}
	for _, a := range addresses {
		if !target.IsValid() || a.Addr().Is6() == target.Is6() {
			return a.Addr(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("uplink %s has no address to ask %s from", u.Name, target)
}

// uplinkNamed returns an uplink that has an address to ask from.
func uplinkNamed(s *api.Snapshot, name string) (*api.Uplink, error) {
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		if u.Name != name {
			continue
		}
		if len(u.Addresses) == 0 && (u.IPv6 == nil || len(u.IPv6.Addresses) == 0) {
			return nil, fmt.Errorf("uplink %s has no address to ask from: %s", u.Name, u.Reason)
		}
		return u, nil
	}
	return nil, fmt.Errorf("no uplink %q: see uplinkd status", name)
}
