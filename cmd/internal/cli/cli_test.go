package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write the golden files of testdata/help")

// fakeNode is a node without sockets and disks.
type fakeNode struct {
	o        NodeOptions
	startErr error
	stopErr  error
	key      string
	done     chan error
	started  chan struct{} // closed by Start
	stopping chan struct{} // closed by Stop
	// block makes Start or Stop wait for its context; hang makes Stop wait
	// for release, whatever its context says.
	blockStart, blockStop bool
	hang                  chan struct{}
	// deadline is what Stop's context allowed.
	deadline time.Duration
}

func newFakeNode() *fakeNode {
	return &fakeNode{done: make(chan error, 1), started: make(chan struct{}), stopping: make(chan struct{})}
}

func (n *fakeNode) Start(ctx context.Context) error {
	close(n.started)
	if n.blockStart {
		<-ctx.Done()
		return ctx.Err()
	}
	return n.startErr
}

func (n *fakeNode) Stop(ctx context.Context) error {
	if d, ok := ctx.Deadline(); ok {
		n.deadline = time.Until(d)
	}
	close(n.stopping)
	if n.blockStop {
		<-ctx.Done()
		return ctx.Err()
	}
	if n.hang != nil {
		<-n.hang
	}
	return n.stopErr
}

func (n *fakeNode) APIAddr() string              { return "127.0.0.1:8600" }
func (n *fakeNode) PeerAddr() string             { return "127.0.0.1:8700" }
func (n *fakeNode) AdminAddr() string            { return n.o.Config.AdminAddr }
func (n *fakeNode) BootstrapKey() (string, bool) { return n.key, n.key != "" }
func (n *fakeNode) Done() <-chan error           { return n.done }

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// outcome is what a command printed and returned.
type outcome struct {
	code     int
	out, err string
}

func run(tb testing.TB, stdin string, environ []string, args ...string) outcome {
	tb.Helper()
	var out, errOut lockedBuffer
	code := Run(tb.Context(), Options{
		NewNode: func(NodeOptions) (Node, error) { return nil, errors.New("no node is expected here") },
		CheckBackup: func(path string) (uint64, error) {
			b, err := os.ReadFile(path)
			if err == nil && string(b) != "whole" {
				err = errors.New("it ends early")
			}
			return 7, err
		},
		Restore: func(r RestoreOptions) (uint64, error) {
			if r.DataDir == "full" {
				return 0, errors.New("--data-dir full is not empty")
			}
			if want := (RestoreOptions{"b", "n1", "d", "h:1"}); r != want {
				tb.Errorf("restore %+v, want %+v", r, want)
			}
			return 7, nil
		},
		Version: "v1.2.3", Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errOut, Environ: environ,
	}, args)
	return outcome{code, out.String(), errOut.String()}
}

// expect checks code and the one line on standard error.
func (o outcome) expect(tb testing.TB, code int, message string) {
	tb.Helper()
	if o.code != code || !strings.Contains(o.err, message) {
		tb.Errorf("exit %d, %q; want %d, %q", o.code, o.err, code, message)
	}
	if code != ExitOK && (strings.Count(o.err, "\n") != 1 || !strings.HasPrefix(o.err, "belfry: ")) {
		tb.Errorf("an error must be one line: %q", o.err)
	}
}

// The help of every command is what the golden files say.
func TestHelp_golden(t *testing.T) {
	t.Parallel()
	o := Options{}
	o.fill()
	found := map[string]bool{}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		if c.Name() == "help" || strings.HasPrefix(c.CommandPath(), "belfry completion") {
			return
		}
		name := strings.ReplaceAll(c.CommandPath(), " ", "_") + ".txt"
		found[name] = true
		args := append(strings.Fields(c.CommandPath())[1:], "--help")
		got := run(t, "", nil, args...)
		got.expect(t, ExitOK, "")
		golden := filepath.Join("testdata", "help", name)
		if *update {
			if err := os.WriteFile(golden, []byte(got.out), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got.out != string(want) {
			t.Errorf("%s differs from what is printed; look at it and run the test with -update:\n%s", golden, got.out)
		}
	}
	walk(command(&o))
	files, err := filepath.Glob("testdata/help/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !found[filepath.Base(f)] {
			t.Errorf("%s belongs to no command", f)
		}
	}
}

