// Package uplink decides: from links, leases, probes, what the operator wants and
// the configuration it makes the state of every uplink, and from that all that is
// wanted: what the kernel is to hold, what is to be probed, where a lease is to be
// kept.
//
// It is pure: Step takes a State, an Event and the time to the next State, and
// Want says what that asks for. Package uplink/engine owns the one State that
// counts and carries out what is wanted.
package uplink
