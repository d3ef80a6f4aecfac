package dhcp_test

import (
	"encoding/hex"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"uplinkd/dhcp"
)

var (
	leased   = netip.MustParseAddr("203.0.113.5")
	ourMAC   = [6]byte{2, 0, 0, 0, 0, 1}
	rivalMAC = [6]byte{2, 0, 0, 0, 0, 0x66}
)

func granted(m *dhcpv4.DHCPv4, _ bool) *dhcpv4.DHCPv4 { return ack(m, "203.0.113.5", hour) }

// checked is ethernet with another way to ask about an address.
func checked(c dhcp.Check) dhcp.Spec {
	spec := ethernet
	spec.Check = c
	return spec
}

// An address is asked about three times before it is used, and announced twice
// after (RFC 5227 sections 2.1.1 and 2.3).
func TestAddressIsProbedThenAnnounced(t *testing.T) {
	for _, c := range []struct {
		name        string
		check       dhcp.Check
		least, most time.Duration // from the acknowledgement to the use
		probes      int
	}{
		{"quick", dhcp.CheckQuick, 600 * time.Millisecond, 600 * time.Millisecond, 3},
		{"as RFC 5227 has it", dhcp.CheckRFC5227, 4 * time.Second, 7 * time.Second, 3},
		{"not at all", dhcp.CheckNone, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, granted)
				b.set(checked(c.check))
				b.wait(20 * time.Second)
				b.expectState(dhcp.Bound, "203.0.113.5/24")
				arps := b.takeARP()
				if len(arps) != c.probes+2 {
					t.Fatalf("%d ARP packets, want %d probes and 2 announcements: %v", len(arps), c.probes, arps)
				}
				const acknowledged = 2 * time.Millisecond // two answers of a millisecond each
				for i, a := range arps {
					want := dhcp.ARP{SenderMAC: ourMAC, Sender: netip.IPv4Unspecified(), Target: leased}
					if i >= c.probes {
						want.Sender = leased
					}
					if a.ARP != want {
						t.Errorf("packet %d is %+v, want %+v", i, a.ARP, want)
					}
				}
				if used := arps[c.probes].at - acknowledged; used < c.least || used > c.most {
					t.Errorf("used %v after the acknowledgement, want %v to %v", used, c.least, c.most)
				}
				if gap := arps[c.probes+1].at - arps[c.probes].at; gap != 2*time.Second {
					t.Errorf("%v between the announcements, want 2s", gap)
				}
			})
		})
	}
}

// Another host has the address: it is declined, and after ten seconds the server
// is asked for another. The address is never in force.
func TestDecline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		address := "203.0.113.5"
		b := newBench(t, func(m *dhcpv4.DHCPv4, _ bool) *dhcpv4.DHCPv4 {
			if m.MessageType() == dhcpv4.MessageTypeDecline {
				address = "203.0.113.6"
				return nil
			}
			return ack(m, address, hour)
		})
		b.link.arp = func(a dhcp.ARP) *dhcp.ARP {
			if a.Target != leased {
				return nil
			}
			return &dhcp.ARP{Reply: true, SenderMAC: rivalMAC, Sender: a.Target, Target: a.Sender}
		}
		spec := ethernet
		spec.Options = dhcp.Options{HostName: "gw", VendorClass: "modem"}
		b.set(spec)
		b.wait(9 * time.Second)
		b.expectState(dhcp.Init, "")
		sent := b.take()
		if kinds(sent) != "DRX" {
			t.Fatalf("sent %s, want DISCOVER, REQUEST and DECLINE", kinds(sent))
		}
		saysLittle(t, sent[2].message)
		if got := sent[2].message.RequestedIPAddress().String(); got != "203.0.113.5" {
			t.Errorf("declined %s", got)
		}
		b.wait(5 * time.Second)
		b.expectState(dhcp.Bound, "203.0.113.6/24")
		after := b.take()
		if kinds(after) != "DR" || after[0].at-sent[2].at < 10*time.Second {
			t.Errorf("sent %s, %v after the DECLINE; want to wait ten seconds", kinds(after), after[0].at-sent[2].at)
		}
		for _, c := range b.changes {
			if c.Lease != nil && c.Lease.Prefix.Addr() == leased {
				t.Errorf("the address of another host was in force: %+v", c)
			}
		}
	})
}

