// Package dhcp6 keeps the addresses and the prefix that a provider lends by DHCPv6 (RFC 8415):
// IA_NA and IA_PD in one conversation. It sets no route, and asks for none.
package dhcp6
