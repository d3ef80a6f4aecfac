package engine

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"uplinkd/configs"
	"uplinkd/internal/latest"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

// resolverAgain is how often the host's resolver is given anew what it is to have: it may
// have been started again, or have refused.
const resolverAgain = 30 * time.Second

// resolverRetry is how soon after a failure.
const resolverRetry = 5 * time.Second

// resolverLimit is how long giving it may take.
const resolverLimit = 5 * time.Second

// A resolver gives the host's resolver the DNS servers that are to be asked, in a goroutine of
// its own: a disk or another program may take its time.
type resolver struct {
	offer  func(context.Context, uplink.DNS) error // nil: nobody is given any
	log    *slog.Logger
	wanted *latest.Box[uplink.DNS]

	mu  sync.Mutex // guards err
	err error      // of the last time
}

func newResolver(offer func(context.Context, uplink.DNS) error, log *slog.Logger) *resolver {
	return &resolver{offer: offer, log: log, wanted: latest.New[uplink.DNS]()}
}

// set says what the resolver is to be given from now on. It does not block.
func (r *resolver) set(d uplink.DNS) { r.wanted.Put(d) }

// run gives what is wanted until ctx ends. What was given stays.
func (r *resolver) run(ctx context.Context) error {
	if r.offer == nil {
		return nil
	}
	timer := time.NewTimer(resolverAgain)
	defer timer.Stop()
	var d uplink.DNS
	known := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-r.wanted.Ready():
			if next, ok := r.wanted.Take(); ok {
				d, known = next, true
			}
		}
		wait := resolverAgain
		if known && !r.give(ctx, d) {
			wait = resolverRetry
		}
		timer.Reset(wait)
	}
}

// give gives what is wanted, and reports whether that went well.
func (r *resolver) give(ctx context.Context, d uplink.DNS) bool {
	limited, cancel := context.WithTimeout(ctx, resolverLimit)
	defer cancel()
	err := r.offer(limited, d)
	if ctx.Err() != nil {
		return true
	}
	r.mu.Lock()
	before := r.err
	r.err = err
	r.mu.Unlock()
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		r.log.Error("the host's resolver was not given the DNS servers of the uplinks", "dns", d.Mode,
			"err", err)
	case err == nil && before != nil:
		r.log.Info("the host's resolver has the DNS servers of the uplinks", "dns", d.Mode)
	}
	return err == nil
}

// status returns what the resolver is given, and why it was not.
func (r *resolver) status(d uplink.DNS) api.DNS {
	s := api.DNS{Mode: d.Mode.String(), Servers: []api.DNSServer{}}
	if d.Mode != configs.DNSNone {
		s.Servers = d.Servers()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		s.Error = r.err.Error()
	}
	return s
}
