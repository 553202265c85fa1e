package console

import (
	"net/http"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

func backupScreens() []screen {
	return []screen{{path: "/cluster/backup", scope: model.ScopeAdminCluster, form: true, get: backUp}}
}

// backUp sends a backup as a file while it comes, as download does a list.
// Without a quorum it is of what this node has.
func backUp(v *visit) (*answer, error) {
	w := &fileWriter{v: v, media: client.BackupForm, name: "belfry-" + v.c.now().UTC().Format("20060102T150405Z") + ".backup"}
	err := v.api.Backup(v.ctx(), v.outage != "", w)
	switch {
	case err == nil:
		return &answer{written: true}, nil
	case !w.begun:
		return nil, err
	default:
		panic(http.ErrAbortHandler)
	}
}
