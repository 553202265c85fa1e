package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Namespaces returns why nodes cannot be in network namespaces here, or nil.
// This process must have been started by RunApart, and so be in one of its own,
// for nothing is changed in the network of the machine.
func Namespaces() error {
	if err := apartPossible(); err != nil {
		return err
	}
	from := os.Getenv(fromEnv)
	if from == "" {
		return errors.New("network namespaces need a process in one of its own, for nothing may be changed in the network of the machine")
	}
	own, err := networkID()
	if err == nil && own == from {
		err = fmt.Errorf("it is in %s still, from which it was to be apart", own)
	}
	if err != nil {
		return fmt.Errorf("which network this process is in: %w", err)
	}
	return nil
}

// fromEnv has, in a process that RunApart started, the network of who started it.
// That of the machine cannot be asked for: the kernel tells of process 1 only to
// those who may do as much as it.
const fromEnv = "CHAOS_APART_FROM"

// networkID names the network namespace that the thread is in; that of the
// process would be its first thread's.
func networkID() (string, error) { return os.Readlink("/proc/thread-self/ns/net") }

// Apart reports whether RunApart started this process.
func Apart() bool { return os.Getenv(fromEnv) != "" }

func apartPossible() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	return nil
}

// RunApart runs cmd in a new network namespace, where there is a loopback
// address after LoopbackUp and nothing else, and returns its exit code. When ctx
// ends or this process does, it is asked to stop with SIGTERM, and waited for.
// An error says that it could not be started, or did not exit by itself.
func RunApart(ctx context.Context, cmd *exec.Cmd) (code int, err error) {
	if err := apartPossible(); err != nil {
		return 0, err
	}
	here, err := networkID()
	if err != nil {
		return 0, fmt.Errorf("which network this process is in: %w", err)
	}
	// Environ is that of this process where cmd has none.
	cmd.Env = append(cmd.Environ(), fromEnv+"="+here)
	// The signal of death comes when the thread ends that started the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start in a network namespace: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) }) // an error says that it is over
	defer stop()
	err = cmd.Wait()
	if cmd.ProcessState == nil || !cmd.ProcessState.Exited() {
		return 0, fmt.Errorf("in a network namespace: %w", err)
	}
	return cmd.ProcessState.ExitCode(), nil
}

// LoopbackUp gives the network namespace of this process its loopback address,
// which a new one does not have. Namespaces must be possible.
func LoopbackUp() error {
	if err := Namespaces(); err != nil {
		return err
	}
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("bring up loopback: %w", err)
	}
	defer nl.Close()
	return loopbackUp(nl)
}

func loopbackUp(nl *netlink.Handle) error {
	lo, err := nl.LinkByName("lo")
	if err == nil {
		err = nl.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("bring up loopback: %w", err)
	}
	return nil
}

// bridgeName is that of the bridge in the namespace of this process, so there
// is one space at a time.
const bridgeName = "belfry0"

// space is a network of namespaces: one for every node, joined by a bridge in
// that of this process. It is safe for concurrent use.
type space struct {
	home   int // a descriptor of this process's namespace
	nl     *netlink.Handle
	bridge int // its index

	mu    sync.Mutex
	hosts map[string]*host
	made  int
	done  bool
}

// host is the machine of one node so to speak: a namespace that stays while
// the node's process comes and goes.
type host struct {
	s    *space
	id   string
	addr netip.Addr
	mac  net.HardwareAddr
	port int // the index of the bridge's end of its cable

	ns  int // a descriptor; -1: none
	nl  *netlink.Handle
	eth int // the index of its own end, as nl sees it
}

// newSpace makes the bridge.
func newSpace() (_ *space, err error) {
	if err := Namespaces(); err != nil {
		return nil, err
	}
	s := &space{home: -1, hosts: map[string]*host{}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make a network of namespaces: %w", err), s.close())
		}
	}()
	if s.home, err = openNamespace(); err != nil {
		return nil, err
	}
	if s.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, err
	}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName, HardwareAddr: spaceMAC(suiteNumber)}}
	if err := s.nl.LinkAdd(bridge); err != nil {
		return nil, fmt.Errorf("bridge %s: %w", bridgeName, err)
	}
	s.bridge = bridge.Index
	return s, setUp(s.nl, s.bridge, suiteNumber)
}

// ProbeNamespaces makes a network with one namespace and takes it down again. Its
// error says what the kernel does not have, where Namespaces knows no reason. There
// must be no cluster in namespaces.
func ProbeNamespaces() error {
	s, err := newSpace()
	if err != nil {
		return err
	}
	_, err = s.add("probe")
	return errors.Join(err, s.close())
}

