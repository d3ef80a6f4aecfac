package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"uplinkd/routes/flows"
	"uplinkd/routes/kernel"
	"uplinkd/uplink/api"
	"uplinkd/uplink/control"
)

// A drill keeps uplinks silent, one after the other, and tells what came of it.
type drill struct {
	*common
	daemon *control.Client
	length time.Duration // of the silence
	wait   time.Duration // for the uplink to come back
	force  bool
}

// A drillResult is what came of the silence of an uplink in a family.
type drillResult struct {
	Uplink string          `json:"uplink"`
	Family string          `json:"family"`
	At     time.Time       `json:"at"`                 // the silence began
	Doubt  *api.Millis     `json:"doubt_after_ms"`     // new connections went elsewhere; null: they did not
	Down   *api.Millis     `json:"down_after_ms"`      // null: it was not found to be down
	Back   *api.Millis     `json:"back_after_ms"`      // after the end of the silence; null: not in time
	Failed api.Figure[int] `json:"failed_connections"` // new ones without any answer, when doubt began
	Had    api.Figure[int] `json:"connections"`        // existing ones, before
	Ended  api.Figure[int] `json:"ended_connections"`  // of those
	Reason string          `json:"reason"`             // of the verdict
}

// Bounds of a silence, and of the wait for an uplink to come back.
const (
	drillShortest = time.Second
	drillLongest  = 10 * time.Minute
	drillPause    = 1500 * time.Millisecond // after a death connections are ended once more
)

func drillCommand(c *common) *cobra.Command {
	d := drill{common: c}
	var all bool
	cmd := &cobra.Command{
		Use: "drill [UPLINK]", Short: "Make an uplink silent for a while, and tell what came of it",
		Long: "Make an uplink silent for a while, as if nobody behind it answered, and tell what came of\n" +
			"it: after how long new connections went elsewhere, and it was down; how many failed and\n" +
			"ended; and when it was back. What comes in by its interface is dropped in an nft table of\n" +
			"its own. The kernel itself ends that in time, also when this program is killed.",
		Args: func(_ *cobra.Command, args []string) error {
			if all && len(args) == 0 {
				return nil
			}
			return named("UPLINK")(nil, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if d.length < drillShortest || d.length > drillLongest {
				return usageError{fmt.Errorf("--for %v: must be %v to %v", d.length, drillShortest, drillLongest)}
			}
			d.daemon = c.client()
			return d.run(cmd.Context(), args)
		},
	}
	cmd.Flags().DurationVar(&d.length, "for", 20*time.Second, "how long it is silent")
	cmd.Flags().DurationVar(&d.wait, "wait", 2*time.Minute, "how long to wait for it to be back")
	cmd.Flags().BoolVar(&all, "all", false, "all uplinks that are up, one after the other")
	cmd.Flags().BoolVar(&d.force, "force", false, "also the only one that is up, or that this login comes by")
	c.flagSocket(cmd)
	c.flagJSON(cmd)
	return cmd
}

func (d *drill) run(ctx context.Context, names []string) error {
	s, err := d.daemon.Status(ctx)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		for _, u := range s.Uplinks {
			if worksIn(&u, "ipv4") || worksIn(&u, familyIPv6) {
				names = append(names, u.Name)
			}
		}
	}
	var results []drillResult
	for _, name := range names {
		list, err := d.one(ctx, name)
		results = append(results, list...)
		if err != nil {
			return errors.Join(d.write(results), err)
		}
	}
	return d.write(results)
}

