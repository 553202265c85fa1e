package attemptlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"example.com/belfry/dispatch/event"
)

var (
	epoch    = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	accepted = epoch.Add(-123456789)
)

// clock is a time that the test sets.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func open(t *testing.T, o Options) *Log {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "attempts.db")
	}
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func sampleEvent(id string) *event.Event {
	return &event.Event{Account: "acme", ID: id, Channel: "SMS", Name: "DELIVERY", ReceivedAt: epoch, Payload: []byte(`{"a":1}`)}
}

func sampleEntry(n int) Entry {
	return Entry{
		DeliveryID: "d1", ProfileID: "p", SubscriptionIDs: []string{"s1", "s2"}, URL: "https://example.org/h?k=v",
		Status: event.StatusRetrying, NextAt: epoch.Add(time.Hour), AcceptedAt: accepted,
		Attempt: &event.Attempt{
			Attempt: n, At: epoch, DurationMs: 12, StatusCode: 503, Outcome: "temporary", ErrorClass: "status", Error: "503", NodeID: "n1", WebhookID: "w",
			Timing:   &event.Timing{DNSMs: 1.25, ConnectMs: 0.001, TLSMs: 12.345, FirstByteMs: 1234.567, Reused: true},
			Response: "no\x00\r\n\ttoday",
			RequestHeaders: []event.HeaderField{
				{Name: "Authorization", Value: "Basic ***"},
				{Name: "Belfry-Attempt", Value: strconv.Itoa(n)},
				{Name: "Belfry-Channel", Value: "SMS"},
				{Name: "Belfry-Event", Value: "DELIVERY"},
				{Name: "Belfry-Event-Id", Value: "e1"},
				{Name: "Content-Type", Value: "application/json"},
				{Name: "User-Agent", Value: "belfry"},
				{Name: "Webhook-Id", Value: "w"},
				{Name: "Webhook-Timestamp", Value: strconv.FormatInt(epoch.Unix(), 10)},
			},
			ResponseHeaders: []event.HeaderField{
				{Name: "Content-Length", Value: "9"}, {Name: "Content-Type", Value: "text/plain; charset=utf-8"}, {Name: "Date", Value: "Tue, 24 Nov 2026 09:00:01 GMT"},
			},
		},
	}
}

// encoded is the record of an entry of the event e1.
func encoded(e Entry) []byte { return encodeEntry(&e, headersOf("e1", &e)) }

func lookup(t *testing.T, l *Log, account, id string) (event.Record, bool) {
	t.Helper()
	rec, ok, err := l.Lookup(account, id)
	if err != nil {
		t.Fatal(err)
	}
	return rec, ok
}

