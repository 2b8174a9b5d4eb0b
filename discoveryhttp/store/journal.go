package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/storepb"
)

// journal is the log in the file of a Bolt (storepb). A change is appended; from the other
// end, records that count no more are removed, and those that do are appended again. So a
// change writes a few pages, wherever its affiliate is.
type journal struct {
	db *bbolt.DB
	// last is the number of the last record.
	last uint64
	// records is how many there are.
	records uint64
	// resumed is the store's time when the file was opened, and saved that on disk, in
	// milliseconds.
	resumed, saved int64
	// suspects are records of writes that failed, which may be on disk or not. The next
	// write replaces them.
	suspects map[recordID]struct{}
	// suspectInvitations are suspects, too.
	suspectInvitations map[InvitationName]struct{}
	// broken is set if the file can be used no more.
	broken error
	// commits counts the writes.
	commits int
	// size is that of the file's pages before the last write, in bytes.
	size   int64
	buffer []byte
}

// recordID names what a record is about: an affiliate, or with an empty ID the pin of the
// cluster.
type recordID struct{ cluster, id string }

var (
	logBucket   = []byte("log")
	stateBucket = []byte("state")
	stateKey    = []byte("state")
)

const (
	// keySize is the size of a record's key, its number; sumSize is that of the checksum
	// that the record begins with, in bytes.
	keySize, sumSize = 8, 4
	// spareRecords is how many records may count no more, besides half as many as there are
	// that do.
	spareRecords = 1024
	// unmapInterval is the number of writes after which pages of the file that were read no
	// longer count as the process's memory.
	unmapInterval = 256
	// fillPercent is how full pages get: records are only appended.
	fillPercent = 0.95
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func keyOf(number uint64) []byte { return binary.BigEndian.AppendUint64(nil, number) }

// sum returns the checksum of a record.
func sum(number uint64, payload []byte) uint32 {
	var key [keySize]byte
	binary.BigEndian.PutUint64(key[:], number)
	return crc32.Update(crc32.Checksum(key[:], castagnoli), castagnoli, payload)
}

// payloadOf returns the message of a record, whose checksum must be right.
func payloadOf(number uint64, record []byte) ([]byte, error) {
	if len(record) < sumSize || binary.BigEndian.Uint32(record) != sum(number, record[sumSize:]) {
		return nil, fmt.Errorf("record %d has a wrong checksum", number)
	}
	return record[sumSize:], nil
}

// seal returns a record with a message that encode appends. It is valid until the buffer is
// used again.
func (j *journal) seal(number uint64, m proto.Message) ([]byte, error) {
	start := len(j.buffer)
	buffer, err := proto.MarshalOptions{}.MarshalAppend(append(j.buffer, make([]byte, sumSize)...), m)
	if err != nil {
		return nil, err
	}
	j.buffer = buffer
	record := buffer[start:len(buffer):len(buffer)]
	binary.BigEndian.PutUint32(record, sum(number, record[sumSize:]))
	return record, nil
}

// changeOf returns the message about an affiliate; a nil entry is a removed one.
func changeOf(id recordID, e *entry) *storepb.Change {
	change := &storepb.Change{Cluster: []byte(id.cluster), Id: []byte(id.id)}
	if e == nil {
		return change
	}
	change.Affiliate, change.Life = e.wire, int64(e.life)
	change.Lives = make([]int64, len(e.lives))
	for i, l := range e.lives {
		change.Lives[i] = int64(l)
	}
	if e.caller != nil {
		change.Caller = e.caller.address.AsSlice()
	}
	return change
}

// changeOfPin returns the message about a pin.
func changeOfPin(cluster string, p pin) *storepb.Change {
	change := &storepb.Change{Cluster: []byte(cluster)}
	if p.hash != nil {
		change.Pin = &storepb.Pin{Hash: p.hash, Created: p.created, Used: p.used}
	}
	return change
}

// isOutdated reports whether the time on disk is old, or unknown.
func (j *journal) isOutdated(now int64) bool {
	return now-j.saved >= aliveInterval.Milliseconds() || len(j.suspects) > 0 || len(j.suspectInvitations) > 0
}

// write is one transaction: what it does to the journal once it has succeeded.
type write struct {
	*journal
	memory  *Memory
	log     *bbolt.Bucket
	last    uint64
	records uint64
	// written are the records, with what gets their number.
	written map[recordID]struct{}
	moved   []func()
	// invitations are those that are written.
	invitations []InvitationName
}

// commit writes all that is staged. After an error it may be on disk or not; the next commit
// writes what it is then.
func (j *journal) commit(m *Memory) (err error) {
	if j.broken != nil {
		return j.broken
	}
	defer func() {
		if p := recover(); p != nil {
			j.broken = fmt.Errorf("the store's file cannot be read: %v: restart the server", p)
			err = j.broken
		}
	}()
	m.mu.Lock()
	now := m.clock.latest
	m.mu.Unlock()
	if j.resumed == 0 {
		j.resumed = firstResumed(now)
	}
	w := &write{journal: j, memory: m, last: j.last, records: j.records, written: map[recordID]struct{}{}}
	j.buffer = j.buffer[:0]
	err = j.db.Update(func(tx *bbolt.Tx) error { return w.run(tx, now) })
	if err != nil {
		w.failed()
		return fmt.Errorf("write to the store's file: %w", err)
	}
	w.succeeded(now)
	if j.commits++; j.commits%unmapInterval == 0 {
		unmapPages(j.db)
	}
	return nil
}

// failed notes that what was written may be on disk or not. No number is used again.
func (w *write) failed() {
	w.journal.last = w.last
	if w.suspects == nil {
		w.suspects = map[recordID]struct{}{}
	}
	for id := range w.written {
		w.suspects[id] = struct{}{}
	}
	if w.suspectInvitations == nil {
		w.suspectInvitations = map[InvitationName]struct{}{}
	}
	for _, name := range w.invitations {
		w.suspectInvitations[name] = struct{}{}
	}
}

// succeeded notes that what was written is on disk.
func (w *write) succeeded(now int64) {
	w.journal.last, w.journal.records = w.last, w.records
	w.saved, w.suspects, w.suspectInvitations = now, nil, nil
	w.memory.mu.Lock()
	defer w.memory.mu.Unlock()
	for _, moved := range w.moved {
		moved()
	}
}

// run writes what is staged, then what is suspect, then records of the other end of the log.
func (w *write) run(tx *bbolt.Tx, now int64) error {
	w.size = tx.Size()
	w.log = tx.Bucket(logBucket)
	w.log.FillPercent = fillPercent
	if len(w.suspects) > 0 {
		w.records = uint64(w.log.Stats().KeyN) //nolint:gosec // a count
	}
	w.memory.mu.Lock()
	err := errors.Join(w.putStaged(), w.putSuspects(), w.putInvitations(tx))
	w.memory.mu.Unlock()
	if err == nil {
		err = w.clean()
	}
	if err != nil {
		return err
	}
	state, err := w.seal(0, &storepb.State{Time: now, Resumed: w.resumed, Last: w.last, Records: w.records})
	if err != nil {
		return err
	}
	return tx.Bucket(stateBucket).Put(stateKey, state)
}

// put appends a record and returns its number.
func (w *write) put(id recordID, change *storepb.Change) (uint64, error) {
	w.last++
	w.records++
	w.written[id] = struct{}{}
	record, err := w.seal(w.last, change)
	if err != nil {
		return 0, err
	}
	return w.last, w.log.Put(keyOf(w.last), record)
}

// putStaged appends what is staged.
func (w *write) putStaged() (err error) {
	for _, c := range w.memory.staged {
		for id, e := range c.staged {
			if e == nil && c.entries[id] == nil {
				continue
			}
			number, err := w.put(recordID{c.id, id}, changeOf(recordID{c.id, id}, e))
			if err != nil {
				return err
			}
			if e != nil {
				e.number = number
			}
		}
		if c.nextPin != nil {
			if c.nextPin.number, err = w.put(recordID{c.id, ""}, changeOfPin(c.id, *c.nextPin)); err != nil {
				return err
			}
		}
	}
	return nil
}

// putSuspects appends what writes that failed were about, as it is now.
func (w *write) putSuspects() error {
	for id := range w.suspects {
		if _, done := w.written[id]; done {
			continue
		}
		if err := w.putAgain(id); err != nil {
			return err
		}
	}
	return nil
}

// putAgain appends the present state of an affiliate or pin.
func (w *write) putAgain(id recordID) error {
	c := w.memory.clusters[id.cluster]
	if id.id == "" {
		var p pin
		if c != nil {
			p = c.pin
		}
		number, err := w.put(id, changeOfPin(id.cluster, p))
		if p.hash != nil {
			w.moved = append(w.moved, func() { c.pin.number = number })
		}
		return err
	}
	var e *entry
	if c != nil {
		e = c.entries[id.id]
	}
	number, err := w.put(id, changeOf(id, e))
	if e != nil {
		w.moved = append(w.moved, func() { e.number = number })
	}
	return err
}

// clean removes some of the first records, and appends those of them that count again.
func (w *write) clean() error {
	w.memory.mu.Lock()
	defer w.memory.mu.Unlock()
	kept := uint64(w.memory.affiliates + len(w.memory.clusters)) //nolint:gosec // counts
	least := kept + kept/2 + spareRecords
	if w.records <= least {
		return nil
	}
	var first []uint64
	cursor := w.log.Cursor()
	most := min(2*len(w.written)+16, int(w.records-least)) //nolint:gosec // a count
	for key, record := cursor.First(); key != nil && len(first) < most; key, record = cursor.Next() {
		number := binary.BigEndian.Uint64(key)
		first = append(first, number)
		payload, err := payloadOf(number, record)
		if err != nil {
			return err
		}
		var change storepb.Change
		if err := proto.Unmarshal(payload, &change); err != nil {
			return err
		}
		id := recordID{string(change.GetCluster()), string(change.GetId())}
		if _, done := w.written[id]; !done && w.counts(id, number) {
			if err := w.putAgain(id); err != nil {
				return err
			}
		}
	}
	for _, number := range first {
		if err := w.log.Delete(keyOf(number)); err != nil {
			return err
		}
		w.records--
	}
	return nil
}

// counts reports whether a record is the last of its affiliate or pin.
func (w *write) counts(id recordID, number uint64) bool {
	c := w.memory.clusters[id.cluster]
	if c == nil {
		return false
	}
	if id.id == "" {
		return c.pin.hash != nil && c.pin.number == number
	}
	e := c.entries[id.id]
	return e != nil && e.number == number
}

// close closes the file. One that is broken is left to the end of the process.
func (j *journal) close() error {
	if j.broken != nil {
		return nil
	}
	return j.db.Close()
}

// callerOf returns the address of a record's caller.
func callerOf(raw []byte) netip.Addr {
	address, _ := netip.AddrFromSlice(raw)
	return address
}
