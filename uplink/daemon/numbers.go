package daemon

import (
	"context"
	"maps"
	"time"

	"uplinkd/configs"
)

// numbers are which tables and marks uplinks have, to be written down. Those of a newer
// configuration take the place of what has not been written yet.
type numbers struct {
	dir   string
	given configs.Given
	done  chan<- struct{} // closed when they are on the disk, or cannot be
}

// numbersLimit is how long a change waits for its numbers to be on the disk: a disk that
// hangs must not keep a configuration from going back.
const numbersLimit = time.Second

// saveNumbers has the numbers of a configuration written down, and waits for that a while.
func (d *Daemon) saveNumbers(c configs.Config) {
	done := make(chan struct{})
	limit := time.NewTimer(numbersLimit)
	defer limit.Stop()
	d.numbers.Put(numbers{c.StateDir, configs.GivenOf(c), done})
	select {
	case <-done:
	case <-limit.C:
		d.log.Error("the uplinks' tables and marks are not on the disk yet: it does not answer")
	}
}

// keepNumbers writes down which tables and marks uplinks have, when they are others than
// those on the disk, until ctx ends: at first those of the first configuration.
func (d *Daemon) keepNumbers(ctx context.Context) error {
	first := d.config()
	d.keep(first.StateDir, configs.GivenOf(first))
	if d.stale {
		d.dropStale()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.numbers.Ready():
			if n, ok := d.numbers.Take(); ok {
				d.keep(n.dir, n.given)
				close(n.done)
			}
		}
	}
}

// dropStale removes the record of a trial from before the start: the file is none that was
// refused. The disk may have been slow, and a new trial have begun: that one's stays.
func (d *Daemon) dropStale() {
	d.changing.Lock()
	defer d.changing.Unlock()
	if d.onTrial() == nil {
		_ = d.dropRecord() // what cannot be removed has been told
	}
}

func (d *Daemon) keep(dir string, given configs.Given) {
	if given.FwMarkMask == d.kept.FwMarkMask && maps.Equal(given.Interfaces, d.kept.Interfaces) {
		return
	}
	if err := saveGiven(dir, given); err != nil {
		d.log.Error("the uplinks' tables and marks cannot be kept: if the file's order changes before the next start, "+
			"connections may be taken for another uplink's", "err", err)
		return
	}
	d.kept = given
}
