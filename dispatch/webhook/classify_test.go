package webhook

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Every status, with and without a wait.
func TestClassify_truthTable(t *testing.T) {
	t.Parallel()
	special := map[int][2]Class{ // without and with a wait
		408: {ClassTemporary, ClassTemporary},
		410: {ClassGone, ClassGone},
		429: {ClassTemporary, ClassThrottled},
		503: {ClassTemporary, ClassThrottled},
	}
	for status := 100; status <= 599; status++ {
		want, ok := special[status]
		switch {
		case ok:
		case status >= 200 && status < 300:
			want = [2]Class{ClassOK, ClassOK}
		default:
			want = [2]Class{ClassTemporary, ClassTemporary}
		}
		for i, wait := range []time.Duration{0, time.Second} {
			if got := classify(status, wait); got != want[i] {
				t.Errorf("classify(%d, %s) = %s, want %s", status, wait, got, want[i])
			}
		}
		// The verdict has words whenever it is not ok.
		res := rules{}.judge(answer{status: status, header: http.Header{}}, time.Now())
		if res.Class != want[0] || res.StatusCode != status || (res.Error == "") != (res.Class == ClassOK) {
			t.Errorf("judge(%d) = %+v", status, res)
		}
		// A regex that matches every status makes a success of it, one that
		// matches none makes none.
		for expr, ok := range map[string]bool{"[1-5][0-9]{2}": true, "^$": false} {
			re, f := (&regexes{}).get("responseRegex", expr)
			if f != nil {
				t.Fatal(f)
			}
			if res := (rules{status: re}).judge(answer{status: status, header: http.Header{}}, time.Now()); (res.Class == ClassOK) != ok {
				t.Errorf("judge(%d) with responseRegex %q = %+v", status, expr, res)
			}
		}
	}
}

func TestRules_judge(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	broken := errSlowAnswer
	edge := strings.Repeat("x", bodyLimit-2) + "ok"
	for _, tt := range []struct {
		name         string
		status, body string // expressions
		code         int
		retryAfter   string
		got          string
		broken       *failure
		class        Class
		wait         time.Duration
		text         string
	}{
		{name: "plain", code: 204, class: ClassOK},
		{name: "redirect", code: 302, class: ClassTemporary, text: "the receiver answered 302: redirects are not followed"},
		{name: "throttled", code: 429, retryAfter: "7", class: ClassThrottled, wait: 7 * time.Second, text: "the receiver answered 429"},
		{name: "unavailable until", code: 503, retryAfter: "Fri, 02 Jan 2026 03:05:05 GMT", class: ClassThrottled, wait: time.Minute, text: "the receiver answered 503"},
		{name: "unavailable since", code: 503, retryAfter: "Fri, 02 Jan 2026 03:04:05 GMT", class: ClassTemporary, text: "the receiver answered 503"},
		{name: "no wait elsewhere", code: 500, retryAfter: "7", class: ClassTemporary, text: "the receiver answered 500"},
		{name: "no wait on success", code: 200, retryAfter: "7", class: ClassOK},
		{name: "status matches", status: "^20[01]$", code: 201, class: ClassOK},
		{name: "status is searched", status: "0", code: 503, class: ClassOK},
		{name: "status does not match", status: "^201$", code: 200, class: ClassTemporary, text: "the status 200 does not match responseRegex"},
		{name: "gone is success", status: "410", code: 410, class: ClassOK},
		{name: "gone", status: "200", code: 410, class: ClassGone, text: "the receiver answered 410"},
		{name: "throttled is success", status: "429", code: 429, retryAfter: "7", class: ClassOK},
		{name: "throttled with a regex", status: "200", code: 429, retryAfter: "7", class: ClassThrottled, wait: 7 * time.Second, text: "the receiver answered 429"},
		{name: "body matches", body: `"ok":\s*true`, code: 200, got: `{"ok": true}`, class: ClassOK},
		{name: "body does not match", body: "^ok$", code: 200, got: "not ok", class: ClassTemporary, text: "the body of the answer does not match responseBodyRegex"},
		{name: "both match", status: "202", body: "ok", code: 202, got: "ok", class: ClassOK},
		{name: "body without status", status: "200", body: "ok", code: 500, got: "ok", class: ClassTemporary, text: "the receiver answered 500"},
		{name: "body at the limit", body: "ok$", code: 200, got: edge, class: ClassOK},
		{name: "body broken", body: "ok", code: 200, got: "ok", broken: broken, class: ClassTemporary, text: broken.text},
		{name: "body broken, gone", body: "ok", code: 410, got: "", broken: broken, class: ClassGone, text: "the receiver answered 410"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			re, f := (&regexes{}).rules(&Destination{ResponseRegex: tt.status, ResponseBodyRegex: tt.body})
			if f != nil {
				t.Fatal(f)
			}
			a := answer{status: tt.code, header: http.Header{}, body: []byte(tt.got), broken: tt.broken}
			if tt.retryAfter != "" {
				a.header.Set("Retry-After", tt.retryAfter)
			}
			res := re.judge(a, now)
			if res.Class != tt.class || res.RetryAfter != tt.wait || res.Error != tt.text || res.StatusCode != tt.code {
				t.Errorf("got %+v", res)
			}
			if res.Body != nil {
				t.Error("the body is in the result before its secrets are masked")
			}
			want := ErrorNone
			switch {
			case tt.class == ClassOK:
			case tt.broken != nil && tt.class == ClassTemporary:
				want = ErrorTimeout
			case strings.Contains(tt.text, "responseBodyRegex"):
				want = ErrorBody
			default:
				want = ErrorStatus
			}
			if res.ErrorClass != want {
				t.Errorf("error class %q, want %q", res.ErrorClass, want)
			}
		})
	}
}

