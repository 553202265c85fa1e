package demo

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/belfry/fsm/model"
)

// fakeNode answers as much of the API as the demo uses, and delivers what is
// posted to the webhooks of the profiles. It stands for a node process.
type fakeNode struct {
	tb    testing.TB
	spec  NodeSpec
	world *world
	srv   *http.Server
	done  chan struct{}
	once  sync.Once
}

// world is the state that the fake nodes share.
type world struct {
	mu       sync.Mutex
	nodes    []*fakeNode
	security map[string]map[string]any
	profiles map[string]map[string]any
	subs     map[string]map[string]any
	keys     map[string]bool
	// corrupt makes signatures of this setting wrong.
	corrupt string
	// dead nodes end at once.
	dead bool
	// deaf nodes do not end when they are asked to.
	deaf bool
	// mute nodes deliver nothing.
	mute bool
}

func newWorld() *world {
	return &world{security: map[string]map[string]any{}, profiles: map[string]map[string]any{}, subs: map[string]map[string]any{}, keys: map[string]bool{}}
}

func (w *world) launcher(tb testing.TB) Launcher {
	tb.Helper()
	return func(s NodeSpec) (Process, error) {
		n := &fakeNode{tb: tb, spec: s, world: w, done: make(chan struct{})}
		w.mu.Lock()
		w.nodes = append(w.nodes, n)
		for _, e := range s.Env {
			w.keys[e] = true
		}
		w.mu.Unlock()
		if err := os.WriteFile(s.Log, []byte("a line of the log\n"), 0o600); err != nil {
			return nil, err
		}
		if w.dead {
			n.end()
			return n, nil
		}
		l, err := net.Listen("tcp", n.arg("--api-addr"))
		if err != nil {
			return nil, err
		}
		n.srv = &http.Server{Handler: n, ReadHeaderTimeout: time.Second}
		go func() { _ = n.srv.Serve(l) }()
		return n, nil
	}
}

func (n *fakeNode) arg(name string) string {
	for i, a := range n.spec.Args {
		if a == name {
			return n.spec.Args[i+1]
		}
	}
	n.tb.Errorf("%s was started without %s", n.spec.ID, name)
	return ""
}

func (n *fakeNode) end() {
	n.once.Do(func() {
		if n.srv != nil {
			_ = n.srv.Close()
		}
		close(n.done)
	})
}

func (n *fakeNode) PID() int              { return 4711 }
func (n *fakeNode) Done() <-chan struct{} { return n.done }
func (n *fakeNode) Kill() error           { n.end(); return nil }
func (n *fakeNode) Interrupt() error {
	if !n.world.deaf {
		n.end()
	}
	return nil
}

