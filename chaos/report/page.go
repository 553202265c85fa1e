package report

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/belfry/chaos/check"
)

//go:embed style.css run.html index.html
var files embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"clock": clock, "span": span, "millis": millis, "short": short, "count": count, "link": link, "join": strings.Join,
	"count64":  func(n int) string { return count(int64(n)) },
	"artifact": func(name string) string { return ArtifactsDir + "/" + name },
	"style": func() (template.CSS, error) {
		b, err := files.ReadFile("style.css")
		return template.CSS(b), err //nolint:gosec // a file of this package
	},
}).ParseFS(files, "run.html", "index.html"))

// runPage is what run.html shows.
type runPage struct {
	*Run

	Verdict  Result
	Headline string
	Picture  picture
	Checks   []checkRow
	Facts    []fact
}

type checkRow struct {
	check.Verdict

	About     string
	State     string // passed, failed or nothing
	Figures   []fact
	Artifacts []string // file names
	Rest      int      // violations that are not shown
}

type fact struct{ Name, Value, Note string }

// page makes report.html.
func (r *Run) page() ([]byte, error) {
	p := runPage{Run: r, Verdict: r.Result(), Picture: draw(&r.Summary), Facts: r.facts()}
	abouts := map[string]string{Orderly: "Nodes stop when they are asked to, and say what to do when they refuse to run: what the nemeses saw themselves."}
	for _, c := range check.All() {
		abouts[c.Name] = c.About
	}
	for i := range r.Verdicts {
		p.Checks = append(p.Checks, row(&r.Verdicts[i], abouts))
	}
	p.Headline = r.headline()
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, "run.html", p); err != nil {
		return nil, fmt.Errorf("make the page of a report: %w", err)
	}
	return b.Bytes(), nil
}

func row(v *check.Verdict, abouts map[string]string) checkRow {
	x := checkRow{Verdict: *v, About: abouts[v.Name], Rest: v.Total - len(v.Violations)}
	switch {
	case !v.Passed():
		x.State = "failed"
	case v.Checked == 0:
		x.State = "nothing"
	default:
		x.State = "passed"
	}
	for _, name := range slices.Sorted(maps.Keys(v.Figures)) {
		f := v.Figures[name]
		if name == "check_seconds" { // of use for those who write checkers only
			continue
		}
		text := short(f)
		if strings.HasSuffix(name, "_ms") {
			text = millis(f)
		}
		x.Figures = append(x.Figures, fact{Name: strings.ReplaceAll(strings.TrimSuffix(name, "_ms"), "_", " "), Value: text})
	}
	for _, name := range slices.Sorted(maps.Keys(v.Artifacts)) {
		x.Artifacts = append(x.Artifacts, artifactName(v.Name, name))
	}
	return x
}

func (r *Run) headline() string {
	plural := func(n int, one, more string) string {
		if n == 1 {
			return "1 " + one
		}
		return count(int64(n)) + " " + more
	}
	switch r.Result() {
	case Void:
		because := r.VoidBecause
		if because == "" {
			because = "there was nothing to check"
		}
		return "The run says nothing: " + because
	case Failed:
		text := plural(r.Violations(), "violation", "violations")
		if n := len(r.Crashes); n > 0 {
			text += ", " + plural(n, "process ended unasked", "processes ended unasked")
		}
		return text
	case Passed:
	}
	return fmt.Sprintf("Every promise held under %s", plural(len(r.Summary.Faults), "fault", "faults"))
}

// facts are the figures at the head of the page.
func (r *Run) facts() []fact {
	s := &r.Summary
	ok, not := 0, 0
	for _, k := range s.Kinds {
		ok += k.OK
		not += k.Unknown
	}
	worst := Gaps{}
	for i := range s.Faults {
		g := s.Faults[i].Gaps
		worst.Changes, worst.Events = max(worst.Changes, g.Changes), max(worst.Events, g.Events)
	}
	checked := 0
	for i := range r.Verdicts {
		checked += r.Verdicts[i].Checked
	}
	fs := []fact{
		{"operations acknowledged", count(int64(ok)), count(int64(not)) + " of unknown outcome"},
		{"events acknowledged", count(s.Events), count(s.Taken) + " of " + count(s.Arrivals) + " requests answered 2xx"},
		{"faults", count(int64(len(s.Faults))), "by " + count(int64(len(r.Nemeses))) + " nemeses on " + count(int64(r.Nodes)) + " nodes"},
		{"things checked", count(int64(checked)), "by " + count(int64(len(r.Verdicts))) + " checkers"},
	}
	if len(s.Faults) > 0 {
		fs = append(fs,
			fact{"longest without a change", span(worst.Changes), "under faults; " + span(s.Quiet.Changes) + " outside of them"},
			fact{"longest without an event", span(worst.Events), "under faults; " + span(s.Quiet.Events) + " outside of them"},
		)
	}
	return fs
}

// clock is a moment of a run: "7 s", "1:05" or "2:00:00".
func clock(ns int64) string {
	t := int(time.Duration(ns) / time.Second)
	switch {
	case t < 60:
		return strconv.Itoa(t) + " s"
	case t < 3600:
		return fmt.Sprintf("%d:%02d", t/60, t%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", t/3600, t/60%60, t%60)
}

// span is a length of time: "850 ms", "1.3 s".
func span(ns int64) string { return millis(float64(ns) / float64(time.Millisecond)) }

func millis(ms float64) string {
	switch {
	case ms <= 0:
		return "–"
	case ms < 10:
		return strconv.FormatFloat(ms, 'g', 2, 64) + " ms"
	case ms < 1000:
		return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
	case ms < 100_000:
		return strconv.FormatFloat(float64(int64(ms/100))/10, 'g', -1, 64) + " s"
	}
	return strconv.FormatFloat(ms/1000, 'f', 0, 64) + " s"
}

// short writes a number with few digits.
func short(v float64) string {
	switch {
	case v == float64(int64(v)):
		return count(int64(v))
	case v >= 100:
		return count(int64(v + 0.5))
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// count writes a number with a thin space between thousands.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// link is a relative link to a file below the page.
func link(name string) string {
	parts := strings.Split(path.Clean("/" + name)[1:], "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return "./" + strings.Join(parts, "/")
}
