package process

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
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
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return 0, fmt.Errorf("whose connection it is: %w", err)
	}
	inode, err := socketInode(table, local, remote)
	if err != nil {
		return 0, err
	}
	want := "socket:[" + inode + "]"
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

// socketInode finds a socket in the kernel's table, whose lines are: number,
// local and remote address, state, queues, timer, retransmits, uid, timeout,
// inode.
func socketInode(table []byte, local, remote netip.AddrPort) (string, error) {
	const inodeField = 6 // after the addresses
	key := []byte(procAddr(local) + " " + procAddr(remote) + " ")
	_, line, ok := bytes.Cut(table, key)
	if !ok {
		return "", errors.New("the kernel knows no such connection")
	}
	line, _, _ = bytes.Cut(line, []byte{'\n'})
	fields := bytes.Fields(line)
	if len(fields) <= inodeField {
		return "", fmt.Errorf("a line of the kernel's table has only %d fields after the addresses", len(fields))
	}
	return string(fields[inodeField]), nil
}

// procAddr is an address as /proc/net/tcp writes it: the four bytes as a
// number of the machine's byte order, in hexadecimal.
func procAddr(a netip.AddrPort) string {
	ip := a.Addr().Unmap().As4()
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip[:]), a.Port())
}
