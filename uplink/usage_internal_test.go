package uplink

import (
	"testing"
	"time"
	_ "time/tzdata" // so that no machine lacks them

	"uplinkd/configs"
)

// What an uplink has used of its quota: over counters that begin anew, over a change of clocks, over clocks that are
// set forth and back, and over the turn of a period.
func TestUsage(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) time.Time {
		when, err := time.ParseInLocation("2006-01-02 15:04:05", s, berlin)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	type look struct {
		at     time.Time
		passed time.Duration // really, since the last look; 0: what the clock shows
		rx, tx uint64
		used   uint64 // afterwards
	}
	monthly := configs.Quota{Bytes: 1000, On: 15}
	for name, tt := range map[string]struct {
		quota configs.Quota
		looks []look
	}{
		"both directions": {monthly, []look{
			{at("2026-11-20 10:00:00"), 0, 500, 500, 0}, // of before
			{at("2026-11-20 10:00:01"), 0, 600, 501, 101},
		}},
		"in alone": {configs.Quota{Bytes: 1000, On: 15, Direction: configs.DirectionRx}, []look{
			{at("2026-11-20 10:00:00"), 0, 0, 0, 0}, {at("2026-11-20 10:00:01"), 0, 10, 7, 10},
		}},
		"out alone": {configs.Quota{Bytes: 1000, On: 15, Direction: configs.DirectionTx}, []look{
			{at("2026-11-20 10:00:00"), 0, 0, 0, 0}, {at("2026-11-20 10:00:01"), 0, 10, 7, 7},
		}},
		"the counters begin anew": {monthly, []look{
			{at("2026-11-20 10:00:00"), 0, 100, 0, 0},
			{at("2026-11-20 10:00:01"), 0, 200, 0, 100},
			{at("2026-11-20 10:00:02"), 0, 30, 0, 130},
		}},
		"another month": {monthly, []look{
			{at("2026-12-14 23:50:00"), 0, 0, 0, 0},
			{at("2026-12-14 23:59:59"), 0, 40, 0, 40},
			{at("2026-12-15 00:00:00"), 0, 40, 0, 0},
			{at("2026-12-15 00:00:01"), 0, 45, 0, 5},
		}},
		"the 31st of a short month": {configs.Quota{Bytes: 1000, On: 31}, []look{
			{at("2026-11-29 23:50:00"), 0, 0, 0, 0},
			{at("2026-11-29 23:59:00"), 0, 40, 0, 40},
			{at("2026-11-30 00:00:00"), 0, 40, 0, 0},
			{at("2026-12-30 23:59:00"), 0, 50, 0, 10},
			{at("2026-12-31 00:00:00"), 0, 50, 0, 0},
		}},
		"clocks go back within a day": {configs.Quota{Bytes: 1000, Every: configs.EveryDay}, []look{
			{at("2026-10-25 00:00:00"), 0, 0, 0, 0},
			{at("2026-10-25 01:30:00"), 0, 10, 0, 10},
			{at("2026-10-25 01:30:00").Add(2 * time.Hour), 0, 20, 0, 20}, // half past two again
			{at("2026-10-25 23:59:00"), 0, 30, 0, 30},
			{at("2026-10-26 00:00:00"), 0, 30, 0, 0},
		}},
		"the clock is set a month ahead, and back": {monthly, []look{
			{at("2026-11-20 10:00:00"), 0, 0, 0, 0},
			{at("2026-11-20 10:01:00"), 0, 10, 0, 10},
			{at("2026-12-20 10:01:01"), time.Second, 20, 0, 20},
			{at("2026-12-20 10:01:31"), 0, 30, 0, 30},
			{at("2026-11-20 10:01:32"), time.Second, 40, 0, 40},
			{at("2026-11-20 11:01:32"), 0, 50, 0, 50},
		}},
		"the clock was ahead for long": {monthly, []look{
			{at("2027-03-20 10:00:00"), 0, 0, 0, 0},
			{at("2027-03-20 11:00:00"), 0, 10, 0, 10},
			{at("2026-11-20 11:00:01"), time.Second, 20, 0, 20},
			{at("2026-11-20 11:10:00"), 0, 30, 0, 30},
			{at("2026-11-21 12:00:00"), 0, 30, 0, 30},
			{at("2026-12-15 00:00:00"), 0, 30, 0, 0}, // and periods go on from there
		}},
		// From a review: it began anew when the clock was right again.
		"the clock is years behind for a while": {monthly, []look{
			{at("2026-11-20 10:00:00"), 0, 0, 0, 0},
			{at("2026-11-20 10:10:00"), 0, 10, 0, 10},
			{at("2020-01-01 00:00:00"), time.Second, 20, 0, 20},
			{at("2020-01-01 00:10:00"), 0, 30, 0, 30},
			{at("2026-11-20 10:20:00"), time.Second, 40, 0, 40},
			{at("2026-11-20 10:40:00"), 0, 50, 0, 50},
		}},
		"another zone, in which midnight is later": {monthly, []look{
			{at("2026-11-20 10:00:00"), 0, 0, 0, 0},
			{at("2026-11-20 10:10:00"), 0, 10, 0, 10},
			{at("2026-11-20 10:20:00").In(time.FixedZone("west", -8*3600)), 0, 20, 0, 20},
		}},
		"a machine that wakes up in 1970": {monthly, []look{
			{at("1970-01-01 00:00:10"), 0, 0, 0, 0},
			{at("1970-01-01 00:00:20"), 0, 10, 0, 10},
			{at("2026-11-20 10:00:00"), time.Second, 20, 0, 20},
			{at("2026-11-20 10:06:00"), 0, 30, 0, 0},
		}},
		"weekly": {configs.Quota{Bytes: 1000, Every: configs.EveryWeek, On: 1}, []look{
			{at("2026-11-29 23:00:00"), 0, 0, 0, 0}, {at("2026-11-29 23:59:00"), 0, 9, 0, 9}, {at("2026-11-30 00:00:00"), 0, 9, 0, 0},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			u := Uplink{Config: configs.Uplink{Quota: tt.quota}}
			s := State{Uplinks: []Uplink{u}}
			// Moments that have no time of their own, as those of a file, differ by what they show. So who sets
			// the clock is made by when the last look seems to have been.
			for n, l := range tt.looks {
				if l.passed != 0 {
					s.At = l.at.Add(-l.passed)
					s.ClockSince = l.at // what noteClock finds, whose other clock no test can set
				}
				s.Uplinks[0].Usage.count(&tt.quota, Octets{Rx: l.rx, Tx: l.tx, Known: true})
				s.decideUsage(l.at)
				s.At = l.at
				if got := s.Uplinks[0].Usage.Used; got != l.used {
					t.Errorf("look %d, at %s: %d bytes used, want %d", n+1, l.at.Format(time.DateTime), got, l.used)
				}
			}
		})
	}
}

