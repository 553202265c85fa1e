package fsm

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"example.com/belfry/fsm/model"
)

// examples holds one command of every tag, with as many members as it can.
func examples() []Command {
	h := head(epoch)
	h.By.Name = "key:k"
	p := testProfile("a", "p")
	p.Headers, p.EnabledSSLProtocols = map[string]string{"X-B": "2", "X-A": "1"}, []string{"TLSv1.3"}
	p.Retry = &model.Retry{Policy: model.RetryCustom, Schedule: []int64{1, 2}, MaxAttempts: 3, MaxAgeSeconds: 4}
	sec := testSecurity("a", "s")
	sub := testSub("a", "x", "p")
	sub.Name, sub.Events = "n", []model.EventRef{{Event: "DELIVERY"}, {Event: "CLICK", Format: "f"}}
	sub.Criteria = []model.Criterion{{ApplicationID: "1", EntityID: "2", CallsConfigurationID: "3"}}
	sub.Resources, sub.Users = []string{"r"}, []string{"u"}
	k := testKey("a", "k", model.ScopeEventsRead)
	k.CIDRs, k.ExpiresAt = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, epoch
	np := newProfile(p, &sec)
	table := model.PartitionTable{Version: 2}
	table.Slots[3] = model.Assignment{Owner: "n1", Epoch: 4}
	return []Command{
		CreateSubscription{h, sub, &np},
		ReplaceSubscription{h, sub},
		DeleteSubscription{h, "a", "SMS", "x"},
		CreateProfile{h, np},
		UpdateProfile{h, "a", "p", model.ProfilePatch{URL: model.Some("https://x.test"), SecurityID: model.Null[string](), Enabled: model.Some(false), Headers: model.Some(map[string]string{"X-A": "1"})}},
		DeleteProfile{h, "a", "p"},
		CreateSecurity{h, sec},
		UpdateSecurity{h, "a", "s", 7, model.SecurityPatch{Type: model.Some(model.CredentialsHMAC), PreviousUntilMs: model.Some(int64(5)), Sealed: map[model.SecretField]model.Opt[model.Sealed]{model.FieldPassword: model.Null[model.Sealed](), model.FieldSecretKey: model.Some(model.Sealed("k"))}}},
		DeleteSecurity{h, "a", "s"},
		AuditReveal{h, "a", "s"},
		CreateCertificate{h, testCertificate("a", "c")},
		DeleteCertificate{h, "a", "c"},
		CreateAccount{h, testAccount("a")},
		UpdateAccount{h, "a", model.AccountPatch{Name: model.Some("n"), Disabled: model.Some(true)}},
		DeleteAccount{h, "a"},
		Bootstrap{h, bootstrap().Account, bootstrap().Key},
		CreateKey{h, k},
		UpdateKey{h, "a", "k", model.KeyPatch{Scopes: model.Some([]model.Scope{model.ScopeEventsRead}), ExpiresMs: model.Null[int64]()}},
		DeleteKey{h, "a", "k"},
		CreateUser{h, testUser("a", "u")},
		UpdateUser{h, "a", "u", model.UserPatch{PasswordHash: model.Some("$x")}},
		DeleteUser{h, "a", "u"},
		RevokeToken{h, "a", model.RevokedToken{ID: "t", Until: epoch}},
		SetPartitions{h, 1, table},
		SetFeatureLevel{h, 1},
	}
}

