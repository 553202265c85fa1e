package process

import (
	"net"
	"net/netip"
	"os"
	"testing"
)

func TestSocketOwner(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = l.Close() }()
	c, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	defer func() { _ = c.Close() }()
	far, near := netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(l.Addr().String())
	pid, err := socketOwner(far, near, map[int]string{os.Getppid(): "other", os.Getpid(): "me"})
	if err != nil || pid != os.Getpid() {
		t.Errorf("the connection belongs to %d, %v; want %d", pid, err, os.Getpid())
	}
	if pid, err := socketOwner(far, near, map[int]string{os.Getppid(): "other"}); err == nil {
		t.Errorf("the connection belongs to %d", pid)
	}
	nowhere := netip.MustParseAddrPort("127.0.0.1:1")
	if _, err := socketOwner(nowhere, near, map[int]string{os.Getpid(): "me"}); err == nil {
		t.Error("a connection that is not there has an owner")
	}
}
