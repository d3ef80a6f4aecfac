package configs

import "strings"

// nftWords are those that nft(8) does not take as the name of a set: its grammar has another use for
// them. Found by trying every word of its manual (version 1.0.6).
var nftWords = words(`
	accept add ah all and arp auto-merge bridge cgroup chain comment comp constant continue counter cpu
	create ct day dccp define delete describe device devices dnat drop dst dup dynamic ecn element
	elements esp ether exists expires exthdr fib flags flow flowtable flush frag fwd gc-interval get
	goto handle hbh hook hour ibrname icmp icmpv6 igmp iif iifgroup iifname iiftype include index inet
	insert interval ip ip6 ipsec jhash jump limit list log lt map mark masquerade meta mh missing
	monitor netdev nftrace not notrack numgen obrname offload oif oifgroup oifname oiftype or osf
	pkttype policy position priority queue quota random redefine redirect reject rename replace reset
	return rt rtclassid rule ruleset sctp secmark set size skgid skuid snat socket srh symhash synproxy
	table tcp th time timeout tproxy type typeof udp udplite undefine update vlan vmap xt
`)

func words(text string) map[string]bool {
	set := map[string]bool{}
	for _, word := range strings.Fields(text) {
		set[word] = true
	}
	return set
}
