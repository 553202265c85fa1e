// Package history is what the clients and receivers of a chaos run write down
// and what the checkers read: one JSON line per operation. It is a leaf.
package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Outcome says what is known of an operation.
type Outcome string

// The outcomes.
const (
	OK      Outcome = "ok"      // it happened
	Fail    Outcome = "fail"    // for certain it did not
	Unknown Outcome = "unknown" // it may have happened, or may happen later
)

// Op is one operation of a client, one arrival at a receiver, or one step of
// the nemesis.
type Op struct {
	// Process is who did it: "w1-3", "sink-2", "nemesis". It does one thing at
	// a time, so the Ops of one do not overlap; receivers are the exception.
	Process string `json:"process"`
	// Kind names the operation, such as "profile.put", "event.post", "arrival",
	// "fault.begin". The package that writes it documents its In and Out.
	Kind string `json:"kind"`
	// Node is the node that was asked, if it was one.
	Node string `json:"node,omitempty"`
	// Key names what it was done to.
	Key string `json:"key,omitempty"`
	// Call and Return are ns of the monotonic clock since the run began. Of an
	// operation whose answer never came Return is when the client gave up.
	Call    int64   `json:"call"`
	Return  int64   `json:"return"`
	Outcome Outcome `json:"outcome"`
	Status  int     `json:"status,omitempty"` // HTTP status; 0: no answer
	Error   string  `json:"error,omitempty"`

	In  json.RawMessage `json:"in,omitempty"`
	Out json.RawMessage `json:"out,omitempty"`
}

// Clock is the time of a run.
type Clock struct{ begin time.Time }

// NewClock starts a run's time.
func NewClock() Clock { return Clock{time.Now()} }

// Now is ns since the run began.
func (c Clock) Now() int64 { return int64(time.Since(c.begin)) }

// Recorder appends Ops to one file. It is safe for concurrent use. The file
// is not synced: the suite's process is not what is being killed.
type Recorder struct {
	Clock

	mu  sync.Mutex
	f   *os.File
	w   *bufio.Writer
	err error
	n   int
}

// Create makes the file name+".jsonl" in dir, which must exist.
func Create(dir, name string, c Clock) (*Recorder, error) {
	f, err := os.OpenFile(filepath.Join(dir, name+".jsonl"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the caller's directory
	if err != nil {
		return nil, fmt.Errorf("create history: %w", err)
	}
	return &Recorder{Clock: c, f: f, w: bufio.NewWriterSize(f, 256<<10)}, nil
}

// Record appends op. An error is kept and returned by Close: a run whose
// history is not whole is void.
func (r *Recorder) Record(op Op) {
	b, err := json.Marshal(op)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return
	}
	if err == nil {
		_, err = r.w.Write(append(b, '\n'))
	}
	r.n++
	r.err = err
}

// Len is how many Ops were recorded.
func (r *Recorder) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

// Close writes what is buffered and returns the first error there was.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := errors.Join(r.err, r.w.Flush(), r.f.Close())
	if err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	return nil
}

// maxLine bounds one Op in a file.
const maxLine = 4 << 20

// Read gives the Ops of all files *.jsonl of dir whose name begins with one of
// prefixes (all, when there are none), in the order of their Call.
func Read(dir string, prefixes ...string) ([]Op, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	var ops []Op
	for _, p := range paths {
		name := filepath.Base(p)
		if len(prefixes) > 0 && !slices.ContainsFunc(prefixes, func(x string) bool { return strings.HasPrefix(name, x) }) {
			continue
		}
		if ops, err = readFile(ops, p); err != nil {
			return nil, fmt.Errorf("read history %s: %w", name, err)
		}
	}
	slices.SortStableFunc(ops, func(a, b Op) int { return int(min(1, max(-1, a.Call-b.Call))) })
	return ops, nil
}

func readFile(ops []Op, path string) ([]Op, error) {
	f, err := os.Open(path) //nolint:gosec // the caller's directory
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	s := bufio.NewScanner(f)
	s.Buffer(make([]byte, 0, 64<<10), maxLine)
	for line := 1; s.Scan(); line++ {
		var op Op
		if err := json.Unmarshal(s.Bytes(), &op); err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		ops = append(ops, op)
	}
	if err := s.Err(); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return ops, nil
}

// JSON is v for In or Out. v must be one that always can be encoded.
func JSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("history: %T cannot be encoded: %v", v, err))
	}
	return b
}
