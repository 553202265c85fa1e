//go:build chaos

package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	nodes "example.com/belfry/chaos/process"
)

// adminKey is the first key of the clusters under test.
const adminKey = "chaos-admin-key-0123456789abcdef"

// belfry is built when the first test needs it.
var belfry nodes.Builder

func TestMain(m *testing.M) {
	m.Run() // its code becomes the exit code
	if err := belfry.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// process is one belfry node as a real process.
type process struct {
	tb   testing.TB
	id   string
	dir  string
	api  string
	peer string
	args []string
	cmd  *exec.Cmd
	done chan struct{}
	log  *lockedBuffer
}

// lockedBuffer keeps the output of a process for the report of a failure.
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

// freePort finds a port below those that systems hand out, so that nothing
// takes it while its process is down.
func freePort(tb testing.TB) string {
	tb.Helper()
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(20_000)))
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	tb.Fatal("no free port")
	return ""
}

// start runs the process; it may have run before on the same data directory.
func (p *process) start() {
	p.tb.Helper()
	path, err := belfry.Path(context.Background())
	if err != nil {
		p.tb.Fatal(err)
	}
	p.cmd = exec.Command(path, p.args...)
	p.cmd.Env = append(os.Environ(), "BELFRY_ADMIN_KEY="+adminKey, "BELFRY_LOG_LEVEL=info")
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.tb.Fatalf("start %s: %v", p.id, err)
	}
	done := make(chan struct{})
	p.done = done
	cmd := p.cmd
	go func() { _ = cmd.Wait(); close(done) }()
}

// kill ends the process at once, as a power switch would end the program, and
// returns when the kernel has let go of it.
func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.done
}

// probe asks for readiness.
var probe = &http.Client{Timeout: time.Second}

// ready polls the readiness page: outside the process there is no signal to
// wait for.
func (p *process) ready(ctx context.Context) {
	p.tb.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if resp, err := probe.Get("http://" + p.api + "/readyz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-ctx.Done():
			p.tb.Fatalf("%s was not ready in time; its output:\n%s", p.id, p.log)
		case <-p.done:
			p.tb.Fatalf("%s ended; its output:\n%s", p.id, p.log)
		case <-tick.C:
		}
	}
}

// pause stops the process where it is, and resume lets it go on: to itself it
// looks as if the clock had jumped.
func (p *process) pause()  { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *process) resume() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// memory reads figures of the process in KiB: what is resident, and what of it
// is its own rather than pages of files.
func (p *process) memory() (resident, own int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.tb.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		_, _ = fmt.Sscanf(line, "VmRSS: %d kB", &resident)
		_, _ = fmt.Sscanf(line, "RssAnon: %d kB", &own)
	}
	return resident, own
}

// cluster is some processes on loopback.
type cluster struct {
	tb    testing.TB
	nodes []*process
	http  *http.Client
}

func newCluster(tb testing.TB, n int, flags ...string) *cluster { //nolint:unparam // a number is a number
	tb.Helper()
	c := &cluster{tb: tb, http: &http.Client{Timeout: 5 * time.Second}}
	root := tb.TempDir()
	for i := range n {
		p := &process{
			tb: tb, id: fmt.Sprintf("n%d", i+1), api: freePort(tb), peer: freePort(tb), log: &lockedBuffer{},
		}
		p.dir = filepath.Join(root, p.id)
		p.args = []string{
			"serve", "--node-id", p.id, "--data-dir", p.dir, "--api-addr", p.api, "--peer-addr", p.peer, "--dev",
		}
		if i == 0 {
			p.args = append(p.args, "--bootstrap")
		} else {
			p.args = append(p.args, "--join", c.nodes[0].peer)
		}
		p.args = append(p.args, flags...)
		c.nodes = append(c.nodes, p)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, p := range c.nodes {
		p.start()
		p.ready(ctx)
	}
	tb.Cleanup(func() {
		for _, p := range c.nodes {
			p.kill()
		}
		if tb.Failed() {
			for _, p := range c.nodes {
				tb.Logf("output of %s:\n%s", p.id, tail(p.log.String(), 8<<10))
			}
		}
	})
	c.waitVoters(ctx, n)
	return c
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

type nodeRow struct {
	NodeID string `json:"nodeId"`
	Role   string `json:"role"`
	Voter  bool   `json:"voter"`
	Live   bool   `json:"live"`
}

// rows asks one node for the member list.
func (c *cluster) rows(p *process) ([]nodeRow, error) {
	var out struct {
		Nodes []nodeRow `json:"nodes"`
	}
	err := c.call(context.Background(), http.MethodGet, p.api, "/cluster/1/nodes", nil, &out)
	return out.Nodes, err
}

func (c *cluster) waitVoters(ctx context.Context, n int) {
	c.tb.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		rows, err := c.rows(c.nodes[0])
		voters := 0
		for _, r := range rows {
			if r.Voter && r.Live {
				voters++
			}
		}
		if err == nil && voters == n {
			return
		}
		select {
		case <-ctx.Done():
			c.tb.Fatalf("not %d live voters in time: %+v, %v", n, rows, err)
		case <-tick.C:
		}
	}
}

// leader returns the process that the living nodes call the leader.
func (c *cluster) leader(ctx context.Context) *process {
	c.tb.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, p := range c.nodes {
			rows, err := c.rows(p)
			if err != nil {
				continue
			}
			for _, r := range rows {
				if r.Role != "LEADER" {
					continue
				}
				for _, q := range c.nodes {
					if q.id == r.NodeID {
						return q
					}
				}
			}
		}
		select {
		case <-ctx.Done():
			c.tb.Fatal("no leader in time")
		case <-tick.C:
		}
	}
}

// call makes one request.
func (c *cluster) call(ctx context.Context, method, addr, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "App "+adminKey)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, b)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}
