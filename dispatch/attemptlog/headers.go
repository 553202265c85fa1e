package attemptlog

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/belfry/dispatch/codec"
	"example.com/belfry/dispatch/event"
)

// The names and values that most headers have are kept by their number. They
// are in files: new ones go to the end.
var (
	commonNames = [...]string{
		"Content-Type", "User-Agent", "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "X-Ib-Hmac-Signature", "Authorization",
		"Belfry-Attempt", "Belfry-Channel", "Belfry-Event", "Belfry-Event-Id", "Belfry-Format", "Belfry-Test",
		"Date", "Content-Length", "Server", "Connection", "Keep-Alive", "Vary", "Via", "Retry-After", "Location", "Www-Authenticate", "Set-Cookie",
		"Cache-Control", "Pragma", "Expires", "Etag", "Last-Modified", "Content-Encoding", "Transfer-Encoding", "Allow", "Age", "Accept-Ranges", "Alt-Svc",
		"X-Request-Id", "X-Correlation-Id", "X-Powered-By", "X-Cache", "Cf-Ray", "Cf-Cache-Status", "X-Amzn-Requestid", "X-Amzn-Trace-Id", "X-Amz-Cf-Id", "X-Amz-Cf-Pop",
		"Strict-Transport-Security", "X-Content-Type-Options", "X-Frame-Options", "X-Xss-Protection", "Referrer-Policy", "Access-Control-Allow-Origin",
	}
	commonValues = [...]string{
		"***", "Basic ***", "Bearer ***", "application/json", "application/json; charset=utf-8", "text/plain", "text/plain; charset=utf-8", "text/html", "text/html; charset=utf-8",
		"application/xml", "belfry", "true", "keep-alive", "close", "timeout=5", "nginx", "cloudflare", "nosniff", "DENY", "SAMEORIGIN", "Accept-Encoding", "Origin", "*",
		"no-cache", "no-store", "DYNAMIC", "bytes", "gzip", "chunked", "0", "1; mode=block",
	}
)

// How the value of a header is kept. A number from valueCommon on is the place
// in commonValues.
const (
	valueText    = iota // as it is
	valueSeconds        // seconds since 1970, by their distance to the attempt's time
	valueDate           // a date of HTTP, likewise
	valueHex            // a beginning, and bytes in hex
	valueBase64         // a beginning, and bytes in base64
	valueEventID        // what is known anyway
	valueWebhookID
	valueAttempt
	valueCommon = 16
)

// minPacked is from how many bytes on hex and base64 are unpacked.
const minPacked = 16

// headerContext is what the headers of an attempt mostly repeat.
type headerContext struct {
	eventID string
	attempt *event.Attempt
}

func headerSize(fs []event.HeaderField) (n int) {
	for _, f := range fs {
		n += len(f.Name) + len(f.Value) + 32 // two strings
	}
	return n
}

// headersOf are the headers of an entry in few bytes; nil: it has none.
func headersOf(eventID string, e *Entry) []byte {
	a := e.Attempt
	if a == nil || len(a.RequestHeaders)+len(a.ResponseHeaders) == 0 && !a.HeadersCut {
		return nil
	}
	of := headerContext{eventID, a}
	answer := event.MaxHeaderBytes
	if e.Status == event.StatusDelivered {
		answer = MaxDeliveredHeaders
	}
	sent, n, cutSent := of.encode(a.RequestHeaders, event.MaxHeaderBytes)
	got, m, cutGot := of.encode(a.ResponseHeaders, answer)
	b := codec.AppendBool(nil, a.HeadersCut || cutSent || cutGot)
	b = append(codec.AppendCount(b, n), sent...)
	return append(codec.AppendCount(b, m), got...)
}

// encode writes as many headers as fit, and leaves out the others.
func (c headerContext) encode(fs []event.HeaderField, limit int) (b []byte, n int, cut bool) {
	for _, f := range fs {
		next := c.appendValue(appendName(b, f.Name), f.Value)
		if n == event.MaxHeaders || len(next) > limit {
			cut = true
			continue
		}
		b = next
		n++
	}
	return b, n, cut
}

func appendName(b []byte, name string) []byte {
	if i := slices.Index(commonNames[:], name); i >= 0 {
		return codec.AppendCount(b, i+1)
	}
	return codec.AppendString(codec.AppendCount(b, 0), name)
}

