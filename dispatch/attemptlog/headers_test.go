package attemptlog

import (
	"bytes"
	"encoding/hex"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"example.com/belfry/dispatch/codec"
	"example.com/belfry/dispatch/event"
)

// backAndForth keeps headers of an attempt of the event e1 and reads them.
func backAndForth(t *testing.T, status event.Status, a event.Attempt) event.Attempt {
	t.Helper()
	b := headersOf("e1", &Entry{Status: status, Attempt: &a})
	out := a
	out.RequestHeaders, out.ResponseHeaders, out.HeadersCut = nil, nil, false
	if b == nil {
		return out
	}
	if err := (headerContext{"e1", &out}).decode(b); err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	return out
}

// Every value comes back as it was, however it is kept; those that headers
// mostly have take few bytes.
func TestHeaders_values(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 9, 0, 0, 500, time.UTC)
	digest := strings.Repeat("0123456789abcdef", 4)
	for _, tt := range []struct {
		value string
		most  int // bytes
	}{
		{"", 2},
		{"***", 1},
		{"e1", 1}, // the event's id
		{"w-1", 1},
		{"7", 1}, // the attempt's number
		{"SMS", 5},
		{strconv.FormatInt(at.Unix(), 10), 2},
		{strconv.FormatInt(at.Unix()+1, 10), 2},
		{strconv.FormatInt(at.Unix()-maxDistance, 10), 4},
		{strconv.FormatInt(at.Unix()-maxDistance-1, 10), 12},
		{"0123456789", 12},
		{strconv.FormatInt(at.Unix()+maxDistance-1, 10), 4},
		{strconv.FormatInt(at.Unix()+maxDistance, 10), 12},
		{"+" + strconv.FormatInt(at.Unix(), 10), 13},
		{"Tue, 24 Nov 2026 09:00:01 GMT", 2},
		{"Mon, 24 Nov 2026 09:00:01 GMT", 31}, // no Monday
		{"Tuesday, 24-Nov-26 09:00:01 GMT", 33},
		{"SHA256=" + digest, 1 + 8 + 33},
		{"SHA256=" + strings.ToUpper(digest), 80},
		{digest[:2*minPacked-2], 2*minPacked + 1},
		{"v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=", 1 + 4 + 33},
		{"v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4= v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=", 98},
		{"K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI5=", 47}, // with bits that nobody reads
		{"a=b=c,d", 9},
		{"\uFFFD é", 8},
	} {
		in := event.Attempt{Attempt: 7, At: at, WebhookID: "w-1", RequestHeaders: []event.HeaderField{{Name: "Date", Value: tt.value}, {Name: "X-Own", Value: "x"}}}
		out := backAndForth(t, event.StatusRetrying, in)
		if diff := cmp.Diff(in, out); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got := len((headerContext{"e1", &in}).appendValue(nil, tt.value)); got > tt.most {
			t.Errorf("%q takes %d bytes, want %d at most", tt.value, got, tt.most)
		}
	}
	for _, name := range commonNames {
		if n := len(appendName(nil, name)); n != 1 {
			t.Errorf("%s takes %d bytes", name, n)
		}
	}
}

// The numbers of names and values are in files: they must not move.
func TestHeaders_golden(t *testing.T) {
	t.Parallel()
	e := Entry{Status: event.StatusDead, Attempt: &event.Attempt{Attempt: 1, At: epoch, WebhookID: "w", HeadersCut: true}}
	for _, n := range commonNames {
		e.Attempt.RequestHeaders = append(e.Attempt.RequestHeaders, event.HeaderField{Name: n, Value: "***"})
	}
	for _, v := range commonValues {
		e.Attempt.ResponseHeaders = append(e.Attempt.ResponseHeaders, event.HeaderField{Name: "Via", Value: v})
	}
	want := "0133"
	for i := range commonNames {
		want += hex.EncodeToString([]byte{byte(i + 1), 16})
	}
	want += "1f"
	for i := range commonValues {
		want += hex.EncodeToString([]byte{20, byte(16 + i)})
	}
	if got := hex.EncodeToString(headersOf("e1", &e)); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	if first, last := commonNames[0]+" "+commonNames[50], commonValues[0]+" "+commonValues[30]; first != "Content-Type Access-Control-Allow-Origin" || last != "*** 1; mode=block" {
		t.Errorf("names %s, values %s", first, last)
	}
}

