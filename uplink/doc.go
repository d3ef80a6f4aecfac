// Package uplink decides: from links, leases, verdicts, the operator and the
// configuration it makes the state of every uplink, and from that what the
// kernel is to hold, what is to be probed and where a lease is to be kept.
//
// step and the functions beside it are pure. Engine owns the state, in one
// goroutine, and carries what they say to the parts that act.
package uplink
