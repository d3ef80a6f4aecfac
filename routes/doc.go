// Package routes holds the part of the kernel's routing state that is ours, as
// values: what is wanted, what is there, the plan that leads from one to the
// other, and the loop that carries it out.
//
// Set is what is wanted, State what was read, Diff the pure function between
// them. Reconciler is the one loop with side effects, and it has them only
// through the Kernel interface; package routes/kernel implements it on netlink,
// package routes/routestest in memory.
package routes
