// Package kernel is the routes.Kernel of the network namespace it is opened in:
// netlink for links, addresses, routes and rules, /proc/sys for settings, and a
// small file that remembers what has to be given back.
package kernel
