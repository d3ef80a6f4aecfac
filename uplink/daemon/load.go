package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"strconv"

	"uplinkd/configs"
)

// Load reads a configuration file, and the files of prefixes that its policies name.
func Load(path string) (configs.Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return configs.Config{}, fmt.Errorf("read the configuration: %w; name another with --config", err)
	}
	return Parse(path, text)
}

// Parse reads a configuration as if it stood in the file of that name.
func Parse(path string, text []byte) (configs.Config, error) {
	c, err := configs.Parse(bytes.NewReader(text), configs.Options{
		File: path, Tables: configs.LoadTables(os.DirFS("/")), Users: userID,
	})
	if err != nil {
		return configs.Config{}, err
	}
	return c, loadLists(&c)
}

// loadLists reads the files of prefixes that policies name.
func loadLists(c *configs.Config) error {
	c.Lists = map[string][]netip.Prefix{}
	for _, path := range configs.Files(*c) {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("read the prefixes of a policy: %w", err)
		}
		list, err := configs.ReadPrefixes(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("read the prefixes of a policy: %s: %w", path, err)
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
