package history

import "strings"

// The kinds of operations that chaos/workload records, with the types of their
// In and Out. Out is present when Outcome is OK; a refusal is in Op.Error, see
// Op.Code.
//
// Config API. Key is the object's id. One Op is one HTTP request, never
// repeated by the client. A read of what is not there is OK with Out.Absent.
// The kinds with the suffix ".stale" are reads with ?consistency=stale: they
// show the past of one node and belong to no linearization.
const (
	ProfileCreate      = "profile.create"      // In Config, Out Refs
	ProfileGet         = "profile.get"         // In Config, Out State
	ProfileGetStale    = "profile.get.stale"   // In Config, Out State
	ProfilePut         = "profile.put"         // In Config, Out Refs; merges, see Config.Profile
	ProfileDelete      = "profile.delete"      // In Config, Out Refs
	SubscriptionCreate = "subscription.create" // In Config, Out Refs; with Config.Profile it makes that too, and its Security
	SubscriptionGet    = "subscription.get"    // In Config, Out State
	SubscriptionPut    = "subscription.put"    // In Config, Out Refs; replaces events, criteria and the profile it names
	SubscriptionDelete = "subscription.delete" // In Config, Out Refs; leaves the profile
	SecurityCreate     = "security.create"     // In Config, Out Refs
	SecurityGet        = "security.get"        // In Config, Out State
	SecurityPut        = "security.put"        // In Config, Out Refs
	SecurityDelete     = "security.delete"     // In Config, Out Refs
	CertificateCreate  = "certificate.create"  // In Config, Out Refs
	CertificateGet     = "certificate.get"     // In Config, Out State
	CertificateDelete  = "certificate.delete"  // In Config, Out Refs
	Barrier            = "barrier"             // In Config: a linearizable read of any object, which brings Op.Node up to date
	AccountCreate      = "account.create"      // In Config, whose Account is "default": that has the audit record
	AccountGet         = "account.get"         // In Config, Out State (Absent alone counts)
	AccountDelete      = "account.delete"      // In Config
	KeyCreate          = "key.create"          // In Config; Key is a name of the workload's
	KeyDelete          = "key.delete"          // In Config; from then on, KeyUse must be refused
	KeyUse             = "key.use"             // In Config; OK: it authenticated; Fail with status 401: it did not
	LeaderTransfer     = "leader.transfer"     // no In and Out
)

// Events.
const (
	// EventPost is one POST of events of one producer. In Post, Out Posted.
	// Posted again after an unknown outcome it has the same From and N, and a
	// higher Try. Key is the producer.
	EventPost = "event.post"
	// Arrival is a request at a receiver. In Arrived, no Out. Key is the
	// destination (Arrived.Dest). Call is when its first byte came, Return when
	// the answer was written. Outcome: OK when a 2xx was written, Fail when another
	// status was, Unknown when there was no answer, or one that broke off. Arrivals
	// of one Process overlap.
	Arrival = "arrival"
	// DeadList is a whole list of an account's dead letters, read page by
	// page. In DeadQuery, Out Dead.
	DeadList = "dead.list"
	// DeadReplay sends one again. Key is the delivery id, In DeadQuery (Account).
	DeadReplay = "dead.replay"
	// ReplayStart starts a job. In DeadQuery, Out Replay.
	ReplayStart = "replay.start"
	// ReplayGet reads a job. Key is its id, In DeadQuery (Account), Out Replay.
	ReplayGet = "replay.get"
)

// What is read at the end, after the faults, in the file "final".
const (
	// Drain is one look at the backlog while waiting for its end. Out Backlog.
	Drain = "drain"
	// FinalConfig is a part (at most FinalPart objects) of a list of the config
	// API as one node gives it. In FinalQuery, Out []State.
	FinalConfig = "final.config"
	// FinalNodes is the member list as one node gives it. Out []Member.
	FinalNodes = "final.nodes"
	// FinalPartitions lists the owners as one node knows them. Out []Owner.
	FinalPartitions = "final.partitions"
	// FinalMetrics has the metrics of one node. Out Metrics. It is read at the
	// beginning too, with Op.Key "begin" in place of "end".
	FinalMetrics = "final.metrics"
	// FinalAudit is a part (at most FinalPart records) of an account's audit
	// log, newest first. In FinalQuery, Out []Audit.
	FinalAudit = "final.audit"
	// FinalDead is as DeadList, at the end.
	FinalDead = "final.dead"
	// FinalStats has the figures of the last hour of an account. In FinalQuery,
	// Out Stats.
	FinalStats = "final.stats"
	// FinalReady is GET /readyz. OK: ready; Fail: Op.Error says why not.
	FinalReady = "final.ready"
)

// FinalPart is the length of one Out of FinalConfig and FinalAudit.
const FinalPart = 1000

