package console

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

//go:embed templates
var templateFiles embed.FS

// templates are those of the screens, by file: each has its own copy of the
// layout and the partials, and defines "content". They are made when they are
// asked for first. All of them take 15 MiB, more than half of what an idle node
// needs, and a node that only serves the API never shows one.
type templates struct {
	byFile map[string]func() (*template.Template, error)
}

// shared are parsed into every screen's set.
var shared = []string{"layout.html", "partials.html", "fields.html", "setup.html", "events_parts.html"}

// loadTemplates reads the embedded templates once for the process.
var loadTemplates = sync.OnceValues(newTemplates)

func newTemplates() (*templates, error) {
	a, err := loadAssets()
	if err != nil {
		return nil, err
	}
	base := template.New("").Funcs(funcs(a)).Option("missingkey=error")
	for _, name := range shared {
		if err := parse(base, name); err != nil {
			return nil, err
		}
	}
	t := &templates{byFile: map[string]func() (*template.Template, error){}}
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		file := strings.TrimPrefix(name, "templates/")
		t.byFile[file] = sync.OnceValues(func() (*template.Template, error) {
			set, err := base.Clone()
			if err != nil {
				return nil, err
			}
			return set, parse(set, file)
		})
	}
	return t, nil
}

func parse(t *template.Template, file string) error {
	b, err := templateFiles.ReadFile("templates/" + file)
	if err != nil {
		return err
	}
	if _, err := t.New(file).Parse(string(b)); err != nil {
		return fmt.Errorf("console: template %s: %w", file, err)
	}
	return nil
}

// render makes a page in memory, so that an error does not leave half of one.
func (t *templates) render(file string, p *page) ([]byte, error) {
	return t.part(file, "layout", p)
}

// part is render for one of the templates that a file and the shared ones
// define.
func (t *templates) part(file, name string, p *page) ([]byte, error) {
	load := t.byFile[file]
	if load == nil {
		return nil, fmt.Errorf("there is no template %q", file)
	}
	set, err := load()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := set.ExecuteTemplate(&b, name, p); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// funcs are what templates may call.
func funcs(a *assets) template.FuncMap {
	return template.FuncMap{
		"asset":   a.url,
		"styles":  a.styles,
		"at":      func(pattern string, values ...any) string { return at(pattern, texts(values)...) },
		"field":   newField,
		"icon":    a.icon,
		"when":    when,
		"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"num":     number,
		"pct":     percent,
		"ms":      milliseconds,
		"dur":     duration,
		"plural":  plural,
		"copy":    copyButton,
		"json":    prettyJSON,
		"args":    func(values ...any) []any { return values },
		"join":    strings.Join,
		"lower":   strings.ToLower,
		"human":   human,
		"channel": channelTitle,
		"fieldID": func(name string) string {
			return fieldID(name)
		},
	}
}

// icon shows a symbol of the sprite; it says nothing to a screen reader, so
// that the text beside it must.
func (a *assets) icon(name string) (template.HTML, error) {
	url, err := a.url("img/icons.svg")
	if err != nil {
		return "", err
	}
	return template.HTML(`<svg class="icon" aria-hidden="true" focusable="false"><use href="` + url + `#` + template.HTMLEscapeString(name) + `"/></svg>`), nil //nolint:gosec // the address is our own, the name is escaped
}

const shownTime = "2006-01-02 15:04:05"

// when shows an instant in UTC; a script shows it as the browser chose. It
// takes a time.Time, a pointer to one, or milliseconds since the Unix epoch.
// Nothing is shown as a dash.
func when(v any) (template.HTML, error) {
	var t time.Time
	switch x := v.(type) {
	case time.Time:
		t = x
	case *time.Time:
		if x != nil {
			t = *x
		}
	case int64:
		if x != 0 {
			t = time.UnixMilli(x)
		}
	default:
		return "", fmt.Errorf("when: %T is no time", v)
	}
	if t.IsZero() {
		return `<span class="none">–</span>`, nil
	}
	t = t.UTC()
	return template.HTML(`<blf-time><time datetime="` + t.Format("2006-01-02T15:04:05.000Z") + `">` + t.Format(shownTime) + ` UTC</time></blf-time>`), nil //nolint:gosec // digits and punctuation of ours
}

// text is a value as it stands in an address.
func text(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case nil:
		return ""
	case fmt.Stringer:
		return x.String()
	}
	return fmt.Sprint(v)
}

func texts(values []any) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = text(v)
	}
	return out
}

// number groups digits by thousands, with a thin space.
func number(v any) string {
	s, frac, dot := strings.Cut(text(v), ".")
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	if dot {
		s += "." + frac
	}
	return sign + s
}

// percent shows a share of 0 to 1; nil is a dash. It says 100 % only of all.
func percent(share *float64) string {
	switch {
	case share == nil:
		return "–"
	case *share >= 1:
		return "100 %"
	case *share > 0.9999:
		return "99.99 %"
	}
	return strconv.FormatFloat(*share*100, 'f', 2, 64) + " %"
}

// milliseconds shows a length of time that is given in milliseconds.
func milliseconds(ms float64) string {
	switch {
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
	case ms < 1000:
		return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
	case ms < 60_000:
		return strconv.FormatFloat(ms/1000, 'f', 1, 64) + " s"
	}
	return duration(time.Duration(ms) * time.Millisecond)
}

// duration shows the two largest units of a length of time.
func duration(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "0 s"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + " s"
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d d %d h", d/day, d%day/time.Hour)
}

// plural is "1 row", "2 rows".
func plural(n any, one, many string) string {
	s := text(n)
	if s == "1" {
		return "1 " + one
	}
	return number(s) + " " + many
}

// copyButton copies a text; without scripts it is not there.
func copyButton(value any, label string) template.HTML {
	return template.HTML(`<blf-copy value="` + template.HTMLEscapeString(text(value)) + `" label="` + template.HTMLEscapeString(label) + `"></blf-copy>`) //nolint:gosec // both are escaped
}

// prettyJSON indents JSON, and gives anything else back as it is.
func prettyJSON(v any) string {
	var b []byte
	switch x := v.(type) {
	case json.RawMessage:
		b = x
	case []byte:
		b = x
	case string:
		b = []byte(x)
	default:
		var err error
		if b, err = json.Marshal(v); err != nil {
			return err.Error()
		}
	}
	var out bytes.Buffer
	if json.Indent(&out, b, "", "  ") != nil {
		return string(b)
	}
	return out.String()
}

// human turns a name of the catalogue into words: INBOUND_MESSAGE becomes
// "Inbound message".
func human(s any) string { return sentence(strings.ToLower(strings.ReplaceAll(text(s), "_", " "))) }

// sentence begins with a capital letter.
func sentence(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToUpper(r)) + s[n:]
}
