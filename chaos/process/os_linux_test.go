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

func TestSocketInode(t *testing.T) {
	t.Parallel()
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	a, b := netip.MustParseAddrPort("127.0.0.1:33187"), netip.MustParseAddrPort("127.0.0.1:80")
	line := "   0: " + procAddr(a) + " " + procAddr(b) + " 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000 20 4 30 10 -1"
	for name, tt := range map[string]struct {
		table string
		inode string
	}{
		"last line":  {head + line, "4711"},
		"first line": {head + line + "\n   1: x", "4711"},
		"absent":     {head, ""},
		"cut off":    {head + line[:60], ""},
	} {
		got, err := socketInode([]byte(tt.table), a, b)
		if got != tt.inode || (err == nil) != (tt.inode != "") {
			t.Errorf("%s: inode %q, %v; want %q", name, got, err, tt.inode)
		}
	}
	if got := procAddr(a); len(got) != len("0100007F:81A3") || got[8:] != ":81A3" {
		t.Errorf("the address is %s", got)
	}
}
