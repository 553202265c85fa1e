// Package config is everything an operator can set: one struct whose tags make
// the flags, the environment variables, the keys of the configuration file,
// the help and docs/configuration.md.
//
// It reads no file but the configuration file and the admin key file, and it
// starts nothing. See DESIGN.md for its decisions.
package config

//go:generate go run ../cmd/internal/gendocs ../docs/configuration.md

import (
	"time"

	"example.com/belfry/fsm/model"
)

// Config is the configuration of one node. Use Default for one with the
// defaults in it; the zero value is not valid.
//
// Tags: flag is the name from which all others are made; default is parsed as
// if it had been typed; enum, min and max bound the value; secret fields have
// no flag. The first field of a section carries its title.
type Config struct {
	NodeID    string   `section:"Node" flag:"node-id" arg:"ID" help:"Name of this node, unique in the cluster and kept for its life. 1 to 64 of A-Z a-z 0-9 - _ ."`
	DataDir   string   `flag:"data-dir" arg:"DIR" help:"Directory for everything the node stores. It is made when it does not exist."`
	Bootstrap bool     `flag:"bootstrap" help:"Make a new cluster of this node. Give it to the first node only; ignored once the node belongs to a cluster."`
	Join      []string `flag:"join" arg:"HOST:PORT" help:"Peer address of any member of the cluster to join. May be given several times; ignored once the node belongs to a cluster."`
	Dev       bool     `flag:"dev" help:"Development mode: loopback addresses only, peers without TLS, webhooks to loopback and private addresses allowed, master key made in the data directory."`

	APIAddr       string `section:"Addresses" flag:"api-addr" arg:"HOST:PORT" default:"127.0.0.1:8600" help:"Address of the REST API, the documentation, the metrics and the health pages."`
	PeerAddr      string `flag:"peer-addr" arg:"HOST:PORT" default:"127.0.0.1:8700" help:"Address for the other nodes of the cluster."`
	APIAdvertise  string `flag:"api-advertise" arg:"HOST:PORT" help:"API address that other nodes and clients are told. Default: the address in --api-addr. Required when that is a wildcard such as 0.0.0.0."`
	PeerAdvertise string `flag:"peer-advertise" arg:"HOST:PORT" help:"Peer address that other nodes dial. Default: the address in --peer-addr. Required when that is a wildcard such as 0.0.0.0."`
	AdminAddr     string `flag:"admin-addr" arg:"HOST:PORT" help:"Address for pprof and metrics without authentication. Empty: off. Keep it on loopback."`

	MasterKeyFile string       `section:"Keys and TLS" flag:"master-key-file" arg:"FILE" help:"Master key ring that protects stored secrets, the same on every node; make it with \"belfry keys create\". Required without --dev."`
	AdminKey      model.Secret `flag:"admin-key" secret:"true" help:"First admin API key of account \"default\", at least 16 characters. Used at bootstrap only; without one a key is made and printed once."`
	AdminKeyFile  string       `flag:"admin-key-file" arg:"FILE" help:"File that holds the first admin API key, in place of BELFRY_ADMIN_KEY."`
	PeerTLSCert   string       `flag:"peer-tls-cert" arg:"FILE" help:"PEM certificate chain of this node for peer traffic. Required without --dev, except for a single node with a loopback peer address."`
	PeerTLSKey    string       `flag:"peer-tls-key" arg:"FILE" help:"PEM private key of --peer-tls-cert."`
	PeerTLSCA     string       `flag:"peer-tls-ca" arg:"FILE" help:"PEM certificates of the authority that signed the nodes' certificates. Peers without a certificate of it are refused."`
	APITLSCert    string       `flag:"api-tls-cert" arg:"FILE" help:"PEM certificate chain of the API. Empty: the API speaks plain HTTP, for use behind a proxy that speaks TLS."`
	APITLSKey     string       `flag:"api-tls-key" arg:"FILE" help:"PEM private key of --api-tls-cert."`

	HeartbeatTimeout  time.Duration `section:"Cluster" flag:"heartbeat-timeout" default:"300ms" min:"50ms" max:"1m" help:"How long a follower hears nothing from the leader before it stands for election."`
	ElectionTimeout   time.Duration `flag:"election-timeout" default:"300ms" min:"50ms" max:"1m" help:"How long a candidate waits for votes before it tries again. Not below --heartbeat-timeout."`
	LeaseTTL          time.Duration `flag:"lease-ttl" default:"1s" min:"100ms" max:"1m" help:"How long a node may go on delivering without hearing from the leader. The same on every node; not below --heartbeat-timeout."`
	SnapshotThreshold int           `flag:"snapshot-threshold" default:"8192" min:"16" max:"10000000" help:"Log entries after which a snapshot is taken and the log is cut. The event group, whose state is on disk, only marks how far it is, after 256 at most."`
	EventsLog         string        `flag:"events-log" default:"wal" enum:"wal,bolt" help:"Store of the event group's log. Choose it before the first start; it cannot be changed for existing data."`

	MaxEventBytes  Bytes `section:"Events" flag:"max-event-bytes" default:"256KiB" min:"1KiB" max:"1MiB" help:"Largest event, payload included."`
	MaxBodyBytes   Bytes `flag:"max-body-bytes" default:"4MiB" min:"1KiB" max:"64MiB" help:"Largest request body with events. Not below --max-event-bytes."`
	MaxBatchEvents int   `flag:"max-batch-events" default:"1000" min:"1" max:"1000" help:"Most events in one request."`

	IdempotencyWindow time.Duration `flag:"idempotency-window" default:"24h" min:"1m" max:"720h" help:"How long a repeated eventId is recognised."`
	AccountEventRate  int           `flag:"account-event-rate" default:"20000" min:"1" max:"10000000" help:"Most events of one account that this node takes in per second. Above: 429."`
	MaxAccountBacklog int           `flag:"max-account-backlog" default:"2000000" min:"1" max:"100000000" help:"Deliveries of one account that may wait. While there are as many, its events are answered 429."`
	MaxBacklog        int           `flag:"max-backlog" default:"4000000" min:"1" max:"100000000" help:"Deliveries of all accounts that may wait. Each takes about 70 bytes of memory on every node, 150 with an orderingKey or once it was tried. While there are as many, events are answered 429."`
	MinFreeDisk       Bytes         `flag:"min-free-disk" default:"512MiB" min:"0B" max:"1TiB" help:"Free space in the file system of --data-dir below which this node takes no events: 503. Changes of the configuration are still taken."`
	DeadLetterAge     time.Duration `flag:"dead-letter-age" default:"336h" min:"1m" max:"8760h" help:"How long dead letters are kept. The same on every node, as the two below: the leader's values rule."`
	DeadLetterBytes   Bytes         `flag:"dead-letter-bytes" default:"1GiB" min:"1MiB" max:"1TiB" help:"Room for dead letters with their events. The oldest go first."`
	MaxDeadLetters    int           `flag:"max-dead-letters" default:"100000" min:"1" max:"10000000" help:"Most dead letters that are kept. The oldest go first."`
	DeliverySlots     int           `section:"Delivery" flag:"delivery-slots" default:"512" min:"1" max:"65536" help:"Most webhook requests in flight at once on this node."`
	MemoryBudget      Bytes         `flag:"memory-budget" default:"32MiB" min:"1MiB" max:"64GiB" help:"Memory for deliveries that are not resolved yet. What does not fit waits on disk."`
	EgressAllow       []string      `flag:"egress-allow" arg:"CIDR" help:"Private or special networks that webhooks may reach nevertheless. May be given several times. The node's own addresses are refused always."`
	EgressPorts       []uint16      `flag:"egress-ports" arg:"PORT" help:"Ports that webhooks may use. Empty: every port."`
	HMACHeader        string        `flag:"hmac-header" arg:"NAME" default:"X-Ib-Hmac-Signature" help:"Header of the HMAC signature, for security settings that do not name their own."`
	HMACEncoding      string        `flag:"hmac-encoding" default:"hex" enum:"hex,base64" help:"Encoding of the HMAC signature, for security settings that do not name their own."`
	AttemptLogAge     time.Duration `flag:"attempt-log-age" default:"168h" min:"1m" max:"8760h" help:"How long attempts can be looked up on the node that made them."`
	AttemptLogBytes   Bytes         `flag:"attempt-log-bytes" default:"1GiB" min:"1MiB" max:"1TiB" help:"Disk for the attempt log. The oldest attempts go first."`

	DrainTimeout time.Duration `section:"Process" flag:"drain-timeout" default:"30s" min:"1s" max:"10m" help:"Longest graceful stop: requests in flight are finished and leadership is handed over. A second signal cuts it short."`
	LogLevel     string        `flag:"log-level" default:"info" enum:"trace,debug,info,warn,error" help:"Least severe messages that are logged."`
	LogFormat    string        `flag:"log-format" default:"auto" enum:"auto,text,json" help:"Form of the log on standard error. auto: text on a terminal, else JSON."`
}

// Default returns a configuration in which every field has its default.
func Default() Config {
	var c Config
	for _, f := range table {
		if f.def == "" {
			continue
		}
		if err := f.set(&c, f.def); err != nil {
			panic("config: default of --" + f.flag + ": " + err.Error()) // a fault of the struct above; the tests reach it
		}
	}
	return c
}
