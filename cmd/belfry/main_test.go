package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the table of docs/metrics.md")

var binary string

func TestMain(m *testing.M) { os.Exit(withBinary(m)) }

// withBinary builds belfry once for all tests.
func withBinary(m *testing.M) int {
	dir, err := os.MkdirTemp("", "belfry-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "belfry")
	build := exec.Command("go", "build", "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build belfry: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// buffer collects output; grown tells of each write.
type buffer struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	grown chan struct{}
}

func newBuffer() *buffer { return &buffer{grown: make(chan struct{}, 1)} }

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.grown <- struct{}{}:
	default:
	}
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// process is a running belfry.
type process struct {
	cmd  *exec.Cmd
	out  *buffer
	done chan error
}

func start(tb testing.TB, dir string, environ []string, args ...string) *process {
	tb.Helper()
	p := &process{cmd: exec.Command(binary, args...), out: newBuffer(), done: make(chan error, 1)}
	p.cmd.Dir, p.cmd.Env = dir, append(os.Environ(), environ...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	tb.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

// waitFor returns when the output holds text.
func (p *process) waitFor(tb testing.TB, text string) {
	tb.Helper()
	deadline := time.After(time.Minute)
	for !strings.Contains(p.out.String(), text) {
		select {
		case <-p.out.grown:
		case err := <-p.done:
			tb.Fatalf("ended with %v before %q was printed:\n%s", err, text, p.out)
		case <-deadline:
			tb.Fatalf("%q was not printed:\n%s", text, p.out)
		}
	}
}

// exit waits for the end and returns the exit code.
func (p *process) exit(tb testing.TB) int {
	tb.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(time.Minute):
		tb.Fatalf("did not end:\n%s", p.out)
		return -1
	}
}

// freeBase finds an API port with n free neighbours and free peer ports above.
func freeBase(tb testing.TB, n int) int {
	tb.Helper()
search:
	for range 100 {
		// Below the ports that systems hand out: another test that listens on
		// port 0 must not take one before belfry does.
		base := 10_000 + rand.IntN(20_000)
		for i := range n {
			for _, p := range []int{base + i, base + i + 100} {
				l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
				if err != nil {
					continue search
				}
				_ = l.Close()
			}
		}
		return base
	}
	tb.Fatal("no free ports")
	return 0
}

func get(tb testing.TB, url, key string) (int, string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "App "+key)
	}
	resp, err := (&http.Client{}).Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// The command lines that tools depend on, with a graceful end by SIGTERM.
func TestServe_contract(t *testing.T) {
	t.Parallel()
	dir, base := t.TempDir(), freeBase(t, 2)
	addr := func(i int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(base+i)) }
	env := []string{"BELFRY_ADMIN_KEY=contract-test-key-0123"}
	n1 := start(t, dir, env, "serve", "--node-id", "n1", "--data-dir", "n1", "--api-addr", addr(0), "--peer-addr", addr(100), "--bootstrap", "--dev")
	n1.waitFor(t, "node n1 is serving")
	n2 := start(t, dir, env, "serve", "--node-id", "n2", "--data-dir", "n2", "--api-addr", addr(1), "--peer-addr", addr(101), "--join", addr(100), "--dev")
	n2.waitFor(t, "node n2 is serving")
	if code, body := get(t, "http://"+addr(1)+"/cluster/1/nodes", "contract-test-key-0123"); code != http.StatusOK || !strings.Contains(body, `"nodeId":"n1"`) {
		t.Errorf("nodes: %d %s", code, body)
	}
	for _, page := range []string{"/livez", "/openapi.yaml", "/docs", "/metrics"} {
		if code, body := get(t, "http://"+addr(0)+page, "contract-test-key-0123"); code != http.StatusOK || body == "" {
			t.Errorf("%s: %d %.100s", page, code, body)
		}
	}
	for _, p := range []*process{n2, n1} {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if code := p.exit(t); code != 0 {
			t.Errorf("exit %d after SIGTERM:\n%s", code, p.out)
		}
		if d := time.Since(begin); d > 30*time.Second {
			t.Errorf("the graceful stop took %s", d)
		}
	}
	if strings.Contains(n1.out.String()+n2.out.String(), "contract-test-key") {
		t.Error("the admin key is printed")
	}
}

// Without BELFRY_ADMIN_KEY a key is made, shown once, and works.
func TestServe_bootstrapKey(t *testing.T) {
	t.Parallel()
	dir, base := t.TempDir(), freeBase(t, 1)
	api := fmt.Sprintf("127.0.0.1:%d", base)
	args := []string{"serve", "--node-id", "n1", "--data-dir", "n1", "--api-addr", api, "--peer-addr", fmt.Sprintf("127.0.0.1:%d", base+100), "--bootstrap", "--dev"}
	p := start(t, dir, []string{"BELFRY_ADMIN_KEY="}, args...)
	p.waitFor(t, "shown once")
	p.waitFor(t, "blf_")
	_, rest, _ := strings.Cut(p.out.String(), "blf_")
	key := "blf_" + strings.Fields(rest)[0]
	if code, body := get(t, "http://"+api+"/subscriptions/1/profiles", key); code != http.StatusOK {
		t.Errorf("with the key that was shown: %d %s", code, body)
	}
	_ = p.cmd.Process.Signal(syscall.SIGINT)
	if code := p.exit(t); code != 0 {
		t.Fatalf("exit %d after SIGINT:\n%s", code, p.out)
	}
	again := start(t, dir, []string{"BELFRY_ADMIN_KEY="}, args...)
	again.waitFor(t, "is serving")
	if strings.Contains(again.out.String(), "shown once") {
		t.Error("the second start made another key")
	}
	if code, body := get(t, "http://"+api+"/subscriptions/1/profiles", key); code != http.StatusOK {
		t.Errorf("after the restart: %d %s", code, body)
	}
	_ = again.cmd.Process.Signal(syscall.SIGTERM)
	_ = again.exit(t)
}

