// Package configs turns a configuration file into a whole, checked value, or
// into precise errors, all at once.
package configs

import (
	_ "embed" // the example
	"net/netip"
	"time"
)

// Example is the configuration file we ship, with every key explained.
//
//go:embed uplinkd.yaml
var Example string

// A Config is a configuration file that has been checked as a whole.
type Config struct {
	Uplinks  []Uplink
	Routes   Routes
	Marks    bool // connections are marked with their uplink, and stay on it
	MPTCP    bool // the kernel's MPTCP endpoints follow the uplinks
	DNS      DNS
	Policies []Policy
	LAN      []LAN // the interfaces whose hosts get IPv6

	// LANPrefix says which prefix numbers the LAN: that of the first of these uplinks that has
	// one, or else OwnPrefix.
	LANPrefix []string
	OwnPrefix netip.Prefix

	// Lists are what the files hold that policies name, by path. Parse does not
	// read files; who does adds them.
	Lists    map[string][]netip.Prefix
	OnDown   OnDown
	OnReturn OnReturn
	Hooks    []Hook
	Control  Control
	StateDir string // where what must outlive the process is kept
}

// AddressMode says who gives an uplink its address.
type AddressMode uint8

// The ways to an address.
const (
	AddressNone     AddressMode = iota // the uplink has no path in this family
	AddressDHCP                        // our own DHCP client; of IPv4
	AddressExternal                    // pppd, networkd, ModemManager, a person
	AddressStatic                      // the configuration
	AddressAuto                        // what the router advertises, and DHCPv6; of IPv6
)

// String returns the word used in the file, or "static".
func (m AddressMode) String() string {
	return [...]string{"none", "dhcp", "external", "static", "auto"}[m]
}

// GatewayMode says where the next hop of an uplink comes from.
type GatewayMode uint8

// The ways to a gateway.
const (
	GatewayFixed GatewayMode = iota // the configuration
	GatewayLease                    // the router option of the DHCP lease
	GatewayNone                     // none: point to point
	GatewayRA                       // the router that advertises itself (RFC 4861); of IPv6
)

// A Path is an uplink in one address family: where its address and its next hop come
// from, how much it carries, and how its verdict is reached.
type Path struct {
	Address   AddressMode
	Prefixes  []netip.Prefix // of AddressStatic: each address with its prefix length
	Gateway   GatewayMode
	GatewayIP netip.Addr // of GatewayFixed
	OnLink    bool       // the gateway lies outside the uplink's networks
	Weight    int        // 1..256
	Tier      int        // 1 and up; the lowest that has an uplink up carries traffic
	Probe     Probe
}

// Present reports whether the uplink has a path in this family.
func (p *Path) Present() bool { return p.Address != AddressNone }

// An IPv6 is an uplink in IPv6, and what it gives to the LAN.
type IPv6 struct {
	Path
	Delegation   Delegation
	Routed       netip.Prefix // of DelegationStatic
	PrefixLength int          // the wish, of DelegationAsk; 0: none
	Translate    bool         // what is forwarded with an address of another prefix gets one of this uplink's
}

// Delegation says where a prefix for the LAN comes from.
type Delegation uint8

// The ways to a prefix.
const (
	DelegationAsk    Delegation = iota // DHCPv6 (RFC 8415 section 6.3), while there is a LAN
	DelegationNone                     // none
	DelegationStatic                   // the configuration: it is routed to us
)

// An Uplink is one way to the Internet.
type Uplink struct {
	Name          string
	Interface     string
	Path                 // in IPv4
	IPv6          IPv6   // in IPv6
	Table         uint32 // in both families
	FwMark        uint32 // under Routes.FwMarkMask
	Assigned      bool   // FwMark is not of the file
	AssignedTable bool   // Table is not of the file
	DHCP          DHCP
	Nameservers   []netip.Addr // DNS servers of this ISP, instead of those of the lease; none: those
	Options       RouteOptions

	Masquerade     bool // forwarded traffic gets the uplink's address
	MaxConnections int  // with so many it gets no new ones, until 90 % of it; 0: no limit
	Quota          Quota
	Bandwidth      uint64        // bits a second, for Balance; 0: not told
	AutoDisable    bool          // once down it stays out until `uplinkd enable`
	SlowStart      time.Duration // after a fall the weight rises to its full over this time
}

// A LAN is an interface whose hosts get IPv6 addresses of a prefix that is ours.
type LAN struct {
	Interface string
	Subnet    uint32 // the number of its /64 in the prefix
}

// A DHCP says how an uplink's lease is kept.
type DHCP struct {
	// RenewAfter is how long nothing may answer over a lease, the carrier being
	// there, before the lease is asked about; zero: never.
	RenewAfter time.Duration

	ConflictProbe ConflictProbe
	MTU           MTUPolicy
	Send          DHCPOptions
}

// MTUPolicy says what becomes of the MTU that a lease names.
type MTUPolicy uint8

// The policies.
const (
	MTUIgnore MTUPolicy = iota // shown, no more
	MTUAccept                  // given to the interface
)

// ConflictProbe says how an address is asked about on the link before it is used
// (RFC 5227).
type ConflictProbe uint8

// The conflict probes.
const (
	ConflictQuick   ConflictProbe = iota // three questions in 600 ms
	ConflictRFC5227                      // at the times of RFC 5227: 4 to 7 s
	ConflictNone
)

