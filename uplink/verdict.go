package uplink

import (
	"fmt"
	"strings"

	"uplinkd/configs"
	"uplinkd/probe"
)

// A vote is what one target says of an uplink.
type vote struct {
	gateway bool // the uplink's own next hop, which nobody else can ask
	verdict probe.Verdict
	void    bool   // the target answers nowhere: that says nothing of the uplink
	why     string // what speaks against it
}

// A poll is the outcome of the votes of all targets of an uplink.
type poll struct {
	verdict probe.Verdict // Unknown: the last one stands
	reason  string
}

// count makes one verdict of the votes:
//
//	no target has a vote              unknown: the last verdict stands
//	the gateway answers, and of the   down: the Internet behind it is gone
//	  far targets with a vote none
//	quorum of those with a vote up    up
//	so many down that this cannot be  down
//	otherwise                         unknown: the last verdict stands
//
// A quorum of more than have a vote is all of them. It is monotone: a vote that
// turns from down to unknown or up never makes an uplink go from up to down.
func count(votes []vote, quorum int) poll {
	t := tallyOf(votes)
	quorum = min(quorum, t.voters)
	against := strings.Join(t.against, "; ")
	switch {
	case t.voters == 0:
		return poll{reason: "none of its targets answers anywhere: the last verdict stands"}
	case t.gatewayUp && t.far > 0 && t.farDown == t.far:
		return poll{probe.Down, "the gateway answers, the Internet behind it does not: " + against}
	case t.up >= quorum:
		return poll{probe.Up, "probes are answered"}
	case t.up+t.unknown < quorum:
		return poll{probe.Down, against}
	}
	return poll{}
}

// A tally is how many of the votes that count say what.
type tally struct {
	voters, up, unknown int
	far, farDown        int // of those beyond the gateway
	gatewayUp           bool
	against             []string
}

func tallyOf(votes []vote) tally {
	var t tally
	for _, v := range votes {
		if v.void {
			continue
		}
		t.voters++
		switch v.verdict {
		case probe.Up:
			t.up++
			t.gatewayUp = t.gatewayUp || v.gateway
		case probe.Unknown:
			t.unknown++
		case probe.Down:
			t.against = append(t.against, v.why)
		}
		if !v.gateway {
			t.far++
		}
		if !v.gateway && v.verdict == probe.Down {
			t.farDown++
		}
	}
	return t
}

// poll asks the targets of the i-th uplink.
func (s *State) poll(i int) poll {
	u := &s.Uplinks[i]
	evidence := u.evidence()
	if len(evidence) == 0 {
		return poll{}
	}
	votes := make([]vote, len(evidence))
	for n, e := range evidence {
		target := u.Config.Probe.Targets[n]
		votes[n] = vote{gateway: target.Kind == configs.TargetGateway, verdict: e.Verdict, why: against(target, e)}
		if e.Verdict == probe.Down && !votes[n].gateway {
			votes[n].verdict, votes[n].void = s.blame(i, target)
		}
	}
	return count(votes, u.Config.Probe.Quorum)
}

// blame says whose fault it is that a target is down on the i-th uplink: the
// uplink's, if the target is up on another one beyond doubt; nobody can say yet,
// while there is doubt; the target's own, if it is down on every other uplink that
// probes it too.
func (s *State) blame(i int, target configs.Target) (verdict probe.Verdict, void bool) {
	asked, doubtful := 0, false
	for j := range s.Uplinks {
		e, ok := s.Uplinks[j].about(target)
		if i == j || !ok {
			continue
		}
		asked++
		switch {
		case e.Verdict == probe.Up && !e.Suspect:
			// It is about to come back here too, as it does there.
			if own, _ := s.Uplinks[i].about(target); own.Suspect {
				return probe.Unknown, false
			}
			return probe.Down, false
		case e.Verdict != probe.Down:
			doubtful = true
		}
	}
	if doubtful {
		return probe.Unknown, false
	}
	return probe.Down, asked > 0
}

// evidence returns what the probes of the present series say, nil when they say
// nothing yet.
func (u *Uplink) evidence() []probe.Evidence {
	if u.Series == 0 || u.Evidence.Series != u.Series || len(u.Evidence.Targets) != len(u.Config.Probe.Targets) {
		return nil
	}
	return u.Evidence.Targets
}

// about returns the evidence on one target, and whether this uplink has any.
func (u *Uplink) about(target configs.Target) (probe.Evidence, bool) {
	for n, e := range u.evidence() {
		if u.Config.Probe.Targets[n] == target {
			return e, true
		}
	}
	return probe.Evidence{}, false
}

// against says what speaks against a target.
func against(target configs.Target, e probe.Evidence) string {
	what := target.String()
	if e.Verdict != probe.Down {
		return ""
	}
	text := fmt.Sprintf("%s: %s", what, e.Reason)
	if target.Kind == configs.TargetGateway && e.Reason == probe.NoAnswer {
		text = "the gateway does not answer"
	}
	if e.Err != "" {
		text += " (" + e.Err + ")"
	}
	return text
}

// hurry returns a bit for each target of the i-th uplink that another uplink has
// doubts about, so that both come to know at the same time whose fault it is; or
// all, when connections over this uplink get no answer.
func (s *State) hurry(i int) uint64 {
	u := &s.Uplinks[i]
	var bits uint64
	for n, target := range u.Config.Probe.Targets {
		if u.Stalled {
			bits |= 1 << n
		}
		if target.Kind == configs.TargetGateway {
			continue
		}
		for j := range s.Uplinks {
			if e, ok := s.Uplinks[j].about(target); ok && i != j && e.Suspect {
				bits |= 1 << n
			}
		}
	}
	return bits
}

// void returns a bit for each target of the i-th uplink that answers nowhere.
func (s *State) void(i int) uint64 {
	var bits uint64
	for n, e := range s.Uplinks[i].evidence() {
		target := s.Uplinks[i].Config.Probe.Targets[n]
		if e.Verdict == probe.Down && target.Kind != configs.TargetGateway {
			if _, void := s.blame(i, target); void {
				bits |= 1 << n
			}
		}
	}
	return bits
}

// decisive returns the evidence that a change of phase came from: of the target
// that fell last, or the first.
func (u *Uplink) decisive() probe.Evidence {
	var best probe.Evidence
	for n, e := range u.evidence() {
		if n == 0 || e.Verdict == probe.Down && e.FirstMiss.After(best.FirstMiss) {
			best = e
		}
	}
	return best
}
