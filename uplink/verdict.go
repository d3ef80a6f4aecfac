package uplink

import (
	"fmt"
	"net/netip"
	"strings"

	"uplinkd/configs"
	"uplinkd/probe"
)

// A vote is what one target says of a path.
type vote struct {
	gateway bool // the path's own next hop, which nobody else can ask
	verdict probe.Verdict
	late    bool   // it is up, and answers late
	void    bool   // the target answers nowhere: that says nothing of the path
	reason  string // what speaks against it
}

// An outcome is what the votes of all targets of a path come to.
type outcome struct {
	verdict probe.Verdict // Unknown: the last one stands
	reason  string
	doubt   string // why there is doubt, though the verdict is up; "": there is none
}

// countDoubt counts the votes once more, late answers as none: what would be down by that
// is doubtful.
func countDoubt(votes []vote, quorum int) string {
	late := false
	for i := range votes {
		if v := &votes[i]; v.late && !v.void {
			late = true
			v.verdict = probe.Down
		}
	}
	if !late {
		return ""
	}
	if o := count(votes, quorum); o.verdict == probe.Down {
		return o.reason
	}
	return ""
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
// turns from down to unknown or up never makes a path go from up to down.
func count(votes []vote, quorum int) outcome {
	t := tallyOf(votes)
	quorum = min(quorum, t.voters)
	switch {
	case t.voters == 0:
		return outcome{reason: "none of its targets answers anywhere: the last verdict stands"}
	case t.gatewayUp && t.far > 0 && t.farDown == t.far:
		const gone = "the gateway answers, the Internet behind it does not: "
		return outcome{verdict: probe.Down, reason: gone + strings.Join(t.against, "; ")}
	case t.up >= quorum:
		return outcome{verdict: probe.Up, reason: "probes are answered"}
	case t.up+t.unknown < quorum:
		return outcome{verdict: probe.Down, reason: strings.Join(t.against, "; ")}
	}
	return outcome{}
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
			t.against = append(t.against, v.reason)
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

// poll asks the targets of a path.
func (u *Uplink) poll(p *Path, shared opinions) outcome {
	evidence := u.Evidence(p)
	if len(evidence) == 0 {
		return outcome{}
	}
	var few [8]vote
	votes := few[:0]
	for n := range evidence {
		e, target := &evidence[n], &u.In(p.Family).Probe.Targets[n]
		v := vote{gateway: target.Kind == configs.TargetGateway, verdict: e.Verdict, reason: against(target, e)}
		switch {
		case shared.local[target.IP]:
			v.void = true // this host answers itself: that says nothing of any uplink
		case e.Verdict == probe.Down && !v.gateway:
			v.verdict, v.void = shared.blame(p.Family, target, e)
		case e.Doubtful:
			v.late, v.reason = v.gateway || shared.lateHereAlone(p.Family, target, e), late(target)
		}
		votes = append(votes, v)
	}
	o := count(votes, u.In(p.Family).Probe.Quorum)
	if o.verdict != probe.Down {
		o.doubt = countDoubt(votes, u.In(p.Family).Probe.Quorum)
	}
	return o
}

// late says what makes doubt.
func late(target *configs.Target) string {
	if target.Kind == configs.TargetGateway {
		return "the gateway answers late"
	}
	return fmt.Sprintf("%s answers late", target)
}

// An opinion is how many paths say what of a target.
type opinion struct {
	asked   int // they probe it, and know something of it
	up      int // beyond doubt
	unclear int // neither that nor down
	suspect int // the verdict may be about to change
}

func (o *opinion) add(e *probe.Evidence, n int) {
	o.asked += n
	switch {
	case e.Verdict == probe.Up && !e.Suspect:
		o.up += n
	case e.Verdict != probe.Down:
		o.unclear += n
	}
	if e.Suspect {
		o.suspect += n
	}
}

// opinions are what all paths say of each target beyond their gateways.
type opinions struct {
	of    map[opinionKey]opinion
	local map[netip.Addr]bool // the addresses of this host
}

type opinionKey struct {
	family Family
	target configs.Target
}

// opinions asks all paths once, so that each can be told what the others say.
func (s *State) opinions() opinions {
	all := opinions{local: s.localAddresses()}
	for u, p := range s.paths() {
		evidence := u.Evidence(p)
		for n := range evidence {
			target := u.In(p.Family).Probe.Targets[n]
			if target.Kind == configs.TargetGateway {
				continue
			}
			if all.of == nil {
				all.of = map[opinionKey]opinion{}
			}
			key := opinionKey{p.Family, target}
			o := all.of[key]
			o.add(&evidence[n], 1)
			all.of[key] = o
		}
	}
	return all
}

// others returns what the other paths say of a target.
func (o opinions) others(f Family, target *configs.Target, own *probe.Evidence) opinion {
	said := o.of[opinionKey{f, *target}]
	if own != nil {
		said.add(own, -1)
	}
	return said
}

// blame says whose fault it is that a target is down on a path: the path's, if the
// target is up on another one beyond doubt; nobody can say yet, while there is
// doubt; the target's own, if it is down on every other path that probes it too.
func (o opinions) blame(f Family, target *configs.Target, own *probe.Evidence) (verdict probe.Verdict, void bool) {
	others := o.others(f, target, own)
	switch {
	case others.up > 0 && own.Suspect:
		return probe.Unknown, false // it is about to come back here too, as it does there
	case others.up > 0:
		return probe.Down, false
	case others.unclear > 0:
		return probe.Unknown, false
	}
	return probe.Down, others.asked > 0
}

// lateHereAlone reports whether a far target that answers late on a path does so for that
// path's sake: it is up beyond doubt on another one, or no other one probes it.
func (o opinions) lateHereAlone(f Family, target *configs.Target, own *probe.Evidence) bool {
	others := o.others(f, target, own)
	return others.up > 0 || others.asked == 0
}

// Evidence returns what the probes of the present series say, nil when they say
// nothing yet.
func (u *Uplink) Evidence(p *Path) []probe.Evidence {
	targets := len(u.In(p.Family).Probe.Targets)
	if p.Series == 0 || p.ProbeReport.Series != p.Series || len(p.ProbeReport.Targets) != targets {
		return nil
	}
	return p.ProbeReport.Targets
}

// against says what speaks against a target.
func against(target *configs.Target, e *probe.Evidence) string {
	if e.Verdict != probe.Down {
		return ""
	}
	text := fmt.Sprintf("%s: %s", target, e.Reason)
	if target.Kind == configs.TargetGateway && e.Reason == probe.NoAnswer {
		text = "the gateway does not answer"
	}
	if e.Err != "" {
		text += " (" + e.Err + ")"
	}
	return text
}

// hurry returns a bit for each target of a path that another path suspects, so that
// both come to know at the same time whose fault it is; or all, when connections
// over the uplink get no answer.
func (u *Uplink) hurry(p *Path, shared opinions) uint64 {
	if u.Load.Stalled {
		return 1<<len(u.In(p.Family).Probe.Targets) - 1
	}
	var bits uint64
	evidence := u.Evidence(p)
	for n := range u.In(p.Family).Probe.Targets {
		target := &u.In(p.Family).Probe.Targets[n]
		if target.Kind == configs.TargetGateway || len(shared.of) == 0 {
			continue
		}
		var own *probe.Evidence
		if evidence != nil {
			own = &evidence[n]
		}
		if shared.others(p.Family, target, own).suspect > 0 {
			bits |= 1 << n
		}
	}
	return bits
}

// void returns a bit for each target of a path that answers nowhere.
func (u *Uplink) void(p *Path, shared opinions) uint64 {
	var bits uint64
	evidence := u.Evidence(p)
	for n := range evidence {
		target := &u.In(p.Family).Probe.Targets[n]
		if evidence[n].Verdict == probe.Down && target.Kind != configs.TargetGateway {
			if _, void := shared.blame(p.Family, target, &evidence[n]); void {
				bits |= 1 << n
			}
		}
	}
	return bits
}

// decisive returns the evidence that a change of state came from: of the target
// that fell last, or the first.
func (u *Uplink) decisive(p *Path) probe.Evidence {
	var best probe.Evidence
	for n, e := range u.Evidence(p) {
		speaks := e.Verdict == probe.Down || e.Doubtful
		if n == 0 || speaks && e.FirstMiss.After(best.FirstMiss) {
			best = e
		}
	}
	return best
}
