// Package tail keeps what happened lately on one node for those who follow it
// live. Nothing is kept for accounts that nobody follows, and nothing of it
// survives: the history is in package attemptlog.
package tail
