// Package lab is a small world for tests, benchmarks and the demo: Internet
// providers, an internet that answers with the caller's address, and a LAN, all
// in network namespaces of this process, with faults to inject. Nothing in it
// touches the network of the machine it runs on.
package lab
