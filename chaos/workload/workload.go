// Package workload holds the clients and the receivers of a chaos run. They
// use a cluster as its users do, and write down what they asked and saw; the
// kinds of operations and their types are in chaos/history.
//
// They judge nothing: whether what they saw is right is up to chaos/check. They
// break nothing either, and know the nodes by their URLs only.
package workload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"example.com/belfry/chaos/history"
)

// Node is where a node's API is reached.
type Node struct {
	ID  string
	URL string // such as http://127.0.0.1:8600, without a slash at the end
}

// Target is the cluster that is used. Nodes may grow and shrink during a run,
// but are never none. It is asked before each request and must be safe for
// concurrent use.
type Target interface {
	Nodes() []Node
}

// Options of a workload.
type Options struct {
	Target Target
	// AdminKey has every scope; the workloads make accounts with it.
	AdminKey string
	// Dir takes the histories, one file for each workload. It must exist.
	Dir   string
	Clock history.Clock
	// Host is the address that receivers listen on and that nodes reach them
	// at. Empty: 127.0.0.1. The nodes must be allowed to send there
	// (--dev, or --egress-allow).
	Host string
	// Seed decides what is done, not how goroutines run.
	Seed uint64
	// Rate is how many operations there are per second, all clients together; of
	// W3, W4, W6, W7 and W8 how many events, of W5 how many changes. 0: as many as
	// fits a test of faults.
	Rate float64
	// Ingest is how many events W3 posts per second where Rate does not say. 0: 500.
	Ingest float64
	// Batch is how many events W3 posts at a time, at most 1000. 0: 20.
	Batch int
	// Timeout bounds one request. 0: 5 s. What takes longer has no known outcome.
	Timeout time.Duration
}

// Account is an account that a workload made.
type Account struct {
	ID  string
	Key string // an API key with every scope of an account
	// Channels have its subscriptions.
	Channels []string
}

// Workload is clients and receivers with one purpose. The calls are made in
// the order of the methods, each once; Close after a failure too.
type Workload interface {
	Name() string
	// SetUp makes accounts and the first objects. There must be no faults yet.
	SetUp(ctx context.Context) error
	// Run goes on until ctx ends; requests in flight are finished then, so it may
	// take Options.Timeout longer. An error is one of the suite itself, and makes
	// the run void; what the cluster does wrong is in the history.
	Run(ctx context.Context) error
	// Finish is for the time after the faults: receivers answer well from now on,
	// and what the workload waits for itself is waited for until ctx ends.
	Finish(ctx context.Context) error
	// Accounts are those that SetUp made, to read at the end.
	Accounts() []Account
	// Close ends the receivers and the history. An error means that the history
	// is not whole: the run is void.
	Close() error
}

// makers has the constructors by name.
var makers = map[string]func(*env) Workload{
	"w1": newRegister, "w2": newHierarchy, "w3": newIngest, "w4": newFanout, "w5": newRevocation,
	"w6": newOrdered, "w7": newHostile, "w8": newDeadLetters, "w9": newAdmin,
}

// Names lists the workloads: w1 to w9.
func Names() []string { return slices.Sorted(maps.Keys(makers)) }

// New makes the workload of a name and its history. It sends nothing yet.
func New(name string, o Options) (Workload, error) {
	mk, ok := makers[name]
	if !ok {
		return nil, fmt.Errorf("workload: there is none called %q", name)
	}
	e, err := newEnv(name, o)
	if err != nil {
		return nil, err
	}
	return mk(e), nil
}

const (
	defaultTimeout = 5 * time.Second
	defaultHost    = "127.0.0.1"
	defaultBatch   = 20
	maxBatch       = 1000
)

// env is what the parts of one workload share. The workloads embed it.
type env struct {
	name string
	o    Options
	rec  *history.Recorder

	mu       sync.Mutex
	accounts []Account
	closers  []func() error
	content  func() string // of certificates, made when it is first needed
}

