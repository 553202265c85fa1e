package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"example.com/belfry/cmd/internal/rest"
	"example.com/belfry/fsm/model"
)

const hookPrefix = "/hooks/"

// newSettings makes the security settings of this run.
func newSettings() []setting {
	return []setting{
		{authID: "demo-hmac-256", algorithm: "HMAC_SHA_256", secret: model.NewSecret(rand.Text())},
		{authID: "demo-hmac-512", algorithm: "HMAC_SHA_512", secret: model.NewSecret(rand.Text())},
		{authID: "demo-basic", username: "demo", secret: model.NewSecret(rand.Text())},
	}
}

// credentials is the body of the config API for a setting.
func (s setting) credentials() (kind string, cred map[string]any) {
	if s.algorithm == "" {
		return "BASIC", map[string]any{"username": s.username, "password": s.secret.Reveal()}
	}
	return "HMAC", map[string]any{"secretKey": s.secret.Reveal(), "algorithm": s.algorithm}
}

// assign gives every channel one of the settings, in turn.
func assign(channels []string, settings []setting) map[string]setting {
	out := map[string]setting{}
	for i, c := range channels {
		out[c] = settings[i%len(settings)]
	}
	return out
}

// configure makes security settings, profiles and subscriptions, or brings
// those of the last time up to date.
func configure(ctx context.Context, c *rest.Client, hookURL string, settings []setting, byChannel map[string]setting, ss []Sample) error {
	for _, s := range settings {
		kind, cred := s.credentials()
		body := map[string]any{"type": kind, "credentials": cred}
		if err := put(ctx, c, "/subscriptions/1/security", "authId", s.authID, body); err != nil {
			return err
		}
	}
	for _, channel := range channels(ss) {
		id := "demo-" + strings.ToLower(channel)
		profile := map[string]any{
			"webhook":  map[string]any{"notifyUrl": hookURL + hookPrefix + channel, "contentType": "application/json"},
			"security": map[string]any{"authId": byChannel[channel].authID},
		}
		if err := put(ctx, c, "/subscriptions/1/profiles", "profileId", id, profile); err != nil {
			return err
		}
		sub := map[string]any{
			"name":    "Demo, " + channel,
			"events":  eventsOf(ss, channel),
			"profile": map[string]any{"profileId": id},
		}
		if err := put(ctx, c, "/subscriptions/1/subscription/"+channel, "subscriptionId", id, sub); err != nil {
			return err
		}
	}
	return nil
}

// put creates an object, or updates the one that is there from the last time.
func put(ctx context.Context, c *rest.Client, path, idName, id string, body map[string]any) error {
	create := map[string]any{idName: id}
	maps.Copy(create, body)
	err := c.JSON(ctx, http.MethodPost, path, create, nil)
	if se, ok := errors.AsType[*rest.StatusError](err); ok && se.Status == http.StatusBadRequest {
		if c.JSON(ctx, http.MethodPut, path+"/"+id, body, nil) == nil {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("create %s %s: %w", path, id, err)
	}
	return nil
}

type receipt struct {
	EventID    string `json:"eventId"`
	Status     string `json:"status"`
	Deliveries int    `json:"deliveries"`
}

// post sends the samples as one array per node, all at once.
func post(ctx context.Context, nodes []*rest.Client, r *receiver, ss []Sample) error {
	run := strings.ToLower(rand.Text()[:8])
	bodies := make([][]json.RawMessage, len(nodes))
	for i, s := range ss {
		n := i % len(nodes)
		bodies[n] = append(bodies[n], s.withID(fmt.Sprintf("demo-%s-%s", run, s.Name)))
	}
	r.expect(ss, time.Now())
	for i, body := range bodies {
		if len(body) == 0 {
			continue
		}
		var out struct {
			Events []receipt `json:"events"`
		}
		if err := nodes[i].JSON(ctx, http.MethodPost, "/events/1/events", body, &out); err != nil {
			return fmt.Errorf("post events: %w", err)
		}
		if len(out.Events) != len(body) {
			return fmt.Errorf("%d events were posted and %d receipts came back", len(body), len(out.Events))
		}
		for _, e := range out.Events {
			if e.Status != "ACCEPTED" || e.Deliveries != 1 {
				return fmt.Errorf("event %s: %s with %d deliveries, expected one", e.EventID, e.Status, e.Deliveries)
			}
		}
	}
	return nil
}
