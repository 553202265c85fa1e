package workload

import (
	"context"
	"net/http"

	"example.com/belfry/chaos/history"
)

// digestTries is how often digests are asked for until all are of one index:
// only those can be compared, and a leader changes its state now and then by
// itself.
const digestTries = 5

// digests reads the digests of all nodes' states of a group: a record for each
// that has one, and else one that says why there is none.
func (f *Final) digests(ctx context.Context, group string) {
	type row struct {
		Node   string `json:"nodeId"`
		Index  uint64 `json:"index"`
		SHA256 string `json:"sha256"`
		Error  string `json:"error"`
	}
	var got struct {
		Digests     []row    `json:"digests"`
		Unreachable []string `json:"unreachableNodes"`
	}
	var a answer
	for try := 0; ; try++ {
		got.Digests, got.Unreachable = nil, nil
		a = f.admin.send(ctx, request{method: http.MethodGet, path: "/cluster/1/digests?group=" + group})
		a.decode(&got)
		even := len(got.Digests) > 0 && len(got.Unreachable) == 0
		for _, d := range got.Digests {
			even = even && d.SHA256 != "" && d.Index == got.Digests[0].Index
		}
		if even || try+1 >= digestTries || !pause(ctx, lastWait) {
			break
		}
	}
	if len(got.Digests) == 0 {
		f.admin.note(history.FinalDigest, group, nil, nil, a)
	}
	for _, d := range got.Digests {
		one := a
		one.node = d.Node
		if d.SHA256 == "" {
			one.outcome, one.text = history.Fail, d.Error
		}
		f.admin.note(history.FinalDigest, group, nil, history.Digest{Group: group, Index: d.Index, SHA256: d.SHA256}, one)
	}
	for _, node := range got.Unreachable {
		one := a
		one.node, one.outcome, one.text = node, history.Fail, "it did not answer the node that asked"
		f.admin.note(history.FinalDigest, group, nil, nil, one)
	}
}
