package config

import (
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/belfry/fsm/model"
)

// dev is a valid development node, single one without --dev, member one of
// a real cluster.
func dev() Config {
	c := Default()
	c.NodeID, c.DataDir, c.Dev = "n1", "data", true
	return c
}

func single() Config {
	c := dev()
	c.Dev, c.MasterKeyFile = false, "master.keys"
	return c
}

func member() Config {
	c := single()
	c.PeerAddr, c.PeerTLSCert, c.PeerTLSKey, c.PeerTLSCA = "10.0.0.1:8700", "c", "k", "ca"
	c.Join = []string{"10.0.0.2:8700"}
	return c
}

func TestConfig_Validate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		from   func() Config
		change func(*Config)
		want   string // begins a finding; empty: valid
	}{
		{"dev", dev, func(*Config) {}, ""},
		{"single", single, func(*Config) {}, ""},
		{"member", member, func(*Config) {}, ""},
		{"dev on port 0", dev, func(c *Config) { c.APIAddr, c.PeerAddr = "127.0.0.1:0", "127.0.0.1:0" }, ""},
		{"dev on other loopbacks", dev, func(c *Config) { c.APIAddr, c.PeerAddr = "[::1]:1", "localhost:1" }, ""},
		{"dev on a mapped loopback", dev, func(c *Config) { c.APIAddr = "[::ffff:127.0.0.1]:1" }, ""},

		{"no node id", dev, func(c *Config) { c.NodeID = "" }, "--node-id is required"},
		{"node id with a slash", dev, func(c *Config) { c.NodeID = "a/b" }, "--node-id must be 1 to 64"},
		{"node id at the limit", dev, func(c *Config) { c.NodeID = strings.Repeat("n", 64) }, ""},
		{"node id above the limit", dev, func(c *Config) { c.NodeID = strings.Repeat("n", 65) }, "--node-id must be 1 to 64"},
		{"node id that is a path", dev, func(c *Config) { c.NodeID = ".." }, "--node-id must be"},
		{"no data directory", dev, func(c *Config) { c.DataDir = "" }, "--data-dir is required"},
		{"bootstrap and join", dev, func(c *Config) { c.Bootstrap, c.Join = true, []string{"127.0.0.1:1"} }, "--bootstrap and --join exclude"},

		// INV config-3.
		{"dev api on a public address", dev, func(c *Config) { c.APIAddr = "10.0.0.1:8600" }, "--api-addr must be a loopback address"},
		{"dev api on the wildcard", dev, func(c *Config) { c.APIAddr = "0.0.0.0:8600" }, "--api-addr must be a loopback address"},
		{"dev api without a host", dev, func(c *Config) { c.APIAddr = ":8600" }, "--api-addr must be a loopback address"},
		{"dev peer on a public address", dev, func(c *Config) { c.PeerAddr = "192.168.0.1:1" }, "--peer-addr must be a loopback address"},
		{"dev peer on a name", dev, func(c *Config) { c.PeerAddr = "host.example:1" }, "--peer-addr must be a loopback address"},
		{"dev admin on a public address", dev, func(c *Config) { c.AdminAddr = "[2001:db8::1]:1" }, "--admin-addr must be a loopback address"},
		{"dev api advertise", dev, func(c *Config) { c.APIAdvertise = "10.0.0.1:8600" }, "--api-advertise must be a loopback address"},
		{"dev peer advertise", dev, func(c *Config) { c.PeerAdvertise = "10.0.0.1:8700" }, "--peer-advertise must be a loopback address"},
		{"dev join", dev, func(c *Config) { c.Join = []string{"127.0.0.1:1", "10.0.0.1:8700"} }, "--join must be a loopback address"},

		{"no port", dev, func(c *Config) { c.APIAddr = "127.0.0.1" }, "--api-addr must be HOST:PORT"},
		{"port too large", dev, func(c *Config) { c.APIAddr = "127.0.0.1:65536" }, "--api-addr must end in a port"},
		{"named port", dev, func(c *Config) { c.APIAddr = "127.0.0.1:http" }, "--api-addr must end in a port"},
		{"URL", dev, func(c *Config) { c.APIAddr = "http://127.0.0.1:8600" }, "--api-addr must be HOST:PORT"},
		{"same address", dev, func(c *Config) { c.PeerAddr = c.APIAddr }, "--peer-addr and --api-addr are both"},
		{"same address for admin", dev, func(c *Config) { c.AdminAddr = c.PeerAddr }, "--admin-addr and --peer-addr are both"},
		{"join at port 0", dev, func(c *Config) { c.Join = []string{"127.0.0.1:0"} }, "--join must be an address that other nodes can dial"},
		{"wildcard api", member, func(c *Config) { c.APIAddr = "0.0.0.0:8600" }, "--api-advertise is required"},
		{"wildcard api, advertised", member, func(c *Config) { c.APIAddr, c.APIAdvertise = "0.0.0.0:8600", "n1:8600" }, ""},
		{"wildcard peer", member, func(c *Config) { c.PeerAddr = "[::]:8700" }, "--peer-advertise is required"},
		{"wildcard peer, advertised as wildcard", member, func(c *Config) { c.PeerAddr, c.PeerAdvertise = ":8700", ":8700" }, "--peer-advertise must be an address"},

		{"no master key", single, func(c *Config) { c.MasterKeyFile = "" }, "--master-key-file is required without --dev"},
		{"single, public peer address, no TLS", single, func(c *Config) { c.PeerAddr = "10.0.0.1:8700" }, "--peer-tls-cert, --peer-tls-key and --peer-tls-ca are required"},
		{"single, public advertise, no TLS", single, func(c *Config) { c.PeerAdvertise = "10.0.0.1:8700" }, "--peer-tls-cert, --peer-tls-key and --peer-tls-ca are required"},
		{"loopback join without TLS", single, func(c *Config) { c.Join = []string{"127.0.0.1:8701"} }, "--peer-tls-cert, --peer-tls-key and --peer-tls-ca are required"},
		{"half a peer pair", member, func(c *Config) { c.PeerTLSKey = "" }, "--peer-tls-key must be given too"},
		{"no peer CA", member, func(c *Config) { c.PeerTLSCA = "" }, "--peer-tls-ca must be given too"},
		{"half an api pair", single, func(c *Config) { c.APITLSCert = "c" }, "--api-tls-key must be given too"},
		{"api pair", single, func(c *Config) { c.APITLSCert, c.APITLSKey = "c", "k" }, ""},

		{"admin key at the limit", dev, func(c *Config) { c.AdminKey = model.NewSecret(strings.Repeat("k", 16)) }, ""},
		{"admin key too short", dev, func(c *Config) { c.AdminKey = model.NewSecret(strings.Repeat("k", 15)) }, "BELFRY_ADMIN_KEY must have at least 16"},
		{"admin key with a space", dev, func(c *Config) { c.AdminKey = model.NewSecret("0123456789 0123456789") }, "BELFRY_ADMIN_KEY must be printable ASCII"},

		{"lease below heartbeat", dev, func(c *Config) { c.LeaseTTL = 200 * time.Millisecond }, "--lease-ttl (200ms) must not be below --heartbeat-timeout"},
		{"election below heartbeat", dev, func(c *Config) { c.ElectionTimeout = 299 * time.Millisecond }, "--election-timeout (299ms) must not be below"},
		{"body below event", dev, func(c *Config) { c.MaxBodyBytes = 200 << 10 }, "--max-body-bytes (200KiB) must not be below"},
		{"log level", dev, func(c *Config) { c.LogLevel = "loud" }, "--log-level must be one of trace, debug"},
		{"events log", dev, func(c *Config) { c.EventsLog = "" }, "--events-log must be one of wal, bolt"},

		{"egress network", dev, func(c *Config) { c.EgressAllow = []string{"10.0.0.0/8", "fd00::/8"} }, ""},
		{"egress address", dev, func(c *Config) { c.EgressAllow = []string{"10.0.0.1"} }, "--egress-allow must be a network"},
		{"egress bits behind the mask", dev, func(c *Config) { c.EgressAllow = []string{"10.1.0.0/8"} }, "--egress-allow has bits behind its mask: 10.1.0.0/8 must be written as 10.0.0.0/8"},
		{"signature header", dev, func(c *Config) { c.HMACHeader = "X-Hub-Signature-256" }, ""},
		{"signature header that is none", dev, func(c *Config) { c.HMACHeader = "a b" }, "--hmac-header must be the name"},
		{"signature header of ours", dev, func(c *Config) { c.HMACHeader = "Webhook-Signature" }, "--hmac-header must not be Webhook-Signature"},
		{"signature in Authorization", dev, func(c *Config) { c.HMACHeader = "Authorization" }, "--hmac-header must not be Authorization"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := tt.from()
			tt.change(&c)
			err := c.Validate()
			if tt.want == "" {
				if err != nil {
					t.Errorf("got %v, want none", err)
				}
				return
			}
			found, ok := err.(ValidationErrors) //nolint:errorlint // Validate promises the type itself
			if !ok || !slices.ContainsFunc(found, func(p string) bool { return strings.HasPrefix(p, tt.want) }) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if len(found) > 1 {
				t.Errorf("one fault, %d findings: %q", len(found), found)
			}
		})
	}
}

