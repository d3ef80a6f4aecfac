package daemon

import (
	"context"
	"fmt"
	"maps"
	"os"
	"time"

	"uplinkd/configs"
	"uplinkd/internal/grid"
)

// listsEvery is how often the files of prefixes are looked at.
const listsEvery = time.Second

// watchLists reads the files of prefixes again when one has changed.
func (d *Daemon) watchLists(ctx context.Context) error {
	return grid.Each(ctx, listsEvery, func() {
		if now := stamps(d.config()); d.relist.Swap(false) || !maps.Equal(now, d.lists) {
			d.lists = now
			d.reloadLists(ctx)
		}
	})
}

// reloadLists reads the files of prefixes again, and nothing else: the configuration
// itself may be in the middle of an edit.
func (d *Daemon) reloadLists(ctx context.Context) {
	d.changing.Lock()
	defer d.changing.Unlock()
	next := d.config()
	err := loadLists(&next)
	if err == nil {
		err = d.commit(ctx, next, d.onTrial() != nil)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.listError = err.Error()
		d.log.Error("a file of prefixes was not reloaded; nothing has changed", "err", err)
		return
	}
	d.listError = ""
	d.log.Info("a file of prefixes has changed, and was reloaded")
}

// stamps tells the present state of the files of prefixes, by path.
func stamps(c configs.Config) map[string]string {
	list := map[string]string{}
	for _, path := range configs.Files(c) {
		list[path] = "none"
		if info, err := os.Stat(path); err == nil {
			list[path] = fmt.Sprint(info.ModTime().UnixNano(), info.Size())
		}
	}
	return list
}
