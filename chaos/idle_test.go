//go:build chaos

package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// idleFor is how long TestChaosIdle watches, after settleFor.
	idleFor   = 20 * time.Second
	settleFor = 5 * time.Second
	// ticksPerSecond is the unit of /proc/PID/stat on Linux.
	ticksPerSecond = 100

	// The aims, with room for a busy machine: a figure of BENCH.md is the one
	// that counts, this only catches a loop that spins.
	maxIdleCPU    = 0.10
	maxIdleMemory = 120 << 20
)

// usage is what a process has used so far: seconds of CPU, resident bytes.
func (p *process) usage() (cpu float64, resident int64, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0, 0, err
	}
	// The second field, the name, may hold spaces; it ends with the last ")".
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 22 {
		return 0, 0, fmt.Errorf("/proc stat has %d fields", len(fields))
	}
	var n [3]int64
	for i, f := range []int{11, 12, 21} { // utime, stime, rss
		if n[i], err = strconv.ParseInt(fields[f], 10, 64); err != nil {
			return 0, 0, err
		}
	}
	return float64(n[0]+n[1]) / ticksPerSecond, n[2] * int64(os.Getpagesize()), nil
}

// TestChaosIdle prints what three nodes with nothing to do cost, for BENCH.md.
func TestChaosIdle(t *testing.T) {
	c := newCluster(t, 3)
	pause(t, settleFor)
	before := make([]float64, len(c.nodes))
	for i, p := range c.nodes {
		cpu, _, err := p.usage()
		if err != nil {
			t.Fatal(err)
		}
		before[i] = cpu
	}
	pause(t, idleFor)
	for i, p := range c.nodes {
		cpu, resident, err := p.usage()
		if err != nil {
			t.Fatal(err)
		}
		share := (cpu - before[i]) / idleFor.Seconds()
		t.Logf("%s idle for %v: %.2f %% of a core, %d MiB resident", p.id, idleFor, 100*share, resident>>20)
		if share > maxIdleCPU || resident > maxIdleMemory {
			t.Errorf("%s uses %.1f %% of a core and %d MiB, limits %.0f %% and %d MiB", p.id, 100*share, resident>>20, 100*maxIdleCPU, maxIdleMemory>>20)
		}
	}
}

// pause lets wall time pass: what is measured here is idleness itself.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	<-ctx.Done()
}
