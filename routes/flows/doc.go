// Package flows looks at the connections of a network namespace and ends some:
// traffic by interface, TCP and UDP sockets (sock_diag(7)), and the flows of the
// kernel's connection tracking (nfnetlink). What asks the kernel takes a context
// and gives up when that ends; an error is never told as 0.
package flows
