package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"example.com/belfry/fsm/model"
)

// simResourceCount is how many objects the clients of simResources share.
const simResourceCount = 3

// simResources is objects of the config that clients create, change, read and
// delete, each at any node. What they saw must be what one copy of each could
// have answered (I4).
type simResources struct {
	mu    sync.Mutex
	last  int // value that was given out
	start map[int]int
	ops   []porcupine.Operation
}

// resourceOp is the input and the output of an operation. A value of 0 says
// that there is no object.
type resourceOp struct {
	id    int
	kind  string // create, put, delete, get
	value int    // of create and put; that was read, of get
	code  model.Code
}

func newResources() *simResources { return &simResources{start: map[int]int{}} }

// run is one client.
func (x *simResources) run(l *simLoad, client int, rng *rand.Rand) {
	for l.sleep(l.s.knobs.between(rng, 50, 350)) {
		x.mu.Lock()
		x.last++
		op := resourceOp{id: rng.IntN(simResourceCount), value: x.last}
		x.mu.Unlock()
		op.kind = []string{"create", "put", "put", "get", "get", "get", "delete"}[rng.IntN(7)]
		n := l.s.anyNode(rng)
		call := time.Now()
		err := n.at(l.s.t.Context(), func(ctx context.Context) error { return op.do(ctx, n) })
		switch op.code = model.CodeOf(err); op.code { //nolint:exhaustive // nothing else may come
		case "", model.CodeExists, model.CodeNotFound:
			x.record(client, op, call, time.Now())
		case model.CodeUnknownOutcome: // until the end it may happen at any time
			if op.kind != "get" {
				x.record(client, op, call, time.Time{})
			}
		case model.CodeUnavailable: // nothing happened
		default:
			w := l.s.truth
			w.mu.Lock()
			w.violated("resource at %s: %v", n.id, err)
			w.mu.Unlock()
		}
	}
}

func (op *resourceOp) do(ctx context.Context, n *simNode) (err error) {
	id := fmt.Sprint("lin-", op.id)
	p := simProfile("acme", id)
	p.Headers = map[string]string{headerRegister: strconv.Itoa(op.value)}
	switch op.kind {
	case "create":
		_, err = n.writer.CreateProfile(ctx, system, model.ProfileDraft{Profile: p})
	case "put":
		_, err = n.writer.UpdateProfile(ctx, system, "acme", id, model.ProfilePatch{Headers: model.Some(p.Headers)})
	case "delete":
		_, err = n.writer.DeleteProfile(ctx, system, "acme", id)
	case "get":
		if err = n.cluster.Group(groupConfig).Linearize(ctx); err == nil {
			op.value, err = n.resource(op.id)
		}
	}
	return err
}

// resource reads the local copy.
func (n *simNode) resource(id int) (value int, err error) {
	p, err := n.store.Profile("acme", fmt.Sprint("lin-", id))
	if model.CodeOf(err) == model.CodeNotFound {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	return strconv.Atoi(p.Headers[headerRegister])
}

func (x *simResources) record(client int, op resourceOp, call, end time.Time) {
	o := porcupine.Operation{ClientId: client, Input: op, Output: op.code, Call: call.UnixNano(), Return: end.UnixNano()}
	if end.IsZero() {
		o.Return = 0
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ops = append(x.ops, o)
}

// check judges the history up to now, of which end is what all nodes have.
// Then another one begins.
func (x *simResources) check(end map[int]int) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Now().UnixNano()
	for i := range x.ops {
		if x.ops[i].Return == 0 {
			x.ops[i].Return = now
		}
	}
	for id, value := range end {
		x.ops = append(x.ops, porcupine.Operation{Input: resourceOp{id: id, kind: "get", value: value}, Output: model.Code(""), Call: now + 1, Return: now + 2})
	}
	var err error
	for id := range simResourceCount {
		var ops []porcupine.Operation
		for _, o := range x.ops {
			if o.Input.(resourceOp).id == id { //nolint:forcetypeassert // all of them are
				ops = append(ops, o)
			}
		}
		if !porcupine.CheckOperations(resourceModel(x.start[id]), ops) {
			err = fmt.Errorf("I4: the history of resource %d cannot be that of one copy, which began as %d: %+v", id, x.start[id], ops)
		}
	}
	x.ops, x.start = nil, end
	return err
}

// resourceModel is one copy of an object that begins with the value.
func resourceModel(start int) porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{start} },
		Step: func(state, input, output any) []any {
			have, op, code := state.(int), input.(resourceOp), output.(model.Code) //nolint:forcetypeassert // they are
			after, want := have, model.Code("")
			switch {
			case op.kind == "get":
				if code != "" || op.value != have {
					return nil
				}
			case op.kind == "create" && have != 0:
				want = model.CodeExists
			case op.kind != "create" && have == 0:
				want = model.CodeNotFound
			case op.kind == "delete":
				after = 0
			default:
				after = op.value
			}
			if code == model.CodeUnknownOutcome {
				return []any{have, after}
			}
			if code == want {
				return []any{after}
			}
			return nil
		},
	}
	return m.ToModel()
}

