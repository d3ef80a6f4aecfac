package configs

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Quota is how much an uplink may carry in a period.
type Quota struct {
	Bytes     uint64 // 0: there is none
	Every     Every
	On        int // the day of the month, from 1, or the weekday, from Sunday
	Direction Direction
	Then      Then
	Warn      []int // percent, in order
}

// Every is how long a period is.
type Every uint8

// The periods.
const (
	EveryMonth Every = iota
	EveryWeek
	EveryDay
)

var everyWords = []string{"month", "week", "day"}

// Direction is what counts.
type Direction uint8

// The directions.
const (
	DirectionBoth Direction = iota
	DirectionRx             // what comes in by the uplink
	DirectionTx             // what goes out by it
)

var directionWords = []string{"both", "rx", "tx"}

// Then is what becomes of an uplink whose quota is used up.
type Then uint8

// The ways.
const (
	ThenSpare Then = iota // it is of the last tier
	ThenOut               // it carries nothing but probes
)

var thenWords = []string{"spare", "out"}

// String returns the word of the configuration.
func (t Then) String() string { return thenWords[t] }

// Start returns when the period began that a time is in, by the clock on the wall of its zone: at midnight. A month
// that is too short for its day has its period begin on its last.
func (q *Quota) Start(now time.Time) time.Time {
	year, month, today := now.Date()
	switch q.Every {
	case EveryDay:
		return midnight(year, month, today, now.Location())
	case EveryWeek:
		return midnight(year, month, today-(int(now.Weekday())-q.On+7)%7, now.Location())
	case EveryMonth:
	}
	if start := q.inMonth(year, month, now.Location()); !start.After(now) {
		return start
	}
	return q.inMonth(year, month-1, now.Location())
}

// Next returns when the period ends that begins at start.
func (q *Quota) Next(start time.Time) time.Time {
	switch q.Every {
	case EveryDay:
		return start.AddDate(0, 0, 1)
	case EveryWeek:
		return start.AddDate(0, 0, 7)
	case EveryMonth:
	}
	return q.inMonth(start.Year(), start.Month()+1, start.Location())
}

// inMonth returns when the period begins that begins in a month.
func (q *Quota) inMonth(year int, month time.Month, zone *time.Location) time.Time {
	last := midnight(year, month+1, 0, zone).Day()
	return midnight(year, month, min(q.On, last), zone)
}

func midnight(year int, month time.Month, day int, zone *time.Location) time.Time {
	return time.Date(year, month, day, 0, 0, 0, 0, zone)
}

const (
	quotaLeast = 1_000_000
	quotaMost  = 1e15
	warnMost   = 10
)

func (p *parser) readQuota(v value, to *Quota) {
	*to = Quota{On: 1, Warn: []int{80, 95}}
	at := map[string]value{}
	keys := map[string]func(value){
		"bytes":     func(v value) { p.readQuotaBytes(v, &to.Bytes) },
		"every":     func(v value) { setWord(p, v, &to.Every, everyWords...) },
		"on":        func(value) {}, // what it may be depends on every
		"direction": func(v value) { setWord(p, v, &to.Direction, directionWords...) },
		"then":      func(v value) { setWord(p, v, &to.Then, thenWords...) },
		"warn":      func(v value) { p.readWarn(v, &to.Warn) },
	}
	for key, read := range keys {
		keys[key] = func(v value) { at[key] = v; read(v) }
	}
	p.mapping(v, keys)
	if _, ok := at["bytes"]; !ok {
		p.fail(value{node: v.node, path: v.path + ".bytes"}, "missing: how much it may carry, such as 100GB")
	}
	if to.Every == EveryWeek {
		to.On = int(time.Monday)
	}
	on, ok := at["on"]
	if !ok {
		return
	}
	switch to.Every {
	case EveryMonth:
		setInteger(p, on, &to.On, 1, 31)
	case EveryWeek:
		if s, ok := p.text(on); ok {
			if to.On = weekday(s); to.On < 0 {
				p.fail(on, "%q: must be a day of the week, such as Mon", s)
			}
		}
	case EveryDay:
		p.fail(on, "not with every: day: it begins at midnight")
	}
}

func (p *parser) readQuotaBytes(v value, to *uint64) {
	s, ok := p.text(v)
	if !ok {
		return
	}
	n, ok := ParseBytes(s)
	if !ok || n < quotaLeast || n > quotaMost {
		p.fail(v, "%q: must be bytes with their unit, such as 500MB or 100GB, 1MB to 1000TB", s)
		return
	}
	*to = n
}

// ParseBytes reads an amount of data: 500MB, 2.5GB; units are powers of ten.
func ParseBytes(s string) (uint64, bool) {
	parts := bytesText.FindStringSubmatch(s)
	if parts == nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(parts[1], 64)
	n *= map[string]float64{"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[parts[2]]
	return uint64(n), err == nil && n <= 1e15
}

// BytesText puts an amount of data as ParseBytes reads it, to three digits.
func BytesText(n uint64) string {
	unit, name := 1.0, "B"
	for _, larger := range []struct {
		size float64
		name string
	}{{1e3, "kB"}, {1e6, "MB"}, {1e9, "GB"}, {1e12, "TB"}} {
		if float64(n) >= larger.size {
			unit, name = larger.size, larger.name
		}
	}
	amount := float64(n) / unit
	digits := 2
	for ; digits > 0 && amount >= math.Pow10(3-digits); digits-- {
	}
	text := strconv.FormatFloat(amount, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text + name
}

func (p *parser) readWarn(v value, to *[]int) {
	*to = nil
	p.scalars(v, func(v value, _ string) {
		if n, ok := p.integer(v, 1, 99); ok {
			*to = append(*to, int(n))
		}
	})
	slices.Sort(*to)
	*to = slices.Compact(*to)
	if len(*to) > warnMost {
		p.fail(v, "%d: at most %d", len(*to), warnMost)
	}
}
