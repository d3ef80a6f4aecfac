package kernel

import (
	"context"
	"encoding/binary"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"uplinkd/internal/latest"
	"uplinkd/internal/nlmsg"
	"uplinkd/routes/firewall"
)

// keptSets remembers what is in the sets that others fill, so that a table that somebody has
// flushed is put back with them. What a DNS server adds it hears of; what packets add the kernel
// tells nobody, and it reads it every keptEvery: so much of that may be lost.
type keptSets struct {
	mu    sync.Mutex // guards what follows
	table string     // "": none yet
	sets  map[string]keptSet

	begin latest.Wake // there is a table
}

// A keptSet is the elements of a set, by their bytes, and when each ends.
type keptSet struct {
	stays time.Duration // how long an element stays that does not say so itself
	ends  map[string]time.Time
}

const (
	// keptEvery is how often the sets are read.
	keptEvery = 10 * time.Second

	// keptShare is what part of its time reading may take: of much it is done less often.
	keptShare = 200

	// keptMost bounds how many elements are remembered in all.
	keptMost = 4 * firewall.KeptMost
)

func newKeptSets() *keptSets { return &keptSets{sets: map[string]keptSet{}, begin: latest.NewWake()} }

// adopt remembers the sets of the table that a process before us has left, unless there is one of ours.
func (k *keptSets) adopt(conn *nftables.Conn, table string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.table != "" {
		return nil
	}
	sets, err := conn.GetSets(&nftables.Table{Family: nftables.TableFamilyINet, Name: table})
	if err != nil {
		return err
	}
	k.table = table
	for _, s := range sets {
		if s.Dynamic && s.HasTimeout {
			k.sets[s.Name] = keptSet{stays: s.Timeout, ends: map[string]time.Time{}}
		}
	}
	k.begin.Set()
	return nil
}

// keep remembers the sets of a table, and no others.
func (k *keptSets) keep(f firewall.Table) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.table = f.Name
	sets := map[string]keptSet{}
	for _, s := range f.KeptSets() {
		known, ok := k.sets[s.Name]
		if !ok {
			known = keptSet{stays: time.Duration(s.Seconds) * time.Second, ends: map[string]time.Time{}}
		}
		sets[s.Name] = known
	}
	k.sets = sets
}

// elements returns what a set is to hold again.
func (k *keptSets) elements(name string, now time.Time) []nftables.SetElement {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []nftables.SetElement
	for key, end := range k.sets[name].ends {
		if left := end.Sub(now); left > 0 {
			list = append(list, nftables.SetElement{Key: []byte(key), Timeout: left})
		}
	}
	return list
}

// run reads the sets again and again until ctx ends, and returns nil.
func (k *keptSets) run(ctx context.Context) error {
	every := keptEvery
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.begin: // what is there already
		case <-time.After(every):
		}
		start := time.Now()
		k.read(ctx)
		every = max(keptEvery, keptShare*time.Since(start))
	}
}

// read reads every set. One that is not there is about to be put back, with what is remembered.
func (k *keptSets) read(ctx context.Context) {
	k.mu.Lock()
	table, sets := k.table, maps.Clone(k.sets)
	k.mu.Unlock()
	if len(sets) == 0 {
		return
	}
	conn, err := nlmsg.Dial(unix.NETLINK_NETFILTER, false)
	if err != nil {
		return // the next time, perhaps
	}
	defer conn.Close() //nolint:errcheck // it has served
	for name, set := range sets {
		ends := map[string]time.Time{}
		now := time.Now()
		request := nlmsg.Request{
			Type: nftType(unix.NFT_MSG_GETSETELEM), Flags: unix.NLM_F_DUMP, Body: setBody(table, name),
		}
		err := conn.Ask(ctx, request, func(m nlmsg.Message) bool {
			eachElement(m.Body, func(key []byte, left time.Duration) {
				if left == 0 {
					left = set.stays
				}
				ends[string(key)] = now.Add(left)
			})
			return len(ends) <= firewall.KeptMost
		})
		if err == nil {
			k.put(name, ends)
		}
	}
}

