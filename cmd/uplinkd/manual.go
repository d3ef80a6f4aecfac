package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"uplinkd/configs/reference"
)

// manualCommand writes what packages hold beside the program. It is hidden: who builds a package runs it.
func manualCommand(c *common) *cobra.Command {
	var date string
	cmd := &cobra.Command{
		Use: "manual DIR", Short: "Write the manual pages, completions and the schema", Args: cobra.ExactArgs(1),
		Hidden: true,
		RunE:   func(cmd *cobra.Command, args []string) error { return c.writeManual(cmd.Root(), args[0], date) },
	}
	cmd.Flags().StringVar(&date, "date", "", "when this version was made, as 2026-11-27")
	return cmd
}

func (c *common) writeManual(root *cobra.Command, dir, date string) error {
	schema, err := reference.Schema()
	if err != nil {
		return err
	}
	files := map[string]string{
		"uplinkd.8": commandsRoff(root, date), "uplinkd.yaml.5": reference.Roff(date),
		"uplinkd-hooks.7":     reference.HooksRoff(date),
		"uplinkd.schema.json": string(schema),
	}
	var bash, zsh, fish strings.Builder
	if err := errors.Join(root.GenBashCompletionV2(&bash, true), root.GenZshCompletion(&zsh),
		root.GenFishCompletion(&fish, true)); err != nil {
		return err
	}
	files["uplinkd.bash"], files["_uplinkd"], files["uplinkd.fish"] = bash.String(), zsh.String(), fish.String()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644) //nolint:gosec // everybody may read it
		if err != nil {
			return err
		}
	}
	return nil
}

// commandsRoff returns uplinkd(8), made of what each command says of itself.
func commandsRoff(root *cobra.Command, date string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH UPLINKD 8 %s uplinkd \"uplinkd\"\n.SH NAME\nuplinkd \\- %s\n", date,
		reference.Escape(lower(root.Short)))
	b.WriteString(".SH SYNOPSIS\n.B uplinkd\nCOMMAND [\\fIOPTION\\fR]...\n.SH DESCRIPTION\n" + paragraph(root.Long))
	b.WriteString(".SH COMMANDS\n")
	for _, cmd := range root.Commands() {
		if cmd.Hidden || cmd.Name() == "help" {
			continue
		}
		roffOf(&b, cmd)
		if cmd.Name() == "completion" {
			continue // what its subcommands say is of no use on paper
		}
		for _, sub := range cmd.Commands() {
			roffOf(&b, sub)
		}
	}
	b.WriteString(".SH EXIT STATUS\n0: done, and on the disk; 1: failed; 2: wrong usage; 3: done in part, and " +
		"said which.\n" +
		".SH FILES\n.TP\n.I /etc/uplinkd/uplinkd.yaml\nThe configuration.\n.TP\n.I " +
		"/run/uplinkd/uplinkd.sock\nThe socket that commands ask at.\n" +
		".TP\n.I /var/lib/uplinkd\nWhat outlives the daemon: leases, orders, a configuration on trial.\n" +
		".SH SEE ALSO\n.BR uplinkd.yaml (5),\n.BR uplinkd\\-hooks (7),\n.BR ip (8),\n.BR nft (8)\n")
	return b.String()
}

// roffOf tells of one command.
func roffOf(b *strings.Builder, cmd *cobra.Command) {
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	fmt.Fprintf(b, ".SS %s\n%s", reference.Escape(strings.TrimPrefix(cmd.UseLine(), "uplinkd ")), paragraph(text))
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name, usage := pflag.UnquoteUsage(f)
		short := ""
		if f.Shorthand != "" {
			short = "-" + f.Shorthand + ", "
		}
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", reference.Escape(strings.TrimSpace(short+"--"+f.Name+" "+name)),
			reference.Escape(usage))
	})
}

// paragraph is a text of several lines, each escaped.
func paragraph(text string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		if strings.TrimSpace(line) == "" {
			b.WriteString(".PP\n")
			continue
		}
		b.WriteString(reference.Escape(line) + "\n")
	}
	return b.String()
}

func lower(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