// one keeps an uplink silent.
func (d *drill) one(ctx context.Context, name string) ([]drillResult, error) {
	s, err := d.daemon.Status(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(s.Uplinks, func(u api.Uplink) bool { return u.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("%s: %w", name, control.ErrUnknownUplink)
	}
	u := &s.Uplinks[i]
	if why := d.refuses(&s, u, login()); why != "" {
		return nil, fmt.Errorf("%s: %s", name, why)
	}
	events, err := d.daemon.Events(ctx, 0, false)
	if err != nil {
		return nil, err
	}
	// The daemon is told first: of a silence that is made it must learn nothing.
	if err := d.daemon.Command(ctx, name, api.Command{Action: api.Drill, For: d.length}); err != nil {
		return nil, err
	}
	results := newResults(u)
	counts := countFlows(ctx, u, flows.Count)
	began := time.Now()
	if err := kernel.Silence(u.Interface, d.length); err != nil {
		return nil, err
	}
	defer kernel.EndSilence() //nolint:errcheck // the kernel ends it all the same
	fmt.Fprintf(d.err, "%s is silent for %v, until %s\n", name, d.length, began.Add(d.length).Format(time.TimeOnly))
	w := drillWatch{drill: d, uplink: u, after: events.Last, began: began, results: results}
	w.counts(counts)
	return results, w.watch(ctx)
}

// refuses says why an uplink must not be made silent, "" when it may. by is the login that it was asked by.
func (d *drill) refuses(s *api.Snapshot, u *api.Uplink, by *api.Login) string {
	if !u.State.Works() && (u.IPv6 == nil || !u.IPv6.State.Works()) {
		return fmt.Sprintf("it is %s: there is nothing to learn of its silence", u.State)
	}
	if d.force {
		return ""
	}
	for _, family := range []string{"ipv4", familyIPv6} {
		if !worksIn(u, family) {
			continue
		}
		others := func(other api.Uplink) bool { return other.Name != u.Name && worksIn(&other, family) }
		if !slices.ContainsFunc(s.Uplinks, others) {
			return "no other uplink works in " + family + ", and nothing would be left: --force does it all the same"
		}
	}
	if by != nil && slices.Contains(addressesOf(u), by.Local.Addr()) {
		return fmt.Sprintf("this login from %s comes by it, and hangs meanwhile: --force does it all the same, "+
			"best in tmux(1)", by.Peer.Addr())
	}
	return ""
}

// worksIn reports whether an uplink works in a family.
func worksIn(u *api.Uplink, family string) bool {
	if family == familyIPv6 && u.Family != familyIPv6 {
		return u.IPv6 != nil && u.IPv6.State.Works()
	}
	return (u.Family == family || u.Family == "") && u.State.Works()
}

// addressesOf returns the addresses of an uplink in both families.
func addressesOf(u *api.Uplink) (list []netip.Addr) {
	all := slices.Clone(u.Addresses)
	if u.IPv6 != nil {
		all = append(all, u.IPv6.Addresses...)
	}
	for _, p := range all {
		list = append(list, p.Addr())
	}
	return list
}

// newResults returns an empty result for each family that an uplink works in.
func newResults(u *api.Uplink) (list []drillResult) {
	for _, family := range []string{"ipv4", familyIPv6} {
		if worksIn(u, family) {
			list = append(list, drillResult{Uplink: u.Name, Family: family})
		}
	}
	return list
}

// countFlows counts the flows of an uplink, by family. Where connection tracking cannot be asked they are unknown.
func countFlows(ctx context.Context, u *api.Uplink,
	count func(context.Context, []netip.Addr) (map[netip.Addr]int, error),
) map[string]api.Figure[int] {
	by, err := count(ctx, addressesOf(u))
	if err != nil {
		return nil
	}
	all := map[string]api.Figure[int]{"ipv4": api.Known(0), familyIPv6: api.Known(0)}
	for a, n := range by {
		family := "ipv4"
		if a.Is6() {
			family = familyIPv6
		}
		all[family] = api.Known(all[family].N + n)
	}
	return all
}

// write writes what came of it, as a table.
func (d *drill) write(results []drillResult) error {
	if d.json {
		return d.printJSON(results)
	}
	if len(results) == 0 {
		return nil
	}
	t := plainTable()
	t.AppendHeader(table.Row{
		"UPLINK", "FAMILY", "DOUBT AFTER", "DOWN AFTER", "BACK AFTER", "NEW FAILED", "HAD", "ENDED", "REASON",
	})
	for _, r := range results {
		t.AppendRow(table.Row{
			r.Uplink, r.Family, drillTime(r.Doubt), drillTime(r.Down), drillTime(r.Back),
			r.Failed, r.Had, r.Ended, r.Reason,
		})
	}
	_, err := fmt.Fprint(d.out, trimmed(t))
	return err
}

// drillTime writes a time, "-" for what did not happen.
func drillTime(m *api.Millis) string {
	if m == nil {
		return "-"
	}
	return fmt.Sprintf("%.2fs", time.Duration(*m).Seconds())
}
