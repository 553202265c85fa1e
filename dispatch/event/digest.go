package event

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// digestVersion is the first thing hashed; a change of the form changes it.
const digestVersion = "belfry event v1"

// Digest is a SHA-256 over the content of an event: everything but ReceivedAt.
// Two events of one account with the same id and digest are the same event.
// Instants count, not their zones; of the payload, white space between tokens
// does not count once Decode removed it, the order of members does.
func Digest(e *Event) (sum [32]byte) {
	h := sha256.New()
	for _, s := range []string{
		digestVersion, e.Account, e.ID, e.Channel, e.Name, e.Format, e.ApplicationID, e.EntityID, e.CallsConfigurationID,
		e.Resource, e.User, e.OrderingKey,
	} {
		digestBytes(h, []byte(s))
	}
	var at []byte
	if !e.OccurredAt.IsZero() {
		at = binary.BigEndian.AppendUint64(at, uint64(e.OccurredAt.Unix()))       //nolint:gosec // any bits will do
		at = binary.BigEndian.AppendUint32(at, uint32(e.OccurredAt.Nanosecond())) //nolint:gosec // below 1e9
	}
	digestBytes(h, at)
	webhook := "none"
	var url, contentType string
	if w := e.Webhook; w != nil {
		url, contentType = w.URL, w.ContentType
		switch {
		case w.Notify == nil:
			webhook = "default"
		case *w.Notify:
			webhook = "notify"
		default:
			webhook = "silent"
		}
	}
	digestBytes(h, []byte(webhook))
	digestBytes(h, []byte(url))
	digestBytes(h, []byte(contentType))
	digestBytes(h, e.Payload)
	h.Sum(sum[:0])
	return sum
}

// digestBytes hashes b with its length before it, so that no two lists of
// members run together to the same bytes.
func digestBytes(h hash.Hash, b []byte) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(b)))
	h.Write(n[:])
	h.Write(b)
}
