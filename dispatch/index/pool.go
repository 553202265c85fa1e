package index

// chunkSize is how many items are copied when one of them changes.
const chunkSize = 64

// pool is a persistent array whose refs are used again. Readers use at only.
type pool[T any] struct {
	chunks [][]T
	size   uint32
	// What follows belongs to the writer alone: readers never look at it, so
	// it is handed from table to table instead of being copied.
	edit   *edit   // who may change chunks in place
	owners []*edit // who may change the items of each chunk
	free   []uint32
}

func (p *pool[T]) at(ref uint32) T { return p.chunks[ref/chunkSize][ref%chunkSize] }

// spine makes chunks one that ed may change.
func (p *pool[T]) spine(ed *edit) {
	if p.edit != ed {
		p.chunks = append(make([][]T, 0, len(p.chunks)+1), p.chunks...)
		p.edit = ed
	}
}

// own makes the chunk of ref one that ed may change.
func (p *pool[T]) own(ed *edit, ref uint32) *[]T {
	p.spine(ed)
	c := &p.chunks[ref/chunkSize]
	if o := &p.owners[ref/chunkSize]; *o != ed {
		*c = append(make([]T, 0, len(*c)), *c...)
		*o = ed
	}
	return c
}

// put stores v and returns its ref.
func (p *pool[T]) put(ed *edit, v T) uint32 {
	if n := len(p.free); n > 0 {
		ref := p.free[n-1]
		p.free = p.free[:n-1]
		p.set(ed, ref, v)
		return ref
	}
	ref := p.size
	p.size++
	if ref%chunkSize == 0 {
		p.spine(ed)
		p.chunks = append(p.chunks, append(make([]T, 0, 1), v))
		p.owners = append(p.owners, ed)
		return ref
	}
	c := p.own(ed, ref)
	*c = append(*c, v)
	return ref
}

func (p *pool[T]) set(ed *edit, ref uint32, v T) { (*p.own(ed, ref))[ref%chunkSize] = v }

// drop forgets an item; its ref will be used again.
func (p *pool[T]) drop(ed *edit, ref uint32) {
	var zero T
	p.set(ed, ref, zero)
	p.free = append(p.free, ref)
}
