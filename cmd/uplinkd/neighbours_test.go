package main

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// besideBench is a NAT gateway with two uplinks that another program shares.
func besideBench(t *testing.T) *bench {
	t.Helper()
	b := gatewayBench(t, []int{1, 1}, nil, normalProbe)
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	return b
}

// check returns what check finds.
func (b *bench) check() string {
	b.Helper()
	out, _ := b.run("check", "-c", b.config) // fails where there are problems
	return out
}

// unharmed has the LAN and this host connect, by both uplinks, sees that nothing is fought over
// and that the daemon's end and cleanup leave what is others' as it was.
func (b *bench) unharmed(lan bool, others string) {
	b.Helper()
	if lan {
		by := b.leftBy(0, 40)
		if by[1] < 5 || by[2] < 5 {
			b.Errorf("40 connections of the LAN left by %v", by)
		}
	}
	count := map[int]int{}
	for n := range 40 {
		isp, err := b.world.Dial(n, time.Second)
		if err != nil {
			b.Errorf("a connection of this host: %v", err)
			continue
		}
		count[isp.Number]++
	}
	if count[1] < 5 || count[2] < 5 {
		b.Errorf("40 connections of this host left by %v", count)
	}
	s := b.status()
	if !s.Kernel.InSync || len(s.Kernel.Fights) > 0 {
		b.Errorf("kernel: %+v", s.Kernel)
	}
	before := b.kernel(others)
	if out, err := b.run("reload", "-c", b.config); err != nil {
		b.Errorf("reload: %v\n%s", err, out)
	}
	time.Sleep(500 * time.Millisecond)
	b.kill(15)
	if out, err := b.run("cleanup", "-c", b.config); err != nil {
		b.Errorf("cleanup: %v\n%s", err, out)
	}
	if now := b.kernel(others); now != before {
		b.Errorf("what is others' was\n%s\nand is\n%s", before, now)
	}
}