// A success keeps few bytes of its answer's headers, everything else many; at
// the limits and above.
func TestHeaders_bounded(t *testing.T) {
	t.Parallel()
	field := func(n int) event.HeaderField { // n bytes in the file
		n -= 3 // the name, how the value is kept, its length
		if n > 127 {
			n-- // of which the length takes two then
		}
		return event.HeaderField{Name: "Server", Value: strings.Repeat("-", n)}
	}
	for _, tt := range []struct {
		status event.Status
		limit  int
	}{{event.StatusDelivered, MaxDeliveredHeaders}, {event.StatusRetrying, event.MaxHeaderBytes}} {
		for _, over := range []int{0, 1} {
			in := event.Attempt{At: epoch, ResponseHeaders: []event.HeaderField{field(tt.limit - 2 + over), {Name: "Vary", Value: "*"}}}
			out := backAndForth(t, tt.status, in)
			if want := 2 - over; len(out.ResponseHeaders) != want || out.HeadersCut != (over > 0) {
				t.Errorf("%s, %d above: %d headers, cut %v", tt.status, over, len(out.ResponseHeaders), out.HeadersCut)
			}
		}
	}
	in := event.Attempt{At: epoch, RequestHeaders: []event.HeaderField{field(MaxDeliveredHeaders + 1)}, ResponseHeaders: []event.HeaderField{field(MaxDeliveredHeaders + 1), {Name: "Vary", Value: "*"}}}
	out := backAndForth(t, event.StatusDelivered, in)
	if len(out.RequestHeaders) != 1 || len(out.ResponseHeaders) != 1 || !out.HeadersCut {
		t.Errorf("of a success: %+v", out)
	}
	many := make([]event.HeaderField, event.MaxHeaders+1)
	for i := range many {
		many[i] = event.HeaderField{Name: "Via", Value: "*"}
	}
	for over, n := range []int{event.MaxHeaders, event.MaxHeaders + 1} {
		out := backAndForth(t, event.StatusDead, event.Attempt{RequestHeaders: many[:n]})
		if len(out.RequestHeaders) != event.MaxHeaders || out.HeadersCut != (over > 0) {
			t.Errorf("%d headers: %d kept, cut %v", n, len(out.RequestHeaders), out.HeadersCut)
		}
	}
}

// Records of another format are left out.
func TestLog_formats(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	l, err := Open(Options{Path: path, Now: (&clock{epoch}).Now})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"all", "event", "entry"} { // each has two records
		note(l, "acme", id, 1)
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	err = l.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketRecords).Bucket(number8(1))
		for _, number := range []uint64{3, 6} {
			v := bytes.Clone(b.Get(number8(number)))
			v[1] = format + 1 // behind the distance
			if err := b.Put(number8(number), v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, reopened := range []bool{false, true} {
		if reopened {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = open(t, Options{Path: path, Now: (&clock{epoch}).Now})
		}
		for id, want := range map[string][]event.Delivery{
			"all": {{
				DeliveryID: "d1", ProfileID: "p", SubscriptionIDs: []string{"s1", "s2"}, URL: "https://example.org/h?k=v",
				Status: event.StatusRetrying, NextAttemptAt: new(epoch.Add(time.Hour)), Attempts: []event.Attempt{*sampleEntry(1).Attempt},
			}},
			"entry": nil,
		} {
			rec, ok := lookup(t, l, "acme", id)
			if diff := cmp.Diff(want, rec.Deliveries); diff != "" || !ok || rec.Channel != "SMS" {
				t.Errorf("%s: %v, %+v (-want +got):\n%s", id, ok, rec.Event, diff)
			}
		}
		if rec, ok := lookup(t, l, "acme", "event"); ok {
			t.Errorf("found, though it cannot be told whose it is: %+v", rec)
		}
		wantIDs(t, l, "acme", event.Filter{Status: event.StatusRetrying}, "all")
		wantIDs(t, l, "acme", event.Filter{}, "entry", "all")
	}
}

// What can be read is read again after it was written as the package writes it.
func FuzzHeaders(f *testing.F) {
	e := sampleEntry(1)
	f.Add(headersOf("e1", &e))
	f.Add([]byte("\x00\x030\x03\x03000\x030000\x03\x03000\x030000\x03\x03000\x03000\x00")) // fewer bytes in hex than are written so
	f.Fuzz(func(t *testing.T, b []byte) {
		a := event.Attempt{At: epoch}
		of := headerContext{"e1", &a}
		if len(b) > event.MaxHeaderBytes || of.decode(b) != nil {
			return
		}
		if len(a.RequestHeaders) > event.MaxHeaders || len(a.ResponseHeaders) > event.MaxHeaders {
			t.Fatalf("%d and %d headers", len(a.RequestHeaders), len(a.ResponseHeaders))
		}
		again := codec.AppendBool(nil, a.HeadersCut)
		for _, fs := range [][]event.HeaderField{a.RequestHeaders, a.ResponseHeaders} {
			fields, n, cut := of.encode(fs, maxCount)
			if again = append(codec.AppendCount(again, n), fields...); cut {
				t.Errorf("%x: %d of %d headers were written", b, n, len(fs))
			}
		}
		got := event.Attempt{At: epoch}
		if err := (headerContext{"e1", &got}).decode(again); err != nil {
			t.Fatalf("%x, written as %x: %v", b, again, err)
		}
		if diff := cmp.Diff(a, got); diff != "" {
			t.Errorf("%x, written as %x (-want +got):\n%s", b, again, diff)
		}
	})
}

func BenchmarkHeadersOf(b *testing.B) {
	e := sampleEntry(1)
	e.Attempt.RequestHeaders = append(e.Attempt.RequestHeaders, event.HeaderField{Name: "Webhook-Signature", Value: "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="})
	for b.Loop() {
		headersOf("e1", &e)
	}
}
