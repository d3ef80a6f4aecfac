package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// A contender is what keeps a host with two uplinks on the Internet.
type contender struct {
	name  string
	how   string // it is set up
	needs []string
	start func(b *bench)
	watch time.Duration // how long what becomes of a fault is watched
}

// pingTarget is the host that those ping which look past their gateway.
var pingTarget = lab.Somewhere(53)

const usually = 12 * time.Second

// contenders are those that people use today, and ours.
var contenders = []contender{
	{
		name: "kernel alone", how: "a multipath default route, a table and a `from` rule per uplink, `ignore_routes_with_linkdown`, an MPTCP endpoint per uplink",
		start: func(b *bench) { b.routesByHand(true) }, watch: usually,
	},
	{
		name:  "script each minute",
		how:   "the same, and a script as cron runs it: one ping of a far host out of each uplink, and `ip route replace default`",
		needs: []string{"ping"}, start: func(b *bench) { b.pinger(time.Minute) }, watch: 75 * time.Second,
	},
	{
		name:  "script each second",
		how:   "the same script in a loop, a second apart",
		needs: []string{"ping"}, start: func(b *bench) { b.pinger(time.Second) }, watch: usually,
	},
	{
		name:  "keepalived",
		how:   "`track_script` per uplink: a ping each second, `fall 2`, `rise 2`; its `notify` scripts write the default route",
		needs: []string{"ping", "keepalived"}, start: (*bench).keepalived, watch: usually,
	},
	{
		name:  "BFD",
		how:   "bird at both ends, 300 ms x 3, static multipath route `bfd`, which bird itself writes",
		needs: []string{"bird", "birdc"}, start: (*bench).bfd, watch: usually,
	},
	{
		name: "uplinkd", how: "defaults, the gateway and the same far host as targets, `mptcp: true`", watch: usually,
		start: func(b *bench) {
			b.gateway([]int{1, 1}, nil, fmt.Sprintf("mptcp: true\nprobe: {targets: [gateway, %s]}\n", pingTarget))
			b.start()
			b.untilStates(10*time.Second, "up", "up")
			b.until("both have an endpoint", 2*time.Second, func() bool {
				s := b.status()
				return s.Uplinks[0].MPTCP == "subflow" && s.Uplinks[1].MPTCP == "subflow"
			})
		},
	},
}

// routesByHand is what a start script sets: addresses, tables, rules, NAT, and perhaps the default route.
func (b *bench) routesByHand(defaultRoute bool) {
	b.Helper()
	b.ok(b.world.Host().Sysctl("net/ipv4/ip_forward", "1"))
	b.ok(b.world.Host().Sysctl("net/ipv4/fib_multipath_hash_policy", "1"))
	b.ok(b.world.Host().Sysctl("net/ipv4/conf/all/ignore_routes_with_linkdown", "1"))
	b.Cleanup(func() {
		b.kernel("ip mptcp endpoint flush; nft delete table ip byhand; ip route del default; ip rule del pref 101; ip rule del pref 102; true")
		for i, isp := range b.world.ISPs {
			b.kernel(fmt.Sprintf("ip addr del %s dev %s; ip route flush table %d; true", isp.Static, isp.Interface, 101+i))
		}
	})
	b.kernel("ip mptcp limits set subflow 2 add_addr_accepted 2; ip mptcp endpoint flush")
	for _, isp := range b.world.ISPs {
		b.kernel(fmt.Sprintf("ip mptcp endpoint add %s dev %s subflow || true", isp.Static.Addr(), isp.Interface))
	}
	nat := "table ip byhand { chain post { type nat hook postrouting priority 100;"
	for i, isp := range b.world.ISPs {
		b.kernel(fmt.Sprintf("ip addr add %s dev %s; ip route add default via %s dev %[2]s table %[4]d; "+
			"ip rule add from %[5]s lookup %[4]d pref %[4]d",
			isp.Static, isp.Interface, isp.Gateway, 101+i, isp.Static.Addr()))
		nat += fmt.Sprintf(" oifname %q masquerade;", isp.Interface)
	}
	b.kernel("echo '" + nat + " }; }' | nft -f -")
	if defaultRoute {
		b.kernel("ip route replace default" + b.nextHops(1) + b.nextHops(2))
	}
}

// nextHops returns the words of ip(8) for the next hop of an uplink.
func (b *bench) nextHops(n int) string {
	isp := b.world.ISPs[n-1]
	return fmt.Sprintf(" nexthop via %s dev %s weight 1", isp.Gateway, isp.Interface)
}

// script writes a script and returns its path.
func (b *bench) script(name, text string) string {
	b.Helper()
	path := filepath.Join(b.dir, name)
	b.ok(os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700)) //nolint:gosec // it is to be run
	return path
}

