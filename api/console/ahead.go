package console

import "sync"

// ahead begins a read and gives what waits for it. A page that asks all nodes
// several things waits for one that hangs once, and not for each of them.
func ahead[T any](read func() (T, error)) func() (T, error) {
	wait := sync.OnceValues(read)
	go wait() //nolint:errcheck // whoever waits has it
	return wait
}
