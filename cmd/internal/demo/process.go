package demo

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
)

// NodeSpec says how to start one node.
type NodeSpec struct {
	ID   string
	Args []string // of the binary, from "serve" on
	Env  []string // added to the environment
	Log  string   // file that takes what the node prints
}

// Process is a node that was started.
type Process interface {
	PID() int
	// Done is closed when the process has ended.
	Done() <-chan struct{}
	// Interrupt asks for a graceful end, Kill ends it at once.
	Interrupt() error
	Kill() error
}

// Launcher starts nodes.
type Launcher func(NodeSpec) (Process, error)

// Processes returns a Launcher that runs binary. The nodes get a process group
// each, so that Ctrl-C reaches only the demo, which then stops them in order.
func Processes(binary string) Launcher {
	return func(s NodeSpec) (Process, error) {
		log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return nil, fmt.Errorf("log of %s: %w", s.ID, err)
		}
		defer func() { _ = log.Close() }()     // the child has its own descriptor
		cmd := exec.Command(binary, s.Args...) //nolint:gosec,noctx // our own binary; it ends by signals, not with a context
		cmd.Env = append(cleanEnv(os.Environ()), s.Env...)
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			return nil, fmt.Errorf("start %s: %w", s.ID, err)
		}
		p := &child{cmd: cmd, done: make(chan struct{})}
		go func() {
			_ = cmd.Wait() // how it ended is in its log
			close(p.done)
		}()
		return p, nil
	}
}

// cleanEnv drops the settings that the caller has for a node of his own; only
// the log level is passed on.
func cleanEnv(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		return strings.HasPrefix(e, "BELFRY_") && !strings.HasPrefix(e, "BELFRY_LOG_")
	})
}

type child struct {
	cmd  *exec.Cmd
	done chan struct{}
}

func (c *child) PID() int              { return c.cmd.Process.Pid }
func (c *child) Done() <-chan struct{} { return c.done }
func (c *child) Interrupt() error      { return ended(c.cmd.Process.Signal(syscall.SIGTERM)) }
func (c *child) Kill() error           { return ended(c.cmd.Process.Kill()) }

// ended takes a process that is gone already for what was asked.
func ended(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}
