package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// width returns that of the terminal the answer goes to, 0 when it is none.
func (c *common) width() int {
	f, ok := c.out.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

func statusCommand(c *common) *cobra.Command {
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
			return s.WriteTable(c.out, time.Now(), c.width())
		},
	}
	c.flagSocket(cmd)
	c.flagJSON(cmd)
	return cmd
}
