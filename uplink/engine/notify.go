package engine

// A Notifier tells the service manager how the daemon is. Its methods must not
// block.
type Notifier interface {
	Ready()             // every uplink has been judged, or the start limit has passed
	Status(line string) // "2/3 up: isp1 isp3"
	Alive()             // the engine's loop turns
}

func (e *Engine) notifyAlive() {
	if e.deps.Notify != nil {
		e.deps.Notify.Alive()
	}
}

// notify tells the service manager what is new.
func (e *Engine) notify() {
	if e.deps.Notify == nil {
		return
	}
	if e.wanted.Line != e.line {
		e.line = e.wanted.Line
		e.deps.Notify.Status(e.wanted.Line)
	}
	if e.wanted.Ready && !e.ready {
		e.ready = true
		e.deps.Notify.Ready()
	}
}
