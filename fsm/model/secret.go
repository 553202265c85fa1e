package model

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// SecretMask is what a masked secret looks like on the wire. A PUT that sends
// the mask back leaves the stored secret as it is.
const SecretMask = "********"

const redacted = "[redacted]"

// Secret is a clear-text secret on its way through memory. It prints as
// [redacted] by every verb and encoder, so that a log line, an error or a
// dump cannot leak it by accident. Reveal is the only way to the value.
type Secret struct{ clear string }

// NewSecret wraps a clear-text value.
func NewSecret(value string) Secret { return Secret{clear: value} }

// Reveal returns the clear text. Call it where the value is used (sealing,
// signing, an Authorization header) and nowhere else.
func (s Secret) Reveal() string { return s.clear }

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.clear == "" }

// String implements fmt.Stringer with the redacted form.
func (Secret) String() string { return redacted }

// GoString implements fmt.GoStringer with the redacted form.
func (Secret) GoString() string { return redacted }

// Format implements fmt.Formatter so that no verb prints the value.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalJSON implements json.Marshaler with the redacted form.
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// MarshalText implements encoding.TextMarshaler with the redacted form.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer with the redacted form.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Sealed is an AES-256-GCM envelope made by fsm/seal: safe in the log, in
// state, in snapshots and in backups. The state machine never opens one.
type Sealed []byte

// SecretField names one secret of an object. It is part of the envelope's
// additional data, so an envelope cannot be moved to another field.
type SecretField string

// The secret fields of security settings and certificates. The secret headers
// of an object use HeaderField.
const (
	FieldPassword          SecretField = "password"
	FieldSecretKey         SecretField = "secretKey"
	FieldPreviousSecretKey SecretField = "previousSecretKey"
	FieldClientSecret      SecretField = "clientSecret"
	FieldRefreshToken      SecretField = "refreshToken"
	FieldPrivateKey        SecretField = "privateKey"
)

// HeaderField is the secret field that holds the value of a secret header.
func HeaderField(name string) SecretField { return SecretField("header:" + name) }

// HeaderName is the inverse of HeaderField.
func (f SecretField) HeaderName() (string, bool) {
	const prefix = "header:"
	if len(f) > len(prefix) && f[:len(prefix)] == prefix {
		return string(f[len(prefix):]), true
	}
	return "", false
}
