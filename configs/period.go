package configs

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A Period is a part of the week, by the clock on the wall of this host.
type Period struct {
	Days        [7]bool // from Sunday, as of time.Weekday
	From, Until int     // minutes since midnight; From may be later: into the next day
}

const (
	day        = 24 * 60
	periodMost = 20
)

var (
	weekdays    = [7]string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}
	periodClock = regexp.MustCompile(`^([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})$`)
)

// Holds reports whether it is that time, in the zone of now. When clocks are changed it goes by what
// they show: an hour that is there twice is within twice, one that is left out never.
func (p Period) Holds(now time.Time) bool {
	minute := now.Hour()*60 + now.Minute()
	today, yesterday := now.Weekday(), (now.Weekday()+6)%7
	if p.From < p.Until {
		return p.Days[today] && p.From <= minute && minute < p.Until
	}
	return p.Days[today] && minute >= p.From || p.Days[yesterday] && minute < p.Until
}

// Holds reports whether a policy is in force at a time: in one of its periods, if it has any.
func Holds(periods []Period, now time.Time) bool {
	for _, p := range periods {
		if p.Holds(now) {
			return true
		}
	}
	return len(periods) == 0
}

func (p *parser) readPeriods(v value, to *[]Period) {
	p.scalars(v, func(v value, s string) {
		period, ok := parsePeriod(s)
		if !ok {
			p.fail(v, "%q: must be days and times, such as \"Mon-Fri 08:00-18:00\", \"Sat,Sun\" or \"22:00-06:00\"", s)
			return
		}
		*to = append(*to, period)
	})
	if len(*to) > periodMost {
		p.fail(v, "%d periods: at most %d", len(*to), periodMost)
	}
}

func parsePeriod(s string) (Period, bool) {
	p := Period{Until: day}
	words := strings.Fields(s)
	if len(words) == 0 || len(words) > 2 {
		return p, false
	}
	last := words[len(words)-1]
	if clock := periodClock.FindStringSubmatch(last); clock != nil {
		n := [4]int{}
		for i := range n {
			n[i], _ = strconv.Atoi(clock[i+1]) // two digits
		}
		p.From, p.Until = n[0]*60+n[1], n[2]*60+n[3]
		if n[1] > 59 || n[3] > 59 || p.From >= day || p.Until > day || p.From == p.Until {
			return p, false
		}
		words = words[:len(words)-1]
	}
	if len(words) == 0 {
		p.Days = [7]bool{true, true, true, true, true, true, true}
		return p, true
	}
	return p, len(words) == 1 && p.readDays(words[0])
}

// readDays reads days and ranges of days: "Mon-Fri,Sun". A range may go over the end of the week.
func (p *Period) readDays(s string) bool {
	for _, part := range strings.Split(s, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, until := weekday(first), weekday(last)
		if from < 0 || until < 0 {
			return false
		}
		for d := from; ; d = (d + 1) % 7 {
			p.Days[d] = true
			if d == until {
				break
			}
		}
	}
	return true
}

func weekday(s string) int {
	for n, name := range weekdays {
		if strings.EqualFold(s, name) {
			return n
		}
	}
	return -1
}
