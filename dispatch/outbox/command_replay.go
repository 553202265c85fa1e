package outbox

import (
	"math"
	"slices"
	"time"

	"example.com/belfry/dispatch/codec"
	"example.com/belfry/dispatch/event"
)

func appendRetain(b []byte, c *Retain) []byte {
	b = codec.AppendTime(b, c.At)
	b = codec.AppendCount(b, int(c.Age))
	b = codec.AppendCount(b, int(c.Bytes))
	return codec.AppendCount(b, c.Count)
}

func readRetain(r *codec.Reader) *Retain {
	return &Retain{At: r.Time(), Retention: Retention{
		Age: time.Duration(r.Int(math.MaxInt)), Bytes: int64(r.Int(math.MaxInt)), Count: r.Int(math.MaxInt),
	}}
}

func appendRevive(b []byte, c *Revive) []byte {
	b = codec.AppendTime(b, c.At)
	b = codec.AppendString(b, c.Account)
	b = codec.AppendCount(b, len(c.IDs))
	for _, id := range c.IDs {
		b = codec.AppendString(b, id)
	}
	b = codec.AppendString(b, c.JobID)
	b = codec.AppendTime(b, c.Upto)
	return codec.AppendBool(b, c.Done)
}

func readRevive(r *codec.Reader) *Revive {
	c := &Revive{At: r.Time(), Account: r.String(maxString)}
	for range r.Count() {
		if r.Failed() {
			return c
		}
		c.IDs = append(c.IDs, r.String(maxString))
	}
	c.JobID, c.Upto, c.Done = r.String(maxString), r.Time(), r.Bool()
	return c
}

// replayStates gives every state of a job its number on disk and in the log:
// append only. The first is that of a job that is not started yet.
var replayStates = []event.ReplayState{"", event.ReplayRunning, event.ReplayDone, event.ReplayCancelled}

func appendReplay(b []byte, j *event.ReplayJob) []byte {
	f := &j.Filter
	for _, s := range [...]string{j.ID, j.Account, j.CreatedBy, f.ProfileID, f.Channel, f.Name, f.EventID} {
		b = codec.AppendString(b, s)
	}
	for _, t := range [...]time.Time{f.From, f.To, j.CreatedAt, j.FinishedAt} {
		b = codec.AppendTime(b, t)
	}
	b = append(b, byte(max(0, slices.Index(replayStates, j.State)))) //nolint:gosec // there are four
	for _, n := range [...]int{j.Rate, j.Total, j.Replayed} {
		b = codec.AppendCount(b, n)
	}
	return b
}

func readReplay(r *codec.Reader) event.ReplayJob {
	var j event.ReplayJob
	f := &j.Filter
	for _, s := range [...]*string{&j.ID, &j.Account, &j.CreatedBy, &f.ProfileID, &f.Channel, &f.Name, &f.EventID} {
		*s = r.String(maxString)
	}
	for _, t := range [...]*time.Time{&f.From, &f.To, &j.CreatedAt, &j.FinishedAt} {
		*t = r.Time()
	}
	if n := int(r.Byte()); n < len(replayStates) {
		j.State = replayStates[n]
	} else {
		r.Fail()
	}
	for _, n := range [...]*int{&j.Rate, &j.Total, &j.Replayed} {
		*n = r.Int(maxNumber)
	}
	return j
}
