package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"uplinkd/configs"
	"uplinkd/internal/plain"
	"uplinkd/uplink/daemon"
	"uplinkd/uplink/replay"
)

func replayCommand(c *common) *cobra.Command {
	var config, name, rules, svg string
	var others bool
	cmd := &cobra.Command{
		Use: "replay FILE…", Short: "Show how a recorded link would have been judged",
		Long: "Run recordings of a link through the prober and the decision of this program, in time of\n" +
			"their own, and print a row for each: verdicts an hour, those of them that were wrong (an\n" +
			"answer came back within 5 s), how much of the time the link was doubtful and down, and, cut\n" +
			"at 100 random points, how long after the last answer that took. A recording is the output of\n" +
			"`ping -D -i 0.2 ADDRESS`, or lines of milliseconds and round trip (or -).\n" +
			"Without --config the defaults are tried; docs/tuning.md shows how to use it.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("FILE is missing")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			c.config = config
			if svg != "" {
				return c.plotTrace(args[0], name, rules, svg)
			}
			return c.replay(args, name, rules, others)
		},
	}
	// Not the variable of the other commands: this default would be theirs too.
	cmd.Flags().StringVarP(&config, "config", "c", "", "configuration file (default: none, all defaults)")
	cmd.Flags().StringVar(&name, "uplink", "", "the uplink whose probe settings are tried (default: the first)")
	cmd.Flags().StringVar(&rules, "rule", "", "learned, fixed, or both side by side (default: the configuration's)")
	cmd.Flags().Lookup("rule").NoOptDefVal = "both"
	cmd.Flags().BoolVar(&others, "others", false, "beside it, what the rules of other programs make of it")
	cmd.Flags().StringVar(&svg, "plot", "", "instead, draw the first recording into this SVG `file`")
	c.flagJSON(cmd)
	return cmd
}

// plotTrace draws a recording under one rule.
func (c *common) plotTrace(file, name, rules, svg string) error {
	config, tried, err := c.replayRules(name, rules)
	if err != nil {
		return err
	}
	trace, err := readTrace(file)
	if err != nil {
		return err
	}
	config.Uplinks[0].Probe.Rule = tried[0]
	f, err := os.Create(svg)
	if err != nil {
		return err
	}
	return errors.Join(replay.Plot(f, config, &trace), f.Close())
}

// replayRules returns what is tried, and by which rules.
func (c *common) replayRules(name, rules string) (configs.Config, []configs.ProbeRule, error) {
	config, err := c.replayConfig(name)
	if err != nil {
		return config, nil, err
	}
	tried, ok := map[string][]configs.ProbeRule{
		"":        {config.Uplinks[0].Probe.Rule},
		"learned": {configs.RuleLearned},
		"fixed":   {configs.RuleFixed},
		"both":    {configs.RuleLearned, configs.RuleFixed},
	}[rules]
	if !ok {
		return config, nil, usageError{fmt.Errorf("--rule %q: must be learned, fixed or both", rules)}
	}
	return config, tried, nil
}

// replaySubject is what is tried where no configuration is named.
const replaySubject = "uplinks: [{name: link, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1}]"

func (c *common) replay(files []string, name, rules string, others bool) error {
	config, tried, err := c.replayRules(name, rules)
	if err != nil {
		return err
	}
	list := []replay.Measure{}
	for _, file := range files {
		var trace replay.Trace
		if trace, err = readTrace(file); err != nil {
			return err
		}
		for _, rule := range tried {
			config.Uplinks[0].Probe.Rule = rule
			list = append(list, replay.Run(config, &trace))
		}
		if others {
			list = append(list, replay.Others(&trace)...)
		}
	}
	if c.json {
		return c.printJSON(list)
	}
	_, err = fmt.Fprintln(c.out, replayTable(list))
	return err
}

func (c *common) replayConfig(name string) (configs.Config, error) {
	config, err := daemon.Parse("defaults", []byte(replaySubject))
	if c.config != "" {
		config, err = c.load()
	}
	if err != nil {
		return config, err
	}
	subject, ok := replay.Subject(config, name)
	if !ok {
		return config, fmt.Errorf("%s has no uplink %q", c.config, name)
	}
	return subject, nil
}

func readTrace(file string) (replay.Trace, error) {
	f, err := os.Open(file)
	if err != nil {
		return replay.Trace{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	return replay.Read(filepath.Base(file), f)
}

func replayTable(list []replay.Measure) string {
	t := plainTable()
	t.AppendHeader(table.Row{
		"FILE", "RULE", "HOURS", "DOWN/H", "WRONG/H", "DOUBTFUL", "DOWN", "TO DOUBT ms", "TO DOWN ms",
	})
	for _, m := range list {
		t.AppendRow(table.Row{
			plain.Line(m.File, 40), m.Rule, fmt.Sprintf("%.2f", m.Hours), fmt.Sprintf("%.1f", m.DownsPerHour),
			fmt.Sprintf("%.1f", m.WrongDownsPerHour), fmt.Sprintf("%.2f%%", m.DoubtfulPercent),
			fmt.Sprintf("%.2f%%", m.DownPercent), quantileText(m.Doubt), quantileText(m.Down),
		})
	}
	return strings.TrimRight(trimmed(t), "\n") + "\n\ntimes: median, 95th of 100, worst; from the last answer"
}

func quantileText(q replay.Quantiles) string {
	if q.Max < 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f, %.0f, %.0f", q.P50, q.P95, q.Max)
}
