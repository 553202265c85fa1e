package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"example.com/belfry/api"
	"example.com/belfry/api/console"
	"example.com/belfry/cluster"
	"example.com/belfry/cluster/transport"
	"example.com/belfry/dispatch"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/partition"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm"
	"example.com/belfry/fsm/model"
	"example.com/belfry/fsm/seal"
)

const (
	// handOverTimeout bounds moving partitions and leadership away at the stop.
	handOverTimeout = 3 * time.Second
	// upkeepTimeout bounds a change of the config that the node makes by itself.
	upkeepTimeout = 10 * time.Second
	// bootstrapTimeout bounds waiting for a leader at the first start.
	bootstrapTimeout = 30 * time.Second
	// adminHeaderTimeout is for the admin address, which only the operator
	// reaches.
	adminHeaderTimeout = 5 * time.Second
	// inFlightShare of the drain timeout is for requests in flight; the rest is
	// for settling, handing over and closing.
	inFlightShare = 3
)

// system is the actor of what the node does by itself.
var system = model.Actor{Name: "system"}

// closeListener closes a listener that its server may have closed already.
func closeListener(l net.Listener) func(context.Context) error {
	return func(context.Context) error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

// openCluster binds the API and admin addresses, which the other nodes are told
// or no webhook may reach, and opens the raft groups and the peer port.
func (n *Node) openCluster(ctx context.Context) error {
	l, err := listen(ctx, "--api-addr", n.cfg.APIAddr)
	if err != nil {
		return err
	}
	n.apiListener, n.apiAddr = l, l.Addr().String()
	n.closers.add("API listener", closeListener(l))
	if n.cfg.AdminAddr != "" {
		if n.adminListener, err = listen(ctx, "--admin-addr", n.cfg.AdminAddr); err != nil {
			return err
		}
		n.adminAddr = n.adminListener.Addr().String()
		n.closers.add("admin listener", closeListener(n.adminListener))
	}
	advertise := n.cfg.APIAdvertise
	if advertise == "" {
		advertise = n.apiAddr
	}
	o := cluster.Options{
		NodeID: n.cfg.NodeID, DataDir: n.cfg.DataDir, PeerListen: n.cfg.PeerAddr, PeerAdvertise: n.cfg.PeerAdvertise,
		APIAddress: advertise, Bootstrap: n.cfg.Bootstrap, Join: n.cfg.Join,
		Groups: []cluster.GroupSpec{
			{Name: groupConfig, FSM: n.store, Log: cluster.LogBolt, DurableFSM: true, SnapshotThreshold: uint64(n.cfg.SnapshotThreshold)}, //nolint:gosec // config bounds it
			{
				Name: groupEvents, FSM: n.outbox, Log: n.cfg.EventsLog, DurableFSM: true, Marks: true,
				SnapshotThreshold: uint64(min(n.cfg.SnapshotThreshold, marksEvery)), SnapshotInterval: markInterval, MaxAppend: eventsAppend, //nolint:gosec // config bounds it
			},
		},
		HeartbeatTimeout: n.cfg.HeartbeatTimeout, ElectionTimeout: n.cfg.ElectionTimeout, LeaseTTL: n.cfg.LeaseTTL,
		Quiesce: n.quiesce, Logger: n.log, Registerer: n.reg,
	}
	if n.cfg.PeerTLSCert != "" {
		o.TLS = &transport.TLS{CertFile: n.cfg.PeerTLSCert, KeyFile: n.cfg.PeerTLSKey, CAFile: n.cfg.PeerTLSCA}
	}
	if n.cluster, err = cluster.Open(ctx, o); err != nil {
		return err
	}
	n.closers.add("raft groups", func(context.Context) error { return n.cluster.Close() })
	n.members = members{n.cluster, n.ownership}
	duty, err := partition.NewDuty(partition.DutyOptions{
		Members: candidates{n.cluster}, Tables: n.ownership, Proposer: &n.tables,
		Changed: n.cluster.CandidatesChanged(), Logger: n.log, Registerer: n.reg,
	})
	if err != nil {
		return err
	}
	n.cluster.AddDuty(groupConfig, duty)
	n.cluster.AddDuty(groupConfig, &expiry{certificates: n.store, tell: n.notices.tell, log: n.log})
	upkeep, err := dispatch.NewUpkeep(dispatch.UpkeepOptions{
		Store: n.outbox, Proposer: n.cluster.Group(groupEvents), Logger: n.log,
		Retention: outbox.Retention{Age: n.cfg.DeadLetterAge, Bytes: int64(n.cfg.DeadLetterBytes), Count: n.cfg.MaxDeadLetters},
	})
	if err != nil {
		return err
	}
	n.cluster.AddDuty(groupEvents, upkeep)
	n.run("cluster", n.cluster.Run)
	return nil
}

// openKeys gets the master key ring and what is made of it.
func (n *Node) openKeys(ctx context.Context) error {
	group := n.cluster.Group(groupConfig)
	ring, err := masterKey(ctx, keyOptions{
		file: n.cfg.MasterKeyFile, dataDir: n.cfg.DataDir, dev: n.cfg.Dev, bootstrap: n.cfg.Bootstrap,
		fetch: func(ctx context.Context) ([]byte, error) { return fetchDevKey(ctx, n.cluster.Caller(), group.Leader) },
	})
	if err != nil {
		return err
	}
	if n.cfg.Dev {
		n.cluster.Handle(methodDevKey, func(context.Context, string, []byte) ([]byte, error) { return ring.Bytes(), nil })
	}
	n.ring = ring
	n.sealer = seal.NewSealer(ring, n.store.DataKey)
	n.resolver.opener = n.sealer
	n.writer = fsm.NewWriter(fsm.WriterOptions{Proposer: group, Sealer: n.sealer, Store: n.store, Now: time.Now, CatchUp: group.Linearize})
	n.tables.writer.Store(n.writer)
	return nil
}

// openDelivery starts what takes events in and what delivers them.
func (n *Node) openDelivery() (err error) {
	allow := make([]netip.Prefix, len(n.cfg.EgressAllow))
	for i, s := range n.cfg.EgressAllow {
		if allow[i], err = netip.ParsePrefix(s); err != nil {
			return fmt.Errorf("--egress-allow: %w", err)
		}
	}
	var own []netip.AddrPort
	for _, a := range []string{n.apiAddr, n.cluster.PeerAddr(), n.adminAddr} {
		if p, err := netip.ParseAddrPort(a); err == nil {
			own = append(own, p)
		}
	}
	if n.guard, err = webhook.NewGuard(webhook.GuardOptions{AllowPrivate: n.cfg.Dev, Allow: allow, Ports: n.cfg.EgressPorts, Deny: own}); err != nil {
		return err
	}
	names := &ownAddresses{advertised: n.members.advertised, lookup: net.DefaultResolver.LookupNetIP, log: n.log}
	n.guard.SetOwn(names.list)
	n.run("names of the nodes", names.run)
	if n.sender, err = webhook.NewSender(webhook.SenderOptions{
		Guard: n.guard, HMACHeader: n.cfg.HMACHeader, HMACEncoding: n.cfg.HMACEncoding, UserAgent: "belfry/" + n.version,
		OnRefreshToken: n.keepRefreshToken, Registerer: n.reg, Logger: n.log,
	}); err != nil {
		return err
	}
	n.closers.add("webhook connections", func(context.Context) error { return n.sender.Close() })

	group := n.cluster.Group(groupEvents)
	if n.publisher, err = dispatch.NewPublisher(dispatch.PublisherOptions{
		NodeID: n.cfg.NodeID, Index: n.index, Proposer: group, Outbox: n.outbox, IdempotencyWindow: n.cfg.IdempotencyWindow, Accepted: n.stats.Accepted,
		Staleness: n.cluster.StateAge, Tail: n.tail,
		Admission: dispatch.Admission{
			AccountRate: n.cfg.AccountEventRate, MaxAccountBacklog: n.cfg.MaxAccountBacklog, MaxBacklog: n.cfg.MaxBacklog,
			Disk: (&diskWatch{dir: n.cfg.DataDir, min: n.cfg.MinFreeDisk}).room,
		},
		Registerer: n.reg, Logger: n.log,
	}); err != nil {
		return err
	}
	n.notices.publisher = n.publisher // before its run
	lease := &gate{of: n.cluster}
	if n.dispatcher, err = dispatch.NewDispatcher(dispatch.DispatcherOptions{
		NodeID: n.cfg.NodeID, Outbox: n.outbox, Attempts: n.attempts, Sender: n.sender, Resolver: n.resolver,
		Subscriptions: n.index, Lease: lease, Ownership: n.ownership, Proposer: group, OnGone: n.disableGone,
		OnNotice: n.notices.tell, Figures: n.stats, Tail: n.tail,
		MaxInFlight: n.cfg.DeliverySlots, DrainTimeout: n.cfg.DrainTimeout / inFlightShare,
		Registerer: n.reg, Logger: n.log,
	}); err != nil {
		return err
	}
	n.drainer.Store(&drainer{
		gate: lease, busy: n.dispatcher.Busy, owned: func() int { return n.ownership.owned(n.cfg.NodeID) },
		timeout: n.cfg.DrainTimeout / inFlightShare, log: n.log,
	})
	n.waker.attach(n.dispatcher)
	n.run("publisher", n.publisher.Run)
	n.run("notices", n.notices.run)
	n.closers.add("partitions and leadership", n.handOver)
	n.run("dispatcher", n.dispatcher.Run)
	return nil
}

// disableGone disables a profile whose webhook answered 410.
func (n *Node) disableGone(account, profileID string) {
	ctx, cancel := context.WithTimeout(context.Background(), upkeepTimeout)
	defer cancel()
	_, err := n.writer.UpdateProfile(ctx, system, account, profileID, model.ProfilePatch{
		Enabled: model.Some(false), DisabledReason: model.Some("the webhook answered 410 Gone"),
	})
	if err == nil {
		n.notices.tell(dispatch.Notice{
			Account: account, Name: event.NoticeDisabled, ProfileID: profileID, ID: "disabled-" + uuid.Must(uuid.NewV7()).String(),
			Fields: map[string]any{"profileId": profileID, "reason": "the webhook answered 410 Gone"},
		})
	}
	if err != nil && model.CodeOf(err) != model.CodeNotFound {
		n.log.Warn("a profile whose webhook answered 410 could not be disabled; the next answer tries again",
			"account", account, "profile", profileID, "error", err)
	}
}

// keepRefreshToken stores a refresh token that the authorization server has
// replaced: the old one may not work again, on this node or another.
func (n *Node) keepRefreshToken(account, profileID string, token model.Secret) {
	ctx, cancel := context.WithTimeout(context.Background(), upkeepTimeout)
	defer cancel()
	p, err := n.store.Profile(account, profileID)
	if err == nil {
		_, err = n.writer.UpdateSecurity(ctx, system, account, p.SecurityID, model.SecurityPatch{
			Clear: map[model.SecretField]model.Opt[model.Secret]{model.FieldRefreshToken: model.Some(token)},
		})
	}
	if err != nil && model.CodeOf(err) != model.CodeNotFound {
		n.log.Error("a new refresh token could not be stored; after a restart the old one is used, which the authorization server may refuse",
			"account", account, "profile", profileID, "error", err)
	}
}

const (
	// marksEvery is how many entries of the event group may have to be read again
	// at a start, but for what comes within markInterval.
	marksEvery   = 256
	markInterval = 5 * time.Second
	// eventsAppend entries of the event group go to a follower, and into its log
	// and its file, at once: each time costs a sync, and a quorum may have to wait
	// for a follower that catches up. They have dispatch.DefaultMaxGroupBytes each
	// and more only if a request has; every node keeps some buffers for as many.
	eventsAppend = 32
)

// handOver moves partitions and leadership to other nodes, where there are
// any. It comes after the dispatcher has settled what it sent: the epoch of
// the next owner would refuse those settlements, and the deliveries would be
// sent twice. What does not work out in time is left to the leases.
func (n *Node) handOver(ctx context.Context) error {
	if !n.members.hasHeir() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, handOverTimeout)
	defer cancel()
	err := n.cluster.Drain(ctx)
	for err == nil && n.ownership.owned(n.cfg.NodeID) > 0 {
		select {
		case <-n.ownership.Changed():
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err = errors.Join(err, n.cluster.HandOver(ctx)); err != nil {
		n.log.Warn("work could not be handed over in time; the others take it when this node's lease has run out", "error", err)
	}
	return nil
}

// serveHTTP starts the API and, where one is configured, the admin address.
func (n *Node) serveHTTP() error {
	plane := &events{publisher: n.publisher, local: n.dispatcher.Lookup, caller: n.cluster.Caller(), peers: n.members.others}
	n.cluster.Handle(methodLookup, answers(plane.serveLookup))
	records := &archive{
		outbox: n.outbox, proposer: n.cluster.Group(groupEvents), scan: n.attempts.Scan, local: n.dispatcher.Lookup,
		caller: n.cluster.Caller(), peers: n.members.others, now: time.Now,
	}
	n.cluster.Handle(methodScan, answers(records.serveScan))
	n.cluster.Handle(methodLookups, answers(records.serveLookups))
	watch := &watcher{
		ring: n.tail, stats: n.stats, outbox: n.outbox, index: n.index, config: n.store, test: n.dispatcher.Test,
		caller: n.cluster.Caller(), peers: n.members.others, self: n.cfg.NodeID, now: time.Now,
	}
	n.cluster.Handle(methodTail, answers(watch.serveTail))
	n.cluster.Handle(methodStats, answers(watch.serveStats))
	n.cluster.Handle(methodSeries, answers(watch.serveSeries))
	ready := []api.Check{
		{Name: "cluster", Run: n.cluster.Ready},
		{Name: "config", Run: func(context.Context) error { return n.publisher.Current() }},
		{Name: "drained", Run: n.undrained},
		{Name: "first account", Run: n.bootstrapped},
	}
	all := n.newFleet(ready)
	n.cluster.Handle(methodHealth, answers(all.serveHealth))
	n.cluster.Handle(methodDigest, answers(all.serveDigest))
	known := &destinations{local: n.dispatcher.Destinations, caller: n.cluster.Caller(), peers: n.members.others, self: n.cfg.NodeID}
	n.cluster.Handle(methodDestinations, answers(known.serveDestinations))
	srv, err := api.New(api.Options{
		Reader: n.store, Writer: n.writer, Opener: n.sealer, Cluster: n.members, Events: plane, Archive: records, Watcher: watch, Fleet: all, Destinations: known, Backup: n.store,
		Tester: tester{n.store, n.sealer, n.sender}, URLs: n.guard,
		Ready: ready, Gatherer: n.reg, Registerer: n.reg, TokenKey: n.ring.Derive("api tokens", 32),
		Logger: n.log, Version: n.version,
		Limits: api.Limits{EventBytes: int(n.cfg.MaxEventBytes), EventBody: int64(n.cfg.MaxBodyBytes), BatchEvents: n.cfg.MaxBatchEvents},
	})
	if err != nil {
		return err
	}
	n.api = srv
	n.serveAdmin()
	pages, err := console.New(console.Options{API: srv, Logger: n.log, Version: n.version})
	if err != nil {
		return err
	}
	server := srv.HTTPServer(n.apiAddr)
	server.Handler = withConsole(srv, pages)
	n.serve("API", server, func() error {
		if n.cfg.APITLSCert != "" {
			return server.ServeTLS(n.apiListener, n.cfg.APITLSCert, n.cfg.APITLSKey)
		}
		return server.Serve(n.apiListener)
	})
	n.closers.add("readiness", func(context.Context) error {
		srv.SetDraining(true)
		return nil
	})
	return nil
}

// withConsole gives the console its part of the API's address.
func withConsole(srv, pages http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := r.URL.Path; p == console.Prefix || strings.HasPrefix(p, console.Prefix+"/") {
			pages.ServeHTTP(w, r)
			return
		}
		srv.ServeHTTP(w, r)
	})
}

