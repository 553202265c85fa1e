package console

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"example.com/belfry/fsm/model"
)

// form is what was typed and what is wrong with it. The fields of a form have
// the names of the API's members (webhook.notifyUrl), so that the API's errors
// find their field.
type form struct {
	values url.Values
	errors map[string][]string
	// Problem is what is wrong with the form as a whole.
	Problem string
	// Others are errors of members that have no field here.
	Others []model.FieldError
	// order of the fields with errors, for the summary.
	order []string
}

// option is a choice of a select or of a group of checkboxes.
type option struct{ Value, Label string }

func has(os []option, value string) bool {
	return slices.ContainsFunc(os, func(o option) bool { return o.Value == value })
}

// options makes choices that are labelled with their values.
func options(values ...string) []option {
	out := make([]option, len(values))
	for i, s := range values {
		out[i] = option{s, s}
	}
	return out
}

// blank is a form that nothing was typed into; set gives it values.
func (v *visit) blank() *form { return &form{values: url.Values{}, errors: map[string][]string{}} }

// form is the form that was posted.
func (v *visit) form() *form {
	f := v.blank()
	for name, values := range v.r.PostForm { //nolint:forbidigo // what came in
		if name != csrfField {
			f.values[name] = slices.Clone(values)
		}
	}
	return f
}

func (f *form) set(name string, values ...string) { f.values[name] = values }

// forget drops secrets, which are never sent back to a browser.
func (f *form) forget(names ...string) {
	for _, n := range names {
		delete(f.values, n)
	}
}

// Value is what a field has; the first, if there are several.
func (f *form) Value(name string) string { return f.values.Get(name) }

// Text is Value without space around it.
func (f *form) Text(name string) string { return strings.TrimSpace(f.values.Get(name)) }

// Values are all values of a field with several that are not empty.
func (f *form) Values(name string) []string {
	return slices.DeleteFunc(slices.Clone(f.values[name]), func(s string) bool { return s == "" })
}

// Lines are the lines of a field, without space around them and without empty
// ones.
func (f *form) Lines(name string) []string {
	var out []string
	for line := range strings.Lines(f.Value(name)) {
		if s := strings.TrimSpace(line); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// Has reports whether a field has a value: that a box is checked.
func (f *form) Has(name, value string) bool { return slices.Contains(f.values[name], value) }

// Errors are what is wrong with a field.
func (f *form) Errors(name string) []string { return f.errors[name] }

// Failed reports whether anything is wrong.
func (f *form) Failed() bool { return f.Problem != "" || len(f.order) > 0 || len(f.Others) > 0 }

// FieldsInError are the fields with errors, in the order of the complaints.
func (f *form) FieldsInError() []string { return f.order }

// bad notes what is wrong with a field, or with the whole form for "".
func (f *form) bad(name, message string) {
	if name == "" {
		f.Problem = message
		return
	}
	if len(f.errors[name]) == 0 {
		f.order = append(f.order, name)
	}
	f.errors[name] = append(f.errors[name], message)
}

// invalid answers a form with what the API says is wrong with it: the page of
// the screen again, with what was typed and each error at its field. fields
// are the names of the form's fields. Other errors than of what was typed are
// given back.
func (v *visit) invalid(view any, f *form, err error, fields ...string) (*answer, error) {
	e, ok := errors.AsType[*model.Error](err)
	if !ok {
		return nil, err
	}
	switch e.Code { //nolint:exhaustive // the others are not about the form
	case model.CodeInvalid, model.CodeExists, model.CodeInUse, model.CodeQuota, model.CodeConflict, model.CodeTooLarge, model.CodeLimit, model.CodeNotFound, model.CodeForbidden:
	case model.CodeUnavailable:
		f.Problem = "Nothing was changed: " + e.Message
	case model.CodeUnknownOutcome:
		f.Problem = "It is not known whether this was done: " + e.Message + ". Look before you send it again."
	default:
		return nil, err
	}
	vs := e.Violations()
	for _, x := range vs {
		path := memberPath(x.Field)
		if name := fieldOf(path, fields); name != "" {
			f.bad(name, sentence(x.Message))
		} else {
			f.Others = append(f.Others, model.FieldError{Field: path, Message: sentence(x.Message)})
		}
	}
	if len(vs) == 0 && f.Problem == "" {
		f.Problem = sentence(e.Message)
	}
	status := http.StatusUnprocessableEntity
	if p := problems[e.Code]; p.status != 0 {
		status = p.status
	}
	return v.show(view).with(status), nil
}

var pointerIndex = regexp.MustCompile(`\.(\d+)(\.|$)`)

// memberPath turns a JSON pointer (/scopes/0) into the form of the config API
// (scopes[0]).
func memberPath(field string) string {
	rest, ok := strings.CutPrefix(field, "/")
	if !ok {
		return field
	}
	s := strings.NewReplacer("/", ".", "~1", "/", "~0", "~").Replace(rest)
	for pointerIndex.MatchString(s) {
		s = pointerIndex.ReplaceAllString(s, "[$1]$2")
	}
	return s
}

// fieldOf is the field of a member: of the same name, or that of the nearest
// member around it.
func fieldOf(path string, fields []string) string {
	for {
		if slices.Contains(fields, path) {
			return path
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return ""
		}
		path = path[:i]
	}
}

// field is what the partial templates of form fields get.
type field struct {
	Form                     *form
	Name, Label, Hint, Type  string
	Placeholder, ID          string
	Required, Mono, Disabled bool
	AutoComplete             string
	List                     string // id of a datalist
	Rows                     string
	Options                  []option
}

// newField makes a field: attributes are words (required, mono, disabled) or
// name=value (hint, type, placeholder, autocomplete, list, rows).
func newField(f *form, name, label string, attrs ...any) field {
	x := field{Form: f, Name: name, Label: label, Type: "text", ID: fieldID(name), AutoComplete: "off", Rows: "3"}
	for _, a := range attrs {
		if os, ok := a.([]option); ok {
			x.Options = os
			continue
		}
		key, value, _ := strings.Cut(text(a), "=")
		switch key {
		case "required":
			x.Required = true
		case "mono":
			x.Mono = true
		case "disabled":
			x.Disabled = true
		case "hint":
			x.Hint = value
		case "type":
			x.Type = value
		case "placeholder":
			x.Placeholder = value
		case "autocomplete":
			x.AutoComplete = value
		case "list":
			x.List = value
		case "rows":
			x.Rows = value
		}
	}
	return x
}

var notID = regexp.MustCompile(`[^A-Za-z0-9]+`)

// fieldID is the id of a field's element.
func fieldID(name string) string { return "f-" + notID.ReplaceAllString(name, "-") }

// Value is what the field shows.
func (x field) Value() string { return x.Form.Value(x.Name) }

// Errors are those of the field.
func (x field) Errors() []string { return x.Form.Errors(x.Name) }

// DescribedBy are the ids of hint and errors, for aria-describedby.
func (x field) DescribedBy() string {
	var ids []string
	if x.Hint != "" {
		ids = append(ids, x.ID+"-hint")
	}
	if len(x.Errors()) > 0 {
		ids = append(ids, x.ID+"-error")
	}
	return strings.Join(ids, " ")
}
