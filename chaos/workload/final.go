package workload

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"example.com/belfry/chaos/history"
)

const (
	drainEvery    = 500 * time.Millisecond
	metricPending = "belfry_outbox_pending"
	metricPrefix  = "belfry_"
	statsPath     = "/events/1/stats?window=1h"
	keyBegin      = "begin"
	keyEnd        = "end"
)

// ErrBacklog says that deliveries were still owed when Drain gave up.
var ErrBacklog = errors.New("workload: deliveries are still owed")

// Final reads what is there at the end of a run into the history "final".
type Final struct {
	e     *env
	admin *client
}

// NewFinal makes the history. It sends nothing yet.
func NewFinal(o Options) (*Final, error) {
	e, err := newEnv("final", o)
	if err != nil {
		return nil, err
	}
	return &Final{e: e, admin: e.client("1", 0, true, e.admin())}, nil
}

// Close ends the history; see Workload.
func (f *Final) Close() error { return f.e.Close() }

// Begin reads the metrics of every node before the first fault, so that what
// was counted before, such as elections, can be taken off.
func (f *Final) Begin(ctx context.Context) {
	f.eachNode(f.admin, func() { f.metrics(ctx, keyBegin) })
}

// eachNode runs do with c at one node after the other.
func (f *Final) eachNode(c *client, do func()) {
	for i := range f.e.o.Target.Nodes() {
		c.node = i
		do()
	}
}

// Drain waits until no node owes a delivery, twice in a row. It gives up with ErrBacklog when ctx ends.
func (f *Final) Drain(ctx context.Context) error {
	for calm := 0; calm < 2; {
		calm++
		f.eachNode(f.admin, func() {
			a, m := f.scrape(ctx)
			pending, known := m[metricPending]
			f.admin.note(history.Drain, "", nil, history.Backlog{Pending: int64(pending)}, a)
			if !a.ok() || !known || pending > 0 {
				calm = 0
			}
		})
		if calm < 2 && !pause(ctx, drainEvery) {
			return ErrBacklog
		}
	}
	return nil
}

// Read reads from every node: its members, partitions, metrics, readiness and digests,
// the objects of all accounts both as the node has them and linearizably, and
// from one node audit logs, dead letters and figures. What cannot be read is in
// the history as such.
func (f *Final) Read(ctx context.Context, workloads ...Workload) {
	f.eachNode(f.admin, func() {
		f.ready(ctx)
		f.members(ctx)
		f.partitions(ctx)
		f.metrics(ctx, keyEnd)
	})
	f.digests(ctx, "config")
	f.digests(ctx, "events")
	f.audit(ctx, f.admin)
	for _, w := range workloads {
		for _, a := range w.Accounts() {
			c := f.e.client("account-"+a.ID, 0, true, a)
			for _, stale := range []bool{true, false} {
				f.eachNode(c, func() { f.config(ctx, c, a, stale) })
			}
			c.node, c.pinned = 0, false
			f.audit(ctx, c)
			c.deadLetters(ctx, history.FinalDead, "")
			f.stats(ctx, c)
		}
	}
}

func (f *Final) scrape(ctx context.Context) (answer, history.Metrics) {
	a := f.admin.send(ctx, request{method: http.MethodGet, path: "/metrics"})
	return a, parseMetrics(a.body)
}

func (f *Final) metrics(ctx context.Context, when string) {
	a, m := f.scrape(ctx)
	f.admin.note(history.FinalMetrics, when, nil, m, a)
}

// parseMetrics reads the text format as far as belfry's own series go that are
// not parts of histograms.
func parseMetrics(b []byte) history.Metrics {
	m := history.Metrics{}
	histogram := map[string]bool{}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		line := s.Text()
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			histogram[name] = kind == "histogram"
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || !strings.HasPrefix(line, metricPrefix) {
			continue
		}
		name, _, _ := strings.Cut(line[:i], "{")
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(name, part); ok && histogram[base] {
				name = ""
			}
		}
		if v, err := strconv.ParseFloat(line[i+1:], 64); err == nil && name != "" {
			m[line[:i]] = v
		}
	}
	return m
}

func (f *Final) ready(ctx context.Context) {
	a := f.admin.send(ctx, request{method: http.MethodGet, path: "/readyz?verbose"})
	f.admin.note(history.FinalReady, "", nil, nil, a)
}

