package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// The parts of a page of a bbolt file.
const (
	boltElement     = 16 // bytes of each in a leaf or a branch
	boltBranch      = 0x01
	boltLeaf        = 0x02
	boltFree        = 0x10
	boltIsBucket    = 0x01
	boltBucketBytes = 16
	boltNoFreelist  = math.MaxUint64
	// boltDepth is far above the height of any tree of buckets and pages.
	boltDepth = 64
)

// checkPages follows the pages of a bbolt file as bbolt would: each must be what
// the one that names it says, and be named once; keys ascend; what is free is in
// no tree. It does not judge values, which have sums of their own. A file whose
// beginning cannot be read, and one that another process has open and changes,
// are left to bbolt, which refuses them.
func checkPages(path string) error {
	f, err := os.Open(path) //nolint:gosec // the data directory is the operator's
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // and with it the lock
	if free, err := locked(f, unix.LOCK_SH); !free {
		return err
	}
	m, ok := readBoltMetas(f)
	if !ok {
		return nil
	}
	c := pageCheck{f: f, meta: m, used: make([]bool, m.pages)}
	if err := c.tree(m.root, 0); err != nil {
		return err
	}
	if m.freelist == boltNoFreelist {
		return nil
	}
	return c.free(m.freelist)
}

// locked takes the lock of a file that bbolt takes too, until f is closed. free is
// false when another process has it, which whoever opens the file then says.
func locked(f *os.File, how int) (free bool, err error) {
	err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("lock: %w", err)
	}
	return true, nil
}

// pageCheck is the walk through one file.
type pageCheck struct {
	f    *os.File
	meta boltMeta
	used []bool // by number of page
	last []byte // key of the bucket that was read last
	// least is what the page above says of the first key of the one that is read
	// next; nil: nothing.
	least []byte
}

// page is one page with those that continue it.
type page struct {
	id    uint64
	flags uint16
	count int
	data  []byte // with the header
}

var errPage = errors.New("pages of it make no sense")

func (c *pageCheck) read(id uint64) (page, error) {
	if id < 2 || id >= c.meta.pages {
		return page{}, fmt.Errorf("page %d is none: %w", id, errPage)
	}
	b := make([]byte, c.meta.pageSize)
	at := int64(id) * c.meta.pageSize //nolint:gosec // below the size of the file
	if _, err := c.f.ReadAt(b, at); err != nil {
		return page{}, fmt.Errorf("page %d: %w", id, err)
	}
	o := binary.NativeEndian
	p := page{id: o.Uint64(b), flags: o.Uint16(b[8:]), count: int(o.Uint16(b[10:]))}
	more := uint64(o.Uint32(b[12:]))
	if p.id != id || more >= c.meta.pages-id {
		return page{}, fmt.Errorf("page %d says that it is page %d with %d more: %w", id, p.id, more, errPage)
	}
	for i := id; i <= id+more; i++ {
		if c.used[i] {
			return page{}, fmt.Errorf("page %d is used twice: %w", i, errPage)
		}
		c.used[i] = true
	}
	if more > 0 {
		b = make([]byte, int64(more+1)*c.meta.pageSize) //nolint:gosec // below the size of the file
		if _, err := c.f.ReadAt(b, at); err != nil {
			return page{}, fmt.Errorf("page %d: %w", id, err)
		}
	}
	p.data = b
	return p, nil
}

// tree walks through a page and all below it.
func (c *pageCheck) tree(id uint64, depth int) error {
	if depth > boltDepth {
		return fmt.Errorf("page %d: the tree is too high: %w", id, errPage)
	}
	p, err := c.read(id)
	if err != nil {
		return err
	}
	switch {
	case p.flags == boltLeaf:
		return c.leaf(p, depth)
	case p.flags == boltBranch && p.count > 0:
		return c.branch(p, depth)
	}
	return fmt.Errorf("page %d is of kind %#x with %d elements: %w", id, p.flags, p.count, errPage)
}

// part gives n bytes of an element at offset at from its own begin.
func (p page) part(element, at, n int) ([]byte, error) {
	from := element + at
	if at < boltElement || from < boltHeader+p.count*boltElement || from > len(p.data) || n > len(p.data)-from {
		return nil, fmt.Errorf("page %d: an element is outside of it: %w", p.id, errPage)
	}
	return p.data[from : from+n], nil
}

// elements gives the offsets of all.
func (p page) elements() ([]int, error) {
	if boltHeader+p.count*boltElement > len(p.data) {
		return nil, fmt.Errorf("page %d says that it has %d elements: %w", p.id, p.count, errPage)
	}
	out := make([]int, p.count)
	for i := range out {
		out[i] = boltHeader + i*boltElement
	}
	return out, nil
}

