package cgroups

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/godbus/dbus/v5"
)

// Where systemd is asked (org.freedesktop.systemd1(5)).
const (
	systemdName    = "org.freedesktop.systemd1"
	systemdPath    = "/org/freedesktop/systemd1"
	systemdManager = systemdName + ".Manager."
)

// kinds are the interfaces of units that have processes, by the end of their names.
var kinds = map[string]string{
	"service": "Service", "scope": "Scope", "slice": "Slice", "socket": "Socket", "mount": "Mount", "swap": "Swap",
}

// askSystemd returns the path of a unit's control group: the one that it has, or else what its slice says. It
// blocks until systemd has answered.
func askSystemd(ctx context.Context, unit string) (string, error) {
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return "", fmt.Errorf("no system bus to ask for %s: %w", unit, err)
	}
	defer bus.Close() //nolint:errcheck // all answers have come
	var at dbus.ObjectPath
	manager := bus.Object(systemdName, systemdPath)
	if err := manager.CallWithContext(ctx, systemdManager+"LoadUnit", 0, unit).Store(&at); err != nil {
		return "", fmt.Errorf("systemd does not tell of %s: %w", unit, err)
	}
	kind := systemdName + "." + kinds[unit[strings.LastIndexByte(unit, '.')+1:]]
	property := func(name string) string {
		v, err := bus.Object(systemdName, at).GetProperty(kind + "." + name)
		s, _ := v.Value().(string)
		if err != nil {
			return ""
		}
		return s
	}
	if group := strings.Trim(property("ControlGroup"), "/"); group != "" {
		return group, nil
	}
	if slice := property("Slice"); slice != "" && !strings.HasSuffix(unit, ".slice") {
		return path.Join(SlicePath(slice), unit), nil
	}
	return guess(unit), nil
}
