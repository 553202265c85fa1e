package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"example.com/belfry/fsm/model"
)

const (
	backupPath = "/cluster/1/backup"
	// backupTime is how long a backup may take, from its first byte to its last.
	backupTime = 10 * time.Minute
	// defaultBackupBytes is how large one may be.
	defaultBackupBytes = 16 << 30
	typeBackup         = "application/octet-stream"
)

// Backup writes the configuration as of one index, with secrets as they are
// stored, sealed. An error ends it wherever it is; what was written then is
// known as incomplete by whoever restores it.
type Backup interface {
	Backup(ctx context.Context, w io.Writer) (index uint64, err error)
}

func (s *Server) backupRoutes() []route {
	return []route{{method: http.MethodGet, path: backupPath, scope: model.ScopeAdminCluster, read: true, handle: s.backUp}}
}

var errBackupSize = errors.New("the backup is larger than the limit")

// backUp sends a backup as a file, one at a time. An error before its first
// byte is an answer; later the connection is broken off, so that the client
// learns that the file is not whole.
func (s *Server) backUp(r *request) error {
	if s.o.Backup == nil {
		return model.Errorf(model.CodeUnavailable, "this node makes no backups yet")
	}
	p := r.strictQuery()
	p.knows("consistency")
	if err := p.err(); err != nil {
		return err
	}
	if !s.backingUp.TryLock() {
		e := model.Errorf(model.CodeLimit, "this node makes a backup already; one at a time")
		e.RetryAfter = 10
		return e
	}
	defer s.backingUp.Unlock()
	ctx, cancel := context.WithTimeoutCause(r.ctx(), backupTime, fmt.Errorf("a backup takes up to %s", backupTime))
	defer cancel()
	w := &backupWriter{stream: newStream(r), left: s.o.Limits.BackupBytes}
	defer w.end()
	index, err := s.o.Backup.Backup(ctx, w)
	if err == nil {
		s.log.Info("a backup was made", "requestId", r.id, "index", index, "bytes", s.o.Limits.BackupBytes-w.left)
		return nil
	}
	if !w.begun {
		return err
	}
	if r.ctx().Err() == nil {
		s.log.Error("a backup broke off", "requestId", r.id, "error", err)
	}
	panic(http.ErrAbortHandler)
}

// backupWriter sends the head before the first byte, and no more than left.
type backupWriter struct {
	stream

	left  int64
	begun bool
}

// Write gives the client streamPatience for every part.
func (w *backupWriter) Write(b []byte) (int, error) {
	if w.left -= int64(len(b)); w.left < 0 {
		return 0, errBackupSize
	}
	if !w.begun {
		w.begun = true
		h := w.r.header()
		h.Set("Content-Type", typeBackup)
		h.Set("Content-Disposition", `attachment; filename="belfry-`+w.r.s.o.Now().UTC().Format("20060102T150405Z")+`.backup"`)
		w.r.w.WriteHeader(http.StatusOK)
	}
	if w.r.http.Method == http.MethodHead {
		return len(b), nil
	}
	_, _ = w.buf.Write(b) // a bytes.Buffer never fails
	return len(b), w.flush()
}
