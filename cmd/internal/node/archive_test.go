package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
)

// ref is a place n seconds after a beginning.
func ref(n int) event.Ref {
	return event.Ref{AcceptedAt: time.Unix(1_700_000_000+int64(n), 0).UTC(), EventID: fmt.Sprint("e", n)}
}

func refs(ns ...int) (out []event.Ref) {
	for _, n := range ns {
		out = append(out, ref(n))
	}
	return out
}

func TestMergeScans(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		scans []event.Scan
		limit int
		want  []event.Ref
		next  event.Ref
	}{
		{"nothing", []event.Scan{{Done: true}, {Done: true}}, 3, nil, event.Ref{}},
		{"what several know comes once", []event.Scan{{Refs: refs(5, 3), Done: true}, {Refs: refs(5, 4), Done: true}}, 3, refs(5, 4, 3), event.Ref{}},
		{"more than the limit", []event.Scan{{Refs: refs(5, 3), Done: true}, {Refs: refs(6, 4), Done: true}}, 3, refs(6, 5, 4), ref(4)},
		{
			"one source has not looked that far",
			[]event.Scan{{Refs: refs(9, 8, 1), Done: true}, {Refs: refs(7), Upto: ref(5)}},
			10,
			refs(9, 8, 7), ref(5),
		},
		{"the one that looked least decides", []event.Scan{{Upto: ref(2)}, {Refs: refs(9, 3), Upto: ref(3)}, {Refs: refs(8, 4), Upto: ref(4)}}, 10, refs(9, 8, 4), ref(4)},
		{"nothing found and not at the end", []event.Scan{{Upto: ref(2)}, {Done: true}}, 10, nil, ref(2)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, next := mergeScans(tc.scans, tc.limit)
			if len(got) == 0 {
				got = nil
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("list (-want +got):\n%s", diff)
			}
			if next != tc.next {
				t.Errorf("next: got %+v, want %+v", next, tc.next)
			}
		})
	}
}

// Pages over sources that look at little in one go add up to the whole list:
// nothing is left out, nothing comes twice.
func TestMergeScans_pagesAddUp(t *testing.T) {
	t.Parallel()
	sources := [][]int{{30, 28, 20, 11, 3, 2}, {30, 29, 21, 20, 1}, {}, {27, 26, 25, 24, 23, 22, 10}}
	scan := func(all []int, after event.Ref, look, limit int) event.Scan {
		s := event.Scan{Done: true}
		for _, n := range all {
			if !ref(n).After(after) {
				continue
			}
			if look == 0 || len(s.Refs) == limit {
				s.Done = false
				return s
			}
			look--
			s.Upto = ref(n)
			if n%2 == 0 { // what the filter wants
				s.Refs = append(s.Refs, ref(n))
			}
		}
		return s
	}
	var got []event.Ref
	after := event.Ref{}
	for pages := 0; ; pages++ {
		if pages > 50 {
			t.Fatal("the list does not end")
		}
		var scans []event.Scan
		for _, all := range sources {
			scans = append(scans, scan(all, after, 2, 3))
		}
		page, next := mergeScans(scans, 3)
		got = append(got, page...)
		if (next == event.Ref{}) {
			break
		}
		after = next
	}
	if diff := cmp.Diff(refs(30, 28, 26, 24, 22, 20, 10, 2), got); diff != "" {
		t.Errorf("all pages (-want +got):\n%s", diff)
	}
}
