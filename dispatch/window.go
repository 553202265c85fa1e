package dispatch

import (
	"net/http"
	"time"

	"example.com/belfry/dispatch/webhook"
)

// window is how many requests a destination gets at a time: at most the
// profile's windowSize, half of what it was whenever the receiver shows that
// it is too much, and one more for every window of successes.
//
// The zero window is as wide as the profile allows.
type window struct {
	size  float64 // 0: never cut
	cutAt time.Time
}

// limit is the number of requests that may be in flight; bound is the
// profile's windowSize.
func (w *window) limit(bound int) int {
	if w.size == 0 {
		return bound
	}
	return max(1, min(int(w.size), bound))
}

// grow notes a success.
func (w *window) grow(bound int) {
	if w.size == 0 {
		return
	}
	if w.size += 1 / w.size; w.size >= float64(bound) {
		w.size = 0
	}
}

// cut notes that an attempt that began at the instant was too much. Requests
// that were on their way together are one sign, not many.
func (w *window) cut(bound int, began, now time.Time) {
	if began.Before(w.cutAt) {
		return
	}
	w.size = max(1, float64(w.limit(bound))/2)
	w.cutAt = now
}

// strained reports whether an outcome says that the destination is down or has
// too much to do: no answer, 408, 429 or 5xx. Everything else concerns the one
// request.
func strained(res webhook.Result) bool {
	switch res.Class { //nolint:exhaustive // the other classes are no answers, or good ones
	case webhook.ClassThrottled:
		return true
	case webhook.ClassTemporary:
		return unanswered(res) || res.StatusCode >= http.StatusInternalServerError ||
			res.StatusCode == http.StatusRequestTimeout || res.StatusCode == http.StatusTooManyRequests
	default:
		return false
	}
}

// unanswered reports whether the receiver said nothing at all.
func unanswered(res webhook.Result) bool {
	return res.Class == webhook.ClassTemporary && res.StatusCode == 0
}
