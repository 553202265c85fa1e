package api

import (
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/belfry/fsm/model"
)

// Limits of an export.
const (
	// DefaultExportRows is how many rows of a list one export holds, if
	// Limits.ExportRows does not say otherwise.
	DefaultExportRows = 10_000
	// DefaultExports is how many exports run on a node at a time, if
	// Limits.Exports does not say otherwise: each keeps the store of every node
	// busy.
	DefaultExports = 4
	// exportRetry is the Retry-After of one too many, in seconds.
	exportRetry = 10
	// exportTime is how long an export looks for them.
	exportTime = 2 * time.Minute
)

// exportForm is the form in which a list is asked for.
type exportForm string

const (
	formPage   exportForm = "" // a page, in JSON
	formCSV    exportForm = "text/csv"
	formNDJSON exportForm = "application/x-ndjson"
)

// exportRow is one row of a list: an object, or lines of cells.
type exportRow struct {
	json  any
	lines [][]string
}

// exportPart is what one look into the list gave.
type exportPart struct {
	rows []exportRow
	// cursor is where the list goes on, if it does: more.
	cursor      string
	more        bool
	unreachable []string
}

// export is one list on its way out.
type export struct {
	form    exportForm
	name    string   // of the file, without its ending
	columns []string // of the lines
	// next gives the next rows, limit of them at most.
	next func(ctx context.Context, limit int) (exportPart, error)
}

// exportForm reads the Accept header: the form that it names with the highest
// weight. What names none of them gets a page.
func (r *request) exportForm() exportForm {
	best, weight := formPage, 0.0
	for part := range strings.SplitSeq(r.http.Header.Get("Accept"), ",") {
		t, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			continue
		}
		q := 1.0
		if s, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(s, 64); err != nil {
				continue
			}
		}
		form := exportForm(t)
		if t == typeJSON {
			form = formPage
		} else if form != formCSV && form != formNDJSON {
			continue
		}
		if q > weight {
			best, weight = form, q
		}
	}
	return best
}

// exportLimit is what stands in place of limit in an export, which has rows of
// its own number.
func (p *queryReader) exportLimit(form exportForm) int {
	if form == formPage {
		return p.limit()
	}
	if _, given := p.one("limit"); given {
		p.v.Add("limit", "does not go together with an export, which has up to %d rows", p.r.s.o.Limits.ExportRows)
	}
	return 0
}

// enterExport takes a place among the exports of this node; leave gives it
// back. CodeLimit: there is none now.
func (s *Server) enterExport() (leave func(), err error) {
	select {
	case s.exports <- struct{}{}:
		return func() { <-s.exports }, nil
	default:
		e := model.Errorf(model.CodeLimit, "this node makes %d exports already, which is the limit: ask again later, ask another node, or read the list page by page", cap(s.exports))
		e.RetryAfter = exportRetry
		return nil, e
	}
}

