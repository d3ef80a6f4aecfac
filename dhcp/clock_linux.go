package dhcp

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// SystemClock is the machine's own (CLOCK_BOOTTIME, clock_gettime(2)).
type SystemClock struct{}

var _ Clock = SystemClock{}

// BootID implements Clock. Where it cannot be read every boot looks the same.
func (SystemClock) BootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}

// SinceBoot implements Clock.
func (SystemClock) SinceBoot() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano())
}
