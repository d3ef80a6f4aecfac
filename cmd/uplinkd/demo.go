package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/demo"
	"uplinkd/uplink/api"
)

func demoCommand(c *common) *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "Show uplinkd at work in a lab of three ISPs, without root", Args: cobra.NoArgs,
		Long: "Build three ISPs, an internet and a LAN in network namespaces of its own, run the real\n" +
			"daemon there and show how it spreads, loses and regains an uplink. It needs no root\n" +
			"and touches nothing of this machine. It fails when a promise is not kept.",
		RunE: func(cmd *cobra.Command, _ []string) error { return c.demo(cmd.Context()) },
	}
}

// demoAsRoot runs the demo under sudo, where the machine allows it no other way.
// It returns only if it cannot.
func (c *common) demoAsRoot(why error) error {
	program, err := os.Executable()
	sudo, lookErr := exec.LookPath("sudo")
	if err != nil || lookErr != nil || os.Geteuid() == 0 {
		return fmt.Errorf("%w; run it as root: uplinkd demo", why)
	}
	fmt.Fprintf(c.err, "uplinkd: %v: running under sudo instead\n", why)
	return syscall.Exec(sudo, []string{"sudo", program, "demo"}, os.Environ())
}

func (c *common) demo(ctx context.Context) error {
	code, err := lab.Enter()
	switch {
	case errors.Is(err, lab.ErrForbidden):
		return c.demoAsRoot(err)
	case err != nil:
		return err
	case code > 0:
		return errQuiet{fmt.Errorf("the demo ended with code %d", code)} // it has said why
	case code == 0:
		return nil
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	return demo.Run(ctx, program, c.out, func(w io.Writer, s api.Snapshot) error {
		return (&statusTable{Snapshot: &s, now: time.Now()}).write(w)
	})
}
