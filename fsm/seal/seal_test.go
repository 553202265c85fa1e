package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/belfry/fsm/model"
)

func newTestSealer(tb testing.TB) (*Sealer, map[string]model.Sealed, *Ring) {
	tb.Helper()
	r, err := NewRing()
	if err != nil {
		tb.Fatal(err)
	}
	keys := map[string]model.Sealed{}
	s := NewSealer(r, func(a string) (model.Sealed, bool) { k, ok := keys[a]; return k, ok })
	for _, a := range []string{"a", "b"} {
		if keys[a], err = s.NewDataKey(a); err != nil {
			tb.Fatal(err)
		}
	}
	return s, keys, r
}

func TestSealer_roundTrip(t *testing.T) {
	t.Parallel()
	s, _, _ := newTestSealer(t)
	for _, text := range []string{"", "x", strings.Repeat("é", 255), strings.Repeat("k", MaxSecretSize)} {
		e, err := s.Seal("a", model.EntitySecurity, "id", model.FieldPassword, model.NewSecret(text))
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 3 && bytes.Contains(e, []byte(text)) {
			t.Error("the envelope holds the clear text")
		}
		got, err := s.Open("a", model.EntitySecurity, "id", model.FieldPassword, e)
		if err != nil || got.Reveal() != text {
			t.Errorf("open of %d bytes: %v", len(text), err)
		}
	}
	if _, err := s.Seal("a", model.EntitySecurity, "id", model.FieldPassword, model.NewSecret(strings.Repeat("k", MaxSecretSize+1))); !errors.Is(err, ErrTooLong) {
		t.Errorf("one byte over the limit: got %v, want ErrTooLong", err)
	}
}

// INV seal-1 and seal-2.
func TestSealer_Open_onlyInItsPlace(t *testing.T) {
	t.Parallel()
	s, keys, _ := newTestSealer(t)
	e, err := s.Seal("a", model.EntitySecurity, "id", "header:x", model.NewSecret("canary-7f3"))
	if err != nil {
		t.Fatal(err)
	}
	keys["same"] = keys["a"] // a stolen data key does not unwrap for another account
	for _, c := range []struct {
		name, account string
		kind          model.Entity
		id            string
		field         model.SecretField
	}{
		{"account", "b", model.EntitySecurity, "id", "header:x"},
		{"data key of another account", "same", model.EntitySecurity, "id", "header:x"},
		{"unknown account", "c", model.EntitySecurity, "id", "header:x"},
		{"kind", "a", model.EntityCertificate, "id", "header:x"},
		{"id", "a", model.EntitySecurity, "id2", "header:x"},
		{"field", "a", model.EntitySecurity, "id", "header:y"},
		{"moved border", "a", model.EntitySecurity, "idheader", ":x"},
	} {
		if got, err := s.Open(c.account, c.kind, c.id, c.field, e); err == nil || !got.IsZero() {
			t.Errorf("%s: opened", c.name)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error holds the value", c.name)
		}
	}
	for i := range e {
		bad := bytes.Clone(e)
		bad[i] ^= 1
		if got, err := s.Open("a", model.EntitySecurity, "id", "header:x", bad); err == nil || !got.IsZero() {
			t.Errorf("a flipped bit in byte %d was not noticed", i)
		}
		if _, err := s.Open("a", model.EntitySecurity, "id", "header:x", e[:i]); err == nil {
			t.Errorf("%d of %d bytes were enough", i, len(e))
		}
	}
}

func TestSealer_rotation(t *testing.T) {
	t.Parallel()
	old, keys, ring := newTestSealer(t)
	e, err := old.Seal("a", model.EntitySecurity, "id", model.FieldPassword, model.NewSecret("p"))
	if err != nil {
		t.Fatal(err)
	}
	next, err := ring.Rotated()
	if err != nil {
		t.Fatal(err)
	}
	s := NewSealer(next, func(a string) (model.Sealed, bool) { k, ok := keys[a]; return k, ok })
	if got, err := s.Open("a", model.EntitySecurity, "id", model.FieldPassword, e); err != nil || got.Reveal() != "p" {
		t.Fatalf("after a rotation: %v", err)
	}
	if keys["n"], err = s.NewDataKey("n"); err != nil {
		t.Fatal(err)
	}
	if _, err := old.Seal("n", model.EntitySecurity, "id", model.FieldPassword, model.NewSecret("p")); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("a node without the new master key: got %v, want ErrUnknownKey", err)
	}
	if !bytes.Equal(ring.Derive("tokens", 32), next.Derive("tokens", 32)) {
		t.Error("adding a key changed what Derive gives")
	}
	if bytes.Equal(ring.Derive("tokens", 32), ring.Derive("other", 32)) {
		t.Error("two labels derive the same")
	}
}