// When the next period begins.
func TestQuotaNext(t *testing.T) {
	day := func(s string) time.Time { d, _ := time.Parse(time.DateOnly, s); return d }
	for _, tt := range []struct {
		q          configs.Quota
		start, end string
	}{
		{configs.Quota{On: 15}, "2026-11-15", "2026-12-15"},
		{configs.Quota{On: 1}, "2026-12-01", "2027-01-01"},
		{configs.Quota{On: 31}, "2026-01-31", "2026-02-28"},
		{configs.Quota{On: 31}, "2026-02-28", "2026-03-31"},
		{configs.Quota{On: 30}, "2028-01-30", "2028-02-29"},
		{configs.Quota{Every: configs.EveryDay}, "2026-11-30", "2026-12-01"},
		{configs.Quota{Every: configs.EveryWeek, On: 1}, "2026-11-30", "2026-12-07"},
	} {
		if got := tt.q.Next(day(tt.start)); !got.Equal(day(tt.end)) {
			t.Errorf("%+v from %s: %s, want %s", tt.q, tt.start, got.Format(time.DateOnly), tt.end)
		}
		if got := tt.q.Start(day(tt.end).Add(time.Hour)); !got.Equal(day(tt.end)) {
			t.Errorf("%+v: an hour after %s it began on %s", tt.q, tt.end, got.Format(time.DateOnly))
		}
		if got := tt.q.Start(day(tt.end).Add(-time.Hour)); !got.Equal(day(tt.start)) {
			t.Errorf("%+v: an hour before %s it began on %s", tt.q, tt.end, got.Format(time.DateOnly))
		}
	}
}
