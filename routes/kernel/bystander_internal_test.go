package kernel

import (
	"testing"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
)

// linkMessage is an event of a link.
func linkMessage(kind uint16, family byte, index, flags uint32, name string, parent uint32) nlmsg.Message {
	body := make([]byte, unix.SizeofIfInfomsg)
	body[0] = family
	native.PutUint32(body[4:], index)
	native.PutUint32(body[8:], flags)
	body = nlmsg.AppendAttr(body, unix.IFLA_IFNAME, append([]byte(name), 0))
	if parent != 0 {
		body = nlmsg.AppendAttr(body, unix.IFLA_LINK, native.AppendUint32(nil, parent))
	}
	return nlmsg.Message{Type: kind, Body: body}
}

// Of a link that is read every event counts; of others the first, and what changes what they are to us. From 100 link
// events a second, for which the kernel was read 50 times a second.
func TestBystanders(t *testing.T) {
	const up, running = unix.IFF_UP, unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP
	b := newBystanders()
	told := func(what string, m nlmsg.Message, want bool) {
		t.Helper()
		if got := b.event(m); got != want {
			t.Errorf("%s: matters %v, want %v", what, got, want)
		}
	}
	of := func(index, flags uint32, name string, parent uint32) nlmsg.Message {
		return linkMessage(unix.RTM_NEWLINK, unix.AF_UNSPEC, index, flags, name, parent)
	}
	told("before anything is read", of(2, running, "eth1", 0), true)
	told("again", of(2, running, "eth1", 0), true)
	b.reads([]string{"eth1", "lan0"})
	told("of ours", of(2, running, "eth1", 0), true)
	told("of ours, again", of(2, running, "eth1", 0), true)
	told("of another, the first", of(9, up, "veth0", 0), true)
	told("its carrier", of(9, running, "veth0", 0), false)
	told("the same", of(9, running, "veth0", 0), false)
	told("its port of a bridge", linkMessage(unix.RTM_NEWLINK, unix.AF_BRIDGE, 9, running, "veth0", 0), false)
	told("our port of a bridge", linkMessage(unix.RTM_NEWLINK, unix.AF_BRIDGE, 2, running, "eth1", 0), true)
	told("down", of(9, 0, "veth0", 0), true)
	told("up", of(9, up, "veth0", 0), true)
	told("on ours", of(9, up, "veth0", 2), true)
	told("renamed to ours", of(9, up, "lan0", 2), true)
	told("renamed from ours", of(9, up, "veth0", 2), true)
	told("renamed", of(9, up, "veth1", 2), true)
	told("again", of(9, up, "veth1", 2), false)
	told("gone", linkMessage(unix.RTM_DELLINK, unix.AF_UNSPEC, 9, up, "veth1", 2), true)
	told("come again", of(9, up, "veth1", 2), true)
	b.lost()
	told("after events were lost", of(9, up, "veth1", 2), true)
	b.reads([]string{"eth7"})
	told("of one that another has read", of(2, running, "eth1", 0), true)
	told("without a name", of(9, up, "", 2), true)
	told("cut short", nlmsg.Message{Type: unix.RTM_NEWLINK, Body: []byte{0}}, true)
}