type (
	// Config is the In of the kinds of the config API.
	Config struct {
		Account string `json:"account"`
		// Request is the X-Request-Id of a change. The audit record of the change
		// holds it; it is unique in a run.
		Request string `json:"request,omitempty"`
		// Group is what a model may be partitioned by: no object of a group refers
		// to one of another. W1: the object; W2: the epoch.
		Group   string `json:"group,omitempty"`
		Channel string `json:"channel,omitempty"` // of a subscription
		// The object that a change asked for, with what is made inline. Nil in
		// deletes and reads. Of a ProfilePut: what is not Set stays.
		Subscription *Subscription `json:"subscription,omitempty"`
		Profile      *Profile      `json:"profile,omitempty"`
		Security     *Security     `json:"security,omitempty"`
		// Revokes is what must not be used any more after this change was answered.
		Revokes *Revocation `json:"revokes,omitempty"`
	}

	// Subscription is a subscription as far as the workloads vary it. Its channel
	// is in Config or State.
	Subscription struct {
		Events []string `json:"events,omitempty"` // empty: all of the channel
		// Applications are the values of its criteria; empty: every event fits,
		// else those with one of them as application id.
		Applications []string `json:"applications,omitempty"`
		Profile      string   `json:"profile"`
	}

	// Profile is a profile as far as the workloads vary it. Auth and Certificate
	// are ids or empty. URL is unique for each write: a register's value.
	Profile struct {
		URL         string `json:"url,omitempty"`
		Auth        string `json:"auth,omitempty"`
		Certificate string `json:"certificate,omitempty"`
		// Set names the members that a ProfilePut gives, of url, auth and
		// certificate. Auth that is set and empty takes the setting away.
		Set []string `json:"set,omitempty"`
		// The policy; left out where it is the default or stays.
		Ordering    string  `json:"ordering,omitempty"` // KEY or STRICT
		Schedule    []int64 `json:"schedule,omitempty"` // s, the waits of a custom policy
		MaxAttempts int     `json:"maxAttempts,omitempty"`
		Bucket      int     `json:"bucket,omitempty"`      // maxBucketSize
		ReadTimeout int64   `json:"readTimeout,omitempty"` // ms
	}

	// Security is a security setting as far as the workloads vary it. Version is
	// in its secret or name, and grows with every change.
	Security struct {
		ID      string `json:"id,omitempty"`   // when it is made inline
		Type    string `json:"type,omitempty"` // BASIC, HMAC or CUSTOM
		Version int    `json:"version,omitempty"`
	}

	// Revocation says what no request to a destination may use when it starts
	// later than the bound after the change was answered.
	Revocation struct {
		Dest string `json:"dest"` // as Arrived.Dest
		// Below: no credential of a lower version. A version whose own change has
		// an unknown outcome may still come into force after it: it is exempt.
		Below int `json:"below,omitempty"`
		// All: no request at all (the subscription is deleted).
		All bool `json:"all,omitempty"`
		// URLBelow: no request to a URL of a lower version. The exemption is the same.
		URLBelow int `json:"urlBelow,omitempty"`
	}

	// State is an object as it was read.
	State struct {
		// What and Channel are set in FinalConfig only; What is the kind without the
		// operation: profile, subscription, security, certificate.
		What    string `json:"what,omitempty"`
		ID      string `json:"id,omitempty"`
		Channel string `json:"channel,omitempty"`
		Absent  bool   `json:"absent,omitempty"`
		// Staleness is what a stale read said of its age, ms; -1: it named no bound.
		Staleness    int64         `json:"staleness,omitempty"`
		Subscription *Subscription `json:"subscription,omitempty"`
		Profile      *Profile      `json:"profile,omitempty"`
		Security     *Security     `json:"security,omitempty"` // without Version: it is secret; BASIC has it in its name
	}

	// Refs are the ids in the answer to a change; empty where it names none.
	Refs struct {
		Subscription string `json:"subscription,omitempty"`
		Profile      string `json:"profile,omitempty"`
		Auth         string `json:"auth,omitempty"`
	}
)

