package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"example.com/belfry/dispatch/event"
)

const (
	deadLettersPath = "/events/1/dead-letters"
	replaysPath     = "/events/1/replays"
	tailPath        = "/events/1/tail"
	matchPath       = "/events/1/match"
	statsPath       = "/events/1/stats"
	testEventsPath  = "/events/1/profiles"
)

// Part says which part of a long list is read.
type Part struct {
	// Limit is how many rows at most; 0 is the server's default of 50.
	Limit int
	// Cursor is the NextCursor of the part before; empty: the beginning.
	Cursor string
}

func (p Part) add(q url.Values) url.Values {
	if p.Limit > 0 {
		q.Set("limit", strconv.Itoa(p.Limit))
	}
	if p.Cursor != "" {
		q.Set("cursor", p.Cursor)
	}
	return q
}

// queryOf turns a filter into parameters: its members have the same names and
// are all written as text.
func queryOf(filter any) (url.Values, error) {
	b, err := json.Marshal(filter)
	if err != nil {
		return nil, err
	}
	var members map[string]string
	if err := json.Unmarshal(b, &members); err != nil {
		return nil, err
	}
	q := url.Values{}
	for name, value := range members {
		q.Set(name, value)
	}
	return q, nil
}

type (
	// EventList is a part of the list of events, newest first.
	EventList struct {
		Events []EventSummary `json:"events"`
		// NextCursor is where the list goes on; empty: it ends here. A part may
		// be short, even empty, and the list go on all the same.
		NextCursor  string   `json:"nextCursor"`
		Unreachable []string `json:"unreachableNodes"`
	}
	// EventSummary is an event without its payload.
	EventSummary struct {
		event.Event
		AcceptedAt time.Time         `json:"acceptedAt,omitzero"`
		Deliveries []DeliverySummary `json:"deliveries"`
	}
	// DeliverySummary is a delivery without its attempts.
	DeliverySummary struct {
		DeliveryID      string       `json:"deliveryId"`
		ProfileID       string       `json:"profileId"`
		SubscriptionIDs []string     `json:"subscriptionIds"`
		URL             string       `json:"url"`
		Status          event.Status `json:"status"`
		Attempts        int          `json:"attempts"`
		LastStatusCode  int          `json:"lastStatusCode"`
		LastOutcome     string       `json:"lastOutcome"`
		NextAttemptAt   *time.Time   `json:"nextAttemptAt"`
	}

	// DeadLetterList is a part of the list of dead letters, youngest first.
	DeadLetterList struct {
		DeadLetters []DeadLetter `json:"deadLetters"` // without payloads
		NextCursor  string       `json:"nextCursor"`
	}
	// DeadLetter is a delivery that was given up.
	DeadLetter struct {
		DeliveryID      string        `json:"deliveryId"`
		ProfileID       string        `json:"profileId"`
		SubscriptionIDs []string      `json:"subscriptionIds"`
		URL             string        `json:"url"`
		AcceptedAt      time.Time     `json:"acceptedAt"`
		DeadAt          time.Time     `json:"deadAt"`
		Attempts        int           `json:"attempts"`
		Failure         event.Failure `json:"failure"`
		Event           event.Event   `json:"event"`
	}

	// ReplayRequest says which dead letters to send again.
	ReplayRequest struct {
		Filter event.DeadFilter `json:"filter,omitzero"`
		Rate   int              `json:"rate,omitempty"` // deliveries per second; 0: the server's default
		All    bool             `json:"all,omitempty"`  // in place of a filter
	}

	// MatchReport says what an event would be owed.
	MatchReport struct {
		Matched   []event.MatchedSubscription   `json:"matched"`
		Unmatched []event.UnmatchedSubscription `json:"unmatched"`
		More      bool                          `json:"more"`
	}
)

// SearchEvents lists the events that fit f, newest first.
func (c *Client) SearchEvents(ctx context.Context, f event.Filter, p Part) (EventList, error) {
	q, err := queryOf(f)
	if err != nil {
		return EventList{}, err
	}
	return get[EventList](ctx, c, eventsPath, p.add(q))
}

// DeadLetters lists the dead letters that fit f, youngest first.
func (c *Client) DeadLetters(ctx context.Context, f event.DeadFilter, p Part) (DeadLetterList, error) {
	q, err := queryOf(f)
	if err != nil {
		return DeadLetterList{}, err
	}
	return get[DeadLetterList](ctx, c, deadLettersPath, p.add(q))
}

