package history

// The kinds that the player of faults records, in the file "nemesis". Process
// is "nemesis"; Key is the Fault's number, which its Ops share.
const (
	// FaultBegin puts a fault in force. In Fault, no Out. Call is before the first
	// step, Return after the last: what is between is under a fault already.
	// Outcome Fail: it could not be made, and was not; then there is no FaultEnd.
	FaultBegin = "fault.begin"
	// FaultEnd heals it. In Fault, no Out. Return is when everything that the
	// fault did is undone: processes started, links open.
	FaultEnd = "fault.end"
	// FaultConverge is the wait after healing. In Fault, Out Convergence. Call is
	// FaultEnd's Return; Return is when all nodes were ready and at one index.
	// Fail: they were not when the player gave up.
	FaultConverge = "fault.converge"
)

type (
	// Fault is what the nemesis does.
	Fault struct {
		Name  string   `json:"name"`            // "N1" … "N19"
		Kind  string   `json:"kind"`            // in words, such as "kill leader"; failover times are told by it
		Nodes []string `json:"nodes,omitempty"` // the victims; of a path that is cut both ends
		// Minority: fewer than half of the voters are taken away, the rest can talk to
		// each other, and every receiver and client can reach the rest.
		Minority bool `json:"minority,omitempty"`
		// Leader: a victim led the config group when it began.
		Leader bool `json:"leader,omitempty"`
		// Cuts: a victim may live and hear nothing (pause, partition, slow link, no
		// processor time). The bound on revoked credentials is the lease's.
		Cuts bool `json:"cuts,omitempty"`
		// Kills: processes of victims end, and start again, before FaultEnd's Return.
		Kills bool `json:"kills,omitempty"`
		// Damages: files of victims are damaged, or lost in part.
		Damages bool `json:"damages,omitempty"`
		// Planned: an orderly step such as a transfer of the lead or a rolling
		// restart; nobody fails.
		Planned bool `json:"planned,omitempty"`
		// Harmless: it may end no leadership (noise at one receiver, a clock that
		// jumps). Elections under it are counted as without a fault.
		Harmless bool `json:"harmless,omitempty"`
	}

	// Convergence is the Out of FaultConverge.
	Convergence struct {
		// Applied are the indices of the config group at the end, by node.
		Applied map[string]uint64 `json:"applied,omitempty"`
		// Stopped are damaged nodes that refuse to run, and what they said: neither
		// repair nor refusal is I13's violation.
		Stopped map[string]string `json:"stopped,omitempty"`
	}
)

// FinalDigest is the digest of one node's state, as that node says. Out
// Digest; Key: the group.
const FinalDigest = "final.digest"

// Digest is the Out of FinalDigest: equal at an equal index.
type Digest struct {
	Group  string `json:"group"` // config or events
	Index  uint64 `json:"index"`
	SHA256 string `json:"sha256"` // hex
}
