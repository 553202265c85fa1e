package api

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// MaxSearch is how many rows one answer of a search holds; defaultSearch is
// how many without a limit parameter.
const (
	MaxSearch     = 200
	defaultSearch = 50
)

// queryReader reads the query of a route that knows all of its parameters: err
// refuses the others, so that a filter with a typo does not select everything.
type queryReader struct {
	r     *request
	v     model.Violations
	known map[string]bool
}

func (r *request) strictQuery() *queryReader { return &queryReader{r: r, known: map[string]bool{}} }

// noQuery refuses every parameter.
func (r *request) noQuery() error { return r.strictQuery().err() }

// one gives a parameter that may come once.
func (p *queryReader) one(name string) (value string, given bool) {
	p.known[name] = true
	switch vs := p.r.query[name]; len(vs) {
	case 0:
		return "", false
	case 1:
		return vs[0], true
	default:
		p.v.Add(name, "must be given once")
		return "", false
	}
}

// text gives a parameter that must have a value when it is there.
func (p *queryReader) text(name string) string {
	s, ok := p.one(name)
	if !ok {
		return ""
	}
	if msg := model.CheckText(s, 1, event.MaxFieldLength); msg != "" {
		p.v.Add(name, "%s", msg)
		return ""
	}
	return s
}

// time gives an instant; zero when it is not there.
func (p *queryReader) time(name string) time.Time {
	s, ok := p.one(name)
	if !ok {
		return time.Time{}
	}
	t, msg := instant(s)
	if msg != "" {
		p.v.Add(name, "%s", msg)
	}
	return t
}

// instant reads a time, or says what is wrong with it.
func instant(s string) (t time.Time, wrong string) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.UTC().Year() < 1 || t.UTC().Year() > 9999 {
		return time.Time{}, "must be a time such as 2026-01-31T12:00:00Z (RFC 3339)"
	}
	return t.UTC(), ""
}

// limit gives the number of rows that the caller wants at most.
func (p *queryReader) limit() int {
	p.known["limit"] = true
	return p.r.intParam("limit", defaultSearch, 1, MaxSearch, &p.v)
}

// choice gives a parameter that must be one of the allowed names.
func choice[T ~string](p *queryReader, name string, allowed ...T) T {
	s, ok := p.one(name)
	if !ok {
		return ""
	}
	return oneOf(&p.v, name, s, allowed...)
}

// knows names parameters that are read in another way.
func (p *queryReader) knows(names ...string) {
	for _, name := range names {
		p.known[name] = true
	}
}

// err says what is wrong with the query as a whole.
func (p *queryReader) err() error {
	for _, name := range slices.Sorted(maps.Keys(p.r.query)) {
		if !p.known[name] {
			p.v.Add(join("", name), "is not a parameter that is known here")
		}
	}
	return p.v.Err()
}

// filter reads a filter that may come once. check says what is wrong with it,
// or "". It gives "" for one that is not there or wrong.
func (r *request) filter(name string, check func(string) string, v *model.Violations) string {
	switch vs := r.query[name]; len(vs) {
	case 0:
		return ""
	case 1:
		if msg := check(vs[0]); msg != "" {
			v.Add(name, "%s", msg)
			return ""
		}
		return vs[0]
	default:
		v.Add(name, "must be given once")
		return ""
	}
}

// MaxSearchText is the length of what a list is searched for, in characters.
const MaxSearchText = 255

// search reads what a list is searched for; an empty text finds everything, so
// that a form can send it.
func (r *request) search(v *model.Violations) string {
	return r.filter("search", func(s string) string { return model.CheckText(s, 0, MaxSearchText) }, v)
}

// timeFilter reads an instant; zero when it is not there.
func (r *request) timeFilter(name string, v *model.Violations) time.Time {
	var t time.Time
	r.filter(name, func(s string) (wrong string) {
		t, wrong = instant(s)
		return wrong
	}, v)
	return t
}

// idFilter reads an id that the rows of a list refer to. INV api-6: storage is
// not asked for one that cannot exist.
func (r *request) idFilter(name string, v *model.Violations) string {
	return r.filter(name, model.CheckID, v)
}

// checkCatalogue refuses a channel and an event that do not exist; either may
// be empty. at is what stands before their names.
func checkCatalogue(channel, name, at string, v *model.Violations) {
	switch {
	case channel == "" && name == "":
	case channel == "":
		known := slices.ContainsFunc(model.Channels(), func(c model.Channel) bool { return c.Has(name) })
		if !known {
			v.Add(at+"event", "is not an event of any channel")
		}
	default:
		switch c, ok := model.ChannelByName(channel); {
		case !ok:
			v.Add(at+"channel", "is not a channel of the catalogue")
		case name != "" && !c.Has(name):
			v.Add(at+"event", "is not an event of this channel")
		}
	}
}

// checkRange refuses a range of time that holds nothing.
func checkRange(from, to time.Time, at string, v *model.Violations) {
	if !from.IsZero() && !to.IsZero() && !from.Before(to) {
		v.Add(at+"to", "must be after from")
	}
}

// noBody takes a body that is absent or an empty object.
func (r *request) noBody() error {
	b, err := r.body()
	if err != nil || len(b) == 0 {
		return err
	}
	return decodeJSON(b, &struct{}{}, true)
}

// window gives a length of time, as a Go duration or in seconds.
func (p *queryReader) window(name string, def, lo, hi time.Duration) time.Duration {
	s, ok := p.one(name)
	if !ok {
		return def
	}
	d, err := time.ParseDuration(s)
	if n, e := strconv.Atoi(s); e == nil && n <= int(hi/time.Second) {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d < lo || d > hi {
		p.v.Add(name, "must be a length of time between %s and %s, such as 5m or 300", lo, hi)
		return def
	}
	return d
}
