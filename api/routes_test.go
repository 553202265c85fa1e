package api

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// The table and the document must name the same operations, both ways.
func TestRoutes_matchTheDocument(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	inTable, inDoc := map[string]bool{}, map[string]bool{}
	for _, r := range h.table {
		inTable[r.method+" "+r.path] = true
	}
	for p, item := range doc.Paths.Map() {
		for m := range item.Operations() {
			inDoc[m+" "+p] = true
		}
	}
	for _, op := range slices.Sorted(maps.Keys(inTable)) {
		if !inDoc[op] {
			t.Errorf("%s is served but not in openapi.yaml", op)
		}
	}
	for _, op := range slices.Sorted(maps.Keys(inDoc)) {
		if !inTable[op] {
			t.Errorf("%s is in openapi.yaml but not served", op)
		}
	}
}

// INV api-1: a route without a scope cannot be registered.
func TestRegister_refusesIncompleteRows(t *testing.T) {
	t.Parallel()
	ok := route{method: "GET", path: "/x", scope: scopePublic, handle: func(*request) error { return nil }}
	tests := map[string]func(*route){
		"no scope":      func(r *route) { r.scope = "" },
		"unknown scope": func(r *route) { r.scope = "root" },
		"no handler":    func(r *route) { r.handle = nil },
		"no slash":      func(r *route) { r.path = "x" },
		"wrong surface": func(r *route) { r.surface = surfaceContract },
		"twice":         func(r *route) { r.path = "/openapi.yaml" },
	}
	for name, change := range tests {
		h := newHarness(t)
		r := ok
		change(&r)
		if err := h.register([]route{r}); err == nil || !strings.HasPrefix(err.Error(), "api: route") {
			t.Errorf("%s: register = %v, want a complaint about the route", name, err)
		}
	}
	if err := newHarness(t).register([]route{ok}); err != nil {
		t.Errorf("a complete row is refused: %v", err)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("New takes empty Options")
	}
}