// A data key that is replaced is seen at once: the cache compares its source.
func TestSealer_replacedDataKey(t *testing.T) {
	t.Parallel()
	s, keys, _ := newTestSealer(t)
	e, err := s.Seal("a", model.EntitySecurity, "id", model.FieldPassword, model.NewSecret("p"))
	if err != nil {
		t.Fatal(err)
	}
	if keys["a"], err = s.NewDataKey("a"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open("a", model.EntitySecurity, "id", model.FieldPassword, e); !errors.Is(err, ErrOpen) {
		t.Errorf("got %v, want ErrOpen", err)
	}
}

func TestRing_file(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	if _, err := LoadRing(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
	r, err := CreateRing(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: got %v, %v, want 0600", info.Mode(), err)
	}
	if _, err := CreateRing(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second create: got %v, want fs.ErrExist", err)
	}
	got, err := LoadRing(path)
	if err != nil || !bytes.Equal(got.Bytes(), r.Bytes()) {
		t.Fatalf("load: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("files left behind: %v", left)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadRing(path); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %o: got %v, want the chmod to run", mode, err)
		}
	}
}

func TestParseRing_errors(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("A", 43) + "="
	var many strings.Builder
	for i := range MaxRingKeys + 1 {
		fmt.Fprintf(&many, "%d %s\n", i+1, key)
	}
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "holds no key"},
		{"no header", "1 " + key, "line 1: a key ring begins"},
		{"no key", ringHeader, "holds no key"},
		{"short", ringHeader + "\n1 AAAA", "line 2: a key must be the base64 of 32 bytes"},
		{"zero", ringHeader + "\n0 " + key, "number of a key"},
		{"repeated", ringHeader + "\n1 " + key + "\n1 " + key, "line 3: the numbers of the keys must ascend"},
		{"no number", ringHeader + "\n" + key, "is written as"},
		{"one too many", ringHeader + "\n" + many.String(), "at most 64 keys"},
		{"too large", strings.Repeat("#", MaxRingSize+1), "at most 16384 bytes"},
	} {
		_, err := ParseRing([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		} else if strings.Contains(err.Error(), key[:10]) {
			t.Errorf("%s: the error repeats the key", c.name)
		}
	}
	full := strings.TrimSuffix(many.String(), fmt.Sprintf("%d %s\n", MaxRingKeys+1, key))
	r, err := ParseRing([]byte(ringHeader + "\n" + full))
	if err != nil {
		t.Fatalf("%d keys: %v", MaxRingKeys, err)
	}
	if _, err := r.Rotated(); err == nil {
		t.Error("a full ring took one more key")
	}
}

func TestRing_printsNothing(t *testing.T) {
	t.Parallel()
	_, _, r := newTestSealer(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if got := fmt.Sprintf(verb, r); got != "[redacted]" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}

func FuzzParseRing(f *testing.F) {
	r, err := NewRing()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(r.Bytes())
	f.Add([]byte(ringHeader + "\n1 AAAA"))
	f.Add([]byte{0xff, '\n', 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRing(b)
		if err != nil {
			return
		}
		again, err := ParseRing(r.Bytes())
		if err != nil || !bytes.Equal(again.Bytes(), r.Bytes()) {
			t.Fatalf("what was read cannot be written and read: %v", err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	s, keys, _ := newTestSealer(f)
	e, err := s.Seal("a", model.EntitySecurity, "id", model.FieldPassword, model.NewSecret("p"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(e), []byte(keys["a"]))
	f.Add([]byte(e[:20]), []byte(keys["b"]))
	f.Add([]byte{}, []byte{version})
	f.Fuzz(func(t *testing.T, envelope, wrapped []byte) {
		s := NewSealer(s.ring, func(string) (model.Sealed, bool) { return wrapped, true })
		got, err := s.Open("a", model.EntitySecurity, "id", model.FieldPassword, envelope)
		if err == nil && !bytes.Equal(envelope, e) {
			t.Fatal("a forged envelope was opened")
		}
		if err != nil && !got.IsZero() {
			t.Fatal("an error came with a secret")
		}
	})
}
