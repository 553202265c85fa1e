// Package model is the vocabulary of belfry's configuration: the entities that
// customers and operators manage, the shape each of them must have, the one
// error type with its stable codes, and the redacting secret type.
//
// It is a leaf: it imports the standard library only, holds no state, does no
// I/O and knows nothing of Raft, bbolt or HTTP. The JSON tags of its entities
// are the form on disk and in the log; the wire has types of its own in api.
package model
