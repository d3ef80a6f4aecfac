package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
)

// An end is read as the kernel writes it: words in this host's order.
func TestHexEnd(t *testing.T) {
	for _, text := range []string{"192.0.2.1:22", "[2001:db8::1]:65535"} {
		want := netip.MustParseAddrPort(text)
		b := want.Addr().AsSlice()
		for word := b; len(word) > 0; word = word[4:] {
			binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32(word))
		}
		if got, ok := hexEnd(fmt.Sprintf("%s:%04X", hex.EncodeToString(b), want.Port())); !ok || got != want {
			t.Errorf("%s was read as %s, %v", want, got, ok)
		}
	}
	for _, text := range []string{"", ":", "0:0", "01020304", "010203:0016", "zz020304:0016", "01020304:10000"} {
		if got, ok := hexEnd(text); ok {
			t.Errorf("%q was read as %s", text, got)
		}
	}
}

// SSH_CONNECTION counts if the kernel knows such a connection, and not otherwise.
func TestLoginIsVerified(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.Dial("tcp4", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	local, peer := netip.MustParseAddrPort(listener.Addr().String()), netip.MustParseAddrPort(conn.LocalAddr().String())
	set := func(port uint16) {
		t.Setenv("SSH_CONNECTION", fmt.Sprintf("%s %d %s %d", peer.Addr(), peer.Port(), local.Addr(), port))
	}
	set(local.Port())
	// Where the test itself is run over SSH, that connection is found first.
	if l := login(); l == nil || l.Local != local && l.Local.Addr().IsLoopback() {
		t.Errorf("found %+v, want %s from %s", l, local, peer)
	}
	set(local.Port() ^ 1)
	if l := login(); l != nil && l.Peer == peer {
		t.Errorf("found %+v, which the kernel does not know", l)
	}
	if name, parent := processOf(os.Getpid()); name == "" || parent != os.Getppid() {
		t.Errorf("this process is %q, of %d", name, parent)
	}
}
