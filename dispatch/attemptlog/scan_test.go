package attemptlog

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"example.com/belfry/dispatch/event"
)

// note records one end of a delivery of an event that was accepted at a second.
func note(l *Log, account, id string, second int, change ...func(*event.Event, *Entry)) {
	ev, e := sampleEvent(id), sampleEntry(1)
	ev.Account, e.AcceptedAt = account, epoch.Add(time.Duration(second)*time.Second)
	for _, c := range change {
		c(ev, &e)
	}
	l.Record(ev, e)
}

// all follows a list to its end, and counts the Scans it took.
func all(tb testing.TB, l *Log, account string, f event.Filter, limit int) (refs []event.Ref, scans int) {
	tb.Helper()
	var after event.Ref
	for {
		scans++
		s, err := l.Scan(account, &f, after, limit)
		if err != nil {
			tb.Fatal(err)
		}
		for _, r := range s.Refs {
			if !s.Done && r.After(s.Upto) {
				tb.Fatalf("%v lies behind %v", r, s.Upto)
			}
		}
		refs = append(refs, s.Refs...)
		if s.Done {
			return refs, scans
		}
		if !s.Upto.After(after) {
			tb.Fatalf("no progress at %v", after)
		}
		after = s.Upto
	}
}

func ids(refs []event.Ref) (out []string) {
	for _, r := range refs {
		out = append(out, r.EventID)
	}
	return out
}

func wantIDs(tb testing.TB, l *Log, account string, f event.Filter, want ...string) {
	tb.Helper()
	refs, _ := all(tb, l, account, f, 2)
	if got := ids(refs); !slices.Equal(got, want) {
		tb.Errorf("%s, %+v: %v, want %v", account, f, got, want)
	}
}

