// Package demo starts nodes and a webhook on loopback, posts sample events of
// many channels and prints what arrives with its signature checked. "make run"
// and "make cluster" are made of it. It talks to the nodes through their
// public API only.
package demo

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/belfry/cmd/internal/rest"
	"example.com/belfry/fsm/model"
)

const (
	// DefaultPort is the API port of the first node.
	DefaultPort = 8600
	// MaxNodes is how many nodes a demo can have.
	MaxNodes = 5

	loopback      = "127.0.0.1"
	peerOffset    = 100
	readyTimeout  = 30 * time.Second
	arriveTimeout = 30 * time.Second
	stopTimeout   = 35 * time.Second
	pollEvery     = 50 * time.Millisecond
)

// UsageError is something that the caller can change: a taken port, a
// directory that belongs to somebody else.
type UsageError struct{ msg string }

// Error says what to do.
func (e *UsageError) Error() string { return e.msg }

func usage(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// Options says what to show. Launch must be set.
type Options struct {
	Launch Launcher
	Nodes  int // 1 to MaxNodes; 0: 1
	// Port of the first node's API; the others follow, peers are 100 above.
	// 0: DefaultPort.
	Port int
	// DataDir holds the nodes' data and logs. Empty: data/run for one node,
	// data/cluster for several.
	DataDir string
	// Keep goes on with the data of the last time.
	Keep bool
	// Exit ends the demo when all events have arrived.
	Exit bool
	Out  io.Writer
	// Command is how the binary is called in the lines that are printed.
	Command string
	// Fast is closed when the end must not be graceful. nil: never.
	Fast <-chan struct{}

	// arriveTimeout is shorter in tests.
	arriveTimeout time.Duration
}

func (o *Options) fill() error {
	o.Nodes = cmp.Or(o.Nodes, 1)
	o.Port = cmp.Or(o.Port, DefaultPort)
	o.Command = cmp.Or(o.Command, "belfry")
	o.arriveTimeout = cmp.Or(o.arriveTimeout, arriveTimeout)
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.DataDir == "" {
		o.DataDir = filepath.Join("data", "run")
		if o.Nodes > 1 {
			o.DataDir = filepath.Join("data", "cluster")
		}
	}
	if o.Nodes < 1 || o.Nodes > MaxNodes {
		return usage("--nodes must be between 1 and %d", MaxNodes)
	}
	if o.Port < 1 || o.Port+peerOffset+MaxNodes > 65535 {
		return usage("--port must be between 1 and %d", 65535-peerOffset-MaxNodes)
	}
	return nil
}

// printer writes whole lines of several goroutines.
type printer struct {
	mu  sync.Mutex
	out io.Writer
}

func (p *printer) printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format+"\n", args...)
}

// node is one node of the demo.
type node struct {
	id, api, peer, dir, log string
	args                    []string
	proc                    Process
	rest                    *rest.Client
}

type show struct {
	o     Options
	out   *printer
	key   string
	nodes []*node
}

// Run shows the demo and returns when ctx ends, when a node of a single-node
// demo ends, or, with Exit, when all events have arrived.
func Run(ctx context.Context, o Options) error {
	if err := o.fill(); err != nil {
		return err
	}
	d := &show{o: o, out: &printer{out: o.Out}}
	d.plan()
	if err := d.checkPorts(ctx); err != nil {
		return err
	}
	dir, err := openDir(o.DataDir, fmt.Sprintf("nodes=%d port=%d", o.Nodes, o.Port), o.Keep)
	if err != nil {
		return err
	}
	defer dir.close()
	if d.key, err = adminKey(filepath.Join(o.DataDir, keyFile)); err != nil {
		return err
	}
	ss, err := Samples()
	if err != nil {
		return err
	}
	settings := newSettings()
	byChannel := assign(channels(ss), settings)
	hook, err := newReceiver(d.out, byChannel)
	if err != nil {
		return err
	}
	defer hook.close()
	defer d.stop()
	err = d.start(ctx)
	if err == nil {
		err = d.tell(ctx, hook, settings, byChannel, ss)
	}
	if ctx.Err() != nil { // Ctrl-C: that something was cut short is no failure
		return nil
	}
	if err != nil || o.Exit {
		return err
	}
	d.outro(ctx)
	return d.wait(ctx)
}

// plan lays out ids, addresses and command lines.
func (d *show) plan() {
	for i := range d.o.Nodes {
		d.nodes = append(d.nodes, d.planNode(i))
	}
}

