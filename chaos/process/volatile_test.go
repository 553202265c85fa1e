package process

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func content(t *testing.T, e *inode) []byte {
	t.Helper()
	b := make([]byte, e.size)
	if _, err := e.data.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if st, err := e.data.Stat(); err != nil || st.Size() != e.size {
		t.Fatalf("the content of inode %d has %d bytes, %v; want %d", e.id, st.Size(), err, e.size)
	}
	return b
}

// modelFile says what a file is and what it was at its last sync.
type modelFile struct{ live, synced []byte }

// twoStates is a directory in two states.
type twoStates struct{ live, synced map[string]*modelFile }

// nameOf is the name that a file has in names, or "".
func nameOf(names map[string]*modelFile, f *modelFile) string {
	for name, x := range names {
		if x == f {
			return name
		}
	}
	return ""
}

func (m *twoStates) sync(f *modelFile) {
	f.synced = slices.Clone(f.live)
	delete(m.synced, nameOf(m.synced, f))
	m.synced[nameOf(m.live, f)] = f
}

func (m *twoStates) fail() {
	m.live = maps.Clone(m.synced)
	for _, f := range m.live {
		f.live = slices.Clone(f.synced)
	}
}

// Random operations on a volume end as on a model that is simple enough to be
// believed.
func TestVolume_model(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 0))
		v := newVolume(t.TempDir())
		m := &twoStates{live: map[string]*modelFile{}, synced: map[string]*modelFile{}}
		for step := range 300 {
			randomStep(t, v, m, rng)
			got, want := map[string]string{}, map[string]string{}
			for name, e := range v.root.live {
				got[name] = string(content(t, e))
			}
			for name, f := range m.live {
				want[name] = string(f.live)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d, step %d:\n%s", seed, step, diff)
			}
		}
		must(t, v.close())
	}
}

func randomStep(t *testing.T, v *volume, m *twoStates, rng *rand.Rand) {
	t.Helper()
	name, other := fmt.Sprintf("f%d", rng.IntN(4)), fmt.Sprintf("f%d", rng.IntN(4))
	e, f := v.root.live[name], m.live[name]
	switch op := rng.IntN(20); {
	case op == 0:
		_, err := v.revert(nil)
		must(t, err)
		m.fail()
	case op == 1:
		v.sync(v.root)
		m.synced = maps.Clone(m.live)
	case f == nil:
		_, err := v.create(v.root, name, 0o600)
		must(t, err)
		m.live[name] = &modelFile{}
	case op < 4:
		v.sync(e)
		m.sync(f)
	case op == 4:
		v.remove(v.root, name)
		delete(m.live, name)
	case op == 5 && name != other:
		v.rename(v.root, name, v.root, other)
		m.live[other] = f
		delete(m.live, name)
	case op < 8:
		size := rng.IntN(3 * pageSize)
		must(t, v.resize(e, int64(size)))
		f.live = append(f.live, make([]byte, max(0, size-len(f.live)))...)[:size]
	default:
		off, b := rng.IntN(2*pageSize), bytes.Repeat([]byte{byte(1 + rng.IntN(255))}, rng.IntN(2*pageSize))
		if len(b) == 0 {
			return
		}
		must(t, v.write(e, b, int64(off)))
		f.live = append(f.live, make([]byte, max(0, off+len(b)-len(f.live)))...)
		copy(f.live[off:], b)
	}
}

// With chance every page is as it was or as it became, and both happen.
func TestVolume_chance(t *testing.T) {
	t.Parallel()
	const pages = 8
	seen := map[string]bool{}
	for seed := range uint64(20) {
		v := newVolume(t.TempDir())
		e, err := v.create(v.root, "a", 0o600)
		must(t, err)
		must(t, v.write(e, bytes.Repeat([]byte("old "), pages*pageSize/4), 0))
		v.sync(e)
		must(t, v.write(e, bytes.Repeat([]byte("new "), 2*pages*pageSize/4), 0))
		_, err = v.revert(rand.New(rand.NewPCG(seed, 1)))
		must(t, err)
		b := content(t, e)
		if len(b) < pages*pageSize || len(b)%pageSize != 0 {
			t.Fatalf("%d bytes are left", len(b))
		}
		for i := 0; i < len(b); i += pageSize {
			kind := "hole"
			if b[i] != 0 {
				kind = string(b[i : i+3])
			}
			whole := bytes.Count(b[i:i+pageSize], b[i:i+4]) == pageSize/4 || kind == "hole" && bytes.Count(b[i:i+pageSize], []byte{0}) == pageSize
			if !whole || kind == "old" && i >= pages*pageSize || kind == "hole" && i < pages*pageSize {
				t.Fatalf("page %d begins with %q", i/pageSize, b[i:i+8])
			}
			seen[kind] = true
		}
		must(t, v.close())
	}
	if len(seen) != 3 {
		t.Errorf("pages were %v, want old ones, new ones and holes", seen)
	}
}

// What a sync failed for is lost even if the next one succeeds, unless it was
// written again.
func TestVolume_syncFails(t *testing.T) {
	t.Parallel()
	page := func(s string) []byte { return bytes.Repeat([]byte(s), pageSize) }
	v := newVolume(t.TempDir())
	e, err := v.create(v.root, "a", 0o600)
	must(t, err)
	must(t, v.write(e, page("1"), 0))
	v.sync(e)
	must(t, v.write(e, slices.Concat(page("2"), page("2"), page("2")), 0))
	e.syncFails()
	must(t, v.write(e, page("3"), pageSize))
	v.sync(e)
	lost, err := v.revert(nil)
	must(t, err)
	if got, want := content(t, e), slices.Concat(page("1"), page("3"), page("\x00")); lost != 2 || !bytes.Equal(got, want) {
		t.Errorf("lost %d pages; left are %q, %q, %q …", lost, got[0], got[pageSize], got[2*pageSize])
	}
	must(t, v.close())
}

