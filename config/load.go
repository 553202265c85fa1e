package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"example.com/belfry/fsm/model"
)

const (
	// maxFile is the size of the largest configuration file, in bytes.
	maxFile = 1 << 20
	// maxSecretFile is the size of the largest file with one secret, in bytes.
	maxSecretFile = 4 << 10
	// fileFlag and fileEnv name the configuration file itself.
	fileFlag = "config"
	fileEnv  = "BELFRY_CONFIG"
)

// Source says where the value of a field comes from.
type Source string

// The sources, from the weakest to the strongest.
const (
	SourceDefault Source = "default"
	SourceFile    Source = "file"
	SourceEnv     Source = "environment"
	SourceFlag    Source = "flag"
)

// Loaded is a configuration and where it came from.
type Loaded struct {
	Config Config
	// Warnings name what was given and has no effect.
	Warnings []string
	sources  map[string]Source // by flag name
}

// Loader joins defaults, file, environment and flags. Make it with Bind.
type Loader struct {
	file   string
	typed  Config
	flags  *pflag.FlagSet
	values map[string]*flagValue
}

// Bind registers a flag for every field that is not a secret, and --config.
// Parse the flags before Load.
func Bind(fs *pflag.FlagSet) *Loader {
	l := &Loader{flags: fs, typed: Default(), values: map[string]*flagValue{}}
	fs.StringVar(&l.file, fileFlag, "", "YAML `FILE` with the same settings; unknown keys are refused ["+fileEnv+"]")
	for i := range table {
		f := &table[i]
		if f.secret {
			continue
		}
		v := &flagValue{field: f, config: &l.typed}
		l.values[f.flag] = v
		pf := fs.VarPF(v, f.flag, "", f.help+" ["+f.env+"]")
		if f.typ.Kind() == reflect.Bool {
			pf.NoOptDefVal = "true"
		}
	}
	return l
}

// flagValue is one field as pflag sees it.
type flagValue struct {
	field  *field
	config *Config
	given  []string
}

// String is what pflag shows as the default.
func (v *flagValue) String() string {
	if v.field == nil { // pflag makes a zero value to compare with
		return ""
	}
	return strings.Join(v.field.entries(v.config), ",")
}

// Set parses one occurrence of the flag; those of a list add up.
func (v *flagValue) Set(text string) error {
	if !v.field.list() {
		return v.field.set(v.config, text)
	}
	v.given = append(v.given, strings.Split(text, ",")...)
	return v.field.setList(v.config, v.given)
}

// Type is the placeholder in the help.
func (v *flagValue) Type() string {
	if v.field.typ.Kind() == reflect.Bool {
		return "bool"
	}
	return v.field.arg
}

// Load joins the sources: default < file < environment < flag. environ has the
// form of os.Environ. It does not call Validate. Errors name the field and,
// for the file, the line.
func (l *Loader) Load(environ []string) (Loaded, error) {
	out := Loaded{Config: Default(), sources: map[string]Source{}}
	env := lookup(environ)
	path := l.file
	if path == "" {
		path = env[fileEnv]
	}
	if path != "" {
		if err := out.readFile(path); err != nil {
			return Loaded{}, fmt.Errorf("--%s %s: %w", fileFlag, path, err)
		}
	}
	for i := range table {
		f := &table[i]
		text, ok := env[f.env]
		if !ok || text == "" {
			continue
		}
		if err := f.set(&out.Config, text); err != nil {
			return Loaded{}, fmt.Errorf("%s: %w", f.env, err)
		}
		out.sources[f.flag] = SourceEnv
	}
	for i := range table {
		f := &table[i]
		if f.secret || !l.flags.Changed(f.flag) {
			continue
		}
		f.value(&out.Config).Set(f.value(&l.typed))
		out.sources[f.flag] = SourceFlag
	}
	out.Warnings = unknownVariables(env)
	return out, out.readAdminKey()
}

// readAdminKey takes the key from its file.
func (o *Loaded) readAdminKey() error {
	path := o.Config.AdminKeyFile
	if path == "" {
		return nil
	}
	if !o.Config.AdminKey.IsZero() {
		return errors.New("--admin-key-file and BELFRY_ADMIN_KEY (or adminKey in the file) are both given: keep one of them")
	}
	b, err := readLimited(path, maxSecretFile)
	if err != nil {
		return fmt.Errorf("--admin-key-file %s: %w", path, err)
	}
	key := strings.TrimRight(string(b), "\r\n")
	if key == "" {
		return fmt.Errorf("--admin-key-file %s: is empty; write the key into it or leave the flag away", path)
	}
	o.Config.AdminKey = model.NewSecret(key)
	return nil
}

func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the path is the operator's own setting
	if err != nil {
		return nil, reason(err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, reason(err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("is larger than %d bytes", limit)
	}
	return b, nil
}

// reason drops the operation and the path that os puts before the cause: the
// caller names the path with its flag.
func reason(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return pe.Err
	}
	return err
}

