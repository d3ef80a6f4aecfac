package dhcp

import (
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/statefile"
)

// SystemClock is the machine's own (CLOCK_BOOTTIME, clock_gettime(2)).
type SystemClock struct{}

var _ Clock = SystemClock{}

// BootID implements Clock. Where it cannot be read every boot looks the same.
func (SystemClock) BootID() string {
	return statefile.BootID()
}

// SinceBoot implements Clock.
func (SystemClock) SinceBoot() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano())
}
