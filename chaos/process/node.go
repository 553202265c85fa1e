package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Node is one node of a Cluster: a process that comes and goes, and what it
// keeps. It is safe for concurrent use.
type Node struct {
	c    *Cluster
	id   string
	dir  string // data directory
	log  string // path
	disk *Disk  // nil: a plain directory
	host *host  // nil: it is in the network of this process

	api, peer           string // where the process listens
	apiProxy, peerProxy string // what it advertises

	mu  sync.Mutex // held while the process is started or ended
	now sync.Mutex // guards run
	run *run
}

// run is one life of the process.
type run struct {
	cmd    *exec.Cmd
	done   chan struct{} // closed when the kernel has let go of it
	asked  bool          // its end was asked for
	paused bool
}

// ID is the node id: n1, n2, ….
func (n *Node) ID() string { return n.id }

// URL is the base URL of the API for clients. It leads through Net.
func (n *Node) URL() string { return "http://" + n.apiProxy }

// DirectURL is the base URL of the API past Net, for those who watch.
func (n *Node) DirectURL() string { return "http://" + n.api }

// Dir is the data directory. Nothing but the node may use it while it runs.
func (n *Node) Dir() string { return n.dir }

// Disk is what the data directory is on; nil without Options.Lossy.
func (n *Node) Disk() *Disk { return n.disk }

// LogPath is the file with the output of all lives of the process.
func (n *Node) LogPath() string { return n.log }

// LogSize is how long that file is, in bytes; 0 when there is none yet.
func (n *Node) LogSize() int64 {
	st, err := os.Stat(n.log)
	if err != nil {
		return 0
	}
	return st.Size()
}

// LogFrom is what was logged since LogSize was from, at most the last 64 KiB.
func (n *Node) LogFrom(from int64) string {
	const most = 64 << 10
	f, err := os.Open(n.log)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	size := n.LogSize()
	from = max(from, size-most, 0)
	b := make([]byte, max(0, size-from))
	k, _ := f.ReadAt(b, from)
	return string(b[:k])
}

// Start runs the process on the data there is. A node without data joins the
// others, except for the first of a new cluster. It is an error to start a
// node that is alive.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.Alive() {
		return fmt.Errorf("start %s: it is running", n.id)
	}
	out, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", n.id, err)
	}
	defer func() { _ = out.Close() }()             // the process has its own
	cmd := exec.Command(n.c.o.Binary, n.args()...) //nolint:gosec,noctx // the binary under test; it ends with Kill or Close
	cmd.Env = append(os.Environ(), "BELFRY_ADMIN_KEY="+n.c.o.AdminKey, "BELFRY_LOG_FORMAT=json")
	cmd.Env = append(cmd.Env, n.c.o.Env...)
	cmd.Stdout, cmd.Stderr = out, out
	r := &run{cmd: cmd, done: make(chan struct{})}
	n.now.Lock() // the network asks for the pid as soon as it dials
	defer n.now.Unlock()
	start := cmd.Start
	if n.host != nil {
		start = func() error { return n.host.start(cmd) }
	}
	if err := start(); err != nil {
		return fmt.Errorf("start %s: %w", n.id, err)
	}
	n.run = r
	n.c.net.up(n, r.done)
	go n.wait(r)
	return nil
}

func (n *Node) args() []string {
	n.c.mu.Lock()
	first := !n.c.formed && n.c.nodes[0] == n
	nodes := slices.Clone(n.c.nodes)
	n.c.mu.Unlock()
	args := []string{
		"serve", "--node-id", n.id, "--data-dir", n.dir,
		"--api-addr", n.api, "--api-advertise", n.apiProxy, "--peer-addr", n.peer, "--peer-advertise", n.peerProxy,
	}
	if n.c.ids == nil {
		args = append(args, "--dev")
	} else {
		args = append(args, n.c.ids.flags(n.id)...)
		args = append(args, "--egress-allow", spaceNetwork)
	}
	if first {
		args = append(args, "--bootstrap")
	} else {
		for _, m := range nodes {
			if m != n {
				args = append(args, "--join", m.peerProxy)
			}
		}
	}
	args = append(args, n.c.o.Knobs.Flags()...)
	args = append(args, n.c.o.Flags...)
	return append(args, n.c.o.NodeFlags[n.id]...)
}

