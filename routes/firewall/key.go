package firewall

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A Key is a field of a packet that a table can tell packets apart by.
type Key uint8

// The keys there are, the cheaper look-ups first.
const (
	KeyInterface Key = iota // that it came in by, as 16 bytes
	KeyMAC
	KeyDPort
	KeyTo
	KeyFrom
)

var allKeys = []Key{KeyInterface, KeyMAC, KeyDPort, KeyTo, KeyFrom}

// Exact reports whether single values are told apart, not ranges.
func (k Key) Exact() bool { return k == KeyMAC }

// A KeyRange is a range of values of a key, as bytes of the length and order of the network.
type KeyRange struct {
	First  string
	Before string // the first value that is not in it any more; "": all to the last are
}

// Bounds of what a policy may name for a table to tell it apart. A policy that names more than that takes
// most of what comes, or is a look-up in a set by itself.
const (
	keyRangesMost = 64
	keyPortsMost  = 4096
	keyBitsLeast  = 8 // of a prefix; twice as many in IPv6
)

// keys returns, of each key, which values the packets have that m means: where there are none, the key says nothing.
func (m Match) keys() map[Key][]KeyRange {
	all := map[Key][]KeyRange{}
	for _, name := range m.In {
		begins, many := strings.CutSuffix(name, "*")
		r := single(interfaceValue(begins))
		if many {
			r.Before = string(interfaceValue(next([]byte(begins))))
		}
		all[KeyInterface] = append(all[KeyInterface], r)
	}
	for _, address := range m.MAC {
		all[KeyMAC] = append(all[KeyMAC], single(address))
	}
	width := 0
	for _, r := range m.DPort {
		first, last := binary.BigEndian.AppendUint16(nil, r.First), binary.BigEndian.AppendUint16(nil, r.Last)
		all[KeyDPort] = append(all[KeyDPort], KeyRange{string(first), next(last)})
		width += int(r.Last-r.First) + 1
	}
	if width > keyPortsMost {
		delete(all, KeyDPort)
	}
	if len(m.Names) == 0 {
		all[KeyTo] = m.To.keyRanges()
	}
	all[KeyFrom] = m.From.keyRanges()
	for k, list := range all {
		if len(list) == 0 || len(list) > keyRangesMost {
			delete(all, k)
		}
	}
	return all
}

// split reports whether some policy names a part of the interfaces that m names with a '*': nft (1.0.6) does not
// list names from one to another that are not all that begin alike.
func (m Match) split(by []Policy) bool {
	within := func(a, b string) bool {
		begins, many := strings.CutSuffix(b, "*")
		return many && a != b && strings.HasPrefix(a, begins)
	}
	return slices.ContainsFunc(m.In, func(name string) bool {
		return slices.ContainsFunc(by, func(p Policy) bool {
			return slices.ContainsFunc(p.Match.In, func(other string) bool { return within(other, name) })
		})
	})
}

// keyRanges returns the ranges of a set, nil when there are too many or one is wide.
func (p *Prefixes) keyRanges() []KeyRange {
	if p == nil || len(p.Ranges) > keyRangesMost {
		return nil
	}
	var list []KeyRange
	for _, r := range p.Ranges {
		least := keyBitsLeast
		if r.First.Is6() {
			least *= 2
		}
		if whole, err := r.First.Prefix(least); err != nil || !whole.Contains(r.Last) {
			return nil
		}
		list = append(list, KeyRange{string(r.First.AsSlice()), next(r.Last.AsSlice())})
	}
	return list
}

// interfaceValue returns the name of an interface as the kernel compares it.
func interfaceValue(name string) []byte {
	b := make([]byte, 16) // IFNAMSIZ
	copy(b, name)
	return b
}

// single is the range of one value.
func single(value []byte) KeyRange { return KeyRange{string(value), next(value)} }

// next returns the value that follows, "" after the last.
func next(value []byte) string {
	b := []byte(string(value))
	for i := len(b) - 1; i >= 0; i-- {
		b[i]++
		if b[i] != 0 {
			return string(b)
		}
	}
	return ""
}

// last returns the last value of a range of values that are as long as its first.
func (r KeyRange) last() string {
	b := []byte(r.Before)
	if r.Before == "" {
		return strings.Repeat("\xff", len(r.First))
	}
	for i := len(b) - 1; i >= 0; i-- {
		b[i]--
		if b[i] != 0xff {
			break
		}
	}
	return string(b)
}

// text returns the range as nft has it.
func (r KeyRange) text(k Key) string {
	first, last := k.text(r.First), k.text(r.last())
	switch {
	case r.last() == r.First:
		return first
	case first == last:
		return strings.TrimSuffix(first, `"`) + `*"` // all interfaces that begin so
	}
	return first + "-" + last
}

// text returns a value as nft has it.
func (k Key) text(value string) string {
	b := []byte(value)
	switch k {
	case KeyInterface:
		return strconv.Quote(string(trimRight(trimRight(b, 0xff), 0)))
	case KeyMAC:
		return net.HardwareAddr(b).String()
	case KeyDPort:
		return fmt.Sprint(binary.BigEndian.Uint16(b))
	case KeyTo, KeyFrom:
		address, _ := netip.AddrFromSlice(b)
		return address.String()
	}
	return ""
}

// word returns the key as nft has it.
func (k Key) word(v6 bool) string {
	return [...]string{"iifname", "ether saddr", "th dport", protocol(v6) + " daddr", protocol(v6) + " saddr"}[k]
}

func trimRight(b []byte, pad byte) []byte {
	for len(b) > 0 && b[len(b)-1] == pad {
		b = b[:len(b)-1]
	}
	return b
}
