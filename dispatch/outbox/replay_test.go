package outbox

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

func (d *driver) revive(c *Revive) []Verdict {
	d.t.Helper()
	if c.Account == "" {
		c.Account = "acme"
	}
	b, ok := d.apply(c).([]byte)
	if !ok {
		d.t.Fatalf("%+v was refused", c)
	}
	vs, err := DecodeVerdicts(b)
	if err != nil {
		d.t.Fatal(err)
	}
	return vs
}

func (d *driver) start(at time.Time, id string) (event.ReplayJob, model.Code) {
	d.t.Helper()
	a := decodeReplayAnswer(d.t, d.apply(&StartReplay{At: at, Job: event.ReplayJob{ID: id, Account: "acme", Rate: 1}}))
	return a.Job, a.Code
}

// INV outbox-3 over a replay: attempts go on, and what was settled before stays
// superseded.
func TestRevive(t *testing.T) {
	t.Parallel()
	d := drive(t, openTest(t, Options{}))
	d.die(testEpoch, "acme", "d0", 1, 7)
	later := testEpoch.Add(time.Hour)
	for _, tc := range []struct {
		c    Revive
		want Verdict
	}{
		{Revive{IDs: []string{"nobody"}}, Superseded},
		{Revive{Account: "bolt", IDs: []string{"d0"}}, Superseded},
		{Revive{IDs: []string{"d0"}}, Settled},
		{Revive{IDs: []string{"d0"}}, Superseded},
	} {
		tc.c.At = later
		if got := d.revive(&tc.c); len(got) != 1 || got[0] != tc.want {
			t.Errorf("%+v: got %v", tc.c, got)
		}
	}
	got, ok, err := d.s.Delivery("d0")
	if !ok || err != nil || got.Status != event.StatusRetrying || got.Attempt != 7 || got.Base != 7 ||
		!got.SeriesAt.Equal(later) || !got.AcceptedAt.Equal(testEpoch) || got.WebhookID != "d0" || !got.NextAt.Equal(later) {
		t.Errorf("replayed: %+v, %v, %v", got, ok, err)
	}
	for _, attempt := range []int{1, 6} {
		if v := d.settle(later, Settlement{DeliveryID: "d0", Status: event.StatusDelivered, Attempt: attempt}); v != Superseded {
			t.Errorf("a late settlement of attempt %d: %v", attempt, v)
		}
	}
	if n := d.s.Stats(); n.DeadLetters != 0 || n.DeadBytes != 0 || n.Pending != 1 || d.s.Backlog("acme") != 1 {
		t.Errorf("figures: %+v", n)
	}
	if v := d.settle(later, Settlement{DeliveryID: "d0", Status: event.StatusDelivered, Attempt: 8}); v != Settled {
		t.Errorf("the next attempt: %v", v)
	}
	if len(d.s.st.accounts) != 0 || len(d.s.st.series) != 0 {
		t.Error("something is left of the account")
	}
}

