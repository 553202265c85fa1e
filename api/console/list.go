package console

import (
	"strconv"

	"example.com/belfry/api/client"
)

// pageSize is how many rows a list shows at a time.
const pageSize = 50

// read says which part of a list the address asks for.
func (v *visit) read() client.Read {
	n, err := strconv.Atoi(v.query("page"))
	if err != nil || n < 1 {
		n = 1
	}
	return client.Read{Page: n - 1, Size: pageSize}
}

// part says which part of a list with cursors the address asks for.
func (v *visit) part() client.Part { return client.Part{Limit: pageSize, Cursor: v.query("cursor")} }

// pager is the foot of a list.
type pager struct {
	// Of a list with numbers. Page counts from 1.
	Page, Pages, Total, First, Last int
	// Of a list with cursors.
	Cursor   bool
	Next     string // empty: the list ends here
	HasFirst bool   // this is not the beginning
}

// pagerOf is the pager of one page of a list.
func pagerOf[T any](p client.Page[T]) pager {
	g := p.Paging
	out := pager{Page: g.Page + 1, Pages: max(1, g.TotalPages), Total: g.TotalResults}
	if len(p.Results) > 0 {
		out.First = g.Page*g.Size + 1
		out.Last = out.First + len(p.Results) - 1
	}
	return out
}

// cursorPager is the pager of one part of a list with cursors.
func (v *visit) cursorPager(next string) pager {
	return pager{Cursor: true, Next: next, HasFirst: v.query("cursor") != ""}
}

// Beyond reports whether the list has rows, and ends before this page.
func (p pager) Beyond() bool { return !p.Cursor && p.Total > 0 && p.First == 0 }

// Prev and Following are the pages beside this one; 0: none.
func (p pager) Prev() int {
	if p.Page <= 1 {
		return 0
	}
	return min(p.Page-1, p.Pages)
}

// Following is the page after this one; 0: none.
func (p pager) Following() int {
	if p.Page >= p.Pages {
		return 0
	}
	return p.Page + 1
}
