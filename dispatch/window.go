package dispatch

import (
	"net/http"
	"time"

	"example.com/belfry/dispatch/webhook"
)

// firstWindow is how many requests a destination gets at a time before it has
// answered one. A thousand that hang would else begin with a thousand full
// windows.
const firstWindow = 2

// window is how many requests a destination gets at a time: at most the
// profile's windowSize, half of what it was whenever the receiver shows that
// it is too much. It begins with firstWindow and grows by one with every answer
// until it is cut for the first time or full, and from then on by one for every
// window of answers.
type window struct {
	size  float64 // 0: firstWindow
	open  bool    // as wide as the profile allows
	cutAt time.Time
}

// limit is the number of requests that may be in flight; bound is the
// profile's windowSize.
func (w *window) limit(bound int) int {
	switch {
	case w.open:
		return bound
	case w.size == 0:
		return min(firstWindow, bound)
	}
	return max(1, min(int(w.size), bound))
}

// grow notes an answer that shows no strain.
func (w *window) grow(bound int) {
	if w.open {
		return
	}
	size := float64(w.limit(bound))
	if w.size > 0 {
		size = w.size
	}
	step := 1.0
	if !w.cutAt.IsZero() {
		step = 1 / size
	}
	w.size = size + step
	w.open = w.size >= float64(bound)
}

// cut notes that an attempt that began at the instant was too much. Requests
// that were on their way together are one sign, not many.
func (w *window) cut(bound int, began, now time.Time) {
	if began.Before(w.cutAt) {
		return
	}
	w.size, w.open = max(1, float64(w.limit(bound))/2), false
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

// unmade reports whether no request was made, so that nothing is known of the
// receiver.
func unmade(res webhook.Result) bool {
	return res.Class == "" || res.Class == webhook.ClassAuth || res.Class == webhook.ClassBlocked
}
