// Package outbox is the replicated state of deliveries: what is owed to which
// destination, how often it was tried and when it is due. Its Store is the state
// machine of an event raft group.
//
// It sends nothing, matches nothing, decides nothing about retries, and reads
// no clock: every time in it was stamped by a proposer.
package outbox