// Every bounded field accepts its bounds and refuses what lies just outside.
func TestConfig_Validate_bounds(t *testing.T) {
	t.Parallel()
	for i := range table {
		f := &table[i]
		if f.min == "" {
			continue
		}
		for text, steps := range map[string][]int64{f.min: {0, -1}, f.max: {0, 1}} {
			for _, step := range steps {
				c := dev()
				if err := f.set(&c, text); err != nil {
					t.Fatalf("--%s: bound %q: %v", f.flag, text, err)
				}
				v := f.value(&c)
				v.SetInt(v.Int() + step)
				if err := f.inRange(&c); (err != nil) != (step != 0) {
					t.Errorf("--%s at %s%+d: %v", f.flag, text, step, err)
				}
			}
		}
	}
}

// All findings come at once, in one line.
func TestConfig_Validate_reportsAll(t *testing.T) {
	t.Parallel()
	err := Config{}.Validate()
	if err == nil {
		t.Fatal("the zero value is valid")
	}
	for _, name := range []string{"--node-id", "--data-dir", "--api-addr", "--peer-addr", "--master-key-file", "--lease-ttl", "--log-level", "--hmac-header"} {
		if !strings.Contains(err.Error(), name+" ") {
			t.Errorf("%s is not reported: %v", name, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %q", err)
	}
}
