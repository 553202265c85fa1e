package cli

import (
	"os"
	"path/filepath"
	"testing"
)

// A backup has its name when it is whole, and leaves nothing behind otherwise.
func TestBackup_save(t *testing.T) {
	t.Parallel()
	n := newClusterNode(t, map[string][]string{"GET /cluster/1/backup": {"whole"}, "GET /cluster/1/backup?consistency=stale": {"whole"}})
	env := []string{envAPIKey + "=a-key-of-sixteen", envURL + "=" + n.URL}
	dir := t.TempDir()
	out := filepath.Join(dir, "one")
	got := run(t, "", env, "backup", "save", "--out", out)
	got.expect(t, ExitOK, "")
	if b, err := os.ReadFile(out); err != nil || string(b) != "whole" || got.out != "wrote "+out+": the configuration after entry 7; keep it apart from the master key file\n" {
		t.Errorf("wrote %q, %v, printed %q", b, err, got.out)
	}
	if st, err := os.Stat(out); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	run(t, "", env, "backup", "save", "--out", out).expect(t, ExitUsage, "exists already and is not overwritten")
	run(t, "", env, "backup", "save", "--out", out+"2", "--stale").expect(t, ExitOK, "")
	n.mu.Lock()
	n.answers["GET /cluster/1/backup"] = []string{"who"}
	n.mu.Unlock()
	run(t, "", env, "backup", "save", "--out", out+"3").expect(t, ExitFailed, "what the node sent is no whole backup: it ends early")
	n.mu.Lock()
	delete(n.answers, "GET /cluster/1/backup")
	n.mu.Unlock()
	run(t, "", env, "backup", "save", "--out", out+"4").expect(t, ExitFailed, "without node n1")
	run(t, "", env, "backup", "save", "--out", filepath.Join(out, "x")).expect(t, ExitFailed, "--out: ")
	run(t, "", env, "backup", "save").expect(t, ExitUsage, "--out is required")
	run(t, "", nil, "backup", "save", "--out", out+"5").expect(t, ExitUsage, "set BELFRY_API_KEY")
	if files, err := os.ReadDir(dir); err != nil || len(files) != 2 {
		t.Errorf("%d files are there, want 2, %v", len(files), err)
	}
}

func TestBackup_verify(t *testing.T) {
	t.Parallel()
	whole, half := write(t, "whole", "whole"), write(t, "half", "who")
	if got := run(t, "", nil, "backup", "verify", whole); got.code != ExitOK || got.out != whole+" is whole: the configuration after entry 7\n" {
		t.Errorf("%+v", got)
	}
	run(t, "", nil, "backup", "verify", half).expect(t, ExitFailed, half+": it ends early")
	run(t, "", nil, "backup", "verify", half+"x").expect(t, ExitFailed, "no such file")
	run(t, "", nil, "backup", "verify").expect(t, ExitUsage, "takes the name of one file")
}

func TestBackup_restore(t *testing.T) {
	t.Parallel()
	args := func(dir string) []string {
		return []string{"backup", "restore", "--file", "b", "--node-id", "n1", "--peer-addr", "h:1", "--data-dir", dir}
	}
	if got := run(t, "", nil, args("d")...); got.code != ExitOK || got.out != "d has the configuration after entry 7; start n1 with --bootstrap and the master key file of the old cluster\n" {
		t.Errorf("%+v", got)
	}
	run(t, "", nil, args("full")...).expect(t, ExitFailed, "--data-dir full is not empty")
	all := args("d")
	for i := 2; i < len(all); i += 2 {
		some := append(append([]string{}, all[:i]...), all[i+2:]...)
		run(t, "", nil, some...).expect(t, ExitUsage, all[i]+" is required")
	}
}
