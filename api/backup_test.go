package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/belfry/fsm/model"
)

// fakeBackup writes its parts one after the other.
type fakeBackup []string

func (f fakeBackup) Backup(_ context.Context, w io.Writer) (uint64, error) {
	for _, s := range f {
		if _, err := io.WriteString(w, s); err != nil {
			return 0, err
		}
	}
	return 7, nil
}

// breaking fails after what it has written.
type breaking struct {
	fakeBackup

	err error
}

func (b breaking) Backup(ctx context.Context, w io.Writer) (uint64, error) {
	if _, err := b.fakeBackup.Backup(ctx, w); err != nil {
		return 0, err
	}
	return 0, b.err
}

func TestBackup(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(o *Options) { o.Backup = fakeBackup{"one ", "two"} })
	got := scenario{method: "GET", url: backupPath, key: keyAdmin, status: 200, headers: map[string]string{
		"Content-Type": typeBackup, "Content-Disposition": `attachment; filename="belfry-20261123T100000Z.backup"`, headerStaleness: "",
	}}.on(t, h)
	if got != "one two" || h.cluster.linearized != 1 {
		t.Errorf("got %q after %d looks at the leader", got, h.cluster.linearized)
	}
	if got := h.must(t, "HEAD", backupPath, keyAdmin, "", 200); got != "" {
		t.Errorf("HEAD brings %q", got)
	}
	h.must(t, "GET", backupPath, keyFull, "", 403)
	h.must(t, "GET", backupPath+"?group=events", keyAdmin, "", 400)
	h.must(t, "GET", backupPath+"?consistency=old", keyAdmin, "", 400)
	h.cluster.err = model.Errorf(model.CodeUnavailable, "there is no leader right now")
	h.must(t, "GET", backupPath, keyAdmin, "", 503)
	if got := (scenario{method: "GET", url: backupPath + "?consistency=stale", key: keyAdmin, status: 200, headers: map[string]string{headerStaleness: "0"}}).on(t, h); got != "one two" {
		t.Errorf("without a quorum got %q", got)
	}
	newHarness(t).must(t, "GET", backupPath, keyAdmin, "", 503)
}

// One backup is made at a time; whoever comes meanwhile is told when to come.
func TestBackup_oneAtATime(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(o *Options) { o.Backup = fakeBackup{"x"} })
	h.backingUp.Lock()
	(scenario{method: "GET", url: backupPath, key: keyAdmin, status: 429, headers: map[string]string{"Retry-After": "10"}}).on(t, h)
	h.backingUp.Unlock()
	h.must(t, "GET", backupPath, keyAdmin, "", 200)
	h.must(t, "GET", backupPath, keyAdmin, "", 200)
}

// A backup that fails before it begins is an error; one that breaks off, or is
// larger than its limit, ends the connection.
func TestBackup_breaks(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(o *Options) {
		o.Backup = breaking{nil, model.Errorf(model.CodeUnavailable, "this node is stopping")}
	})
	h.must(t, "GET", backupPath, keyAdmin, "", 503)

	for name, c := range map[string]struct {
		b     Backup
		limit int64
		whole bool
	}{
		"at the limit":    {fakeBackup{"1234", "5678"}, 8, true},
		"above the limit": {fakeBackup{"1234", "56789"}, 8, false},
		"breaks off":      {breaking{fakeBackup{"1234"}, errors.New("secret place")}, 8, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, func(o *Options) { o.Backup, o.Limits.BackupBytes = c.b, c.limit })
			srv := httptest.NewServer(h.Server)
			defer srv.Close()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+backupPath, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "App "+keyAdmin)
			resp, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			b, err := io.ReadAll(resp.Body)
			if c.whole != (err == nil) || !bytes.HasPrefix(b, []byte("1234")) || strings.Contains(string(b), "secret") {
				t.Errorf("read %q, %v", b, err)
			}
			again, err := srv.Client().Do(req.Clone(t.Context()))
			if err != nil {
				t.Fatal(err)
			}
			if _ = again.Body.Close(); again.StatusCode != http.StatusOK {
				t.Errorf("the next backup is answered %d", again.StatusCode)
			}
		})
	}
}
