package check

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"example.com/belfry/chaos/history"
)

// maxLine bounds one Op in a file, as history.Read does.
const maxLine = 4 << 20

// Load reads and indexes the history in dir. Unlike history.Read it keeps no
// Op of an event as it was written, so that millions of them fit. It fails on
// what it cannot decode: a history that is not whole is void.
func Load(ctx context.Context, dir string) (*History, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return nil, fmt.Errorf("list histories: %w", err)
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no history in %s: %w", dir, os.ErrNotExist)
	}
	h := newHistory()
	for _, p := range paths {
		if err := h.file(ctx, p); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(p), err)
		}
	}
	h.finish()
	return h, nil
}

// New indexes ops, in any order.
func New(ops []history.Op) (*History, error) {
	h := newHistory()
	for i := range ops {
		if err := h.add(ops[i]); err != nil {
			return nil, fmt.Errorf("op %d, %s: %w", i, ops[i].Kind, err)
		}
	}
	h.finish()
	return h, nil
}

func (h *History) file(ctx context.Context, path string) error {
	f, err := os.Open(path) //nolint:gosec // the caller's directory
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	s := bufio.NewScanner(f)
	s.Buffer(make([]byte, 0, 256<<10), maxLine)
	for line := 1; s.Scan(); line++ {
		if line%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		var op history.Op
		if err := json.Unmarshal(s.Bytes(), &op); err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		if err := h.add(op); err != nil {
			return fmt.Errorf("line %d, %s: %w", line, op.Kind, err)
		}
	}
	return s.Err()
}

// decode reads In or Out; absent leaves v as it is.
func decode(b json.RawMessage, v any) error {
	if len(b) == 0 {
		return nil
	}
	return json.Unmarshal(b, v)
}

// add sorts one op in. Kinds that no checker knows are left out.
func (h *History) add(op history.Op) error {
	h.begin, h.end = min(h.begin, op.Call), max(h.end, op.Return)
	switch {
	case op.Kind == history.Arrival:
		return h.addArrival(&op)
	case op.Kind == history.EventPost:
		return h.addPost(&op)
	case strings.HasPrefix(op.Kind, "fault."):
		return h.addFault(&op)
	case op.Kind == history.DeadList, op.Kind == history.FinalDead, op.Kind == history.DeadReplay, op.Kind == history.ReplayStart:
		return h.addDead(&op)
	case strings.HasPrefix(op.Kind, "final."), op.Kind == history.Drain:
		op.Process = h.intern(op.Process)
		h.finals = append(h.finals, op)
		return nil
	case isConfig(op.Kind):
		return h.addConfig(op)
	}
	return nil
}

func isConfig(kind string) bool {
	what, _, _ := strings.Cut(kind, ".")
	switch what {
	case "profile", "subscription", "security", "certificate", "account", "key", "barrier":
		return true
	}
	return false
}

func (h *History) addConfig(op history.Op) error {
	c := configOp{}
	if err := decode(op.In, &c.in); err != nil {
		return fmt.Errorf("in: %w", err)
	}
	c.what, c.verb, _ = strings.Cut(op.Kind, ".")
	c.verb, c.stale = strings.CutSuffix(c.verb, ".stale")
	if c.what == "barrier" {
		c.verb = "get"
	}
	if op.Outcome == history.OK && c.verb == "get" && c.what != "barrier" {
		c.state = new(history.State)
		if err := decode(op.Out, c.state); err != nil {
			return fmt.Errorf("out: %w", err)
		}
	}
	op.In, op.Out = nil, nil
	op.Process, op.Node = h.intern(op.Process), h.intern(op.Node)
	c.Op = op
	h.config = append(h.config, c)
	return nil
}

