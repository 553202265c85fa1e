package workload

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"example.com/belfry/chaos/history"
)

const (
	deadRate     = 20 // events per second
	deadFailing  = 5  // one event in so many is not taken before the receiver opens
	deadAttempts = 2
	deadPosting  = 4 * time.Second
	deadPatience = 8 * time.Second // for the failing ones to become dead letters
	replayRate   = 50              // deliveries per second
	deadPath     = "/events/1/dead-letters"
	replaysPath  = "/events/1/replays"
	pageSize     = 100
	maxPages     = 1000
)

// deadLetters is W8: a receiver refuses some events until they are dead
// letters, gets well, and then they are sent again, some one by one and the
// rest by a job. Each round has a destination of its own.
type deadLetters struct {
	*env
	account Account
	sink    *sink
	open    switchable // by destination
}

func newDeadLetters(e *env) Workload { return &deadLetters{env: e} }

// SetUp implements Workload.
func (w *deadLetters) SetUp(ctx context.Context) error {
	var err error
	if w.sink, err = w.newSink(ctx, w.behave); err != nil {
		return err
	}
	w.account, err = w.makeAccount(ctx, "w8", channelSMS)
	return err
}

// behave refuses the failing events of a destination that is not open.
func (w *deadLetters) behave(a history.Arrived) behaviour {
	if !w.open.get(a.Dest) && len(a.Runs) == 1 && a.Runs[0].From%deadFailing == 0 {
		return behaviour{name: "500", status: http.StatusInternalServerError}
	}
	return behaviour{}
}

// Run implements Workload.
func (w *deadLetters) Run(ctx context.Context) error {
	var clients []func()
	const sides = 2
	for i := range sides {
		clients = append(clients, func() {
			for round := 0; ctx.Err() == nil; round++ {
				w.round(ctx, fmt.Sprintf("w8-d%d-%d", i+1, round), i, every(sides, w.rate(deadRate)))
			}
		})
	}
	all(clients...)
	return nil
}

// round is the life of one destination. When ctx ends within it, the receiver
// opens all the same: what is not dead yet is delivered.
func (w *deadLetters) round(ctx context.Context, dest string, node int, interval time.Duration) {
	defer w.open.set(dest, true)
	c := w.client("op-"+dest, node, false, w.account)
	p := &history.Profile{URL: w.sink.url(w.account.ID, dest, 0), Bucket: 1, Schedule: []int64{1}, MaxAttempts: deadAttempts}
	if err := c.subscribe(ctx, w.account, channelSMS, dest, p, []string{dest}); err != nil {
		pause(ctx, lastWait)
		return
	}
	s := w.stream(w.account, dest, node, false, channelSMS)
	s.app = dest
	posting, cancel := context.WithTimeout(ctx, deadPosting)
	defer cancel()
	// The first goes to a node that has the subscription.
	for s.barrier(posting, w.account.ID); s.pace(posting, interval); {
		s.post(posting, 1)
	}
	if !pause(ctx, deadPatience) {
		return
	}
	letters, ok := c.deadLetters(ctx, history.DeadList, dest)
	if !ok {
		return
	}
	w.open.set(dest, true)
	for i, l := range letters {
		if i%2 == 0 && c.pace(ctx, interval) {
			_ = c.insist(ctx, func() answer { return c.replay(ctx, l.Delivery) }) // the history says what came of it
		}
	}
	w.job(ctx, c, dest)
}

// job sends the rest again by a job, and looks at it until it is done.
func (w *deadLetters) job(ctx context.Context, c *client, dest string) {
	in := history.DeadQuery{Account: w.account.ID, Profile: dest, Rate: replayRate}
	a := c.send(ctx, request{
		method: http.MethodPost, path: replaysPath, change: true,
		body: map[string]any{"filter": map[string]string{"profileId": dest}, "rate": replayRate},
	})
	job := replayOf(&a)
	c.note(history.ReplayStart, dest, in, job, a)
	if !a.ok() || job.ID == "" {
		return
	}
	for range 60 {
		if !pause(ctx, lastWait) {
			return
		}
		a := c.send(ctx, request{method: http.MethodGet, path: replaysPath + "/" + url.PathEscape(job.ID)})
		now := replayOf(&a)
		c.note(history.ReplayGet, job.ID, history.DeadQuery{Account: w.account.ID}, now, a)
		if a.ok() && now.State != "RUNNING" {
			return
		}
	}
}

// replay sends one dead letter again.
func (c *client) replay(ctx context.Context, delivery string) answer {
	a := c.send(ctx, request{method: http.MethodPost, path: deadPath + "/" + url.PathEscape(delivery) + "/replay", change: true})
	c.note(history.DeadReplay, delivery, history.DeadQuery{Account: c.account}, nil, a)
	return a
}

func replayOf(a *answer) history.Replay {
	var w struct {
		ID       string `json:"replayId"`
		State    string `json:"state"`
		Total    int    `json:"total"`
		Replayed int    `json:"replayed"`
	}
	a.decode(&w)
	return history.Replay{ID: w.ID, State: w.State, Total: w.Total, Replayed: w.Replayed}
}

// deadLetters lists the dead letters of a profile, or with none of the
// account, and records it as one operation.
func (c *client) deadLetters(ctx context.Context, kind, profile string) ([]history.Letter, bool) {
	var out history.Dead
	cursor := ""
	first := int64(0)
	for range maxPages {
		q := url.Values{"limit": {strconv.Itoa(pageSize)}}
		if profile != "" {
			q.Set("profileId", profile)
		}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		a := c.send(ctx, request{method: http.MethodGet, path: deadPath + "?" + q.Encode()})
		if first == 0 {
			first = a.call
		}
		cursor = takeLetters(&out, &a)
		if a.ok() && cursor != "" {
			continue
		}
		a.call = first
		c.note(kind, profile, history.DeadQuery{Account: c.account, Profile: profile}, out, a)
		return out.Letters, a.ok()
	}
	return nil, false
}

// takeLetters adds the letters of one page and gives the cursor of the next.
func takeLetters(out *history.Dead, a *answer) (next string) {
	var page struct {
		Letters []struct {
			DeliveryID string `json:"deliveryId"`
			ProfileID  string `json:"profileId"`
			Attempts   int    `json:"attempts"`
			Failure    struct {
				Outcome string `json:"outcome"`
				Status  int    `json:"statusCode"`
			} `json:"failure"`
			Event struct {
				EventID string `json:"eventId"`
			} `json:"event"`
		} `json:"deadLetters"`
		Next string `json:"nextCursor"`
	}
	a.decode(&page)
	for _, l := range page.Letters {
		out.Letters = append(out.Letters, history.Letter{
			Delivery: l.DeliveryID, EventID: l.Event.EventID, Profile: l.ProfileID, Attempts: l.Attempts,
			Outcome: l.Failure.Outcome, Status: l.Failure.Status,
		})
	}
	return page.Next
}