// DeadLetter shows a dead letter with the payload of its event.
func (c *Client) DeadLetter(ctx context.Context, deliveryID string) (DeadLetter, error) {
	return get[DeadLetter](ctx, c, path(deadLettersPath, deliveryID), nil)
}

// ReplayDeadLetter sends a dead letter again.
func (c *Client) ReplayDeadLetter(ctx context.Context, deliveryID string) error {
	return c.do(ctx, call{method: http.MethodPost, path: path(deadLettersPath, deliveryID, "replay")})
}

// StartReplay makes a job that sends dead letters again.
func (c *Client) StartReplay(ctx context.Context, r ReplayRequest) (event.ReplayJob, error) {
	return post[event.ReplayJob](ctx, c, replaysPath, r)
}

// Replays lists the replays, newest first.
func (c *Client) Replays(ctx context.Context) ([]event.ReplayJob, error) {
	out, err := get[struct {
		Replays []event.ReplayJob `json:"replays"`
	}](ctx, c, replaysPath, nil)
	return out.Replays, err
}

// Replay shows a replay with its progress.
func (c *Client) Replay(ctx context.Context, id string) (event.ReplayJob, error) {
	return get[event.ReplayJob](ctx, c, path(replaysPath, id), nil)
}

// CancelReplay ends a replay; what it has sent again stays so.
func (c *Client) CancelReplay(ctx context.Context, id string) (job event.ReplayJob, err error) {
	return job, c.do(ctx, call{method: http.MethodPost, path: path(replaysPath, id, "cancel"), out: &job, repeatable: true})
}

// Match says what e would be owed; nothing is published. The payload may be
// left out.
func (c *Client) Match(ctx context.Context, e Event) (rep MatchReport, err error) {
	return rep, c.do(ctx, call{method: http.MethodPost, path: matchPath, in: e, out: &rep, repeatable: true})
}

// TestProfile sends a sample of an event to a profile, now, and reports what
// came of it.
func (c *Client) TestProfile(ctx context.Context, profileID, channel, name string) (event.TestReport, error) {
	in := struct {
		Channel string `json:"channel"`
		Event   string `json:"event"`
	}{channel, name}
	return post[event.TestReport](ctx, c, path(testEventsPath, profileID, "test"), in)
}

// Series are the figures minute by minute, of one profile or of all for "";
// window 0 is the server's default of one hour.
func (c *Client) Series(ctx context.Context, profileID string, window time.Duration) (event.Series, error) {
	q := url.Values{}
	if window > 0 {
		q.Set("window", window.String())
	}
	if profileID != "" {
		q.Set("profileId", profileID)
	}
	return get[event.Series](ctx, c, statsPath+"/series", q)
}

// Destinations are what the nodes know of the webhooks of profiles, from 1 to
// event.MaxDestinations of them. One of which nothing is known is missing.
func (c *Client) Destinations(ctx context.Context, profileIDs ...string) (event.DestinationStates, error) {
	return get[event.DestinationStates](ctx, c, "/events/1/destinations", url.Values{"profileId": profileIDs})
}

// StatsFilter says which profiles the figures are of; the zero value: all, by
// id. The total is of the account all the same.
type StatsFilter struct {
	ProfileID string // only this one
	Search    string // part of the id; case does not count
	// Sort is name, failing, backlog, delivered or latency: the greatest first.
	Sort string
	// Page from 0 of Size profiles, 100 at most; Size 0: all.
	Page, Size int
}

// Stats are the figures of deliveries.
type Stats struct {
	event.Stats
	// ProfilesFound counts the profiles that fit the filter, ProfilesTotal all
	// that have figures.
	ProfilesFound int `json:"profilesFound"`
	ProfilesTotal int `json:"profilesTotal"`
}

// Stats are figures of the deliveries of the last window; 0: the server's
// default of five minutes.
func (c *Client) Stats(ctx context.Context, window time.Duration, f StatsFilter) (Stats, error) {
	q := url.Values{}
	if window > 0 {
		q.Set("window", window.String())
	}
	for name, value := range map[string]string{"profileId": f.ProfileID, "search": f.Search, "sort": f.Sort} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.Size > 0 {
		q.Set("size", strconv.Itoa(f.Size))
		q.Set("page", strconv.Itoa(f.Page))
	}
	return get[Stats](ctx, c, statsPath, q)
}