// INV attemptlog-1.
func TestScan_order(t *testing.T) {
	t.Parallel()
	l := open(t, Options{})
	note(l, "acme", "b", 2)
	note(l, "acme", "old", 1)
	note(l, "acme", "a", 2)
	note(l, "acme", "c", 2)
	note(l, "acme", "c", 2) // a second record is no second event
	note(l, "acme", "new", 3)
	note(l, "acm", "other", 2)
	note(l, "acmee", "other", 2)
	note(l, "acme", "unlisted", 0, func(_ *event.Event, e *Entry) { e.AcceptedAt = time.Time{} })
	note(l, "acme", "ancient", 0, func(_ *event.Event, e *Entry) { e.AcceptedAt = time.Date(1901, 1, 1, 0, 0, 0, 0, time.UTC) })
	wantIDs(t, l, "acme", event.Filter{}, "new", "c", "b", "a", "old", "ancient")
	wantIDs(t, l, "acm", event.Filter{}, "other")
	wantIDs(t, l, "nobody", event.Filter{})

	s, err := l.Scan("acme", &event.Filter{}, event.Ref{}, 2) // ties are finished
	if err != nil || s.Done || !slices.Equal(ids(s.Refs), []string{"new", "c", "b", "a"}) || s.Upto != (event.Ref{AcceptedAt: epoch.Add(2 * time.Second)}) {
		t.Errorf("%+v, %v", s, err)
	}
	for after, want := range map[string][]string{"c": {"b", "a", "old", "ancient"}, "a": {"old", "ancient"}, "": {"old", "ancient"}} {
		s, err := l.Scan("acme", &event.Filter{}, event.Ref{AcceptedAt: epoch.Add(2 * time.Second), EventID: after}, 0)
		if err != nil || !s.Done || !slices.Equal(ids(s.Refs), want) {
			t.Errorf("after %q: %+v, %v", after, s, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err := l.Scan("acme", &event.Filter{}, event.Ref{}, 1); err != nil || !s.Done || len(s.Refs) != 0 {
		t.Errorf("after Close: %+v, %v", s, err)
	}
}

func TestScan_filter(t *testing.T) {
	t.Parallel()
	l := open(t, Options{})
	delivery := func(id, profile, sub string, s event.Status) func(*event.Event, *Entry) {
		return func(_ *event.Event, e *Entry) {
			e.DeliveryID, e.ProfileID, e.SubscriptionIDs, e.Status = id, profile, []string{sub}, s
		}
	}
	note(l, "a", "1", 1, delivery("d1", "p", "s", event.StatusRetrying), func(e *event.Event, _ *Entry) { e.Channel, e.Resource = "EMAIL", "res" })
	note(l, "a", "1", 1, delivery("d2", "q", "t", event.StatusDead))
	note(l, "a", "1", 1, delivery("d1", "p", "s", event.StatusDelivered))
	note(l, "a", "2", 2, delivery("d3", "q", "s", event.StatusDelivered), func(e *event.Event, _ *Entry) {
		e.Name, e.ApplicationID, e.EntityID, e.User, e.OrderingKey = "SEEN", "app", "ent", "u", "k"
	})
	wantIDs(t, l, "a", event.Filter{Channel: "EMAIL"}, "1")
	wantIDs(t, l, "a", event.Filter{Resource: "res"}, "1")
	wantIDs(t, l, "a", event.Filter{Name: "SEEN", ApplicationID: "app", EntityID: "ent"}, "2")
	wantIDs(t, l, "a", event.Filter{User: "u", OrderingKey: "k"}, "2")
	wantIDs(t, l, "a", event.Filter{User: "k"})
	wantIDs(t, l, "a", event.Filter{Name: "SEEN", Resource: "res"})
	wantIDs(t, l, "a", event.Filter{Status: event.StatusDelivered}, "2", "1")
	wantIDs(t, l, "a", event.Filter{Status: event.StatusRetrying}) // it was
	wantIDs(t, l, "a", event.Filter{Status: event.StatusDead, ProfileID: "q"}, "1")
	wantIDs(t, l, "a", event.Filter{Status: event.StatusDead, ProfileID: "p"}) // of two deliveries
	wantIDs(t, l, "a", event.Filter{SubscriptionID: "s"}, "2", "1")
	wantIDs(t, l, "a", event.Filter{SubscriptionID: "t", ProfileID: "q"}, "1")
	wantIDs(t, l, "a", event.Filter{From: epoch.Add(2 * time.Second)}, "2")
	wantIDs(t, l, "a", event.Filter{To: epoch.Add(2 * time.Second)}, "1")
	wantIDs(t, l, "a", event.Filter{From: epoch.Add(1 * time.Second), To: epoch.Add(2*time.Second + 1)}, "2", "1")
	wantIDs(t, l, "a", event.Filter{From: epoch.Add(3 * time.Second)})
}

func TestScan_bounded(t *testing.T) {
	t.Parallel()
	l := open(t, Options{})
	for i := range MaxScan + 1 {
		note(l, "a", fmt.Sprintf("%05d", i), i)
	}
	f := event.Filter{From: epoch.Add(time.Second)}
	if refs, scans := all(t, l, "a", f, 0); len(refs) != MaxScan || scans != 1 {
		t.Errorf("at the limit: %d events in %d scans", len(refs), scans)
	}
	if refs, scans := all(t, l, "a", event.Filter{}, 0); len(refs) != MaxScan+1 || scans != 2 {
		t.Errorf("one above: %d events in %d scans", len(refs), scans)
	}
	f = event.Filter{Channel: "VOICE"}
	s, err := l.Scan("a", &f, event.Ref{}, 1)
	if err != nil || s.Done || len(s.Refs) != 0 || !s.Upto.AcceptedAt.Equal(epoch.Add(time.Second)) {
		t.Errorf("without a match: %+v, %v", s, err)
	}
	// Records of deliveries count too.
	if _, scans := all(t, l, "a", event.Filter{Status: event.StatusDead}, 0); scans != 3 {
		t.Errorf("with deliveries: %d scans, want 3", scans)
	}
}

// The list goes with the events.
func TestScan_trimmed(t *testing.T) {
	t.Parallel()
	c := &clock{epoch}
	l := open(t, Options{Now: c.Now, MaxAge: time.Hour})
	note(l, "a", "old", 1)
	c.now = epoch.Add(time.Minute)
	note(l, "a", "young", 2)
	wantIDs(t, l, "a", event.Filter{}, "young", "old")
	c.now = epoch.Add(time.Hour)
	wantIDs(t, l, "a", event.Filter{}, "young")
	note(l, "a", "old", 1) // tried once more
	wantIDs(t, l, "a", event.Filter{}, "young", "old")
	c.now = epoch.Add(3 * time.Hour)
	wantIDs(t, l, "a", event.Filter{})
	if err := l.db.View(func(tx *bolt.Tx) error {
		for _, b := range [][]byte{bucketSegments, bucketRecords, bucketLists} {
			if k, _ := tx.Bucket(b).Cursor().First(); k != nil {
				t.Errorf("%s still has %x", b, k)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if l.bytes != 0 {
		t.Errorf("%d bytes are kept of nothing", l.bytes)
	}
}

func TestScan_random(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 7))
	for range 20 {
		l := open(t, Options{})
		want := map[string][]event.Ref{}
		for i := range 300 {
			account, second := fmt.Sprint(rng.IntN(3)), rng.IntN(40)
			id := fmt.Sprint(i)
			note(l, account, id, second)
			want[account] = append(want[account], event.Ref{AcceptedAt: epoch.Add(time.Duration(second) * time.Second), EventID: id})
		}
		for account, refs := range want {
			slices.SortFunc(refs, func(a, b event.Ref) int {
				return cmp.Or(b.AcceptedAt.Compare(a.AcceptedAt), cmp.Compare(b.EventID, a.EventID))
			})
			if got, _ := all(t, l, account, event.Filter{}, 1+rng.IntN(20)); !slices.Equal(got, refs) {
				t.Fatalf("account %s: %v, want %v", account, ids(got), ids(refs))
			}
		}
	}
}

// BenchmarkLog_disk measures the file: events of 1 KiB with one delivered
// attempt each, as a webhook answers it with few headers, with an HMAC
// signature and with many, and without any headers for comparison.
func BenchmarkLog_disk(b *testing.B) {
	signed := []event.HeaderField{
		{Name: "Webhook-Signature", Value: "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="},
		{Name: "X-Ib-Hmac-Signature", Value: "SHA256=2b9a197f337de59f5456ed44b1f4267d53508679" + "19da98fda3d34337f1ffa48e"},
	}
	many := []event.HeaderField{
		{Name: "Cache-Control", Value: "no-cache, private"},
		{Name: "Cf-Ray", Value: "8e1a2b3c4d5e6f70-FRA"},
		{Name: "Server", Value: "cloudflare"},
		{Name: "Report-To", Value: string(bytes.Repeat([]byte("r"), 250))},
		{Name: "X-Request-Id", Value: "0192f0c5-7d0e-7000-8000-000000000001"},
	}
	b.Run("few", func(b *testing.B) { benchmarkDisk(b, func(*event.Attempt) {}) })
	b.Run("signed", func(b *testing.B) {
		benchmarkDisk(b, func(a *event.Attempt) {
			a.RequestHeaders, a.ResponseHeaders = append(a.RequestHeaders, signed...), append(a.ResponseHeaders, many...)
		})
	})
	b.Run("none", func(b *testing.B) {
		benchmarkDisk(b, func(a *event.Attempt) { a.RequestHeaders, a.ResponseHeaders = nil, nil })
	})
}

func benchmarkDisk(b *testing.B, change func(*event.Attempt)) {
	b.Helper()
	const events = 50_000
	payload := []byte(`{"a":"` + string(bytes.Repeat([]byte("x"), 1<<10-8)) + `"}`)
	var size, counted int64
	for b.Loop() {
		path := filepath.Join(b.TempDir(), "a.db")
		l, err := Open(Options{Path: path, MaxBytes: 1 << 40})
		if err != nil {
			b.Fatal(err)
		}
		for i := range events {
			note(l, "acme", fmt.Sprintf("0192f0c5-7d0e-7000-8000-%012d", i), i, func(e *event.Event, n *Entry) {
				e.Payload, n.Status, n.NextAt = payload, event.StatusDelivered, time.Time{}
				n.Attempt.RequestHeaders[4].Value = e.ID
				change(n.Attempt)
			})
			if i%500 == 499 {
				if err := l.Flush(); err != nil {
					b.Fatal(err)
				}
			}
		}
		counted = l.bytes
		// The file itself grows by 16 MiB, which would be multiplied here.
		if err := errors.Join(l.db.View(func(tx *bolt.Tx) error { size = tx.Size(); return nil }), l.Close()); err != nil {
			b.Fatal(err)
		}
	}
	const million = 1_000_000 / events
	b.ReportMetric(float64(size*million)/1e9, "GB-file/million")
	b.ReportMetric(float64(counted*million)/1e9, "GB-counted/million")
}

// BenchmarkLog_scan searches in vain, which is the longest one Scan takes.
func BenchmarkLog_scan(b *testing.B) {
	l, err := Open(Options{Path: filepath.Join(b.TempDir(), "a.db")})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 2 * MaxScan {
		note(l, "a", fmt.Sprintf("%05d", i), i, func(e *event.Event, _ *Entry) {
			e.Payload = bytes.Repeat([]byte(" "), 8<<10)
		})
	}
	if err := l.Flush(); err != nil {
		b.Fatal(err)
	}
	for name, f := range map[string]event.Filter{"events": {Channel: "VOICE"}, "deliveries": {Status: event.StatusDead}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if s, err := l.Scan("a", &f, event.Ref{}, 100); err != nil || s.Done || len(s.Refs) > 0 {
					b.Fatalf("%+v, %v", s, err)
				}
			}
		})
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}
