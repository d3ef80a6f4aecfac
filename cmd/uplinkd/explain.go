package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
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
)

// An explanation is the answer of `uplinkd explain`.
type explanation struct {
	To        netip.Addr `json:"to"`
	Verdict   string     `json:"verdict"` // uplink | elsewhere | refused
	Uplink    string     `json:"uplink"`  // "": by none
	Type      string     `json:"type"`
	Table     uint32     `json:"table"`
	Rule      string     `json:"rule"`
	Interface string     `json:"interface"`
	Gateway   netip.Addr `json:"gateway"`
	Source    netip.Addr `json:"source"`
	Why       string     `json:"why"`
	Policy    string     `json:"policy"` // that is meant; "": none
	Leads     string     `json:"leads"`  // where that leads now: an uplink, or a word; "": not known

	// Which uplinks that policy, and those before it that lead to the next, pass over for their service level. Not
	// there without a daemon, or where they pass over none.
	Passed []passed `json:"passed,omitempty"`

	// What the running daemon says of that uplink: its state, and what has been learned of
	// its links. Not there without a daemon, or an uplink.
	State string  `json:"state,omitempty"`
	Links []bound `json:"links,omitempty"`
}

// A passed is an uplink that a policy does not use, as it does not keep its service level.
type passed struct {
	Policy string `json:"policy"`
	Uplink string `json:"uplink"`
	Why    string `json:"why"`
}

// A bound is how late an answer of a target makes doubt, and how long a silence means down.
type bound struct {
	Target    string  `json:"target"`
	LateAfter float64 `json:"late_after_ms"`
	DownAfter float64 `json:"down_after_ms"`
}

func explainCommand(c *common) *cobra.Command {
	q := question{}
	cmd := &cobra.Command{
		Use: "explain DEST", Short: "Show which way a packet to an address would take, and why", Args: named("DEST"),
		Long: "Show which policy, rule, table, next hop and uplink a packet to an address would take, and why. The\n" +
			"answer is the kernel's own, for the first packet of a connection as far as it is told here. A\n" +
			"running daemon adds where policies lead now, how the uplink is, and how long its links may be silent.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := q.read(args[0]); err != nil {
				return usageError{err}
			}
			return c.explain(cmd.Context(), &q)
		},
	}
	q.flags(cmd)
	cmd.Flags().StringVarP(&c.config, "config", "c", defaultConfig, "configuration file")
	c.flagJSON(cmd)
	return cmd
}

func (c *common) explain(ctx context.Context, q *question) error {
	config, err := c.load()
	if err != nil {
		return err
	}
	k, err := kernel.Look(config.StateDir, quietLog())
	if err != nil {
		return err
	}
	defer k.Close()
	have, err := k.Read(ctx, routes.ScopeOf(uplink.Watched(config)))
	if err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	status, statusErr := control.NewClient(config.Control.Socket).Status(asking)
	e := explanation{To: q.packet.To, Verdict: "refused"}
	p := q.packet
	refused := false
	if p.Mark == 0 {
		if err = q.lookUpNames(ctx, config); err != nil {
			return err
		}
		e.Policy, e.Leads, refused = q.policy(config, status, statusErr == nil)
		p.Mark = markOf(config, e.Leads)
	}
	way, err := k.Explain(ctx, p)
	switch {
	case refused:
		e.Why = fmt.Sprintf("no uplink of policy %s can be used, and it says when_down: prohibit", e.Policy)
	case err != nil:
		e.Why = fmt.Sprintf("the kernel has no way for it: %v", err)
	default:
		policy, leads := e.Policy, e.Leads
		e = explained(config, have, p, way)
		e.Policy, e.Leads = policy, leads
		if leads == uplink.LeadsBalance && q.sticky(config, policy) {
			e.Why = "policy " + policy +
				" keeps each source to one uplink, or spreads a new one by weight: which one only " +
				"the kernel knows"
		}
		if policy != "" && p.Mark != 0 {
			e.Why = fmt.Sprintf("policy %s leads new connections to %s", policy, leads)
		}
	}
	if statusErr == nil {
		e.addPassed(q.asked, status.Policies)
		e.addState(status)
	}
	if c.json {
		return c.printJSON(e)
	}
	_, err = fmt.Fprintln(c.out, e)
	return err
}

// askFor is how long a daemon may take to say how an uplink is: it is not needed.
const askFor = time.Second

