// Package systemd is what makes uplinkd a systemd service: the unit file and
// the Go that speaks to the service manager and to the journal.
package systemd

import (
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// A Manager is the service manager that started us. Without one its methods do
// nothing. They do not block.
type Manager struct {
	watchdog time.Duration // 0: it wants no sign of life
	fed      time.Time
}

// NewManager returns the Manager that the environment tells of.
func NewManager() *Manager {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		interval = 0 // meant for another process
	}
	return &Manager{watchdog: interval}
}

// Ready says that the service is up.
func (m *Manager) Ready() { m.tell(daemon.SdNotifyReady) }

// Status says in a line how things are; systemctl status shows it.
func (m *Manager) Status(line string) { m.tell("STATUS=" + line) }

// Alive feeds the watchdog, a third of its interval after the last time.
func (m *Manager) Alive() {
	if now := time.Now(); m.watchdog > 0 && now.Sub(m.fed) >= m.watchdog/3 {
		m.fed = now
		m.tell(daemon.SdNotifyWatchdog)
	}
}

// Reloading says that a reload begins; Ready ends it (sd_notify(3)).
func (m *Manager) Reloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return
	}
	m.tell(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/int64(time.Microsecond)))
}

// Stopping says that the service is about to end.
func (m *Manager) Stopping() { m.tell(daemon.SdNotifyStopping) }

// tell sends a state. A manager that cannot be reached is no reason to fail.
func (m *Manager) tell(state string) { _, _ = daemon.SdNotify(false, state) }
