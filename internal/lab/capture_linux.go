package lab

import (
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// A Frame is one Ethernet frame as it was seen on a wire.
type Frame struct {
	At   time.Time
	Data []byte
}

// A Capture notes the frames that come in by an interface.
type Capture struct {
	conn   *packet.Conn
	done   sync.WaitGroup
	mu     sync.Mutex // guards frames
	frames []Frame
}

// Capture begins to note the frames, of those that want keeps, which come in by
// an interface of the namespace. Close ends it.
func (n *Namespace) Capture(name string, want func(frame []byte) bool) (*Capture, error) {
	index, err := n.Index(name)
	if err != nil {
		return nil, err
	}
	c := &Capture{}
	err = n.Do(func() (err error) {
		c.conn, err = packet.Listen(&net.Interface{Index: index, Name: name}, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", name, err)
	}
	c.done.Go(func() {
		buffer := make([]byte, 2048)
		for {
			n, _, err := c.conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if want(buffer[:n]) {
				c.mu.Lock()
				c.frames = append(c.frames, Frame{time.Now(), append([]byte(nil), buffer[:n]...)})
				c.mu.Unlock()
			}
		}
	})
	return c, nil
}

// Take returns the frames noted since the last call.
func (c *Capture) Take() []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	frames := c.frames
	c.frames = nil
	return frames
}

// Close ends the capture.
func (c *Capture) Close() {
	_ = c.conn.Close()
	c.done.Wait()
}

// ToDHCPServer keeps what goes to UDP port 67 over IPv4.
func ToDHCPServer(frame []byte) bool {
	return len(frame) >= 42 && frame[12] == 8 && frame[13] == 0 && frame[23] == unix.IPPROTO_UDP &&
		frame[36] == 0 && frame[37] == 67
}

// OfARP keeps ARP.
func OfARP(frame []byte) bool { return len(frame) >= 42 && frame[12] == 8 && frame[13] == 6 }
