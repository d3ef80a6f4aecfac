package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
	"uplinkd/routes"
)

// Attributes and values of rules (include/uapi/linux/fib_rules.h). The
// library's own rule code drops the suppress length for tables of 256 and more
// and deletes by wildcard, so messages are built and read here.
const (
	fraDst               = 1
	fraSrc               = 2
	fraIIFName           = 3
	fraGoto              = 4
	fraPriority          = 6
	fraFWMark            = 10
	fraFlow              = 11
	fraTunID             = 12
	fraSuppressIfgroup   = 13
	fraSuppressPrefixlen = 14
	fraTable             = 15
	fraFWMask            = 16
	fraOIFName           = 17
	fraL3MDev            = 19
	fraUIDRange          = 20
	fraProtocol          = 21
	fraIPProto           = 22
	fraLast              = 30 // those from fraIPProto on are all further matches

	actionToTable = 1         // FR_ACT_TO_TBL
	actionNowhere = 7         // FR_ACT_UNREACHABLE
	ruleInvert    = 2         // FIB_RULE_INVERT
	unset         = 1<<32 - 1 // -1: no suppression

	// ruleHeader is the size of struct fib_rule_hdr, which has rtmsg's layout.
	ruleHeader = 12
)

var native = binary.NativeEndian

func (k *Kernel) addRule(r routes.Rule) error {
	err := k.sendRule(r, unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	return ignore(err, unix.EEXIST)
}

func (k *Kernel) deleteRule(r routes.Rule) error {
	// Every field of ours is named, the tag too: what a delete leaves out is a
	// wildcard (rule_find in net/core/fib_rules.c).
	return ignore(k.sendRule(r, unix.RTM_DELRULE, unix.NLM_F_ACK), unix.ENOENT, unix.ESRCH)
}

func (k *Kernel) sendRule(r routes.Rule, command, flags int) error {
	req := nl.NewNetlinkRequest(command, flags)
	req.Sockets = k.rules
	req.AddRawData(encodeRule(r))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func encodeRule(r routes.Rule) []byte {
	b := make([]byte, ruleHeader, 96)
	b[0] = unix.AF_INET
	if r.V6 {
		b[0] = unix.AF_INET6
	}
	if r.Table < 256 {
		b[4] = uint8(r.Table)
	}
	b[7] = actionToTable
	if r.Unreachable {
		b[7] = actionNowhere
	} else {
		b = putUint32(b, fraTable, r.Table)
	}
	b = putUint32(b, fraPriority, r.Priority)
	b = nlmsg.AppendAttr(b, fraProtocol, []byte{r.Protocol})
	if r.From.IsValid() {
		b[2] = uint8(r.From.Bits())
		b = nlmsg.AppendAttr(b, fraSrc, r.From.Addr().AsSlice())
	}
	if r.To.IsValid() {
		b[1] = uint8(r.To.Bits())
		b = nlmsg.AppendAttr(b, fraDst, r.To.Addr().AsSlice())
	}
	if r.Out != "" {
		b = nlmsg.AppendAttr(b, fraOIFName, append([]byte(r.Out), 0))
	}
	if r.Mask != 0 {
		b = putUint32(b, fraFWMark, r.Mark)
		b = putUint32(b, fraFWMask, r.Mask)
	}
	if r.SuppressDefault {
		b = putUint32(b, fraSuppressPrefixlen, 0)
	}
	return b
}

func putUint32(b []byte, kind uint16, value uint32) []byte {
	return nlmsg.AppendAttr(b, kind, native.AppendUint32(nil, value))
}

// parseRule reads a rule out of an RTM_NEWRULE message. What a rule of ours
// never has is not kept, only noted as Foreign.
func parseRule(m []byte) (routes.Rule, error) {
	if len(m) < ruleHeader {
		return routes.Rule{}, fmt.Errorf("kernel: rule message of %d bytes: shorter than its header", len(m))
	}
	r := ruleOfHeader(m)
	for rest := m[ruleHeader:]; len(rest) >= unix.SizeofRtAttr; {
		length := int(native.Uint16(rest))
		if length < unix.SizeofRtAttr || length > len(rest) {
			return routes.Rule{}, fmt.Errorf("kernel: rule attribute of %d bytes where %d are left", length, len(rest))
		}
		kind, value := native.Uint16(rest[2:])&^unix.NLA_F_NESTED, rest[unix.SizeofRtAttr:length]
		switch kind {
		case fraOIFName:
			r.Out = strings.TrimRight(string(value), "\x00")
		case fraDst, fraSrc:
			to, bits := &r.To, int(m[1])
			if kind == fraSrc {
				to, bits = &r.From, int(m[2])
			}
			addr, ok := netip.AddrFromSlice(value)
			if !ok || bits > addr.BitLen() {
				return routes.Rule{}, fmt.Errorf("kernel: rule prefix of %d bytes and /%d", len(value), bits)
			}
			*to = netip.PrefixFrom(addr, bits)
		default:
			setRuleField(&r, kind, value)
		}
		rest = rest[min((length+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1), len(rest)):]
	}
	r.Foreign = r.Foreign || m[1] != 0 && !r.To.IsValid()
	return r, nil
}

// ruleOfHeader reads what stands in struct fib_rule_hdr.
func ruleOfHeader(m []byte) routes.Rule {
	r := routes.Rule{V6: m[0] == unix.AF_INET6, Table: uint32(m[4]), Unreachable: m[7] == actionNowhere}
	r.Foreign = m[3] != 0 || m[7] != actionToTable && !r.Unreachable || native.Uint32(m[8:])&ruleInvert != 0
	return r
}

func setRuleField(r *routes.Rule, kind uint16, value []byte) {
	var n uint32
	if len(value) >= 4 {
		n = native.Uint32(value)
	}
	switch kind {
	case fraPriority:
		r.Priority = n
	case fraFWMark:
		r.Mark = n
	case fraFWMask:
		r.Mask = n
	case fraTable:
		r.Table = n
	case fraProtocol:
		if len(value) > 0 {
			r.Protocol = value[0]
		}
	case fraSuppressPrefixlen:
		r.SuppressDefault = n == 0
		r.Foreign = r.Foreign || n != 0 && n != unset
	case fraSuppressIfgroup:
		r.Foreign = r.Foreign || n != unset
	default:
		r.Foreign = r.Foreign || foreignMatch(kind)
	}
}

// foreignMatch reports whether an attribute is a match that no rule of ours has.
func foreignMatch(kind uint16) bool {
	switch kind {
	case fraIIFName, fraGoto, fraFlow, fraTunID, fraL3MDev, fraUIDRange:
		return true
	}
	return kind >= fraIPProto && kind <= fraLast
}
