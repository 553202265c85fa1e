package cluster

// SetSnapshotThreshold changes after how many entries a snapshot is taken. A
// snapshot writes the whole state, so a group whose state grows takes them the
// more rarely, the larger it is. It does nothing when the value is in force.
func (g *Group) SetSnapshotThreshold(entries uint64) error {
	conf := g.raft.ReloadableConfig()
	if conf.SnapshotThreshold == entries {
		return nil
	}
	conf.SnapshotThreshold = entries
	return g.raft.ReloadConfig(conf)
}
