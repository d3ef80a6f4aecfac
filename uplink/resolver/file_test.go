package resolver_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"uplinkd/configs"
	"uplinkd/uplink"
	"uplinkd/uplink/resolver"
)

func offer(servers ...string) uplink.DNS {
	d := uplink.DNS{Mode: configs.DNSFile}
	for _, s := range servers {
		d.Links = append(d.Links, uplink.DNSLink{Uplink: "isp", Servers: []netip.Addr{netip.MustParseAddr(s)}, Offered: true})
	}
	return d
}

// The file is there for all to read, is put back when others change it, and is not written
// when nothing is new; a file of others is never removed.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "resolv.conf")
	host := resolver.New(dir)
	give := func(d uplink.DNS) {
		t.Helper()
		if err := host.Offer(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	give(offer("192.0.2.53", "192.0.2.54"))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "\nnameserver 192.0.2.53\n") || !strings.Contains(string(text), "\nnameserver 192.0.2.54\n") {
		t.Errorf("the file holds:\n%s", text)
	}
	before, err := os.Stat(path)
	if err != nil || before.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v: not for all to read", before.Mode(), err)
	}
	give(offer("192.0.2.53", "192.0.2.54"))
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("written though nothing is new: %v", err)
	}
	for name, spoil := range map[string]func() error{
		"another text": func() error { return os.WriteFile(path, []byte("nameserver 10.0.0.1\n"), 0o600) },
		"removed":      func() error { return os.Remove(path) },
		"a symlink":    func() error { _ = os.Remove(path); return os.Symlink(filepath.Join(dir, "other"), path) },
		"a long text":  func() error { return os.WriteFile(path, make([]byte, 1<<20), 0o600) },
		"unreadable":   func() error { return os.Chmod(path, 0) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		give(offer("192.0.2.53", "192.0.2.54"))
		if now, err := os.ReadFile(path); err != nil || string(now) != string(text) {
			t.Errorf("%s: the file holds %q, %v", name, now, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "other")); err == nil {
		t.Error("wrote where a symlink led")
	}
	give(uplink.DNS{Mode: configs.DNSHook})
	if _, err := os.Stat(path); err == nil {
		t.Error("the file is there though nobody wants it")
	}
	if err := os.WriteFile(path, []byte("nameserver 10.0.0.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	give(uplink.DNS{})
	if _, err := os.Stat(path); err != nil {
		t.Error("a file of others was removed")
	}
}

// What cannot be written is an error that names the file.
func TestFileCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := resolver.New(dir).Offer(t.Context(), offer("192.0.2.53")); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
}

// Without a system bus there is nobody to give servers to, which is said; and nothing to take
// back.
func TestNoBus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "none"))
	d := offer("192.0.2.53")
	d.Mode, d.Links[0].Index = configs.DNSResolved, 7
	host := resolver.New(t.TempDir())
	if err := host.Offer(t.Context(), d); err == nil || !strings.Contains(err.Error(), "dns: file") {
		t.Errorf("got %v, want an error with its remedy", err)
	}
	if err := host.TakeBack(t.Context(), d); err != nil {
		t.Errorf("take back: %v", err)
	}
}
