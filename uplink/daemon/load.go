package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"uplinkd/configs"
	"uplinkd/internal/statefile"
)

// Load reads a configuration file, and the files of prefixes that its policies name.
func Load(path string) (configs.Config, error) {
	text, err := readConfig(path)
	if err != nil {
		return configs.Config{}, err
	}
	return Parse(path, text)
}

func readConfig(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w; %s", err, remedy(err, path, "name another with --config"))
	}
	return text, nil
}

// remedy says what to do about a file that cannot be read. The daemon's own user is none
// that a file of root's is open to.
func remedy(err error, path, otherwise string) string {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Sprintf("let the daemon's user read it: chgrp uplinkd %s && chmod g+r %s", path, path)
	}
	return otherwise
}

// Parse reads a configuration as if it stood in the file of that name. Uplinks have the
// tables and marks that they had before.
func Parse(path string, text []byte) (configs.Config, error) { return parse(path, text, nil) }

// parse gives uplinks the tables and marks that are given; nil: those on the disk.
func parse(path string, text []byte, given *configs.Given) (configs.Config, error) {
	c, err := configs.Parse(bytes.NewReader(text), configs.Options{
		File: path, Tables: configs.LoadTables(os.DirFS("/")), Users: userID,
	})
	if err != nil {
		return configs.Config{}, err
	}
	if given == nil {
		// Who may not read what is kept sees the numbers that the file gives.
		kept, _ := loadGiven(c.StateDir)
		given = &kept
	}
	c = configs.Keep(*given, c)
	return c, loadLists(&c)
}

// loadLists reads the files of prefixes that policies name.
func loadLists(c *configs.Config) error {
	c.Lists = map[string][]netip.Prefix{}
	for _, path := range configs.Files(*c) {
		f, err := statefile.Open(path) // what is no file can keep its reader waiting for ever
		if errors.Is(err, fs.ErrNotExist) && configs.IsBGPFile(path) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the prefixes of a policy: %w; %s", err,
				remedy(err, path, "name a file with a prefix on each line"))
		}
		list, err := configs.ReadPrefixes(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("read the prefixes of a policy: %s: %w", path, err)
		}
		if configs.IsBGPFile(path) { // a default route is not what a neighbour's own prefixes are
			list = slices.DeleteFunc(list, func(p netip.Prefix) bool { return p.Bits() == 0 })
		}
		c.Lists[path] = list
	}
	return nil
}

// userID looks a user's name up.
func userID(name string) (uint32, bool) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, false
	}
	id, err := strconv.ParseUint(u.Uid, 10, 32)
	return uint32(id), err == nil
}

// givenMost bounds what is read of the file of numbers, in bytes.
const givenMost = 1 << 20

func givenPath(dir string) string { return filepath.Join(dir, "uplinks.json") }

// loadGiven returns the tables and marks that uplinks had when saveGiven was last
// called; none when it never was.
func loadGiven(dir string) (configs.Given, error) {
	var g configs.Given
	b, err := statefile.Read(givenPath(dir), givenMost)
	if errors.Is(err, fs.ErrNotExist) {
		return g, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &g)
	}
	if err != nil {
		return configs.Given{}, fmt.Errorf("%s: %w", givenPath(dir), err)
	}
	return g, nil
}

// saveGiven keeps the tables and marks of uplinks over a restart.
func saveGiven(dir string, g configs.Given) error {
	b, err := json.MarshalIndent(g, "", " ")
	if err != nil {
		return err
	}
	return statefile.Replace(givenPath(dir), b, statefile.Power)
}
