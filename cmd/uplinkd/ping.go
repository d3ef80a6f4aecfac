package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/go-ping/ping" //nolint:staticcheck // archived, and the user named it: docs/architecture.md
	"github.com/spf13/cobra"
)

func pingCommand(c *common) *cobra.Command {
	var count int
	var interval, timeout time.Duration
	cmd := &cobra.Command{
		Use: "ping UPLINK [ADDRESS]", Short: "Ping out of one uplink", Args: pingArgs, ValidArgsFunction: c.uplinkNames,
		Long: "Ping an address, the uplink's gateway if none is given, from the uplink's own address:\n" +
			"it sees what a program sees that is bound to that address.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if count < 1 || count > 1000 || interval < 10*time.Millisecond || timeout <= 0 || timeout > time.Hour {
				return usageError{errors.New("count must be 1 to 1000, interval at least 10ms, timeout at most 1h")}
			}
			source, target, err := c.pingEnds(cmd.Context(), args)
			if err != nil {
				return err
			}
			return c.ping(cmd.Context(), source, target, count, interval, timeout)
		},
	}
	c.flagSocket(cmd)
	c.flagJSON(cmd)
	cmd.Flags().IntVarP(&count, "count", "n", 4, "how many to send")
	cmd.Flags().DurationVarP(&interval, "interval", "i", 500*time.Millisecond, "time between two")
	cmd.Flags().DurationVarP(&timeout, "timeout", "w", 5*time.Second, "end after this time at the latest")
	return cmd
}

func pingArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 2 {
		return named("UPLINK", "ADDRESS")(cmd, args)
	}
	return named("UPLINK")(cmd, args)
}

// pingEnds returns the uplink's address and what to ping.
func (c *common) pingEnds(ctx context.Context, args []string) (source, target netip.Addr, err error) {
	s, err := c.client().Status(ctx)
	if err != nil {
		return source, target, err
	}
	u, err := uplinkNamed(&s, args[0])
	if err != nil {
		return source, target, err
	}
	target = u.Gateway
	if len(args) == 2 {
		if target, err = netip.ParseAddr(args[1]); err != nil || target.Is4In6() {
			return source, target, usageError{fmt.Errorf("%q: must be an IP address", args[1])}
		}
	}
	if !target.IsValid() {
		return source, target, fmt.Errorf("uplink %s has no gateway: name an address to ping", u.Name)
	}
	if target.IsLinkLocalUnicast() && target.Is6() {
		target = target.WithZone(u.Interface)
	}
	source, err = addressFor(u, target)
	return source, target, err
}

// A pingAnswer is what ping answers in JSON.
type pingAnswer struct {
	Source   string  `json:"source"`
	Target   string  `json:"target"`
	Sent     int     `json:"sent"`
	Received int     `json:"received"`
	Loss     float64 `json:"loss_percent"`
	Least    float64 `json:"rtt_min_ms"`
	Mean     float64 `json:"rtt_avg_ms"`
	Most     float64 `json:"rtt_max_ms"`
}

func (c *common) ping(
	ctx context.Context, source, target netip.Addr, count int, interval, timeout time.Duration,
) error {
	pinger, err := ping.NewPinger(target.String())
	if err != nil {
		return err
	}
	pinger.SetPrivileged(true)
	pinger.Source = source.String()
	pinger.Count, pinger.Interval, pinger.Timeout = count, interval, timeout
	pinger.RecordRtts = false
	if !c.json {
		fmt.Fprintf(c.out, "PING %s from %s\n", target, source)
		pinger.OnRecv = func(p *ping.Packet) {
			fmt.Fprintf(c.out, "%d bytes from %s: seq=%d time=%.3f ms\n", p.Nbytes, p.Addr, p.Seq, milliseconds(p.Rtt))
		}
	}
	stop := context.AfterFunc(ctx, pinger.Stop)
	defer stop()
	if err = pinger.Run(); err != nil {
		return fmt.Errorf("ping %s from %s: %w", target, source, err)
	}
	s := pinger.Statistics()
	answer := pingAnswer{
		Source: source.String(), Target: target.String(),
		Sent: s.PacketsSent, Received: s.PacketsRecv, Loss: s.PacketLoss,
		Least: milliseconds(s.MinRtt), Mean: milliseconds(s.AvgRtt), Most: milliseconds(s.MaxRtt),
	}
	if c.json {
		err = c.printJSON(answer)
	} else {
		_, err = fmt.Fprintf(c.out, "%d sent, %d received, %.0f%% lost, rtt min/avg/max %.3f/%.3f/%.3f ms\n",
			answer.Sent, answer.Received, answer.Loss, answer.Least, answer.Mean, answer.Most)
	}
	if err == nil && s.PacketsRecv == 0 {
		return errQuiet{errors.New("no answer")}
	}
	return err
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
