package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"uplinkd/uplink/api"
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

// color reports whether the answer goes to a terminal whose user wants colours (no-color.org).
func (c *common) color() bool {
	return c.width() > 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

func statusCommand(c *common) *cobra.Command {
	var policies, verbose, quiet bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show the uplinks and how they are", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.client().Status(cmd.Context())
			if err != nil {
				return err
			}
			if quiet {
				return anyUp(&s)
			}
			if c.json {
				return c.printJSON(s)
			}
			t := statusTable{Snapshot: &s, now: time.Now(), width: c.width(), color: c.color()}
			switch {
			case policies:
				return t.writePolicies(c.out)
			case verbose:
				return t.writeBlocks(c.out)
			}
			return t.write(c.out)
		},
	}
	cmd.Flags().BoolVar(&policies, "policies", false, "show the policies, where each leads now, and its counters")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show all that is known of each uplink and its targets")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false,
		"print nothing: exit code 0 while an uplink that works carries, 1 while none does")
	c.flagSocket(cmd)
	c.flagJSON(cmd)
	return cmd
}

// anyUp returns an error while no uplink that works carries new connections. One that is kept
// as a last resort does not work.
func anyUp(s *api.Snapshot) error {
	for _, u := range s.Uplinks {
		if u.Active && u.State.Works() {
			return nil
		}
	}
	return errQuiet{errors.New("no uplink works")}
}

// seconds writes milliseconds as seconds; none: "-".
func seconds(ms float64) string {
	if ms == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1fs", ms/1000)
}
