// Package transport carries everything that nodes say to each other over one
// TCP port per node: raft traffic of any number of groups and peer calls. It
// does not know what the bytes mean, who leads, or who is a member: addresses
// of members come from a function that the owner gives.
package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"example.com/belfry/fsm/model"
)

// The limits of the peer port.
const (
	// MaxBody is how many bytes a call or its reply may have, by default.
	MaxBody = 16 << 20
	// MaxGroupName is how long the name of a raft group may be.
	MaxGroupName = 64
	// MaxServerID is how long the id of a raft server may be.
	MaxServerID = 128
	// MaxPending is how many accepted connections may be in their handshake
	// at once; further ones are closed.
	MaxPending = 256
	// MaxConnsPerPeer is how many connections carry calls to one peer.
	MaxConnsPerPeer = 256
	// HandshakeTimeout bounds TLS and the bytes that say what a connection
	// is for.
	HandshakeTimeout = 5 * time.Second
	// DialTimeout bounds one attempt to connect for a call.
	DialTimeout = 2 * time.Second
	// CallTimeout bounds a call whose context has no deadline.
	CallTimeout = 10 * time.Second

	maxHeaderBytes = 16 << 10
	acceptQueue    = 64
	idleTimeout    = 2 * time.Minute
)

// The first byte of a connection says what it carries. Numbers are for ever.
const (
	kindRaft byte = 1
	kindCall byte = 2
)

// Network makes raw connections: the operating system's, or one in memory for
// virtual time.
type Network interface {
	Listen(addr string) (net.Listener, error)
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// TCP is the Network of the operating system.
type TCP struct{}

// Listen listens on a TCP address.
func (TCP) Listen(addr string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(context.Background(), "tcp", addr)
}

// Dial connects to a TCP address.
func (TCP) Dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAlive: 15 * time.Second}
	return d.DialContext(ctx, "tcp", addr)
}

// Handler answers one method of peer calls. from is the node id the caller
// gives; with TLS the caller has proved that it is a peer, not which one. A
// *model.Error reaches the caller as it is, any other error as CodeInternal.
type Handler func(ctx context.Context, from string, body []byte) (reply []byte, err error)

// Caller calls a method of another node, found by its id. Errors are
// *model.Error: what the handler returned, CodeUnavailable when the request
// provably did not leave this node, CodeUnknownOutcome when it may have been
// carried out. A call is never repeated once it may have arrived.
type Caller interface {
	Call(ctx context.Context, nodeID, method string, body []byte) (reply []byte, err error)
}

// Options configures a Transport. NodeID, Listen and Resolve are required.
type Options struct {
	NodeID string
	// ServerID is the raft identity of this node. Raft streams that are meant
	// for another one are refused.
	ServerID string
	// Listen is the address to bind; port 0 picks one.
	Listen string
	// Advertise is the address peers dial; default: the bound address.
	Advertise string
	// Groups are the names of the raft groups on this port.
	Groups []string
	// TLS nil means plaintext.
	TLS *TLS
	// Resolve gives the peer address of a node. It must not block.
	Resolve func(nodeID string) (addr string, ok bool)
	// Network defaults to TCP.
	Network Network
	// MaxBody defaults to MaxBody bytes.
	MaxBody int64
	Logger  hclog.Logger
	// Observe, when set, is told the outcome of every call.
	Observe func(code model.Code)
}

