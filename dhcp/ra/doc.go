// Package ra hears the routers of an uplink's link (RFC 4861, router discovery): who leads
// further, and of which networks this host makes itself addresses (RFC 4862). It makes no
// route, and reads no route of others (RFC 4191).
package ra