// TestSim_linear: histories that one copy cannot have answered are found.
func TestSim_linear(t *testing.T) {
	t.Parallel()
	put := func(call, end int64, value int, code model.Code) porcupine.Operation {
		return porcupine.Operation{Input: resourceOp{kind: "put", value: value}, Output: code, Call: call, Return: end}
	}
	get := func(call, end int64, value int) porcupine.Operation {
		return porcupine.Operation{Input: resourceOp{kind: "get", value: value}, Output: model.Code(""), Call: call, Return: end}
	}
	remove := func(call, end int64, code model.Code) porcupine.Operation {
		return porcupine.Operation{Input: resourceOp{kind: "delete"}, Output: code, Call: call, Return: end}
	}
	for name, test := range map[string]struct {
		ops  []porcupine.Operation
		want bool
	}{
		"as it should be":                  {[]porcupine.Operation{put(1, 2, 5, ""), get(3, 4, 5), remove(5, 6, ""), put(7, 8, 6, model.CodeNotFound), get(9, 10, 0)}, true},
		"at the same time":                 {[]porcupine.Operation{put(1, 9, 5, ""), get(2, 3, 1), get(4, 5, 5)}, true},
		"unknown, and it happened":         {[]porcupine.Operation{put(1, 99, 5, model.CodeUnknownOutcome), get(3, 4, 1), get(5, 6, 5)}, true},
		"unknown, and it did not":          {[]porcupine.Operation{put(1, 99, 5, model.CodeUnknownOutcome), get(3, 4, 1)}, true},
		"stale read":                       {[]porcupine.Operation{put(1, 2, 5, ""), get(3, 4, 1)}, false},
		"lost write":                       {[]porcupine.Operation{put(1, 2, 5, ""), put(3, 4, 6, ""), get(5, 6, 5)}, false},
		"back in time":                     {[]porcupine.Operation{put(1, 9, 5, ""), get(2, 3, 5), get(4, 5, 1)}, false},
		"value from nowhere":               {[]porcupine.Operation{get(1, 2, 7)}, false},
		"deleted and found":                {[]porcupine.Operation{remove(1, 2, ""), get(3, 4, 1)}, false},
		"not found though nobody deleted":  {[]porcupine.Operation{put(1, 2, 5, model.CodeNotFound)}, false},
		"unknown, happened, taken back":    {[]porcupine.Operation{put(1, 99, 5, model.CodeUnknownOutcome), get(3, 4, 5), get(5, 6, 1)}, false},
		"created twice without a deletion": {[]porcupine.Operation{{Input: resourceOp{kind: "create", value: 3}, Output: model.Code(""), Call: 1, Return: 2}}, false},
	} {
		if got := porcupine.CheckOperations(resourceModel(1), test.ops); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
