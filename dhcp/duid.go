package dhcp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"strings"
)

// HostDUID returns the DUID-UUID (RFC 6355) of a host, made of its machine id
// (machine-id(5)), the same for all its interfaces and over restarts; nil when
// that is none. The machine id itself is not to be told to others: what stands
// in the DUID is keyed with our name.
func HostDUID(machineID string) []byte {
	id, err := hex.DecodeString(strings.TrimSpace(machineID))
	if err != nil || len(id) != 16 {
		return nil
	}
	keyed := hmac.New(sha256.New, id)
	keyed.Write([]byte("uplinkd DUID"))
	uuid := keyed.Sum(nil)[:16]
	uuid[6] = uuid[6]&0x0f | 0x40 // version 4, RFC 9562 section 5.4
	uuid[8] = uuid[8]&0x3f | 0x80
	return append([]byte{0, 4}, uuid...)
}

// IAID returns the identity association of an interface, which tells one of a
// host's clients from another (RFC 4361 section 6.1).
func IAID(name string) [4]byte {
	h := fnv.New32a()
	h.Write([]byte(name))
	return [4]byte(binary.BigEndian.AppendUint32(nil, h.Sum32()))
}
