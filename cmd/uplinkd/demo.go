package main

import (
	"github.com/spf13/cobra"
)

func demoCommand(c *common) *cobra.Command {
	return &cobra.Command{Use: "demo", Short: "Show uplinkd at work in a lab of three ISPs", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return nil }}
}
