// Package dispatch takes events in and delivers them: the Publisher matches
// events to their targets and has them accepted by the event group, the
// Dispatcher sends what the partitions of this node owe and settles it.
//
// It does not decide who owns a partition, does not speak HTTP itself (that is
// dispatch/webhook) and holds no state that must survive: what is owed is in
// dispatch/outbox.
package dispatch
