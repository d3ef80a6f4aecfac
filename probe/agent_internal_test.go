package probe

import (
	"strings"
	"testing"
	"time"
)

// What agents say, in the words of HAProxy's manual and as a number alone.
func TestParseAdvice(t *testing.T) {
	for line, want := range map[string]string{
		"75%":                      "75",
		"75":                       "75",
		"up 75%":                   "75",
		"UP,\t75%":                 "75",
		"up":                       "",
		"ready":                    "",
		"drain":                    "0",
		"maint":                    "0",
		"drain 80%":                "0",
		"0%":                       "0",
		"250%":                     "100",
		"up maxconn:30 40%":        "40",
		"down":                     "the agent says down",
		"stopped#for backup":       "the agent says stopped, for",
		"fail#\x1b[2J":             "the agent says fail, ?[2j",
		"down 80%":                 "the agent says down",
		"":                         "no number or word",
		"hello":                    "no number or word",
		"-5%":                      "no number or word",
		"99999999999999999999999%": "no number or word",
		"HTTP/1.0 400 Bad Request": "no number or word",
	} {
		a, err := parseAdvice(line)
		got := ""
		switch {
		case err != nil:
			got = err.Error()
		case a.Given:
			got = strings.Fields(a.String())[0]
			if a.Percent == 0 {
				got = "0"
			}
		}
		if same := got == want || err != nil && want != "" && strings.Contains(got, want); !same {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func FuzzParseAdvice(f *testing.F) {
	for _, line := range []string{"up 75%", "drain", "down#why", "75", "maxconn:30,ready\t5%"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		a, err := parseAdvice(line)
		if a.Percent < 0 || a.Percent > 100 || a.Percent != 0 && !a.Given {
			t.Errorf("%q: %+v", line, a)
		}
		if err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("%q: %q", line, err)
		}
	})
}

// What an agent has said counts until it says something else, or is down and silent: one
// answer that is lost changes nothing.
func TestAdviceIsKept(t *testing.T) {
	var m Machine
	pace := Pace{Interval: time.Second, Timeout: 400 * time.Millisecond, Confirm: 100 * time.Millisecond, DownAfter: 3, UpAfter: 1}
	m.Set(&Spec{Series: 1, Targets: []Target{{Kind: Agent, Name: "agent"}}, Pace: pace})
	now, seq := time.Unix(0, 0), uint16(0)
	turn := func(answer *Answer) Evidence {
		t.Helper()
		var sent []uint16
		for len(sent) == 0 {
			now = m.Turn(now, func(_ int, n uint16) error { sent = append(sent, n); return nil })
		}
		seq = sent[len(sent)-1]
		if answer != nil {
			a := *answer
			a.Seq, a.At = seq, now
			m.Receive(a)
		} else {
			now = now.Add(pace.Timeout)
			m.expire(now)
		}
		m.News(now)
		return m.told[0]
	}
	half := Advice{Given: true, Percent: 50}
	if e := turn(&Answer{Advice: half}); e.Advice != half || e.Verdict != Up {
		t.Fatalf("told %+v, want up with %v", e, half)
	}
	if e := turn(nil); e.Advice != half {
		t.Errorf("after one answer that was lost: %+v", e)
	}
	if e := turn(&Answer{Err: "the agent says down", Advice: Advice{Given: true}}); !e.Advice.Drains() {
		t.Errorf("an agent that is down wants %+v", e.Advice)
	}
	for range 4 {
		turn(&Answer{Err: "the agent says down", Advice: Advice{Given: true}})
	}
	if e := m.told[0]; e.Verdict != Down || !e.Advice.Drains() {
		t.Errorf("an agent that goes on saying so: %+v", e)
	}
	if e := turn(nil); e.Advice.Given {
		t.Errorf("of an agent that is down and silent: %+v", e)
	}
}