// openNamespace gives a descriptor of the namespace that the thread is in.
func openNamespace() (int, error) {
	return unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// setUp gives a link the address of a machine and switches it on.
func setUp(nl *netlink.Handle, index int, number byte) error {
	addr, err := netlink.ParseAddr(netip.PrefixFrom(spaceAddr(number), 24).String())
	if err != nil {
		return err
	}
	link, err := nl.LinkByIndex(index)
	if err != nil {
		return err
	}
	return errors.Join(nl.AddrAdd(link, addr), nl.LinkSetUp(link))
}

// suite is the address of this process in the network.
func (*space) suite() netip.Addr { return spaceAddr(suiteNumber) }

// within runs f on a thread in another namespace, which enter enters.
func (s *space) within(enter, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := enter()
		if err == nil {
			err = f()
		}
		// A thread that cannot go back stays locked, and so ends with this goroutine:
		// nothing else shall run in that namespace.
		if unix.Setns(s.home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// within runs f on a thread in the namespace of the host. What it starts, and
// sockets that it makes, stay there.
func (h *host) within(f func() error) error {
	return h.s.within(func() error { return unix.Setns(h.ns, unix.CLONE_NEWNET) }, f)
}

// start starts a process in the namespace of the host.
func (h *host) start(cmd *exec.Cmd) error { return h.within(cmd.Start) }

// endpoint is a port of the host as text.
func (h *host) endpoint(port uint16) string { return netip.AddrPortFrom(h.addr, port).String() }

// add makes the host of a node. All hosts know each other's MAC addresses from
// the beginning and for good: no protocol that finds them plays a part when
// packets are lost.
func (s *space) add(id string) (_ *host, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made >= maxHosts {
		return nil, fmt.Errorf("namespace of %s: there have been %d, which is the limit", id, maxHosts)
	}
	s.made++
	number := byte(hostsFrom + s.made) //nolint:gosec // maxHosts bounds it
	h := &host{s: s, id: id, addr: spaceAddr(number), mac: spaceMAC(number), ns: -1}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("namespace of %s: %w", id, err), s.drop(h))
		}
	}()
	enter := func() error { return unix.Unshare(unix.CLONE_NEWNET) }
	if err := s.within(enter, h.open); err != nil {
		return nil, err
	}
	if err := s.plug(h, number); err != nil {
		return nil, err
	}
	if err := know(s.nl, s.bridge, h.addr, h.mac); err != nil {
		return nil, err
	}
	if err := know(h.nl, h.eth, s.suite(), spaceMAC(suiteNumber)); err != nil {
		return nil, err
	}
	for _, o := range s.hosts {
		if err := errors.Join(know(h.nl, h.eth, o.addr, o.mac), know(o.nl, o.eth, h.addr, h.mac)); err != nil {
			return nil, err
		}
	}
	s.hosts[id] = h
	return h, nil
}

// open takes hold of the namespace that the thread is in.
func (h *host) open() (err error) {
	if h.ns, err = openNamespace(); err != nil {
		return err
	}
	if h.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return err
	}
	return loopbackUp(h.nl)
}

// plug lays a cable from the bridge to the host.
func (s *space) plug(h *host, number byte) error {
	const eth = "eth0"
	cable := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: h.id, MasterIndex: s.bridge}, PeerName: eth, PeerHardwareAddr: h.mac, PeerNamespace: netlink.NsFd(h.ns),
	}
	if err := s.nl.LinkAdd(cable); err != nil {
		return fmt.Errorf("cable: %w", err)
	}
	h.port = cable.Index
	link, err := h.nl.LinkByName(eth)
	if err != nil {
		return fmt.Errorf("cable: %w", err)
	}
	h.eth = link.Attrs().Index
	return errors.Join(s.nl.LinkSetUp(cable), setUp(h.nl, h.eth, number))
}

// know has packets for addr go to the machine with a MAC address.
func know(nl *netlink.Handle, link int, addr netip.Addr, mac net.HardwareAddr) error {
	n := &netlink.Neigh{LinkIndex: link, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: mac}
	if err := nl.NeighSet(n); err != nil {
		return fmt.Errorf("where %s is: %w", addr, err)
	}
	return nil
}

// forget is the opposite of know.
func forget(nl *netlink.Handle, link int, addr netip.Addr) error {
	err := nl.NeighDel(&netlink.Neigh{LinkIndex: link, Family: unix.AF_INET, IP: addr.AsSlice()})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("forget %s: %w", addr, err)
	}
	return nil
}

// lose has everything that one host sends to another be lost, data and
// acknowledgements alike, or arrive again. Hosts that are not there any more
// do nothing.
func (s *space) lose(p Path, lost bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, to := s.hosts[p.From], s.hosts[p.To]
	if from == nil || to == nil {
		return nil
	}
	mac := to.mac
	if lost {
		mac = nobody
	}
	return know(from.nl, from.eth, to.addr, mac)
}

// remove takes a host away; its process must have ended.
func (s *space) remove(h *host) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hosts[h.id] != h {
		return nil
	}
	delete(s.hosts, h.id)
	err := forget(s.nl, s.bridge, h.addr)
	for _, o := range s.hosts {
		err = errors.Join(err, forget(o.nl, o.eth, h.addr))
	}
	return errors.Join(err, s.drop(h))
}

// drop lets go of what a host has. The namespace ends with the last that is in it.
func (s *space) drop(h *host) error {
	var errs []error
	if h.port != 0 {
		errs = append(errs, s.nl.LinkDel(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: h.port}}))
	}
	if h.nl != nil {
		h.nl.Close()
	}
	if h.ns >= 0 {
		errs = append(errs, unix.Close(h.ns))
	}
	return errors.Join(errs...)
}

// close takes everything away; the processes must have ended. It may be called
// again.
func (s *space) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return nil
	}
	s.done = true
	var errs []error
	for id, h := range s.hosts {
		errs = append(errs, s.drop(h))
		delete(s.hosts, id)
	}
	if s.bridge != 0 {
		errs = append(errs, s.nl.LinkDel(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: s.bridge}}))
	}
	if s.nl != nil {
		s.nl.Close()
	}
	if s.home >= 0 {
		errs = append(errs, unix.Close(s.home))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("take down the network of namespaces: %w", err)
	}
	return nil
}
