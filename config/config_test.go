package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"example.com/belfry/fsm/model"
)

var cmpSecret = cmp.Comparer(func(a, b model.Secret) bool { return a.Reveal() == b.Reveal() })

// load runs a Loader over arguments, environment and an optional file.
func load(tb testing.TB, args, environ []string) (Loaded, error) {
	tb.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	l := Bind(fs)
	if err := fs.Parse(args); err != nil {
		return Loaded{}, err
	}
	return l.Load(environ)
}

func writeFile(tb testing.TB, mode os.FileMode, text string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "belfry.yaml")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		tb.Fatal(err)
	}
	return path
}

// INV config-1.
func TestTable_namesAreUniqueAndDocumented(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, f := range table {
		for _, n := range []string{f.flag, f.env, f.key} {
			if n == "" || seen[n] && n != f.flag || seen[f.env] {
				t.Errorf("field %d: name %q is empty or taken", f.index, n)
			}
		}
		seen[f.flag], seen[f.env], seen[f.key] = true, true, true
		if !strings.HasSuffix(f.help, ".") {
			t.Errorf("--%s: the help %q is no sentence", f.flag, f.help)
		}
		if (f.min == "") != (f.max == "") {
			t.Errorf("--%s has one bound only", f.flag)
		}
		if f.section == "" {
			t.Errorf("--%s has no section", f.flag)
		}
	}
	if len(table) != reflect.TypeFor[Config]().NumField() {
		t.Errorf("%d rows for %d fields", len(table), reflect.TypeFor[Config]().NumField())
	}
}

func TestTable_derivedNames(t *testing.T) {
	t.Parallel()
	for flag, want := range map[string][2]string{
		"node-id":       {"BELFRY_NODE_ID", "nodeId"},
		"peer-tls-cert": {"BELFRY_PEER_TLS_CERT", "peerTlsCert"},
		"lease-ttl":     {"BELFRY_LEASE_TTL", "leaseTtl"},
		"dev":           {"BELFRY_DEV", "dev"},
	} {
		i := slices.IndexFunc(table, func(f field) bool { return f.flag == flag })
		if i < 0 {
			t.Fatalf("no --%s", flag)
		}
		if got := [2]string{table[i].env, table[i].key}; got != want {
			t.Errorf("--%s = %v, want %v", flag, got, want)
		}
	}
}

// sample is a value for each kind of field that is not its default.
func sample(f *field) string {
	switch {
	case f.enum != nil:
		return f.enum[len(f.enum)-1]
	case f.typ == typeDuration:
		return "7s"
	case f.typ == typeBytes:
		return "3MiB"
	case f.typ.Kind() == reflect.Bool:
		return "true"
	case f.typ.Kind() == reflect.Int:
		return "77"
	case f.typ == reflect.TypeFor[[]uint16]():
		return "443,8443"
	case f.list():
		return "a,b"
	default:
		return "some-text-of-16-or-more"
	}
}

// Every field can be set by each of its sources, with the same outcome.
func TestLoad_everyFieldFromEverySource(t *testing.T) {
	t.Parallel()
	for i := range table {
		f := &table[i]
		if f.flag == "admin-key-file" {
			continue // TestLoad_adminKeyFile
		}
		t.Run(f.flag, func(t *testing.T) {
			t.Parallel()
			want := Default()
			if err := f.set(&want, sample(f)); err != nil {
				t.Fatal(err)
			}
			if cmp.Equal(want, Default(), cmpSecret) {
				t.Fatal("the sample is the default")
			}
			sources := map[Source][2][]string{
				SourceEnv:  {nil, {f.env + "=" + sample(f)}},
				SourceFile: {{"--config", writeFile(t, 0o600, f.key+": "+sample(f)+"\n")}, nil},
			}
			if f.list() {
				sources[SourceFile] = [2][]string{{"--config", writeFile(t, 0o600, f.key+": ["+sample(f)+"]\n")}, nil}
			}
			if !f.secret {
				sources[SourceFlag] = [2][]string{{"--" + f.flag + "=" + sample(f)}, nil}
			}
			for src, in := range sources {
				got, err := load(t, in[0], in[1])
				if err != nil {
					t.Errorf("from %s: %v", src, err)
					continue
				}
				if diff := cmp.Diff(want, got.Config, cmpSecret); diff != "" {
					t.Errorf("from %s (-want +got):\n%s", src, diff)
				}
				if s := got.source(f); s != src {
					t.Errorf("source = %s, want %s", s, src)
				}
			}
		})
	}
}

