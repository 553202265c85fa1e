package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/fsm/model"
)

// TestPublish_failedProposals: callers are told what is known, and repeating
// events that have ids of their own is safe.
func TestPublish_failedProposals(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		lose  bool
		err   error
		code  model.Code
		again string
	}{
		{"unavailable", false, model.Errorf(model.CodeUnavailable, "no"), model.CodeUnavailable, "ACCEPTED/1 ACCEPTED/1"},
		{"unknown outcome, appended", true, model.Errorf(model.CodeUnknownOutcome, "no"), model.CodeUnknownOutcome, "DUPLICATE/1 DUPLICATE/1"},
		{"unknown outcome, not appended", false, model.Errorf(model.CodeUnknownOutcome, "no"), model.CodeUnknownOutcome, "ACCEPTED/1 ACCEPTED/1"},
		{"not an answer", true, errors.New("what"), model.CodeUnknownOutcome, "DUPLICATE/1 DUPLICATE/1"},
		{"not a code", true, model.Errorf(model.CodeConflict, "what"), model.CodeUnknownOutcome, "DUPLICATE/1 DUPLICATE/1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			atDesk(t, func(d *desk) { d.subscribe("s1", "p1") }, func(d *desk) {
				d.group.set(func(outbox.Command) (bool, error) { return tc.lose, tc.err })
				a, b := sms("DELIVERY", "a", `1`), sms("DELIVERY", "b", `1`)
				_, err := d.publish(a, b)
				d.wantError(err, tc.code)
				d.group.set(nil)
				if got := d.must(a, b); got != tc.again {
					d.t.Errorf("again: %s, want %s", got, tc.again)
				}
				if n := d.store.Stats().Pending; n != 2 {
					d.t.Errorf("%d deliveries are owed, want 2", n)
				}
			})
		})
	}
}

// shortAnswer leaves out what the event group answered.
type shortAnswer struct{ Proposer }

func (p shortAnswer) Propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	index, _, err := p.Proposer.Propose(ctx, cmd)
	return index, outbox.EncodeResults(nil), err
}

func TestPublish_answerDoesNotFit(t *testing.T) {
	atDesk(t, func(d *desk) {
		d.subscribe("s1", "p1")
		d.opts.Proposer = shortAnswer{d}
	}, func(d *desk) {
		_, err := d.publish(sms("DELIVERY", "a", `1`))
		d.wantError(err, model.CodeUnknownOutcome)
	})
}

// gate lets proposals wait until it is opened or their context ends.
type gate struct {
	Proposer
	open chan struct{}
}

func (g gate) Propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	select {
	case <-g.open:
		return g.Proposer.Propose(ctx, cmd)
	case <-ctx.Done():
		return 0, nil, model.Errorf(model.CodeUnknownOutcome, "the outcome is not known").WithCause(ctx.Err())
	}
}

// later publishes on a goroutine and gives what came of it.
func (d *desk) later(ctx context.Context, es ...*event.Event) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := d.p.Publish(ctx, es)
		done <- err
	}()
	synctest.Wait()
	return done
}

// atGate is a desk whose proposals wait, one group at a time.
func atGate(t *testing.T, f func(d *desk, open func())) {
	t.Helper()
	var g gate
	atDesk(t, func(d *desk) {
		g = gate{d, make(chan struct{})}
		d.opts.Proposer = g
		d.opts.MaxGroups = 1
		d.subscribe("s1", "p1")
	}, func(d *desk) {
		open := sync.OnceFunc(func() { close(g.open) })
		defer open()
		f(d, open)
	})
}

