package probe

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/sock"
)

// The judge as a table: what comes in, and what is made of it.
func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name  string
		input string // a: answer, m: miss
		want  Verdict
	}{
		{"nothing yet", "", Unknown},
		{"two answers", "aa", Unknown},
		{"three answers", "aaa", Up},
		{"one miss", "m", Unknown},
		{"two misses", "mm", Down},
		{"a miss starts the run over", "aamaa", Unknown},
		{"an answer starts the run over", "mam", Unknown},
		{"up and one miss", "aaam", Up},
		{"up and two misses", "aaamm", Down},
		{"up, two misses apart", "aaamam", Up},
		{"down and two answers", "mmaa", Down},
		{"down and three answers", "mmaaa", Up},
		{"down, a miss between", "mmaama", Down},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var j judge
			for _, c := range tt.input {
				if c == 'a' {
					j.answer(3, true)
				} else {
					j.miss(time.Now(), 2)
				}
				j.weigh(Limits{Loss: 15, ReturnLoss: 5}, &rtt{})
			}
			if j.verdict() != tt.want {
				t.Errorf("got %v, want %v", j.verdict(), tt.want)
			}
		})
	}
}

// A host that cannot ask learns nothing: no run of misses, no silence, no loss; and what was
// asked before and after counts as ever.
func TestUnsentIsNoMiss(t *testing.T) {
	for name, rule := range map[string]Rule{"fixed": Fixed, "learned": Learned} {
		t.Run(name, func(t *testing.T) {
			spec := &Spec{Targets: []Target{{Kind: TCP, Name: "tcp"}}, Pace: Pace{
				Interval: 100 * time.Millisecond, Timeout: 100 * time.Millisecond, Confirm: 50 * time.Millisecond,
				DownAfter: 2, UpAfter: 2, Rule: rule, DownWithin: time.Second, DownWithinMax: 8 * time.Second,
			}}
			var m Machine
			m.Set(spec)
			now := time.Unix(1_700_000_000, 0)
			// run goes on for a time; answer says what becomes of a probe at once.
			run := func(length time.Duration, answer func(a *Answer) (comes bool), refused error) {
				idle := 0
				for end := now.Add(length); now.Before(end); {
					var sent []uint16
					next := m.Turn(now, func(_ int, seq uint16) error {
						if refused == nil {
							sent = append(sent, seq)
						}
						return refused
					})
					for _, seq := range sent {
						a := Answer{Seq: seq, At: now.Add(time.Millisecond), RTT: time.Millisecond}
						if answer(&a) {
							m.Receive(a)
						}
					}
					m.News(now)
					// Once, because what was sent now makes a verdict due; not again and again.
					if idle++; next.After(now) {
						idle = 0
					}
					if idle > 1 {
						t.Fatalf("it is to turn again at %v, at once", next)
					}
					now = laterOf(now, next)
				}
			}
			want := func(when string, verdict Verdict, unsent bool) {
				t.Helper()
				m.News(now)
				if e := m.told[0]; e.Verdict != verdict || e.Unsent != unsent || e.Doubtful {
					t.Errorf("%s: %+v, want %v", when, e, verdict)
				}
			}
			answered := func(*Answer) bool { return true }
			lost := func(*Answer) bool { return false }
			lacking := func(a *Answer) bool { a.Err, a.Unsent = "too many open files", true; return true }
			run(time.Minute, lacking, nil)
			want("from the start without descriptors", Unknown, true)
			run(time.Second, answered, nil)
			want("answered", Up, false)
			run(time.Minute, lacking, nil)
			want("a minute without descriptors", Up, true)
			run(time.Minute, nil, unix.EMFILE)
			want("a minute without a socket", Up, true)
			run(time.Second, answered, nil)
			want("answered again", Up, false)
			if s := m.Statuses(now)[0]; s.Loss != 0 || s.Sent != s.Received {
				t.Errorf("%+v, want no loss and nothing sent that was not answered", s)
			}
			run(10*time.Second, lost, nil)
			want("silent", Down, false)
			run(time.Minute, lacking, nil)
			want("silent, then without descriptors", Down, true)
			run(time.Second, answered, nil)
			want("answered at last", Up, false)
			// A dead link is found out though every other probe cannot be sent.
			n := 0
			run(20*time.Second, func(a *Answer) bool { n++; return n%2 == 0 && lacking(a) }, nil)
			if e := m.told[0]; e.Verdict != Down {
				t.Errorf("silent, and every other probe could not be sent: %+v, want down", e)
			}
			run(time.Second, answered, nil)
			want("answered once more", Up, false)
			run(10*time.Second, nil, unix.ENOBUFS)
			want("a full queue, as that of a modem that hangs", Down, false)
		})
	}
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Evidence of one kind never brings the opposite verdict: from any state, answers
// alone never lead down, and misses alone never lead up.
func TestJudgeIsMonotone(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	limits := Limits{Loss: 15, ReturnLoss: 5, RTT: 100 * time.Millisecond, ReturnRTT: 80 * time.Millisecond}
	for range 2000 {
		var j judge
		r := &rtt{smoothed: time.Duration(random.IntN(150)) * time.Millisecond}
		for range random.IntN(300) {
			if random.IntN(100) < 70 {
				j.answer(1+random.IntN(5), true)
			} else {
				j.miss(time.Unix(0, 0), 1+random.IntN(5))
			}
			j.weigh(limits, r)
		}
		up, down := j, j
		for range 200 {
			before := up.verdict()
			up.answer(5, true)
			up.weigh(limits, r)
			if before == Up && up.verdict() == Down {
				t.Fatalf("an answer led down: %+v", up)
			}
			before = down.verdict()
			down.miss(time.Unix(0, 0), 3)
			down.weigh(limits, r)
			if before != Up && down.verdict() == Up {
				t.Fatalf("a miss led up: %+v", down)
			}
		}
		if up.run != Up || up.lossy || down.verdict() != Down {
			t.Fatalf("after 200 answers %+v, after 200 misses %+v", up, down)
		}
	}
}

// Sequence numbers wrap after nine hours at two a second; nothing shows of it.
func TestSequenceWraps(t *testing.T) {
	pace := Pace{Interval: time.Second, Timeout: time.Second / 2, Confirm: time.Second, DownAfter: 3, UpAfter: 5}
	var t0 target
	now := time.Now()
	for range 3 * 65536 {
		seq := t0.begin(now, Pace{})
		t0.accept(Answer{Seq: seq, At: now.Add(time.Millisecond), RTT: time.Millisecond}, pace)
		if t0.verdict() == Down {
			t.Fatal("down on a clean link")
		}
		now = now.Add(time.Second)
		t0.expire(pace, now)
	}
	if t0.receives != t0.sends {
		t.Errorf("%d of %d counted as answered", t0.receives, t0.sends)
	}
}

func TestAnswerCountsOnce(t *testing.T) {
	pace := Pace{Interval: time.Second, Timeout: time.Second, Confirm: time.Second, DownAfter: 3, UpAfter: 2}
	var t0 target
	now := time.Now()
	seq := t0.begin(now, Pace{})
	t0.begin(now, Pace{})
	for range 5 {
		t0.accept(Answer{Seq: seq, At: now}, pace)
	}
	t0.accept(Answer{Seq: seq + 2, At: now}, pace) // never sent
	t0.accept(Answer{Seq: seq - 1, At: now}, pace) // long decided
	if t0.receives != 1 || t0.verdict() == Up {
		t.Errorf("%d answers, verdict %v; want 1, unknown", t0.receives, t0.verdict())
	}
}

func TestHistory(t *testing.T) {
	var h history
	if h.loss() != 0 {
		t.Error("loss before anything is known")
	}
	for i := range 1000 {
		h.add(i%10 != 0)
	}
	if h.loss() != 10 {
		t.Errorf("loss %v, want 10", h.loss())
	}
	for range 100 {
		h.add(true)
	}
	if h.loss() != 0 {
		t.Errorf("loss %v after 100 answers, want 0", h.loss())
	}
	h.add(false)
	if h.loss() != 1 {
		t.Errorf("loss %v after one miss, want 1", h.loss())
	}
}

func packet(e *echo, from netip.Addr, now time.Time) []byte {
	p := make([]byte, ipv4Header+echoSize)
	p[0] = 0x45
	source := from.As4()
	copy(p[12:], source[:])
	b := p[ipv4Header:]
	e.encode(b, 3, 77, now)
	b[0], b[2], b[3] = icmp4.reply, 0, 0
	sum := ^sock.Sum(b, 0)
	b[2], b[3] = byte(sum>>8), byte(sum)
	return p
}

func TestEchoOnlyItsOwn(t *testing.T) {
	e := echo{dialect: &icmp4, id: 0x1234, nonce: [nonceSize]byte{1, 2, 3}}
	from := netip.MustParseAddr("192.0.2.1")
	now := time.Unix(1700000000, 5)
	good := packet(&e, from, now)
	got, ok := e.decode(good)
	if !ok || got.seq != 77 || got.target != 3 || got.from != from || !got.sent.Equal(now) {
		t.Fatalf("got %+v, %v", got, ok)
	}
	other := echo{dialect: &icmp4, id: 0x1234, nonce: [nonceSize]byte{9}}
	if _, ok := other.decode(good); ok {
		t.Error("a reply with another nonce counted")
	}
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0x40
		if r, ok := e.decode(bad); ok && r.from == from {
			// Bytes 1..19 are the IP header; its checksum is the kernel's to check.
			if i == 0 || i >= ipv4Header {
				t.Errorf("a reply with byte %d changed counted", i)
			}
		}
		if _, ok := e.decode(good[:i]); ok {
			t.Errorf("a reply cut to %d bytes counted", i)
		}
	}
}

func FuzzEchoDecode(f *testing.F) {
	e := echo{dialect: &icmp4, id: 1}
	f.Add(packet(&e, netip.MustParseAddr("192.0.2.1"), time.Now()))
	f.Fuzz(func(_ *testing.T, b []byte) { e.decode(b) })
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	pace := Pace{Interval: time.Second, Timeout: time.Second / 2, Confirm: time.Second, DownAfter: 3, UpAfter: 5}
	e := echo{dialect: &icmp4, id: 7}
	now := time.Now()
	reply := packet(&e, netip.MustParseAddr("192.0.2.1"), now)
	var out [echoSize]byte
	var t0 target
	if n := testing.AllocsPerRun(1000, func() {
		seq := t0.begin(now, Pace{})
		e.encode(out[:], 0, seq, now)
		e.decode(reply)
		t0.accept(Answer{Seq: seq, At: now}, pace)
		t0.expire(pace, now)
		t0.due(pace, false)
		now = now.Add(time.Second)
	}); n != 0 {
		t.Errorf("%v allocations a probe, want 0", n)
	}
}
