package dhcp_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"uplinkd/dhcp"
	"uplinkd/internal/bubble"
)

// A clock of a boot, the time since which is told by hand.
type clock struct {
	boot  string
	since time.Duration
}

func (c *clock) BootID() string           { return c.boot }
func (c *clock) SinceBoot() time.Duration { return c.since }

func lease() *dhcp.Lease {
	now := time.Now()
	return &dhcp.Lease{
		Prefix: netip.MustParsePrefix("203.0.113.5/24"), Router: routerIP, Server: serverIP,
		DNS: []netip.Addr{serverIP}, Domain: "example.net",
		Renew: now.Add(30 * time.Minute), Rebind: now.Add(50 * time.Minute), Expire: now.Add(time.Hour),
	}
}

var sameLease = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmpopts.EquateApproxTime(time.Second),
}

func TestFiles(t *testing.T) {
	c := &clock{boot: "a", since: time.Hour}
	files := dhcp.Files{Dir: filepath.Join(t.TempDir(), "made"), Clock: c}
	if got, err := files.Load(ethernet); got != nil || err != nil {
		t.Errorf("from nothing: %v, %v", got, err)
	}
	want := lease()
	if err := files.Save(ethernet, want); err != nil {
		t.Fatal(err)
	}
	got, err := files.Load(ethernet)
	if diff := cmp.Diff(want, got, sameLease); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	// The machine has slept for 40 minutes: the lease has gone on.
	c.since += 40 * time.Minute
	if got, err = files.Load(ethernet); err != nil || got.Expire.After(want.Expire.Add(-39*time.Minute)) {
		t.Errorf("after a sleep: %v, ends %v; want 40 minutes before %v", err, got.Expire, want.Expire)
	}
	// In another boot only the wall clock counts.
	c.boot, c.since = "b", time.Minute
	if got, err = files.Load(ethernet); err != nil || got.Expire.Sub(want.Expire).Abs() > time.Second {
		t.Errorf("after a reboot: %v, %+v", err, got)
	}
	// From a clock that was ahead, or seen by one that is behind, a lease would
	// last for years. From the third review.
	path := filepath.Join(files.Dir, "lease-eth1.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ahead := strings.ReplaceAll(string(text), time.Now().Format("2006-"), time.Now().AddDate(50, 0, 0).Format("2006-"))
	if err := os.WriteFile(path, []byte(ahead), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := files.Load(ethernet); got != nil || err == nil || !strings.Contains(err.Error(), "earlier time") {
		t.Errorf("written in the future: %+v, %v; want none", got, err)
	}
	if err := files.Save(ethernet, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := files.Load(ethernet); got != nil || err != nil {
		t.Errorf("forgotten: %v, %v", got, err)
	}
	endless := &dhcp.Lease{Prefix: want.Prefix, Server: serverIP}
	if err := files.Save(ethernet, endless); err != nil {
		t.Fatal(err)
	}
	if got, err := files.Load(ethernet); err != nil || !got.Infinite() {
		t.Errorf("without end: %+v, %v", got, err)
	}
}

// Torn, stale, of another interface, or nonsense: as if there were none, and
// the reason is told.
func TestFilesUnusable(t *testing.T) {
	dir := t.TempDir()
	files := dhcp.Files{Dir: dir, Clock: &clock{boot: "a"}}
	path := filepath.Join(dir, "lease-eth1.json")
	other := ethernet
	other.MAC = "02:00:00:00:00:99"
	expired := lease()
	expired.Renew, expired.Rebind, expired.Expire = time.Now().Add(-3*time.Hour), time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	disorder := lease()
	disorder.Renew, disorder.Expire = disorder.Expire, disorder.Renew
	save := func(s dhcp.Spec, l *dhcp.Lease) func() error { return func() error { return files.Save(s, l) } }
	write := func(text string) func() error { return func() error { return os.WriteFile(path, []byte(text), 0o600) } }
	for name, tt := range map[string]struct {
		write func() error
		says  string
	}{
		"torn":            {write(`{"interface": "eth1", "ma`), "unexpected end of JSON"},
		"empty":           {write(""), "unexpected end of JSON"},
		"another MAC":     {save(other, lease()), "not of eth1 with 02:00:00:00:00:01"},
		"expired":         {save(ethernet, expired), "has expired"},
		"out of order":    {save(ethernet, disorder), "out of order"},
		"no address":      {write(`{"interface": "eth1", "mac": "02:00:00:00:00:01", "server": "203.0.113.1"}`), "is no lease"},
		"multicast":       {write(`{"interface": "eth1", "mac": "02:00:00:00:00:01", "server": "203.0.113.1", "prefix": "224.0.0.5/24"}`), "is no lease"},
		"IPv6":            {write(`{"interface": "eth1", "mac": "02:00:00:00:00:01", "server": "203.0.113.1", "prefix": "2001:db8::1/64"}`), "is no lease"},
		"half of a time":  {write(`{"interface": "eth1", "mac": "02:00:00:00:00:01", "server": "203.0.113.1", "prefix": "203.0.113.5/24", "renew": {}}`), "missing"},
		"endless garbage": {write(strings.Repeat("[", 1<<20)), "lease-eth1.json"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tt.write(); err != nil {
				t.Fatal(err)
			}
			got, err := files.Load(ethernet)
			if got != nil || err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%+v, %v; want none, and %q", got, err, tt.says)
			}
		})
	}
}

// A restart confirms the lease by INIT-REBOOT; it is in force meanwhile.
func TestRestart(t *testing.T) {
	for name, tt := range map[string]struct {
		reply   func(*dhcpv4.DHCPv4) *dhcpv4.DHCPv4
		after   time.Duration
		state   dhcp.State
		address string
		sent    string
	}{
		"confirmed":                         {func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { return ack(m, "203.0.113.5", hour) }, time.Second, dhcp.Bound, "203.0.113.5/24", "R"},
		"silence, bounded to three seconds": {func(*dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { return nil }, 3700 * time.Millisecond, dhcp.Selecting, "203.0.113.5/24", "RD"},
		"silent to a client it does not know (Kea)": {func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
			if m.MessageType() == dhcpv4.MessageTypeRequest && m.ServerIdentifier() == nil {
				return nil
			}
			return ack(m, "203.0.113.8", hour)
		}, 5 * time.Second, dhcp.Bound, "203.0.113.8/24", "RDR"},
		"refused": {func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
			if m.MessageType() == dhcpv4.MessageTypeRequest && m.ServerIdentifier() == nil {
				return nak(m)
			}
			return ack(m, "203.0.113.9", hour)
		}, time.Second, dhcp.Bound, "203.0.113.9/24", "RDR"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				b := newBenchWith(t, &memory{lease: lease()}, func(m *dhcpv4.DHCPv4, _ bool) *dhcpv4.DHCPv4 { return tt.reply(m) })
				b.set(ethernet)
				synctest.Wait()
				if c := b.last(); c.State != dhcp.InitReboot || c.Lease == nil {
					t.Errorf("at once: %v with %v, want init-reboot with the lease in force", c.State, c.Lease)
				}
				b.wait(tt.after)
				b.expectState(tt.state, tt.address)
				if got := kinds(b.take()); got != tt.sent {
					t.Errorf("sent %s, want %s", got, tt.sent)
				}
			})
		})
	}
}

// What is in force is what is kept; released or refused, nothing is.
func TestWhatIsKept(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := newBench(t, func(m *dhcpv4.DHCPv4, _ bool) *dhcpv4.DHCPv4 { return ack(m, "203.0.113.5", hour) })
		b.set(ethernet)
		b.wait(time.Second)
		kept, _ := b.store.Load(ethernet)
		if kept == nil || kept.Prefix.String() != "203.0.113.5/24" {
			t.Errorf("kept %+v", kept)
		}
		b.wait(31 * time.Minute)
		if renewed, _ := b.store.Load(ethernet); !renewed.Expire.After(kept.Expire) {
			t.Error("the renewed lease was not kept")
		}
		b.client.Set(nil, true)
		b.wait(time.Second)
		if left, _ := b.store.Load(ethernet); left != nil {
			t.Errorf("released, and still kept: %+v", left)
		}
	})
}
