package fsm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"example.com/belfry/fsm/model"
)

// Header is stamped into every command by the proposer: Apply reads no clock.
type Header struct {
	At time.Time   `json:"at"` // UTC, whole milliseconds
	By model.Actor `json:"by"`
}

func (h Header) header() Header { return h }

// Command is one change of the config state. The set is closed: commands are
// the types of this package that have a tag.
//
//sumtype:decl
type Command interface {
	tag() tag
	header() Header
	// apply checks the rules, then writes, then returns what the answer
	// carries (nil for nothing). An error is a *model.Error, and nothing was
	// written.
	apply(t *txn) (any, error)
	// record says which account's audit log names the change, and how. An
	// empty action leaves no record.
	record() (account, action, object string)
}

// commandFormat is the first byte of every encoded command.
const commandFormat = 1

// MaxCommandSize is the largest encoded command, in bytes.
const MaxCommandSize = 4 << 20

type tag byte

// The tags of commands. They are in the log of every cluster: append only,
// never reuse a number.
const (
	tagCreateSubscription  tag = 1
	tagReplaceSubscription tag = 2
	tagDeleteSubscription  tag = 3
	tagCreateProfile       tag = 10
	tagUpdateProfile       tag = 11
	tagDeleteProfile       tag = 12
	tagCreateSecurity      tag = 20
	tagUpdateSecurity      tag = 21
	tagDeleteSecurity      tag = 22
	tagAuditReveal         tag = 23
	tagCreateCertificate   tag = 30
	tagDeleteCertificate   tag = 31
	tagCreateAccount       tag = 40
	tagUpdateAccount       tag = 41
	tagDeleteAccount       tag = 42
	tagBootstrap           tag = 43
	tagCreateKey           tag = 50
	tagUpdateKey           tag = 51
	tagDeleteKey           tag = 52
	tagCreateUser          tag = 60
	tagUpdateUser          tag = 61
	tagDeleteUser          tag = 62
	tagRevokeToken         tag = 70
	tagSetPartitions       tag = 80
	tagSetFeatureLevel     tag = 90
)

// Encode gives the form of c in the log: format, tag, JSON.
func Encode(c Command) ([]byte, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode command %d: %w", c.tag(), err)
	}
	if len(body)+2 > MaxCommandSize {
		return nil, model.Errorf(model.CodeTooLarge, "the change is larger than %d bytes", MaxCommandSize)
	}
	return append([]byte{commandFormat, byte(c.tag())}, body...), nil
}

// Decode reads what Encode wrote. An unknown format, tag or member is an
// error: applying only the known part of a command would be divergence.
func Decode(b []byte) (Command, error) {
	switch {
	case len(b) < 2:
		return nil, errors.New("a command has at least two bytes")
	case b[0] != commandFormat:
		return nil, fmt.Errorf("command format %d is not known to this version of belfry", b[0])
	}
	body := b[2:]
	switch tag(b[1]) {
	case tagCreateSubscription:
		return decodeAs[CreateSubscription](body)
	case tagReplaceSubscription:
		return decodeAs[ReplaceSubscription](body)
	case tagDeleteSubscription:
		return decodeAs[DeleteSubscription](body)
	case tagCreateProfile:
		return decodeAs[CreateProfile](body)
	case tagUpdateProfile:
		return decodeAs[UpdateProfile](body)
	case tagDeleteProfile:
		return decodeAs[DeleteProfile](body)
	case tagCreateSecurity:
		return decodeAs[CreateSecurity](body)
	case tagUpdateSecurity:
		return decodeAs[UpdateSecurity](body)
	case tagDeleteSecurity:
		return decodeAs[DeleteSecurity](body)
	case tagAuditReveal:
		return decodeAs[AuditReveal](body)
	case tagCreateCertificate:
		return decodeAs[CreateCertificate](body)
	case tagDeleteCertificate:
		return decodeAs[DeleteCertificate](body)
	case tagCreateAccount:
		return decodeAs[CreateAccount](body)
	case tagUpdateAccount:
		return decodeAs[UpdateAccount](body)
	case tagDeleteAccount:
		return decodeAs[DeleteAccount](body)
	case tagBootstrap:
		return decodeAs[Bootstrap](body)
	case tagCreateKey:
		return decodeAs[CreateKey](body)
	case tagUpdateKey:
		return decodeAs[UpdateKey](body)
	case tagDeleteKey:
		return decodeAs[DeleteKey](body)
	case tagCreateUser:
		return decodeAs[CreateUser](body)
	case tagUpdateUser:
		return decodeAs[UpdateUser](body)
	case tagDeleteUser:
		return decodeAs[DeleteUser](body)
	case tagRevokeToken:
		return decodeAs[RevokeToken](body)
	case tagSetPartitions:
		return decodeAs[SetPartitions](body)
	case tagSetFeatureLevel:
		return decodeAs[SetFeatureLevel](body)
	}
	return nil, fmt.Errorf("command tag %d is not known to this version of belfry", b[1])
}

func decodeAs[C Command](body []byte) (Command, error) {
	var c C
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		// The decoder's text may repeat values: keep the tag only.
		return nil, fmt.Errorf("the body of command %d cannot be decoded", c.tag())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("the body of command %d has a tail", c.tag())
	}
	return c, nil
}