// TestPublish_callerLeaves: the end of one caller does not touch the others,
// and it is told exactly what is known (INV publish-5).
func TestPublish_callerLeaves(t *testing.T) {
	atGate(t, func(d *desk, open func()) {
		ended, end := context.WithCancel(d.t.Context())
		end()
		_, err := d.p.Publish(ended, []*event.Event{sms("DELIVERY", "never", `1`)})
		d.wantError(err, model.CodeUnavailable)

		ctx, cancel := context.WithCancel(d.t.Context())
		onWay := d.later(ctx, sms("DELIVERY", "a", `1`))
		queued := d.later(ctx, sms("DELIVERY", "b", `1`))
		stays := d.later(d.t.Context(), sms("DELIVERY", "c", `1`))
		cancel()
		d.wantError(<-onWay, model.CodeUnknownOutcome)
		d.wantError(<-queued, model.CodeUnavailable)
		open()
		if err := <-stays; err != nil {
			d.t.Errorf("the caller that stayed: %v", err)
		}
		var ids []string
		for _, c := range d.proposed() {
			for _, e := range c.Events {
				ids = append(ids, e.Event.ID)
			}
		}
		if !slices.Equal(ids, []string{"a", "c"}) {
			d.t.Errorf("proposed %v, want a and c", ids)
		}
		if n := testutil.ToFloat64(d.p.metrics.queued); n != 0 {
			d.t.Errorf("%v events are queued in the end", n)
		}
	})
}

func TestPublish_stop(t *testing.T) {
	atGate(t, func(d *desk, open func()) {
		onWay := d.later(d.t.Context(), sms("DELIVERY", "a", `1`))
		queued := d.later(d.t.Context(), sms("DELIVERY", "b", `1`))
		stopped := make(chan struct{})
		go func() {
			d.stop()
			close(stopped)
		}()
		d.wantError(<-queued, model.CodeUnavailable)
		_, err := d.publish(sms("DELIVERY", "late", `1`))
		d.wantError(err, model.CodeUnavailable)
		select {
		case <-stopped:
			d.t.Error("Run returned while a group was on its way")
		default:
		}
		open()
		if err := <-onWay; err != nil {
			d.t.Errorf("what was on its way: %v", err)
		}
		<-stopped
	})
}

// TestPublish_proposeTimeout: a proposal that hangs ends, and so does Run.
func TestPublish_proposeTimeout(t *testing.T) {
	atGate(t, func(d *desk, _ func()) {
		begin := time.Now()
		onWay := d.later(d.t.Context(), sms("DELIVERY", "a", `1`))
		d.stop()
		d.wantError(<-onWay, model.CodeUnknownOutcome)
		if took := time.Since(begin); took != DefaultProposeTimeout {
			d.t.Errorf("took %v, want %v", took, DefaultProposeTimeout)
		}
	})
}

// TestPublish_beforeRun: nothing is lost when a request is earlier than Run.
func TestPublish_beforeRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.subscribe("s1", "p1")
		var err error
		if d.p, err = NewPublisher(d.opts); err != nil {
			t.Fatal(err)
		}
		early := d.later(d.t.Context(), sms("DELIVERY", "a", `1`))
		ctx, cancel := context.WithCancel(d.t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.p.Run(ctx) }()
		if err := <-early; err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestPublish_queueLimit checks INV publish-6, in events and in bytes.
func TestPublish_queueLimit(t *testing.T) { //nolint:tparallel // atGate does
	t.Parallel()
	batch := func(n int) []*event.Event {
		var es []*event.Event
		for range n {
			es = append(es, sms("DELIVERY", "", `{}`))
		}
		return es
	}
	t.Run("events", func(t *testing.T) {
		atGate(t, func(d *desk, open func()) {
			d.p.opts.MaxQueuedEvents = 1500
			first := d.later(d.t.Context(), batch(1000)...) // on its way; it counts too
			second := d.later(d.t.Context(), batch(500)...)
			_, err := d.publish(batch(1)...)
			d.wantError(err, model.CodeLimit)
			if err.(*model.Error).RetryAfter == 0 { //nolint:errorlint // checked above
				d.t.Error("no Retry-After")
			}
			open()
			if err := errors.Join(<-first, <-second); err != nil {
				d.t.Fatal(err)
			}
			d.must(batch(1)...)
		})
	})
	t.Run("bytes", func(t *testing.T) {
		atGate(t, func(d *desk, open func()) {
			one := batch(1)
			q, err := d.p.match(one)
			if err != nil {
				d.t.Fatal(err)
			}
			d.p.opts.MaxQueuedBytes = 2 * q.propose.bytes
			first, second := d.later(d.t.Context(), one...), d.later(d.t.Context(), batch(1)...)
			_, err = d.publish(batch(1)...)
			d.wantError(err, model.CodeLimit)
			open()
			if err := errors.Join(<-first, <-second); err != nil {
				d.t.Fatal(err)
			}
		})
	})
}