func (o *Options) validate() error {
	if o.NodeID == "" || o.Listen == "" || o.Resolve == nil {
		return errors.New("transport: NodeID, Listen and Resolve are required")
	}
	for _, g := range o.Groups {
		if g == "" || len(g) > MaxGroupName {
			return fmt.Errorf("transport: group name %q must have 1 to %d bytes", g, MaxGroupName)
		}
	}
	if len(o.ServerID) > MaxServerID {
		return fmt.Errorf("transport: server id %q is longer than %d bytes", o.ServerID, MaxServerID)
	}
	if o.Network == nil {
		o.Network = TCP{}
	}
	if o.MaxBody == 0 {
		o.MaxBody = MaxBody
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Observe == nil {
		o.Observe = func(model.Code) {}
	}
	return nil
}

// Transport is one node's end of the peer network. It is safe for concurrent
// use.
type Transport struct {
	o         Options
	log       hclog.Logger
	ln        net.Listener
	addr      string
	serverTLS *tls.Config
	clientTLS *tls.Config
	groups    map[string]*listener
	calls     *listener
	pending   chan struct{}
	server    *http.Server
	pooled    *http.Transport
	fresh     *http.Transport
	ctx       context.Context //nolint:containedctx // ends with Close; it bounds handshakes and handlers
	cancel    context.CancelFunc
	wg        sync.WaitGroup

	mu       sync.Mutex
	handlers map[string]Handler
	conns    map[net.Conn]struct{}
	closed   bool
}

var _ Caller = (*Transport)(nil)

// Open binds the listener and serves it until Close.
func Open(o Options) (*Transport, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	t := &Transport{
		o: o, log: o.Logger, groups: map[string]*listener{},
		pending: make(chan struct{}, MaxPending), handlers: map[string]Handler{}, conns: map[net.Conn]struct{}{},
	}
	if o.TLS != nil {
		var err error
		if t.serverTLS, t.clientTLS, err = o.TLS.load(); err != nil {
			return nil, err
		}
	}
	ln, err := o.Network.Listen(o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for peers on %s: %w", o.Listen, err)
	}
	t.ln, t.addr = ln, o.Advertise
	if t.addr == "" {
		t.addr = ln.Addr().String()
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	for _, g := range o.Groups {
		t.groups[g] = newListener(address(t.addr))
	}
	t.calls = newListener(address(t.addr))
	t.pooled = t.newHTTP(false)
	t.fresh = t.newHTTP(true)
	t.server = &http.Server{
		Handler: http.HandlerFunc(t.serve), ReadHeaderTimeout: HandshakeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, BaseContext: func(net.Listener) context.Context { return t.ctx },
		ErrorLog: t.log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	t.wg.Go(t.accept)
	t.wg.Go(func() {
		if err := t.server.Serve(t.calls); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			t.log.Error("peer calls are no longer served", "err", err)
		}
	})
	return t, nil
}

// Addr is the address peers reach this node at.
func (t *Transport) Addr() string { return t.addr }

// Close ends the listener, every connection and the contexts of handlers, and
// waits for handlers and goroutines.
func (t *Transport) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	conns := make([]net.Conn, 0, len(t.conns))
	for c := range t.conns {
		conns = append(conns, c)
	}
	t.mu.Unlock()
	t.cancel()
	err := t.ln.Close()
	for _, g := range t.groups {
		_ = g.Close()
	}
	_ = t.calls.Close()
	for _, c := range conns {
		_ = c.Close()
	}
	_ = t.server.Close()
	t.pooled.CloseIdleConnections()
	t.fresh.CloseIdleConnections()
	t.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (t *Transport) accept() {
	for {
		c, err := t.ln.Accept()
		if err != nil {
			select {
			case <-t.ctx.Done():
				return
			case <-time.After(50 * time.Millisecond): // for example no file descriptor left
				t.log.Warn("cannot accept a peer connection", "err", err)
				continue
			}
		}
		select {
		case t.pending <- struct{}{}:
		default:
			t.log.Warn("too many peer connections in handshake", "limit", MaxPending)
			_ = c.Close()
			continue
		}
		t.wg.Go(func() {
			defer func() { <-t.pending }()
			t.route(c)
		})
	}
}

// route makes the handshake of one accepted connection and hands it to what
// it is for. Whatever is wrong with it closes it and nothing else.
func (t *Transport) route(raw net.Conn) {
	c := t.track(raw)
	if c == nil {
		return
	}
	ok := false
	defer func() {
		if !ok {
			_ = c.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(t.ctx, HandshakeTimeout)
	defer cancel()
	if err := c.SetDeadline(time.Now().Add(HandshakeTimeout)); err != nil {
		return
	}
	var conn net.Conn = c
	if t.serverTLS != nil {
		tc := tls.Server(c, t.serverTLS)
		if err := tc.HandshakeContext(ctx); err != nil {
			t.log.Warn("refused a peer connection", "remote", c.RemoteAddr().String(), "err", err)
			return
		}
		conn = tc
	}
	kind, group, target, err := readPrefix(conn)
	if err != nil {
		t.log.Debug("refused a peer connection", "remote", c.RemoteAddr().String(), "err", err)
		return
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return
	}
	ln := t.calls
	if kind == kindRaft {
		if ln = t.groups[group]; ln == nil {
			t.log.Warn("a peer asked for a raft group this node does not have", "group", group)
			return
		}
		// INV transport-1: raft knows servers by address when it sends; a node
		// that lost its disk must not be taken for what it was before.
		if target != t.o.ServerID {
			t.log.Debug("a peer asked for another server at this address", "group", group, "want", target, "have", t.o.ServerID)
			return
		}
	}
	ok = ln.give(t.ctx, conn)
}

// readPrefix reads what a connection is for: the kind, and for raft the name
// of the group and the id of the server it is meant for, each after its length.
func readPrefix(c net.Conn) (kind byte, group, target string, err error) {
	var b [1]byte
	if err = readFull(c, b[:]); err != nil {
		return 0, "", "", err
	}
	switch kind = b[0]; kind {
	case kindCall:
		return kind, "", "", nil
	case kindRaft:
		if group, err = readString(c, MaxGroupName); err != nil {
			return 0, "", "", fmt.Errorf("group name: %w", err)
		}
		if target, err = readString(c, MaxServerID); err != nil {
			return 0, "", "", fmt.Errorf("server id: %w", err)
		}
		return kind, group, target, nil
	default:
		return 0, "", "", fmt.Errorf("unknown kind of connection %#x", kind)
	}
}

func readString(c net.Conn, limit int) (string, error) {
	var n [1]byte
	if err := readFull(c, n[:]); err != nil {
		return "", err
	}
	if int(n[0]) > limit {
		return "", fmt.Errorf("%d bytes are over the limit of %d", n[0], limit)
	}
	b := make([]byte, n[0])
	err := readFull(c, b)
	return string(b), err
}

// readFull is io.ReadFull without its io.ErrUnexpectedEOF.
func readFull(c net.Conn, b []byte) error {
	for n := 0; n < len(b); {
		m, err := c.Read(b[n:])
		if n += m; n < len(b) && err != nil {
			return err
		}
	}
	return nil
}

// dial connects to addr and says what the connection is for.
func (t *Transport) dial(ctx context.Context, addr string, prefix []byte) (net.Conn, error) {
	raw, err := t.o.Network.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	c := t.track(raw)
	if c == nil {
		return nil, net.ErrClosed
	}
	var conn net.Conn = c
	if t.clientTLS != nil {
		cfg := t.clientTLS
		if cfg.ServerName == "" {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				_ = c.Close()
				return nil, fmt.Errorf("peer address %q: %w", addr, err)
			}
			cfg = cfg.Clone()
			cfg.ServerName = host
		}
		tc := tls.Client(c, cfg)
		if err := tc.HandshakeContext(ctx); err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("handshake with peer %s: %w", addr, err)
		}
		conn = tc
	}
	if d, ok := ctx.Deadline(); ok {
		_ = conn.SetWriteDeadline(d)
	}
	if _, err := conn.Write(prefix); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("greet peer %s: %w", addr, err)
	}
	return conn, conn.SetWriteDeadline(time.Time{})
}

// Raft gives the stream layer of one group. Closing it ends only the group.
func (t *Transport) Raft(group string) (raft.StreamLayer, error) {
	ln, ok := t.groups[group]
	if !ok {
		return nil, fmt.Errorf("transport: no raft group %q", group)
	}
	return &stream{listener: ln, t: t, prefix: append([]byte{kindRaft, byte(len(group))}, group...)}, nil //nolint:gosec // MaxGroupName bounds it
}

type stream struct {
	*listener
	t      *Transport
	prefix []byte
}

// RaftAddress is an address for Dial that only the given server accepts.
func RaftAddress(serverID, addr string) string { return serverID + "@" + addr }

// Dial connects to the same group of another node; addr is what RaftAddress
// gives.
func (s *stream) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if closed(s.done) {
		return nil, net.ErrClosed
	}
	ctx, cancel := context.WithTimeout(s.t.ctx, timeout)
	defer cancel()
	target, host, ok := strings.Cut(string(addr), "@")
	if !ok || target == "" || len(target) > MaxServerID {
		return nil, fmt.Errorf("transport: %q does not name a server of 1 to %d bytes", addr, MaxServerID)
	}
	prefix := append(slices.Clone(s.prefix), byte(len(target))) //nolint:gosec // bounded above
	return s.t.dial(ctx, host, append(prefix, target...))
}