func TestRevive_limit(t *testing.T) {
	t.Parallel()
	d := drive(t, openTest(t, Options{}))
	d.die(testEpoch, "acme", "at", 1, MaxReplayAttempt)
	d.die(testEpoch, "acme", "above", 1, MaxReplayAttempt+1)
	d.die(testEpoch, "acme", "capped", 1, math.MaxUint16+1)
	got := d.revive(&Revive{At: testEpoch, IDs: []string{"at", "above", "capped"}})
	if diff := cmp.Diff([]Verdict{Settled, Exhausted, Exhausted}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if l, err := d.s.DeadLetter("acme", "capped"); err != nil || l.Attempts != math.MaxUint16 {
		t.Errorf("capped: %d attempts, %v", l.Attempts, err)
	}
}

// INV outbox-5 over a replay: the id is remembered again while the delivery is
// owed, and forgotten after.
func TestRevive_receipt(t *testing.T) {
	t.Parallel()
	d := drive(t, openTest(t, Options{Limits: Limits{Receipts: 1}}))
	dup, conflict := Result{Status: event.Duplicate, Deliveries: 1}, Result{Conflict: true}
	d.accept(testEpoch, given("a"), 1, time.Minute, "a1")
	d.settle(testEpoch, Settlement{DeliveryID: "a1", Status: event.StatusDead, Attempt: 1})
	d.revive(&Revive{At: testEpoch, IDs: []string{"a1"}})
	later := testEpoch.Add(time.Hour)
	if got := d.accept(later, given("a"), 1, time.Minute, "a2"); got != dup {
		t.Errorf("while it is owed again: %+v", got)
	}
	if got := d.accept(later, given("a"), 2, time.Minute, "a3"); got != conflict {
		t.Errorf("with other content: %+v", got)
	}
	if n := d.s.Stats().Receipts; n != 1 {
		t.Errorf("%d receipts", n)
	}
	d.settle(later, Settlement{DeliveryID: "a1", Status: event.StatusDead, Attempt: 2})
	if got := d.accept(later, given("a"), 2, time.Minute, "a4"); got != (Result{Status: event.Accepted, Deliveries: 1}) {
		t.Errorf("after its window: %+v", got)
	}
	// The receipt of the first a is gone: the second one's must not be touched.
	d.revive(&Revive{At: later, IDs: []string{"a1"}})
	d.settle(later, Settlement{DeliveryID: "a1", Status: event.StatusDelivered, Attempt: 3})
	if got := d.accept(later.Add(time.Hour), given("a"), 1, time.Minute, "a5"); got != conflict {
		t.Errorf("the other receipt: %+v", got)
	}
}

// After a restart a dead letter does not take the receipt of a younger event of
// its id for its own.
func TestRevive_receiptAfterRestart(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/o.db"
	s, err := Open(Options{Path: path, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	d := drive(t, s)
	d.accept(testEpoch, given("a"), 1, 0, "a1")
	d.settle(testEpoch, Settlement{DeliveryID: "a1", Status: event.StatusDead, Attempt: 1})
	later := testEpoch.Add(time.Hour)
	if got := d.accept(later, given("a"), 2, time.Hour, "a2"); got.Status != event.Accepted {
		t.Fatalf("after its window: %+v", got)
	}
	d.settle(later, Settlement{DeliveryID: "a2", Status: event.StatusDelivered, Attempt: 1})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	d = drive(t, openTest(t, Options{Path: path}))
	d.revive(&Revive{At: later, IDs: []string{"a1"}})
	if got := d.accept(later.Add(time.Hour), given("a"), 3, 0, "a3"); got.Status != event.Accepted {
		t.Errorf("the younger event is remembered beyond its window: %+v", got)
	}
}

// INV outbox-15 at each limit and one above.
func TestStartReplay_limits(t *testing.T) {
	t.Parallel()
	d := drive(t, openTest(t, Options{}))
	for i := range event.MaxRunningReplays {
		if _, code := d.start(testEpoch, fmt.Sprint("r", i)); code != "" {
			t.Fatalf("job %d: %s", i, code)
		}
	}
	if _, code := d.start(testEpoch, "more"); code != model.CodeQuota {
		t.Errorf("one above: %q", code)
	}
	first, _ := d.s.ReplayJob("acme", "r3")
	if again, code := d.start(testEpoch.Add(time.Hour), "r3"); code != "" || again != first {
		t.Errorf("the same again: %+v, %q", again, code)
	}
	if code := d.refused(&StartReplay{At: testEpoch, Job: event.ReplayJob{ID: "r", Account: "bolt", Rate: 1}}); code != "" {
		t.Errorf("another account: %q", code)
	}
	for _, rate := range []int{0, event.MaxReplayRate + 1} {
		if code := d.refused(&StartReplay{At: testEpoch, Job: event.ReplayJob{ID: "x", Account: "cord", Rate: rate}}); code != model.CodeInvalid {
			t.Errorf("a rate of %d: %q", rate, code)
		}
	}
	for i := event.MaxRunningReplays; i <= event.MaxReplays; i++ {
		d.apply(&CancelReplay{At: testEpoch, Account: "acme", ID: fmt.Sprint("r", i-1)})
		if got := len(d.s.Replays("acme")); got != i {
			t.Fatalf("%d are remembered, want %d", got, i)
		}
		d.start(testEpoch, fmt.Sprint("r", i))
	}
	jobs := d.s.Replays("acme")
	if len(jobs) != event.MaxReplays || jobs[0].ID != fmt.Sprint("r", event.MaxReplays) {
		t.Errorf("%d are remembered, the newest %s", len(jobs), jobs[0].ID)
	}
	if _, err := d.s.ReplayJob("acme", fmt.Sprint("r", event.MaxRunningReplays-1)); model.CodeOf(err) != model.CodeNotFound {
		t.Errorf("the oldest finished one: %v", err)
	}
	if _, err := d.s.ReplayJob("acme", "r0"); err != nil {
		t.Errorf("the oldest that runs: %v", err)
	}
	if code := d.refused(&CancelReplay{At: testEpoch, Account: "acme", ID: "nobody"}); code != model.CodeNotFound {
		t.Errorf("cancel of none: %q", code)
	}
	if got := d.s.RunningReplays(); len(got) != event.MaxRunningReplays+1 || got[0].ID != "r0" {
		t.Errorf("%d run", len(got))
	}
}

// TestReplay_job follows a job to its end; INV outbox-14: what was one request
// is not parted, in the job and in Take; what dies later is not its.
func TestReplay_job(t *testing.T) {
	t.Parallel()
	d := drive(t, openTest(t, Options{}))
	d.accept(testEpoch, given("e"), 1, 0, "g0", "g1", "g2", "h0", "h1", "k0")
	c := &Settle{At: testEpoch}
	for _, id := range []string{"g0", "g1", "g2", "h0", "h1"} {
		c.Settlements = append(c.Settlements, Settlement{DeliveryID: id, Status: event.StatusDead, Attempt: 2, WebhookID: "bat_" + id[:1]})
	}
	d.apply(c)
	j, code := d.start(testEpoch, "r")
	if code != "" || j.State != event.ReplayRunning {
		t.Fatalf("%+v, %q", j, code)
	}
	d.settle(testEpoch, Settlement{DeliveryID: "k0", Status: event.StatusDead, Attempt: 1})
	step := func(done bool, want ...string) {
		t.Helper()
		ids, upto, end, err := d.s.ReplayBatch(j, 1)
		if err != nil || end != done {
			t.Fatalf("done %v, %v", end, err)
		}
		if diff := cmp.Diff(want, ids); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		for _, again := range []bool{false, true} { // the outcome was unknown
			vs := d.revive(&Revive{At: testEpoch, JobID: "r", IDs: ids, Upto: upto, Done: done && again})
			if again && (len(vs) == 0 || vs[0] != Superseded) {
				t.Errorf("the second time: %v", vs)
			}
		}
	}
	step(false, "g0", "g1", "g2")
	step(true, "h0", "h1")
	if got, _ := d.s.ReplayJob("acme", "r"); got.Replayed != 5 || got.State != event.ReplayDone || got.FinishedAt.IsZero() {
		t.Errorf("at the end: %+v", got)
	}
	if diff := cmp.Diff([]string{"k0"}, d.deadIDs("acme")); diff != "" {
		t.Errorf("still dead (-want +got):\n%s", diff)
	}
	now := testEpoch.Add(time.Second)
	for _, want := range [][]string{{"g0", "g1", "g2"}, {"h0", "h1"}} {
		if diff := cmp.Diff(want, ids(take(t, d.s, now, 1, 1).Deliveries)); diff != "" {
			t.Errorf("taken (-want +got):\n%s", diff)
		}
	}
}

// INV outbox-16: a job that was cancelled stops, even if a batch was on its way.
func TestReplay_cancelled(t *testing.T) {
	t.Parallel()
	d := drive(t, openTest(t, Options{}))
	d.die(testEpoch, "acme", "d0", 1, 1)
	j, _ := d.start(testEpoch, "r")
	a := decodeReplayAnswer(t, d.apply(&CancelReplay{At: testEpoch.Add(1), Account: "acme", ID: "r"}))
	if a.Job.State != event.ReplayCancelled || !a.Job.FinishedAt.Equal(testEpoch.Add(1)) {
		t.Errorf("cancelled: %+v", a)
	}
	if code := d.refused(&Revive{At: testEpoch, Account: "acme", JobID: "r", IDs: []string{"d0"}}); code != model.CodeConflict {
		t.Errorf("a batch that was on its way: %q", code)
	}
	if diff := cmp.Diff([]string{"d0"}, d.deadIDs("acme")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, _, _, err := d.s.ReplayBatch(j, 1); model.CodeOf(err) != model.CodeConflict {
		t.Errorf("ReplayBatch: %v", err)
	}
	j.ID = "nobody"
	if _, _, _, err := d.s.ReplayBatch(j, 1); model.CodeOf(err) != model.CodeNotFound {
		t.Errorf("ReplayBatch of none: %v", err)
	}
	again := decodeReplayAnswer(t, d.apply(&CancelReplay{At: testEpoch.Add(2), Account: "acme", ID: "r"}))
	if again != a {
		t.Errorf("cancelled twice: %+v", again)
	}
}

// A dead letter whose webhook id is on disk only keeps it over a replay, a
// flush and a restart.
func TestRevive_cold(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/o.db"
	s, err := Open(Options{Path: path, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	d := drive(t, s)
	d.die(testEpoch, "acme", "d0", 1, 3)
	for range 2 { // the second time it is loaded, so that memory has no heavy part
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(Options{Path: path, NoSync: true}); err != nil {
			t.Fatal(err)
		}
		if d = drive(t, s); d.s.Stats().DeadLetters == 1 {
			d.revive(&Revive{At: testEpoch, IDs: []string{"d0"}})
		}
	}
	got, ok, err := s.Delivery("d0")
	if !ok || err != nil || got.WebhookID != "d0" || got.Base != 3 || got.Status != event.StatusRetrying {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