// What happens to names, in the way programs replace files.
func TestVolume_names(t *testing.T) {
	t.Parallel()
	type step func(v *volume)
	at := func(v *volume, path string) (*inode, string) {
		dir := v.root
		parts := strings.Split(path, "/")
		for _, p := range parts[:len(parts)-1] {
			dir = dir.live[p]
		}
		return dir, parts[len(parts)-1]
	}
	mk := func(path string, mode fs.FileMode) step {
		return func(v *volume) {
			dir, name := at(v, path)
			e, err := v.create(dir, name, mode)
			must(t, err)
			if !e.isDir() {
				must(t, v.write(e, []byte(path), 0))
			}
		}
	}
	file := func(path string) step { return mk(path, 0o600) }
	dir := func(path string) step { return mk(path, fs.ModeDir|0o700) }
	sync := func(path string) step {
		return func(v *volume) {
			if path == "." {
				v.sync(v.root)
				return
			}
			d, name := at(v, path)
			v.sync(d.live[name])
		}
	}
	mv := func(from, to string) step {
		return func(v *volume) {
			a, x := at(v, from)
			b, y := at(v, to)
			v.rename(a, x, b, y)
		}
	}
	rm := func(path string) step { return func(v *volume) { d, name := at(v, path); v.remove(d, name) } }
	ln := func(from, to string) step {
		return func(v *volume) {
			a, x := at(v, from)
			b, y := at(v, to)
			v.link(b, y, a.live[x])
		}
	}
	for name, tt := range map[string]struct {
		steps []step
		want  string // path=content, sorted
	}{
		"a file that was not synced":        {[]step{file("a")}, ""},
		"a synced file":                     {[]step{file("a"), sync("a")}, "a=a"},
		"a synced directory, file not":      {[]step{file("a"), sync(".")}, "a="},
		"a synced file in new directories":  {[]step{dir("d"), dir("d/e"), file("d/e/a"), sync("d/e/a")}, "d/e/a=d/e/a"},
		"replaced, directory not synced":    {[]step{file("a"), sync("a"), file("t"), sync("t"), mv("t", "a")}, "a=a t=t"},
		"replaced, directory synced":        {[]step{file("a"), sync("a"), file("t"), sync("t"), mv("t", "a"), sync(".")}, "a=t"},
		"replaced, file synced later":       {[]step{file("a"), sync("a"), file("t"), sync("t"), mv("t", "a"), sync("a")}, "a=t"},
		"removed, directory not synced":     {[]step{file("a"), sync("a"), rm("a")}, "a=a"},
		"removed, directory synced":         {[]step{file("a"), sync("a"), rm("a"), sync(".")}, ""},
		"directory renamed, not synced":     {[]step{dir("t"), file("t/a"), sync("t/a"), mv("t", "d")}, "t/a=t/a"},
		"directory renamed, synced":         {[]step{dir("t"), file("t/a"), sync("t/a"), mv("t", "d"), sync(".")}, "d/a=t/a"},
		"moved across, only one end synced": {[]step{dir("d"), file("a"), sync("a"), sync("."), mv("a", "d/a"), sync(".")}, "d/a=a"},
		"linked and unlinked, synced":       {[]step{file("t"), sync("t"), ln("t", "a"), rm("t"), sync(".")}, "a=t"},
		"linked and unlinked, not synced":   {[]step{file("t"), sync("t"), ln("t", "a"), rm("t")}, "t=t"},
		"linked and both kept":              {[]step{file("t"), sync("t"), ln("t", "a"), sync(".")}, "a=t t=t"},
	} {
		v := newVolume(t.TempDir())
		for _, s := range tt.steps {
			s(v)
		}
		_, err := v.revert(nil)
		must(t, err)
		if got := tree(t, v); got != tt.want {
			t.Errorf("%s: left is %q, want %q", name, got, tt.want)
		}
		if again, err := v.revert(nil); err != nil || again != 0 || tree(t, v) != tt.want {
			t.Errorf("%s: a second power failure lost %d, %v, and left %q", name, again, err, tree(t, v))
		}
		must(t, v.close())
	}
}

func tree(t *testing.T, v *volume) string {
	t.Helper()
	var out []string
	var walk func(prefix string, e *inode)
	walk = func(prefix string, e *inode) {
		for name, x := range e.live {
			if x.isDir() {
				walk(prefix+name+"/", x)
				continue
			}
			out = append(out, prefix+name+"="+string(content(t, x)))
		}
	}
	walk("", v.root)
	slices.Sort(out)
	return strings.Join(out, " ")
}

// The contents of files that are gone for good do not stay on the disk.
func TestVolume_release(t *testing.T) {
	t.Parallel()
	v := newVolume(t.TempDir())
	for i := range 10 {
		e, err := v.create(v.root, "a", 0o600)
		must(t, err)
		e.held = i%2 == 0
		v.sync(e)
		v.remove(v.root, "a")
		if e.held { // open until now
			e.held = false
			v.release(e)
		}
		v.sync(v.root)
	}
	entries, err := os.ReadDir(v.store)
	if err != nil || len(entries) != 0 {
		t.Errorf("%d contents are left, %v", len(entries), err)
	}
}
