package process

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// signalPause stops a process or lets it go on. An error says that it is over.
func signalPause(p *os.Process, stop bool) {
	sig := syscall.SIGCONT
	if stop {
		sig = syscall.SIGSTOP
	}
	_ = p.Signal(sig)
}

// socketOwner finds which of the processes has the IPv4 TCP socket with these
// ends open.
func socketOwner(local, remote netip.AddrPort, pids map[int]string) (int, error) {
	inode, err := socketInode(local, remote)
	if err != nil {
		return 0, fmt.Errorf("whose connection it is: %w", err)
	}
	want := fmt.Sprintf("socket:[%d]", inode)
	for pid := range pids {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue // it has ended
		}
		for _, fd := range fds {
			if to, err := os.Readlink(dir + "/" + fd.Name()); err == nil && to == want {
				return pid, nil
			}
		}
	}
	return 0, errors.New("no node has that connection")
}

// The place of the inode in inet_diag_msg, which is as long as it at least.
const (
	diagInode = 68
	diagSize  = 72
)

// socketInode asks the kernel for one socket. The table in /proc/net/tcp has it
// too, but costs a walk over all there are: with some thousand connections, as
// after a long cut, the suite would take what the nodes need.
func socketInode(local, remote netip.AddrPort) (uint32, error) {
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, 0)
	req.AddData(socketRequest{local, remote})
	answers, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
	if err != nil {
		return 0, err
	}
	for _, a := range answers {
		if len(a) >= diagSize {
			return binary.NativeEndian.Uint32(a[diagInode:]), nil
		}
	}
	return 0, errors.New("the kernel knows no such connection")
}

// socketRequest is an inet_diag_req_v2 for one connection.
type socketRequest struct{ local, remote netip.AddrPort }

// Len implements nl.NetlinkRequestData.
func (r socketRequest) Len() int { return len(r.Serialize()) }

// Serialize implements nl.NetlinkRequestData.
func (r socketRequest) Serialize() []byte {
	const anyState = ^uint32(0)
	b := []byte{unix.AF_INET, unix.IPPROTO_TCP, 0, 0}
	b = binary.NativeEndian.AppendUint32(b, anyState)
	b = binary.BigEndian.AppendUint16(b, r.local.Port())
	b = binary.BigEndian.AppendUint16(b, r.remote.Port())
	for _, a := range []netip.Addr{r.local.Addr().Unmap(), r.remote.Addr().Unmap()} {
		ip := a.As4()
		b = append(append(b, ip[:]...), make([]byte, 12)...)
	}
	b = binary.NativeEndian.AppendUint32(b, 0) // any interface
	b = binary.NativeEndian.AppendUint32(b, nl.TCPDIAG_NOCOOKIE)
	return binary.NativeEndian.AppendUint32(b, nl.TCPDIAG_NOCOOKIE)
}