func TestLoad_precedence(t *testing.T) {
	t.Parallel()
	file := writeFile(t, 0o600, "leaseTtl: 2s\njoin: [a:1, b:2]\nnodeId: from-file\n")
	env := []string{"BELFRY_CONFIG=" + file, "BELFRY_LEASE_TTL=3s", "BELFRY_JOIN=c:3"}
	tests := []struct {
		name string
		args []string
		env  []string
		ttl  time.Duration
		join []string
		id   string
	}{
		{"default", nil, nil, time.Second, nil, ""},
		{"file", []string{"--config", file}, nil, 2 * time.Second, []string{"a:1", "b:2"}, "from-file"},
		{"environment over file", nil, env, 3 * time.Second, []string{"c:3"}, "from-file"},
		{"flag over environment", []string{"--lease-ttl=4s", "--join", "d:4", "--join=e:5,f:6"}, env, 4 * time.Second, []string{"d:4", "e:5", "f:6"}, "from-file"},
		{"a flag with the default's value counts", []string{"--lease-ttl=1s"}, env, time.Second, []string{"c:3"}, "from-file"},
		{"an empty variable counts as not given", nil, []string{"BELFRY_CONFIG=" + file, "BELFRY_LEASE_TTL="}, 2 * time.Second, []string{"a:1", "b:2"}, "from-file"},
		{"--config over BELFRY_CONFIG", []string{"--config", file}, []string{"BELFRY_CONFIG=/does/not/exist"}, 2 * time.Second, []string{"a:1", "b:2"}, "from-file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := load(t, tt.args, tt.env)
			if err != nil {
				t.Fatal(err)
			}
			c := got.Config
			if c.LeaseTTL != tt.ttl || !slices.Equal(c.Join, tt.join) || c.NodeID != tt.id {
				t.Errorf("got %s %v %q, want %s %v %q", c.LeaseTTL, c.Join, c.NodeID, tt.ttl, tt.join, tt.id)
			}
		})
	}
}

func TestLoad_goodFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		got, err := load(t, []string{"--config", f}, nil)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		if err := got.Config.Validate(); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// Every file of testdata/bad is refused with these words.
func TestLoad_badFiles(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"unknown_key":           `line 2: unknown key "leaseTTl"; did you mean leaseTtl?`,
		"unknown_key_far":       `line 1: unknown key "colour"; "belfry config docs" lists the keys`,
		"nested_key":            `line 1: unknown key "node"`,
		"given_twice":           "line 3: nodeId is given twice, first on line 1",
		"not_a_mapping":         `line 1: must be a list of "key: value" lines`,
		"scalar":                `line 1: must be a list of "key: value" lines`,
		"no_value":              "line 1: nodeId has no value",
		"list_for_scalar":       "line 1: nodeId must be one plain value",
		"mapping_for_list":      "line 1: join must be one plain value",
		"alias":                 "line 1: nodeId must not use anchors",
		"anchor":                "line 1: join must not use anchors",
		"two_documents":         "more than one YAML document",
		"duration_without_unit": "line 1: leaseTtl must be a duration",
		"size_negative":         "line 1: maxEventBytes must be a size",
		"size_overflow":         "line 1: memoryBudget must be a size",
		"bool_word":             "line 1: dev must be true or false",
		"number_text":           "line 1: deliverySlots must be a whole number",
		"number_overflow":       "line 1: deliverySlots must be a whole number",
		"port_zero":             "line 1: egressPorts must be a port between 1 and 65535",
		"port_large":            "line 1: egressPorts must be a port between 1 and 65535",
		"tab":                   "found character that cannot start any token",
		"control":               "line 1: nodeId must not contain control characters",
		"redacted_secret":       "line 1: adminKey is the printed form of a secret",
		"unclosed":              "line 2:",
		"list_too_long":         "line 1: join must have at most 64 entries, has 65",
	}
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".yaml")
		text, ok := want[name]
		if !ok {
			t.Errorf("%s: no expectation", name)
			continue
		}
		delete(want, name)
		_, err := load(t, []string{"--config", f}, nil)
		if err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), "--config "+f) {
			t.Errorf("%s: got %v, want %q", name, err, text)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: the error has more than one line: %q", name, err)
		}
	}
	for name := range want {
		t.Errorf("testdata/bad/%s.yaml is missing", name)
	}
}

