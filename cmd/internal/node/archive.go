package node

import (
	"cmp"
	"context"
	"slices"
	"time"

	"example.com/belfry/api"
	"example.com/belfry/dispatch"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/fsm/model"
)

const (
	// methodScan asks a node which events of a filter its attempt log has,
	// methodLookups what it knows of some events.
	methodScan    = "events.scan"
	methodLookups = "events.lookups"
)

// archive implements api.Archive. What is owed, what is dead and the replay jobs
// come from this node's replica, what was attempted from the logs of all nodes.
type archive struct {
	outbox   *outbox.Store
	proposer dispatch.Proposer
	// scan searches this node's attempt log, local is what this node alone
	// knows of an event.
	scan   func(account string, f *event.Filter, after event.Ref, limit int) (event.Scan, error)
	local  lookup
	caller caller
	peers  func() []string
	now    func() time.Time
}

var _ api.Archive = (*archive)(nil)

type scanQuery struct {
	Account string       `json:"account"`
	Filter  event.Filter `json:"filter"`
	After   event.Ref    `json:"after"`
	Limit   int          `json:"limit"`
}

type lookupsQuery struct {
	Account string   `json:"account"`
	IDs     []string `json:"eventIds"`
}

// Search asks every node which events fit, and then every node what it knows
// of those: what one node believes of a delivery another may know better, so
// the filter is asked once more at the end.
func (a *archive) Search(ctx context.Context, account string, f event.Filter, after event.Ref, limit int) (event.Page, error) {
	owed, err := a.outbox.Scan(account, &f, after, limit)
	if err != nil {
		return event.Page{}, err
	}
	own, err := a.scan(account, &f, after, limit)
	if err != nil {
		return event.Page{}, err
	}
	scans := []event.Scan{owed, own}
	ctx, cancel := context.WithTimeout(ctx, gatherTimeout)
	defer cancel()
	away := gather(ctx, a.caller, a.peers(), methodScan, scanQuery{account, f, after, limit}, func(s event.Scan) { scans = append(scans, s) })
	refs, next := mergeScans(scans, limit)

	byID := make(map[string]*event.Record, len(refs))
	ids := make([]string, len(refs))
	for i, r := range refs {
		ids[i] = r.EventID
		rec, _ := a.local(account, r.EventID)
		rec.Account, rec.ID = account, r.EventID
		byID[r.EventID] = &rec
	}
	away = append(away, gather(ctx, a.caller, a.peers(), methodLookups, lookupsQuery{account, ids}, func(rs []event.Record) {
		for _, r := range rs {
			if dst := byID[r.ID]; dst != nil {
				mergeRecord(dst, r)
			}
		}
	})...)
	slices.Sort(away)
	page := event.Page{Next: next, Unreachable: slices.Compact(away)}
	for _, r := range refs {
		if rec := byID[r.EventID]; rec.Channel != "" && fits(&f, rec, r.AcceptedAt) {
			rec.AcceptedAt = r.AcceptedAt
			page.Records = append(page.Records, *rec)
		}
	}
	return page, nil
}

// fits asks the filter about an event as all nodes know it.
func fits(f *event.Filter, r *event.Record, acceptedAt time.Time) bool {
	return f.MatchesEvent(&r.Event, acceptedAt) && slices.ContainsFunc(r.Deliveries, func(d event.Delivery) bool {
		return f.MatchesDelivery(d.Status, d.ProfileID, d.SubscriptionIDs)
	})
}

// mergeScans puts what the sources found into one list and cuts it where one
// of them has not looked any more.
func mergeScans(scans []event.Scan, limit int) (refs []event.Ref, next event.Ref) {
	for _, s := range scans {
		refs = append(refs, s.Refs...)
		if !s.Done && (next == event.Ref{} || next.After(s.Upto)) {
			next = s.Upto
		}
	}
	slices.SortFunc(refs, func(x, y event.Ref) int {
		return cmp.Or(y.AcceptedAt.Compare(x.AcceptedAt), cmp.Compare(y.EventID, x.EventID))
	})
	refs = slices.CompactFunc(refs, func(x, y event.Ref) bool { return x.EventID == y.EventID })
	if next != (event.Ref{}) {
		refs = slices.DeleteFunc(refs, func(r event.Ref) bool { return r.After(next) })
	}
	if len(refs) > limit {
		refs = refs[:limit]
		next = refs[limit-1]
	}
	return refs, next
}

