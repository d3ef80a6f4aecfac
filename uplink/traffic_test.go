package uplink_test

import (
	"testing"
	"time"

	"uplinkd/uplink"
)

// watch looks at counters that go as in and out say, packets a second, for a time, and
// returns when somebody was asked.
func watch(length time.Duration, answers bool, in, out func(at time.Duration) float64) (asked []time.Duration) {
	start := time.Unix(1_700_000_000, 0)
	var s uplink.Silence
	rx, tx := 0.0, 0.0
	every := uplink.TrafficIdle
	for at := time.Duration(0); at < length; at += every {
		rx, tx = rx+in(at)*every.Seconds(), tx+out(at)*every.Seconds()
		ask, busy := s.Look(uint64(rx), uint64(tx), start.Add(at), func(time.Time) bool { return !answers })
		if ask {
			asked = append(asked, at)
			if answers {
				rx++ // the probe's
			}
		}
		every = uplink.TrafficIdle
		if busy {
			every = uplink.TrafficEvery
		}
	}
	return asked
}

// Packets that go out while none comes in are noticed within a tenth of a second.
func TestSilenceIsNoticed(t *testing.T) {
	for phase := range 20 {
		dies := 10*time.Second + time.Duration(phase)*7*time.Millisecond
		asked := watch(12*time.Second, false, func(at time.Duration) float64 {
			if at < dies {
				return 1000
			}
			return 0
		}, func(time.Duration) float64 { return 1000 })
		if len(asked) != 1 || asked[0]-dies > 110*time.Millisecond || asked[0] < dies {
			t.Errorf("dead at %v, asked at %v; want once, within 110 ms", dies, asked)
		}
	}
}

// Who only sends is not asked about again and again: each answer makes the listener more
// patient. 20 Mbit/s of datagrams are 1,700 packets a second.
func TestOneWayUploadIsNoFlood(t *testing.T) {
	asked := watch(5*time.Minute, true, func(time.Duration) float64 { return 0 }, func(time.Duration) float64 { return 1700 })
	if len(asked) < 10 || len(asked) > 60 {
		t.Errorf("asked %d times in five minutes, want some, and at most a tenth of the 600 probes", len(asked))
	}
	idle := watch(5*time.Minute, true, func(time.Duration) float64 { return 0 }, func(time.Duration) float64 { return 0 })
	if len(idle) > 0 {
		t.Errorf("asked %d times where nothing is sent", len(idle))
	}
}

// What a host says at the start and wants no answer to (RFC 3810, RFC 4861) makes the
// listener patient for some seconds, and no longer.
func TestPatienceIsForgotten(t *testing.T) {
	const dies = 40 * time.Second
	asked := watch(41*time.Second, true, func(at time.Duration) float64 {
		if at < 3*time.Second && at%time.Second < 600*time.Millisecond || at >= dies {
			return 0
		}
		return 300
	}, func(time.Duration) float64 { return 300 })
	early := 0
	for early < len(asked) && asked[early] < dies {
		early++
	}
	if early < 2 {
		t.Fatalf("asked %d times at the start: the test proves nothing", early)
	}
	if late := asked[early:]; len(late) == 0 || late[0]-dies > 110*time.Millisecond {
		t.Errorf("dead at %v, asked at %v; want within 110 ms", dies, late)
	}
}

// The probes of two families over one interface are not traffic: they had its counters read twenty times a second.
func TestProbesOfTwoFamiliesAreNoTraffic(t *testing.T) {
	for paths, want := range map[int]bool{1: true, 2: false} {
		s := uplink.Silence{Paths: paths}
		now := time.Unix(1_800_000_000, 0)
		rx, tx := uint64(0), uint64(0)
		busy := false
		for range 100 {
			now = now.Add(uplink.TrafficIdle)
			rx, tx = rx+5, tx+5 // two probes of each, and who is asked for the gateway's address
			_, now := s.Look(rx, tx, now, func(time.Time) bool { return false })
			busy = busy || now
		}
		if busy != want {
			t.Errorf("probes of %d paths count as traffic: %v, want %v", paths, busy, want)
		}
	}
}
