package nlmsg_test

import (
	"bytes"
	"testing"

	"uplinkd/internal/nlmsg"
)

func TestMessages(t *testing.T) {
	b := nlmsg.Append(nil, 16, 5, 1, []byte("odd"))
	b = nlmsg.Append(b, 17, 0, 2, nil)
	m, rest, ok := nlmsg.Next(b)
	if !ok || m.Type != 16 || m.Flags != 5 || string(m.Body) != "odd" {
		t.Errorf("first message %+v, %v", m, ok)
	}
	m, rest, ok = nlmsg.Next(rest)
	if !ok || m.Type != 17 || len(m.Body) != 0 || len(rest) != 0 {
		t.Errorf("second message %+v, %v, and %d bytes are left", m, ok, len(rest))
	}
	if _, _, ok = nlmsg.Next(rest); ok {
		t.Error("a third message of two")
	}
}

func TestAttributes(t *testing.T) {
	b := nlmsg.AppendAttr(nil, 3, []byte("odd"))
	b = nlmsg.AppendAttr(b, 0x8000|4, []byte{1, 2, 3, 4}) // nested
	if got := nlmsg.Attr(b, 3); string(got) != "odd" {
		t.Errorf("attribute 3 is %q", got)
	}
	if got := nlmsg.Attr(b, 4); !bytes.Equal(got, []byte{1, 2, 3, 4}) {
		t.Errorf("attribute 4 is %v", got)
	}
	if got := nlmsg.Attr(b, 5); got != nil {
		t.Errorf("attribute 5 is %v, and was never there", got)
	}
}

// Bytes of whatever kind end the search; they never lead out of the buffer.
func FuzzFrames(f *testing.F) {
	f.Add(nlmsg.Append(nil, 16, 5, 1, nlmsg.AppendAttr(nil, 3, []byte("odd"))))
	f.Add([]byte{255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		left := len(b)
		for m, rest, ok := nlmsg.Next(b); ok; m, rest, ok = nlmsg.Next(rest) {
			if len(rest) >= left {
				t.Fatalf("%d bytes left after %d: no end", len(rest), left)
			}
			left = len(rest)
			nlmsg.Attr(m.Body, 3)
		}
		nlmsg.Attr(b, 3)
	})
}
