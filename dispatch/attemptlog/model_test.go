package attemptlog

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"example.com/belfry/dispatch/codec"
	"example.com/belfry/dispatch/event"
)

// modelItem is what the model keeps of one Record.
type modelItem struct {
	event event.Event
	entry Entry
	at    time.Time
}

type modelName struct{ account, id string }

// modelSegment has its items and, of each event, the item that brought it.
type modelSegment struct {
	items    []modelItem
	events   map[modelName]modelItem
	numbers  map[modelName]uint64
	bytes    int64
	from, to time.Time
	closed   bool
}

// model is the attempt log as DESIGN.md has it, in slices that are searched from
// end to end.
type model struct {
	maxBytes int64
	maxAge   time.Duration
	next     uint64
	segments []*modelSegment
	removed  int
	pending  []modelItem
}

func (m *model) flush(now time.Time) {
	for _, it := range m.pending {
		m.add(it)
	}
	m.pending = nil
	for len(m.segments) > 0 {
		sum := int64(0)
		for _, s := range m.segments {
			sum += s.bytes
		}
		if sum <= m.maxBytes && now.Sub(m.segments[0].to) < m.maxAge {
			return
		}
		m.segments = m.segments[1:]
		m.removed++
	}
}

func (m *model) add(it modelItem) {
	var s *modelSegment
	if n := len(m.segments); n > 0 && !m.segments[n-1].closed {
		s = m.segments[n-1]
		if at := it.at.Sub(s.from); at > m.maxAge/72 || at < -m.maxAge/72 {
			s.closed, s = true, nil
		}
	}
	if s == nil {
		s = &modelSegment{from: it.at, events: map[modelName]modelItem{}, numbers: map[modelName]uint64{}}
		m.segments = append(m.segments, s)
	}
	name := modelName{it.event.Account, it.event.ID}
	if _, ok := s.events[name]; !ok {
		s.events[name], s.numbers[name] = it, m.next
		s.bytes += int64(1 + len(encodeEvent(&it.event, it.entry.AcceptedAt)) + overhead)
		if at := it.entry.AcceptedAt; !at.IsZero() {
			s.bytes += int64(len(timeKey(name.account, at, name.id)) + listOverhead)
		}
		m.next++
	}
	distance := len(codec.AppendUint(nil, m.next-s.numbers[name]))
	s.bytes += int64(distance + len(encodeEntry(&it.entry, headersOf(it.event.ID, &it.entry))) + overhead)
	m.next++
	s.items, s.to = append(s.items, it), it.at
	s.closed = s.bytes > m.maxBytes/64
}

func (m *model) lookup(name modelName) (rec event.Record, found bool) {
	rec.Account, rec.ID = name.account, name.id
	for _, s := range m.segments {
		first, ok := s.events[name]
		if ok && !found {
			rec.Event, rec.AcceptedAt, found = first.event, first.entry.AcceptedAt, true
		}
		for _, it := range s.items {
			if it.event.Account != name.account || it.event.ID != name.id {
				continue
			}
			i := slices.IndexFunc(rec.Deliveries, func(d event.Delivery) bool { return d.DeliveryID == it.entry.DeliveryID })
			if i < 0 {
				i = len(rec.Deliveries)
				rec.Deliveries = append(rec.Deliveries, event.Delivery{DeliveryID: it.entry.DeliveryID})
			}
			d := &rec.Deliveries[i]
			d.ProfileID, d.SubscriptionIDs, d.URL, d.Status, d.NextAttemptAt = it.entry.ProfileID, it.entry.SubscriptionIDs, it.entry.URL, it.entry.Status, nil
			if it.entry.Status == event.StatusRetrying {
				d.NextAttemptAt = &it.entry.NextAt
			}
			d.Attempts = append(d.Attempts, *it.entry.Attempt)
		}
	}
	return rec, found
}

func (m *model) scan(account string, f *event.Filter) (refs []event.Ref) {
	last := map[event.Ref]map[string]Entry{}
	for _, s := range m.segments {
		for _, it := range s.items {
			name := modelName{it.event.Account, it.event.ID}
			at := s.events[name].entry.AcceptedAt
			if name.account != account || at.IsZero() {
				continue
			}
			ref := event.Ref{AcceptedAt: at, EventID: name.id}
			if last[ref] == nil {
				last[ref] = map[string]Entry{}
			}
			last[ref][it.entry.DeliveryID] = it.entry
		}
	}
	for ref, deliveries := range last {
		ev := sampleEvent(ref.EventID)
		fits := f.Status == ""
		for _, e := range deliveries {
			fits = fits || e.Status == f.Status
		}
		if fits && f.MatchesEvent(ev, ref.AcceptedAt) {
			refs = append(refs, ref)
		}
	}
	slices.SortFunc(refs, func(a, b event.Ref) int {
		return cmp.Or(b.AcceptedAt.Compare(a.AcceptedAt), cmp.Compare(b.EventID, a.EventID))
	})
	return refs
}

// modelRun does the same with a Log and with a model.
type modelRun struct {
	*testing.T
	rng   *rand.Rand
	clock *clock
	opts  Options
	log   *Log
	model model
}

func (r *modelRun) open(path string) {
	r.Helper()
	r.opts.Path = path
	l, err := Open(r.opts)
	if err != nil {
		r.Fatal(err)
	}
	r.log = l
}

