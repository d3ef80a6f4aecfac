package kernel

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
	"uplinkd/internal/plain"
	"uplinkd/routes"
)

const (
	// recallFor is how long a change by somebody else explains that one of our objects
	// is not as it was: it is put back within milliseconds, or at the end of a pause.
	recallFor = 15 * time.Second

	// perhapsFor is how long a change of something else makes its program a suspect.
	perhapsFor = time.Second

	// lookupsMost is how many processes are asked for their name in a second. Who changes
	// more than that is among them.
	lookupsMost = 20
)

// A witness remembers who has changed routes, rules, addresses and nft tables lately, as
// far as netlink tells: an event bears the port of the socket that the change was asked
// for over (nlmsghdr(7), nlmsg_pid), which for the first socket of a process is its
// number. Other sockets have ports of their own, and changes of the kernel's own none.
type witness struct {
	name func(pid int) string // "": not known
	self string               // this process's own name

	mu      sync.Mutex // guards what follows
	latest  suspect
	seen    map[change]sighting
	second  time.Time // the present one
	lookups int       // made in it
}

// A change is what was changed: the object, as far as its event tells it from others.
type change struct {
	kind  routes.Kind
	table uint32 // of a route
	id    string // its destination, a rule's priority, an address
}

// A sighting is who made a change, and when.
type sighting struct {
	by string
	at time.Time
}

// A suspect is the process that has last changed anything that we hear of.
type suspect struct {
	pid int
	at  time.Time
}

func newWitness() *witness {
	return &witness{name: processName, self: processName(os.Getpid()), seen: map[change]sighting{}}
}

// note takes in an event of the kernel's.
func (w *witness) note(m nlmsg.Message, now time.Time) {
	if pid := int(m.Port); pid > 0 && pid <= pidMost && pid != os.Getpid() {
		w.mu.Lock()
		w.latest = suspect{pid, now}
		w.mu.Unlock()
	}
	c, pid, name, ok := readChange(m)
	// nft's events have the number of another PID namespace than ours, in a container; so
	// the name has to tell that it was ourselves.
	if !ok || pid == os.Getpid() || name != "" && name == w.self || pid <= 0 || pid > pidMost {
		return
	}
	if !w.mayNote(c, now) {
		return
	}
	by := fmt.Sprintf("pid %d", pid)
	if name == "" {
		name = w.name(pid) // a tenth of a millisecond; the wake-up waits for it, a tenth of a second at the most
	}
	if name != "" {
		by = fmt.Sprintf("%s (%s)", name, by)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[c] = sighting{by, now}
}

// mayNote reports whether there is room, and time, for one more.
func (w *witness) mayNote(c change, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Sub(w.second) >= time.Second {
		w.second, w.lookups = now, 0
		maps.DeleteFunc(w.seen, func(_ change, s sighting) bool { return now.Sub(s.at) > recallFor })
	}
	_, known := w.seen[c]
	if !known && len(w.seen) >= seenMost {
		return false
	}
	w.lookups++
	return w.lookups <= lookupsMost
}

const (
	pidMost  = 1 << 22 // PID_MAX_LIMIT (proc_sys_kernel(5))
	seenMost = 1000    // objects of which it is remembered who changed them
)

// readChange returns what an event is about, and whose it is: the name only where the event
// itself has it.
func readChange(m nlmsg.Message) (c change, pid int, name string, ok bool) {
	switch m.Type {
	case unix.RTM_DELROUTE, unix.RTM_NEWROUTE:
		// A new route is no matter, unless it takes another's place.
		if len(m.Body) < unix.SizeofRtMsg || m.Type == unix.RTM_NEWROUTE && m.Flags&unix.NLM_F_REPLACE == 0 {
			return c, 0, "", false
		}
		// Of a router's million routes none but default ones may be ours.
		if m.Body[1] != 0 {
			return c, 0, "", false
		}
		return change{routes.KindRoute, tableOf(m.Body), "default"}, int(m.Port), "", true
	case unix.RTM_DELRULE:
		priority := nlmsg.Attr(m.Body[min(unix.SizeofRtMsg, len(m.Body)):], fraPriority)
		if len(priority) != 4 {
			return c, 0, "", false
		}
		return change{routes.KindRule, 0, fmt.Sprintf("pref %d", native.Uint32(priority))}, int(m.Port), "", true
	case unix.RTM_DELADDR:
		local, ok := netip.AddrFromSlice(nlmsg.Attr(m.Body[min(unix.SizeofIfAddrmsg, len(m.Body)):], unix.IFA_LOCAL))
		if !ok {
			return c, 0, "", false
		}
		return change{routes.KindAddress, 0, netip.PrefixFrom(local, int(m.Body[1])).String()}, int(m.Port), "", true
	case nftGeneration:
		if len(m.Body) < genericHeader {
			return c, 0, "", false
		}
		attrs := m.Body[genericHeader:]
		b := nlmsg.Attr(attrs, nftaGenProcPID)
		if len(b) != 4 {
			return c, 0, "", false
		}
		name, _, _ = strings.Cut(string(nlmsg.Attr(attrs, nftaGenProcName)), "\x00")
		return change{kind: routes.KindTable}, int(binary.BigEndian.Uint32(b)), plain.Line(name, nameMost), true
	}
	return c, 0, "", false
}

// Of nftables (linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h): each transaction
// ends with a generation, which bears the process that asked for it.
const (
	nftGeneration   = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWGEN
	nftaGenProcPID  = 2
	nftaGenProcName = 3
	genericHeader   = 4 // struct nfgenmsg
)

// tableOf returns the table of a route.
func tableOf(body []byte) uint32 {
	if b := nlmsg.Attr(body[unix.SizeofRtMsg:], unix.RTA_TABLE); len(b) == 4 {
		return native.Uint32(b)
	}
	return uint32(body[4])
}

// whoChanged returns who changed an object of ours lately, "" when nobody knows. Where no event
// tells, or only the port of a socket that is not its process's first, it is perhaps who has just
// changed something else: a network manager that restarts changes much at once.
func (w *witness) whoChanged(key routes.Key, now time.Time) string {
	if by := w.whoWasSeen(key, now); by != "" {
		return by
	}
	w.mu.Lock()
	latest := w.latest
	w.mu.Unlock()
	if latest.pid == 0 || now.Sub(latest.at) > perhapsFor {
		return ""
	}
	name := w.name(latest.pid)
	if name == "" || name == w.self {
		return ""
	}
	return fmt.Sprintf("perhaps %s (pid %d), which changed something else %s before",
		name, latest.pid, now.Sub(latest.at).Round(time.Millisecond))
}

// whoWasSeen returns who was seen to change an object.
func (w *witness) whoWasSeen(key routes.Key, now time.Time) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := change{kind: key.Kind, table: key.Table}
	switch fields := strings.Fields(key.ID); {
	case len(fields) == 0 || key.Kind == routes.KindTable:
	case key.Kind == routes.KindRule && len(fields) > 1:
		c.id = fields[0] + " " + fields[1]
	default:
		c.id = fields[0]
	}
	s, ok := w.seen[c]
	if !ok || now.Sub(s.at) > recallFor {
		return ""
	}
	return s.by
}

