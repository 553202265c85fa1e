package api

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

const (
	matchPath     = "/events/1/match"
	testEventPath = "/events/1/profiles/{profileId}/test"
	statsPath     = "/events/1/stats"
	seriesPath    = statsPath + "/series"
)

// The window of GET /events/1/stats.
const (
	defaultStatsWindow = 5 * time.Minute
	minStatsWindow     = time.Minute
	maxStatsWindow     = time.Hour
)

// testEventTimeout bounds a test event with everything that it needs before
// its request, such as an access token. It is below Limits.SendTimeout.
const testEventTimeout = 45 * time.Second

func (s *Server) watchRoutes() []route {
	return []route{
		{method: http.MethodPost, path: matchPath, scope: model.ScopeEventsRead, handle: s.matchEvent},
		{method: http.MethodPost, path: testEventPath, scope: model.ScopeEventsWrite, handle: s.testProfile},
		{method: http.MethodGet, path: statsPath, scope: model.ScopeEventsRead, handle: s.showStats},
		{method: http.MethodGet, path: seriesPath, scope: model.ScopeEventsRead, frequent: true, handle: s.showSeries},
	}
}

func (s *Server) watcher() (Watcher, error) {
	if s.o.Watcher == nil {
		return nil, model.Errorf(model.CodeUnavailable, "this node does not watch events yet")
	}
	return s.o.Watcher, nil
}

type (
	matchOut struct {
		Matched   []event.MatchedSubscription   `json:"matched"`
		Unmatched []event.UnmatchedSubscription `json:"unmatched"`
		More      bool                          `json:"more"`
	}
	testEventIn struct {
		Channel string `json:"channel" api:"required"`
		Event   string `json:"event"   api:"required"`
	}
)

// matchEvent says what an event would be owed, without publishing it.
func (s *Server) matchEvent(r *request) error {
	watcher, err := s.watcher()
	if err != nil {
		return err
	}
	if err := r.noQuery(); err != nil {
		return err
	}
	b, err := r.body()
	if err != nil {
		return err
	}
	e, err := s.decodeMatch(b, r.caller.account)
	if err != nil {
		return err
	}
	rep, err := watcher.Match(r.ctx(), e)
	if err != nil {
		return err
	}
	out := matchOut{Matched: listOf(rep.Matched), Unmatched: make([]event.UnmatchedSubscription, len(rep.Unmatched)), More: rep.More}
	for i, u := range rep.Unmatched {
		u.Reasons = listOf(u.Reasons)
		out.Unmatched[i] = u
	}
	return r.json(http.StatusOK, out)
}

// decodeMatch reads one event by the rules of publishing. Nothing depends on
// its payload, so that it may be left out.
func (s *Server) decodeMatch(b []byte, account string) (*event.Event, error) {
	tree, err := parseJSON(b)
	if err != nil {
		return nil, err
	}
	o, ok := tree.(*object)
	if !ok {
		return nil, model.Invalid("body", "must be an object")
	}
	if node, given := o.values["payload"]; node == nil {
		if !given {
			o.names = append(o.names, "payload")
		}
		o.values["payload"] = &object{}
	}
	es, err := event.Decode(encodeNode(o), event.FormJSON, event.Options{
		Account: account, ReceivedAt: s.o.Now().UTC(), MaxEventBytes: s.o.Limits.EventBytes, Known: knownToMatch, NewID: newEventID,
	})
	if err != nil {
		return nil, eventError(err)
	}
	return es[0], s.checkOverrides(es, true)
}

// knownToMatch knows the reserved channel too: who subscribes to it may ask
// what they would get, though nobody can publish to it.
func knownToMatch(channel, name string) event.Knowledge {
	if k := knownEvent(channel, name); k != event.ReservedChannel {
		return k
	}
	return event.KnownEvent
}

// testProfile makes one attempt to deliver a sample, and reports it whatever
// came of it.
func (s *Server) testProfile(r *request) error {
	watcher, err := s.watcher()
	if err != nil {
		return err
	}
	if err := r.noQuery(); err != nil {
		return err
	}
	var in testEventIn
	if err := r.decode(&in); err != nil {
		return err
	}
	var v model.Violations
	if in.Channel == "" {
		v.Add("channel", "must not be empty")
	}
	if in.Event == "" {
		v.Add("event", "must not be empty")
	}
	if v.Empty() {
		checkCatalogue(in.Channel, in.Event, "", &v)
	}
	if err := v.Err(); err != nil {
		return err
	}
	id := r.param("profileId")
	if model.CheckID(id) != "" {
		return errNoProfile()
	}
	if err := s.limits.allowTest(r.caller); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.ctx(), testEventTimeout)
	defer cancel()
	rep, err := watcher.TestProfile(ctx, r.caller.account, id, in.Channel, in.Event)
	if err != nil {
		if model.CodeOf(err) == model.CodeNotFound {
			return errNoProfile()
		}
		return err
	}
	if len(bytes.TrimSpace(rep.Payload)) == 0 {
		rep.Payload = []byte("null")
	}
	return r.json(http.StatusOK, rep)
}

func errNoProfile() error {
	return model.Errorf(model.CodeNotFound, "there is no such profile")
}

// showStats gives figures of the account's deliveries.
func (s *Server) showStats(r *request) error {
	watcher, err := s.watcher()
	if err != nil {
		return err
	}
	p := r.strictQuery()
	window := p.window("window", defaultStatsWindow, minStatsWindow, maxStatsWindow)
	chosen := p.statsChoice()
	if err := p.err(); err != nil {
		return err
	}
	st, err := watcher.Stats(r.ctx(), r.caller.account, window)
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, chosen.of(st))
}

// profileStatsWire leaves the map of outcomes in place.
func profileStatsWire(ps event.ProfileStats) event.ProfileStats {
	if ps.Outcomes = maps.Clone(ps.Outcomes); ps.Outcomes == nil {
		ps.Outcomes = map[string]int64{}
	}
	return ps
}

// showSeries gives the same figures minute by minute.
func (s *Server) showSeries(r *request) error {
	watcher, err := s.watcher()
	if err != nil {
		return err
	}
	p := r.strictQuery()
	window := p.window("window", maxStatsWindow, minStatsWindow, maxStatsWindow)
	profile := p.text("profileId")
	if err := p.err(); err != nil {
		return err
	}
	series, err := watcher.Series(r.ctx(), r.caller.account, profile, window)
	if err != nil {
		return err
	}
	series.Points = listOf(series.Points)
	return r.json(http.StatusOK, series)
}
