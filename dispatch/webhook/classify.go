package webhook

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/belfry/dispatch/event"
)

const (
	// MaxRetryAfter is the longest wait that a receiver can ask for.
	MaxRetryAfter = 24 * time.Hour
	// bodyLimit is how much of an answer ResponseBodyRegex is searched in.
	bodyLimit = 64 << 10
	// keptBody is how much of an answer a Result keeps.
	keptBody = event.MaxResponse
	// maxRegexes is how many compiled expressions are kept before the cache
	// starts anew.
	maxRegexes = 1024
)

// classify is the verdict on a status by itself: 2xx is taken, 410 wants no
// more, 429 and 503 with a wait are throttling, all else is tried again,
// redirects included.
func classify(status int, retryAfter time.Duration) Class {
	switch {
	case status >= 200 && status <= 299:
		return ClassOK
	case status == http.StatusGone:
		return ClassGone
	case (status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable) && retryAfter > 0:
		return ClassThrottled
	}
	return ClassTemporary
}

// rules are the regular expressions of a destination; nil: none.
type rules struct{ status, body *regexp.Regexp }

// judge turns an answer into a result. An expression for the status replaces
// the rule that 2xx is success, so with it a 410 can be success and a 200 not.
// The body is not in it yet: see mask.
func (r rules) judge(a answer, now time.Time) Result {
	res := Result{StatusCode: a.status, Timing: a.timing}
	wait, _ := parseRetryAfter(a.header.Get("Retry-After"), now)
	res.Class = classify(a.status, wait)
	code := strconv.Itoa(a.status)
	switch {
	case r.status != nil && r.status.MatchString(code):
		res.Class = ClassOK
	case r.status != nil && res.Class == ClassOK:
		res.Class, res.ErrorClass, res.Error = ClassTemporary, ErrorStatus, "the status "+code+" does not match responseRegex"
	case res.Class != ClassOK:
		res.ErrorClass, res.Error = ErrorStatus, "the receiver answered "+code
		if a.status >= 300 && a.status <= 399 {
			res.Error += ": redirects are not followed"
		}
	}
	if res.Class == ClassThrottled {
		res.RetryAfter = wait
	}
	if res.Class != ClassOK || r.body == nil {
		return res
	}
	switch {
	case a.broken != nil:
		res.Class, res.ErrorClass, res.Error = ClassTemporary, a.broken.where, a.broken.text
	case !r.body.Match(a.body):
		res.Class, res.ErrorClass, res.Error = ClassTemporary, ErrorBody, "the body of the answer does not match responseBodyRegex"
	}
	return res
}

// parseRetryAfter reads a Retry-After header: seconds or an HTTP date. What
// lies behind, is negative or is neither counts as not given.
func parseRetryAfter(value string, now time.Time) (time.Duration, bool) {
	value = strings.Trim(value, " \t")
	if value == "" {
		return 0, false
	}
	if !strings.ContainsFunc(value, func(r rune) bool { return r < '0' || r > '9' }) {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n > int64(MaxRetryAfter/time.Second) { // digits only: an error is a number too large
			n = int64(MaxRetryAfter / time.Second)
		}
		return time.Duration(n) * time.Second, n > 0
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	wait := min(at.Sub(now), MaxRetryAfter) // Sub saturates
	if wait <= 0 {
		return 0, false
	}
	return wait, true
}

// regexes keeps compiled expressions, which many attempts share.
type regexes struct {
	mu    sync.Mutex
	cache map[string]*regexp.Regexp
}

func (c *regexes) get(name, expr string) (*regexp.Regexp, *failure) {
	if expr == "" {
		return nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if re, ok := c.cache[expr]; ok {
		return re, nil
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, failed(ClassTemporary, "%s is not a regular expression in RE2 syntax; nothing was sent", name)
	}
	if c.cache == nil || len(c.cache) >= maxRegexes {
		c.cache = map[string]*regexp.Regexp{}
	}
	c.cache[expr] = re
	return re, nil
}

func (c *regexes) rules(d *Destination) (rules, *failure) {
	status, f := c.get("responseRegex", d.ResponseRegex)
	if f != nil {
		return rules{}, f
	}
	body, f := c.get("responseBodyRegex", d.ResponseBodyRegex)
	return rules{status, body}, f
}
