package outbox

// named is a pointer to a value that has a key.
type named[T any] interface {
	*T
	name() key
}

const tableChunk = 4096 // values

// table holds values that have no pointers by their keys: in chunks that the
// garbage collector need not look into, and with an index of 4 bytes for each,
// which are a third to twice as many as there are values. A value keeps its place until it
// is released. The zero table is empty.
type table[T any, P named[T]] struct {
	chunks []*[tableChunk]T
	free   []uint32
	top    uint32 // places ever used
	// index finds places by key: a hash table with linear probing whose entries
	// are places plus one. Keys are hashes, so their first half serves as one.
	index []uint32
	live  int // values in the index
}

func (t *table[T, P]) at(place uint32) *T { return &t.chunks[place/tableChunk][place%tableChunk] }

func (t *table[T, P]) nameAt(place uint32) key { return P(t.at(place)).name() }

// find gives the entry of the index for k, or the empty one where it would be.
func (t *table[T, P]) find(k key) (i int, found bool) {
	if len(t.index) == 0 {
		return 0, false
	}
	mask := len(t.index) - 1
	for i = int(half(k)) & mask; t.index[i] != 0; i = (i + 1) & mask { //nolint:gosec // masked
		if t.nameAt(t.index[i]-1) == k {
			return i, true
		}
	}
	return i, false
}

// place finds the value of a key.
func (t *table[T, P]) place(k key) (place uint32, ok bool) {
	i, ok := t.find(k)
	if !ok {
		return 0, false
	}
	return t.index[i] - 1, true
}

// add takes a value whose key is not in use.
func (t *table[T, P]) add(v T) (place uint32) {
	if 4*(t.live+1) > 3*len(t.index) {
		t.grow()
	}
	if n := len(t.free); n > 0 {
		place, t.free = t.free[n-1], t.free[:n-1]
	} else {
		place = t.top
		t.top++
		if int(place/tableChunk) == len(t.chunks) {
			t.chunks = append(t.chunks, new([tableChunk]T))
		}
	}
	*t.at(place) = v
	i, _ := t.find(P(&v).name())
	t.index[i] = place + 1
	t.live++
	return place
}

func (t *table[T, P]) grow() {
	old := t.index
	t.index = make([]uint32, max(1024, 2*len(old)))
	for _, e := range old {
		if e != 0 {
			i, _ := t.find(t.nameAt(e - 1))
			t.index[i] = e
		}
	}
}

// unlist takes a value out of the index and closes the gap that it leaves. Its
// place stays in use.
func (t *table[T, P]) unlist(k key) {
	i, ok := t.find(k)
	if !ok {
		return
	}
	mask := len(t.index) - 1
	t.index[i] = 0
	for j := (i + 1) & mask; t.index[j] != 0; j = (j + 1) & mask {
		home := int(half(t.nameAt(t.index[j]-1))) & mask //nolint:gosec // masked
		if (j-home)&mask >= (j-i)&mask {
			t.index[i], t.index[j] = t.index[j], 0
			i = j
		}
	}
	t.live--
}

// release gives back the place of a value that is not in the index any more.
func (t *table[T, P]) release(place uint32) {
	var zero T
	*t.at(place) = zero
	t.free = append(t.free, place)
	if len(t.free) == int(t.top) {
		*t = table[T, P]{}
	}
}

// uint24 is a number up to maxUint24 in three bytes.
type uint24 [3]byte

const maxUint24 = 1<<24 - 1

func toUint24(n int) uint24 {
	n = max(0, min(n, maxUint24))
	return uint24{byte(n >> 16), byte(n >> 8), byte(n)} //nolint:gosec // the parts are meant
}

func (u uint24) int() int { return int(u[0])<<16 | int(u[1])<<8 | int(u[2]) }
