// Package layout holds no code: its tests check the shape of the repository,
// that is which package may import which, where a clock, a dialer or an exit
// may be used, what lies at the top, and that logging calls are well formed.
package layout
