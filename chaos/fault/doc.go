// Package fault breaks a cluster on purpose: the nemeses N1 … N19, seeded
// schedules of them, and Play, which plays a schedule.
//
// A Nemesis knows how to begin and how to undo. Which nodes it takes out
// decides what may go with it and what the checkers may expect meanwhile: a
// minority must not stop the cluster. N13, a wall clock that jumps, is no Nemesis:
// Linux has no wall clock per process that could be set from outside, so it is
// built into the binary (mutant.WallClock), and lasts for a whole run; the command
// calls it wall-clock. The simulation of the node moves clocks too.
package fault
