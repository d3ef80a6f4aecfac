package probe

import "time"

// month is what a budget is for.
const month = 30 * 24 * time.Hour

// A purse holds the bytes that may be spent on probes: they come in evenly over
// the month, and what is not spent is kept, up to a day's worth.
type purse struct {
	budget uint64 // bytes a month; 0: no limit
	filled time.Time
	bytes  float64
}

// fill puts in what has come due.
func (p *purse) fill(now time.Time) {
	day := float64(p.budget) * float64(24*time.Hour) / float64(month)
	if p.filled.IsZero() {
		p.bytes = day
	} else {
		p.bytes = min(p.bytes+float64(p.budget)*float64(now.Sub(p.filled))/float64(month), day)
	}
	p.filled = now
}

// spend takes bytes out. It may go below zero: what has been sent is sent.
func (p *purse) spend(bytes uint64) { p.bytes -= float64(bytes) }

// pace stretches a pace so that the steady probes of all targets take four
// fifths of the budget, each costing that many bytes, and leave the rest for
// times of doubt. When there is nothing left doubt is probed no faster.
func (p *purse) pace(pace Pace, targets int, cost float64) Pace {
	if p.budget == 0 || targets == 0 {
		return pace
	}
	least := time.Duration(float64(month) * cost * float64(targets) / (0.8 * float64(p.budget)))
	pace.Interval, pace.Exact = max(pace.Interval, least), true
	if p.bytes < 0 {
		pace.Confirm = pace.Interval
	}
	return pace
}