func (c headerContext) appendValue(b []byte, v string) []byte {
	if i := slices.Index(commonValues[:], v); i >= 0 {
		return codec.AppendCount(b, valueCommon+i)
	}
	for _, kind := range [...]int{valueEventID, valueWebhookID, valueAttempt} {
		if v != "" && c.elsewhere(kind) == v {
			return codec.AppendCount(b, kind)
		}
	}
	if packed := c.pack(b, v); packed != nil {
		return packed
	}
	return codec.AppendString(codec.AppendCount(b, valueText), v)
}

// pack writes times and bytes in a shorter form; nil: v is neither, or would not
// be read back as it is. What cannot be one is not parsed: this is done for
// every header of every attempt.
func (c headerContext) pack(b []byte, v string) []byte {
	if len(v) == len("1767607200") && v[0] > '0' && v[0] <= '9' {
		if n, err := strconv.ParseInt(v, 10, 64); err == nil && c.near(n) {
			return appendDistance(codec.AppendCount(b, valueSeconds), n-c.attempt.At.Unix())
		}
	}
	if len(v) == len(http.TimeFormat) && strings.HasSuffix(v, " GMT") {
		if t, err := time.Parse(http.TimeFormat, v); err == nil && c.near(t.Unix()) && t.UTC().Format(http.TimeFormat) == v {
			return appendDistance(codec.AppendCount(b, valueDate), t.Unix()-c.attempt.At.Unix())
		}
	}
	if len(v) < minPacked*4/3 {
		return nil
	}
	start := strings.IndexAny(v, "=,") + 1 // a signature stands behind "SHA256=" or "v1,"
	if raw, err := hex.DecodeString(v[start:]); err == nil && len(raw) >= minPacked && hex.EncodeToString(raw) == v[start:] {
		return codec.AppendBytes(codec.AppendString(codec.AppendCount(b, valueHex), v[:start]), raw)
	}
	if raw, err := base64.StdEncoding.DecodeString(v[start:]); err == nil && len(raw) >= minPacked && base64.StdEncoding.EncodeToString(raw) == v[start:] {
		return codec.AppendBytes(codec.AppendString(codec.AppendCount(b, valueBase64), v[:start]), raw)
	}
	return nil
}

// elsewhere is a value that the record, or its key, has in another place.
func (c headerContext) elsewhere(kind int) string {
	switch kind {
	case valueEventID:
		return c.eventID
	case valueWebhookID:
		return c.attempt.WebhookID
	case valueAttempt:
		return strconv.Itoa(c.attempt.Attempt)
	}
	return ""
}

// near reports whether an instant is so close to the attempt that its distance
// takes few bytes.
func (c headerContext) near(unix int64) bool {
	d := unix - c.attempt.At.Unix()
	return -maxDistance <= d && d < maxDistance
}

// maxDistance is 12 days in seconds.
const maxDistance = 1 << 20

func appendDistance(b []byte, d int64) []byte {
	return codec.AppendCount(b, int(uint64(d<<1)^uint64(d>>63))) //nolint:gosec // small, by near
}

func readDistance(r *codec.Reader) int64 {
	n := int64(r.Int(2 * maxDistance))
	return n>>1 ^ -(n & 1)
}

// decode is the way back, into the attempt.
func (c headerContext) decode(b []byte) error {
	r := codec.NewReader(b)
	c.attempt.HeadersCut = r.Bool()
	c.attempt.RequestHeaders = c.read(r)
	c.attempt.ResponseHeaders = c.read(r)
	return r.Done()
}

func (c headerContext) read(r *codec.Reader) (out []event.HeaderField) {
	for range r.Int(event.MaxHeaders) {
		var name string
		if i := r.Int(len(commonNames)); i > 0 {
			name = commonNames[i-1]
		} else {
			name = r.String(maxField)
		}
		value := c.readValue(r)
		if r.Failed() {
			return nil
		}
		out = append(out, event.HeaderField{Name: name, Value: value})
	}
	return out
}

func (c headerContext) readValue(r *codec.Reader) string {
	switch kind := r.Int(valueCommon + len(commonValues) - 1); kind {
	case valueText:
		return r.String(maxField)
	case valueSeconds:
		return strconv.FormatInt(c.attempt.At.Unix()+readDistance(r), 10)
	case valueDate:
		return time.Unix(c.attempt.At.Unix()+readDistance(r), 0).UTC().Format(http.TimeFormat)
	case valueHex:
		start := r.String(maxField)
		return start + hex.EncodeToString(r.Bytes(maxField))
	case valueBase64:
		start := r.String(maxField)
		return start + base64.StdEncoding.EncodeToString(r.Bytes(maxField))
	default:
		if kind >= valueCommon {
			return commonValues[kind-valueCommon]
		}
		if kind > valueAttempt {
			r.Fail()
		}
		return c.elsewhere(kind)
	}
}