type (
	// Post is the In of EventPost: the events From … From+N-1 of a producer. The
	// id and the payload of each are those of Event.
	Post struct {
		Account     string `json:"account"`
		Producer    string `json:"producer"` // unique in a run
		Channel     string `json:"channel"`
		Event       string `json:"event"`
		Application string `json:"application,omitempty"`
		From        int64  `json:"from"`
		N           int    `json:"n"`
		Try         int    `json:"try"`            // from 1
		Pad         int    `json:"pad,omitempty"`  // as in Event, bytes
		Keys        int    `json:"keys,omitempty"` // > 0: the orderingKey of event n is OrderingKey(producer, n, Keys)
	}

	// Posted is the Out of EventPost, the receipts in short.
	Posted struct {
		Duplicates int `json:"duplicates,omitempty"` // how many were answered DUPLICATE
		// Deliveries is what every receipt says, or -1 when they differ: Each then
		// has them in order.
		Deliveries int   `json:"deliveries"`
		Each       []int `json:"each,omitempty"`
	}

	// Arrived is the In of Arrival.
	Arrived struct {
		WebhookID string `json:"id"`
		Attempt   int    `json:"attempt"` // header Belfry-Attempt; 0: absent
		// Account and Dest are what the path of the request says that it was for:
		// /<account>/<dest>/<version of the URL>. Dest is the profile's id.
		Account    string `json:"account"`
		Dest       string `json:"dest"`
		URLVersion int    `json:"url,omitempty"`
		// Auth is the type of credential that came (BASIC, HMAC, CUSTOM; empty:
		// none) and Version which. A credential that was never given to belfry for
		// this destination, or a signature that does not fit the body, is version -1.
		Auth    string `json:"auth,omitempty"`
		Version int    `json:"version,omitempty"`
		// Runs are the events in the body, in its order. Their payloads are byte for
		// byte as Event makes them.
		Runs []Run `json:"runs,omitempty"`
		// Strange are members of the body that are not, and a body without form.
		Strange []Strange `json:"strange,omitempty"`
		// Behaviour is how the receiver answered on purpose; empty: 200. RetryAfter
		// is what it asked for, ms; negative or huge values as they were written.
		Behaviour  string `json:"behaviour,omitempty"`
		RetryAfter int64  `json:"retryAfter,omitempty"`
	}

	// Run is events of one producer one after the other: From … From+N-1.
	Run struct {
		Producer string `json:"p"`
		From     int64  `json:"f"`
		N        int    `json:"n"`
		Pad      int    `json:"s,omitempty"`
		// Account is that of the payload where it is another than the request's.
		Account string `json:"a,omitempty"`
	}

	// Strange is bytes that no workload posted.
	Strange struct {
		SHA256 string `json:"sha256"` // hex
		Head   string `json:"head"`   // the first 200 bytes
	}

	// DeadQuery is the In of the kinds of dead letters and replays.
	DeadQuery struct {
		Account string `json:"account"`
		Profile string `json:"profile,omitempty"`
		Rate    int    `json:"rate,omitempty"` // of a job, 1/s
		Request string `json:"request,omitempty"`
	}

	// Dead is the Out of DeadList and FinalDead.
	Dead struct {
		Letters []Letter `json:"letters"`
	}

	// Letter is a dead letter.
	Letter struct {
		Delivery string `json:"delivery"`
		EventID  string `json:"event"`
		Profile  string `json:"profile"`
		Attempts int    `json:"attempts"`
		Outcome  string `json:"outcome"` // failure.outcome, such as "temporary" or "expired"
		Status   int    `json:"status,omitempty"`
	}

	// Replay is a job of replays.
	Replay struct {
		ID       string `json:"id"`
		State    string `json:"state"` // RUNNING, DONE or CANCELLED
		Total    int    `json:"total"`
		Replayed int    `json:"replayed"`
	}
)

type (
	// Backlog is the Out of Drain.
	Backlog struct {
		// Pending is the metric belfry_outbox_pending of Op.Node: deliveries of the
		// whole cluster that are owed. Held of them cannot be waited for: their
		// destinations asked for a day of silence.
		Pending int64 `json:"pending"`
		Held    int64 `json:"held,omitempty"`
	}

	// FinalQuery is the In of the kinds of what is read at the end.
	FinalQuery struct {
		Account string `json:"account,omitempty"`
		What    string `json:"what,omitempty"` // of FinalConfig, as State.What
		Channel string `json:"channel,omitempty"`
		Stale   bool   `json:"stale,omitempty"`
		Part    int    `json:"part,omitempty"` // from 0
	}

	// Member is a node as FinalNodes gives it.
	Member struct {
		ID      string `json:"id"`
		Role    string `json:"role"` // LEADER or FOLLOWER
		Voter   bool   `json:"voter"`
		Live    bool   `json:"live"`
		Applied uint64 `json:"applied"`
	}

	// Owner is the owner of a partition.
	Owner struct {
		Partition int    `json:"partition"`
		Owner     string `json:"owner"`
		Epoch     uint64 `json:"epoch"`
	}

	// Metrics has the series whose names begin with belfry_ and that are no
	// histograms, by name with labels as in the text format.
	Metrics map[string]float64

	// Audit is an audit record.
	Audit struct {
		Index   uint64 `json:"index"`
		Action  string `json:"action"` // such as profile.update
		Object  string `json:"object"`
		Actor   string `json:"actor"`
		Request string `json:"request"` // Config.Request of the change
	}

	// Stats is the Out of FinalStats.
	Stats struct {
		Attempts  int64 `json:"attempts"` // requests
		Delivered int64 `json:"delivered"`
		Retried   int64 `json:"retried"`
		Dead      int64 `json:"dead"`
		Dropped   int64 `json:"dropped"`
		Backlog   int64 `json:"backlog"`
		// Unreachable nodes are not in the sums.
		Unreachable []string `json:"unreachable,omitempty"`
	}
)

// Code is belfry's error code of a refusal, such as "in_use", "not_found",
// "already_exists", "unknown_outcome"; empty without one. Op.Error begins with
// it and a colon.
func (o *Op) Code() string {
	code, _, ok := strings.Cut(o.Error, ": ")
	if !ok || strings.ContainsAny(code, " ") {
		return ""
	}
	return code
}