// pings is the command that pings out of an uplink: by its address, whose rule leads there whatever the default
// route says.
func (b *bench) pings(n int) string {
	return fmt.Sprintf("ping -q -c 1 -W 1 -I %s %s >/dev/null 2>&1", b.world.ISPs[n-1].Static.Addr(), pingTarget)
}

// pinger is a script that pings out of each uplink, and rewrites the default route when that has changed.
func (b *bench) pinger(every time.Duration) {
	b.Helper()
	b.routesByHand(true)
	b.in(b.world.Host(), b.script("pinger", fmt.Sprintf(`last=
while :; do
	hops=
	%s && hops="$hops%s"
	%s && hops="$hops%s"
	if [ -n "$hops" ] && [ "$hops" != "$last" ]; then
		ip route replace default $hops && last=$hops
	fi
	sleep %.0f
done
`, b.pings(1), b.nextHops(1), b.pings(2), b.nextHops(2), every.Seconds())))
	time.Sleep(2 * time.Second)
}

// keepalived has one VRRP instance per uplink on the LAN, and the state of each is that of its uplink.
func (b *bench) keepalived() {
	b.Helper()
	b.routesByHand(true)
	b.ok(os.WriteFile(filepath.Join(b.dir, "hops1"), nil, 0o600))
	// $1 is the uplink, $2 what it adds to the route.
	write := b.script("write", fmt.Sprintf(`exec 9>%[1]s/lock; flock 9
echo "$2" >%[1]s/hops$1
hops="$(cat %[1]s/hops1) $(cat %[1]s/hops2)"
[ -n "$(echo $hops)" ] && ip route replace default $hops
`, b.dir))
	text := "global_defs {\n\tscript_user root\n}\n"
	for n := 1; n <= 2; n++ {
		b.ok(os.WriteFile(filepath.Join(b.dir, fmt.Sprint("hops", n)), []byte(b.nextHops(n)), 0o600))
		text += fmt.Sprintf(`vrrp_script isp%[1]d {
	script "%[2]s"
	interval 1
	timeout 2
	fall 2
	rise 2
}
vrrp_instance ISP%[1]d {
	state BACKUP
	interface lan0
	virtual_router_id %[3]d
	priority 100
	advert_int 1
	track_script {
		isp%[1]d
	}
	virtual_ipaddress {
		192.168.77.%[4]d/32
	}
	notify_master "%[5]s %[1]d '%[6]s'"
	notify_fault "%[5]s %[1]d ''"
}
`, n, b.script(fmt.Sprint("check", n), b.pings(n)+"\n"), 50+n, 240+n, write, b.nextHops(n))
	}
	config := filepath.Join(b.dir, "keepalived.conf")
	b.ok(os.WriteFile(config, []byte(text), 0o600))
	b.in(b.world.Host(), "keepalived", "-n", "-l", "-f", config,
		"-p", b.dir+"/k.pid", "-r", b.dir+"/v.pid", "-c", b.dir+"/c.pid")
	b.until("both instances are master", 15*time.Second, func() bool {
		text := b.kernel("ip -o addr show dev lan0")
		return strings.Contains(text, "192.168.77.241/32") && strings.Contains(text, "192.168.77.242/32")
	})
	time.Sleep(time.Second)
}

// bfd has bird watch both gateways, where bird answers, and write the route.
func (b *bench) bfd() {
	b.Helper()
	labtest.NeedRoot(b, "bird", "birdc")
	b.routesByHand(false)
	const pace = "interface \"*\" { min rx interval 300 ms; min tx interval 300 ms; multiplier 3; };"
	host, route := "router id 192.168.77.1;\nprotocol device {}\nprotocol bfd { "+pace, "route 0.0.0.0/0"
	for _, isp := range b.world.ISPs {
		host += fmt.Sprintf(" neighbor %s dev %q local %s;", isp.Gateway, isp.Interface, isp.Static.Addr())
		route += fmt.Sprintf(" via %s bfd", isp.Gateway)
		b.bird(isp.Namespace(), fmt.Sprint("far", isp.Number), fmt.Sprintf("router id %s;\nprotocol device {}\n"+
			"protocol bfd { %s neighbor %s dev \"cust\" local %[1]s; }\n", isp.Gateway, pace, isp.Static.Addr()))
	}
	ask := b.bird(b.world.Host(), "near", host+" }\nprotocol static { ipv4; "+route+"; }\nprotocol kernel { ipv4 { export all; import none; }; }\n")
	b.until("both sessions are up, and the route is there", 15*time.Second, func() bool {
		return strings.Count(ask("show", "bfd", "sessions"), " Up ") == 2 && strings.Count(b.kernel("ip route show default"), "nexthop") == 2
	})
}
