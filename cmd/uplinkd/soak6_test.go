package main

import (
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/mdlayher/ndp"

	"uplinkd/internal/lab"
)

// looked is how all is looked at that the daemon may change.
func (s *soak) looked() []string {
	if !s.six {
		return everything
	}
	all := slices.Concat(everything, everything6)
	for i, command := range all { // what routes of IPv6 the kernel has of routers itself comes and goes
		all[i] = strings.Replace(command, "ip route show", "ip -4 route show", 1)
	}
	return all
}

// dialSoak6 opens a connection over IPv6.
func dialSoak6(n int) error {
	conn, err := net.DialTimeout("tcp6", fmt.Sprintf("[%s]:%d", lab.Somewhere6(n+1), lab.Port), lab.CallTimeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = lab.ReadCaller(conn)
	return err
}

// outages6 are those of one family of an uplink, and what a router does.
func (s *soak) outages6() []action {
	silent := func(v6 bool) func() {
		return func() {
			isp := s.isp()
			s.ok(isp.SilenceIn(v6, true))
			s.pause(200*time.Millisecond, 3*time.Second)
			s.ok(isp.SilenceIn(v6, false))
		}
	}
	return []action{
		{"silent in IPv6", 3 * time.Second, silent(true), onlyIPv6},
		{"silent in IPv4", 3 * time.Second, silent(false), onlyIPv4},
		{"router withdrawn", 3 * time.Second, func() {
			router := s.isp().Router
			s.ok(router.Change(func(a *ndp.RouterAdvertisement) { a.RouterLifetime = 0 }))
			s.pause(50*time.Millisecond, 2*time.Second)
			s.ok(router.Change(func(a *ndp.RouterAdvertisement) { a.RouterLifetime = lab.RouterLifetime }))
		}, onlyIPv6},
		{"another prefix", 3 * time.Second, func() {
			isp := s.world.ISPs[1+s.random.IntN(2)] // the first one's is the LAN's
			prefix := isp.Other6()
			if slices.Contains(s.status().Uplinks[isp.Number-1].IPv6.Prefixes, prefix) {
				prefix = isp.Delegated6()
			}
			isp.DHCP6.Change(lab.Lend{Prefix: prefix, Preferred: lab.PreferredLifetime, Valid: lab.ValidLifetime})
			s.until("the order to renew", 5*time.Second, func() bool {
				_, err := s.run("renew", fmt.Sprint("isp", isp.Number), "-c", s.config)
				return err == nil
			})
			s.until("another prefix", 30*time.Second, func() bool {
				return slices.Contains(s.status().Uplinks[isp.Number-1].IPv6.Prefixes, prefix)
			})
		}, onlyIPv6},
	}
}

// orders6 are an operator's about one family.
func (s *soak) orders6() []action {
	return []action{{"drain one family", 0, func() {
		name, family := fmt.Sprint("isp", 1+s.random.IntN(3)), []string{"ipv4", "ipv6"}[s.random.IntN(2)]
		for _, verb := range []string{"drain", "enable"} {
			if out, err := s.run(verb, name, "--family", family, "-c", s.config); err != nil {
				s.Errorf("%s: %v\n%s", verb, err, out)
			}
			s.pause(50*time.Millisecond, time.Second)
		}
	}, 0}}
}

// meddling6 is what other programs do to what is ours in IPv6.
func (s *soak) meddling6() []action {
	return []action{{"meddled in IPv6", time.Second, func() {
		commands := []string{
			"ip -6 rule del pref 20300", "ip -6 route del default metric 1", "ip -6 route flush table 502 proto 201",
			"ip -6 rule flush protocol 201", "ip -6 addr flush dev eth2 scope global", "echo 1 >/proc/sys/net/ipv6/conf/eth2/accept_ra",
			"ip -6 route append default via fe80::99 dev lan0 metric 1", "echo 0 >/proc/sys/net/ipv6/conf/all/forwarding; sleep 0.1; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding",
			"ip link set eth3 mtu 1279; sleep 0.2; ip link set eth3 mtu 1500",
		}
		for range 1 + s.random.IntN(3) {
			_ = exec.Command("sh", "-c", commands[s.random.IntN(len(commands))]).Run() // it may be away already
		}
	}, onlyIPv6}}
}
