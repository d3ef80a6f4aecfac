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
		name string
		b    []byte
		seen int
		done bool
		err  error
	}{
		{"more is to come", Append(Append(nil, 24, 0, 1, nil), 24, 0, 1, nil), 2, false, nil},
		{"the end", Append(Append(nil, 24, 0, 1, nil), unix.NLMSG_DONE, 0, 1, make([]byte, 4)), 1, true, nil},
		{"refused", Append(nil, unix.NLMSG_ERROR, 0, 1, refused), 0, true, unix.ENOENT},
		{"interrupted", Append(nil, 24, unix.NLM_F_DUMP_INTR, 1, nil), 0, true, ErrInterrupted},
		{"nothing", nil, 0, false, nil},
	}
	for _, test := range tests {
		seen := 0
		done, err := take(test.b, func(Message) bool { seen++; return true })
		if done != test.done || !errors.Is(err, test.err) || seen != test.seen {
			t.Errorf("%s: done %v, error %v, %d messages", test.name, done, err, seen)
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

func FuzzTake(f *testing.F) {
	f.Add(Append(nil, unix.NLMSG_ERROR, 0, 1, []byte{1}))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = take(b, func(Message) bool { return true })
	})
}
