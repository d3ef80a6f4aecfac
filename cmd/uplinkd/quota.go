package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"uplinkd/configs"
	"uplinkd/uplink/api"
)

func quotaCommand(c *common) *cobra.Command {
	o := api.Command{Action: api.SetQuota}
	cmd := &cobra.Command{
		Use: "quota UPLINK BYTES", Short: "Say how much of its quota an uplink has used, such as 42GB",
		Long: "Say how much of its quota an uplink has used in this period, such as 42GB: what the provider's own\n" +
			"account says. It goes on counting from there.",
		Args: named("UPLINK", "BYTES"), ValidArgsFunction: c.uplinkNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			var ok bool
			if o.Bytes, ok = configs.ParseBytes(args[1]); !ok {
				return usageError{fmt.Errorf("%q: must be bytes with their unit, such as 500MB or 42GB", args[1])}
			}
			return c.client().Command(cmd.Context(), args[0], o)
		},
	}
	c.flagSocket(cmd)
	return cmd
}
