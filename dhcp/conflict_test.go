package dhcp_test

import (
	"encoding/hex"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"uplinkd/dhcp"
	"uplinkd/internal/bubble"
)

var (
	leased   = netip.MustParseAddr("203.0.113.5")
	ourMAC   = [6]byte{2, 0, 0, 0, 0, 1}
	rivalMAC = [6]byte{2, 0, 0, 0, 0, 0x66}
)

func granted(m *dhcpv4.DHCPv4, _ bool) *dhcpv4.DHCPv4 { return ack(m, "203.0.113.5", hour) }

// checked is ethernet with another way to ask about an address.
func checked(c dhcp.AddressCheck) dhcp.Spec {
	spec := ethernet
	spec.Check = c
	return spec
}

// An address is asked about three times before it is used, and announced twice
// after (RFC 5227 sections 2.1.1 and 2.3).
func TestAddressIsProbedThenAnnounced(t *testing.T) {
	for _, c := range []struct {
		name        string
		check       dhcp.AddressCheck
		least, most time.Duration // from the acknowledgement to the use
		probes      int
	}{
		{"quick", dhcp.CheckQuick, 600 * time.Millisecond, 600 * time.Millisecond, 3},
		{"as RFC 5227 has it", dhcp.CheckRFC5227, 4 * time.Second, 7 * time.Second, 3},
		{"not at all", dhcp.CheckNone, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
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
	bubble.Test(t, func(t *testing.T) {
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
	bubble.Test(t, func(t *testing.T) {
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
	bubble.Test(t, func(t *testing.T) {
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
	bubble.Test(t, func(t *testing.T) {
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
	bubble.Test(t, func(t *testing.T) {
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
	bubble.Test(t, func(t *testing.T) {
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
		bubble.Test(t, func(t *testing.T) {
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
	bubble.Test(t, func(t *testing.T) {
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
		bubble.Test(t, func(t *testing.T) {
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

// restarted is a bench whose client finds a lease of an earlier process.
func restarted(t *testing.T, reply func(m *dhcpv4.DHCPv4, unicast bool) *dhcpv4.DHCPv4) *bench {
	t.Helper()
	now := time.Now()
	return newBenchWith(t, &memory{lease: &dhcp.Lease{
		Prefix: netip.MustParsePrefix("203.0.113.5/24"), Server: serverIP, Renew: now.Add(time.Hour),
		Rebind: now.Add(90 * time.Minute), Expire: now.Add(2 * time.Hour),
	}}, reply)
}

// No server answers after a restart: the kept address is asked about on the link
// before it serves on, and given up where another host has it by now. From the
// review of the conflict probe.
func TestKeptAddressIsProbedToo(t *testing.T) {
	silence := func(*dhcpv4.DHCPv4, bool) *dhcpv4.DHCPv4 { return nil }
	bubble.Test(t, func(t *testing.T) {
		b := restarted(t, silence)
		b.set(ethernet)
		b.wait(3700 * time.Millisecond)
		b.expectState(dhcp.Selecting, "203.0.113.5/24")
		if arps := b.takeARP(); len(arps) != 4 {
			t.Errorf("%d ARP packets, want three probes and an announcement", len(arps))
		}
	})
	bubble.Test(t, func(t *testing.T) {
		b := restarted(t, silence)
		b.link.arp = func(a dhcp.ARP) *dhcp.ARP {
			return &dhcp.ARP{Reply: true, SenderMAC: rivalMAC, Sender: a.Target, Target: a.Sender}
		}
		b.set(ethernet)
		b.wait(5 * time.Second)
		b.expectState(dhcp.Init, "")
	})
}

// An address in force is defended in every state, that of looking for a server
// included. From the review.
func TestDefendedWithoutAServer(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		silent := false
		b := newBench(t, func(m *dhcpv4.DHCPv4, _ bool) *dhcpv4.DHCPv4 {
			if silent {
				return nil
			}
			return ack(m, "203.0.113.5", hour)
		})
		b.set(ethernet)
		b.wait(time.Minute)
		b.script(func() { silent = true })
		lost := ethernet
		lost.Carrier = false
		b.set(lost)
		b.wait(time.Second)
		b.set(ethernet)
		b.wait(10 * time.Second)
		b.expectState(dhcp.Selecting, "203.0.113.5/24")
		b.takeARP()
		claim := dhcp.ARP{Reply: true, SenderMAC: rivalMAC, Sender: leased, Target: routerIP}
		b.link.conn.hear(claim)
		b.wait(time.Second)
		b.link.conn.hear(claim)
		b.wait(time.Second)
		if sent := b.takeARP(); len(sent) != 1 || b.last().Conflict.MAC == "" {
			t.Errorf("%d announcements, conflict %+v; want it defended once and reported", len(sent), b.last().Conflict)
		}
	})
}

// A rival that speaks up once in a while is reported too, and forgotten when it
// has been silent for ten minutes. From the review.
func TestSlowRival(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := newBench(t, granted)
		b.set(ethernet)
		b.wait(time.Minute)
		for range 3 {
			b.link.conn.hear(dhcp.ARP{SenderMAC: rivalMAC, Sender: leased, Target: leased})
			b.wait(time.Minute)
		}
		if b.last().Conflict.MAC == "" {
			t.Error("one claim a minute was not reported")
		}
		b.wait(9 * time.Minute)
		if c := b.last().Conflict; c.MAC != "" {
			t.Errorf("still reported after ten minutes of silence: %+v", c)
		}
	})
}

// Another name, or other options, do not put an address in use to the question on
// the link again: one packet of a rival would end it. From the review.
func TestNewSpecOnTheSameLink(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := newBench(t, granted)
		b.set(ethernet)
		b.wait(time.Minute)
		b.take()
		b.takeARP()
		b.link.arp = func(a dhcp.ARP) *dhcp.ARP {
			return &dhcp.ARP{Reply: true, SenderMAC: rivalMAC, Sender: a.Target, Target: a.Sender}
		}
		renamed := ethernet
		renamed.Uplink = "fiber"
		b.set(renamed)
		b.wait(time.Second)
		if sent := b.take(); len(sent) != 0 {
			t.Errorf("another name: sent %s", kinds(sent))
		}
		renamed.Mark = 7
		b.set(renamed)
		b.wait(time.Second)
		b.expectState(dhcp.Bound, "203.0.113.5/24")
		if sent := b.take(); kinds(sent) != "R" {
			t.Errorf("another mark: sent %s, want it confirmed", kinds(sent))
		}
	})
}

// A server that takes its time: the lease runs from the request, the request has
// the transaction and the seconds of the last DISCOVER, and T1 is a random part
// before half of the lease.
func TestSlowServer(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		heard := 0
		b := newBench(t, func(m *dhcpv4.DHCPv4, _ bool) *dhcpv4.DHCPv4 {
			if heard++; heard < 3 { // DISCOVER, and again
				return nil
			}
			return ack(m, "203.0.113.5", hour)
		})
		b.link.delay = 2 * time.Second
		b.set(checked(dhcp.CheckNone))
		b.wait(time.Minute)
		b.expectState(dhcp.Bound, "203.0.113.5/24")
		sent := b.take()
		if kinds(sent) != "DDDR" {
			t.Fatalf("sent %s", kinds(sent))
		}
		discover, request := sent[2], sent[3]
		if discover.message.NumSeconds == 0 || request.message.NumSeconds != discover.message.NumSeconds ||
			request.message.TransactionID != discover.message.TransactionID {
			t.Errorf("secs %d and %d, transactions %s and %s; want the DISCOVER's", discover.message.NumSeconds,
				request.message.NumSeconds, discover.message.TransactionID, request.message.TransactionID)
		}
		lease := b.last().Lease
		if got := lease.Expire.Sub(b.start.Add(request.at)); got != hour*time.Second {
			t.Errorf("the lease ends %v after the request, want an hour", got)
		}
		early := b.start.Add(request.at + hour*time.Second/2).Sub(lease.Renew)
		if early <= 0 || early > hour*time.Second/64 {
			t.Errorf("T1 is %v before half of the lease, want a random part of it", early)
		}
	})
}

// A second server's refusal of its own offer says nothing of the lease in force;
// nor does a refusal by a server that was not asked, or an acknowledgement of
// another address. From the review.
func TestStrangersAnswers(t *testing.T) {
	other := netip.MustParseAddr("203.0.113.2")
	by := func(m *dhcpv4.DHCPv4, server netip.Addr) *dhcpv4.DHCPv4 {
		m.UpdateOption(dhcpv4.OptServerIdentifier(server.AsSlice()))
		return m
	}
	bubble.Test(t, func(t *testing.T) {
		flapped := false
		b := newBench(t, func(m *dhcpv4.DHCPv4, _ bool) *dhcpv4.DHCPv4 {
			switch {
			case !flapped:
				return ack(m, "203.0.113.5", hour)
			case m.MessageType() == dhcpv4.MessageTypeDiscover:
				return by(ack(m, "203.0.113.77", hour), other)
			case m.ServerIdentifier() != nil:
				return by(nak(m), other)
			}
			return nil
		})
		b.set(ethernet)
		b.wait(time.Minute)
		b.script(func() { flapped = true })
		lost := ethernet
		lost.Carrier = false
		b.set(lost)
		b.set(ethernet)
		b.wait(time.Minute)
		if lease := b.last().Lease; lease == nil || lease.Prefix.Addr() != leased {
			t.Errorf("the lease that nobody refused is gone: %+v", b.last())
		}
	})
	bubble.Test(t, func(t *testing.T) {
		b := newBench(t, func(m *dhcpv4.DHCPv4, _ bool) *dhcpv4.DHCPv4 {
			if m.MessageType() == dhcpv4.MessageTypeDiscover {
				return ack(m, "203.0.113.5", hour)
			}
			return by(nak(m), other)
		})
		b.set(ethernet)
		b.wait(10 * time.Second)
		b.expectState(dhcp.Requesting, "")
	})
	bubble.Test(t, func(t *testing.T) {
		b := newBench(t, func(m *dhcpv4.DHCPv4, _ bool) *dhcpv4.DHCPv4 {
			if m.MessageType() == dhcpv4.MessageTypeDiscover {
				return ack(m, "203.0.113.5", hour)
			}
			return ack(m, "203.0.113.6", hour)
		})
		b.set(ethernet)
		b.wait(10 * time.Second)
		b.expectState(dhcp.Requesting, "")
	})
}

// A server that offers and then falls silent does not keep another from being
// heard. From the review.
func TestServerThatNeverAcknowledges(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		good := netip.MustParseAddr("203.0.113.2")
		b := newBench(t, func(m *dhcpv4.DHCPv4, _ bool) *dhcpv4.DHCPv4 {
			if m.MessageType() == dhcpv4.MessageTypeDiscover {
				return ack(m, "203.0.113.5", hour)
			}
			if server, _ := netip.AddrFromSlice(m.ServerIdentifier().To4()); server == good {
				r := ack(m, "203.0.113.7", hour)
				r.UpdateOption(dhcpv4.OptServerIdentifier(good.AsSlice()))
				return r
			}
			return nil
		})
		b.link.also = func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { // a moment after the first
			if m.MessageType() != dhcpv4.MessageTypeDiscover {
				return nil
			}
			r := ack(m, "203.0.113.7", hour)
			r.UpdateOption(dhcpv4.OptServerIdentifier(good.AsSlice()))
			return r
		}
		b.set(ethernet)
		b.wait(3 * time.Minute)
		b.expectState(dhcp.Bound, "203.0.113.7/24")
	})
}

// A server that wants to hear from us each second is not heeded.
func TestT1IsBounded(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := newBench(t, func(m *dhcpv4.DHCPv4, _ bool) *dhcpv4.DHCPv4 {
			return ack(m, "203.0.113.5", 86400,
				dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionRenewTimeValue, []byte{0, 0, 0, 1})),
				dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionRebindingTimeValue, []byte{0, 0, 0, 2})))
		})
		b.set(ethernet)
		b.wait(time.Hour)
		if sent := b.take(); kinds(sent) != "DR" {
			t.Errorf("%d messages in an hour", len(sent))
		}
	})
}

// Nine conflicts, a lease, and one more: the count has begun anew.
func TestConflictsAreForgotten(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		conflicts := 9
		b := newBench(t, granted)
		b.link.arp = func(a dhcp.ARP) *dhcp.ARP {
			if conflicts == 0 || !a.Sender.IsUnspecified() {
				return nil
			}
			conflicts--
			return &dhcp.ARP{Reply: true, SenderMAC: rivalMAC, Sender: a.Target, Target: a.Sender}
		}
		b.set(ethernet)
		b.wait(5 * time.Minute)
		b.expectState(dhcp.Bound, "203.0.113.5/24")
		b.script(func() { conflicts = 1 })
		lost := ethernet
		lost.Carrier = false
		b.set(lost)
		b.wait(time.Second)
		b.set(ethernet)
		b.wait(15 * time.Second)
		b.expectState(dhcp.Bound, "203.0.113.5/24")
	})
}
