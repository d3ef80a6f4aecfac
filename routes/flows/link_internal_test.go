package flows

import (
	"testing"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
)

// Whatever an answer about an interface may hold.
func FuzzLinkAnswer(f *testing.F) {
	f.Add(uint16(unix.RTM_NEWLINK), make([]byte, unix.SizeofIfInfomsg))
	f.Add(uint16(unix.NLMSG_ERROR), []byte{0xed, 0xff, 0xff, 0xff})
	f.Add(uint16(unix.RTM_NEWLINK), append(make([]byte, unix.SizeofIfInfomsg), 20, 0, 23, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8))
	f.Fuzz(func(t *testing.T, kind uint16, body []byte) {
		if link, err := parseLink(nlmsg.Message{Type: kind, Body: body}); err != nil && link != (Link{}) {
			t.Errorf("%+v beside %v", link, err)
		}
	})
}