func TestRegexes(t *testing.T) {
	t.Parallel()
	c := &regexes{}
	for i := range maxRegexes {
		if _, f := c.get("responseRegex", "^"+strconv.Itoa(i)+"$"); f != nil {
			t.Fatal(f)
		}
	}
	if len(c.cache) != maxRegexes {
		t.Errorf("%d expressions are kept, want %d", len(c.cache), maxRegexes)
	}
	if _, f := c.get("responseRegex", "^one more$"); f != nil || len(c.cache) != 1 {
		t.Errorf("one above the limit: %d are kept, %v", len(c.cache), f)
	}
	_, f := c.rules(&Destination{ResponseBodyRegex: "(secret"})
	if f == nil || f.class != ClassTemporary || f.text != "responseBodyRegex is not a regular expression in RE2 syntax; nothing was sent" {
		t.Errorf("broken expression: %v", f)
	}
}

func TestParseRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                               0,
		" ":                              0,
		"0":                              0,
		"1":                              time.Second,
		" 120 ":                          2 * time.Minute,
		"007":                            7 * time.Second,
		"86400":                          MaxRetryAfter,
		"86401":                          MaxRetryAfter,
		"9223372036854775807":            MaxRetryAfter,
		"99999999999999999999999999":     MaxRetryAfter,
		"-1":                             0,
		"+1":                             0,
		"1.5":                            0,
		"1e3":                            0,
		"soon":                           0,
		"1, 2":                           0,
		"Fri, 02 Jan 2026 03:04:06 GMT":  time.Second,
		"Fri, 02 Jan 2026 03:04:05 GMT":  0,
		"Thu, 01 Jan 1970 00:00:00 GMT":  0,
		"Fri, 31 Dec 9999 23:59:59 GMT":  MaxRetryAfter,
		"Friday, 02-Jan-26 03:05:05 GMT": time.Minute,
		"Fri Jan  2 03:05:05 2026":       time.Minute,
		"Fri, 32 Jan 2026 03:04:06 GMT":  0,
	} {
		got, ok := parseRetryAfter(value, now)
		if got != want || ok != (want > 0) {
			t.Errorf("%q: %s, %t; want %s", value, got, ok, want)
		}
	}
}

func FuzzParseRetryAfter(f *testing.F) {
	for _, s := range []string{"", "0", "120", "-5", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31 Dec 1999 23:59:59 GMT", "1e9", " 7\t"} {
		f.Add(s)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		d, ok := parseRetryAfter(value, now)
		if d < 0 || d > MaxRetryAfter || ok != (d > 0) {
			t.Fatalf("%q: %s, %t", value, d, ok)
		}
	})
}
