package console

import (
	"errors"
	"net/http"
	"slices"
	"testing"

	"example.com/belfry/fsm/model"
)

// Errors of the API find their field, whatever form their path has.
func TestForm_invalid(t *testing.T) {
	t.Parallel()
	fields := []string{"webhook.notifyUrl", "scopes", "events", "headers"}
	for _, row := range []struct{ path, field string }{
		{"webhook.notifyUrl", "webhook.notifyUrl"},
		{"/webhook/notifyUrl", "webhook.notifyUrl"},
		{"/scopes/0", "scopes"},
		{"events[3].event", "events"},
		{"headers.X-A", "headers"},
		{"webhook", ""},
		{"/retry/schedule/2", ""},
	} {
		v := &visit{screen: &screen{}}
		f := v.blank()
		a, err := v.invalid(nil, f, &model.Error{Code: model.CodeInvalid, Message: "m", Fields: []model.FieldError{{Field: row.path, Message: "is wrong"}}}, fields...)
		if err != nil || a.status != http.StatusUnprocessableEntity {
			t.Fatalf("%s: %v, %v", row.path, a, err)
		}
		if row.field == "" {
			if len(f.Others) != 1 || len(f.FieldsInError()) != 0 || !f.Failed() {
				t.Errorf("%s: others %v", row.path, f.Others)
			}
			continue
		}
		if got := f.Errors(row.field); !slices.Equal(got, []string{"Is wrong"}) {
			t.Errorf("%s is at %v", row.path, f.FieldsInError())
		}
	}
}

func TestForm_invalid_other(t *testing.T) {
	t.Parallel()
	v := &visit{screen: &screen{}}
	if _, err := v.invalid(nil, v.blank(), errors.New("x")); err == nil {
		t.Error("an error of ours became one of the form")
	}
	if _, err := v.invalid(nil, v.blank(), model.Errorf(model.CodeUnauthorized, "x")); err == nil {
		t.Error("the end of a session became an error of the form")
	}
	f := v.blank()
	if a, err := v.invalid(nil, f, model.Errorf(model.CodeInUse, "still used")); err != nil || a.status != http.StatusConflict || f.Problem != "Still used" {
		t.Errorf("%v, %v, %q", a, err, f.Problem)
	}
}

func TestMemberPath(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"/a/b/2/c": "a.b[2].c", "/0": "0", "/a/0/1": "a[0][1]", "a.b[2]": "a.b[2]", "/a~1b/x~0y": "a/b.x~y", "": ""} {
		if got := memberPath(in); got != want {
			t.Errorf("memberPath(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for in, want := range map[any]string{0: "0", 999: "999", 1000: "1\u202f000", -1234567: "-1\u202f234\u202f567", "1234.50": "1\u202f234.50", uint64(42): "42"} {
		if got := number(in); got != want {
			t.Errorf("number(%v) = %q, want %q", in, got, want)
		}
	}
	all, nearly, none := 1.0, 0.99999, 0.0
	if percent(&all) != "100 %" || percent(&nearly) != "99.99 %" || percent(&none) != "0.00 %" || percent(nil) != "–" {
		t.Errorf("percent: %s %s %s %s", percent(&all), percent(&nearly), percent(&none), percent(nil))
	}
	for in, want := range map[float64]string{1.25: "1.2 ms", 12.4: "12 ms", 1500: "1.5 s", 90_000: "1 min 30 s"} {
		if got := milliseconds(in); got != want {
			t.Errorf("milliseconds(%v) = %q, want %q", in, got, want)
		}
	}
	if got := at("/a/{}/b/{}", "x/y", "?"); got != "/console/a/x%2Fy/b/%3F" {
		t.Errorf("at = %s", got)
	}
}
