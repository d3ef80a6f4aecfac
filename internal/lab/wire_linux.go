package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A slowWire joins two TAP interfaces, and carries each frame after a delay: what
// a kernel without netem cannot do by itself.
type slowWire struct {
	near, far *os.File
	done      sync.WaitGroup
	delay     atomic.Int64 // nanoseconds, one way
	jitter    atomic.Int64 // nanoseconds, up to so much more
	until     atomic.Int64 // Unix nanoseconds: nothing is delivered before
	pings     atomic.Int64 // of the host's pings so many are lost, the next ones
	course    atomic.Pointer[func() (rtt time.Duration, ok bool)]
}

// A Course is how a link goes: what becomes of a packet that is sent so long after it
// began, by its round trip, or false where it is lost.
type Course func(at time.Duration) (rtt time.Duration, ok bool)

// frameMost is the longest frame, and queueMost how many are on the wire.
const (
	frameMost = 2048
	queueMost = 4096
)

// wireSlowly joins name here with peerName in the namespace other, both up.
func (n *Namespace) wireSlowly(name string, other *Namespace, peerName string) (*slowWire, error) {
	near, err := n.tap(name)
	if err != nil {
		return nil, err
	}
	far, err := other.tap(peerName)
	if err != nil {
		return nil, errors.Join(err, near.Close())
	}
	w := &slowWire{near: near, far: far}
	w.done.Go(func() { w.carry(near, far) })
	w.done.Go(func() { w.carry(far, near) })
	return w, errors.Join(n.SetLink(name, true), other.SetLink(peerName, true))
}

// tap makes a TAP interface, which lives as long as the file is open.
func (n *Namespace) tap(name string) (*os.File, error) {
	var f *os.File
	err := n.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		request, err := unix.NewIfreq(name)
		if err == nil {
			request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		if err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		f = os.NewFile(uintptr(fd), name)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("make the TAP interface %s: %w", name, err)
	}
	return f, nil
}

type onTheWay struct {
	due   time.Time
	frame []byte
}

// carry takes frames from one end to the other, in order, until one is closed.
func (w *slowWire) carry(from, to *os.File) {
	way := make(chan onTheWay, queueMost)
	var writer sync.WaitGroup
	writer.Go(func() {
		for f := range way {
			if wait := time.Until(f.due); wait > 0 {
				time.Sleep(wait)
			}
			_, _ = to.Write(f.frame) // the other end may be down
		}
	})
	buffer := make([]byte, frameMost)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			break
		}
		if from == w.near && isPing(buffer[:n]) && w.pings.Add(-1) >= 0 {
			continue
		}
		due, ok := w.due()
		if !ok {
			continue
		}
		select {
		case way <- onTheWay{due, append([]byte(nil), buffer[:n]...)}:
		default: // as a full queue does
		}
	}
	close(way)
	writer.Wait()
}

// isPing reports whether a frame is an ICMP echo request over IPv4.
func isPing(b []byte) bool {
	return len(b) > 34 && b[12] == 8 && b[13] == 0 && b[14] == 0x45 && b[23] == unix.IPPROTO_ICMP && b[34] == 8
}

// due returns when a frame that is sent now arrives, and whether it does.
func (w *slowWire) due() (time.Time, bool) {
	if course := w.course.Load(); course != nil {
		rtt, ok := (*course)()
		return time.Now().Add(rtt / 2), ok
	}
	due := time.Now().Add(time.Duration(w.delay.Load()))
	if jitter := w.jitter.Load(); jitter > 0 {
		due = due.Add(time.Duration(rand.Int64N(jitter)))
	}
	if until := time.Unix(0, w.until.Load()); until.After(due) {
		return until, true
	}
	return due, true
}

// carrier takes the near end's carrier away or gives it back.
func (w *slowWire) carrier(on bool) error {
	value := 0
	if on {
		value = 1
	}
	raw, err := w.near.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.IoctlSetPointerInt(int(fd), unix.TUNSETCARRIER, value) })
	return errors.Join(err, set)
}

func (w *slowWire) close() {
	_ = w.near.Close()
	_ = w.far.Close()
	w.done.Wait()
}

// errNotSlow is what an ISP on a plain wire says to a delay.
var errNotSlow = errors.New("lab: only a slow world has delays")

// Delay makes the wire to the ISP take that long, each way, and at random up to
// jitter longer.
func (isp *ISP) Delay(delay, jitter time.Duration) error {
	if isp.wire == nil {
		return errNotSlow
	}
	isp.wire.delay.Store(int64(delay))
	isp.wire.jitter.Store(int64(jitter))
	return nil
}

// Follow makes the wire go as a course says from now on, half of each round trip each way
// and in order; nil: as before.
func (isp *ISP) Follow(course Course) error {
	if isp.wire == nil {
		return errNotSlow
	}
	if course == nil {
		isp.wire.course.Store(nil)
		return nil
	}
	began := time.Now()
	now := func() (time.Duration, bool) { return course(time.Since(began)) }
	isp.wire.course.Store(&now)
	return nil
}

// Stall delivers nothing, both ways, for a time, and then all of it.
func (isp *ISP) Stall(d time.Duration) error {
	if isp.wire == nil {
		return errNotSlow
	}
	isp.wire.until.Store(time.Now().Add(d).UnixNano())
	return nil
}

// LosePings loses the next n pings of the host, and nothing else.
func (isp *ISP) LosePings(n int) error {
	if isp.wire == nil {
		return errNotSlow
	}
	isp.wire.pings.Store(int64(n))
	return nil
}
