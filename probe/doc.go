// Package probe reaches one uplink's verdict: it sends probes out of that
// uplink alone, counts what comes back by it, and says when the uplink can
// carry traffic and when it cannot.
package probe
