package dhcp

import "time"

// Confirm asks about a lease that is in force, in the n-th way (see Spec.ConfirmRequests).
// It does nothing while the machine is asking anyhow, or has just been answered. Behind a
// request that has no answer yet it waits: one that was lost is repeated after half a minute
// and more.
func (m *Machine) Confirm(now time.Time, n int) []Action {
	if m.state != Bound && m.state != Renewing && m.state != Rebinding {
		return nil
	}
	if now.Sub(m.asked) < leastConfirm {
		if m.state != Bound {
			m.doubts = n
		}
		return nil
	}
	switch n {
	case 1:
		m.enter(Renewing, "the lease is in doubt")
	case 2:
		m.enter(Rebinding, "the lease is in doubt")
	default:
		return m.discover(now, "the lease is in doubt")
	}
	if m.lease.Infinite() {
		return m.discover(now, "the lease is in doubt") // it has no times to renew by
	}
	return m.sendRenewal(now)
}
