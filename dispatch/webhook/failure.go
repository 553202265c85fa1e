package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"strconv"
	"strings"
	"syscall"
)

// failure is why an attempt came to nothing, in words for the owner of the
// webhook.
//
// INV webhook-7: the text holds no secret, no resolved address and nothing of
// the URL or of what the receiver wrote.
type failure struct {
	class Class
	where ErrorClass
	text  string
	hint  string // for connection tests: what to do about it
}

func (f *failure) Error() string { return f.text }

func (f *failure) result() Result {
	return Result{Class: f.class, ErrorClass: f.where, Error: f.text}
}

// during says at which step before the request a connection failed.
func (f *failure) during(step ErrorClass) *failure {
	if f.where != ErrorConnect {
		return f
	}
	g := *f
	g.where = step
	return &g
}

// failed is a failure that is not the receiver's: of credentials, or of what
// is configured.
func failed(class Class, format string, args ...any) *failure {
	f := &failure{class: class, where: ErrorConfig, text: fmt.Sprintf(format, args...)}
	switch class {
	case ClassAuth:
		f.where = ErrorAuth
	case ClassBlocked:
		f.where = ErrorBlocked
	case ClassOK, ClassTemporary, ClassThrottled, ClassGone:
	}
	return f
}

// temporary is a failure that may pass.
func temporary(where ErrorClass, text, hint string) *failure {
	return &failure{ClassTemporary, where, text, hint}
}

// What is said about blocked destinations is the same for all of them.
const textBlocked = "destination is not permitted by the egress policy of this node"

var (
	errBlocked        = &failure{ClassBlocked, ErrorBlocked, textBlocked, hintGuard}
	errConnectTimeout = temporary(ErrorConnect, "timeout while connecting", hintTimeout)
	errNoAnswer       = temporary(ErrorTimeout, "timeout while waiting for an answer", hintTimeout)
	errSlowAnswer     = temporary(ErrorTimeout, "timeout while reading the answer", hintTimeout)
	errTooLong        = temporary(ErrorTimeout, "the attempt took too long", "")
	errDrained        = temporary(ErrorCut, "the rest of the answer is of no interest", "")
	errClosed         = temporary(ErrorCut, "the sender is closed", "")
	errCutOff         = temporary(ErrorCut, "the attempt was cut off", "")
)

// stage is how far a request came.
type stage int

const (
	connecting stage = iota
	waiting          // connected, nothing of the answer is there
	reading          // the answer has begun
)

// describe turns an error of the transport into words.
func describe(ctx context.Context, err error, at stage) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if ctx.Err() != nil {
		if f, ok := errors.AsType[*failure](context.Cause(ctx)); ok {
			return f
		}
		return errCutOff
	}
	if f := describeTLS(err); f != nil {
		return f
	}
	if f := describeNet(err, at); f != nil {
		return f
	}
	switch at {
	case connecting:
		return temporary(ErrorConnect, "connection failed", hintOther)
	case waiting:
		return temporary(ErrorReset, "connection closed by the receiver before it answered", hintClosed)
	case reading:
	}
	return temporary(ErrorProtocol, "the answer is not valid HTTP, or its headers exceed "+strconv.Itoa(maxHeaderBytes>>10)+" KiB", "")
}

func describeNet(err error, at stage) *failure {
	netErr, isNet := errors.AsType[net.Error](err)
	closed := ErrorReset
	if at == connecting {
		closed = ErrorConnect
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return temporary(ErrorConnect, "connection refused", hintRefused)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		return temporary(closed, "connection reset by the receiver", hintClosed)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return temporary(ErrorConnect, "the host cannot be reached", hintTimeout)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), isNet && netErr.Timeout():
		return [...]*failure{connecting: errConnectTimeout, waiting: errNoAnswer, reading: errSlowAnswer}[at]
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return temporary(closed, [...]string{
			connecting: "connection closed by the receiver",
			waiting:    "connection closed by the receiver before it answered",
			reading:    "connection closed by the receiver in the middle of the answer",
		}[at], hintClosed)
	}
	return nil
}

// describeDNS says why a name has no address.
func describeDNS(err error) *failure {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case e.IsNotFound:
			return temporary(ErrorDNS, "the name of the host cannot be resolved: it does not exist", hintName)
		case e.IsTimeout:
			return temporary(ErrorDNS, "timeout while resolving the name of the host", hintName)
		}
	}
	return temporary(ErrorDNS, "the name of the host cannot be resolved", hintName)
}

// describeHandshake turns the error of a TLS handshake into words. What has no
// type in crypto/tls is mostly about versions and algorithms.
func describeHandshake(ctx context.Context, err error) *failure {
	if ctx.Err() == nil && describeTLS(err) == nil {
		if f := describeNet(err, connecting); f != nil {
			return temporary(ErrorTLS, "TLS: the handshake failed: "+f.text, f.hint)
		}
		return temporary(ErrorTLS, "TLS: the handshake failed: no enabled version or algorithm in common, or an answer that is not valid", hintVersion)
	}
	return describe(ctx, err, connecting).during(ErrorTLS)
}

// describeTLS returns nil for what is no matter of TLS.
func describeTLS(err error) *failure {
	if alert, ok := remoteAlert(err); ok {
		return temporary(ErrorTLS, "TLS: the receiver refused: "+strings.TrimPrefix(tls.AlertError(alert).Error(), "tls: "), alertHint(alert))
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return temporary(ErrorTLS, "TLS: the certificate of the receiver is for another host name", hintHost)
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return temporary(ErrorTLS, "TLS: the certificate of the receiver has expired or is not valid yet", hintDates)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return temporary(ErrorTLS, "TLS: the certificate of the receiver is signed by an unknown authority", hintServer)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return temporary(ErrorTLS, "TLS: the certificate of the receiver is not valid", hintServer)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return temporary(ErrorTLS, "TLS: the receiver does not speak TLS on this port", hintNoTLS)
	}
	return nil
}

// remoteAlert returns the alert with which the peer ended the connection. Its
// type is not exported by crypto/tls; its value is the number of the alert.
func remoteAlert(err error) (uint8, bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" {
		return 0, false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return uint8(v.Uint()), true //nolint:gosec // the kind is uint8
}

// alertHint says what to do about an alert of RFC 8446, section 6.2.
func alertHint(alert uint8) string {
	switch alert {
	case 42, 43, 46, 49: // bad certificate, unsupported certificate, certificate unknown, access denied
		return hintRejected
	case 44, 45: // certificate revoked, certificate expired
		return hintNewCert
	case 48: // unknown certificate authority
		return hintUnknown
	case 40, 70, 71: // handshake failure, protocol version, insufficient security
		return hintVersion
	case 112: // unrecognized name
		return hintHost
	case 116: // certificate required
		return hintMissing
	}
	return hintOther
}
