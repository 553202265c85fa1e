package check

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Options bound what the checkers promise and what they may take. The zero
// value means the documented promises.
type Options struct {
	// LinearizeTimeout is for one group of objects; 10 s. A group that takes
	// longer is unknown.
	LinearizeTimeout time.Duration
	// MaxGroupOps is the largest group that is tried; 20,000. The memory it takes
	// grows with the square.
	MaxGroupOps int
	// Revoked is how long after a change what it replaced may be used: 1 s, and
	// RevokedFault under faults that cut or kill nodes: 2 s.
	Revoked, RevokedFault time.Duration
	// RetrySlack is how much later than its schedule a retry may be without
	// faults; 250 ms.
	RetrySlack time.Duration
	// StaleSlack is added to what a stale read says of its age; 500 ms.
	StaleSlack time.Duration
	// Settled is how long after healing a fault still explains what is seen;
	// 10 s.
	Settled time.Duration
	// Failover is the time at the beginning of a fault that need not show
	// progress; 3 s.
	Failover time.Duration
	// Converge is how long nodes may take to one index; 10 s.
	Converge time.Duration
	// EventShare is the part that must be kept under a minority fault: of the posts
	// at other nodes than the victims as compared with a quiet time, and of the
	// deliveries of a quiet time or of what receivers are owed; 0.5.
	EventShare float64
	// Prompt is how long an event is on its way to a receiver at most if nothing
	// keeps it back; 1 s.
	Prompt time.Duration
	// MaxDuplicates is the share of deliveries that may be duplicates under
	// faults; 0.001.
	MaxDuplicates float64
	// AllowRebatched only counts events that were answered 2xx and arrived again
	// in other company, and so under another webhook-id, if a fault explains that
	// they arrived again. Events that travel alone keep theirs in any case.
	AllowRebatched bool
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.LinearizeTimeout, 10*time.Second)
	def(&o.Revoked, time.Second)
	def(&o.RevokedFault, 2*time.Second)
	def(&o.RetrySlack, 250*time.Millisecond)
	def(&o.StaleSlack, 500*time.Millisecond)
	def(&o.Settled, 10*time.Second)
	def(&o.Failover, 3*time.Second)
	def(&o.Converge, 10*time.Second)
	if o.MaxGroupOps == 0 {
		o.MaxGroupOps = 20_000
	}
	def(&o.Prompt, time.Second)
	if o.EventShare == 0 {
		o.EventShare = 0.5
	}
	if o.MaxDuplicates == 0 {
		o.MaxDuplicates = 0.001
	}
	return o
}

// Check is one checker.
type Check struct {
	Name      string // as in chaos/DESIGN.md
	Invariant string
	About     string // what it makes sure of, in a sentence
	// Timed: it judges how long something took, or what is promised as long as no
	// node is taken for dead, and so may find what only the machine is to blame for
	// when that is too slow for the cluster.
	Timed bool
	// Run judges h. It only reads h, so checks may run side by side.
	Run func(h *History, o Options) Verdict
}

// check fills the names of its verdicts in.
func check(name, invariant, about string, run func(*History, Options, *Verdict)) Check {
	return Check{Name: name, Invariant: invariant, About: about, Run: func(h *History, o Options) Verdict {
		v := Verdict{Name: name, Invariant: invariant}
		run(h, o.withDefaults(), &v)
		return v
	}}
}

func (c Check) timed() Check {
	c.Timed = true
	return c
}

// All gives the checkers in the order of the invariants.
func All() []Check {
	return []Check{
		check("lost", "I1", "Every acknowledged event reached each destination it matched, is a dead letter there, or went with what was deleted.", lost),
		check("invented", "I2", "What arrives was posted, byte for byte, and was subscribed to.", invented),
		check("crossed", "I2", "Nothing of one account arrives at a webhook of another.", crossed),
		check("repeated-id", "I3", "Events posted again under their id are one event.", repeatedID).timed(),
		check("linearizable", "I4", "The config API is linearizable; stale reads are as old as they say and do not go back.", linearizable),
		check("integrity", "I5", "What is referred to exists.", integrity),
		check("replicas", "I6", "All nodes end with the same state.", replicas),
		check("revoked", "I7", "No attempt starts with what was replaced longer ago than the bound.", revoked).timed(),
		check("duplicates", "I8", "Nothing arrives twice without a fault, and never under two webhook-ids.", duplicates).timed(),
		check("order", "I9", "Destinations with KEY and STRICT get events in order of acceptance.", order),
		check("retries", "I10", "Attempts and the gaps between them are those of the policy.", retries).timed(),
		check("progress", "I11", "A minority fault stops neither changes nor deliveries.", progress).timed(),
		check("convergence", "I12", "After healing all nodes come to one index and the backlog falls; no elections without a fault.", convergence).timed(),
		check("corruption", "I13", "A damaged minority repairs itself or stops and says why, and breaks nothing else.", corruption),
		check("audit", "I15", "Every acknowledged change has one audit record, in order.", audit),
	}
}

// Untimed takes back what the checks of time found: it is counted as unknown.
func Untimed(vs []Verdict) {
	timed := map[string]bool{}
	for _, c := range All() {
		timed[c.Name] = c.Timed
	}
	for i := range vs {
		v := &vs[i]
		if v.Total == 0 || !timed[v.Name] {
			continue
		}
		v.note("%d findings are not judged, as the machine may have been too slow; the first: %s", v.Total, v.Violations[0].What)
		v.Unknown += v.Total
		v.Total, v.Violations = 0, nil
	}
}

// Run reads the history in dir and gives the verdicts of all checkers, in the
// order of All. The errors are those of reading, or ctx's.
func Run(ctx context.Context, dir string, o Options) ([]Verdict, error) {
	h, err := Load(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("load history: %w", err)
	}
	return Judge(ctx, h, o)
}

// Judge gives the verdicts of all checkers on h. The error is ctx's.
func Judge(ctx context.Context, h *History, o Options) ([]Verdict, error) {
	var vs []Verdict
	for _, c := range All() {
		if err := ctx.Err(); err != nil {
			return vs, fmt.Errorf("check %s: %w", c.Name, err)
		}
		began := time.Now()
		v := c.Run(h, o)
		v.figure("check_seconds", time.Since(began).Seconds())
		vs = append(vs, v)
	}
	contain(h, vs)
	return vs, nil
}

// contain lays violations of safety in a run that damaged files to I13 too: a
// damaged minority must not have broken anything.
func contain(h *History, vs []Verdict) {
	i := slices.IndexFunc(vs, func(v Verdict) bool { return v.Name == "corruption" })
	if i < 0 || !slices.ContainsFunc(h.faults, func(f fault) bool { return f.in.Damages }) {
		return
	}
	for _, v := range vs {
		switch v.Name {
		case "lost", "invented", "crossed", "linearizable", "integrity", "replicas":
			if v.Total > 0 {
				vs[i].violate(Violation{What: fmt.Sprintf("%d violations of %s (%s) in a run that damaged files", v.Total, v.Invariant, v.Name), At: v.Violations[0].At})
			}
		}
	}
}