// WhoChanged implements routes.Witness.
func (k *Kernel) WhoChanged(key routes.Key) string { return k.witness.whoChanged(key, time.Now()) }

// nameMost bounds the name of a process; the kernel's are shorter.
const nameMost = 32

// processName returns a process's name, "" when it has ended or nobody may know. /proc may
// hide the processes of other users from us; taskstats does not hide their names from who
// may change the network (kernel/taskstats.c).
func processName(pid int) string {
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil {
		return plain.Line(strings.TrimSpace(string(b)), nameMost)
	}
	return plain.Line(taskName(pid), nameMost)
}

// Of taskstats (linux/taskstats.h).
const (
	taskstatsGet      = 1
	taskstatsPID      = 1  // TASKSTATS_CMD_ATTR_PID
	taskstatsAggrPID  = 4  // TASKSTATS_TYPE_AGGR_PID
	taskstatsStats    = 3  // TASKSTATS_TYPE_STATS
	taskstatsComm     = 80 // offset of ac_comm
	taskstatsCommSize = 32
)

// taskName asks taskstats for the name of a process.
func taskName(pid int) string {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	family, err := genericFamily(ctx, nlmsg.Ask, "TASKSTATS")
	if err != nil {
		return ""
	}
	name := ""
	body := nlmsg.AppendAttr([]byte{taskstatsGet, 1, 0, 0}, taskstatsPID, native.AppendUint32(nil, uint32(pid)))
	_ = nlmsg.Ask(ctx, nlmsg.Request{Protocol: unix.NETLINK_GENERIC, Type: family, Body: body},
		func(m nlmsg.Message) bool {
			stats := nlmsg.Attr(nlmsg.Attr(m.Body[min(4, len(m.Body)):], taskstatsAggrPID), taskstatsStats)
			if len(stats) >= taskstatsComm+taskstatsCommSize {
				name, _, _ = strings.Cut(string(stats[taskstatsComm:taskstatsComm+taskstatsCommSize]), "\x00")
			}
			return false
		}) // who has ended has no name
	return name
}