// above compares the first key of a page with what the one above says of it.
func (c *pageCheck) above(p page, k []byte) error {
	least := c.least
	c.least = nil
	if least != nil && bytes.Compare(k, least) < 0 {
		return fmt.Errorf("page %d: its first key is below that of the page above: %w", p.id, errPage)
	}
	return nil
}

func (c *pageCheck) branch(p page, depth int) error {
	at, err := p.elements()
	if err != nil {
		return err
	}
	o := binary.NativeEndian
	var before []byte
	for i, e := range at {
		k, err := p.part(e, int(o.Uint32(p.data[e:])), int(o.Uint32(p.data[e+4:])))
		if err != nil {
			return err
		}
		if i > 0 && bytes.Compare(before, k) >= 0 {
			return fmt.Errorf("page %d: its keys do not ascend: %w", p.id, errPage)
		}
		before = k
		if err := c.above(p, k); err != nil {
			return err
		}
		c.least = k
		if i > 0 && c.last != nil && bytes.Compare(c.last, k) >= 0 {
			return fmt.Errorf("page %d: a key is in the wrong place: %w", p.id, errPage)
		}
		if err := c.tree(o.Uint64(p.data[e+8:]), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (c *pageCheck) leaf(p page, depth int) error {
	at, err := p.elements()
	if err != nil {
		return err
	}
	o := binary.NativeEndian
	for _, e := range at {
		pos, ksize, vsize := int(o.Uint32(p.data[e+4:])), int(o.Uint32(p.data[e+8:])), int(o.Uint32(p.data[e+12:]))
		kv, err := p.part(e, pos, ksize+vsize)
		if err != nil {
			return err
		}
		k, v := kv[:ksize], kv[ksize:]
		if err := c.above(p, k); err != nil {
			return err
		}
		if c.last != nil && bytes.Compare(c.last, k) >= 0 {
			return fmt.Errorf("page %d: its keys do not ascend: %w", p.id, errPage)
		}
		c.last = k
		switch flags := o.Uint32(p.data[e:]); {
		case flags > boltIsBucket:
			return fmt.Errorf("page %d has an element of kind %#x: %w", p.id, flags, errPage)
		case flags == boltIsBucket:
			if err := c.bucket(v, depth); err != nil {
				return err
			}
			c.last = k
		}
	}
	return nil
}

// bucket walks through a bucket inside another one. A small one is in its
// parent's page.
func (c *pageCheck) bucket(v []byte, depth int) error {
	if len(v) < boltBucketBytes {
		return fmt.Errorf("a bucket has %d bytes: %w", len(v), errPage)
	}
	o := binary.NativeEndian
	c.last, c.least = nil, nil
	if root := o.Uint64(v); root != 0 {
		return c.tree(root, depth+1)
	}
	b := v[boltBucketBytes:]
	if len(b) < boltHeader {
		return fmt.Errorf("a bucket inside of a page has %d bytes: %w", len(b), errPage)
	}
	p := page{flags: o.Uint16(b[8:]), count: int(o.Uint16(b[10:])), data: b}
	if p.flags != boltLeaf || o.Uint64(b) != 0 || o.Uint32(b[12:]) != 0 {
		return fmt.Errorf("a bucket inside of a page is of kind %#x: %w", p.flags, errPage)
	}
	return c.leaf(p, depth+1)
}

// free looks at the list of pages that are free.
func (c *pageCheck) free(id uint64) error {
	p, err := c.read(id)
	if err != nil {
		return err
	}
	if p.flags != boltFree {
		return fmt.Errorf("page %d is of kind %#x and should be the free list: %w", id, p.flags, errPage)
	}
	o, ids, n := binary.NativeEndian, p.data[boltHeader:], uint64(p.count) //nolint:gosec // 16 bits
	if p.count == math.MaxUint16 {                                         // then the number is the first element
		if n, ids = o.Uint64(ids), ids[8:]; n < math.MaxUint16 {
			return fmt.Errorf("page %d says that %d pages are free: %w", id, n, errPage)
		}
	}
	if n > uint64(len(ids))/8 {
		return fmt.Errorf("page %d says that %d pages are free: %w", id, n, errPage)
	}
	before := uint64(1)
	for i := range n {
		x := o.Uint64(ids[8*i:])
		if x <= before || x >= c.meta.pages || c.used[x] {
			return fmt.Errorf("page %d says that page %d is free: %w", id, x, errPage)
		}
		before = x
	}
	return nil
}
