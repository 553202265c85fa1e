// Package fault breaks a cluster on purpose: the nemeses N1 … N19, seeded
// schedules of them, and Play, which plays a schedule.
//
// A Nemesis knows how to begin and how to undo. Which nodes it takes out
// decides what may go with it and what the checkers may expect meanwhile: a
// minority must not stop the cluster. N13, a wall clock that jumps, is not here:
// it needs a kernel clock of its own per node, which Linux does not have; the
// simulation of the node covers it.
package fault