// Real dockerd in the host's namespace, and a container's network as it makes one. Docker drops
// what is forwarded for the LAN: check says so, and what it says to do helps.
func TestDocker(t *testing.T) {
	labtest.NeedRoot(t, "dockerd", "iptables")
	b := besideBench(t)
	if found := b.check(); strings.Contains(found, "drops what is forwarded") {
		t.Errorf("check before Docker:\n%s", found)
	}
	dir := filepath.Join(b.dir, "docker")
	b.ok(os.Mkdir(dir, 0o700))
	// Docker drops what is forwarded where it is the one that switches forwarding on.
	b.ok(b.world.Host().Sysctl("net/ipv4/ip_forward", "0"))
	b.kernel("ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up")
	t.Cleanup(func() {
		_ = exec.Command("sh", "-c", "ip link del docker0; nft delete table ip nat; nft delete table ip filter; nft delete table ip6 filter; nft delete table ip6 nat").Run()
	})
	b.in(b.world.Host(), "unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /run; exec dockerd --data-root "+dir+"/data --exec-root "+dir+
		"/exec --pidfile "+dir+"/pid -H unix://"+dir+"/sock --storage-driver vfs --bridge docker0")
	b.until("dockerd has set its rules", 30*time.Second, func() bool {
		return exec.Command("sh", "-c", "nft list chain ip filter FORWARD | grep -q 'policy drop'").Run() == nil &&
			exec.Command("sh", "-c", "nft list chain ip nat POSTROUTING | grep -q 172.17").Run() == nil
	})
	time.Sleep(time.Second)
	if found := b.check(); !strings.Contains(found, "table ip filter, chain FORWARD drops what is forwarded") {
		t.Errorf("check beside Docker:\n%s", found)
	}
	if err := b.lanConnects(); err == nil {
		t.Error("the LAN is on the Internet though Docker drops what it sends: this test shows nothing")
	}
	b.kernel("iptables -I DOCKER-USER -i lan0 -j ACCEPT", "iptables -I DOCKER-USER -o lan0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
	b.guest("docker0", "172.17.0.1", "172.17.0.2/16")
	b.unharmed(true, "nft -s list table ip nat; nft -s list table ip filter")
}

// guest puts a container or a virtual machine on a bridge, and has it connect.
func (b *bench) guest(bridge, gateway, address string) {
	b.Helper()
	guest, err := lab.NewNamespace()
	b.ok(err)
	b.Cleanup(guest.Close)
	b.ok(b.world.Host().Wire("veth0", guest, "eth0"))
	b.kernel("ip link set veth0 master " + bridge)
	b.at(guest, "ip addr add "+address+" dev eth0; ip route add default via "+gateway)
	count := map[int]int{}
	for n := range 40 {
		b.ok(guest.Do(func() error {
			f, err := b.dialTCP(n, (&net.Dialer{Timeout: time.Second}).Dial)
			if err != nil {
				return err
			}
			count[f.isp]++
			return f.conn.Close()
		}))
	}
	if count[1] < 5 || count[2] < 5 {
		b.Errorf("40 connections of a guest left by %v", count)
	}
}

// The network that libvirt makes, and its rules as it sets them.
func TestLibvirt(t *testing.T) {
	labtest.NeedRoot(t, "iptables")
	b := besideBench(t)
	b.kernel("ip link add virbr0 type bridge; ip addr add 192.168.122.1/24 dev virbr0; ip link set virbr0 up",
		"iptables -N LIBVIRT_FWO; iptables -N LIBVIRT_FWI; iptables -A FORWARD -j LIBVIRT_FWI; iptables -A FORWARD -j LIBVIRT_FWO",
		"iptables -A LIBVIRT_FWO -s 192.168.122.0/24 -i virbr0 -j ACCEPT; iptables -A LIBVIRT_FWO -i virbr0 -j REJECT",
		"iptables -A LIBVIRT_FWI -d 192.168.122.0/24 -o virbr0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; iptables -A LIBVIRT_FWI -o virbr0 -j REJECT",
		"iptables -t nat -A POSTROUTING -s 192.168.122.0/24 -d 224.0.0.0/24 -j RETURN; iptables -t nat -A POSTROUTING -s 192.168.122.0/24 ! -d 192.168.122.0/24 -p tcp -j MASQUERADE --to-ports 1024-65535",
		"iptables -t nat -A POSTROUTING -s 192.168.122.0/24 ! -d 192.168.122.0/24 -j MASQUERADE")
	t.Cleanup(func() {
		_ = exec.Command("sh", "-c", "ip link del virbr0; nft delete table ip nat; nft delete table ip filter").Run()
	})
	if found := b.check(); strings.Contains(found, "problem") || strings.Contains(found, "warning") {
		t.Errorf("check beside libvirt:\n%s", found)
	}
	b.guest("virbr0", "192.168.122.1", "192.168.122.2/24")
	b.unharmed(true, "nft -s list table ip nat; nft -s list table ip filter")
}

// Real systemd-networkd looks after the LAN, is started again and again, and has our drop-in:
// nothing of ours is taken away.
func TestNetworkd(t *testing.T) {
	const program = "/lib/systemd/systemd-networkd"
	labtest.NeedRoot(t, "unshare")
	if _, err := os.Stat(program); err != nil {
		labtest.Skip(t, "needs "+program)
	}
	b := besideBench(t)
	dropIn, err := filepath.Abs("../../systemd/networkd-foreign.conf")
	b.ok(err)
	b.ok(os.Chmod(b.dir, 0o755))
	for range 3 {
		stop := b.in(b.world.Host(), "unshare", "--mount", "sh", "-euc", `mount -t tmpfs tmpfs /run; mount -t sysfs -o ro sysfs /sys
mount -t tmpfs tmpfs /etc/systemd; mkdir -p /etc/systemd/network /etc/systemd/networkd.conf.d /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
chown -R systemd-network /run/systemd/netif
printf '[Match]\nName=lan0\n[Network]\nAddress=192.168.77.1/24\nAddress=192.168.78.1/24\nIPForward=ipv4\n' >/etc/systemd/network/lan.network
cp `+dropIn+` /etc/systemd/networkd.conf.d/; exec `+program)
		b.until("networkd has set the LAN's address", 10*time.Second, func() bool {
			return strings.Contains(b.kernel("ip -4 addr show dev lan0"), "192.168.78.1/24")
		})
		time.Sleep(300 * time.Millisecond)
		stop()
		b.kernel("ip addr del 192.168.78.1/24 dev lan0")
	}
	if n := b.status().Kernel.Repairs; n > 0 {
		t.Errorf("%d repairs beside a networkd that leaves ours alone", n)
	}
	b.unharmed(true, "ip -4 -o addr show dev lan0 | sed 's/valid.*//'")
}

// Real dhclient on an uplink that is ours: check names it. It finds our default route in the
// place of its own, and takes nothing away.
func TestDhclient(t *testing.T) {
	labtest.NeedRoot(t, "dhclient", "dnsmasq", "unshare")
	b := newBench(t, 2)
	for _, isp := range b.world.ISPs {
		b.dnsmasq(isp, "1h")
	}
	b.configure(b.dhcpLines(), "")
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	before := b.kernel("ip route show default; ip rule")
	// Its script writes resolv.conf: not this machine's.
	b.in(b.world.Host(), "unshare", "--mount", "sh", "-euc", "touch "+b.dir+"/resolv.conf; mount --bind "+b.dir+"/resolv.conf /etc/resolv.conf; "+
		"exec dhclient -d -v -1 -lf "+b.dir+"/dhclient.leases -pf "+b.dir+"/dhclient.pid eth1")
	b.until("dhclient has a lease", 15*time.Second, func() bool {
		text, _ := os.ReadFile(filepath.Join(b.dir, "dhclient.leases"))
		return strings.Contains(string(text), "fixed-address")
	})
	time.Sleep(time.Second)
	if found := b.check(); !strings.Contains(found, "dhclient (pid ") {
		t.Errorf("check beside dhclient:\n%s", found)
	}
	if now := b.kernel("ip route show default; ip rule"); now != before {
		t.Errorf("the default route and the rules were\n%s\nand are\n%s", before, now)
	}
	b.unharmed(false, "true")
}

// lanConnects has the LAN's client connect to the internet.
func (b *bench) lanConnects() error {
	return b.world.Client.Do(func() error {
		f, err := b.dialTCP(1, (&net.Dialer{Timeout: time.Second}).Dial)
		if err != nil {
			return err
		}
		return f.conn.Close()
	})
}

// Real firewalld with the uplinks in one zone and the LAN in another, reloaded under way.
func TestFirewalld(t *testing.T) {
	labtest.NeedRoot(t, "firewalld", "firewall-cmd", "dbus-daemon")
	b := besideBench(t)
	bus := b.systemBus(inShell)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+bus)
	b.in(b.world.Host(), "unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /etc/firewalld; exec firewalld --nofork --nopid")
	b.until("firewalld", 20*time.Second, func() bool { return exec.Command("firewall-cmd", "--state").Run() == nil })
	t.Cleanup(func() { _ = exec.Command("nft", "delete", "table", "inet", "firewalld").Run() })
	b.kernel("firewall-cmd -q --zone=external --change-interface=eth1", "firewall-cmd -q --zone=external --change-interface=eth2",
		"firewall-cmd -q --zone=internal --change-interface=lan0")
	if err := b.lanConnects(); err == nil {
		t.Error("the LAN is on the Internet without a policy of firewalld's: this test shows nothing")
	}
	b.kernel("firewall-cmd -q --runtime-to-permanent; firewall-cmd -q --permanent --new-policy=out; "+
		"firewall-cmd -q --permanent --policy=out --add-ingress-zone=internal; firewall-cmd -q --permanent --policy=out --add-egress-zone=external; "+
		"firewall-cmd -q --permanent --policy=out --set-target=ACCEPT", "firewall-cmd -q --reload")
	if found := b.check(); strings.Contains(found, "problem") || strings.Contains(found, "warning") {
		t.Errorf("check beside firewalld:\n%s", found)
	}
	b.unharmed(true, "nft -s list table inet firewalld")
}

