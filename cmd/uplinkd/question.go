package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/user"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"uplinkd/configs"
	"uplinkd/routes"
	"uplinkd/routes/firewall"
	"uplinkd/routes/kernel"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

// A question is the packet that `uplinkd explain` is asked about.
type question struct {
	packet routes.Packet
	first  configs.Connection // what policies see of it

	from, proto, mac, user string
	dscp                   int

	asked []string // the policies that mean it, up to the one that counts
}

func (q *question) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&q.from, "from", "", "the packet's source address")
	f.StringVar(&q.packet.In, "in", "", "the interface it comes in by; without it this host sends it")
	f.Uint32Var(&q.packet.Mark, "mark", 0, "the packet's mark, such as 0x97; no policy is asked then")
	f.StringVar(&q.proto, "proto", "", "tcp, udp or icmp")
	f.Uint16Var(&q.packet.SPort, "sport", 0, "the source port")
	f.Uint16Var(&q.packet.DPort, "dport", 0, "the destination port")
	f.StringVar(&q.mac, "mac", "", "the Ethernet address it comes from")
	f.StringVar(&q.user, "user", "", "the user whose program sends it")
	f.StringVar(&q.first.Unit, "unit", "", "the unit of systemd that sends it")
	f.StringVar(&q.first.Cgroup, "cgroup", "", "the control group that sends it")
	f.IntVar(&q.dscp, "dscp", -1, "its differentiated services code point")
}

// read makes a packet of what was given.
func (q *question) read(to string) error {
	p := &q.packet
	var err error
	if p.To, err = netip.ParseAddr(to); err != nil || p.To.Is4In6() || p.To.Zone() != "" {
		return fmt.Errorf("%q: DEST must be an IP address", to)
	}
	if p.From, err = netip.ParseAddr(q.from); q.from != "" && (err != nil || p.From.Is6() != p.To.Is6()) {
		return fmt.Errorf("--from %q: must be an address of the family of %s", q.from, p.To)
	}
	protocols := map[string]uint8{"": 0, "icmp": 1, "tcp": 6, "udp": 17}
	if p.To.Is6() {
		protocols["icmp"] = 58 // ICMPv6
	}
	number, known := protocols[q.proto]
	if !known {
		return fmt.Errorf("--proto %q: must be tcp, udp or icmp", q.proto)
	}
	if (p.SPort != 0 || p.DPort != 0) && number != 6 && number != 17 {
		return errors.New("ports need --proto tcp or udp")
	}
	p.Protocol = number
	q.first.From, q.first.To, q.first.In, q.first.Protocol = p.From, p.To, p.In, number
	q.first.SPort, q.first.DPort = p.SPort, p.DPort
	return q.readSender()
}

// readSender reads who sends it.
func (q *question) readSender() (err error) {
	if q.first.MAC, err = net.ParseMAC(q.mac); q.mac != "" && err != nil {
		return fmt.Errorf("--mac %q: must be an Ethernet address, such as 02:00:5e:10:00:01", q.mac)
	}
	if q.user != "" {
		number := q.user
		if known, err := user.Lookup(q.user); err == nil {
			number = known.Uid
		}
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return fmt.Errorf("--user %q: must be a user of this host, by name or number", q.user)
		}
		id := uint32(n)
		q.first.User = &id
	}
	if q.dscp > 63 {
		return fmt.Errorf("--dscp %d: must be 0 to 63", q.dscp)
	}
	if q.dscp >= 0 {
		dscp := uint8(q.dscp)
		q.first.DSCP = &dscp
	}
	return nil
}

// lookUpNames asks the kernel which of the sets that a DNS server fills have the destination.
func (q *question) lookUpNames(ctx context.Context, c configs.Config) error {
	for _, p := range c.Policies {
		for _, names := range [][]string{p.To.Names, p.Not.To.Names} {
			for _, name := range names {
				set := firewall.NameSet(name, q.packet.To.Is6())
				has, err := kernel.InSet(ctx, uplink.Owner(c).Table(), set, q.packet.To)
				if err != nil {
					return fmt.Errorf("look %s up in the set %s: %w", q.packet.To, set, err)
				}
				if has {
					q.first.Names = append(q.first.Names, name)
				}
			}
		}
	}
	return nil
}

// policy returns the policy that counts, where it leads now, and whether it refuses. Without a daemon
// nobody knows where.
func (q *question) policy(c configs.Config, status api.Snapshot, running bool) (name, leads string, refused bool) {
	in := func(u configs.Uplink) bool { return u.Interface == q.packet.In }
	if slices.ContainsFunc(c.Uplinks, in) {
		return "", "", false // what comes in by an uplink is that uplink's
	}
	for _, p := range configs.Meant(c.Policies, q.first, c.Lists, time.Now()) {
		q.asked = append(q.asked, p.Name)
		if !running {
			return p.Name, "", false
		}
		for _, now := range status.Policies {
			if now.Name == p.Name && q.packet.To.Is6() {
				leads = now.LeadsIPv6
			} else if now.Name == p.Name {
				leads = now.Leads
			}
		}
		switch leads {
		case uplink.LeadsNext:
			continue
		case uplink.LeadsNowhere:
			return p.Name, leads, true
		}
		return p.Name, leads, false
	}
	return "", "", false
}

// sticky reports whether a policy keeps sources to one uplink.
func (q *question) sticky(c configs.Config, policy string) bool {
	return slices.ContainsFunc(c.Policies, func(p configs.Policy) bool {
		return p.Name == policy && p.Sticky != configs.StickyNone
	})
}

// markOf returns the mark of an uplink, 0 when there is none of that name.
func markOf(c configs.Config, name string) uint32 {
	for i := range c.Uplinks {
		if c.Uplinks[i].Name == name {
			return c.Uplinks[i].FwMark
		}
	}
	return 0
}
