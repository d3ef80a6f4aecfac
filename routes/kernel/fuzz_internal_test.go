package kernel

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
)

// Whatever stands in the record of what to give back: nothing is written outside the
// network's settings because of it.
func FuzzRestoreRecord(f *testing.F) {
	f.Add([]byte(`{"boot":"x","sysctls":[{"name":"net/ipv4/ip_forward","was":"0","set":"1"}],"raised":{"eth1":2}}`))
	f.Add([]byte(`{"boot":"x","sysctls":[{"name":"net/../kernel/core_pattern","was":"|/bin/sh","set":""}]}`))
	f.Add([]byte(`{"sysctls":[{"name":"link/../mtu"}],"addresses":[{"index":1,"prefix":"192.0.2.5/24"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "kernel.json"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		l := newRestoreFile(dir, slog.New(slog.DiscardHandler))
		saved, _ := l.read()
		for _, s := range saved {
			if path := s.ID(); strings.Contains(path, "..") {
				t.Errorf("%q would be written", path)
			}
		}
		l.load().commands()
	})
}

// Whatever an event of the kernel's, or what took its place, may hold.
func FuzzEvent(f *testing.F) {
	f.Add(uint16(unix.RTM_DELROUTE), uint32(4711), make([]byte, unix.SizeofRtMsg))
	f.Add(uint16(unix.RTM_NEWRULE), uint32(1), []byte{2, 0, 0, 0})
	f.Add(uint16(nftGeneration), uint32(0), []byte{1, 0, 0, 0, 8, 0, 2, 0, 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, kind uint16, port uint32, body []byte) {
		m := nlmsg.Message{Type: kind, Flags: unix.NLM_F_REPLACE, Port: port, Body: body}
		w := newWitness()
		w.name = func(int) string { return "" }
		w.note(m, time.Unix(0, 0))
		newSurveyor().event(m)
		if _, ok := parseRoute(body); ok && len(body) < unix.SizeofRtMsg {
			t.Error("a route was read out of less than its header")
		}
	})
}

// Whatever the kernel says of an endpoint is read within its bounds, and has an address or
// is none.
func FuzzEndpoint(f *testing.F) {
	attrs := nlmsg.AppendAttr(nil, mptcpAddrID, []byte{201})
	attrs = nlmsg.AppendAttr(attrs, mptcpAddr4, []byte{192, 0, 2, 5})
	attrs = nlmsg.AppendAttr(attrs, mptcpAddrFlags, native.AppendUint32(nil, mptcpSubflow|mptcpBackup))
	f.Add(nlmsg.AppendAttr(attrs, mptcpAddrIndex, native.AppendUint32(nil, 2)))
	f.Add(nlmsg.AppendAttr(nlmsg.AppendAttr(nil, mptcpAddrID, []byte{1}), mptcpAddr6, make([]byte, 16)))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, _, ok := parseEndpoint(b, map[int]string{2: "eth1"})
		if ok != e.Address.IsValid() {
			t.Errorf("%+v, read: %v", e, ok)
		}
	})
}