func TestLog_Lookup(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	c := &clock{epoch}
	l, err := Open(Options{Path: path, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	ev := sampleEvent("e1")
	l.Record(ev, sampleEntry(1))
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	last := sampleEntry(2)
	last.Status, last.NextAt, last.URL = event.StatusDelivered, time.Time{}, "https://user:secret@example.org/h"
	last.Attempt.Error = strings.Repeat("x", MaxErrorLength+1)
	last.Attempt.Response = strings.Repeat("x", event.MaxResponse-2) + "\xff\xfe" // grows by its replacement
	last.Attempt.Timing = nil
	l.Record(ev, last)
	l.Record(ev, Entry{DeliveryID: "d2", ProfileID: "q", Status: event.StatusDropped})
	l.Record(sampleEvent("e2"), sampleEntry(1))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	l = open(t, Options{Path: path, Now: c.Now})
	got, ok := lookup(t, l, "acme", "e1")
	a1, a2 := *sampleEntry(1).Attempt, *sampleEntry(2).Attempt
	a2.Error = strings.Repeat("x", MaxErrorLength)
	a2.Response, a2.Timing = strings.Repeat("x", event.MaxResponse-2), nil
	want := event.Record{Event: *ev, AcceptedAt: accepted, Deliveries: []event.Delivery{
		{
			DeliveryID: "d1", ProfileID: "p", SubscriptionIDs: []string{"s1", "s2"}, URL: "https://example.org/h",
			Status: event.StatusDelivered, Attempts: []event.Attempt{a1, a2},
		},
		{DeliveryID: "d2", ProfileID: "q", Status: event.StatusDropped, Attempts: []event.Attempt{}},
	}}
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("found %v (-want +got):\n%s", ok, diff)
	}
	for _, who := range [][2]string{{"other", "e1"}, {"acme", "e3"}} {
		if _, ok := lookup(t, l, who[0], who[1]); ok {
			t.Errorf("%v was found", who)
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(raw, []byte("secret")) {
		t.Error("the file holds the user info of a URL")
	}
}

func TestLog_boundedByAge(t *testing.T) {
	t.Parallel()
	c := &clock{epoch}
	l := open(t, Options{Now: c.Now, MaxAge: time.Hour})
	l.Record(sampleEvent("old"), sampleEntry(1))
	c.now = epoch.Add(time.Minute)
	l.Record(sampleEvent("young"), sampleEntry(1))
	c.now = epoch.Add(time.Hour - 1)
	if _, ok := lookup(t, l, "acme", "old"); !ok {
		t.Error("removed before its time")
	}
	c.now = epoch.Add(time.Hour)
	if _, ok := lookup(t, l, "acme", "old"); ok {
		t.Error("kept after its time")
	}
	if _, ok := lookup(t, l, "acme", "young"); !ok {
		t.Error("the younger one was removed")
	}
}

func TestLog_boundedByBytes(t *testing.T) {
	t.Parallel()
	entry := sampleEntry(1)
	one := int64(1+len(encodeEvent(sampleEvent("e100"), accepted))+overhead) + int64(1+len(encodeEntry(&entry, headersOf("e100", &entry)))+overhead) +
		int64(len(timeKey("acme", accepted, "e100"))+listOverhead)
	l := open(t, Options{MaxBytes: 3 * one})
	for i := range 5 {
		l.Record(sampleEvent(fmt.Sprint("e", 100+i)), sampleEntry(1))
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	if l.bytes != 3*one {
		t.Errorf("kept %d bytes, want %d", l.bytes, 3*one)
	}
	for i := range 5 {
		if _, ok := lookup(t, l, "acme", fmt.Sprint("e", 100+i)); ok != (i >= 2) {
			t.Errorf("event %d: found %v", i, ok)
		}
	}
}

func TestLog_bufferIsBounded(t *testing.T) {
	t.Parallel()
	l := open(t, Options{})
	ev, e := sampleEvent("e"), sampleEntry(1)
	for range MaxBuffered {
		l.Record(ev, e)
	}
	if got := testutil.ToFloat64(l.dropped); got != 0 {
		t.Errorf("at the limit: %v dropped", got)
	}
	l.Record(ev, e)
	if got := testutil.ToFloat64(l.dropped); got != 1 {
		t.Errorf("above the limit: %v dropped, want 1", got)
	}
}

func TestLog_bufferIsBoundedByBytes(t *testing.T) {
	t.Parallel()
	l := open(t, Options{})
	big := sampleEvent("big")
	e := sampleEntry(1)
	big.Payload = bytes.Repeat([]byte(" "), 1<<20-itemOverhead-len(e.Attempt.Response)-headerSize(e.Attempt.RequestHeaders)-headerSize(e.Attempt.ResponseHeaders))
	for range MaxBufferedBytes >> 20 {
		l.Record(big, e)
	}
	if got := testutil.ToFloat64(l.dropped); got != 0 || l.waiting != MaxBufferedBytes {
		t.Errorf("at the limit: %v dropped, %d bytes wait", got, l.waiting)
	}
	l.Record(sampleEvent("small"), e)
	if got := testutil.ToFloat64(l.dropped); got != 1 {
		t.Errorf("above the limit: %v dropped, want 1", got)
	}
	// What could not be written comes back, and the youngest stays.
	items := l.pending
	l.pending, l.waiting = nil, 0
	l.Record(sampleEvent("young"), e)
	l.putBack(items)
	if n := len(l.pending); n != len(items) || l.waiting > MaxBufferedBytes || l.pending[n-1].event.ID != "young" {
		t.Errorf("put back: %d of %d items, %d bytes", n, len(items), l.waiting)
	}
	l.pending, l.waiting = nil, 0
	l.Record(sampleEvent("small"), e)
	if err := l.Flush(); err != nil || l.waiting != 0 {
		t.Errorf("after a write %d bytes wait (%v)", l.waiting, err)
	}
}

func TestLog_corruptFileIsMovedAside(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	l, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 500 {
		l.Record(sampleEvent(fmt.Sprint("e", i)), sampleEntry(1))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	garbage := bytes.Clone(good)
	for i := 8192; i < len(garbage); i++ {
		garbage[i] = 0xa5
	}
	for name, b := range map[string][]byte{"text": []byte("not a database"), "pages": garbage, "cut": good[:5000]} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "a.db")
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			l := open(t, Options{Path: path})
			l.Record(sampleEvent("new"), sampleEntry(1))
			if _, ok := lookup(t, l, "acme", "new"); !ok {
				t.Error("the new file does not work")
			}
			aside, err := filepath.Glob(path + ".corrupt-*")
			if err != nil || len(aside) != 1 {
				t.Fatalf("moved aside: %v, %v", aside, err)
			}
			kept, err := os.ReadFile(aside[0])
			if err != nil || !bytes.Equal(kept, b) {
				t.Errorf("the old file was changed (%v)", err)
			}
		})
	}
}

// INV attemptlog-2: what Options.Check refuses is moved aside unopened; what it
// passes stays, and it is not asked about a file that is not there.
func TestLog_checkedFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	var asked int
	var verdict error
	reopened := func() *Log {
		return open(t, Options{Path: path, Check: func(p string) error {
			if p != path {
				t.Errorf("asked about %s", p)
			}
			asked++
			return verdict
		}})
	}
	for i, step := range []struct {
		verdict     error
		asked, kept int
		aside       int
	}{
		{errors.New("there is none"), 0, 0, 0},
		{nil, 1, 1, 0},
		{errors.New("page 3 makes no sense"), 2, 0, 1},
		{nil, 3, 1, 1},
	} {
		verdict = step.verdict
		l := reopened()
		kept := 0
		if _, ok := lookup(t, l, "acme", "e"); ok {
			kept++
		}
		aside, err := filepath.Glob(path + ".corrupt-*")
		if err != nil || asked != step.asked || kept != step.kept || len(aside) != step.aside {
			t.Errorf("start %d: asked %d times, %d kept, moved aside: %v (%v); want %+v", i, asked, kept, aside, err, step)
		}
		l.Record(sampleEvent("e"), sampleEntry(1))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLog_runWrites(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := open(t, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		l.Record(sampleEvent("e"), sampleEntry(1))
		time.Sleep(DefaultInterval + time.Millisecond)
		synctest.Wait()
		l.mu.Lock()
		waiting := len(l.pending)
		l.mu.Unlock()
		if waiting != 0 {
			t.Errorf("%d records wait after an interval", waiting)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func FuzzRecords(f *testing.F) {
	f.Add(encoded(sampleEntry(1)))
	f.Add(encodeEvent(sampleEvent("e"), accepted))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, headers, err := decodeEntry(b); err == nil && !bytes.Equal(encodeEntry(&e, headers), b) {
			t.Errorf("entry %x", b)
		}
		if e, at, err := decodeEvent(b); err == nil {
			if !bytes.Equal(encodeEvent(&e, at), b) {
				t.Errorf("event %x", b)
			}
			if head, headAt, err := decodeHead(b); err != nil || head.ID != e.ID || !headAt.Equal(at) || head.Payload != nil {
				t.Errorf("head of event %x", b)
			}
			if nameAt, account, id, ok := nameOf(b); !ok || string(account) != e.Account || string(id) != e.ID || !nameAt.Equal(at) {
				t.Errorf("name of event %x", b)
			}
		}
		_, _, _, _ = nameOf(b) // must not panic
	})
}

func TestGuard(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		f       func() error
		damaged bool
	}{
		"fine":               {func() error { return nil }, false},
		"no space":           {func() error { return &fs.PathError{Op: "write", Path: "a.db", Err: syscall.ENOSPC} }, false},
		"beyond any file":    {func() error { return &fs.PathError{Op: "write", Path: "a.db", Err: syscall.EFBIG} }, true},
		"a negative offset":  {func() error { return &fs.PathError{Op: "write", Path: "a.db", Err: syscall.EINVAL} }, true},
		"a page of nonsense": {func() error { panic("page 7: not a leaf page: 0x99") }, true},
	} {
		if err := guard(c.f); errors.Is(err, errDamaged) != c.damaged {
			t.Errorf("%s: %v", name, err)
		}
	}
}
