// Package replay runs recorded links through the very prober and decision that the daemon
// has, in time of its own, and says how often they would have erred.
package replay

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"uplinkd/internal/plain"
)

// traceMost bounds what is read of a file, in samples: two days at a ping each 20 ms.
const traceMost = 10_000_000

// A Trace is what pings over one link came to, in one or more sessions.
type Trace struct {
	Name     string
	Sessions []Session
}

// A Session is samples that follow each other, the first at 0.
type Session []Sample

// A Sample is one ping: when it was sent, and how long its answer took.
type Sample struct {
	At   time.Duration
	RTT  time.Duration
	Lost bool
}

// Hours is how long the sessions are.
func (t *Trace) Hours() float64 {
	var sum time.Duration
	for _, s := range t.Sessions {
		sum += s.length()
	}
	return sum.Hours()
}

func (s Session) length() time.Duration {
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1].At
}

// At returns what becomes of a packet that is sent at a time after the beginning, as if the
// sessions followed each other, and began anew after the last.
func (t *Trace) At(when time.Duration) (rtt time.Duration, ok bool) {
	n, in := t.point(when % max(time.Duration(t.Hours()*float64(time.Hour)), 1))
	return t.Sessions[n].at(in)
}

// at returns what becomes of a probe that is sent at a time: what became of the last ping
// before it.
func (s Session) at(when time.Duration) (rtt time.Duration, ok bool) {
	i, found := slices.BinarySearchFunc(s, when, func(x Sample, at time.Duration) int { return cmp.Compare(x.At, at) })
	if !found {
		i--
	}
	if i < 0 || s[i].Lost {
		return 0, false
	}
	return s[i].RTT, true
}

// Read reads a trace: lines of milliseconds and round trip in milliseconds, or - where
// none came back, with "# session" before each session; or what `ping -D` prints, with
// or without -O.
func Read(name string, r io.Reader) (Trace, error) {
	t := Trace{Name: name}
	var pings pings
	lines := bufio.NewScanner(r)
	var current Session
	flush := func() {
		if len(current) > 1 {
			t.Sessions = append(t.Sessions, current.fromZero())
		}
		current = nil
	}
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		switch {
		case n > traceMost:
			return t, fmt.Errorf("%s: more than %d lines", name, traceMost)
		case line == "" || pings.take(line):
		case line == "# session":
			flush()
		case line[0] == '#':
		default:
			s, err := sampleOf(line, current)
			if err != nil {
				return t, fmt.Errorf("%s:%d: %q: %w: want milliseconds and a round trip in milliseconds, or -; "+
					"or ping -D", name, n, plain.Line(line, 60), err)
			}
			current = append(current, s)
		}
	}
	flush()
	if s := pings.session(); len(s) > 1 {
		t.Sessions = append(t.Sessions, s)
	}
	return t, t.check(lines.Err())
}

// check returns why a trace that was read with err is of no use.
func (t *Trace) check(err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", t.Name, err)
	}
	if len(t.Sessions) == 0 {
		return fmt.Errorf("%s: no pings in it: want lines of `ping -D`, or of milliseconds and round trips", t.Name)
	}
	return nil
}

func (s Session) fromZero() Session {
	first := s[0].At
	for i := range s {
		s[i].At -= first
	}
	return s
}

// millisecondsMost bounds what a number of milliseconds may be: a year.
const millisecondsMost = 3.2e10

func milliseconds(text string) (time.Duration, error) {
	ms, err := strconv.ParseFloat(text, 64)
	if err != nil || !(ms >= 0 && ms <= millisecondsMost) {
		return 0, errors.New("no number of milliseconds")
	}
	return time.Duration(ms * float64(time.Millisecond)), nil
}

// sampleOf reads a line that follows others.
func sampleOf(line string, before Session) (s Sample, err error) {
	at, rtt, ok := strings.Cut(line, " ")
	if !ok {
		return s, errors.New("one word")
	}
	if s.At, err = milliseconds(at); err != nil {
		return s, err
	}
	if n := len(before); n > 0 && s.At < before[n-1].At {
		return s, errors.New("goes back in time")
	}
	if rtt = strings.TrimSpace(rtt); rtt == "-" {
		s.Lost = true
		return s, nil
	}
	s.RTT, err = milliseconds(rtt)
	return s, err
}

// pings are lines of ping -D, which tell when an answer came.
type pings struct {
	answers map[uint64]Sample // by the number of the ping, which wraps after 65,535
	last    uint64
	seen    bool
	first   float64
}

var (
	answered = regexp.MustCompile(`^\[(\d+\.\d+)\] \d+ bytes from .*icmp_seq=(\d+) .*time=([\d.]+) ms`)
	headings = regexp.MustCompile(`^(PING |--- |\[\d+\.\d+\] |From |\d+ packets transmitted|rtt )`)
)

// take takes a line of ping in, and reports whether it was one.
func (p *pings) take(line string) bool {
	m := answered.FindStringSubmatch(line)
	if m == nil {
		return headings.MatchString(line)
	}
	at, err1 := strconv.ParseFloat(m[1], 64)
	number, err2 := strconv.ParseUint(m[2], 10, 16)
	rtt, err3 := milliseconds(m[3])
	if err1 != nil || err2 != nil || err3 != nil {
		return false
	}
	if !p.seen {
		p.seen, p.first, p.answers, p.last = true, at, map[uint64]Sample{}, number
	}
	// The number with its wraps: the one nearest to the last.
	number += p.last &^ 0xffff
	if number+0x8000 < p.last {
		number += 0x10000
	}
	p.last = max(p.last, number)
	p.answers[number] = Sample{At: time.Duration((at-p.first)*float64(time.Second)) - rtt, RTT: rtt}
	return true
}

// session returns the pings in their order. When one was sent that has no answer follows
// from those around it.
func (p *pings) session() Session {
	numbers := make([]uint64, 0, len(p.answers))
	for n := range p.answers {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	var list Session
	for i, n := range numbers {
		s := p.answers[n]
		if i > 0 {
			before, missing := p.answers[numbers[i-1]], n-numbers[i-1]-1
			for k := range min(missing, traceMost) {
				step := (s.At - before.At) / time.Duration(missing+1)
				list = append(list, Sample{At: before.At + time.Duration(k+1)*step, Lost: true})
			}
		}
		list = append(list, s)
	}
	slices.SortStableFunc(list, func(a, b Sample) int { return cmp.Compare(a.At, b.At) })
	if len(list) == 0 {
		return nil
	}
	return list.fromZero()
}