// saysLittle checks what RFC 2131 table 5 lets stand in a DECLINE or RELEASE.
func saysLittle(t *testing.T, m *dhcpv4.DHCPv4) {
	t.Helper()
	allowed := map[uint8]bool{50: true, 53: true, 54: true, 61: true}
	for code := range m.Options {
		if !allowed[code] {
			t.Errorf("option %d stands in a %s", code, m.MessageType())
		}
	}
	if m.NumSeconds != 0 || m.IsBroadcast() || m.ServerIdentifier() == nil {
		t.Errorf("not as RFC 2131 table 5 has it: %s", m.Summary())
	}
}

func TestReleaseAndDeclineSayLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, granted)
		spec := ethernet
		spec.Options = dhcp.Options{HostName: "gw", VendorClass: "modem", LeaseTime: hour * time.Second, Broadcast: true}
		b.set(spec)
		b.wait(time.Minute)
		b.take()
		b.client.Set(nil, true)
		b.wait(time.Second)
		release := b.take()
		if kinds(release) != "Lu" {
			t.Fatalf("sent %s, want a RELEASE", kinds(release))
		}
		saysLittle(t, release[0].message)
	})
}

// Ten conflicts in a row: from there on a minute lies between two attempts (RFC
// 5227 section 2.1.1).
func TestConflictsForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, granted)
		b.link.arp = func(a dhcp.ARP) *dhcp.ARP {
			// A probe of another host for the same address counts as well.
			return &dhcp.ARP{SenderMAC: rivalMAC, Sender: netip.IPv4Unspecified(), Target: a.Target}
		}
		b.set(ethernet)
		b.wait(time.Hour)
		var declines []time.Duration
		for _, s := range b.take() {
			if s.kind == dhcpv4.MessageTypeDecline {
				declines = append(declines, s.at)
			}
		}
		if len(declines) < 60 || len(declines) > 70 {
			t.Fatalf("%d conflicts in an hour, want about one a minute", len(declines))
		}
		for i := 10; i < len(declines); i++ {
			if gap := declines[i] - declines[i-1]; gap < time.Minute {
				t.Errorf("%v between conflicts %d and %d", gap, i-1, i)
			}
		}
	})
}

// What we hear of ourselves, from a switch that sends it back, is no conflict.
func TestOwnProbeIsNoConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, granted)
		b.link.arp = func(a dhcp.ARP) *dhcp.ARP { return &a }
		b.set(ethernet)
		b.wait(time.Minute)
		b.expectState(dhcp.Bound, "203.0.113.5/24")
	})
}

// Another host claims the address in force: it is told off once. If it goes on
// it is reported, and the address stays; ten seconds later it is told off again.
func TestConflictInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, granted)
		b.set(ethernet)
		b.wait(time.Minute)
		b.takeARP()
		claim := dhcp.ARP{Reply: true, SenderMAC: rivalMAC, Sender: leased, Target: routerIP}
		b.link.conn.hear(claim)
		b.wait(time.Second)
		defence := b.takeARP()
		if len(defence) != 1 || defence[0].ARP != (dhcp.ARP{SenderMAC: ourMAC, Sender: leased, Target: leased}) {
			t.Fatalf("sent %v, want one announcement", defence)
		}
		if c := b.last().Conflict; c.MAC != "" {
			t.Errorf("reported before it was defended: %+v", c)
		}
		for range 5 {
			b.link.conn.hear(claim)
			b.wait(100 * time.Millisecond)
		}
		if sent := b.takeARP(); len(sent) != 0 {
			t.Errorf("defended again at once: %v", sent)
		}
		if c := b.last().Conflict; c.MAC != "02:00:00:00:00:66" {
			t.Errorf("reported %+v, want the other host's MAC", c)
		}
		b.expectState(dhcp.Bound, "203.0.113.5/24")
		b.wait(10 * time.Second)
		b.link.conn.hear(claim)
		b.wait(time.Second)
		if sent := b.takeARP(); len(sent) != 1 {
			t.Errorf("%d announcements ten seconds later, want one", len(sent))
		}
	})
}