func (d *show) planNode(i int) *node {
	id := "n" + strconv.Itoa(i+1)
	n := &node{
		id:   id,
		api:  net.JoinHostPort(loopback, strconv.Itoa(d.o.Port+i)),
		peer: net.JoinHostPort(loopback, strconv.Itoa(d.o.Port+peerOffset+i)),
		dir:  filepath.Join(d.o.DataDir, id),
		log:  filepath.Join(d.o.DataDir, id+".log"),
	}
	n.args = []string{"serve", "--node-id", id, "--data-dir", n.dir, "--api-addr", n.api, "--peer-addr", n.peer, "--dev"}
	if i == 0 {
		n.args = append(n.args, "--bootstrap")
	} else {
		n.args = append(n.args, "--join", d.nodes[0].peer)
	}
	return n
}

// checkPorts finds out early, and with the right advice, what the nodes would
// complain about in their logs.
func (d *show) checkPorts(ctx context.Context) error {
	var lc net.ListenConfig
	for _, n := range d.nodes {
		for _, addr := range []string{n.api, n.peer} {
			l, err := lc.Listen(ctx, "tcp", addr)
			if err != nil {
				target := "run"
				if d.o.Nodes > 1 {
					target = "cluster"
				}
				other := d.o.Port + 1000
				return usage("cannot listen on %s (%v): stop the program that has it, or choose other ports with \"make %s PORT=%d\" (%s demo --port %d)",
					addr, cause(err), target, other, d.o.Command, other)
			}
			if err := l.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

func cause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

const keyFile = "admin.key"

// adminKey reads the key of the last time, or makes one.
func adminKey(path string) (string, error) {
	b, err := os.ReadFile(path) //nolint:gosec // a file of the demo's own directory
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	key := "demo-" + rand.Text()
	return key, os.WriteFile(path, []byte(key+"\n"), 0o600)
}

// start launches the nodes one after the other and returns when all of them
// are ready and, in a cluster, vote.
func (d *show) start(ctx context.Context) error {
	d.out.printf("belfry demo: %s on loopback, data in %s", plural(len(d.nodes), "node"), d.o.DataDir)
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for _, n := range d.nodes {
		var err error
		if n.rest, err = rest.New(rest.Options{URL: "http://" + n.api, Key: model.NewSecret(d.key), Timeout: 10 * time.Second}); err != nil {
			return err
		}
		if n.proc, err = d.o.Launch(NodeSpec{ID: n.id, Args: n.args, Env: []string{"BELFRY_ADMIN_KEY=" + d.key}, Log: n.log}); err != nil {
			return err
		}
		err = d.poll(ctx, n, func() error {
			_, err := n.rest.Raw(ctx, http.MethodGet, "/readyz", "", nil)
			return err
		})
		if err != nil {
			return fmt.Errorf("node %s is not ready: %w", n.id, err)
		}
		d.out.printf("  node %s is ready on http://%s (process %d, log %s)", n.id, n.api, n.proc.PID(), n.log)
	}
	if len(d.nodes) == 1 {
		return nil
	}
	err := d.poll(ctx, d.nodes[0], func() error {
		rows, err := d.members(ctx)
		if err != nil {
			return err
		}
		votes := 0
		for _, r := range rows {
			if r.Voter && r.Live {
				votes++
			}
		}
		if votes != len(d.nodes) {
			return fmt.Errorf("%d of %d nodes vote", votes, len(d.nodes))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("the cluster is not complete: %w", err)
	}
	return nil
}

// poll asks until ask returns nil, the node ends, or ctx does.
func (d *show) poll(ctx context.Context, n *node, ask func() error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-n.proc.Done():
			return fmt.Errorf("it ended; the last lines of %s:\n%s", n.log, tail(n.log))
		case <-ctx.Done():
			return fmt.Errorf("%w; see %s", err, n.log)
		case <-tick.C:
		}
	}
}

// tail is the end of a log.
func tail(path string) string {
	const most = 2 << 10
	b, err := os.ReadFile(path) //nolint:gosec // a file of the demo's own directory
	if err != nil {
		return err.Error()
	}
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return strings.TrimSpace(string(b))
}

type member struct {
	NodeID string `json:"nodeId"`
	Role   string `json:"role"`
	Voter  bool   `json:"voter"`
	Live   bool   `json:"live"`
}

func (d *show) members(ctx context.Context) ([]member, error) {
	var out struct {
		Nodes []member `json:"nodes"`
	}
	err := d.nodes[0].rest.JSON(ctx, http.MethodGet, "/cluster/1/nodes", nil, &out)
	return out.Nodes, err
}

// tell configures the account, posts the samples and waits for them.
func (d *show) tell(ctx context.Context, hook *receiver, settings []setting, byChannel map[string]setting, ss []Sample) error {
	if err := configure(ctx, d.nodes[0].rest, hook.url, settings, byChannel, ss); err != nil {
		return err
	}
	d.out.printf("  %s on as many channels made, for a webhook on %s", plural(len(byChannel), "subscription"), hook.url)
	clients := make([]*rest.Client, len(d.nodes))
	for i, n := range d.nodes {
		clients[i] = n.rest
		// A node matches with what it has applied, which may be some
		// milliseconds behind. After a read that is current, it is not.
		if err := n.rest.JSON(ctx, http.MethodGet, "/subscriptions/1/profiles?size=1", nil, nil); err != nil {
			return err
		}
	}
	d.out.printf("  %s posted; this is what arrives:\n", plural(len(ss), "event"))
	if err := post(ctx, clients, hook, ss); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, d.o.arriveTimeout)
	defer cancel()
	select {
	case <-hook.complete:
	case <-ctx.Done():
		return fmt.Errorf("not arrived: %s; see the logs in %s", strings.Join(hook.missing(), ", "), d.o.DataDir)
	}
	if n := hook.failures(); n > 0 {
		return fmt.Errorf("%s did not verify", plural(n, "request"))
	}
	d.out.printf("\nAll %d events have arrived, and every signature was verified.\n", len(ss))
	return nil
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// outro says what to try next.
func (d *show) outro(ctx context.Context) {
	base := "http://" + d.nodes[0].api
	d.out.printf("API            %s", base)
	d.out.printf("documentation  %s/docs", base)
	if _, err := d.nodes[0].rest.Raw(ctx, http.MethodGet, "/console/sign-in", "", nil); err == nil {
		d.out.printf("console        %s/console/  (sign in with the API key)", base)
	}
	d.out.printf("API key        %s  (also in %s)", d.key, filepath.Join(d.o.DataDir, keyFile))
	if len(d.nodes) > 1 {
		d.clusterHints(ctx)
	}
	auth := "-H 'Authorization: App " + d.key + "'"
	d.out.printf("\nLines to copy:")
	d.out.printf("  curl -s %s %s/subscriptions/1/subscription/SMS", auth, base)
	d.out.printf("  curl -s %s -H 'Content-Type: application/json' %s/events/1/events \\\n    -d '{\"eventId\":\"hello-1\",\"channel\":\"SMS\",\"event\":\"DELIVERY\",\"payload\":{\"messageId\":\"hello-1\"}}'", auth, base)
	d.out.printf("  curl -s %s %s/events/1/events/hello-1", auth, base)
	d.out.printf("\nWhat you post is printed here when it arrives. Ctrl-C ends it.")
}

// clusterHints says how to kill a node, bring it back and add one.
func (d *show) clusterHints(ctx context.Context) {
	roles := map[string]string{}
	if rows, err := d.members(ctx); err == nil {
		for _, r := range rows {
			roles[r.NodeID] = strings.ToLower(r.Role)
		}
	}
	d.out.printf("\nNodes:")
	for _, n := range d.nodes {
		d.out.printf("  %s  %-8s  http://%s  process %d", n.id, roles[n.id], n.api, n.proc.PID())
	}
	last := d.nodes[len(d.nodes)-1]
	d.out.printf("\nKill a node, also the leader, and post to another one; nothing that was accepted is lost:")
	d.out.printf("  kill -9 %d", last.proc.PID())
	d.out.printf("Bring it back; it catches up:")
	d.out.printf("  %s", d.commandLine(last))
	if len(d.nodes) < MaxNodes {
		d.out.printf("Add a node:")
		d.out.printf("  %s", d.commandLine(d.planNode(len(d.nodes))))
	}
	d.out.printf("Nodes that you start by hand are yours to stop.")
}

func (d *show) commandLine(n *node) string { return d.o.Command + " " + strings.Join(n.args, " ") }

// wait stays up until ctx ends, or no node is left.
func (d *show) wait(ctx context.Context) error {
	gone := make(chan *node)
	for _, n := range d.nodes {
		go func() {
			select {
			case <-n.proc.Done():
				select {
				case gone <- n:
				case <-ctx.Done():
				}
			case <-ctx.Done():
			}
		}()
	}
	for left := len(d.nodes); left > 0; {
		select {
		case <-ctx.Done():
			return nil
		case n := <-gone:
			left--
			d.out.printf("  node %s has ended", n.id)
		}
	}
	return errors.New("every node has ended; see the logs in " + d.o.DataDir)
}

// stop ends the nodes, gracefully unless Fast is closed or time runs out.
func (d *show) stop() {
	var wg sync.WaitGroup
	for _, n := range d.nodes {
		if n.proc == nil {
			continue
		}
		wg.Go(func() { d.stopNode(n) })
	}
	wg.Wait()
	d.out.printf("stopped")
}

func (d *show) stopNode(n *node) {
	if err := n.proc.Interrupt(); err == nil {
		timeout := time.NewTimer(stopTimeout)
		defer timeout.Stop()
		select {
		case <-n.proc.Done():
			return
		case <-d.o.Fast:
		case <-timeout.C:
			d.out.printf("  node %s does not end and is killed", n.id)
		}
	}
	if err := n.proc.Kill(); err != nil {
		d.out.printf("  node %s (process %d) cannot be killed: %v", n.id, n.proc.PID(), err)
		return
	}
	<-n.proc.Done()
}
