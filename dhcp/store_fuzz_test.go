package dhcp_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"uplinkd/dhcp"
)

// Whatever stands in the file of a lease: what comes of it is a lease in force for a host,
// or an error.
func FuzzLeaseFile(f *testing.F) {
	spec := dhcp.Spec{Interface: "eth1", MAC: "02:00:00:00:00:01"}
	f.Add([]byte(`{"interface":"eth1","mac":"02:00:00:00:00:01","boot_id":"b","prefix":"192.0.2.5/24","server":"192.0.2.1"}`))
	f.Add([]byte(`{"interface":"eth1","mac":"02:00:00:00:00:01","boot_id":"b","prefix":"192.0.2.5/24","server":"192.0.2.1",` +
		`"renew":{"since_boot_ns":9000000000000},"rebind":{"since_boot_ns":9000000000001},"expire":{"since_boot_ns":9000000000002}}`))
	f.Add([]byte(`{"interface":"eth1","mac":"02:00:00:00:00:01","prefix":"::/0","server":"::1","mtu":-1,"expire":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "lease-eth1.json"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		lease, err := dhcp.Files{Dir: dir, Clock: &clock{boot: "b"}}.Load(spec)
		if err != nil || lease == nil {
			return
		}
		if a := lease.Prefix.Addr(); !a.Is4() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
			t.Errorf("a lease of %s", lease.Prefix)
		}
		if !lease.Infinite() && !time.Now().Before(lease.Expire) {
			t.Errorf("a lease that ended at %s", lease.Expire)
		}
	})
}