// InSet reports whether a set of our nft table has an address. It blocks until the kernel has answered.
func InSet(ctx context.Context, table, set string, a netip.Addr) (bool, error) {
	key := nlmsg.AppendAttr(nil, unix.NLA_F_NESTED|unix.NFTA_SET_ELEM_KEY,
		nlmsg.AppendAttr(nil, unix.NFTA_DATA_VALUE, a.AsSlice()))
	body := nlmsg.AppendAttr(setBody(table, set), unix.NLA_F_NESTED|unix.NFTA_SET_ELEM_LIST_ELEMENTS,
		nlmsg.AppendAttr(nil, unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, key))
	request := nlmsg.Request{
		Protocol: unix.NETLINK_NETFILTER, Type: nftType(unix.NFT_MSG_GETSETELEM), Flags: unix.NLM_F_ACK, Body: body,
	}
	found := false
	err := nlmsg.Ask(ctx, request, func(m nlmsg.Message) bool {
		eachElement(m.Body, func([]byte, time.Duration) { found = true })
		return true
	})
	return found, ignore(err, unix.ENOENT)
}

// setBody begins a request about the elements of a set.
func setBody(table, set string) []byte {
	body := nlmsg.AppendAttr([]byte{unix.NFPROTO_INET, 0, 0, 0}, unix.NFTA_SET_ELEM_LIST_TABLE,
		append([]byte(table), 0))
	return nlmsg.AppendAttr(body, unix.NFTA_SET_ELEM_LIST_SET, append([]byte(set), 0))
}

// put remembers what a set holds, if there is room for it.
func (k *keptSets) put(name string, ends map[string]time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	set, ok := k.sets[name]
	if !ok || k.count()-len(set.ends)+len(ends) > keptMost {
		return
	}
	set.ends = ends
	k.sets[name] = set
}

func (k *keptSets) count() int {
	n := 0
	for _, s := range k.sets {
		n += len(s.ends)
	}
	return n
}

// note takes in an event: elements that somebody has added or deleted.
func (k *keptSets) note(m nlmsg.Message, now time.Time) {
	if len(m.Body) < sizeofNfgenmsg {
		return
	}
	attrs := m.Body[sizeofNfgenmsg:]
	k.mu.Lock()
	defer k.mu.Unlock()
	set, ok := k.sets[text(nlmsg.Attr(attrs, unix.NFTA_SET_ELEM_LIST_SET))]
	if !ok || text(nlmsg.Attr(attrs, unix.NFTA_SET_ELEM_LIST_TABLE)) != k.table || m.Body[0] != unix.NFPROTO_INET {
		return
	}
	room := keptMost - k.count()
	eachElement(m.Body, func(key []byte, left time.Duration) {
		if left == 0 {
			left = set.stays
		}
		if m.Type == nftType(unix.NFT_MSG_DELSETELEM) {
			delete(set.ends, string(key))
		} else if room--; room >= 0 {
			set.ends[string(key)] = now.Add(left)
		}
	})
}

// sizeofNfgenmsg is the size of the header of nftables' messages (linux/netfilter/nfnetlink.h).
const sizeofNfgenmsg = 4

func nftType(message uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | message }

// isElements reports whether an event is of elements of sets.
func isElements(m nlmsg.Message) bool {
	return m.Type == nftType(unix.NFT_MSG_NEWSETELEM) || m.Type == nftType(unix.NFT_MSG_DELSETELEM)
}

// text is a string of netlink's, without the zero at its end.
func text(b []byte) string {
	if n := len(b); n > 0 {
		return string(b[:n-1])
	}
	return ""
}

// eachElement calls each with the key of every element in a message's body, and how long it stays
// (0: it does not say).
func eachElement(body []byte, each func(key []byte, left time.Duration)) {
	if len(body) < sizeofNfgenmsg {
		return
	}
	list := nlmsg.Attr(body[sizeofNfgenmsg:], unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	for e := range nlmsg.Attrs(list) {
		key := nlmsg.Attr(nlmsg.Attr(e, unix.NFTA_SET_ELEM_KEY), unix.NFTA_DATA_VALUE)
		if len(key) == 0 {
			continue
		}
		var left time.Duration
		if b := nlmsg.Attr(e, unix.NFTA_SET_ELEM_EXPIRATION); len(b) == 8 {
			left = time.Duration(min(binary.BigEndian.Uint64(b), uint64(firewall.NameSeconds)*1000)) * time.Millisecond
		}
		each(key, left)
	}
}
