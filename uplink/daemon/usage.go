package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"uplinkd/internal/statefile"
	"uplinkd/uplink"
)

// usageMost bounds what is read of the file of what uplinks have used, in bytes.
const usageMost = 1 << 20

func usagePath(dir string) string { return filepath.Join(dir, "usage.json") }

// A usagePage is the file. The kernel's counters are those of a boot.
type usagePage struct {
	Boot  string               `json:"boot"`
	Usage map[string]usageLine `json:"usage"` // by uplink
}

type usageLine struct {
	Used  uint64    `json:"used"`
	Since time.Time `json:"since"`
	Rx    uint64    `json:"counted_rx"`
	Tx    uint64    `json:"counted_tx"`
}

// loadUsage returns what uplinks had used of their quotas when saveUsage was last called; nothing when it never was.
func loadUsage(dir string) (map[string]uplink.Usage, error) {
	b, err := statefile.Read(usagePath(dir), usageMost)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var p usagePage
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", usagePath(dir), err)
	}
	all := map[string]uplink.Usage{}
	for name, l := range p.Usage {
		u := uplink.Usage{Used: l.Used, Since: l.Since.Local(), Based: true}
		if p.Boot == bootID() { // since another one the counters have begun anew
			u.Counted = uplink.Octets{Rx: l.Rx, Tx: l.Tx, Known: true}
		}
		all[name] = u
	}
	return all, nil
}

// saveUsage keeps what uplinks have used over a restart, and a loss of power.
func saveUsage(dir string, all map[string]uplink.Usage) error {
	p := usagePage{Boot: bootID(), Usage: map[string]usageLine{}}
	for name, u := range all {
		p.Usage[name] = usageLine{Used: u.Used, Since: u.Since, Rx: u.Counted.Rx, Tx: u.Counted.Tx}
	}
	b, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		return err
	}
	return statefile.Replace(usagePath(dir), b, statefile.Power)
}

// bootID names this boot of the machine (random(4)).
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
