package machine_test

import (
	"fmt"
	"os/exec"
	"runtime"
)

const arch = runtime.GOARCH

// forget takes from the kernel what a boot would: routes, rules and addresses of ours, and our table of nftables.
func forget() error {
	script := `for v in -4 -6; do ip $v route flush proto 201 table all; while ip $v rule del protocol 201; do :; done; done
for i in 1 2 3; do ip addr flush dev eth$i scope global; done
nft delete table inet uplinkd
sysctl -qw net.ipv4.fib_multipath_hash_policy=0
for i in 1 2 3; do sysctl -qw net.ipv4.conf.eth$i.rp_filter=0; done`
	_, _ = exec.Command("sh", "-c", script).CombinedOutput() // what is not there cannot be taken
	left, err := exec.Command("sh", "-c", "ip route show proto 201 table all; ip -6 route show proto 201 table "+
		"all; ip rule | grep '^2[0-9]*:'; true").Output()
	if err != nil || len(left) > 0 {
		return fmt.Errorf("what a boot would take is still there: %s (%w)", left, err)
	}
	return nil
}