func (n *fakeNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	if r.URL.Path != "/readyz" && !n.world.keys["BELFRY_ADMIN_KEY="+strings.TrimPrefix(r.Header.Get("Authorization"), "App ")] {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case r.URL.Path == "/readyz":
	case r.URL.Path == "/cluster/1/nodes":
		var rows []string
		for i, o := range n.world.nodes {
			role := "FOLLOWER"
			if i == 0 {
				role = "LEADER"
			}
			rows = append(rows, fmt.Sprintf(`{"nodeId":%q,"role":%q,"voter":true,"live":true}`, o.spec.ID, role))
		}
		fmt.Fprintf(w, `{"nodes":[%s]}`, strings.Join(rows, ","))
	case r.URL.Path == "/events/1/events":
		n.publish(w, body)
	case len(parts) >= 3 && parts[0] == "subscriptions":
		n.object(w, r.Method, parts[2:], body)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (n *fakeNode) object(w http.ResponseWriter, method string, path []string, body []byte) {
	if method == http.MethodGet {
		_, _ = io.WriteString(w, `{"results":[]}`)
		return
	}
	var in map[string]any
	if err := json.Unmarshal(body, &in); err != nil {
		n.tb.Errorf("%s: %v", path, err)
	}
	table, idName := n.world.security, "authId"
	switch path[0] {
	case "profiles":
		table, idName = n.world.profiles, "profileId"
	case "subscription":
		table, idName = n.world.subs, "subscriptionId"
		in["channel"] = path[1]
		path = path[1:]
	}
	if method == http.MethodPut {
		table[path[1]] = in
		return
	}
	id, _ := in[idName].(string)
	if table[id] != nil {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"requestError":{"serviceException":{"text":"exists"}}}`)
		return
	}
	table[id] = in
	w.WriteHeader(http.StatusCreated)
}

func (n *fakeNode) publish(w http.ResponseWriter, body []byte) {
	var es []struct {
		EventID, Channel, Event string
		Payload                 json.RawMessage
	}
	if err := json.Unmarshal(body, &es); err != nil {
		n.tb.Error(err)
	}
	var receipts []string
	for _, e := range es {
		deliveries := 0
		for _, sub := range n.world.subs {
			if sub["channel"] != e.Channel || !strings.Contains(fmt.Sprint(sub["events"]), e.Event) {
				continue
			}
			deliveries++
			profile := n.world.profiles[sub["profile"].(map[string]any)["profileId"].(string)]
			out := []byte(e.Payload)
			if model.Batches(e.Channel, e.Event) {
				out = fmt.Appendf(nil, `{"results":[%s]}`, e.Payload)
			}
			if !n.world.mute {
				go n.deliver(profile, e.EventID, out)
			}
		}
		receipts = append(receipts, fmt.Sprintf(`{"eventId":%q,"status":"ACCEPTED","deliveries":%d}`, e.EventID, deliveries))
	}
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, `{"events":[%s]}`, strings.Join(receipts, ","))
}

func (n *fakeNode) deliver(profile map[string]any, id string, body []byte) {
	authID := profile["security"].(map[string]any)["authId"].(string)
	n.world.mu.Lock()
	cred := n.world.security[authID]["credentials"].(map[string]any)
	corrupt := n.world.corrupt == authID
	n.world.mu.Unlock()
	req, err := http.NewRequest(http.MethodPost, profile["webhook"].(map[string]any)["notifyUrl"].(string), bytes.NewReader(body))
	if err != nil {
		n.tb.Error(err)
		return
	}
	ts := strconv.FormatInt(time.Now().Unix(), 10)
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", ts)
	if user, ok := cred["username"].(string); ok {
		req.SetBasicAuth(user, cred["password"].(string))
	} else {
		secret := []byte(cred["secretKey"].(string))
		if corrupt {
			secret = []byte("another secret")
		}
		name, h := "SHA256", sha256.New
		if cred["algorithm"] == "HMAC_SHA_512" {
			name, h = "SHA512", sha512.New
		}
		req.Header.Set("X-Ib-Hmac-Signature", name+"="+hex.EncodeToString(mac(h, secret, body)))
		req.Header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac(sha256.New, secret, fmt.Appendf(nil, "%s.%s.%s", id, ts, body))))
	}
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err == nil {
		_ = resp.Body.Close()
	}
}

func mac(h func() hash.Hash, key, body []byte) []byte {
	m := hmac.New(h, key)
	m.Write(body)
	return m.Sum(nil)
}

// freePort finds a base port whose neighbours are free too.
func freePort(tb testing.TB, nodes int) int {
	tb.Helper()
search:
	for range 100 {
		// Below the ports that systems hand out: another test that listens on
		// port 0 must not take one before the demo does.
		base := 10_000 + rand.IntN(20_000)
		for i := range nodes {
			for _, p := range []int{base + i, base + i + peerOffset} {
				l, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(p)))
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

// lockedBuffer is read while the demo writes it; grown tells of each write.
type lockedBuffer struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	grown chan struct{}
}

func newBuffer() *lockedBuffer { return &lockedBuffer{grown: make(chan struct{}, 1)} }

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.grown <- struct{}{}:
	default:
	}
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// waitFor returns when the output holds text.
func (b *lockedBuffer) waitFor(tb testing.TB, text string) {
	tb.Helper()
	deadline := time.After(20 * time.Second)
	for !strings.Contains(b.String(), text) {
		select {
		case <-b.grown:
		case <-deadline:
			tb.Fatalf("%q was not printed:\n%s", text, b)
		}
	}
}

// The whole demo, twice in the same directory, with one node and three.
func TestRun(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		dir := filepath.Join(t.TempDir(), "data")
		port := freePort(t, nodes)
		for range 2 {
			w, out := newWorld(), newBuffer()
			if err := Run(t.Context(), Options{Launch: w.launcher(t), Nodes: nodes, Port: port, DataDir: dir, Exit: true, Out: out}); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			ss, err := Samples()
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(out.String(), "✓"); n != len(ss) {
				t.Errorf("%d arrivals printed for %d samples:\n%s", n, len(ss), out)
			}
			for _, want := range []string{
				"✓ SMS ", "✓ EMAIL ", "✓ WHATSAPP ", "✓ VIBER ", "✓ RCS ", "✓ MMS ", "✓ VOICE_VIDEO ", "✓ BLOCKLIST ", "✓ REGISTRATION ", "✓ MOBILE_PUSH ",
				"HMAC SHA 256 ok, Standard Webhooks ok", "HMAC SHA 512 ok", "Basic ok", fmt.Sprintf("All %d events have arrived, and every signature was verified.", len(ss)), "stopped",
			} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is not printed:\n%s", want, out)
				}
			}
			if len(w.nodes) != nodes {
				t.Errorf("%d nodes were started, want %d", len(w.nodes), nodes)
			}
			for _, n := range w.nodes {
				select {
				case <-n.done:
				default:
					t.Errorf("%s is still running", n.spec.ID)
				}
				if strings.Contains(strings.Join(n.spec.Args, " "), "demo-") {
					t.Errorf("the key is on the command line: %q", n.spec.Args)
				}
			}
		}
	}
}

// It stays up, prints what to try, shows what the user posts, and ends with
// its context.
func TestRun_staysUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w, out := newWorld(), newBuffer()
	dir := filepath.Join(t.TempDir(), "data")
	port := freePort(t, 3)
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{Launch: w.launcher(t), Nodes: 3, Port: port, DataDir: dir, Out: out, Command: "bin/belfry"})
	}()
	out.waitFor(t, "Ctrl-C ends it.")
	key, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	for _, want := range []string{
		"documentation  " + base + "/docs", "API key        " + strings.TrimSpace(string(key)), "kill -9 4711", "n1  leader",
		"bin/belfry serve --node-id n4", fmt.Sprintf("--api-addr 127.0.0.1:%d", port+3), base + "/events/1/events/hello-1",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not printed:\n%s", want, out)
		}
	}
	if n := strings.Count(out.String(), "  curl -s "); n != 3 {
		t.Errorf("%d lines to copy, want 3", n)
	}
	if strings.Contains(out.String(), "console  ") {
		t.Error("a console is announced that is not there")
	}
	req, err := http.NewRequest(http.MethodPost, base+"/events/1/events", strings.NewReader(`[{"eventId":"hello-1","channel":"SMS","event":"DELIVERY","payload":{"messageId":"hello-1"}}]`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "App "+strings.TrimSpace(string(key)))
	resp, err := http.DefaultClient.Do(req) //nolint:forbidigo // a test against its own fake
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	out.waitFor(t, `{"messageId":"hello-1"}`)
	_ = w.nodes[2].Kill()
	out.waitFor(t, "node n3 has ended")
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
}

func TestRun_failures(t *testing.T) {
	tests := []struct {
		name string
		set  func(*world)
		want string
	}{
		{"a node that does not start", func(w *world) { w.dead = true }, "a line of the log"},
		{"wrong signatures", func(w *world) { w.corrupt = "demo-hmac-512" }, "not arrived: "},
		{"nothing arrives", func(w *world) { w.mute = true }, "not arrived: "},
	}
	for _, tt := range tests {
		w, out := newWorld(), newBuffer()
		tt.set(w)
		err := Run(t.Context(), Options{
			Launch: w.launcher(t), Port: freePort(t, 1), DataDir: filepath.Join(t.TempDir(), "d"), Exit: true, Out: out, arriveTimeout: 300 * time.Millisecond,
		})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q\n%s", tt.name, err, tt.want, out)
		}
		if w.corrupt != "" && !strings.Contains(out.String(), "✗") {
			t.Errorf("%s: the refusal is not printed:\n%s", tt.name, out)
		}
	}
}

// A second signal does not wait for nodes that do not end.
func TestRun_fast(t *testing.T) {
	w, out := newWorld(), newBuffer()
	w.deaf = true
	fast := make(chan struct{})
	close(fast)
	begin := time.Now()
	if err := Run(t.Context(), Options{Launch: w.launcher(t), Port: freePort(t, 1), DataDir: filepath.Join(t.TempDir(), "d"), Exit: true, Out: out, Fast: fast}); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begin); d > stopTimeout/2 {
		t.Errorf("the end took %v", d)
	}
}

func TestRun_refuses(t *testing.T) {
	l, err := net.Listen("tcp", loopback+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	taken := l.Addr().(*net.TCPAddr).Port
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.txt"), []byte("years of work"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"taken port", Options{Port: taken}, fmt.Sprintf("cannot listen on 127.0.0.1:%d", taken)},
		{"taken port, advice", Options{Port: taken}, fmt.Sprintf("make run PORT=%d", taken+1000)},
		{"foreign directory", Options{Port: freePort(t, 1), DataDir: foreign}, "no demo made"},
		{"nodes at the limit plus one", Options{Nodes: MaxNodes + 1}, "--nodes must be between 1 and 5"},
		{"negative nodes", Options{Nodes: -1}, "--nodes must be"},
		{"port too large", Options{Port: 65535 - peerOffset - MaxNodes + 1}, "--port must be"},
	}
	for _, tt := range tests {
		if tt.o.DataDir == "" {
			tt.o.DataDir = t.TempDir()
		}
		tt.o.Launch = func(NodeSpec) (Process, error) { return nil, errors.New("launched") }
		err := Run(t.Context(), tt.o)
		if _, ok := errors.AsType[*UsageError](err); !ok || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	if b, err := os.ReadFile(filepath.Join(foreign, "thesis.txt")); err != nil || string(b) != "years of work" { // INV demo-1
		t.Errorf("the foreign file: %q, %v", b, err)
	}
}

func TestOpenDir(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "d")
	open := func(shape string, keep bool) (*dir, error) { return openDir(path, shape, keep) }
	d, err := open("nodes=1 port=1", false)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(path, "n1", "state")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open("nodes=1 port=1", false); err == nil || !strings.Contains(err.Error(), "in use by another demo") {
		t.Errorf("a second demo: %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the second demo removed data of the first: %v", err)
	}
	d.close()
	if d, err = open("nodes=1 port=1", true); err != nil {
		t.Fatal(err)
	}
	d.close()
	if _, err := os.Stat(file); err != nil {
		t.Errorf("keep: %v", err)
	}
	if _, err := open("nodes=3 port=1", true); err == nil || !strings.Contains(err.Error(), "nodes=1 port=1") {
		t.Errorf("keep with another shape: %v", err)
	}
	if d, err = open("nodes=3 port=1", false); err != nil {
		t.Fatal(err)
	}
	d.close()
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("fresh: the old data is still there: %v", err)
	}
}

// The launcher for real processes, with a program that every system has.
func TestProcesses(t *testing.T) {
	t.Setenv("BELFRY_JOIN", "10.0.0.1:1")
	t.Setenv("BELFRY_LOG_LEVEL", "debug")
	log := filepath.Join(t.TempDir(), "n1.log")
	p, err := Processes("/bin/sh")(NodeSpec{ID: "n1", Log: log, Env: []string{"BELFRY_ADMIN_KEY=k"}, Args: []string{"-c", "env | grep BELFRY_ | sort; exec cat < /dev/null"}})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if err := errors.Join(p.Interrupt(), p.Kill()); err != nil {
		t.Errorf("signals to an ended process: %v", err)
	}
	if b, err := os.ReadFile(log); err != nil || string(b) != "BELFRY_ADMIN_KEY=k\nBELFRY_LOG_LEVEL=debug\n" {
		t.Errorf("environment of the node: %q, %v", b, err)
	}
	if p, err = Processes("/bin/sh")(NodeSpec{ID: "n1", Log: log, Args: []string{"-c", "exec tail -f /dev/null"}}); err != nil {
		t.Fatal(err)
	}
	if err := p.Interrupt(); err != nil {
		t.Error(err)
	}
	<-p.Done()
	if _, err := Processes(filepath.Join(t.TempDir(), "none"))(NodeSpec{ID: "n1", Log: log}); err == nil {
		t.Error("a binary that is not there starts")
	}
}
