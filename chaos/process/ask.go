package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

// every is how often nodes are asked when there is no signal to wait for, and
// askTimeout bounds one question.
const (
	every      = 20 * time.Millisecond
	askTimeout = 2 * time.Second
)

// AdminKey is Options.AdminKey.
func (c *Cluster) AdminKey() string { return c.o.AdminKey }

// direct is a client for one node, past Net.
func (n *Node) direct() (*client.Client, error) {
	return client.New(client.Options{
		BaseURLs: []string{n.DirectURL()}, Key: model.NewSecret(n.c.o.AdminKey),
		HTTPClient: &http.Client{Timeout: askTimeout, Transport: n.c.net.watch},
	})
}

// poll calls f until it returns nil, f's process ended (errGone) or ctx ended.
func poll(ctx context.Context, f func() error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := f()
		if err == nil || errors.Is(err, errGone) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

var errGone = errors.New("the process ended")

// Ready waits until the node says at /readyz that it serves. It returns an
// error when the process or ctx ends first.
func (n *Node) Ready(ctx context.Context) error {
	from := n.LogSize()
	cl, err := n.direct()
	if err != nil {
		return err
	}
	err = poll(ctx, func() error {
		if !n.Alive() {
			return errGone
		}
		r, err := cl.Ready(ctx)
		if err != nil || r.Status == "ok" {
			return err
		}
		return fmt.Errorf("it is not ready: %+v", r.Checks)
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w\n%s", n.id, err, n.LogFrom(max(from-4096, n.LogSize()-8192)))
	}
	return nil
}

// Members asks the node for the members of the cluster; the answer is the
// leader's, so it needs a quorum.
func (n *Node) Members(ctx context.Context) ([]client.Node, error) {
	cl, err := n.direct()
	if err != nil {
		return nil, err
	}
	return cl.Nodes(ctx)
}

// Members asks the nodes that are alive, one after the other, until one answers.
func (c *Cluster) Members(ctx context.Context) ([]client.Node, error) {
	err := errors.New("no node is alive")
	for _, n := range c.Nodes() {
		if !n.Alive() || n.Paused() {
			continue
		}
		var ms []client.Node
		if ms, err = n.Members(ctx); err == nil {
			return ms, nil
		}
	}
	return nil, fmt.Errorf("ask for the members: %w", err)
}

// Leader waits until there is a leader and returns it.
func (c *Cluster) Leader(ctx context.Context) (*Node, error) {
	var leader *Node
	err := poll(ctx, func() error {
		ms, err := c.Members(ctx)
		if err != nil {
			return err
		}
		for _, m := range ms {
			if m.Role == "LEADER" {
				if leader = c.Node(m.NodeID); leader != nil {
					return nil
				}
			}
		}
		return errors.New("no member leads")
	})
	if err != nil {
		return nil, fmt.Errorf("wait for a leader: %w", err)
	}
	return leader, nil
}

// Converge waits until all nodes are ready, live voters, one leads, and all
// have applied what the leader had when all that was seen first. It returns
// what each has applied of the config group.
func (c *Cluster) Converge(ctx context.Context) (applied map[string]uint64, err error) {
	for _, n := range c.Nodes() {
		if err := n.Ready(ctx); err != nil {
			return nil, err
		}
	}
	var target uint64
	err = poll(ctx, func() error {
		ms, err := c.Members(ctx)
		if err != nil {
			return err
		}
		lead, err := c.whole(ms)
		if err != nil {
			return err
		}
		if target == 0 {
			target = lead
		}
		applied = map[string]uint64{}
		for _, m := range ms {
			applied[m.NodeID] = m.AppliedIndex
			if m.AppliedIndex < target {
				return fmt.Errorf("%s has applied %d of %d", m.NodeID, m.AppliedIndex, target)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("converge: %w", err)
	}
	return applied, nil
}

// whole says whether ms are exactly the nodes there are, all well, and returns
// the index of the leader.
func (c *Cluster) whole(ms []client.Node) (lead uint64, err error) {
	leaders := 0
	for _, m := range ms {
		if c.Node(m.NodeID) == nil {
			return 0, fmt.Errorf("%s is a member and should not be", m.NodeID)
		}
		if !m.Voter || !m.Live {
			return 0, fmt.Errorf("%s: voter %t, live %t", m.NodeID, m.Voter, m.Live)
		}
		if m.Role == "LEADER" {
			leaders++
			lead = m.AppliedIndex
		}
	}
	if want := len(c.Nodes()); len(ms) != want || leaders != 1 {
		return 0, fmt.Errorf("%d members and %d leaders, want %d and 1", len(ms), leaders, want)
	}
	return lead, nil
}

// TransferLeadership has the leader hand over, to whom it likes.
func (c *Cluster) TransferLeadership(ctx context.Context) error {
	leader, err := c.Leader(ctx)
	if err != nil {
		return err
	}
	cl, err := leader.direct()
	if err != nil {
		return err
	}
	return cl.TransferLeadership(ctx)
}

// RemoveMember has another node take id out of the cluster, and tries again
// until it is done or ctx ends.
func (c *Cluster) RemoveMember(ctx context.Context, id string) error {
	return poll(ctx, func() error {
		err := errors.New("no other node is alive")
		for _, n := range c.Nodes() {
			if n.id == id || !n.Alive() || n.Paused() {
				continue
			}
			var cl *client.Client
			if cl, err = n.direct(); err != nil {
				return err
			}
			err = cl.RemoveNode(ctx, id)
			if me := (*model.Error)(nil); err == nil || errors.As(err, &me) && me.Code == model.CodeNotFound {
				return nil
			}
		}
		return fmt.Errorf("remove %s: %w", id, err)
	})
}

// Metrics are the samples of a node's /metrics, by name with labels as they
// are written there.
type Metrics map[string]float64

// Sum adds up the samples of one name, whatever their labels.
func (m Metrics) Sum(name string) float64 {
	sum := 0.0
	for k, v := range m {
		if k == name || strings.HasPrefix(k, name+"{") {
			sum += v
		}
	}
	return sum
}

// Metrics reads /metrics of the node, past Net.
func (n *Node) Metrics(ctx context.Context) (Metrics, error) {
	cl, err := n.direct()
	if err != nil {
		return nil, err
	}
	b, err := cl.Metrics(ctx)
	if err != nil {
		return nil, fmt.Errorf("metrics of %s: %w", n.id, err)
	}
	return parseMetrics(b)
}

func parseMetrics(b []byte) (Metrics, error) {
	m := Metrics{}
	s := bufio.NewScanner(bytes.NewReader(b))
	for s.Scan() {
		line := s.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		if i < 0 {
			return nil, fmt.Errorf("metrics: %q has no value", line)
		}
		v, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
		m[line[:i]] = v
	}
	return m, s.Err()
}

// Memory reads from the kernel, in KiB, what of the process is resident, and
// what of that is its own rather than pages of files.
func (n *Node) Memory() (resident, own int, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.Pid()))
	if err != nil {
		return 0, 0, fmt.Errorf("memory of %s: %w", n.id, err)
	}
	for line := range strings.Lines(string(b)) {
		_, _ = fmt.Sscanf(line, "VmRSS: %d kB", &resident)
		_, _ = fmt.Sscanf(line, "RssAnon: %d kB", &own)
	}
	return resident, own, nil
}
