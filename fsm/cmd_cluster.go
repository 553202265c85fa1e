package fsm

import (
	"encoding/json"
	"fmt"

	"go.etcd.io/bbolt"

	"example.com/belfry/fsm/model"
)

// SupportedFeatureLevel is the highest feature level this version can apply.
const SupportedFeatureLevel = 1

// The commands of the cluster itself.
type (
	// SetPartitions replaces the partition table when its version is still
	// PrevVersion. It is housekeeping of the leader and leaves no audit record.
	SetPartitions struct {
		Header
		PrevVersion uint64               `json:"prevVersion"`
		Table       model.PartitionTable `json:"table"`
	}
	// SetFeatureLevel allows the commands of a newer version, once every node
	// runs it. It only rises.
	SetFeatureLevel struct {
		Header
		Level uint64 `json:"level"`
	}
)

func (SetPartitions) tag() tag   { return tagSetPartitions }
func (SetFeatureLevel) tag() tag { return tagSetFeatureLevel }

func (SetPartitions) record() (account, action, object string) { return "", "", "" }

func (c SetFeatureLevel) record() (account, action, object string) {
	return model.DefaultAccount, "cluster.feature", fmt.Sprint(c.Level)
}

func (c SetPartitions) apply(t *txn) (any, error) {
	if cur := readPartitions(t.tx).Version; cur != c.PrevVersion {
		return nil, model.Errorf(model.CodeConflict, "the partition table is at version %d, not %d", cur, c.PrevVersion)
	}
	if c.Table.Version <= c.PrevVersion {
		return nil, model.Invalid("version", "must be higher than %d", c.PrevVersion)
	}
	t.put(bCluster, kPartitions, encodeRow(c.Table))
	t.changed(model.EntityPartitions, "", "", "", false)
	return nil, nil
}

func readPartitions(tx *bbolt.Tx) model.PartitionTable {
	var p model.PartitionTable
	if v := tx.Bucket(bCluster).Get(kPartitions); v != nil {
		p = decodeRow[model.PartitionTable](bCluster, v)
	}
	return p
}

func (c SetFeatureLevel) apply(t *txn) (any, error) {
	if c.Level > SupportedFeatureLevel {
		panic(fmt.Sprintf("fsm: the cluster was raised to feature level %d, this version of belfry knows %d: run the newer version", c.Level, SupportedFeatureLevel))
	}
	if cur := readUint(t.tx.Bucket(bCluster).Get(kFeature)); c.Level <= cur {
		return nil, model.Errorf(model.CodeConflict, "the feature level is %d already", cur)
	}
	t.put(bCluster, kFeature, be64(c.Level))
	t.changed(model.EntityFeature, "", "", "", false)
	return nil, nil
}

// answer encodes what a command returns.
func answer(v any) []byte {
	if v == nil {
		return nil
	}
	b, err := json.Marshal(v)
	must(err)
	return b
}