// DHCPOptions are what is sent to the server in every message. Empty strings
// and zero send nothing.
type DHCPOptions struct {
	HostName    string        // option 12
	ClientID    string        // option 61 as it is sent, its type first; empty: the hardware address
	SendDUID    bool          // option 61 is the host's DUID instead
	VendorClass string        // option 60
	UserClass   string        // option 77
	LeaseTime   time.Duration // option 51: how long a lease is wished for, whole seconds
	Broadcast   bool          // the server is to answer by broadcast
}

// A Probe says how an uplink's verdict is reached.
type Probe struct {
	Targets   []Target
	Interval  time.Duration // steady pace to each target
	Timeout   time.Duration // no answer by then: missed
	Confirm   time.Duration // pace while the verdict is not clear
	DownAfter int           // misses in a row
	UpAfter   int           // answers in a row
	Quorum    int           // how many targets must answer: 1..len(Targets)

	// By the learned rule a silence means down that is longer than the link has survived,
	// and no shorter than DownWithin; one of DownWithinMax always does. Timeout and
	// DownAfter are of the fixed rule.
	Rule                      ProbeRule
	DownWithin, DownWithinMax time.Duration

	// What a target that answers must keep, each with what it must come back to.
	// Zero is no limit.
	MaxLoss, ReturnLoss     int // percent, of the last 100
	MaxRTT, ReturnRTT       time.Duration
	MaxJitter, ReturnJitter time.Duration

	Expect      Expect
	ExecTimeout time.Duration // how long a program may take
	Passive     bool          // connections that get no answer hurry the next probe
	Budget      uint64        // bytes in 30 days; 0: no limit

	// HoldDown is how long an uplink stays down after the second fall within
	// FlapWindow. It doubles with each further one, up to HoldDownMax.
	HoldDown, HoldDownMax, FlapWindow time.Duration
}

// A ProbeRule says how misses lead to a verdict.
type ProbeRule uint8

// The rules.
const (
	RuleLearned ProbeRule = iota // by what the link has been like
	RuleFixed                    // by timeout, confirm and down_after
)

// Expect is what an HTTP target must answer.
type Expect struct {
	Status int    // 0: any from 200 to 299
	Body   string // must stand in the answer; "": any
}

// A TargetKind is how a target is probed.
type TargetKind uint8

// The kinds.
const (
	TargetGateway TargetKind = iota // the uplink's gateway, whatever it is at the time, by ICMP
	TargetIP                        // by ICMP
	TargetTCP
	TargetHTTP
	TargetDNS
	TargetExec
	TargetSOCKS5
	TargetAgent
)

// A Target is what is probed.
type Target struct {
	Kind TargetKind
	Text string     // as it stands in the file
	IP   netip.Addr // not valid: it goes by a name, or is the gateway or a program
	Port uint16     // of TargetTCP and TargetSOCKS5
	Rest string     // of HTTP the URL, of DNS the name, of Exec the program, of SOCKS5 and Agent the server
}

// String returns the target as it stands in the file.
func (t Target) String() string { return t.Text }

// Gateway is the target `gateway`.
var Gateway = Target{Kind: TargetGateway, Text: "gateway"}

// Hash is the multipath hash policy, net.ipv4.fib_multipath_hash_policy.
type Hash uint8

// The hash policies. HashKeep leaves the setting as it is.
const (
	HashL3 Hash = iota
	HashL4
	HashInner
	HashKeep
)

// LastResort says what carries traffic when no uplink is up.
type LastResort uint8

// The last resorts.
const (
	LastResortKeep LastResort = iota // those whose link and address still stand
	LastResortNone
)

// Balance says what the weights inside a tier follow.
type Balance uint8

// The balances.
const (
	BalanceStatic           Balance = iota // the configured weight alone
	BalanceResponseTime                    // probes' round-trip times
	BalanceLeastTraffic                    // what is free of the bandwidth
	BalanceLeastConnections                // connections by weight
	BalanceOverflow                        // the first until its bandwidth is used, then the next
)

// String returns the word used in the file.
func (b Balance) String() string { return balanceWords[b] }

var balanceWords = []string{"static", "response-time", "least-traffic", "least-connections", "overflow"}

// Routes says what is put into the kernel, and how it is marked as ours.
type Routes struct {
	Table        uint32 // where the multipath default route lives
	Metric       uint32
	Protocol     uint8
	RulePriority uint32 // ours are this and the 999 that follow
	FwMarkMask   uint32
	Hash         Hash
	LastResort   LastResort

	Balance         Balance
	BalanceInterval time.Duration // at most one change of weights in each

	Options RouteOptions // of the shared default route; uplinks' own tables have their own
}

// RouteOptions are metrics on an uplink's default route and on the shared one.
// Zero leaves the kernel's own value.
type RouteOptions struct {
	InitCwnd, InitRwnd uint32 // segments
	MTU, AdvMSS        uint32 // bytes
	RTOMin             time.Duration
	QuickAck           bool
}

// Control says where the daemon listens.
type Control struct {
	Socket string
	Group  string // who may ask; root and the daemon's own user may order as well

	Metrics netip.AddrPort // where Prometheus scrapes; not valid: on the socket alone
	Web     netip.AddrPort // where the page is; not valid: nowhere
}
