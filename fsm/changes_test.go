package fsm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/fsm/model"
)

func lastRecord(t *testing.T, s *Store) model.AuditRecord {
	t.Helper()
	p, err := s.ListAudit(model.DefaultAccount, 0, 1)
	if err != nil || len(p.Items) != 1 {
		t.Fatalf("got %+v, %v", p, err)
	}
	return p.Items[0]
}

// A record says which members changed, and what they were and are.
func TestAudit_differences(t *testing.T) {
	t.Parallel()
	s := seeded(t)
	u := testUser("default", "ana")
	mustDo(t, s, CreateUser{head(epoch), u})
	created := lastRecord(t, s).Changes
	if !slices.Contains(created, model.AuditChange{Object: "user ana", Member: "passwordHash", After: model.AuditMask}) {
		t.Errorf("a new user: %+v", created)
	}
	mustDo(t, s, UpdateUser{head(epoch), "default", "ana", model.UserPatch{PasswordHash: model.Some("another hash"), Disabled: model.Some(true)}})
	want := []model.AuditChange{
		{Object: "user ana", Member: "disabled", After: "true"},
		{Object: "user ana", Member: "passwordHash", Before: model.AuditMask, After: model.AuditMask},
	}
	if d := cmp.Diff(want, lastRecord(t, s).Changes); d != "" {
		t.Error(d)
	}
	mustDo(t, s, DeleteUser{head(epoch), "default", "ana"})
	for _, c := range lastRecord(t, s).Changes {
		if c.After != "" || c.Before == "" {
			t.Errorf("a deletion says %+v", c)
		}
	}
}

// INV fsm-7: no secret gets into the audit log, sealed or hashed as it is.
func TestAudit_noSecrets(t *testing.T) {
	t.Parallel()
	const canary = "CANARY"
	rows := map[string]any{
		"account":     model.Account{ID: "a", DataKey: model.Sealed(canary)},
		"key":         model.Key{ID: "k", Hash: []byte(canary)},
		"user":        model.User{Username: "u", PasswordHash: canary},
		"security":    model.Security{ID: "s", Secrets: map[model.SecretField]model.Sealed{"password": model.Sealed(canary)}},
		"certificate": model.Certificate{ID: "c", Secrets: map[model.SecretField]model.Sealed{"key": model.Sealed(canary)}},
	}
	encoded, err := json.Marshal([]byte(canary))
	if err != nil {
		t.Fatal(err)
	}
	for kind, row := range rows {
		b := encodeRow(row)
		if !strings.Contains(string(b), canary) && !strings.Contains(string(b), strings.Trim(string(encoded), `"`)) {
			t.Fatalf("the row of a %s does not have the canary: %s", kind, b)
		}
		for _, said := range []string{fmt.Sprint(compareRows(kind, nil, b)), fmt.Sprint(compareRows(kind, b, nil))} {
			if strings.Contains(said, canary) || strings.Contains(said, strings.Trim(string(encoded), `"`)) {
				t.Errorf("the record of a %s says %s", kind, said)
			}
		}
	}
}

// Long values and long lists are cut.
func TestAudit_bounds(t *testing.T) {
	t.Parallel()
	row, err := json.Marshal(map[string]string{"id": "x", "name": strings.Repeat("ä", maxAuditValue+1)})
	if err != nil {
		t.Fatal(err)
	}
	got := compareRows("profile", nil, row)
	if want := strings.Repeat("ä", maxAuditValue) + "…"; len(got) != 1 || got[0].After != want {
		t.Errorf("got %+v", got)
	}
	s := newStore(t)
	h := head(epoch)
	mustDo(t, s, CreateAccount{h, model.Account{ID: "big", DataKey: model.Sealed("wrapped")}})
	for i := range maxAuditRows + 1 {
		mustDo(t, s, CreateUser{h, testUser("big", fmt.Sprint("u", i))})
	}
	mustDo(t, s, DeleteAccount{h, "big"})
	if r := lastRecord(t, s); r.Action != "account.delete" || !r.ChangesCut || len(r.Changes) == 0 || len(r.Changes) > maxAuditChanges {
		t.Errorf("a large deletion is %s with %d changes, cut %t", r.Action, len(r.Changes), r.ChangesCut)
	}
}