// TestPublish_groups: a request is never parted, and a group is no larger than
// it may be, unless one request alone is.
func TestPublish_groups(t *testing.T) { //nolint:tparallel // atGate does
	t.Parallel()
	for _, tc := range []struct {
		name     string
		requests []int // events each, waiting behind the first
		bytes    int   // of each payload
		want     []int
	}{
		{"at the limit of events", []int{100, 100, 56, 1}, 2, []int{256, 1}},
		{"one above it", []int{100, 100, 57, 1}, 2, []int{200, 58}},
		{"a large request alone", []int{10, 300, 10}, 2, []int{10, 300, 10}},
		{"limit of bytes", []int{1, 1, 1, 1}, DefaultMaxGroupBytes * 2 / 5, []int{2, 2}},
		{"a large payload alone", []int{1, 1}, DefaultMaxGroupBytes * 6 / 5, []int{1, 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			atGate(t, func(d *desk, open func()) {
				first := d.later(d.t.Context(), sms("DELIVERY", "", `{}`))
				var rest []<-chan error
				for _, n := range tc.requests {
					var es []*event.Event
					for range n {
						es = append(es, sms("DELIVERY", "", strings.Repeat("1", tc.bytes)))
					}
					rest = append(rest, d.later(d.t.Context(), es...))
				}
				open()
				err := <-first
				for _, c := range rest {
					err = errors.Join(err, <-c)
				}
				if err != nil {
					d.t.Fatal(err)
				}
				var got []int
				for _, c := range d.proposed()[1:] {
					got = append(got, len(c.Events))
				}
				if !slices.Equal(got, tc.want) {
					d.t.Errorf("groups of %v events, want %v", got, tc.want)
				}
			})
		})
	}
}

