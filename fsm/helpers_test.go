package fsm

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"example.com/belfry/fsm/model"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func head(at time.Time) Header {
	return Header{At: at, By: model.Actor{Name: "system", From: "127.0.0.1", RequestID: "r"}}
}

func openStore(tb testing.TB, path string, obs ...Observer) *Store {
	tb.Helper()
	s, err := Open(Options{Path: path, NoSync: true, Observers: obs})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func newStore(tb testing.TB) *Store {
	tb.Helper()
	return openStore(tb, filepath.Join(tb.TempDir(), "state.db"))
}

func entry(tb testing.TB, index uint64, c Command) *raft.Log {
	tb.Helper()
	b, err := Encode(c)
	if err != nil {
		tb.Fatal(err)
	}
	return &raft.Log{Index: index, Type: raft.LogCommand, Data: b}
}

// do applies one command at the next index and returns its error.
func do(tb testing.TB, s *Store, c Command) error {
	tb.Helper()
	return answerError(tb, s.Apply(entry(tb, s.AppliedIndex()+1, c)))
}

func mustDo(tb testing.TB, s *Store, cs ...Command) {
	tb.Helper()
	for _, c := range cs {
		if err := do(tb, s, c); err != nil {
			tb.Fatalf("command %d: %v", c.tag(), err)
		}
	}
}

func answerError(tb testing.TB, a any) error {
	tb.Helper()
	switch a := a.(type) {
	case []byte:
		return nil
	case error:
		if _, ok := errors.AsType[*model.Error](a); !ok {
			tb.Fatalf("answer is %T, want *model.Error", a)
		}
		return a
	default:
		tb.Fatalf("answer is %T", a)
		return nil
	}
}

func digest(tb testing.TB, s *Store) [32]byte {
	tb.Helper()
	d, err := s.Digest()
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

type memSink struct {
	bytes.Buffer
	cancelled, closed bool
}

func (m *memSink) ID() string    { return "mem" }
func (m *memSink) Cancel() error { m.cancelled = true; return nil }
func (m *memSink) Close() error  { m.closed = true; return nil }

func snapshotOf(tb testing.TB, s *Store) []byte {
	tb.Helper()
	snap, err := s.Snapshot()
	if err != nil {
		tb.Fatal(err)
	}
	defer snap.Release()
	var sink memSink
	if err := snap.Persist(&sink); err != nil || !sink.closed {
		tb.Fatalf("persist: %v", err)
	}
	return sink.Bytes()
}

func restore(s *Store, b []byte) error { return s.Restore(io.NopCloser(bytes.NewReader(b))) }

// The objects that tests create.

func testAccount(id string) model.Account {
	return model.Account{ID: id, DataKey: model.Sealed("wrapped")}
}

func testSub(account, id, profile string) model.Subscription {
	return model.Subscription{Account: account, Channel: "SMS", ID: id, ProfileID: profile}
}

func testProfile(account, id string) model.Profile {
	return model.Profile{Account: account, ID: id, URL: "https://hooks.example.test/in"}
}

func testSecurity(account, id string) model.Security {
	return model.Security{
		Account: account, ID: id, Type: model.CredentialsBasic, Username: "u",
		Secrets: map[model.SecretField]model.Sealed{model.FieldPassword: model.Sealed("sealed")},
	}
}

func testCertificate(account, id string) model.Certificate {
	return model.Certificate{
		Account: account, ID: id, ChainPEM: []byte("pem"),
		Secrets: map[model.SecretField]model.Sealed{model.FieldPrivateKey: model.Sealed("sealed")},
	}
}

func testKey(account, id string, scopes ...model.Scope) model.Key {
	h := sha256.Sum256([]byte(id))
	return model.Key{Account: account, ID: id, Hash: h[:], Scopes: scopes}
}

func testUser(account, name string) model.User {
	return model.User{Account: account, Username: name, PasswordHash: "$argon2id$x"}
}

func bootstrap() Bootstrap {
	return Bootstrap{Header: head(epoch), Account: testAccount("default"), Key: testKey("default", "root", model.ScopeAdminAccounts)}
}

func newProfile(p model.Profile, s *model.Security) NewProfile {
	return NewProfile{Profile: p, Security: s}
}
