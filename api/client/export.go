package client

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"example.com/belfry/dispatch/event"
)

// ExportForm is the form of a list that is written into a file.
type ExportForm string

// The forms of a file: lines of cells, or an object per line.
const (
	CSV    ExportForm = "text/csv"
	NDJSON ExportForm = "application/x-ndjson"
)

// ExportEvents writes the events that fit f, newest first, from cursor on
// (empty: from the beginning), as many as the server gives at once. What is
// missing stands in the last line. w is written to while they come; a Timeout
// of the HTTPClient does not apply.
func (c *Client) ExportEvents(ctx context.Context, f event.Filter, form ExportForm, cursor string, w io.Writer) error {
	q, err := queryOf(f)
	if err != nil {
		return err
	}
	return c.export(ctx, eventsPath, Part{Cursor: cursor}.add(q), form, w)
}

// ExportDeadLetters writes the dead letters that fit f, youngest first, as
// ExportEvents does.
func (c *Client) ExportDeadLetters(ctx context.Context, f event.DeadFilter, form ExportForm, cursor string, w io.Writer) error {
	q, err := queryOf(f)
	if err != nil {
		return err
	}
	return c.export(ctx, deadLettersPath, Part{Cursor: cursor}.add(q), form, w)
}

// ExportAudit writes the newest records of an account's audit log, as
// ExportEvents does.
func (c *Client) ExportAudit(ctx context.Context, account string, form ExportForm, w io.Writer) error {
	return c.export(ctx, path(accountsPath, account, "audit"), nil, form, w)
}

func (c *Client) export(ctx context.Context, p string, q url.Values, form ExportForm, w io.Writer) error {
	if len(q) > 0 {
		p += "?" + q.Encode()
	}
	return c.do(ctx, call{method: http.MethodGet, path: p, accept: string(form), out: w, repeatable: true})
}