func TestLoad_limits(t *testing.T) {
	t.Parallel()
	pad := func(n int) string { return "nodeId: n1\n#" + strings.Repeat("x", n-12) }
	if _, err := load(t, []string{"--config", writeFile(t, 0o600, pad(maxFile))}, nil); err != nil {
		t.Errorf("a file at the limit: %v", err)
	}
	if _, err := load(t, []string{"--config", writeFile(t, 0o600, pad(maxFile+1))}, nil); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a file above the limit: %v", err)
	}
	ports := strings.TrimSuffix(strings.Repeat("443,", maxList), ",")
	if _, err := load(t, nil, []string{"BELFRY_EGRESS_PORTS=" + ports}); err != nil {
		t.Errorf("a list at the limit: %v", err)
	}
	if _, err := load(t, nil, []string{"BELFRY_EGRESS_PORTS=" + ports + ",1"}); err == nil || !strings.Contains(err.Error(), "BELFRY_EGRESS_PORTS") {
		t.Errorf("a list above the limit: %v", err)
	}
	if _, err := load(t, []string{"--config", t.TempDir() + "/none.yaml"}, nil); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a missing file: %v", err)
	}
	if got, err := load(t, []string{"--config", writeFile(t, 0o600, "# nothing\n")}, nil); err != nil || !cmp.Equal(got.Config, Default(), cmpSecret) {
		t.Errorf("an empty file: %v", err)
	}
}

// INV config-2: neither messages nor prints hold the key.
func TestLoad_adminKey(t *testing.T) {
	t.Parallel()
	const key = "CANARY-admin-key-0123456789"
	file := writeFile(t, 0o600, "adminKey: "+key+"\n")
	keyFile := writeFile(t, 0o600, key+"\n")
	for _, in := range [][2][]string{
		{nil, {"BELFRY_ADMIN_KEY=" + key}},
		{{"--config", file}, nil},
		{{"--admin-key-file", keyFile}, nil},
		{nil, {"BELFRY_ADMIN_KEY_FILE=" + keyFile}},
	} {
		got, err := load(t, in[0], in[1])
		if err != nil || got.Config.AdminKey.Reveal() != key {
			t.Errorf("%v: %v", in, err)
		}
		var out bytes.Buffer
		if err := got.WriteYAML(&out, true); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%v %+v %#v", got.Config, got.Config, got.Config)
		if strings.Contains(out.String(), "CANARY") {
			t.Errorf("%v: the key is printed", in)
		}
	}
	if _, err := load(t, []string{"--admin-key=" + key}, nil); err == nil {
		t.Error("the admin key is a flag")
	}
	open := writeFile(t, 0o644, "adminKey: "+key+"\n")
	for name, in := range map[string][2][]string{
		"may be read by others": {{"--config", open}, nil},
		"are both given":        {{"--admin-key-file", keyFile}, {"BELFRY_ADMIN_KEY=" + key}},
		"is empty":              {{"--admin-key-file", writeFile(t, 0o600, "\n")}, nil},
		"is larger than":        {{"--admin-key-file", writeFile(t, 0o600, strings.Repeat("k", maxSecretFile+1))}, nil},
		"no such file":          {{"--admin-key-file", keyFile + "x"}, nil},
	} {
		_, err := load(t, in[0], in[1])
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("got %v, want %q", err, name)
		}
	}
}

