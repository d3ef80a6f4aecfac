package probe

import (
	"net/netip"
	"slices"
	"time"

	"uplinkd/internal/histogram"
)

// A Kind is how a target is probed.
type Kind uint8

// The kinds.
const (
	ICMP   Kind = iota // echo request (RFC 792)
	TCP                // a connection is accepted
	HTTP               // a request is answered as expected
	DNS                // a name is resolved by that server
	Exec               // a program ends with status 0
	SOCKS5             // a connection is made by a SOCKS server (RFC 1928)
	Agent              // a server says how much it wants
)

// A Target is what is probed. It is a value that can be compared.
type Target struct {
	Kind Kind
	Name string     // as the user wrote it
	IP   netip.Addr // of ICMP, TCP, DNS and SOCKS5
	Port uint16     // of TCP and SOCKS5

	URL    string // of HTTP
	Status int    // of HTTP: the one wanted; 0: any from 200 to 299
	Body   string // of HTTP: must stand in the answer; "": any

	Query string // of DNS: the name

	Server string // of SOCKS5 and Agent: host:port

	Program string        // of Exec: its path
	Limit   time.Duration // of Exec: how long it may take
}

// checksMost is how many checks of one service may be under way.
const checksMost = 4

// most returns how many probes of the target may be under way: many echoes, a few
// checks, one program.
func (t *Target) most() int {
	switch t.Kind {
	case ICMP:
		return inFlight
	case Exec:
		return 1
	case TCP, HTTP, DNS, SOCKS5, Agent:
	}
	return checksMost
}

// A Spec says what to probe. Two uplinks may have the same gateway address, so
// an interface's index is part of it.
type Spec struct {
	// Series names a run of evidence. Two Specs of one series prove the same
	// thing, so what was counted under one counts under the other, even if pace,
	// source or mark have changed; their targets must be equal.
	Series uint64

	Uplink    string // for programs
	Interface string
	Index     int
	Source    netip.Addr   // the uplink's own address
	Gateway   netip.Addr   // for programs
	Mark      uint32       // the uplink's fwmark, so that the probe takes its table
	DNS       []netip.Addr // servers for the names in URLs; none: the system's
	Targets   []Target     // 64 at most
	Pace      Pace
	Limits    Limits
	Budget    uint64 // bytes in 30 days; 0: no limit

	// Learned is what earlier series have learned of each target; it may be shorter.
	// It counts at the begin of a series, and does not make two Specs different.
	Learned []Character

	// Hurry has a bit for each target that others want to know about: it is
	// probed at the pace of confirm.
	Hurry uint64

	// Unbound has the probes go by whatever way this host takes: Index, Source and Mark do
	// not matter. Of uplinks it is never set.
	Unbound bool

	// Void has a bit for each target that is silent for everybody: what it loses
	// then says nothing of the link, and is forgotten.
	Void uint64
}

// isIPv6 reports whether the probes go by IPv6: of what is bound to nothing the targets tell.
func (s *Spec) isIPv6() bool {
	if s.Source.IsValid() {
		return s.Source.Is6()
	}
	return slices.ContainsFunc(s.Targets, func(t Target) bool { return t.IP.Is6() })
}

// family is that of the probes, as status and hooks name it.
func (s *Spec) family() string {
	if s.isIPv6() {
		return "ipv6"
	}
	return "ipv4"
}

// Equal reports whether two Specs ask for the same.
func (s *Spec) Equal(other *Spec) bool {
	if !slices.Equal(s.Targets, other.Targets) || !slices.Equal(s.DNS, other.DNS) {
		return false
	}
	return s.Series == other.Series && s.Uplink == other.Uplink && s.Interface == other.Interface &&
		s.Index == other.Index && s.Source == other.Source && s.Gateway == other.Gateway && s.Mark == other.Mark &&
		s.Pace == other.Pace && s.Limits == other.Limits && s.Budget == other.Budget &&
		s.Hurry == other.Hurry && s.Void == other.Void
}

// sameSockets reports whether a Conn of s serves for other too.
func (s *Spec) sameSockets(other *Spec) bool {
	return s.Source == other.Source && s.Mark == other.Mark && s.Pace.limit() == other.Pace.limit() &&
		s.Gateway == other.Gateway && s.Uplink == other.Uplink && slices.Equal(s.DNS, other.DNS)
}

// An Answer is what came back for one probe.
type Answer struct {
	Target int // index into Spec.Targets
	Seq    uint16
	At     time.Time     // when it was read
	RTT    time.Duration // by the kernel's receive time stamp where there is one
	Bytes  int           // that the probe took in IP packets both ways, where the Conn knows
	Advice Advice        // of an Agent

	Err  string // what came back instead of an answer; "": an answer
	Hard bool   // of Err: the network says that the target cannot be reached

	// Unsent is of an Err of this host's own: it lacks descriptors, memory, processes or
	// ports. Nothing was asked, and nothing is known.
	Unsent bool

	// Doubt is of an Err that says so too, but anybody could have sent it: it decides
	// nothing, and is a reason to ask again at once.
	Doubt bool
}

// A Conn carries the probes of one Spec. Send and Close are called by one
// goroutine, Receive by another.
type Conn interface {
	// Send sends one probe. It does not block. After an error the Conn still
	// serves: what ends it shows in Receive.
	Send(target int, seq uint16) error
	// Receive blocks until answers come, and returns an error once the Conn is
	// closed or can serve no longer. It may return without one.
	Receive() (Answer, error)
	// Close ends Receive, and returns when all the Conn has started has ended.
	Close() error
}

// Opener opens the Conn of a Spec.
type Opener func(Spec) (Conn, error)

// A Change is what is new about an uplink's targets.
type Change struct {
	Series  uint64 // of the Spec that was probed
	At      time.Time
	Targets []Evidence // one a target of the Spec
}

// Evidence is what the probes say of one target.
type Evidence struct {
	Verdict   Verdict
	Suspect   bool          // the verdict may be about to change
	Doubtful  bool          // it answers late, by its own measure: new connections are better led elsewhere
	Reason    string        // what speaks against the target, "" when nothing does
	FirstMiss time.Time     // when the first of the misses in a row was sent; zero when there are none
	Misses    int           // in a row
	LastRTT   time.Duration // of the last answer, 0 when there never was one
	Err       string        // why the last probe could not even be sent, "" when it could
	Unsent    bool          // that is this host's own lack of something: what was known of the target stands
	Advice    Advice        // of an Agent's last answer
}

// A TargetStatus is what is known of one target.
type TargetStatus struct {
	Target   string
	Verdict  Verdict
	Reason   string
	RTT      time.Duration // smoothed
	Jitter   time.Duration // mean deviation
	Sent     uint64
	Received uint64
	Bytes    uint64  // of IP packets, both ways
	Loss     float64 // percent, of the last 100 that are decided
	Err      string

	// LateAfter is how long after a probe was sent its answer is late, DownAfter how long
	// a silence means down. Zero where the rule is fixed.
	LateAfter, DownAfter time.Duration
	Learned              Character

	Heard   time.Time // when the last answer came; zero: none ever did
	Figures *Figures
}

// Figures count what has come of all probes to one target. Any goroutine may read them.
type Figures struct {
	RTTs     histogram.Durations // round trips
	Silences histogram.Durations // from one answer to the next
}
