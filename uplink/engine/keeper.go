package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"

	"uplinkd/internal/latest"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

// ErrNotKept is why a command is done in part only: it is in force, and a restart
// will forget it.
var ErrNotKept = errors.New("it is in force, but cannot be kept over a restart")

// A keeper writes down what the operator wants, in a goroutine of its own: a disk
// may take its time. It also tells who gave a command that it is written.
type keeper struct {
	save func(map[string]api.Order) error // nil: nothing is kept
	log  *slog.Logger
	wake latest.Wake

	mu     sync.Mutex // guards what follows
	orders map[string]api.Order
	acks   []chan<- error
	err    error // of the last write

	written map[string]api.Order // owned by run
}

// newKeeper returns a keeper of orders of which some are written already.
func newKeeper(save func(map[string]api.Order) error, log *slog.Logger, written map[string]api.Order) *keeper {
	return &keeper{save: save, log: log, wake: latest.NewWake(), orders: written, written: written}
}

// keep has orders written, the newest ones only. ack, if it is not nil, is told when
// these or newer ones are on the disk. It does not block.
func (k *keeper) keep(orders map[string]api.Order, ack chan<- error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ack == nil && maps.Equal(orders, k.orders) {
		return
	}
	k.orders = orders
	if ack != nil {
		k.acks = append(k.acks, ack)
	}
	k.wake.Set()
}

// run writes until ctx ends, and what is left then.
func (k *keeper) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			k.write()
			return nil
		case <-k.wake:
			k.write()
		}
	}
}

func (k *keeper) write() {
	k.mu.Lock()
	orders, acks, failed := k.orders, k.acks, k.err != nil
	k.acks = nil
	k.mu.Unlock()
	var err error
	if k.save != nil && (failed || !maps.Equal(orders, k.written)) {
		if err = k.save(orders); err == nil {
			k.written = orders
		} else {
			k.log.Error("the operator's orders cannot be kept: after a restart they are forgotten", "err", err)
		}
	}
	k.mu.Lock()
	k.err = err
	k.mu.Unlock()
	for _, ack := range acks {
		if err != nil {
			ack <- fmt.Errorf("%w: %w", ErrNotKept, err)
			continue
		}
		ack <- nil
	}
}

// failure returns why orders cannot be kept, "" when they can.
func (k *keeper) failure() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil {
		return ""
	}
	return k.err.Error()
}

// orderOf and adminOf turn what the operator wants from the core's form into that of
// the disk and the wire, and back.
func orderOf(a uplink.Admin) api.Order {
	return api.Order{
		State: a.State, Family: a.Family, By: a.By, Since: a.Since, Until: api.When{Time: a.Until},
		Weight: a.Weight, WeightUntil: api.When{Time: a.WeightUntil},
	}
}

func adminOf(o api.Order) uplink.Admin {
	return uplink.Admin{
		State: o.State, Family: o.Family, By: o.By, Since: o.Since, Until: o.Until.Time,
		Weight: o.Weight, WeightUntil: o.WeightUntil.Time,
	}
}

func ordersOf(admins map[string]uplink.Admin) map[string]api.Order {
	orders := make(map[string]api.Order, len(admins))
	for name, a := range admins {
		orders[name] = orderOf(a)
	}
	return orders
}

func adminsOf(orders map[string]api.Order) map[string]uplink.Admin {
	admins := make(map[string]uplink.Admin, len(orders))
	for name, o := range orders {
		admins[name] = adminOf(o)
	}
	return admins
}
