package configs

import (
	"math/bits"
	"time"
)

const (
	tableDefault = 253
	tableMain    = 254
	tableLocal   = 255

	rulePriorityLast = 32766 - 1000 // ours must end before main's rule

	// mtuMost is what the kernel cuts a larger one down to (fib_metrics.c): a
	// route that reads back otherwise than it was written would be repaired for ever.
	mtuMost = 65535 - 15

	// The kernel's own and the administrator's protocols (rtnetlink.h): kernel,
	// boot, static, and unspec below them.
	protocolFirst = 5
)

func (p *parser) readRoutes(v value) {
	r := &p.whole.Routes
	p.mapping(v, map[string]func(value){
		"table":         func(v value) { p.routes["table"] = v; p.table(v, &r.Table) },
		"metric":        func(v value) { p.routes["metric"] = v; setInteger(p, v, &r.Metric, 0, 1<<32-1) },
		"protocol":      func(v value) { setInteger(p, v, &r.Protocol, protocolFirst, 255) },
		"rule_priority": func(v value) { setInteger(p, v, &r.RulePriority, 1, rulePriorityLast) },
		"fwmark_mask":   func(v value) { p.routes["fwmark_mask"] = v; setInteger(p, v, &r.FwMarkMask, 1, 1<<32-1) },
		"hash":          func(v value) { setWord(p, v, &r.Hash, "l3", "l4", "inner", "keep") },
		"last_resort":   func(v value) { setWord(p, v, &r.LastResort, "keep", "none") },
		"balance":       func(v value) { setWord(p, v, &r.Balance, balanceWords...) },
		"balance_interval": func(v value) {
			setDuration(p, v, &r.BalanceInterval, time.Second, time.Hour)
		},
		"options": func(v value) { p.readOptions(v, &p.options) },
	})
}

func (p *parser) readOptions(v value, to *RouteOptions) {
	p.mapping(v, map[string]func(value){
		"initcwnd": func(v value) { setInteger(p, v, &to.InitCwnd, 0, 1024) },
		"initrwnd": func(v value) { setInteger(p, v, &to.InitRwnd, 0, 1024) },
		"mtu":      func(v value) { setInteger(p, v, &to.MTU, 0, mtuMost) },
		"advmss":   func(v value) { setInteger(p, v, &to.AdvMSS, 0, 65495) },
		"rto_min": func(v value) {
			if d, ok := p.duration(v, 0, 2*time.Minute); ok {
				if d%time.Millisecond != 0 {
					p.fail(v, "%s: must be whole milliseconds", d)
				}
				to.RTOMin = d
			}
		},
		"quickack": func(v value) {
			if on, ok := p.flag(v); ok {
				to.QuickAck = on
			}
		},
	})
}

// table reads a table's number or its name in rt_tables.
func (p *parser) table(v value, to *uint32) {
	s, ok := p.text(v)
	if !ok {
		return
	}
	if n, known := p.tables[s]; known {
		*to = n
		return
	}
	switch s {
	case "main":
		*to = tableMain
	case "default":
		*to = tableDefault
	default:
		if s == "" || s[0] < '0' || s[0] > '9' {
			p.fail(v, "%q: no table has that name in rt_tables: add it there or give a number", s)
			return
		}
		setInteger(p, v, to, 1, 1<<32-1)
	}
}

func setInteger[T uint8 | uint32 | int](p *parser, v value, to *T, low, high uint64) {
	if n, ok := p.integer(v, low, high); ok {
		*to = T(n)
	}
}

func setWord[T ~uint8](p *parser, v value, to *T, words ...string) {
	if i, ok := p.word(v, words...); ok {
		*to = T(i)
	}
}

// FreeMark returns the first mark under mask that is free, or fallback.
func FreeMark(mask uint32, free func(uint32) bool, fallback uint32) uint32 {
	for n := uint32(1); ; n++ {
		mark, ok := markAt(mask, n)
		if !ok {
			return fallback
		}
		if free(mark) {
			return mark
		}
	}
}

// markAt returns the n-th mark under mask, from 1, and whether there is one:
// the bits of n are laid into the bits of the mask.
func markAt(mask, n uint32) (uint32, bool) {
	if bits.Len32(n) > bits.OnesCount32(mask) {
		return 0, false
	}
	var mark uint32
	for n > 0 {
		low := mask & -mask
		if n&1 != 0 {
			mark |= low
		}
		mask &^= low
		n >>= 1
	}
	return mark, true
}

func setDuration(p *parser, v value, to *time.Duration, low, high time.Duration) {
	if d, ok := p.duration(v, low, high); ok {
		*to = d
	}
}

func setFlag(p *parser, v value, to *bool) {
	if on, ok := p.flag(v); ok {
		*to = on
	}
}
