package api

import (
	"net/http"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

const replaysPath = "/events/1/replays"

func (s *Server) replayRoutes() []route {
	const one = replaysPath + "/{replayId}"
	return []route{
		{method: http.MethodPost, path: replaysPath, scope: model.ScopeEventsWrite, handle: s.startReplay},
		{method: http.MethodGet, path: replaysPath, scope: model.ScopeEventsRead, handle: s.listReplays},
		{method: http.MethodGet, path: one, scope: model.ScopeEventsRead, handle: s.getReplay},
		{method: http.MethodPost, path: one + "/cancel", scope: model.ScopeEventsWrite, handle: s.cancelReplay},
	}
}

type (
	replayIn struct {
		Filter event.DeadFilter `json:"filter"`
		Rate   *int             `json:"rate"`
		All    bool             `json:"all"`
	}
	replaysOut struct {
		Replays []event.ReplayJob `json:"replays"`
	}
)

// check completes the request and says what is wrong with it.
func (in *replayIn) check() error {
	var v model.Violations
	checkDeadFilter(&in.Filter, "filter.", &v)
	in.Filter.From, in.Filter.To = in.Filter.From.UTC(), in.Filter.To.UTC()
	switch empty := in.Filter == (event.DeadFilter{}); {
	case empty && !in.All: // a filter that was lost on the way must not select everything
		v.Add("filter", `must select something; send "all": true in its place to replay every dead letter`)
	case !empty && in.All:
		v.Add("all", "must not come with a filter")
	}
	if in.Rate == nil {
		in.Rate = new(event.DefaultReplayRate)
	}
	if *in.Rate < 1 || *in.Rate > event.MaxReplayRate {
		v.Add("rate", "must be a whole number between 1 and %d", event.MaxReplayRate)
	}
	return v.Err()
}

// startReplay makes a job that sends dead letters again.
func (s *Server) startReplay(r *request) error {
	archive, err := s.archive()
	if err != nil {
		return err
	}
	if err := r.noQuery(); err != nil {
		return err
	}
	var in replayIn
	if err := r.decode(&in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	job, err := archive.StartReplay(ctx, event.ReplayJob{
		Account: r.caller.account, ID: newEventID(), Filter: in.Filter, Rate: *in.Rate, CreatedBy: r.caller.actor.Name,
	})
	if err != nil {
		return err
	}
	r.header().Set("Location", replaysPath+"/"+job.ID)
	return r.json(http.StatusAccepted, job)
}

// listReplays shows the jobs of the account, newest first. There are at most
// event.MaxReplays of them.
func (s *Server) listReplays(r *request) error {
	archive, err := s.archive()
	if err != nil {
		return err
	}
	if err := r.noQuery(); err != nil {
		return err
	}
	jobs, err := archive.Replays(r.ctx(), r.caller.account)
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, replaysOut{Replays: listOf(jobs)})
}

func (s *Server) getReplay(r *request) error {
	archive, err := s.archive()
	if err != nil {
		return err
	}
	if err := r.noQuery(); err != nil {
		return err
	}
	id, err := r.replayID()
	if err != nil {
		return err
	}
	job, err := archive.ReplayJob(r.ctx(), r.caller.account, id)
	if err != nil {
		return notFoundAs(err, errNoReplay())
	}
	return r.json(http.StatusOK, job)
}

// cancelReplay ends a job; one that is over stays as it is.
func (s *Server) cancelReplay(r *request) error {
	archive, err := s.archive()
	if err != nil {
		return err
	}
	if err := r.noQuery(); err != nil {
		return err
	}
	if err := r.noBody(); err != nil {
		return err
	}
	id, err := r.replayID()
	if err != nil {
		return err
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	job, err := archive.CancelReplay(ctx, r.caller.account, id)
	if err != nil {
		return notFoundAs(err, errNoReplay())
	}
	return r.json(http.StatusOK, job)
}

// replayID is the id in the path; one that no job can have is not asked for.
func (r *request) replayID() (string, error) {
	id := r.param("replayId")
	if model.CheckID(id) != "" {
		return "", errNoReplay()
	}
	return id, nil
}

func errNoReplay() error {
	return model.Errorf(model.CodeNotFound, "there is no such replay, or it is no longer remembered")
}
