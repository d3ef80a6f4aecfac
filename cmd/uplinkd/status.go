package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// width returns that of the terminal the answer goes to, 0 when it is none.
func (c *common) width() int {
	if c.terminal == nil {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(c.terminal.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

func statusCommand(c *common) *cobra.Command {
	var policies, verbose bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show the uplinks and how they are", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.client().Status(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(s)
			}
			if policies {
				return (&statusTable{&s}).writePolicies(c.out)
			}
			err = (&statusTable{&s}).write(c.out, time.Now(), c.width())
			if err == nil && verbose {
				err = (&statusTable{&s}).writeTargets(c.out)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&policies, "policies", false, "show the policies, where each leads now, and its counters")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show each target, and what its link is like, too")
	c.flagSocket(cmd)
	c.flagJSON(cmd)
	return cmd
}

// seconds writes milliseconds as seconds; none: "-".
func seconds(ms float64) string {
	if ms == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1fs", ms/1000)
}
