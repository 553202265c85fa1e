// Package check judges the history of a chaos run: pure functions from what
// clients and receivers saw to verdicts, one for each invariant of
// chaos/DESIGN.md. It asks nothing and changes nothing, so an old history can be
// judged again by a better checker.
//
// A checker may assume nothing of an operation whose outcome is unknown: it may
// have happened at any time after its call, or never. What a checker cannot
// decide it counts as unknown; it is neither a pass nor a violation.
package check