// serveScan answers methodScan.
func (a *archive) serveScan(_ context.Context, q scanQuery) (event.Scan, error) {
	return a.scan(q.Account, &q.Filter, q.After, q.Limit)
}

// serveLookups answers methodLookups: without payloads, headers and answers of
// receivers, which a list does not show.
func (a *archive) serveLookups(_ context.Context, q lookupsQuery) ([]event.Record, error) {
	var out []event.Record
	for _, id := range q.IDs {
		rec, ok := a.local(q.Account, id)
		if !ok {
			continue
		}
		rec.Payload = nil
		for i := range rec.Deliveries {
			for j := range rec.Deliveries[i].Attempts {
				a := &rec.Deliveries[i].Attempts[j]
				a.Response, a.RequestHeaders, a.ResponseHeaders, a.HeadersCut = "", nil, nil, false
			}
		}
		out = append(out, rec)
	}
	return out, nil
}

// DeadLetters lists from this node's replica.
func (a *archive) DeadLetters(_ context.Context, account string, f event.DeadFilter, before time.Time, limit int) (event.DeadPage, error) {
	return a.outbox.DeadLetters(account, f, before, limit)
}

// DeadLetter reads from this node's replica.
func (a *archive) DeadLetter(_ context.Context, account, deliveryID string) (event.DeadLetter, error) {
	return a.outbox.DeadLetter(account, deliveryID)
}

func noDeadLetter(id string) error {
	return model.Errorf(model.CodeNotFound, "there is no dead letter of delivery %q: it was replayed already, or its retention is over", id)
}

// Replay sends one dead letter again.
func (a *archive) Replay(ctx context.Context, account, deliveryID string) error {
	resp, err := a.propose(ctx, &outbox.Revive{At: a.now(), Account: account, IDs: []string{deliveryID}})
	if err != nil {
		return err
	}
	vs, err := outbox.DecodeVerdicts(resp)
	switch {
	case err != nil || len(vs) != 1:
		return model.Errorf(model.CodeUnknownOutcome, "the outcome is not known").WithCause(err)
	case vs[0] == outbox.Superseded:
		return noDeadLetter(deliveryID)
	case vs[0] == outbox.Exhausted:
		return model.Errorf(model.CodeQuota, "the delivery was attempted %d times and more: it cannot be replayed any more", outbox.MaxReplayAttempt)
	}
	return nil
}

// StartReplay counts what fits and starts the job.
func (a *archive) StartReplay(ctx context.Context, job event.ReplayJob) (event.ReplayJob, error) {
	var err error
	if job.Total, err = a.outbox.CountDead(job.Account, job.Filter); err != nil {
		return job, err
	}
	return a.job(ctx, &outbox.StartReplay{At: a.now(), Job: job})
}

// CancelReplay ends a job.
func (a *archive) CancelReplay(ctx context.Context, account, id string) (event.ReplayJob, error) {
	return a.job(ctx, &outbox.CancelReplay{At: a.now(), Account: account, ID: id})
}

func (a *archive) job(ctx context.Context, c outbox.Command) (event.ReplayJob, error) {
	resp, err := a.propose(ctx, c)
	if err != nil {
		return event.ReplayJob{}, err
	}
	return outbox.DecodeReplay(resp)
}

func (a *archive) propose(ctx context.Context, c outbox.Command) ([]byte, error) {
	_, resp, err := a.proposer.Propose(ctx, outbox.Encode(c))
	return resp, err
}

// Replays lists from this node's replica.
func (a *archive) Replays(_ context.Context, account string) ([]event.ReplayJob, error) {
	return a.outbox.Replays(account), nil
}

// ReplayJob reads from this node's replica.
func (a *archive) ReplayJob(_ context.Context, account, id string) (event.ReplayJob, error) {
	return a.outbox.ReplayJob(account, id)
}
