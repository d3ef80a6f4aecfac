package reconcile

import (
	"cmp"
	"time"

	"uplinkd/routes"
)

// nameWithin is how long a repair waits to be told while nobody is known who made it necessary: that a thing is
// gone may be read from the kernel before its event has been taken in, which names who took it away.
const nameWithin = 100 * time.Millisecond

// repaired counts a repair of what somebody has undone, "": it is not known who. It does not block.
func (r *Reconciler) repaired(op routes.Op, by string) {
	r.repairs++
	if by != "" {
		r.tellRepair(op, by)
		return
	}
	r.unnamed = append(r.unnamed, op)
	if r.naming == nil {
		r.naming = time.After(nameWithin)
	}
}

// nameRepairs tells of the repairs that were to wait.
func (r *Reconciler) nameRepairs() {
	for _, op := range r.unnamed {
		by := r.whoChanged(routes.KeyOf(op))
		r.objects.named(routes.KeyOf(op), by)
		r.tellRepair(op, by)
	}
	r.unnamed, r.naming = nil, nil
}

// whoChanged returns who has lately changed an object, "" when nobody knows.
func (r *Reconciler) whoChanged(key routes.Key) string {
	if w, ok := r.kernel.(routes.Witness); ok {
		return w.WhoChanged(key)
	}
	return ""
}

func (r *Reconciler) tellRepair(op routes.Op, by string) {
	r.figures.repaired(by)
	attrs := []any{"op", routes.Brief(op), "by", cmp.Or(by, "unknown")}
	if routes.EffectOf(op) == "" {
		r.log.Warn("took away what others had put in the kernel under our tag", attrs...)
		return
	}
	r.log.Warn("put back what was gone from the kernel", attrs...)
}