// export sends a list as a file, part by part, so that no more than a part is
// in memory. What is not in it is said in its last line.
//
// INV api-11: a file that lacks rows says so, and of an export that cannot
// begin there is an error and no file.
func (r *request) export(x export) error {
	leave, err := r.s.enterExport()
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(r.ctx(), exportTime)
	defer cancel()
	left := r.s.o.Limits.ExportRows
	part, err := x.next(ctx, min(left, MaxSearch))
	if err != nil {
		return err
	}
	ending := ".csv"
	if x.form == formNDJSON {
		ending = ".ndjson"
	}
	h := r.header()
	h.Set("Content-Type", string(x.form)+"; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="belfry-`+x.name+"-"+r.s.o.Now().UTC().Format("20060102T150405Z")+ending+`"`)
	r.w.WriteHeader(http.StatusOK)
	if r.http.Method == http.MethodHead {
		return nil
	}
	out := exportWriter{stream: newStream(r), export: x, away: map[string]bool{}}
	defer out.end()
	out.head()
	for {
		if err := out.part(part); err != nil {
			return nil // the client is gone: there is nobody to tell
		}
		left -= len(part.rows)
		switch {
		case !part.more:
			return out.finish("", "")
		case left <= 0:
			return out.finish(fmt.Sprintf("an export has up to %d rows", r.s.o.Limits.ExportRows), part.cursor)
		}
		at := part.cursor
		if part, err = x.next(ctx, min(left, MaxSearch)); err == nil {
			continue
		}
		if r.ctx().Err() != nil {
			return nil // as above
		}
		reason := "the node could not go on"
		if ctx.Err() != nil {
			reason = "an export takes up to " + exportTime.String()
		} else if code := model.CodeOf(err); code != model.CodeUnavailable {
			r.s.log.Error("an export broke off", "requestId", r.id, "error", err)
		}
		return out.finish(reason, at)
	}
}

// exportWriter writes the rows of an export.
type exportWriter struct {
	stream
	export
	away map[string]bool // nodes that did not answer
	list []string        // the same, in the order in which it was seen
}

func (w *exportWriter) head() {
	if w.form == formCSV {
		w.line(w.columns)
	}
}

func (w *exportWriter) part(p exportPart) error {
	for _, node := range p.unreachable {
		if !w.away[node] {
			w.away[node] = true
			w.list = append(w.list, node)
		}
	}
	for _, row := range p.rows {
		if w.form == formNDJSON {
			w.object(row.json)
			continue
		}
		for _, cells := range row.lines {
			w.line(cells)
		}
	}
	return w.flush()
}

// finish says what is missing, if something is: reason is why rows are, and
// cursor where they begin.
func (w *exportWriter) finish(reason, cursor string) error {
	if reason == "" && len(w.list) == 0 {
		return nil
	}
	if w.form == formNDJSON {
		w.object(map[string]incomplete{"incomplete": {reason, cursor, w.list}})
	} else {
		text := "# incomplete:"
		if reason != "" {
			text += " " + reason + ";"
		}
		if cursor != "" {
			text += " the list goes on with cursor=" + cursor + ";"
		}
		if len(w.list) > 0 {
			text += " no answer from " + strings.Join(w.list, ", ")
		}
		cells := make([]string, len(w.columns))
		cells[0] = strings.TrimSuffix(text, ";")
		w.line(cells)
	}
	_ = w.flush() // nobody is left to tell
	return nil
}

// incomplete is the last line of a file that lacks something.
type incomplete struct {
	Reason      string   `json:"reason,omitempty"`
	NextCursor  string   `json:"nextCursor,omitempty"`
	Unreachable []string `json:"unreachableNodes,omitempty"`
}

func (w *exportWriter) object(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		w.r.s.log.Error("cannot encode a row of an export", "requestId", w.r.id, "error", err)
		return
	}
	w.buf.Write(b)
	w.buf.WriteByte('\n')
}

// line writes cells as RFC 4180 has them, all in quotes: a program that takes
// another separator than the comma must not find one in them.
func (w *exportWriter) line(cells []string) {
	for i, c := range cells {
		if i > 0 {
			w.buf.WriteByte(',')
		}
		if c != "" {
			w.buf.WriteByte('"')
			w.buf.WriteString(strings.ReplaceAll(unarmed(c), `"`, `""`))
			w.buf.WriteByte('"')
		}
	}
	w.buf.WriteString("\r\n")
}

// formulaStart are the beginnings of a cell that a spreadsheet may take for a
// formula, in their wide forms too.
const formulaStart = "=+-@\t\r\n＝＋－＠"

// unarmed puts an apostrophe before a cell that a spreadsheet might calculate.
func unarmed(cell string) string {
	if s := strings.TrimLeft(cell, " "); s != "" && strings.ContainsRune(formulaStart, []rune(s[:min(len(s), 4)])[0]) {
		return "'" + cell
	}
	return cell
}

// cellOf is a time in a cell; the zero time is an empty one.
func cellOf(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// number is a number in a cell; 0, which stands for none, is an empty one.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
