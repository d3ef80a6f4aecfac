// Package dhcp keeps one IPv4 lease over an injected connection: it asks for
// it, renews it, and says what it is and when it is lost. It sets no address
// and no route.
package dhcp
