package console

import (
	"io"
	"net/http"
	"net/url"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

func exportScreens() []screen {
	return []screen{
		{path: "/export/events", scope: model.ScopeEventsRead, form: true, get: exportEvents},
		{path: "/export/dead-letters", scope: model.ScopeEventsRead, form: true, get: exportDeadLetters},
		{path: "/export/audit", scope: model.ScopeAuditRead, form: true, get: exportAudit},
	}
}

// exportKinds are the files that a list can be written into, by the value of
// the parameter form.
var exportKinds = []struct {
	Form, Label, ending string
	media               client.ExportForm
}{
	{"csv", "CSV", ".csv", client.CSV},
	{"ndjson", "NDJSON", ".ndjson", client.NDJSON},
}

// exportLink is a button that writes a list into a file.
type exportLink struct{ Label, Href string }

// exportLinks are the buttons of a list with the filters of its form that
// names lists.
func exportLinks(list string, f *form, names []string) []exportLink {
	var out []exportLink
	for _, k := range exportKinds {
		q := url.Values{"form": {k.Form}}
		for _, n := range names {
			if s := f.Text(n); s != "" {
				q.Set(n, s)
			}
		}
		out = append(out, exportLink{k.Label, address(at("/export/{}", list), q)})
	}
	return out
}

func exportEvents(v *visit) (*answer, error) {
	f := v.filters(searchNames...)
	filter := v.eventFilter(f)
	if f.Failed() {
		return v.redirect(address(at("/events"), v.r.URL.Query())), nil
	}
	return v.download("events", func(form client.ExportForm, w io.Writer) error {
		return v.api.ExportEvents(v.ctx(), filter, form, "", w)
	})
}

func exportDeadLetters(v *visit) (*answer, error) {
	f := v.filters(deadNames...)
	filter := v.deadFilter(f)
	if f.Failed() {
		return v.redirect(address(at("/dead-letters"), v.r.URL.Query())), nil
	}
	return v.download("dead-letters", func(form client.ExportForm, w io.Writer) error {
		return v.api.ExportDeadLetters(v.ctx(), filter, form, "", w)
	})
}

func exportAudit(v *visit) (*answer, error) {
	account := v.owned().Account
	return v.download("audit", func(form client.ExportForm, w io.Writer) error { return v.api.ExportAudit(v.ctx(), account, form, w) })
}

// download sends a list as a file while it comes. An error before its first
// line becomes a page; later the connection is broken off, so that the browser
// says that the file is not whole.
func (v *visit) download(name string, write func(client.ExportForm, io.Writer) error) (*answer, error) {
	kind := exportKinds[0]
	for _, k := range exportKinds {
		if k.Form == v.query("form") {
			kind = k
		}
	}
	w := &fileWriter{v: v, media: string(kind.media), name: "belfry-" + name + "-" + v.c.now().UTC().Format("20060102T150405Z") + kind.ending}
	err := write(kind.media, w)
	switch {
	case err == nil:
		w.begin() // also of a list without a line
	case !w.begun:
		return nil, err
	default:
		panic(http.ErrAbortHandler)
	}
	return &answer{written: true}, nil
}

// fileWriter writes a file to the browser.
type fileWriter struct {
	v           *visit
	media, name string
	begun       bool
}

func (w *fileWriter) begin() {
	if w.begun {
		return
	}
	w.begun = true
	h := w.v.w.Header()
	h.Set("Content-Type", w.media+"; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="`+w.name+`"`)
	w.v.w.WriteHeader(http.StatusOK)
}

// Write gives the browser streamPatience for every part.
func (w *fileWriter) Write(b []byte) (int, error) {
	w.begin()
	rc := http.NewResponseController(w.v.w)
	// A writer without a connection has no deadlines and needs none.
	_ = rc.SetWriteDeadline(time.Now().Add(streamPatience))
	n, err := w.v.w.Write(b)
	if err == nil {
		err = rc.Flush()
	}
	_ = rc.SetWriteDeadline(time.Now().Add(exportPause))
	return n, err
}

// exportPause is how long an export may take between two parts: the API
// itself gives it less.
const exportPause = 3 * time.Minute