func (o *Loaded) readFile(path string) error {
	b, err := readLimited(path, maxFile)
	if err != nil {
		return err
	}
	keys, err := parseFile(&o.Config, b)
	if err != nil {
		return err
	}
	for _, k := range keys {
		o.sources[k] = SourceFile
	}
	if o.Config.AdminKey.IsZero() {
		return nil
	}
	st, err := os.Stat(path)
	if err != nil {
		return reason(err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return errors.New("holds adminKey and may be read by others: chmod 600 it, or use BELFRY_ADMIN_KEY")
	}
	return nil
}

// parseFile sets the fields that b names and returns their flag names.
func parseFile(c *Config, b []byte) ([]string, error) {
	dec := yaml.NewDecoder(strings.NewReader(string(b)))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("has more than one YAML document: keep the first")
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: must be a list of \"key: value\" lines", root.Line)
	}
	seen := map[string]int{}
	var set []string
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		f, ok := fieldByKey(k.Value)
		if !ok || k.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: unknown key %q%s", k.Line, clip(k.Value), suggestion(k.Value))
		}
		if first, dup := seen[f.key]; dup {
			return nil, fmt.Errorf("line %d: %s is given twice, first on line %d", k.Line, f.key, first)
		}
		seen[f.key] = k.Line
		if err := setNode(c, f, v); err != nil {
			return nil, fmt.Errorf("line %d: %s %w", v.Line, f.key, err)
		}
		set = append(set, f.flag)
	}
	return set, nil
}

// redacted is how secrets are printed. A printed configuration that is used as
// a file would otherwise make a key of that text.
var redacted = model.NewSecret("").String()

func setNode(c *Config, f *field, n *yaml.Node) error {
	if f.list() && n.Kind == yaml.SequenceNode {
		entries := make([]string, 0, min(len(n.Content), maxList+1))
		for _, e := range n.Content {
			if err := plainScalar(e); err != nil {
				return err
			}
			entries = append(entries, e.Value)
		}
		return f.setList(c, entries)
	}
	if err := plainScalar(n); err != nil {
		return err
	}
	if f.secret && n.Value == redacted {
		return errors.New("is the printed form of a secret, not the secret: write the key itself or remove the line")
	}
	return f.set(c, n.Value)
}

func plainScalar(n *yaml.Node) error {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return errors.New("must not use anchors or aliases")
	case n.Kind != yaml.ScalarNode:
		return errors.New("must be one plain value")
	case n.Tag == "!!null":
		return errors.New("has no value: write one or remove the line")
	}
	return nil
}

func fieldByKey(key string) (*field, bool) {
	i := slices.IndexFunc(table, func(f field) bool { return f.key == key })
	if i < 0 {
		return nil, false
	}
	return &table[i], true
}

// clip bounds what of a foreign text is repeated in a message.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// suggestion names the key that is meant, when one is near.
func suggestion(key string) string {
	flat := func(s string) string {
		return strings.ToLower(strings.NewReplacer("-", "", "_", "", ".", "").Replace(s))
	}
	best, bestDistance := "", 3
	for i := range table {
		if d := distance(flat(clip(key)), flat(table[i].key)); d < bestDistance {
			best, bestDistance = table[i].key, d
		}
	}
	if best == "" {
		return "; \"belfry config docs\" lists the keys"
	}
	return "; did you mean " + best + "?"
}

// distance is the Levenshtein distance of two short texts.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := min(row[j]+1, row[j+1]+1, diagonal)
			if a[i] != b[j] {
				next = min(row[j]+1, row[j+1]+1, diagonal+1)
			}
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

func lookup(environ []string) map[string]string {
	env := map[string]string{}
	for _, e := range environ {
		if k, v, ok := strings.Cut(e, "="); ok && strings.HasPrefix(k, "BELFRY_") {
			env[k] = v
		}
	}
	return env
}

// otherVariables are BELFRY_ variables that other commands read.
var otherVariables = []string{fileEnv, "BELFRY_API_KEY", "BELFRY_URL", "BELFRY_WEBHOOK_SECRET"}

// unknownVariables warns of variables that set nothing.
func unknownVariables(env map[string]string) []string {
	var out []string
	for k := range env {
		known := slices.Contains(otherVariables, k) ||
			slices.ContainsFunc(table, func(f field) bool { return f.env == k }) ||
			// Kubernetes makes these for a service called belfry.
			strings.HasPrefix(k, "BELFRY_SERVICE_") || k == "BELFRY_PORT" || strings.HasPrefix(k, "BELFRY_PORT_")
		if !known {
			out = append(out, "the environment variable "+clip(k)+" sets nothing; \"belfry config docs\" lists the names")
		}
	}
	slices.Sort(out)
	return out
}