// The rules of Tailscale and of wg-quick, as they set them. Their own packets leave by our
// uplinks; whatever they lead into their tunnel goes there, and check says so.
func TestTunnels(t *testing.T) {
	for name, tt := range map[string]struct {
		set, unset string
		mark       string // of the tunnel's own packets
		found      string // by check
		plain      bool   // connections of this host still go by us
	}{
		"Tailscale": {
			set: "ip rule add pref 5210 fwmark 0x80000/0xff0000 lookup main; ip rule add pref 5230 fwmark 0x80000/0xff0000 lookup default;" +
				"ip rule add pref 5250 fwmark 0x80000/0xff0000 unreachable; ip rule add pref 5270 lookup 52; ip route add 100.100.100.100 dev lan0 table 52",
			unset: "for p in 5210 5230 5250 5270; do ip rule del pref $p; done; ip route flush table 52",
			mark:  "0x80000", found: "sends all packets to another table before ours is asked", plain: true,
		},
		"wg-quick": { // which leaves the priorities to the kernel, and that puts them before all others
			set: "ip route add default via 192.168.77.2 dev lan0 table 51820; ip rule add not fwmark 51820 lookup 51820;" +
				"ip rule add lookup main suppress_prefixlength 0",
			unset: "ip rule del lookup 51820; ip rule del lookup main suppress_prefixlength 0; ip route flush table 51820", mark: "51820", found: "give it a priority after ours",
		},
		"networkd's WireGuard": { // InvertRule=true, Priority=10, as its manual has it
			set:   "ip route add default via 192.168.77.2 dev lan0 table 51820; ip rule add pref 10 not fwmark 51820 lookup 51820",
			unset: "ip rule del pref 10; ip route flush table 51820", mark: "51820", found: "give it a priority after ours",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := besideBench(t)
			b.kernel(tt.set)
			t.Cleanup(func() { _ = exec.Command("sh", "-c", tt.unset).Run() })
			if found := b.check(); !strings.Contains(found, tt.found) {
				t.Errorf("check says:\n%s", found)
			}
			time.Sleep(300 * time.Millisecond) // our table follows the rules
			b.talkMarked(tt.mark)
			by := map[string]int{}
			for n := range 30 {
				out := b.kernel("ip route get " + netip.AddrFrom4([4]byte{198, 18, 7, byte(n)}).String() + " mark " + tt.mark)
				for _, eth := range []string{"eth1", "eth2"} {
					if strings.Contains(out, "dev "+eth) {
						by[eth]++
					}
				}
			}
			if by["eth1"] < 3 || by["eth2"] < 3 || by["eth1"]+by["eth2"] != 30 {
				t.Errorf("30 of the tunnel's own packets would leave by %v", by)
			}
			others := "ip rule | grep -v 'proto 201\\|^0:\\|^3276[67]:'; ip route show table 52"
			if tt.plain {
				b.unharmed(true, others)
				return
			}
			if out := b.kernel("ip route get 198.18.0.1"); !strings.Contains(out, "dev lan0") {
				t.Errorf("what is not the tunnel's own goes by\n%s", out)
			}
		})
	}
}

