package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"uplinkd/configs"
	"uplinkd/configs/imports"
	"uplinkd/internal/statefile"
	"uplinkd/uplink/control"
)

// importers make a configuration of a file or a directory below a root.
var importers = map[string]func(root fs.FS, name string) (*imports.Result, error){
	"if-up-script": func(root fs.FS, name string) (*imports.Result, error) {
		return imports.Script(root, name, configs.LoadTables(root))
	},
	"mwan3": imports.MWAN3, "netplan": imports.Netplan, "networkd": imports.Networkd,
}

func importCommand(c *common) *cobra.Command {
	kinds := append(slices.Sorted(maps.Keys(importers)), kindIPSet)
	return &cobra.Command{
		Use: "import KIND FILE", Short: "Print a configuration made of another program's", ValidArgs: kinds,
		Long: "Print a configuration made of another program's, with a comment for each line that has\n" +
			"no counterpart. KIND is " + strings.Join(kinds, ", ") + "; FILE is the script, mwan3's file\n" +
			"(the file network is looked for beside it), or a directory. A script is read and not run,\n" +
			"and /etc/network/interfaces and dhclient.conf with it. Nothing is written: put what is\n" +
			"printed in a file, look at it, and have `uplinkd check` look at it.\n" +
			"Of what `ipset save` has written, KIND ipset makes a file of prefixes for policies.",
		Args: cobra.MatchAll(cobra.ExactArgs(2), func(_ *cobra.Command, args []string) error {
			if importers[args[0]] == nil && args[0] != kindIPSet {
				return usageError{fmt.Errorf("%q: must be one of %s", args[0], strings.Join(kinds, ", "))}
			}
			return nil
		}),
		RunE: func(_ *cobra.Command, args []string) error { return c.importFrom(args[0], args[1]) },
	}
}

// kindIPSet is a list, and no configuration.
const kindIPSet = "ipset"

func (c *common) importIPSet(path string) error {
	f, err := statefile.Open(path)
	if err != nil {
		return err
	}
	count, err := imports.IPSet(c.out, f)
	if err = errors.Join(err, f.Close()); err == nil && count == 0 {
		err = fmt.Errorf("%s: no line adds a prefix: give what `ipset save` has written", path)
	}
	return err
}

func (c *common) importFrom(kind, path string) error {
	if kind == kindIPSet {
		return c.importIPSet(path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	root := os.DirFS("/")
	result, err := importers[kind](root, strings.TrimPrefix(path, "/"))
	if err != nil {
		return err
	}
	text := fmt.Sprintf("# Made by `uplinkd import %s %s`.\n%s", kind, path, result)
	if _, err = c.out.Write([]byte(text)); err != nil {
		return err
	}
	options := configs.Options{File: "what was printed", Tables: configs.LoadTables(root)}
	_, err = configs.Parse(strings.NewReader(text), options)
	if err != nil {
		return fmt.Errorf("%w: look at this before it is used:\n%w", control.ErrInPart, err)
	}
	return nil
}