// TestPublish_delay: alone a request leaves at once; behind others it waits
// for GroupDelay at most, or for a full group, or for a place.
func TestPublish_delay(t *testing.T) {
	atDesk(t, func(d *desk) {
		d.subscribe("s1", "p1")
		d.opts.Proposer = slowProposer{d, 100 * time.Millisecond}
		d.opts.MaxGroups = 3
		d.opts.MaxGroupEvents = 2
	}, func(d *desk) {
		begin := time.Now()
		took := make(chan string, 10)
		publish := func(name string, events int) {
			var es []*event.Event
			for range events {
				es = append(es, sms("DELIVERY", "", `{}`))
			}
			go func() {
				d.must(es...)
				took <- name + " " + time.Since(begin).String()
			}()
			synctest.Wait()
		}
		publish("idle", 1)
		publish("delayed", 1)
		time.Sleep(DefaultGroupDelay)
		publish("full", 2)
		publish("no place", 2)
		want := []string{"idle 100ms", "delayed 102ms", "full 102ms", "no place 200ms"}
		var got []string
		for range want {
			got = append(got, <-took)
		}
		slices.Sort(got[1:3])
		if !slices.Equal(got, want) {
			d.t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestPublish_requestLimits(t *testing.T) {
	t.Parallel()
	t.Run("targets", func(t *testing.T) {
		atDesk(t, func(d *desk) {
			for i := range 64 {
				d.subscribe("s"+strconv.Itoa(i), "p"+strconv.Itoa(i))
			}
		}, func(d *desk) {
			var es []*event.Event
			for range MaxTargets / 64 {
				es = append(es, sms("DELIVERY", "", `{}`))
			}
			if _, err := d.publish(append(es, sms("SEEN", "", `{}`))...); err != nil {
				d.t.Errorf("at the limit: %v", err)
			}
			_, err := d.publish(append(es, sms("DELIVERY", "", `{}`))...)
			d.wantError(err, model.CodeTooLarge)
			if n := d.store.Stats().Pending; n != MaxTargets {
				d.t.Errorf("%d deliveries, want %d", n, MaxTargets)
			}
		})
	})
	t.Run("bytes", func(t *testing.T) {
		atDesk(t, func(d *desk) { d.subscribe("s1", "p1") }, func(d *desk) {
			e := sms("DELIVERY", "", ``)
			q, err := d.p.match([]*event.Event{e})
			if err != nil {
				d.t.Fatal(err)
			}
			room := MaxRequestBytes - q.propose.bytes
			e.Payload = []byte(strings.Repeat("1", room))
			if _, err := d.publish(e); err != nil {
				d.t.Errorf("at the limit: %v", err)
			}
			if n := len(outbox.Encode(d.proposed()[0])); n > MaxRequestBytes {
				d.t.Errorf("the entry has %d bytes", n)
			}
			e.Payload = append(e.Payload, '1')
			_, err = d.publish(e)
			d.wantError(err, model.CodeTooLarge)
		})
	})
	t.Run("conflicts named", func(t *testing.T) {
		atDesk(t, func(d *desk) { d.subscribe("s1", "p1") }, func(d *desk) {
			var before, after []*event.Event
			var fields []string
			for i := range model.MaxViolations + 1 {
				before = append(before, sms("DELIVERY", strconv.Itoa(i), `1`))
				after = append(after, sms("DELIVERY", strconv.Itoa(i), `2`))
				fields = append(fields, fmt.Sprintf("/%d/eventId", i))
			}
			d.must(before...)
			_, err := d.publish(after...)
			d.wantError(err, model.CodeConflict, fields[:model.MaxViolations]...)
		})
	})
	t.Run("staleness", func(t *testing.T) {
		var old time.Duration
		atDesk(t, func(d *desk) { d.opts.Staleness = func() time.Duration { return old } }, func(d *desk) {
			old = DefaultMaxStaleness
			d.must(sms("DELIVERY", "", `{}`))
			old++
			_, err := d.publish(sms("DELIVERY", "", `{}`))
			d.wantError(err, model.CodeUnavailable)
		})
	})
}

// TestPublish_concurrent: many callers at once, some with the same ids, some
// that leave, while answers get lost. Everything with a receipt is owed, once.
func TestPublish_concurrent(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.subscribe("s1", "p1")
	var mu sync.Mutex
	n := 0
	d.group.set(func(outbox.Command) (bool, error) {
		if n++; n%7 == 0 {
			return n%2 == 0, model.Errorf(model.CodeUnknownOutcome, "lost")
		}
		return false, nil
	})
	d.start()
	accepted := map[string]int{}
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 100 {
				ctx, cancel := context.WithCancel(d.t.Context())
				if i%10 == w%10 {
					time.AfterFunc(time.Duration(i)*10*time.Microsecond, cancel)
				}
				id := fmt.Sprintf("%d-%d", w/2, i) // two callers share every id
				rs, err := d.p.Publish(ctx, []*event.Event{sms("DELIVERY", id, `1`), sms("DELIVERY", "x"+id, `1`)})
				cancel()
				switch code := model.CodeOf(err); code { //nolint:exhaustive // the rest fails the test
				case "":
					mu.Lock()
					for _, r := range rs {
						if r.Status == event.Accepted {
							accepted[r.EventID]++
						} else {
							accepted[r.EventID] += 0
						}
					}
					mu.Unlock()
				case model.CodeUnknownOutcome, model.CodeUnavailable:
				default:
					t.Errorf("%s: %v", code, err)
				}
			}
		})
	}
	wg.Wait()
	d.stop()
	for id, times := range accepted {
		owed, err := d.store.Event("acme", id)
		if err != nil || len(owed) != 1 || times > 1 {
			t.Errorf("event %s: accepted %d times, %d deliveries, %v", id, times, len(owed), err)
		}
	}
	if d.p.held != (load{}) || d.p.waiting != (load{}) || len(d.p.queue) != 0 {
		t.Errorf("in the end %+v are held, %+v wait", d.p.held, d.p.waiting)
	}
}

func TestPublish_metricsAreRegistered(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	if _, err := NewPublisher(d.opts); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(d.reg); n != 10 || err != nil {
		t.Errorf("%d series, %v", n, err)
	}
}
