package kernel

import (
	"bytes"
	"sync"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
)

// bystanders are the links that no Read looks at. A host may have thousands, of which something is told all the
// time: of these only that matters which changes what others have by them.
type bystanders struct {
	mu   sync.Mutex // guards what follows
	read map[string]bool
	told map[int]linkTold // by index
}

// A linkTold is what of a bystander is of interest, as the last event told: with its name routes and addresses are
// named, with the link down they vanish, and a link beneath it is in use.
type linkTold struct {
	name           string
	up             bool
	parent, master uint32 // index; 0: none
}

// bystandersMost bounds what is remembered. Beyond it everything matters, until there is room again.
const bystandersMost = 1 << 16

func newBystanders() *bystanders { return &bystanders{told: map[int]linkTold{}} }

// reads says which links are read from now on. Those that were before still count as read: another may read less.
func (b *bystanders) reads(names []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.read == nil || len(b.read) > bystandersMost {
		b.read = make(map[string]bool, len(names))
	}
	for _, name := range names {
		b.read[name] = true
	}
}

// lost says that events were lost: the next one of each link counts.
func (b *bystanders) lost() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.told)
}

// event reports whether an event of a link may change what is read.
func (b *bystanders) event(m nlmsg.Message) bool {
	if len(m.Body) < unix.SizeofIfInfomsg {
		return true
	}
	attributes := m.Body[unix.SizeofIfInfomsg:]
	name := string(bytes.TrimRight(nlmsg.Attr(attributes, unix.IFLA_IFNAME), "\x00"))
	b.mu.Lock()
	defer b.mu.Unlock()
	index := int(int32(native.Uint32(m.Body[4:])))
	ours := b.read == nil || name == "" || b.read[name]
	if m.Body[0] != unix.AF_UNSPEC {
		return ours // a bridge tells of its ports in a family of its own, and of the links themselves besides
	}
	if ours || m.Type == unix.RTM_DELLINK {
		delete(b.told, index) // if it gets another name, that counts
		return true
	}
	now := linkTold{
		name: name, up: native.Uint32(m.Body[8:])&unix.IFF_UP != 0,
		parent: indexIn(nlmsg.Attr(attributes, unix.IFLA_LINK)),
		master: indexIn(nlmsg.Attr(attributes, unix.IFLA_MASTER)),
	}
	if was, ok := b.told[index]; ok && was == now {
		return false
	}
	if len(b.told) < bystandersMost {
		b.told[index] = now
	}
	return true
}

// indexIn reads an attribute that is the index of a link, 0 where there is none.
func indexIn(attribute []byte) uint32 {
	if len(attribute) < 4 {
		return 0
	}
	return native.Uint32(attribute)
}
