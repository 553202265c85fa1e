// Package cluster runs raft groups over one set of nodes: proposals from any
// node, linearizable reads, membership, leases and duties of leaders.
//
// It knows bytes only. What a command means is the business of the state
// machine of its group. See DESIGN.md.
package cluster