// INV cli-2: secrets come from the environment and from files.
func TestFlags_takeNoSecrets(t *testing.T) {
	t.Parallel()
	o := Options{}
	o.fill()
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		for _, name := range []string{"admin-key", "key", "secret", "password", "token", "api-key"} {
			if c.Flags().Lookup(name) != nil {
				t.Errorf("%s has the flag --%s", c.CommandPath(), name)
			}
		}
	}
	walk(command(&o))
}

func TestRun_usage(t *testing.T) {
	t.Parallel()
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"serv"}, `"serv" is not a command of "belfry"; did you mean serve?`},
		{[]string{"serve", "extra"}, `"belfry serve" takes no argument, got "extra"`},
		{[]string{"serve", "--nope"}, `unknown flag: --nope; see "belfry serve --help"`},
		{[]string{"config", "chek"}, `"chek" is not a command of "belfry config"`},
		{[]string{"serve"}, "--node-id is required"},
		{[]string{"serve", "--lease-ttl", "soon"}, "must be a duration"},
		{[]string{"serve", "--config", "/does/not/exist"}, "no such file"},
		{[]string{"keys", "create"}, "--out is required"},
		{[]string{"send"}, "give either --file"},
		{[]string{"verify-signature"}, "set BELFRY_WEBHOOK_SECRET"},
		{[]string{"demo", "--nodes", "6"}, "--nodes must be between 1 and 5"},
	}
	for _, tt := range tests {
		run(t, "", nil, tt.args...).expect(t, ExitUsage, tt.want)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	got := run(t, "", nil, "version")
	got.expect(t, ExitOK, "")
	if !strings.HasPrefix(got.out, "belfry v1.2.3 ") {
		t.Errorf("got %q", got.out)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if got := run(t, "", nil, "completion", shell); got.code != ExitOK || !strings.Contains(got.out, "belfry") {
			t.Errorf("%s: exit %d, %d bytes", shell, got.code, len(got.out))
		}
	}
}

// serving is a serve command that runs in a goroutine.
type serving struct {
	node     *fakeNode
	out, err lockedBuffer
	stop     context.CancelFunc
	fast     chan struct{}
	code     chan int
}

func startServe(tb testing.TB, n *fakeNode, args ...string) *serving {
	tb.Helper()
	s := &serving{node: n, fast: make(chan struct{}), code: make(chan int, 1)}
	ctx, cancel := context.WithCancel(tb.Context())
	s.stop = cancel
	tb.Cleanup(cancel)
	all := append([]string{"serve", "--node-id", "n1", "--data-dir", filepath.Join(tb.TempDir(), "d"), "--bootstrap", "--dev"}, args...)
	go func() {
		s.code <- Run(ctx, Options{
			NewNode: func(o NodeOptions) (Node, error) { n.o = o; return n, nil },
			Version: "v1.2.3", Stdout: &s.out, Stderr: &s.err, Fast: s.fast,
			Environ: []string{"BELFRY_LOG_LEVEL=warn", "BELFRY_NODE_IDD=x"},
		}, all)
	}()
	return s
}

func TestServe_graceful(t *testing.T) {
	t.Parallel()
	n := newFakeNode()
	n.key = "blf_made_at_bootstrap"
	s := startServe(t, n, "--drain-timeout", "7s", "--admin-addr", "127.0.0.1:8650")
	<-n.started
	s.stop()
	if code := <-s.code; code != ExitOK {
		t.Fatalf("exit %d: %s", code, s.err.String())
	}
	for _, want := range []string{"node n1 is serving", "http://127.0.0.1:8600", "peers  127.0.0.1:8700", "admin  http://127.0.0.1:8650"} {
		if !strings.Contains(s.out.String(), want) {
			t.Errorf("%q is not announced:\n%s", want, s.out.String())
		}
	}
	if c := strings.Count(s.out.String()+s.err.String(), n.key); c != 1 {
		t.Errorf("the bootstrap key is printed %d times, want once", c)
	}
	if n.deadline > 7*time.Second || n.deadline < 6*time.Second {
		t.Errorf("Stop had %s, want the drain timeout of 7s", n.deadline)
	}
	if n.o.Version != "v1.2.3" || n.o.Config.NodeID != "n1" || !n.o.Config.Dev || n.o.Logger == nil {
		t.Errorf("the node was made of %+v", n.o)
	}
	if !strings.Contains(s.err.String(), "BELFRY_NODE_IDD sets nothing") {
		t.Errorf("no warning of the unknown variable: %s", s.err.String())
	}
}

