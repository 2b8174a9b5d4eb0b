package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// The layout of a bbolt file (go.etcd.io/bbolt, internal/common), in the byte order of the
// machine. A page has a header: ID, flags, count, and how many further pages it extends over.
const (
	pageHeaderSize = 16
	pageElement    = 16
	bucketHeader   = 16

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10

	leafBucket = 0x01

	metaMagic   = 0xED0CDAED
	metaVersion = 2
	metaSummed  = 56
	metaSize    = metaSummed + 8

	minPageSize = 1 << 10
	maxPageSize = 1 << 24
	// maxTreeDepth is far more than a file has: a page has at least two elements.
	maxTreeDepth = 64
	noFreelist   = ^uint64(0)
)

var order = binary.NativeEndian

// pageFile is a bbolt file that is verified.
type pageFile struct {
	file     io.ReaderAt
	pageSize uint64
	// pages is how many the file has.
	pages uint64
	// seen are the pages that are part of something.
	seen map[uint64]bool
}

// meta is what a meta page says.
type meta struct{ pageSize, root, freelist, pages, transaction uint64 }

// verifyPages returns what is wrong with the pages of a bbolt file.
func verifyPages(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	m, err := lastMeta(f)
	if err != nil {
		return err
	}
	if size := uint64(info.Size()); m.pages > size/m.pageSize { //nolint:gosec // a size
		return fmt.Errorf("it is cut short: it has %d bytes, want %d", size, m.pages*m.pageSize)
	}
	p := &pageFile{file: f, pageSize: m.pageSize, pages: m.pages, seen: map[uint64]bool{0: true, 1: true}}
	if err := p.tree(m.root, nil, nil, 0); err != nil {
		return err
	}
	return p.freelist(m.freelist)
}

// lastMeta returns the meta page of the last transaction. bbolt writes the two of them in turns:
// of a damaged one, it goes back by a transaction, which may have been acknowledged. It fits in
// a sector of the disk, so that a loss of power does not damage it.
func lastMeta(f io.ReaderAt) (meta, error) {
	first, err := readMeta(f, 0)
	if err != nil {
		// The second one is at an unknown place then.
		for at := int64(minPageSize); at <= maxPageSize; at *= 2 {
			if second, err := readMeta(f, at); err == nil && int64(second.pageSize) == at { //nolint:gosec // a size
				return meta{}, damagedMeta(0)
			}
		}
		return meta{}, err
	}
	second, err := readMeta(f, int64(first.pageSize)) //nolint:gosec // a size
	if err != nil {
		return meta{}, damagedMeta(1)
	}
	if second.transaction > first.transaction {
		return second, nil
	}
	return first, nil
}

// damagedMeta returns the error of a file of whose meta pages one is damaged.
func damagedMeta(page int) error {
	return fmt.Errorf("page %d is damaged, so the last change may be lost, which was acknowledged: "+
		"`spanctl discovery backup` copies what was there before it", page)
}

// readMeta reads the meta page at an offset.
func readMeta(f io.ReaderAt, at int64) (meta, error) {
	b := make([]byte, metaSize)
	if _, err := f.ReadAt(b, at+pageHeaderSize); err != nil {
		return meta{}, errors.New("it has no first page")
	}
	hash := fnv.New64a()
	_, _ = hash.Write(b[:metaSummed])
	m := meta{
		pageSize: uint64(order.Uint32(b[8:])), root: order.Uint64(b[16:]), freelist: order.Uint64(b[32:]),
		pages: order.Uint64(b[40:]), transaction: order.Uint64(b[48:]),
	}
	switch {
	case order.Uint32(b) != metaMagic || order.Uint32(b[4:]) != metaVersion || hash.Sum64() != order.Uint64(b[metaSummed:]):
		return meta{}, errors.New("its first pages are not those of a store")
	case m.pageSize < minPageSize || m.pageSize > maxPageSize || m.pages > 1<<63/m.pageSize:
		return meta{}, errors.New("its first pages have sizes that cannot be")
	}
	return m, nil
}

// page is one that was read, with those that it extends over.
type page struct {
	id    uint64
	flags uint16
	count int
	bytes []byte
}

// read reads a page that nothing else is part of.
func (p *pageFile) read(id uint64) (page, error) {
	if id < 2 || id >= p.pages {
		return page{}, fmt.Errorf("page %d does not exist", id)
	}
	b := make([]byte, p.pageSize)
	if _, err := p.file.ReadAt(b, int64(id*p.pageSize)); err != nil { //nolint:gosec // bounded by the file's size
		return page{}, fmt.Errorf("read page %d: %w", id, err)
	}
	more := uint64(order.Uint32(b[12:]))
	if order.Uint64(b) != id || id+more >= p.pages {
		return page{}, fmt.Errorf("page %d has a damaged header", id)
	}
	for i := id; i <= id+more; i++ {
		if p.seen[i] {
			return page{}, fmt.Errorf("page %d is used twice", i)
		}
		p.seen[i] = true
	}
	if more > 0 {
		b = append(b, make([]byte, more*p.pageSize)...)
		if _, err := p.file.ReadAt(b[p.pageSize:], int64((id+1)*p.pageSize)); err != nil { //nolint:gosec // bounded by the file's size
			return page{}, fmt.Errorf("read page %d: %w", id, err)
		}
	}
	return page{id: id, flags: order.Uint16(b[8:]), count: int(order.Uint16(b[10:])), bytes: b}, nil
}