// addPassed adds which uplinks policies pass over.
func (e *explanation) addPassed(asked []string, policies []api.Policy) {
	for i := range policies {
		p := &policies[i]
		if !slices.Contains(asked, p.Name) {
			continue
		}
		over := p.Passed
		if e.To.Is6() {
			over = p.PassedIPv6
		}
		for _, name := range slices.Sorted(maps.Keys(over)) {
			e.Passed = append(e.Passed, passed{p.Name, name, over[name]})
		}
	}
}

// addState adds what the daemon says of the uplink.
func (e *explanation) addState(status api.Snapshot) {
	for i := range status.Uplinks {
		u := &status.Uplinks[i]
		if u.Name != e.Uplink {
			continue
		}
		state, probes := u.State, u.Probes
		if e.To.Is6() && u.IPv6 != nil {
			state, probes = u.IPv6.State, u.IPv6.Probes
		}
		e.State = string(state)
		for _, p := range probes {
			if p.DownAfter > 0 {
				e.Links = append(e.Links, bound{p.Target, p.LateAfter, p.DownAfter})
			}
		}
	}
}

// explained puts the kernel's answer into our words. It is pure.
func explained(c configs.Config, have routes.State, p routes.Packet, w routes.Way) explanation {
	e := explanation{
		To: p.To, Verdict: "elsewhere", Type: w.Type, Table: w.Table, Interface: w.Interface, Gateway: w.Gateway,
		Source: w.Source, Rule: routes.LedBy(have.Rules, p, w),
	}
	for i := range c.Uplinks {
		u := &c.Uplinks[i]
		if u.Interface == w.Interface {
			e.Verdict, e.Uplink = "uplink", u.Name
		}
		if u.Table == w.Table {
			e.Why = whyTable(u, p)
		}
	}
	if e.Why == "" && w.Table == c.Routes.Table {
		e.Why = whyShared(c, have, e)
	}
	if e.Why == "" {
		e.Why = "a route of this host's own says so"
	}
	return e
}

// whyTable says what brings a packet to an uplink's own table.
func whyTable(u *configs.Uplink, p routes.Packet) string {
	if p.Mark != 0 {
		return fmt.Sprintf("its mark %#x is that of %s", p.Mark, u.Name)
	}
	return fmt.Sprintf("its source %s belongs to %s", p.From, u.Name)
}

// whyShared says what the shared default route has to offer.
func whyShared(c configs.Config, have routes.State, e explanation) string {
	for _, r := range have.Routes {
		family := uplink.FamilyOf(r.Dst.Addr())
		if family != uplink.FamilyOf(e.To) || r.Table != c.Routes.Table || r.Dst.Bits() != 0 || !e.Gateway.IsValid() ||
			r.Metric != uplink.MetricIn(family, c.Routes.Metric) {
			continue
		}
		var ways []string
		for _, hop := range r.NextHops {
			for i := range c.Uplinks {
				if c.Uplinks[i].Interface == hop.Interface {
					ways = append(ways, fmt.Sprintf("%s %d", c.Uplinks[i].Name, hop.Weight))
				}
			}
		}
		if len(ways) == 1 {
			return "the shared default route leads only there"
		}
		return "the shared default route spreads connections by weight (" + strings.Join(ways, ", ") +
			"); this one's addresses and ports choose that"
	}
	return ""
}

// String returns the explanation as a person likes to read it.
func (e explanation) String() string {
	over := ""
	for _, p := range e.Passed {
		over += fmt.Sprintf("\npassed over: %s by policy %s: %s", p.Uplink, p.Policy, p.Why)
	}
	if e.Verdict == "refused" {
		return fmt.Sprintf("%s is not sent: %s%s", e.To, e.Why, over)
	}
	where := "does not leave by an uplink"
	if e.Uplink != "" {
		where = "leaves by " + e.Uplink
	}
	if e.Type != "unicast" {
		where = "is " + e.Type
	}
	way := "dev " + e.Interface
	if e.Gateway.IsValid() {
		way = "via " + e.Gateway.String() + " " + way
	}
	if e.Source.IsValid() {
		way += ", source " + e.Source.String()
	}
	text := fmt.Sprintf("%s %s: %s\n", e.To, where, way)
	if e.Rule != "" {
		text += "rule:  " + e.Rule + "\n"
	}
	if e.Policy != "" {
		text += "policy: " + e.Policy + "\n"
	}
	text += fmt.Sprintf("table: %d\nwhy:   %s%s", e.Table, e.Why, over)
	if e.State != "" {
		text += fmt.Sprintf("\nstate: %s is %s", e.Uplink, e.State)
	}
	for _, l := range e.Links {
		text += fmt.Sprintf("\nlink:  an answer of %s is late after %.3g ms, a silence of %s is down",
			l.Target, l.LateAfter, seconds(l.DownAfter))
	}
	return text
}
