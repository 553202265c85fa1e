// Package chaos holds the process-level failover suite: real belfry processes
// on loopback, killed and restarted under load, and the checkers that compare
// what was acknowledged with what arrived. Its tests carry the build tag
// chaos and run with "make chaos"; without the tag the package is empty.
//
// The receiver and the record of acknowledgements live in the test process,
// outside of what is being killed.
package chaos
