package client

import (
	"context"
	"net/http"
	"slices"

	"example.com/belfry/dispatch/event"
)

const eventsPath = "/events/1/events"

type receipts struct {
	Events []event.Receipt `json:"events"`
}

// Publish posts events, at most event.MaxBatchEvents: all are taken or none.
// When it returns without an error, their deliveries are on the disks of a
// quorum. If every event has an EventID the call is sent again when its answer
// is lost; otherwise that is CodeUnknownOutcome.
func (c *Client) Publish(ctx context.Context, es ...Event) ([]event.Receipt, error) {
	var out receipts
	err := c.do(ctx, call{
		method: http.MethodPost, path: eventsPath, in: es, out: &out,
		repeatable: !slices.ContainsFunc(es, func(e Event) bool { return e.EventID == "" }),
	})
	return out.Events, err
}

// PublishRaw posts a body as it is; contentType is application/json or
// application/x-ndjson. repeatable says that every event in it has an eventId.
func (c *Client) PublishRaw(ctx context.Context, contentType string, body []byte, repeatable bool) ([]event.Receipt, error) {
	var out receipts
	err := c.do(ctx, call{method: http.MethodPost, path: eventsPath, raw: body, contentType: contentType, out: &out, repeatable: repeatable})
	return out.Events, err
}

// Event shows an event with its deliveries and their attempts.
func (c *Client) Event(ctx context.Context, id string) (event.Record, error) {
	return get[event.Record](ctx, c, path(eventsPath, id), nil)
}
