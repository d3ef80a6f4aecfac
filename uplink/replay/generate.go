package replay

import (
	"math"
	"math/rand/v2"
	"time"
)

// A Kind of link that Generate makes. The figures are fitted to recordings of real links
// (docs/tuning.md says of which): how round trips lie, and how often silences come and how
// long they last.
type Kind struct {
	Name     string
	Median   time.Duration // of round trips
	Spread   float64       // standard deviation of their logarithm
	Silences float64       // of more than silenceLeast, an hour
	Tail     float64       // exponent of their lengths (Pareto): the larger, the fewer are long
	Longest  time.Duration
	Lost     float64 // of what is sent in a silence, so much never comes; the rest comes at its end
}

// silenceLeast is the shortest silence that is made.
const silenceLeast = 300 * time.Millisecond

// The kinds. A steady link has no silences.
var (
	Steady = Kind{Name: "steady", Median: 10 * time.Millisecond, Spread: 0.02}
	LTE    = Kind{
		Name: "LTE, driving", Median: 57 * time.Millisecond, Spread: 0.35,
		Silences: 180, Tail: 1.7, Longest: 7 * time.Second, Lost: 0.2,
	}
	Starlink = Kind{
		Name: "Starlink, driving", Median: 44 * time.Millisecond, Spread: 0.25,
		Silences: 250, Tail: 2.6, Longest: 6 * time.Second, Lost: 0.9,
	}
)

// generatedEvery is the pace of the pings in a generated trace.
const generatedEvery = 20 * time.Millisecond

// Generate makes a trace of a kind, of a length, the same for the same seed.
func Generate(k Kind, length time.Duration, seed uint64) Trace {
	random := rand.New(rand.NewPCG(seed, 7))
	next := func() time.Duration { // until the next silence
		if k.Silences == 0 {
			return math.MaxInt64
		}
		return time.Duration(random.ExpFloat64() / k.Silences * float64(time.Hour))
	}
	var s Session
	from := next()
	until := from
	if k.Silences > 0 {
		until = from + k.silence(random)
	}
	mood := 0.0 // round trips of now are like those of just before
	for at := time.Duration(0); at < length; at += generatedEvery {
		mood = 0.9*mood + math.Sqrt(1-0.81)*random.NormFloat64()
		rtt := time.Duration(float64(k.Median) * math.Exp(k.Spread*mood))
		x := Sample{At: at, RTT: rtt}
		if at+rtt >= from && at < until {
			x.Lost = random.Float64() < k.Lost
			x.RTT = max(rtt, until-at+rtt/2)
		}
		if at >= until {
			from = at + next()
			until = from + k.silence(random)
		}
		s = append(s, x)
	}
	return Trace{Name: k.Name, Sessions: []Session{s}}
}

func (k Kind) silence(random *rand.Rand) time.Duration {
	if k.Silences == 0 {
		return 0
	}
	length := time.Duration(float64(silenceLeast) * math.Pow(1-random.Float64(), -1/k.Tail))
	return min(length, k.Longest)
}