// talkMarked talks to the internet as a tunnel's own packets do: by a UDP socket with a mark.
func (b *bench) talkMarked(mark string) {
	b.Helper()
	value, err := strconv.ParseInt(mark, 0, 32)
	b.ok(err)
	dialer := net.Dialer{Timeout: time.Second, Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(value)) })
		return errors.Join(err, failed)
	}}
	for n := range 10 {
		conn, err := dialer.Dial("udp4", netip.AddrPortFrom(lab.Somewhere(300+n), lab.Port).String())
		b.ok(err)
		for k := range 5 {
			_ = conn.SetDeadline(time.Now().Add(500 * time.Millisecond))
			_, _ = conn.Write([]byte("?"))
			if _, err := conn.Read(make([]byte, 100)); err != nil {
				b.Errorf("tunnel %d, packet %d: %v", n, k, err)
				break
			}
		}
		b.ok(conn.Close())
	}
}

// inShell is a script as a command.
func inShell(script string) *exec.Cmd { return exec.Command("sh", "-euc", script) }

// systemBus starts a bus in the place of the system's, as a script that is run in some way, and
// returns its address.
func (b *bench) systemBus(in func(script string) *exec.Cmd) string {
	b.Helper()
	bus := filepath.Join(b.dir, "bus")
	b.ok(os.WriteFile(bus+".conf", []byte(`<busconfig><listen>unix:path=`+bus+`</listen><policy context="default">
<allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>`), 0o600))
	daemon := in("exec dbus-daemon --nofork --config-file=" + bus + ".conf")
	b.in(b.world.Host(), daemon.Args[0], daemon.Args[1:]...)
	b.until("the bus", 2*time.Second, func() bool { _, err := os.Stat(bus); return err == nil })
	return bus
}