// The card has been changed under a lease: it is confirmed at once, under the new
// address, and in force until a server says otherwise.
func TestMACChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, granted)
		b.set(ethernet)
		b.wait(time.Minute)
		b.take()
		before := len(b.changes)
		spec := ethernet
		spec.MAC = "02:00:00:00:00:02"
		b.set(spec)
		b.wait(10 * time.Millisecond)
		sent := b.take()
		if kinds(sent) != "R" || sent[0].message.RequestedIPAddress().String() != "203.0.113.5" ||
			sent[0].message.ClientHWAddr.String() != spec.MAC || sent[0].message.ServerIdentifier() != nil {
			t.Fatalf("sent %s, want one REQUEST as INIT-REBOOT has it, from the new MAC", kinds(sent))
		}
		b.wait(time.Second)
		b.expectState(dhcp.Bound, "203.0.113.5/24")
		for _, c := range b.changes[before:] {
			if c.Lease == nil {
				t.Errorf("the lease was dropped: %+v", c)
			}
		}
	})
}

// The DUID is of the host and the IAID of the interface (RFC 4361 section 6.1);
// the machine id itself does not show.
func TestDUID(t *testing.T) {
	ids := map[string]bool{}
	for _, name := range []string{"eth1", "eth2"} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, granted)
			spec := ethernet
			spec.Interface, spec.Options.SendDUID = name, true
			b.set(spec)
			b.wait(time.Second)
			id := b.take()[0].message.Options.Get(dhcpv4.OptionClientIdentifier)
			if len(id) != 1+4+2+16 || id[0] != 255 || id[5] != 0 || id[6] != 4 {
				t.Fatalf("client id % x, want type 255, IAID and a DUID-UUID", id)
			}
			ids[hex.EncodeToString(id[:5])] = true
			ids[hex.EncodeToString(id[5:])] = true
		})
	}
	if len(ids) != 3 {
		t.Errorf("%v: want two IAIDs and one DUID", ids)
	}
	for _, bad := range []string{"", "uninitialized\n", "0011", "zz112233445566778899aabbccddeeff"} {
		if duid := dhcp.HostDUID(bad); duid != nil {
			t.Errorf("machine id %q made a DUID: % x", bad, duid)
		}
	}
}

// Options that a server has put where the message's file and server name belong
// (option 52) are not read, and those names are nothing to us.
func TestOverloadIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(m *dhcpv4.DHCPv4, _ bool) *dhcpv4.DHCPv4 {
			r := ack(m, "203.0.113.5", hour)
			r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionOptionOverload, []byte{3}))
			delete(r.Options, dhcpv4.OptionRouter.Code())
			r.ServerHostName = "\x03\x04\xc6\x33\x64\x42\xff" // router 198.51.100.66
			r.BootFileName = "\x03\x04\xc6\x33\x64\x42\xff"
			return r
		})
		b.set(ethernet)
		b.wait(time.Second)
		b.expectState(dhcp.Bound, "203.0.113.5/24")
		if router := b.last().Lease.Router; router.IsValid() {
			t.Errorf("took the router %s out of the server name", router)
		}
	})
}

// The MTU is read where it can be one.
func TestMTU(t *testing.T) {
	for _, c := range []struct {
		option []byte
		want   int
	}{
		{[]byte{0x05, 0x78}, 1400}, {[]byte{0, 68}, 68}, {[]byte{0, 67}, 0}, {[]byte{5}, 0}, {[]byte{0, 0, 5, 0x78}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, func(m *dhcpv4.DHCPv4, _ bool) *dhcpv4.DHCPv4 {
				return ack(m, "203.0.113.5", hour, dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, c.option)))
			})
			b.set(ethernet)
			b.wait(time.Second)
			b.expectState(dhcp.Bound, "203.0.113.5/24")
			if got := b.last().Lease.MTU; got != c.want {
				t.Errorf("option 26 % x gives %d, want %d", c.option, got, c.want)
			}
		})
	}
}