// The drain timeout bounds a stop that does not come to an end by itself.
func TestServe_drainTimeout(t *testing.T) {
	t.Parallel()
	n := newFakeNode()
	n.blockStop = true
	s := startServe(t, n, "--drain-timeout", "1s")
	<-n.started
	s.stop()
	if code := <-s.code; code != ExitFailed || !strings.Contains(s.err.String(), "deadline exceeded") {
		t.Errorf("exit %d: %s", code, s.err.String())
	}
}

// INV cli-1.
func TestServe_secondSignal(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*fakeNode){
		"a node that heeds its context": func(n *fakeNode) { n.blockStop = true },
		"a node that hangs":             func(n *fakeNode) { n.hang = make(chan struct{}); t.Cleanup(func() { close(n.hang) }) },
	} {
		n := newFakeNode()
		set(n)
		s := startServe(t, n)
		<-n.started
		s.stop()
		<-n.stopping
		begin := time.Now()
		close(s.fast)
		code := <-s.code
		if d := time.Since(begin); code != ExitFailed || d > fastStop+time.Second || !strings.Contains(s.err.String(), "second signal") {
			t.Errorf("%s: exit %d after %s: %s", name, code, d, s.err.String())
		}
	}
}

// A signal during a start that does not come to an end stops it.
func TestServe_stopDuringStart(t *testing.T) {
	t.Parallel()
	n := newFakeNode()
	n.blockStart = true
	s := startServe(t, n)
	<-n.started
	s.stop()
	if code := <-s.code; code != ExitFailed || !strings.Contains(s.err.String(), "canceled") {
		t.Errorf("exit %d: %s", code, s.err.String())
	}
}

func TestServe_partEnds(t *testing.T) {
	t.Parallel()
	n := newFakeNode()
	s := startServe(t, n)
	n.done <- errors.New("cluster: the disk is gone")
	if code := <-s.code; code != ExitFailed || !strings.Contains(s.err.String(), "the disk is gone") {
		t.Errorf("exit %d: %s", code, s.err.String())
	}
	select {
	case <-n.stopping:
	default:
		t.Error("the node was not stopped")
	}
}

func TestServe_portTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, taken := net.Listen("tcp", l.Addr().String())
	if !errors.Is(taken, syscall.EADDRINUSE) {
		t.Fatal(taken)
	}
	for _, flagName := range []string{"--api-addr", "--peer-addr", "--admin-addr"} {
		n := newFakeNode()
		n.startErr = errors.Join(errors.New("open the cluster"), taken)
		s := startServe(t, n, flagName, l.Addr().String())
		code := <-s.code
		want := l.Addr().String() + " is taken by another program: stop that, or choose another address with " + flagName
		if code != ExitUsage || !strings.Contains(s.err.String(), want) {
			t.Errorf("exit %d: %q, want %q", code, s.err.String(), want)
		}
	}
}

func TestServe_firstStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	args := []string{"serve", "--node-id", "n1", "--data-dir", dir, "--dev"}
	run(t, "", nil, args...).expect(t, ExitUsage, "add --bootstrap for the first node of a new cluster, or --join")
	run(t, "", nil, "serve", "--node-id", "n1", "--data-dir", filepath.Join(dir, "none"), "--dev").expect(t, ExitUsage, "is empty, so this is a first start")
	if err := os.WriteFile(filepath.Join(dir, "state"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "", nil, args...).expect(t, ExitFailed, "no node is expected here")
	run(t, "", nil, "serve", "--node-id", "n1", "--data-dir", filepath.Join(dir, "state"), "--dev").expect(t, ExitUsage, "--data-dir")
}