func (r *modelRun) record() {
	account, id := fmt.Sprint("a", r.rng.IntN(3)), fmt.Sprint(r.rng.IntN(9))
	it := modelItem{event: *sampleEvent(id), entry: sampleEntry(r.rng.IntN(4)), at: r.clock.now}
	it.event.Account = account
	it.entry.DeliveryID = fmt.Sprint(r.rng.IntN(2))
	if r.rng.IntN(3) == 0 {
		it.entry.Status, it.entry.NextAt = event.StatusDelivered, time.Time{}
	}
	it.entry.AcceptedAt = epoch.Add(time.Duration(int(id[0])%4) * time.Second)
	switch r.rng.IntN(20) {
	case 0:
		it.entry.AcceptedAt = time.Time{}
	case 1: // the id was used again
		it.entry.AcceptedAt = epoch.Add(time.Minute)
	}
	r.log.Record(&it.event, it.entry)
	r.model.pending = append(r.model.pending, it)
}

// reopen ends the log, and opens its file again: as Close leaves it, or as it is
// when the process is killed.
func (r *modelRun) reopen() {
	r.Helper()
	path := filepath.Join(r.TempDir(), "a.db")
	if r.rng.IntN(2) == 0 {
		if err := r.log.Close(); err != nil {
			r.Fatal(err)
		}
		r.model.flush(r.clock.now)
	}
	b, err := os.ReadFile(r.opts.Path)
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		r.Fatal(err)
	}
	if err := r.log.Close(); err != nil { // writes into the other file
		r.Fatal(err)
	}
	r.model.pending = nil
	r.open(path)
}

func (r *modelRun) compare() {
	r.Helper()
	r.model.flush(r.clock.now)
	for a := range 3 {
		account := fmt.Sprint("a", a)
		for i := range 10 {
			name := modelName{account, fmt.Sprint(i)}
			got, ok := lookup(r.T, r.log, name.account, name.id)
			want, wantOK := r.model.lookup(name)
			if diff := gocmp.Diff(want, got); diff != "" || ok != wantOK {
				r.Fatalf("%v: found %v, want %v (-want +got):\n%s", name, ok, wantOK, diff)
			}
		}
		for _, f := range []event.Filter{{}, {Status: event.StatusDelivered}, {Status: event.StatusRetrying}, {From: epoch.Add(2 * time.Second)}, {Channel: "VOICE"}} {
			got, _ := all(r.T, r.log, account, f, 1+r.rng.IntN(9))
			if want := r.model.scan(account, &f); !slices.Equal(got, want) {
				r.Fatalf("%s %+v: %v, want %v", account, f, got, want)
			}
		}
	}
	sum := int64(0)
	for _, s := range r.model.segments {
		sum += s.bytes
	}
	if n, want := r.listed(), r.model.listed(); n != want {
		r.Fatalf("the lists name %d records, want %d", n, want)
	}
	if len(r.log.segments) != len(r.model.segments) || r.log.bytes != sum {
		r.Fatalf("%d segments of %d bytes, want %d of %d", len(r.log.segments), r.log.bytes, len(r.model.segments), sum)
	}
}

// listed counts what the lists of events name.
func (m *model) listed() (n int) {
	for _, s := range m.segments {
		for _, it := range s.events {
			if !it.entry.AcceptedAt.IsZero() {
				n++
			}
		}
	}
	return n
}

func (r *modelRun) listed() (n int) {
	r.Helper()
	if err := r.log.db.View(func(tx *bolt.Tx) error {
		lists := tx.Bucket(bucketLists)
		return lists.ForEachBucket(func(k []byte) error {
			n += lists.Bucket(k).Stats().KeyN
			return nil
		})
	}); err != nil {
		r.Fatal(err)
	}
	return n
}

// Whatever is recorded, removed and read back, from a closed file or from one as a
// killed process leaves it: the log says what a list of all records says.
// INV attemptlog-1.
func TestLog_model(t *testing.T) {
	t.Parallel()
	reopened, removed := 0, 0
	for seed := range uint64(6) {
		r := &modelRun{T: t, rng: rand.New(rand.NewPCG(3, seed)), clock: &clock{epoch}}
		r.model = model{maxBytes: 128 << 10, maxAge: 72 * time.Minute, next: 1}
		r.opts = Options{
			MaxBytes: r.model.maxBytes, MaxAge: r.model.maxAge, Now: r.clock.Now,
			hash: func(_, id string) uint64 { return uint64(id[0]) % 4 }, // events and accounts collide
		}
		r.open(filepath.Join(t.TempDir(), "a.db"))
		for range 800 {
			switch n := r.rng.IntN(200); {
			case n < 160:
				r.record()
			case n < 185:
				r.clock.now = r.clock.now.Add(time.Duration(r.rng.IntN(60)) * time.Second)
			case n < 187:
				r.clock.now = r.clock.now.Add(time.Duration(r.rng.IntN(100)-20) * time.Minute)
			case n < 190:
				r.reopen()
				reopened++
			case n < 194:
				if err := r.log.Flush(); err != nil {
					t.Fatal(err)
				}
				r.model.flush(r.clock.now)
			default:
				r.compare()
			}
		}
		r.compare()
		removed += r.model.removed
		if err := r.log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if reopened == 0 || removed == 0 {
		t.Errorf("reopened %d times, %d segments removed", reopened, removed)
	}
}
