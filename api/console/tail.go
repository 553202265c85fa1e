package console

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/belfry/fsm/model"
)

const (
	tailPath = "/events/1/tail"
	// streamPatience is how long a browser may take for a part of a stream.
	streamPatience = 10 * time.Second
)

func tailScreens() []screen {
	return []screen{
		{
			path: "/tail", file: "tail.html", title: "Live tail", scope: model.ScopeEventsRead, scripts: []string{"js/tail.js"}, form: true,
			nav: &navItem{group: navEvents, label: "Live tail", icon: "tail", key: 't', order: 2}, get: showTail,
		},
		{path: "/tail/stream", scope: model.ScopeEventsRead, get: streamTail},
	}
}

// tailNames are the filters of the tail: the parameters of the API.
var tailNames = []string{"kind", "channel", "event", "status", "profileId", "subscriptionId", "resource", "applicationId", "entityId", "user", "orderingKey"}

var tailKinds = []option{{"", "Events and attempts"}, {"accepted", "Events that are taken"}, {"attempt", "Attempts to deliver"}}

// tailView is the page around the stream.
type tailView struct {
	Form                      *form
	Kinds, Channels, Statuses []option
	EventNames                []string
	// Src is where the stream comes from; Command shows the same in a terminal.
	Src, Command string
	More         bool
}

func showTail(v *visit) (*answer, error) {
	f := v.filters(tailNames...)
	return v.show(tailView{
		Form: f, Kinds: tailKinds, Channels: channelOptions("Every channel"), Statuses: statusOptions(), EventNames: eventNames(f.Text("channel")),
		Src: address(at("/tail/stream"), tailQuery(f)), Command: tailCommand(f), More: anySet(f, tailNames[4:]...),
	}), nil
}

func tailQuery(f *form) url.Values {
	q := url.Values{}
	for _, n := range tailNames {
		if s := f.Text(n); s != "" {
			q.Set(n, s)
		}
	}
	return q
}

// tailFlags are the flags of belfry tail, in the order of tailNames.
var tailFlags = []string{"--kind", "--channel", "--event", "--status", "--profile", "--subscription", "--resource", "--application-id", "--entity-id", "--user", "--ordering-key"}

// tailCommand is the line that shows the same in a terminal.
func tailCommand(f *form) string {
	var line strings.Builder
	line.WriteString("BELFRY_API_KEY=… belfry tail")
	for i, n := range tailNames {
		if s := f.Text(n); s != "" {
			line.WriteString(" " + tailFlags[i] + " " + quoted(s))
		}
	}
	return line.String()
}

// streamTail hands on the API's stream as it comes, with the caller's token. It
// ends with the browser's request or with the API's stream. A refusal of the
// API is handed on too, for the script to show.
func streamTail(v *visit) (*answer, error) {
	q := v.r.URL.Query()
	target := nodeURL + address(tailPath, q)
	req, err := http.NewRequestWithContext(v.ctx(), http.MethodGet, target, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", v.session.scheme+" "+v.session.token.Reveal())
	req.Header.Set("Accept", "text/event-stream")
	resp, err := v.direct.RoundTrip(req)
	if err != nil {
		return nil, model.Errorf(model.CodeUnavailable, "the stream does not begin").WithCause(err)
	}
	defer func() { _ = resp.Body.Close() }()
	h := v.w.Header()
	h.Set("Content-Type", resp.Header.Get("Content-Type"))
	h.Set("X-Accel-Buffering", "no")
	v.w.WriteHeader(resp.StatusCode)
	v.pass(resp.Body)
	return &answer{written: true}, nil
}

// pass copies a stream part by part until one of its ends is gone.
func (v *visit) pass(from io.Reader) {
	rc := http.NewResponseController(v.w)
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			// A writer without a connection has no deadlines and needs none.
			_ = rc.SetWriteDeadline(time.Now().Add(streamPatience))
			if _, werr := v.w.Write(buf[:n]); werr != nil || rc.Flush() != nil {
				return
			}
			_ = rc.SetWriteDeadline(time.Time{})
		}
		if err != nil {
			return
		}
	}
}