func TestLoad_warnings(t *testing.T) {
	t.Parallel()
	got, err := load(t, nil, []string{
		"BELFRY_NODEID=n1", "BELFRY_PORT=tcp://10.0.0.1:8600", "BELFRY_PORT_8600_TCP=x", "BELFRY_SERVICE_HOST=10.0.0.1",
		"BELFRY_CONFIG=", "BELFRY_API_KEY=k", "BELFRY_LOG_LEVEL=debug", "PATH=/bin",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`the environment variable BELFRY_NODEID sets nothing; "belfry config docs" lists the names`}
	if diff := cmp.Diff(want, got.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// What is printed can be used as a file and means the same.
func TestLoaded_WriteYAML_roundTrip(t *testing.T) {
	t.Parallel()
	var env []string
	for i := range table {
		if f := &table[i]; !f.secret && f.flag != "admin-key-file" {
			env = append(env, f.env+"="+sample(f))
		}
	}
	for _, environ := range [][]string{nil, env} {
		in, err := load(t, nil, environ)
		if err != nil {
			t.Fatal(err)
		}
		for _, sources := range []bool{false, true} {
			var b bytes.Buffer
			if err := in.WriteYAML(&b, sources); err != nil {
				t.Fatal(err)
			}
			out, err := load(t, []string{"--config", writeFile(t, 0o600, b.String())}, nil)
			if err != nil {
				t.Fatalf("%v\n%s", err, b.String())
			}
			opt := cmp.FilterPath(func(cmp.Path) bool { return true }, cmp.Options{cmpSecret, cmp.Comparer(equalLists[string]), cmp.Comparer(equalLists[uint16])})
			if diff := cmp.Diff(in.Config, out.Config, opt); diff != "" {
				t.Errorf("printed and read again (-want +got):\n%s", diff)
			}
		}
	}
}

// equalLists takes no list and an empty one as the same.
func equalLists[T comparable](a, b []T) bool { return slices.Equal(a, b) }

func TestBytes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Bytes{"0": 0, "17": 17, "17B": 17, "1KiB": 1024, "1536": 1536, "4 MiB": 4 << 20, "1TiB": 1 << 40, "8388607TiB": 8388607 << 40} {
		got, err := ParseBytes(text)
		if err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v, want %d", text, got, err, want)
		}
		if back, err := ParseBytes(got.String()); err != nil || back != got {
			t.Errorf("ParseBytes(%q) = %d, %v, want %d", got.String(), back, err, got)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "1KB", "1kib", "1.5MiB", "8388608TiB", "0x10", "1e3"} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("ParseBytes(%q) = %d, want an error", text, got)
		}
	}
}

// The document is what "make generate" makes of this struct.
func TestDocs_current(t *testing.T) {
	t.Parallel()
	var want bytes.Buffer
	if err := WriteDocs(&want); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/configuration.md is not current: run \"make generate\"")
	}
	for _, f := range table {
		if !bytes.Contains(got, []byte("`"+f.env+"`")) {
			t.Errorf("%s is not documented", f.env)
		}
	}
}

// FuzzParseFile: no file panics, and what is accepted can be printed and read.
func FuzzParseFile(f *testing.F) {
	for _, dir := range []string{"good", "bad"} {
		files, err := filepath.Glob("testdata/" + dir + "/*.yaml")
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := Default()
		keys, err := parseFile(&c, b)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has more than one line: %q", err)
			}
			return
		}
		var out bytes.Buffer
		if err := (&Loaded{Config: c}).WriteYAML(&out, false); err != nil {
			t.Fatal(err)
		}
		again := Default()
		if _, err := parseFile(&again, out.Bytes()); err != nil {
			t.Fatalf("printed form of %q: %v\n%s", keys, err, out.Bytes())
		}
		again.AdminKey = c.AdminKey
		opt := cmp.FilterPath(func(cmp.Path) bool { return true }, cmp.Options{cmpSecret, cmp.Comparer(equalLists[string]), cmp.Comparer(equalLists[uint16])})
		if diff := cmp.Diff(c, again, opt); diff != "" {
			t.Errorf("printed and read again (-want +got):\n%s", diff)
		}
	})
}