// wait notes the end of one life.
func (n *Node) wait(r *run) {
	err := r.cmd.Wait()
	_ = n.c.net.down(n) // its error is kept, see Net.close
	n.now.Lock()
	asked := r.asked
	n.now.Unlock()
	if !asked {
		status := "exit status 0"
		if err != nil {
			status = err.Error()
		}
		n.c.crashed(Crash{Node: n.id, At: time.Now(), Status: status, Output: n.LogFrom(n.LogSize() - 8<<10)})
	}
	close(r.done)
}

// current is the present or last life; nil before the first.
func (n *Node) current() *run {
	n.now.Lock()
	defer n.now.Unlock()
	return n.run
}

// Alive reports whether the process exists, paused or not.
func (n *Node) Alive() bool {
	r := n.current()
	if r == nil {
		return false
	}
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// Pid is the id of the process, 0 when there is none.
func (n *Node) Pid() int {
	if !n.Alive() {
		return 0
	}
	return n.current().cmd.Process.Pid
}

// Done is closed when the present process has ended; it is closed already when
// there is none.
func (n *Node) Done() <-chan struct{} {
	if r := n.current(); r != nil {
		return r.done
	}
	done := make(chan struct{})
	close(done)
	return done
}

// ExpectExit says that the present process may end by itself: its end is no Crash.
func (n *Node) ExpectExit() {
	n.now.Lock()
	defer n.now.Unlock()
	if n.run != nil {
		n.run.asked = true
	}
}

// Kill ends the process as kill -9 does and returns when the kernel has let go
// of it. It does nothing to a dead one.
func (n *Node) Kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.kill()
}

func (n *Node) kill() {
	r := n.current()
	if r == nil {
		return
	}
	n.ExpectExit()
	_ = r.cmd.Process.Kill() // an error says that it is over
	<-r.done
}

// Stop asks the process to stop gracefully and waits for it. When ctx ends
// first the process is killed and an error returned, as when it exits with
// another status than 0.
func (n *Node) Stop(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.current()
	if r == nil || !n.Alive() {
		return nil
	}
	n.ExpectExit()
	n.Resume()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", n.id, err)
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		n.kill()
		return fmt.Errorf("stop %s: %w; it was killed", n.id, ctx.Err())
	}
	if !r.cmd.ProcessState.Success() {
		return fmt.Errorf("stop %s: %s", n.id, r.cmd.ProcessState)
	}
	return nil
}

// Pause stops the process where it is, as SIGSTOP does, and Resume lets it go
// on: to itself it looks as if the clock had jumped. Both do nothing to a dead
// one.
func (n *Node) Pause() { n.setPaused(true) }

// Resume is the opposite of Pause.
func (n *Node) Resume() { n.setPaused(false) }

func (n *Node) setPaused(paused bool) {
	n.now.Lock()
	defer n.now.Unlock()
	if n.run == nil {
		return
	}
	n.run.paused = paused
	signalPause(n.run.cmd.Process, paused)
}

// Paused reports whether the process is alive and paused.
func (n *Node) Paused() bool {
	if !n.Alive() {
		return false
	}
	n.now.Lock()
	defer n.now.Unlock()
	return n.run.paused
}

// Wipe empties the data directory, as a new disk is empty. The node must not
// be alive.
func (n *Node) Wipe() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.Alive() {
		return fmt.Errorf("wipe %s: it is running", n.id)
	}
	entries, err := os.ReadDir(n.dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(n.dir, e.Name())))
	}
	if err != nil {
		return fmt.Errorf("wipe %s: %w", n.id, err)
	}
	return nil
}

// PowerFail ends the process and takes away what it had not synced; see
// Disk.PowerFail. Without Options.Lossy it is an error.
func (n *Node) PowerFail(rng *rand.Rand) (lost int, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.disk == nil {
		return 0, fmt.Errorf("power failure of %s: its disk keeps everything", n.id)
	}
	n.kill()
	if lost, err = n.disk.PowerFail(rng); err != nil {
		return lost, fmt.Errorf("power failure of %s: %w", n.id, err)
	}
	return lost, nil
}

// remove takes away the data of a dead node for good.
func (n *Node) remove() error {
	if n.disk != nil {
		return n.disk.Close()
	}
	return os.RemoveAll(n.dir)
}
