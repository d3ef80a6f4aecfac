package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"uplinkd/uplink/api"
)

// ancestorsMost bounds how far up a login is looked for.
const ancestorsMost = 32

// login returns the SSH connection that this command was typed over; nil when it was not,
// or nobody can tell. It is that of a parent process which is a server of SSH, for sudo
// hides the environment; otherwise what SSH_CONNECTION says (ssh(1)), if the kernel knows
// such a connection: a terminal may have outlived the login that it was opened by.
func login() *api.Login {
	pid := os.Getppid()
	for range ancestorsMost {
		if pid <= 1 {
			break
		}
		name, parent := processOf(pid)
		if isSSH(name) {
			if l := established(pid); l != nil {
				return l
			}
		}
		pid = parent
	}
	fields := strings.Fields(os.Getenv("SSH_CONNECTION"))
	if len(fields) != 4 {
		return nil
	}
	peer, errPeer := endOf(fields[0], fields[1])
	local, errLocal := endOf(fields[2], fields[3])
	if errPeer != nil || errLocal != nil {
		return nil
	}
	for _, c := range connectionsOf("thread-self") {
		if c.local == local && c.peer == peer {
			return &api.Login{Local: local, Peer: peer}
		}
	}
	return nil
}

// logins returns the SSH connections of those who are logged in to this host: of each server process with a program of
// its own, and the one that this command was typed over. Who only knocks has no program.
func logins() (list []api.Login) {
	entries, _ := os.ReadDir("/proc") // what cannot be read says nothing
	servers, serves := map[int]bool{}, map[int]bool{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if name, parent := processOf(pid); isSSH(name) {
			servers[pid] = true
		} else {
			serves[parent] = true
		}
	}
	for pid := range servers {
		if l := established(pid); l != nil && serves[pid] {
			list = append(list, *l)
		}
	}
	if l := login(); l != nil && !slices.Contains(list, *l) {
		list = append(list, *l)
	}
	return list
}

// isSSH reports whether a process of that name is a server of SSH, or one of its sessions.
func isSSH(name string) bool {
	return strings.HasPrefix(name, "sshd") || strings.HasPrefix(name, "dropbear")
}

func endOf(address, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), err
}

// processOf returns a process's name and parent (proc_pid_stat(5)); the name may hold
// brackets and blanks.
func processOf(pid int) (name string, parent int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	begin, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if err != nil || begin < 0 || end < begin {
		return "", 0
	}
	fields := strings.Fields(string(b[end+1:]))
	if len(fields) < 2 {
		return "", 0
	}
	parent, _ = strconv.Atoi(fields[1]) // the kernel writes a number
	return string(b[begin+1 : end]), parent
}

// established returns the connection that a process has had for longest, by the number of
// its descriptor: a server of SSH has that of the login first, and those that it forwards
// later.
func established(pid int) *api.Login {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return number(a) - number(b) })
	connections := map[string]connection{}
	for _, c := range connectionsOf(strconv.Itoa(pid)) {
		connections[c.inode] = c
	}
	for _, e := range entries {
		target, err := os.Readlink(dir + "/" + e.Name())
		inode, ok := strings.CutPrefix(target, "socket:[")
		c, known := connections[strings.TrimSuffix(inode, "]")]
		if err == nil && ok && known && !c.local.Addr().IsLoopback() {
			return &api.Login{Local: c.local, Peer: c.peer}
		}
	}
	return nil
}

func number(e os.DirEntry) int {
	n, _ := strconv.Atoi(e.Name()) // the kernel writes a number
	return n
}

// A connection is one of TCP, as the kernel lists it.
type connection struct {
	local, peer netip.AddrPort
	inode       string
}

// connectionsOf returns the established connections of TCP in the network namespace of a
// process, as its directory in /proc is named (proc_pid_net(5)).
func connectionsOf(process string) (list []connection) {
	for _, name := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile("/proc/" + process + "/net/" + name)
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) < 10 || fields[3] != stateEstablished {
				continue
			}
			local, okLocal := hexEnd(fields[1])
			peer, okPeer := hexEnd(fields[2])
			if okLocal && okPeer {
				list = append(list, connection{local, peer, fields[9]})
			}
		}
	}
	return list
}

const stateEstablished = "01"

// hexEnd reads an end of a connection as /proc writes it: the address in words of four
// bytes, each in the host's order, and the port.
func hexEnd(text string) (netip.AddrPort, bool) {
	address, port, ok := strings.Cut(text, ":")
	b, err := hex.DecodeString(address)
	n, errPort := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || errPort != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for word := b; len(word) > 0; word = word[4:] {
		binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32(word))
	}
	a, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), ok
}