func newEnv(name string, o Options) (*env, error) {
	if o.Target == nil || len(o.Target.Nodes()) == 0 {
		return nil, errors.New("workload: Options needs a target with nodes")
	}
	if o.Host == "" {
		o.Host = defaultHost
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Batch <= 0 {
		o.Batch = defaultBatch
	}
	o.Batch = min(o.Batch, maxBatch)
	rec, err := history.Create(o.Dir, name, o.Clock)
	if err != nil {
		return nil, fmt.Errorf("workload %s: %w", name, err)
	}
	return &env{name: name, o: o, rec: rec}, nil
}

// Name implements Workload.
func (e *env) Name() string { return e.name }

// Accounts implements Workload.
func (e *env) Accounts() []Account {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.accounts)
}

// Finish implements Workload for those that have nothing to put in order first.
func (e *env) Finish(ctx context.Context) error { return e.settled(ctx) }

// settled waits until nothing is owed to the accounts of the workload, so that
// what is owed after it is what the cluster lost sight of.
func (e *env) settled(ctx context.Context) error {
	for _, a := range e.Accounts() {
		c := e.client("settled-"+a.ID, 0, false, a)
		for {
			ans := c.send(ctx, request{method: http.MethodGet, path: statsPath})
			var got struct {
				Total struct {
					Backlog int64 `json:"backlog"`
				} `json:"total"`
			}
			if ans.decode(&got) && got.Total.Backlog == 0 {
				break
			}
			if !pause(ctx, drainEvery) {
				return fmt.Errorf("account %s: %d deliveries: %w", a.ID, got.Total.Backlog, ErrBacklog)
			}
		}
	}
	return nil
}

// Close implements Workload. Receivers end before the history does.
func (e *env) Close() error {
	e.mu.Lock()
	closers := slices.Clone(e.closers)
	e.mu.Unlock()
	var errs []error
	for _, c := range slices.Backward(closers) {
		errs = append(errs, c())
	}
	if err := errors.Join(append(errs, e.rec.Close())...); err != nil {
		return fmt.Errorf("workload %s: %w", e.name, err)
	}
	return nil
}

func (e *env) onClose(f func() error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closers = append(e.closers, f)
}

// rate is Options.Rate or what is usual for the workload.
func (e *env) rate(usual float64) float64 {
	if e.o.Rate > 0 {
		return e.o.Rate
	}
	return usual
}

// every is the interval of one of n clients that make rate operations per
// second together.
func every(n int, rate float64) time.Duration {
	return time.Duration(float64(n) / rate * float64(time.Second))
}

// makeAccount makes an account with a key. Nothing is at fault yet, but an
// election may be on, so it is tried again.
func (e *env) makeAccount(ctx context.Context, id string, channels ...string) (Account, error) {
	c := e.client("account-"+id, 0, false, e.admin())
	a := Account{ID: id, Channels: channels}
	err := c.insist(ctx, func() answer {
		ans := c.change(ctx, history.AccountCreate, id, history.Config{Account: adminAccount})
		if ans.code == codeExists {
			ans.outcome = history.OK // by the try before, whose answer was lost
		}
		return ans
	})
	if err != nil {
		return a, fmt.Errorf("make account %s: %w", id, err)
	}
	err = c.insist(ctx, func() answer {
		var ans answer
		a.Key, _, ans = c.createKey(ctx, id, "main")
		return ans
	})
	if err != nil {
		return a, fmt.Errorf("make a key of account %s: %w", id, err)
	}
	// A node that has not applied the key yet refuses it.
	if err := e.settle(ctx, a); err != nil {
		return a, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.accounts = append(e.accounts, a)
	return a, nil
}

// admin is the account of Options.AdminKey.
func (e *env) admin() Account { return Account{ID: adminAccount, Key: e.o.AdminKey} }

// all runs the functions side by side and waits for them.
func all(fs ...func()) {
	var wg sync.WaitGroup
	for _, f := range fs {
		wg.Go(f)
	}
	wg.Wait()
}

// newHTTP makes a client's own connections: a client that waits for a node
// that does not answer must not hold up another.
func newHTTP(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