// The bytes of commands are in the logs of clusters. A line of the golden file
// that no longer fits is an incompatible change: add a command with a new tag
// instead. New commands append a line by hand.
func TestEncode_golden(t *testing.T) {
	t.Parallel()
	f, err := os.Open("testdata/commands.golden")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	golden := map[string]string{}
	for sc.Scan() {
		head, body, _ := strings.Cut(sc.Text(), " ")
		golden[head] = body
	}
	for _, c := range examples() {
		b, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		head := hex.EncodeToString(b[:2])
		if golden[head] != string(b[2:]) {
			t.Errorf("%T: got\n%s %s\nwant\n%s %s", c, head, b[2:], head, golden[head])
		}
		delete(golden, head)
		got, err := Decode(b)
		if err != nil {
			t.Errorf("%T: %v", c, err)
		} else if d := cmp.Diff(c, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
			t.Errorf("%T changed on its way (-sent +got):\n%s", c, d)
		}
	}
	for head := range golden {
		t.Errorf("no example has the golden tag %s", head)
	}
}

func TestDecode_refuses(t *testing.T) {
	t.Parallel()
	good, err := Encode(DeleteProfile{head(epoch), "a", "p"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"empty", nil, "at least two bytes"},
		{"format only", []byte{1}, "at least two bytes"},
		{"format", append([]byte{2}, good[1:]...), "format 2 is not known"},
		{"tag", append([]byte{1, 99}, good[2:]...), "tag 99 is not known"},
		{"body", []byte("\x01\x0cnot json"), "command 12 cannot be decoded"},
		{"unknown member", []byte("\x01\x0c{\"canary\":1}"), "command 12 cannot be decoded"},
		{"tail", append(bytes.Clone(good), '{'), "has a tail"},
	} {
		if _, err := Decode(c.b); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestEncode_limit(t *testing.T) {
	t.Parallel()
	size := func(n int) error {
		c := CreateCertificate{head(epoch), testCertificate("a", "c")}
		c.Certificate.IssuedBy = strings.Repeat("x", n)
		_, err := Encode(c)
		return err
	}
	b, err := Encode(CreateCertificate{head(epoch), testCertificate("a", "c")})
	if err != nil {
		t.Fatal(err)
	}
	if err := size(MaxCommandSize - len(b)); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if err := size(MaxCommandSize - len(b) + 1); model.CodeOf(err) != model.CodeTooLarge {
		t.Errorf("one above: got %v, want %s", err, model.CodeTooLarge)
	}
}

// An entry that this version does not understand stops the node.
func TestStore_undecodablePanics(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	mustDo(t, s, bootstrap())
	before := digest(t, s)
	func() {
		defer func() {
			if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "stops rather than differ") {
				t.Errorf("got panic %v", p)
			}
		}()
		good := entry(t, 2, CreateAccount{head(epoch), testAccount("a")})
		s.ApplyBatch([]*raft.Log{good, {Index: 3, Data: []byte{commandFormat, 200}}})
	}()
	if digest(t, s) != before || s.AppliedIndex() != 1 {
		t.Error("the batch with the bad entry left something behind")
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range examples() {
		b, err := Encode(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{1, 1, '{', '}'})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Decode(b)
		if err != nil {
			return
		}
		if y := c.header().At.Year(); y < 0 || y > 9999 {
			return // JSON cannot hold it
		}
		again, err := Encode(c)
		if err != nil {
			return // a time elsewhere that JSON cannot hold
		}
		c2, err := Decode(again)
		if err != nil || reflect.TypeOf(c2) != reflect.TypeOf(c) {
			t.Fatalf("%T does not survive: %v", c, err)
		}
	})
}

// Any decodable command gets an answer: Apply never panics over its content,
// a feature level from the future aside.
func FuzzApply(f *testing.F) {
	for _, c := range examples() {
		b, err := Encode(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Decode(b)
		if err != nil {
			return
		}
		if l, ok := c.(SetFeatureLevel); ok && l.Level > SupportedFeatureLevel {
			return
		}
		s := newStore(t)
		mustDo(t, s, bootstrap(), CreateAccount{head(epoch), testAccount("a")}, CreateSecurity{head(epoch), testSecurity("a", "s")},
			CreateProfile{head(epoch), newProfile(testProfile("a", "p"), nil)})
		_ = answerError(t, s.Apply(&raft.Log{Index: 10, Data: b}))
	})
}