// element returns the key of an element, and what follows it: size bytes, whose place the
// element has at its offset.
func (g page) element(i, offset int, size func(header []byte) uint32) (header, key, value []byte, err error) {
	start := pageHeaderSize + i*pageElement
	if start+pageElement > len(g.bytes) {
		return nil, nil, nil, fmt.Errorf("page %d has more elements than fit", g.id)
	}
	header = g.bytes[start : start+pageElement]
	at := uint64(start) + uint64(order.Uint32(header[offset:])) //nolint:gosec // bounded by the page's size
	keyEnd := at + uint64(order.Uint32(header[offset+4:]))
	end := keyEnd + uint64(size(header))
	if at < uint64(start+pageElement) || end > uint64(len(g.bytes)) { //nolint:gosec // as above
		return nil, nil, nil, fmt.Errorf("page %d has an element beyond its end", g.id)
	}
	return header, g.bytes[at:keyEnd], g.bytes[keyEnd:end], nil
}

// tree verifies a page and those below it. All keys are from least on, and before limit
// unless that is nil.
func (p *pageFile) tree(id uint64, least, limit []byte, depth int) error {
	g, err := p.read(id)
	if err != nil {
		return err
	}
	switch {
	case g.flags == branchPage && g.count > 0 && depth < maxTreeDepth:
		return p.branch(g, least, limit, depth)
	case g.flags == leafPage:
		return p.leaf(g, least, limit, depth)
	default:
		return fmt.Errorf("page %d is of no kind that it may be of", id)
	}
}

func (p *pageFile) branch(g page, least, limit []byte, depth int) error {
	noValue := func([]byte) uint32 { return 0 }
	for i := range g.count {
		header, key, _, err := g.element(i, 0, noValue)
		if err != nil {
			return err
		}
		end := limit
		if i+1 < g.count {
			if _, end, _, err = g.element(i+1, 0, noValue); err != nil {
				return err
			}
		}
		if !inOrder(key, least, end) {
			return fmt.Errorf("page %d has keys out of order", g.id)
		}
		if err := p.tree(order.Uint64(header[8:]), key, end, depth+1); err != nil {
			return err
		}
		least = key
	}
	return nil
}

// inOrder reports whether a key is from least on, and before limit unless that is nil.
func inOrder(key, least, limit []byte) bool {
	return bytes.Compare(key, least) >= 0 && (limit == nil || bytes.Compare(key, limit) < 0)
}

func (p *pageFile) leaf(g page, least, limit []byte, depth int) error {
	valueSize := func(header []byte) uint32 { return order.Uint32(header[12:]) }
	for i := range g.count {
		header, key, value, err := g.element(i, 4, valueSize)
		if err != nil {
			return err
		}
		if !inOrder(key, least, limit) || i > 0 && bytes.Equal(key, least) {
			return fmt.Errorf("page %d has keys out of order", g.id)
		}
		least = key
		switch order.Uint32(header) {
		case 0:
		case leafBucket:
			if err := p.bucket(g.id, value, depth); err != nil {
				return err
			}
		default:
			return fmt.Errorf("page %d has an element of no kind", g.id)
		}
	}
	return nil
}

// bucket verifies a bucket: a page of its own, or a small one within the value.
func (p *pageFile) bucket(id uint64, value []byte, depth int) error {
	if len(value) < bucketHeader {
		return fmt.Errorf("page %d has a bucket that is cut short", id)
	}
	if root := order.Uint64(value); root != 0 {
		if depth >= maxTreeDepth {
			return fmt.Errorf("page %d has too many pages below it", id)
		}
		return p.tree(root, nil, nil, depth+1)
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeaderSize || order.Uint16(inline[8:]) != leafPage || depth >= maxTreeDepth {
		return fmt.Errorf("page %d has a damaged bucket", id)
	}
	return p.leaf(page{id: id, count: int(order.Uint16(inline[10:])), bytes: inline}, nil, nil, maxTreeDepth)
}

// freelist verifies the list of unused pages, if the file has one.
func (p *pageFile) freelist(id uint64) error {
	if id == noFreelist {
		return nil
	}
	g, err := p.read(id)
	if err != nil {
		return err
	}
	count, at := uint64(g.count), uint64(pageHeaderSize) //nolint:gosec // a count
	if count == 0xFFFF {
		// The first element is the count.
		count, at = order.Uint64(g.bytes[at:]), at+8
	}
	if g.flags != freelistPage || count > (uint64(len(g.bytes))-at)/8 {
		return fmt.Errorf("page %d is no list of unused pages", id)
	}
	for i := range count {
		free := order.Uint64(g.bytes[at+8*i:])
		if free < 2 || free >= p.pages || p.seen[free] {
			return fmt.Errorf("page %d is listed as unused", free)
		}
		p.seen[free] = true
	}
	return nil
}
