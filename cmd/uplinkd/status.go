package main

import (
	"time"

	"github.com/spf13/cobra"
)

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
			return s.WriteTable(c.out, time.Now())
		},
	}
	c.flagSocket(cmd)
	c.flagJSON(cmd)
	return cmd
}
