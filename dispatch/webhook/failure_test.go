package webhook

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// INV webhook-7: an error's own text, which may hold addresses, is never shown.
func TestDescribe(t *testing.T) {
	t.Parallel()
	const leak = "10.9.8.7"
	op := func(err error) error { return &net.OpError{Op: leak, Err: err} }
	for _, tt := range []struct {
		err   error
		at    stage
		want  string
		where ErrorClass
	}{
		{op(syscall.ECONNREFUSED), connecting, "connection refused", ErrorConnect},
		{op(syscall.EHOSTUNREACH), connecting, "the host cannot be reached", ErrorConnect},
		{op(syscall.EPIPE), waiting, "connection reset by the receiver", ErrorReset},
		{op(syscall.ECONNABORTED), reading, "connection reset by the receiver", ErrorReset},
		{op(os.ErrDeadlineExceeded), connecting, "timeout while connecting", ErrorConnect},
		{op(os.ErrDeadlineExceeded), waiting, "timeout while waiting for an answer", ErrorTimeout},
		{op(context.DeadlineExceeded), reading, "timeout while reading the answer", ErrorTimeout},
		{op(io.EOF), connecting, "connection closed by the receiver", ErrorConnect},
		{io.ErrUnexpectedEOF, waiting, "connection closed by the receiver before it answered", ErrorReset},
		{net.ErrClosed, reading, "connection closed by the receiver in the middle of the answer", ErrorReset},
		{errors.New(leak), connecting, "connection failed", ErrorConnect},
		{errors.New(leak), waiting, "connection closed by the receiver before it answered", ErrorReset},
		{errors.New(leak), reading, "the answer is not valid HTTP, or its headers exceed 32 KiB", ErrorProtocol},
		{x509.HostnameError{Host: leak, Certificate: &x509.Certificate{DNSNames: []string{leak}}}, connecting, "TLS: the certificate of the receiver is for another host name", ErrorTLS},
		{fmt.Errorf("%s: %w", leak, errNoAnswer), connecting, "timeout while waiting for an answer", ErrorTimeout},
	} {
		f := describe(t.Context(), tt.err, tt.at)
		if f.text != tt.want || f.Error() != f.text || f.class != ClassTemporary || f.where != tt.where || strings.Contains(f.text, leak) {
			t.Errorf("%v at %d: %q, %q; want %q, %q", tt.err, tt.at, f.text, f.where, tt.want, tt.where)
		}
	}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{op(io.EOF), "TLS: the handshake failed: connection closed by the receiver"},
		{op(syscall.ECONNRESET), "TLS: the handshake failed: connection reset by the receiver"},
		{errors.New(leak), "TLS: the handshake failed: no enabled version or algorithm in common, or an answer that is not valid"},
		{x509.UnknownAuthorityError{}, "TLS: the certificate of the receiver is signed by an unknown authority"},
	} {
		if f := describeHandshake(t.Context(), tt.err); f.text != tt.want || f.where != ErrorTLS || f.hint == "" {
			t.Errorf("%v: %q, %q; want %q", tt.err, f.text, f.hint, tt.want)
		}
	}
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errTooLong)
	if f := describeHandshake(ended, errors.New(leak)); f != errTooLong {
		t.Errorf("after the end: %q", f.text)
	}
	slow, cancel := context.WithCancelCause(t.Context())
	cancel(errConnectTimeout)
	if f := describeHandshake(slow, errors.New(leak)); f.text != errConnectTimeout.text || f.where != ErrorTLS || errConnectTimeout.where != ErrorConnect {
		t.Errorf("a slow handshake: %q, %q", f.text, f.where)
	}
	cancelled, stop := context.WithCancel(t.Context())
	stop()
	if f := describe(cancelled, nil, waiting); f != errCutOff {
		t.Errorf("after the cancellation: %q", f.text)
	}
}
