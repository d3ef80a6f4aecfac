package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"uplinkd/internal/statefile"
	"uplinkd/probe"
	"uplinkd/uplink/engine"
)

// learnedMost bounds what is read of the file of what links are like, in bytes.
const learnedMost = 1 << 20

func learnedPath(dir string) string { return filepath.Join(dir, "learned.json") }

// loadLearned returns what links were like when saveLearned was last called; nothing when
// it never was. What cannot be is left out.
func loadLearned(dir string, now time.Time) (engine.Learned, error) {
	b, err := statefile.Read(learnedPath(dir), learnedMost)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all engine.Learned
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", learnedPath(dir), err)
	}
	for _, targets := range all {
		for name, c := range targets {
			if !c.Valid(now) {
				delete(targets, name)
			}
		}
	}
	return all, nil
}

// saveLearned keeps what links are like over a restart. It is not forced to the disk.
func saveLearned(dir string, all map[string]map[string]probe.Character) error {
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return statefile.Replace(learnedPath(dir), b, statefile.Process)
}
