package configs

import "slices"

// Numbers are the table and the mark of an uplink.
type Numbers struct {
	Table  uint32 `json:"table"`
	FwMark uint32 `json:"fwmark"`
}

// Given are the numbers that uplinks have had, by interface. Rules, routes and the marks
// of connections in the kernel bear them, so they stay with the interface whatever
// becomes of its place in the file.
type Given struct {
	FwMarkMask uint32             `json:"fwmark_mask"`
	Interfaces map[string]Numbers `json:"interfaces"`
}

// GivenOf returns the numbers that a configuration gives.
func GivenOf(c Config) Given {
	g := Given{FwMarkMask: c.Routes.FwMarkMask, Interfaces: map[string]Numbers{}}
	for _, u := range c.Uplinks {
		g.Interfaces[u.Interface] = Numbers{u.Table, u.FwMark}
	}
	return g
}

// Keep gives the uplinks of a new configuration the tables and marks that they have
// had, where the file names none. A new uplink gets some that none has had, if any are
// left. Where the file gives one uplink what another has had, all are as in the file.
func Keep(before Given, next Config) Config {
	next.Uplinks = slices.Clone(next.Uplinks)
	tables := field{
		had: map[string]uint32{}, of: func(u *Uplink) (*uint32, bool) { return &u.Table, u.AssignedTable },
		free: func(free func(uint32) bool, _ uint32) uint32 {
			for n := uint32(defaultTable) + 1; ; n++ {
				if n != next.Routes.Table && free(n) {
					return n
				}
			}
		},
	}
	marks := field{
		had: map[string]uint32{}, of: func(u *Uplink) (*uint32, bool) { return &u.FwMark, u.Assigned },
		free: func(free func(uint32) bool, fallback uint32) uint32 {
			return FreeMark(next.Routes.FwMarkMask, free, fallback)
		},
	}
	for name, numbers := range before.Interfaces {
		tables.had[name] = numbers.Table
		if before.FwMarkMask == next.Routes.FwMarkMask {
			marks.had[name] = numbers.FwMark
		}
	}
	tables.keep(next.Uplinks, next.Routes.Table)
	if len(marks.had) > 0 {
		marks.keep(next.Uplinks, 0)
	}
	return next
}

// A field is one number of an uplink.
type field struct {
	had  map[string]uint32             // by interface
	of   func(*Uplink) (*uint32, bool) // where it is, and whether it is not of the file
	free func(free func(uint32) bool, fallback uint32) uint32
}

// keep brings the field of all uplinks up to date. reserved is nobody's.
func (f *field) keep(uplinks []Uplink, reserved uint32) {
	fresh := make([]uint32, len(uplinks))
	given := map[uint32]bool{}
	for i := range uplinks {
		u := &uplinks[i]
		at, assigned := f.of(u)
		fresh[i] = *at
		if assigned {
			fresh[i] = f.had[u.Interface]
		}
		if fresh[i] == 0 {
			continue
		}
		if given[fresh[i]] || fresh[i] == reserved {
			return // the file gives it to another
		}
		given[fresh[i]] = true
	}
	taken := map[uint32]bool{}
	for _, n := range f.had {
		taken[n] = true
	}
	for i := range uplinks {
		at, _ := f.of(&uplinks[i])
		if fresh[i] == 0 {
			fresh[i] = f.free(func(n uint32) bool { return !taken[n] && !given[n] }, *at)
			given[fresh[i]] = true
		}
	}
	for i := range uplinks {
		at, _ := f.of(&uplinks[i])
		*at = fresh[i]
	}
}