// serveAdmin starts the address of profiles and metrics.
func (n *Node) serveAdmin() {
	if n.adminListener == nil {
		return
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: adminHeaderTimeout}
	n.serve("admin", server, func() error { return server.Serve(n.adminListener) })
}

// bootstrap makes the first account and its first key, on the first node's
// first start only: later the state says what exists.
func (n *Node) bootstrap(ctx context.Context) error {
	if !n.cfg.Bootstrap {
		return nil
	}
	if _, err := n.store.Account(model.DefaultAccount); model.CodeOf(err) != model.CodeNotFound {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, bootstrapTimeout)
	defer cancel()
	made := ""
	var id string
	var hash []byte
	if n.cfg.AdminKey.IsZero() {
		made, id, hash = api.NewKey()
	} else {
		id, hash = api.HashKey(n.cfg.AdminKey.Reveal())
	}
	err := n.writer.Bootstrap(ctx, system,
		model.Account{ID: model.DefaultAccount, Name: "Default"},
		model.Key{Account: model.DefaultAccount, ID: id, Name: "first admin key", Hash: hash, Scopes: model.AllScopes()})
	if err != nil {
		return fmt.Errorf("make the first account: %w", err)
	}
	n.bootstrapKey = made
	return nil
}

var errNoAccount = errors.New("the first account and its key are still being made")

// bootstrapped is a check of readiness: a node that begins a cluster answers
// before there is a key that it could know.
func (n *Node) bootstrapped(context.Context) error {
	if !n.begun.Load() {
		return errNoAccount
	}
	return nil
}
