package outbox

import (
	"example.com/belfry/dispatch/codec"
	"example.com/belfry/fsm/model"
)

// encodeSettle gives a Settle without bundles the form that it had before there
// were any.
func encodeSettle(c *Settle) []byte {
	size := 32 + 96*len(c.Settlements)
	for i := range c.Bundles {
		size += 64 + 48*len(c.Bundles[i].Members)
	}
	b := append(make([]byte, 0, size), format, tagSettle)
	if len(c.Bundles) == 0 {
		return appendSettle(b, c)
	}
	b[1] = tagBundle
	return appendBundles(appendSettle(b, c), c.Bundles)
}

func appendBundles(b []byte, bundles []Bundle) []byte {
	b = codec.AppendCount(b, len(bundles))
	for i := range bundles {
		u := &bundles[i]
		b = codec.AppendCount(b, u.Partition)
		b = codec.AppendUint(b, u.Epoch)
		b = codec.AppendString(b, u.WebhookID)
		b = codec.AppendCount(b, len(u.Members))
		for _, m := range u.Members {
			b = codec.AppendUint(codec.AppendString(b, m.DeliveryID), m.Mark)
		}
	}
	return b
}

// readBundles refuses bundles without an id or members, and that there are none.
func readBundles(r *codec.Reader) []Bundle {
	var bundles []Bundle
	for range r.Count() {
		if r.Failed() {
			return nil
		}
		u := Bundle{Partition: r.Int(model.Partitions - 1), Epoch: r.Uint(), WebhookID: r.String(maxString)}
		for range r.Count() {
			if r.Failed() {
				return nil
			}
			u.Members = append(u.Members, Member{DeliveryID: r.String(maxString), Mark: r.Uint()})
		}
		if u.WebhookID == "" || len(u.Members) == 0 {
			r.Fail()
		}
		bundles = append(bundles, u)
	}
	if len(bundles) == 0 {
		r.Fail()
	}
	return bundles
}