func (h *History) addPost(op *history.Op) error {
	var in history.Post
	out := history.Posted{}
	if err := decode(op.In, &in); err != nil {
		return fmt.Errorf("in: %w", err)
	}
	if err := decode(op.Out, &out); err != nil {
		return fmt.Errorf("out: %w", err)
	}
	if in.N < 1 || in.From < 0 {
		return fmt.Errorf("in: %d events from %d", in.N, in.From)
	}
	p := &h.producers[h.producer(in.Producer)]
	p.account = h.intern(in.Account)
	p.raw = append(p.raw, rawPost{
		topic: topic{h.intern(in.Account), h.intern(in.Channel), h.intern(in.Event), h.intern(in.Application)},
		from:  in.From, n: int32(in.N), pad: int32(in.Pad), keys: int32(in.Keys), //nolint:gosec // counts of one request
		try: try{
			call: op.Call, ret: op.Return, node: h.intern(op.Node), outcome: op.Outcome,
			duplicates: int32(out.Duplicates), deliveries: int32(out.Deliveries), each: out.Each, //nolint:gosec // counts of one request
		},
	})
	return nil
}

func (h *History) addArrival(op *history.Op) error {
	var in history.Arrived
	if err := decode(op.In, &in); err != nil {
		return fmt.Errorf("in: %w", err)
	}
	a := arrival{
		call: op.Call, ret: op.Return, dest: h.dest(in.Account, in.Dest), id: hash(in.WebhookID),
		attempt: int32(in.Attempt), status: int32(op.Status), outcome: op.Outcome, //nolint:gosec // small numbers
		urlVersion: int32(in.URLVersion), version: int32(in.Version), //nolint:gosec // small numbers
		auth: h.intern(in.Auth), behaviour: h.intern(in.Behaviour), retryAfter: in.RetryAfter, strange: in.Strange,
		runs: make([]run, 0, len(in.Runs)),
	}
	for _, r := range in.Runs {
		if r.N < 1 || r.From < 0 {
			return fmt.Errorf("in: a run of %d events from %d", r.N, r.From)
		}
		a.runs = append(a.runs, run{producer: h.producer(r.Producer), from: r.From, n: int32(r.N), pad: int32(r.Pad), account: h.intern(r.Account)}) //nolint:gosec // counts of one request
		a.events += int32(r.N)                                                                                                                       //nolint:gosec // counts of one request
	}
	h.arrivals = append(h.arrivals, a)
	return nil
}

func (h *History) addFault(op *history.Op) error {
	var in history.Fault
	if err := decode(op.In, &in); err != nil {
		return fmt.Errorf("in: %w", err)
	}
	f := h.faultOf(op.Key)
	switch op.Kind {
	case history.FaultBegin:
		f.in, f.begin, f.begun, f.failed = in, op.Call, op.Return, op.Outcome == history.Fail
	case history.FaultEnd:
		f.end, f.healed, f.ended = op.Call, op.Return, op.Outcome != history.Fail
	case history.FaultConverge:
		f.converge = &converged{call: op.Call, ret: op.Return, outcome: op.Outcome}
		if err := decode(op.Out, &f.converge.out); err != nil {
			return fmt.Errorf("out: %w", err)
		}
	}
	return nil
}

func (h *History) addDead(op *history.Op) error {
	var in history.DeadQuery
	if err := decode(op.In, &in); err != nil {
		return fmt.Errorf("in: %w", err)
	}
	switch op.Kind {
	case history.DeadReplay, history.ReplayStart:
		if op.Outcome != history.Fail {
			h.replayed[in.Account] = true
		}
		return nil
	}
	if op.Outcome != history.OK {
		return nil
	}
	var out history.Dead
	if err := decode(op.Out, &out); err != nil {
		return fmt.Errorf("out: %w", err)
	}
	if op.Kind == history.FinalDead && in.Profile == "" {
		h.deadKnown[in.Account] = true
	}
	for _, l := range out.Letters {
		if p, n, ok := history.ParseEventID(l.EventID); ok {
			h.letters[letter{h.dest(in.Account, l.Profile), h.producer(p), n}] = true
		}
	}
	return nil
}
