package node

import (
	"sync"
	"sync/atomic"

	"example.com/belfry/dispatch"
	"example.com/belfry/fsm"
	"example.com/belfry/fsm/model"
)

var (
	_ fsm.Observer = (*ownership)(nil)
	_ fsm.Observer = invalidator{}
	_ fsm.Observer = (*waker)(nil)
)

// ownership is the partition table as this node has applied it, for the
// dispatcher and for the leader's duty.
type ownership struct {
	table   atomic.Pointer[model.PartitionTable]
	changed chan struct{}
}

func newOwnership() *ownership {
	o := &ownership{changed: make(chan struct{}, 1)}
	o.table.Store(&model.PartitionTable{})
	return o
}

// Table returns the table of now.
func (o *ownership) Table() model.PartitionTable { return *o.table.Load() }

// Changed has a value whenever Table may answer differently than before.
func (o *ownership) Changed() <-chan struct{} { return o.changed }

// owned reports how many partitions a node owns.
func (o *ownership) owned(nodeID string) int {
	n := 0
	for _, s := range o.table.Load().Slots {
		if s.Owner == nodeID {
			n++
		}
	}
	return n
}

// Committed takes a new table over.
func (o *ownership) Committed(v model.View, ch model.ChangeSet) {
	for _, c := range ch.Changes {
		if c.Entity == model.EntityPartitions {
			o.Restored(v)
			return
		}
	}
}

// Restored takes the table of another state over.
func (o *ownership) Restored(v model.View) {
	t := v.Partitions()
	o.table.Store(&t)
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

// invalidator drops resolved destinations when what they were made of changes.
// It comes before the index in the order of observers, so that a config index
// the dispatcher has seen is never newer than what the resolver answers.
type invalidator struct{ r *resolver }

// Committed forgets what a commit has changed.
func (i invalidator) Committed(_ model.View, ch model.ChangeSet) {
	for _, c := range ch.Changes {
		switch c.Entity { //nolint:exhaustive // the other entities are not part of a destination
		case model.EntityProfile, model.EntitySecurity, model.EntityCertificate, model.EntityAccount:
			i.r.Invalidate()
			return
		}
	}
}

// Restored forgets everything.
func (i invalidator) Restored(model.View) { i.r.Invalidate() }

// waker tells the dispatcher, once there is one, that the config changed. It
// comes last, when everything that the dispatcher may look at is current.
type waker struct {
	mu   sync.Mutex
	wake func()
}

func (w *waker) attach(d *dispatch.Dispatcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wake = d.ConfigChanged
}

func (w *waker) call() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wake != nil {
		w.wake()
	}
}

// Committed wakes the dispatcher.
func (w *waker) Committed(model.View, model.ChangeSet) { w.call() }

// Restored wakes the dispatcher.
func (w *waker) Restored(model.View) { w.call() }