func TestServe_refuses(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	taken, free := l.Addr().String(), fmt.Sprintf("127.0.0.1:%d", freeBase(t, 1))
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"api port", []string{"--api-addr", taken, "--peer-addr", free}, taken + " is taken by another program: stop that, or choose another address with --api-addr"},
		{"peer port", []string{"--api-addr", free, "--peer-addr", taken}, taken + " is taken by another program: stop that, or choose another address with --peer-addr"},
		{"public address", []string{"--api-addr", "0.0.0.0:8600"}, "--api-addr must be a loopback address"},
	}
	for _, tt := range tests {
		p := start(t, t.TempDir(), nil, append([]string{"serve", "--node-id", "n1", "--data-dir", "d", "--bootstrap", "--dev"}, tt.args...)...)
		if code := p.exit(t); code != 2 || !strings.Contains(p.out.String(), tt.want) {
			t.Errorf("%s: exit %d, want 2 and %q:\n%s", tt.name, code, tt.want, p.out)
		}
	}
}

// What "make run" and "make cluster" do, twice in the same directory.
func TestDemo(t *testing.T) {
	t.Parallel()
	for _, nodes := range []string{"1", "3"} {
		dir, port := t.TempDir(), strconv.Itoa(freeBase(t, 3))
		for i := range 2 {
			begin := time.Now()
			p := start(t, dir, nil, "demo", "--nodes", nodes, "--port", port, "--exit-after-demo")
			if code := p.exit(t); code != 0 || !strings.Contains(p.out.String(), "every signature was verified") {
				t.Fatalf("%s nodes, run %d: exit %d\n%s", nodes, i+1, code, p.out)
			}
			if d := time.Since(begin); d > time.Minute {
				t.Errorf("%s nodes, run %d took %s", nodes, i+1, d)
			}
		}
	}
}

// The demo goes on with the data of the last time, and Ctrl-C ends it cleanly.
func TestDemo_keepAndInterrupt(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), strconv.Itoa(freeBase(t, 1))
	for _, keep := range []string{"--keep=false", "--keep=true"} {
		p := start(t, dir, nil, "demo", "--port", port, keep)
		p.waitFor(t, "Ctrl-C ends it.")
		for _, want := range []string{"documentation  http://127.0.0.1:" + port + "/docs", "API key        demo-", "curl -s"} {
			if !strings.Contains(p.out.String(), want) {
				t.Errorf("%q is not printed:\n%s", want, p.out)
			}
		}
		_ = p.cmd.Process.Signal(syscall.SIGINT)
		if code := p.exit(t); code != 0 || !strings.HasSuffix(p.out.String(), "stopped\n") {
			t.Errorf("exit %d after Ctrl-C:\n%s", code, p.out)
		}
	}
}

// docs/metrics.md lists exactly the metrics of a running node.
func TestDocs_metrics(t *testing.T) {
	t.Parallel()
	dir, base := t.TempDir(), freeBase(t, 1)
	api := fmt.Sprintf("127.0.0.1:%d", base)
	const key = "metrics-test-key-0123"
	p := start(t, dir, []string{"BELFRY_ADMIN_KEY=" + key}, "serve", "--node-id", "n1", "--data-dir", "n1", "--api-addr", api, "--peer-addr", fmt.Sprintf("127.0.0.1:%d", base+100), "--bootstrap", "--dev")
	p.waitFor(t, "is serving")
	code, page := get(t, "http://"+api+"/metrics", key)
	if code != http.StatusOK {
		t.Fatalf("/metrics: %d %s", code, page)
	}
	const begin = "| metric | type | meaning |\n| --- | --- | --- |\n"
	want := begin + metricRows(page)
	const path = "../../docs/metrics.md"
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text, got, _ := strings.Cut(string(doc), begin)
	if *update {
		if err := os.WriteFile(path, []byte(text+want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if begin+got != want {
		t.Errorf("docs/metrics.md is not current: run \"go test ./cmd/belfry -run TestDocs_metrics -update\"; the node has\n%s", want)
	}
}

// metricRows makes table rows of the belfry_ metrics of a page.
func metricRows(page string) string {
	help, rows := map[string]string{}, []string{}
	for line := range strings.Lines(page) {
		f := strings.SplitN(strings.TrimSpace(line), " ", 4)
		if len(f) < 4 || f[0] != "#" || !strings.HasPrefix(f[2], "belfry_") {
			continue
		}
		switch f[1] {
		case "HELP":
			help[f[2]] = f[3]
		case "TYPE":
			rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |\n", f[2], f[3], strings.ReplaceAll(help[f[2]], "|", `\|`)))
		}
	}
	slices.Sort(rows)
	return strings.Join(rows, "")
}