func (f *Final) members(ctx context.Context) {
	a := f.admin.send(ctx, request{method: http.MethodGet, path: "/cluster/1/nodes"})
	var w struct {
		Nodes []struct {
			ID      string `json:"nodeId"`
			Role    string `json:"role"`
			Voter   bool   `json:"voter"`
			Live    bool   `json:"live"`
			Applied uint64 `json:"appliedIndex"`
		} `json:"nodes"`
	}
	a.decode(&w)
	out := make([]history.Member, len(w.Nodes))
	for i, n := range w.Nodes {
		out[i] = history.Member(n)
	}
	f.admin.note(history.FinalNodes, "", nil, out, a)
}

func (f *Final) partitions(ctx context.Context) {
	a := f.admin.send(ctx, request{method: http.MethodGet, path: "/cluster/1/partitions"})
	var w struct {
		Partitions []history.Owner `json:"partitions"`
	}
	a.decode(&w)
	f.admin.note(history.FinalPartitions, "", nil, w.Partitions, a)
}

// page is one page of a list of either API.
type page struct {
	Results []json.RawMessage `json:"results"`
	Paging  struct {
		TotalPages int `json:"totalPages"`
	} `json:"paging"`
}

// list reads a whole list and hands it on in parts of FinalPart, the last one
// with the answer of the last page. A page that cannot be read ends the list
// with what was refused.
func (f *Final) list(ctx context.Context, c *client, path string, q url.Values, part func(number int, rows []json.RawMessage, a answer)) {
	q.Set("size", strconv.Itoa(pageSize))
	var rows []json.RawMessage
	var first int64
	number := 0
	for p := 0; ; p++ {
		q.Set("page", strconv.Itoa(p))
		a := c.send(ctx, request{method: http.MethodGet, path: path + "?" + q.Encode()})
		for try := 0; !a.ok() && a.again() && try < 3 && pause(ctx, lastWait); try++ {
			a = c.send(ctx, request{method: http.MethodGet, path: path + "?" + q.Encode()})
		}
		var got page
		a.decode(&got)
		if len(rows) == 0 {
			first = a.call
		}
		a.call = first
		rows = append(rows, got.Results...)
		last := !a.ok() || p+1 >= got.Paging.TotalPages
		if len(rows) >= history.FinalPart || last {
			part(number, rows, a)
			number++
			rows = nil
		}
		if last {
			return
		}
	}
}

// config reads every list of the config API of an account at c's node.
func (f *Final) config(ctx context.Context, c *client, acct Account, stale bool) {
	read := func(what, channel string) {
		q := url.Values{}
		if stale {
			q.Set("consistency", "stale")
		}
		f.list(ctx, c, configPath(what, channel, ""), q, func(number int, rows []json.RawMessage, a answer) {
			out := make([]history.State, len(rows))
			for i, r := range rows {
				out[i] = stateOf(what, &a, r)
				out[i].What, out[i].Channel = what, channel
			}
			in := history.FinalQuery{Account: acct.ID, What: what, Channel: channel, Stale: stale, Part: number}
			c.note(history.FinalConfig, "", in, out, a)
		})
	}
	for _, ch := range acct.Channels {
		read(whatSubscription, ch)
	}
	read(whatProfile, "")
	read(whatSecurity, "")
	read(whatCertificate, "")
}

func (f *Final) audit(ctx context.Context, c *client) {
	path := configPath(whatAccount, "", c.account) + "/audit"
	f.list(ctx, c, path, url.Values{}, func(number int, rows []json.RawMessage, a answer) {
		out := make([]history.Audit, len(rows))
		for i, r := range rows {
			var w struct {
				Index   uint64 `json:"index"`
				Action  string `json:"action"`
				Object  string `json:"object"`
				Actor   string `json:"actor"`
				Request string `json:"requestId"`
			}
			if err := json.Unmarshal(r, &w); err != nil {
				a.text = fmt.Sprintf("answer: %v", err)
			}
			out[i] = history.Audit(w)
		}
		c.note(history.FinalAudit, "", history.FinalQuery{Account: c.account, Part: number}, out, a)
	})
}

func (f *Final) stats(ctx context.Context, c *client) {
	a := c.send(ctx, request{method: http.MethodGet, path: statsPath})
	var w struct {
		Total       history.Stats `json:"total"`
		Unreachable []string      `json:"unreachableNodes"`
	}
	a.decode(&w)
	w.Total.Unreachable = w.Unreachable
	c.note(history.FinalStats, "", history.FinalQuery{Account: c.account}, w.Total, a)
}
