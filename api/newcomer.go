package api

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"example.com/belfry/fsm/model"
)

const (
	// subjectLooks is how often a second this node is brought up to date for
	// one key or user that it does not know, and nodeLooks for all of them
	// together: who sends invented keys must not keep the leader busy. Beyond
	// that what this node has decides.
	subjectLooks = 1
	nodeLooks    = 20
	// lookTimeout is how long it may take; followers lag by milliseconds.
	lookTimeout = 500 * time.Millisecond
)

// newcomers finds keys and users that were made on another node just now.
type newcomers struct {
	reader    ConfigReader
	cluster   Cluster
	each, all *buckets
}

func newNewcomers(r ConfigReader, c Cluster, size int, now func() time.Time) *newcomers {
	return &newcomers{
		reader: r, cluster: c,
		each: newBuckets(rate.Limit(subjectLooks), subjectLooks, size, now), all: newBuckets(rate.Limit(nodeLooks), nodeLooks, 1, now),
	}
}

func (n *newcomers) key(ctx context.Context, id string) (model.Key, error) {
	return known(ctx, n, "key:"+id, func() (model.Key, error) { return n.reader.Key(id) })
}

func (n *newcomers) user(ctx context.Context, name string) (model.User, error) {
	return known(ctx, n, "user:"+name, func() (model.User, error) { return n.reader.User(name) })
}

// known looks a subject up, and once more after this node was brought up to
// date when it does not know it. CodeUnavailable: it could not be, so the
// subject may be one that was made elsewhere.
//
// INV api-10: credentials that are not known cost the leader no more than nodeLooks
// rounds a second and node.
func known[T any](ctx context.Context, n *newcomers, subject string, look func() (T, error)) (T, error) {
	got, err := look()
	if model.CodeOf(err) != model.CodeNotFound || n.each.take(subject) > 0 || n.all.take("") > 0 {
		return got, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if err := n.cluster.Linearize(ctx); err != nil {
		return got, &model.Error{
			Code: model.CodeUnavailable, Message: "this node does not know the credentials and cannot ask the leader right now; try again, or another node", RetryAfter: 1,
		}
	}
	return look()
}
