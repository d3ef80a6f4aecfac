package engine

import (
	"context"
	"maps"
	"time"

	"uplinkd/probe"
	"uplinkd/uplink"
)

// learnedEvery is how often what links are like is written down. What a crash takes of it
// is learned anew.
const learnedEvery = time.Minute

// Learned is what links are like, by path and target: that of IPv4 goes by its interface.
type Learned map[string]map[string]probe.Character

// name returns what a path goes by in Learned.
func (p path) name() string {
	if p.family == uplink.IPv4 {
		return p.iface
	}
	return p.iface + " " + p.family.String()
}

// learnedOf returns what is known of each target of a path before it is probed.
func (e *Engine) learnedOf(at path, targets []probe.Target) []probe.Character {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.learned[at.name()]
	list := make([]probe.Character, len(targets))
	for i := range targets {
		list[i] = known[targets[i].Name]
	}
	return list
}

// noteLearned takes in what the probers have learned by now, and returns all of it.
func (e *Engine) noteLearned() Learned {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make(Learned, len(e.learned))
	maps.Copy(all, e.learned)
	for at, w := range e.workers.active {
		known := map[string]probe.Character{}
		for _, t := range w.prober.Status() {
			if t.Learned.Samples > 0 {
				known[t.Target] = t.Learned
			}
		}
		if len(known) > 0 {
			all[at.name()] = known
		}
	}
	e.learned = all
	return all
}

// keepLearned writes down what links are like, until ctx ends, and once more then.
func (e *Engine) keepLearned(ctx context.Context) error {
	if e.deps.SaveLearned == nil {
		return nil
	}
	ticker := time.NewTicker(learnedEvery)
	defer ticker.Stop()
	told := false
	for done := false; !done; {
		select {
		case <-ctx.Done():
			done = true
		case <-ticker.C:
		}
		err := e.deps.SaveLearned(e.noteLearned())
		if err != nil && !told {
			e.deps.Log.Warn("what links are like cannot be kept: after a restart it is learned anew", "err", err)
		}
		told = err != nil
	}
	return nil
}
