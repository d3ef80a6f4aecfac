package nlmsg

import (
	"context"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTake(t *testing.T) {
	refused := native.AppendUint32(nil, ^uint32(unix.ENOENT)+1)
	tests := []struct {
		name     string
		b        []byte
		seen     int
		complete bool
		err      error
	}{
		{"more is to come", Append(Append(nil, 24, 0, 1, nil), 24, 0, 1, nil), 2, false, nil},
		{"the end", Append(Append(nil, 24, 0, 1, nil), unix.NLMSG_DONE, 0, 1, make([]byte, 4)), 1, true, nil},
		{"refused", Append(nil, unix.NLMSG_ERROR, 0, 1, refused), 0, true, unix.ENOENT},
		{"interrupted", Append(nil, 24, unix.NLM_F_DUMP_INTR, 1, nil), 0, false, ErrInterrupted},
		{
			"interrupted, to its end", Append(Append(nil, 24, unix.NLM_F_DUMP_INTR, 1, nil), unix.NLMSG_DONE, 0, 1, make([]byte, 4)),
			0, true, ErrInterrupted,
		},
		{"nothing", nil, 0, false, nil},
	}
	for _, test := range tests {
		seen := 0
		a := answer{sequence: 1, each: func(Message) bool { seen++; return true }, wanted: true}
		a.take(test.b)
		if a.complete != test.complete || !errors.Is(a.err, test.err) || seen != test.seen {
			t.Errorf("%s: complete %v, error %v, %d messages", test.name, a.complete, a.err, seen)
		}
	}
}

// Links are there in every namespace, and need no rights to be listed.
func TestAsk(t *testing.T) {
	request := Request{
		Protocol: unix.NETLINK_ROUTE, Type: unix.RTM_GETLINK, Flags: unix.NLM_F_DUMP, Body: make([]byte, unix.SizeofIfInfomsg),
	}
	links := 0
	err := Ask(t.Context(), request, func(m Message) bool {
		if m.Type == unix.RTM_NEWLINK {
			links++
		}
		return true
	})
	if err != nil || links == 0 {
		t.Errorf("%d links, error %v", links, err)
	}
	request.Type = 9999
	if err := Ask(t.Context(), request, func(Message) bool { return true }); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("a request that there is not: error %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Ask(ended, request, func(Message) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("when the context has ended: error %v", err)
	}
}

// One socket serves for all that is asked, whoever stops listening in the middle or is
// refused; and no answer is taken for that to another question.
func TestConnAsksAgain(t *testing.T) {
	c, err := Dial(unix.NETLINK_ROUTE, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	socket := c.file
	links := Request{Type: unix.RTM_GETLINK, Flags: unix.NLM_F_DUMP, Body: make([]byte, unix.SizeofIfInfomsg)}
	addresses := Request{Type: unix.RTM_GETADDR, Flags: unix.NLM_F_DUMP, Body: make([]byte, unix.SizeofIfAddrmsg)}
	unknown := Request{Type: 9999}
	one := Request{Type: unix.RTM_GETLINK, Body: append([]byte{0, 0, 0, 0, 1, 0, 0, 0}, make([]byte, 8)...)}
	for n := range 100 {
		for _, r := range []Request{links, addresses, unknown, one} {
			seen := 0
			err := c.Ask(t.Context(), r, func(m Message) bool {
				seen++
				if want := map[uint16]uint16{unix.RTM_GETLINK: unix.RTM_NEWLINK, unix.RTM_GETADDR: unix.RTM_NEWADDR}[r.Type]; m.Type != want {
					t.Errorf("asked %d, and was answered %d", r.Type, m.Type)
				}
				return n%2 == 0 && r.Flags != 0
			})
			if refused := r.Type == unknown.Type; refused != (err != nil) || !refused && r.Type != unix.RTM_GETADDR && seen == 0 {
				t.Fatalf("asked %d: %d messages, error %v", r.Type, seen, err)
			}
		}
	}
	if c.file != socket {
		t.Error("another socket was opened")
	}
	// An answer that was left half read, and no descriptor for another socket.
	c.rest = 1
	if err := c.Ask(t.Context(), links, func(Message) bool { return false }); err != nil || !c.halfRead {
		t.Fatalf("left half read: %v, %v", c.halfRead, err)
	}
	c.rest = restMost
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = c.Ask(t.Context(), addresses, func(m Message) bool {
		if m.Type != unix.RTM_NEWADDR {
			t.Errorf("asked for addresses, and was answered %d", m.Type)
		}
		seen++
		return true
	})
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err != nil || seen == 0 {
		t.Errorf("without a descriptor: %d addresses, %v", seen, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Ask(ended, links, func(Message) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("when the context has ended: error %v", err)
	}
	if err := c.Ask(t.Context(), links, func(Message) bool { return true }); err != nil {
		t.Errorf("after a question whose context had ended: %v", err)
	}
}

func FuzzTake(f *testing.F) {
	f.Add(Append(nil, unix.NLMSG_ERROR, 0, 1, []byte{1}))
	f.Fuzz(func(_ *testing.T, b []byte) {
		(&answer{sequence: 1, each: func(Message) bool { return true }, wanted: true}).take(b)
	})
}