// Real NetworkManager looks after the LAN, is started again and again, and is told to leave the
// uplinks alone: nothing of ours is taken away. Told nothing, it manages them, and check says so.
func TestNetworkManager(t *testing.T) {
	labtest.NeedRoot(t, "NetworkManager", "nmcli", "dbus-daemon", "unshare")
	b := besideBench(t)
	bus := b.systemBus(inShell)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+bus)
	run := filepath.Join(b.dir, "run")
	b.ok(os.Mkdir(run, 0o755))
	conf := filepath.Join(b.dir, "nm.conf")
	const own = "[main]\nplugins=keyfile\nno-auto-default=*\n"
	shipped, err := os.ReadFile("../../configs/examples/networkmanager.conf")
	b.ok(err)
	leave := string(shipped)
	start := func(text string) (stop func()) {
		b.ok(os.WriteFile(conf, []byte(text), 0o600))
		stop = b.in(b.world.Host(), "unshare", "--mount", "sh", "-euc", "mount --bind "+run+" /run; mount -t sysfs -o ro sysfs /sys; "+
			"mount -t tmpfs tmpfs /etc/NetworkManager; mount -t tmpfs tmpfs /var/lib; exec NetworkManager --no-daemon --config "+conf)
		b.until("NetworkManager runs", 15*time.Second, func() bool {
			out, _ := exec.Command("nmcli", "-t", "-f", "STATE", "general").Output()
			return len(out) > 0
		})
		return stop
	}
	check := func() string {
		self, err := os.Executable()
		b.ok(err)
		inside := exec.Command("unshare", "--mount", "sh", "-euc", "mount --bind "+run+" /run; exec "+self+" check -c "+b.config)
		inside.Env = b.program().Env
		out, _ := inside.CombinedOutput()
		return string(out)
	}
	for range 2 {
		stop := start(own + leave)
		b.kernel("nmcli connection add type ethernet ifname lan0 con-name lan ipv4.method manual ipv4.addresses 192.168.77.1/24,192.168.78.1/24 ipv6.method disabled ipv4.never-default yes >/dev/null",
			"nmcli connection up lan >/dev/null || true")
		b.until("NetworkManager has set the LAN's address", 10*time.Second, func() bool {
			return strings.Contains(b.kernel("ip -4 addr show dev lan0"), "192.168.78.1/24")
		})
		if found := check(); strings.Contains(found, "NetworkManager") {
			t.Errorf("check beside a NetworkManager that leaves the uplinks alone:\n%s", found)
		}
		stop()
		b.kernel("ip addr del 192.168.78.1/24 dev lan0 || true")
	}
	if n := b.status().Kernel.Repairs; n > 0 {
		t.Errorf("%d repairs beside a NetworkManager that leaves ours alone", n)
	}
	stop := start(own)
	b.until("check says that it manages an uplink", 5*time.Second, func() bool { return strings.Contains(check(), "NetworkManager") })
	stop()
	b.unharmed(true, "ip -4 -o addr show dev lan0 | sed 's/valid.*//'")
}
