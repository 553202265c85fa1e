package node

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"example.com/belfry/dispatch"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// scriptedPublisher answers with errs in turn, then takes everything.
type scriptedPublisher struct {
	errs  []error
	calls int
	taken []event.Event
}

func (p *scriptedPublisher) Publish(_ context.Context, es []*event.Event) ([]event.Receipt, error) {
	p.calls++
	if len(p.errs) > 0 {
		err := p.errs[0]
		p.errs = p.errs[1:]
		return nil, err
	}
	for _, e := range es {
		p.taken = append(p.taken, *e)
	}
	return make([]event.Receipt, len(es)), nil
}

func TestNotices(t *testing.T) {
	t.Parallel()
	away := model.Errorf(model.CodeUnavailable, "no leader")
	for _, tc := range []struct {
		name         string
		errs         []error
		calls, taken int
		dropped      float64
	}{
		{"taken", nil, 1, 1, 0},
		{"repeated while nothing is taken", []error{away, model.Errorf(model.CodeUnknownOutcome, "?"), model.Errorf(model.CodeLimit, "full")}, 4, 1, 0},
		{"told before", []error{model.Errorf(model.CodeConflict, "known")}, 1, 0, 0},
		{"refused", []error{model.Errorf(model.CodeTooLarge, "too large")}, 1, 0, 1},
		{"given up after a minute", repeat(away, noticeTries), noticeTries, 0, 1},
		{"one try less", repeat(away, noticeTries-1), noticeTries, 1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &scriptedPublisher{errs: tc.errs}
				n := newNotices(p, hclog.NewNullLogger(), nil)
				ctx, cancel := context.WithCancel(context.Background())
				ended := make(chan error)
				go func() { ended <- n.run(ctx) }()
				n.tell(dispatch.Notice{Account: "acme", Name: event.NoticeDead, ID: "dead-1", ProfileID: "p", Fields: map[string]any{"attempts": 3}})
				time.Sleep(time.Hour)
				cancel()
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
				if p.calls != tc.calls || len(p.taken) != tc.taken || testutil.ToFloat64(n.dropped) != tc.dropped {
					t.Errorf("got %d calls, %d taken, %v dropped; want %d, %d, %v", p.calls, len(p.taken), testutil.ToFloat64(n.dropped), tc.calls, tc.taken, tc.dropped)
				}
				for _, e := range p.taken {
					if e.Channel != "BELFRY" || e.Name != "delivery.dead" || !e.GivenID || e.Resource != "p" || string(e.Payload) != `{"attempts":3}` {
						t.Errorf("published %+v", e)
					}
				}
			})
		})
	}
}

func TestNotices_limit(t *testing.T) {
	t.Parallel()
	n := newNotices(&scriptedPublisher{}, hclog.NewNullLogger(), nil)
	for range maxNotices {
		n.tell(dispatch.Notice{})
	}
	if d := testutil.ToFloat64(n.dropped); d != 0 {
		t.Errorf("at the limit %v were dropped", d)
	}
	n.tell(dispatch.Notice{})
	if d := testutil.ToFloat64(n.dropped); d != 1 {
		t.Errorf("one above: %v were dropped, want 1", d)
	}
}

type fakeCertificates map[string][]time.Time

func (f fakeCertificates) ListAccounts(page, size int) (model.Page[model.Account], error) {
	p := model.Page[model.Account]{Page: page, Size: 1, Total: len(f)}
	if page < len(f) {
		p.Items = []model.Account{{ID: fmt.Sprint("a", page)}}
	}
	return p, nil
}

func (f fakeCertificates) ListCertificates(account string, _ model.CertificateFilter, page, _ int) (model.Page[model.Certificate], error) {
	ends := f[account]
	p := model.Page[model.Certificate]{Page: page, Size: 2, Total: len(ends)}
	for i := 2 * page; i < min(len(ends), 2*page+2); i++ {
		c := model.Certificate{Account: account, ID: fmt.Sprint("c", i), ValidUntil: ends[i]}
		c.UpdatedIndex = uint64(i)
		p.Items = append(p.Items, c)
	}
	return p, nil
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	now := time.Unix(1_700_000_000, 0)
	in := func(ds ...time.Duration) (out []time.Time) {
		for _, d := range ds {
			out = append(out, now.Add(d))
		}
		return out
	}
	var told []string
	x := &expiry{
		certificates: fakeCertificates{
			"a0": in(31*day, 30*day, 30*day+time.Second, 30*day-expiryLookback+time.Second, 30*day-expiryLookback),
			"a1": in(7*day-time.Hour, day, -day),
		},
		tell: func(n dispatch.Notice) { told = append(told, n.Account+" "+n.ID) }, log: hclog.NewNullLogger(),
	}
	if err := x.look(now); err != nil {
		t.Fatal(err)
	}
	want := []string{"a0 certificate-1-30", "a0 certificate-3-30", "a1 certificate-0-7", "a1 certificate-1-1"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func repeat(err error, n int) []error {
	out := make([]error, n)
	for i := range out {
		out[i] = err
	}
	return out
}
