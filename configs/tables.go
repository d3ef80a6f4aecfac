package configs

import (
	"bufio"
	"io"
	"io/fs"
	"strconv"
	"strings"
)

// tableFiles are where iproute2 keeps the names of routing tables, below the
// root; later ones win.
var tableFiles = []string{
	"usr/share/iproute2/rt_tables", "usr/lib/iproute2/rt_tables",
	"etc/iproute2/rt_tables", "etc/iproute2/rt_tables.d/*.conf",
}

// LoadTables returns the names of routing tables that iproute2 knows. root is
// the file system from its root on. Files and lines that cannot be read are as
// if they were not there: the names are a convenience.
func LoadTables(root fs.FS) map[string]uint32 {
	tables := map[string]uint32{}
	for _, pattern := range tableFiles {
		names, _ := fs.Glob(root, pattern) // the pattern is well-formed
		for _, name := range names {
			if f, err := root.Open(name); err == nil {
				readTables(io.LimitReader(f, Most), tables)
				_ = f.Close()
			}
		}
	}
	return tables
}

func readTables(r io.Reader, tables map[string]uint32) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) != 2 {
			continue
		}
		if n, err := strconv.ParseUint(fields[0], 0, 32); err == nil {
			tables[fields[1]] = uint32(n)
		}
	}
}
