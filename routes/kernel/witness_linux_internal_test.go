package kernel

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
	"uplinkd/routes"
)

// Who changed what, as events tell it, and for how long that is remembered.
func TestWitness(t *testing.T) {
	w := newWitness()
	w.name = func(pid int) string {
		if pid == 4711 {
			return "ip"
		}
		return ""
	}
	now := time.Unix(1_700_000_000, 0)
	later := now.Add(perhapsFor + 1) // when nobody is a suspect any more
	route := make([]byte, unix.SizeofRtMsg)
	route[4] = 254
	other := nlmsg.AppendAttr(append([]byte(nil), route...), unix.RTA_TABLE, native.AppendUint32(nil, 501))
	address := nlmsg.AppendAttr([]byte{2, 24, 0, 0, 2, 0, 0, 0}, unix.IFA_LOCAL, []byte{192, 0, 2, 5})
	generation := nlmsg.AppendAttr(make([]byte, genericHeader), nftaGenProcPID, binary.BigEndian.AppendUint32(nil, 99))
	generation = nlmsg.AppendAttr(generation, nftaGenProcName, []byte("firewalld\x00"))
	for _, m := range []nlmsg.Message{
		{Type: unix.RTM_DELROUTE, Port: 4711, Body: route},
		{Type: unix.RTM_DELROUTE, Port: uint32(os.Getpid()), Body: other}, // ourselves
		{Type: unix.RTM_DELROUTE, Port: 0, Body: other},                   // the kernel
		{Type: unix.RTM_NEWROUTE, Port: 4711, Body: other},                // no replacement
		{Type: unix.RTM_DELROUTE, Port: 4711, Body: other[:3]},
		{Type: unix.RTM_DELRULE, Port: 4712, Body: nlmsg.AppendAttr(make([]byte, unix.SizeofRtMsg), fraPriority, native.AppendUint32(nil, 20300))},
		{Type: unix.RTM_DELRULE, Port: 4712},
		{Type: unix.RTM_DELADDR, Port: 0xffffe7c1, Body: address}, // a second socket of somebody
		{Type: unix.RTM_DELADDR, Port: 4711, Body: address[:7]},
		{Type: nftGeneration, Body: generation},
		{Type: nftGeneration, Body: generation[:7]},
		{Type: nftGeneration},
	} {
		w.note(m, now)
	}
	for key, want := range map[routes.Key]string{
		{Kind: routes.KindRoute, Table: 254, ID: "default"}:                    "ip (pid 4711)",
		{Kind: routes.KindRoute, Table: 254, ID: "default metric 5"}:           "ip (pid 4711)",
		{Kind: routes.KindRoute, Table: 501, ID: "default"}:                    "",
		{Kind: routes.KindRule, ID: "pref 20300 from 192.0.2.5 lookup 501"}:    "pid 4712",
		{Kind: routes.KindRule, ID: "pref 20301 from 198.51.100.5 lookup 502"}: "",
		{Kind: routes.KindAddress, ID: "192.0.2.5/24 dev eth1"}:                "",
		{Kind: routes.KindTable, ID: "inet uplinkd"}:                           "firewalld (pid 99)",
	} {
		if got := w.whoChanged(key, later); got != want {
			t.Errorf("%s was changed by %q, want %q", key, got, want)
		}
		if got := w.whoChanged(key, now.Add(recallFor+1)); got != "" {
			t.Errorf("%s, long ago, by %q", key, got)
		}
	}
	// The address went by a socket that bears no process's number, 4 ms after that of ip had
	// changed something that is nobody's business.
	w.note(nlmsg.Message{Type: unix.RTM_NEWADDR, Port: 4711, Body: address}, later)
	w.note(nlmsg.Message{Type: unix.RTM_DELADDR, Port: 0xffffe7c1, Body: address}, later)
	gone := routes.Key{Kind: routes.KindAddress, ID: "192.0.2.5/24 dev eth1"}
	if got, want := w.whoChanged(gone, later.Add(4*time.Millisecond)), "perhaps ip (pid 4711), which changed something else 4ms before"; got != want {
		t.Errorf("gone by nobody in particular: %q, want %q", got, want)
	}
	w.note(nlmsg.Message{Type: unix.RTM_NEWADDR, Port: 4712, Body: address}, later)
	if got := w.whoChanged(gone, later.Add(4*time.Millisecond)); got != "" {
		t.Errorf("gone by a process without a name: %q", got)
	}
	w.note(nlmsg.Message{Type: unix.RTM_NEWROUTE, Flags: unix.NLM_F_REPLACE, Port: 4711, Body: other}, now)
	if got := w.whoChanged(routes.Key{Kind: routes.KindRoute, Table: 501, ID: "default"}, now); got == "" {
		t.Error("a replacement is not remembered")
	}
}

// A flood of changes asks for few names, and remembers a bounded number of tables.
func TestWitnessIsBounded(t *testing.T) {
	w := newWitness()
	asked := 0
	w.name = func(int) string { asked++; return "" }
	start := time.Unix(1_700_000_000, 0)
	for n := range 1_000_000 {
		body := make([]byte, unix.SizeofRtMsg)
		body = nlmsg.AppendAttr(body, unix.RTA_TABLE, native.AppendUint32(nil, uint32(n)))
		w.note(nlmsg.Message{Type: unix.RTM_DELROUTE, Port: 4711, Body: body}, start.Add(time.Duration(n)*time.Millisecond))
	}
	if most := lookupsMost * 1001; asked > most || len(w.seen) > seenMost {
		t.Errorf("asked for %d names, remembers %d objects", asked, len(w.seen))
	}
}

// The name of a process is found in /proc, and by taskstats where /proc hides it. The
// kernel's own first process is there for both.
func TestProcessName(t *testing.T) {
	b, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	if got := processName(os.Getpid()); got != strings.TrimSpace(string(b)) {
		t.Errorf("this process is %q, want %q", got, b)
	}
	if got := processName(pidMost); got != "" {
		t.Errorf("nobody is %q", got)
	}
	// Not in every user namespace, nor in every kernel.
	if got, want := taskName(os.Getpid()), strings.TrimSpace(string(b)); got != "" && got != want {
		t.Errorf("taskstats calls this process %q, want %q", got, want)
	}
}
