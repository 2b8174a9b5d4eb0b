package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/storepb"
)

// openError returns the error of a file that bbolt cannot open.
func openError(path string, err error) error {
	if errors.Is(err, bolterrors.ErrTimeout) {
		return fmt.Errorf("open store %s: another process has it open: %w", path, err)
	}
	return damage(path, err)
}

// openJournal opens or creates the file at path and reads it into an empty memory.
func openJournal(path string, m *Memory) (*journal, error) {
	var legacy int64
	if !createFile(path) {
		var err error
		if legacy, err = inspect(path, openTimeout); err != nil {
			return nil, err
		}
	}
	db, err := openDB(path, false, openTimeout)
	if err != nil {
		return nil, err
	}
	j := &journal{db: db}
	m.direct = false
	if err := j.load(m, legacy); err != nil {
		return nil, errors.Join(damage(path, err), db.Close())
	}
	unmapPages(db)
	return j, nil
}

// damage returns err as that of a damaged file, unless it is one of input or output.
func damage(path string, err error) error {
	var failed *os.PathError
	var number syscall.Errno
	if errors.As(err, &failed) || errors.As(err, &number) {
		return fmt.Errorf("open store %s: %w", path, err)
	}
	return &DamageError{path, err}
}

// inspect verifies a file before bbolt uses it for writing, and returns the time of its last
// change, in milliseconds since 1970. bbolt ends the process when it finds a damaged page.
func inspect(path string, timeout time.Duration) (changed int64, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("open store: %w", err)
	}
	if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("open store %s: not a file", path)
	}
	// This waits for another process, and keeps others away.
	db, err := openDB(path, true, timeout)
	if err != nil {
		return 0, err
	}
	if err := verifyPages(path); err != nil {
		return 0, errors.Join(damage(path, err), db.Close())
	}
	return info.ModTime().UnixMilli(), db.Close()
}

// load reads the file into memory, and makes it a journal if it is new or that of an older
// version.
func (j *journal) load(m *Memory, changed int64) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a page cannot be read: %v", p)
		}
	}()
	state := &storepb.State{Time: changed}
	if err := j.db.View(func(tx *bbolt.Tx) error { return j.read(tx, m, state) }); err != nil {
		return err
	}
	if state.GetTime() != 0 {
		m.clock.resume = state.GetTime() - rewind(state.GetTime(), state.GetResumed())
		m.clock.resuming = true
		m.clock.latest = m.clock.resume
		j.resumed, j.saved = m.clock.resume, m.clock.resume
	}
	m.settleAll()
	return j.prepare(m)
}

// read reads all buckets.
func (j *journal) read(tx *bbolt.Tx, m *Memory, state *storepb.State) error {
	log, states := tx.Bucket(logBucket), tx.Bucket(stateBucket)
	if log == nil && states == nil {
		j.suspects = map[recordID]struct{}{}
		return readLegacy(tx, m, j.suspects)
	}
	if log == nil || states == nil {
		return errors.New("a bucket is missing")
	}
	payload, err := payloadOf(0, states.Get(stateKey))
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(payload, state); err != nil {
		return err
	}
	if err := readInvitations(tx, m); err != nil {
		return err
	}
	err = log.ForEach(func(key, record []byte) error {
		if len(key) != keySize {
			return errors.New("a record has no number")
		}
		number := binary.BigEndian.Uint64(key)
		payload, err := payloadOf(number, record)
		if err != nil {
			return err
		}
		var change storepb.Change
		if err := proto.Unmarshal(payload, &change); err != nil {
			return fmt.Errorf("record %d: %w", number, err)
		}
		j.last = number
		j.records++
		return m.replay(number, &change)
	})
	if err == nil && (j.records != state.GetRecords() || j.records > 0 && j.last != state.GetLast()) {
		err = fmt.Errorf("%d records up to %d, want %d up to %d", j.records, j.last, state.GetRecords(), state.GetLast())
	}
	j.last = state.GetLast()
	return err
}

// replay applies a record.
func (m *Memory) replay(number uint64, change *storepb.Change) error {
	c, id := m.clusters[string(change.GetCluster())], string(change.GetId())
	if c == nil {
		c = m.create(string(change.GetCluster()), nil)
	}
	switch {
	case id == "" && change.GetPin() == nil:
		c.pin = pin{}
	case id == "":
		p := change.GetPin()
		c.pin = pin{hash: p.GetHash(), created: p.GetCreated(), used: p.GetUsed(), saved: p.GetUsed(), number: number}
	case change.Affiliate == nil:
		m.account(c, c.entries[id], nil)
		delete(c.entries, id)
	default:
		e := &entry{wire: change.GetAffiliate(), life: life(change.GetLife()), caller: m.callerAt(callerOf(change.GetCaller())), number: number}
		e.lives = make([]life, len(change.GetLives()))
		for i, l := range change.GetLives() {
			e.lives[i] = life(l)
		}
		if _, endpoints := e.affiliate(id).Parts(); len(endpoints) != len(e.lives) {
			return fmt.Errorf("record %d has %d lives of %d endpoints", number, len(e.lives), len(endpoints))
		}
		m.account(c, c.entries[id], e)
		c.entries[id] = e
	}
	return nil
}

// settleAll completes the clusters that were read: each is charged to one of its callers.
func (m *Memory) settleAll() {
	for _, c := range m.clusters {
		for _, e := range c.entries {
			if e.caller != nil {
				c.creator = e.caller
				m.charge(c.creator, 0, 1)
				break
			}
		}
		m.expiries.reschedule(c, c.nextDue())
		m.drop(c)
	}
}

// The buckets of older versions. Bucket "clusters" has a bucket for each cluster, with a
// storepb.Record for each affiliate; bucket "pins" has a storepb.Pin for each cluster.
var (
	legacyClusters = []byte("clusters")
	legacyPins     = []byte("pins")
)

// readLegacy reads a file of an older version, and notes what it has read.
func readLegacy(tx *bbolt.Tx, m *Memory, found map[recordID]struct{}) error {
	if clusters := tx.Bucket(legacyClusters); clusters != nil {
		err := clusters.ForEachBucket(func(clusterID []byte) error {
			return clusters.Bucket(clusterID).ForEach(func(id, raw []byte) error {
				var r storepb.Record
				if err := proto.Unmarshal(raw, &r); err != nil {
					return fmt.Errorf("an affiliate's record is damaged: %w", err)
				}
				found[recordID{string(clusterID), string(id)}] = struct{}{}
				return m.replay(0, upgraded(clusterID, id, &r))
			})
		})
		if err != nil {
			return err
		}
	}
	pins := tx.Bucket(legacyPins)
	if pins == nil {
		return nil
	}
	return pins.ForEach(func(clusterID, raw []byte) error {
		var p storepb.Pin
		if err := proto.Unmarshal(raw, &p); err != nil {
			return fmt.Errorf("a pin's record is damaged: %w", err)
		}
		if p.GetCreated() == 0 {
			// Then all pins lived for 30 days.
			p.Created = p.GetUsed() - maxPinLife.Milliseconds()
		}
		found[recordID{string(clusterID), ""}] = struct{}{}
		return m.replay(0, &storepb.Change{Cluster: clusterID, Pin: &p})
	})
}

// upgraded returns the record of an older version as a change. Whether an endpoint came with
// data is not known.
func upgraded(clusterID, id []byte, r *storepb.Record) *storepb.Change {
	change := &storepb.Change{Cluster: clusterID, Id: id, Affiliate: r.GetAffiliate()}
	affiliateLife := newLife(r.GetExpires(), r.GetExpires() != 0)
	for _, expires := range r.GetEndpointExpires() {
		change.Lives = append(change.Lives, int64(newLife(expires, false)))
		if !affiliateLife.own() {
			affiliateLife = affiliateLife.extended(newLife(expires, false))
		}
	}
	change.Life = int64(affiliateLife)
	return change
}

// prepare makes a file that is new or of an older version a journal, and puts a guard into any.
func (j *journal) prepare(m *Memory) error {
	if j.suspects != nil {
		if err := j.convert(m); err != nil {
			return err
		}
	}
	guarded := false
	_ = j.db.View(func(tx *bbolt.Tx) error {
		guarded = tx.Bucket(legacyPins) != nil
		j.size = tx.Size()
		return nil
	})
	if guarded {
		return nil
	}
	return j.db.Update(putGuard)
}

// putGuard makes older versions refuse the file, which would take it for an empty one: among
// what they take for pins, they find one that they cannot decode.
func putGuard(tx *bbolt.Tx) error {
	pins, err := tx.CreateBucketIfNotExists(legacyPins)
	if err != nil {
		return err
	}
	return pins.Put([]byte("version"), []byte("written by a later version of spanctl"))
}

// convert makes a file that is new or of an older version a journal.
func (j *journal) convert(m *Memory) error {
	err := j.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{logBucket, stateBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		w := &write{journal: j, memory: m, log: tx.Bucket(logBucket), written: map[recordID]struct{}{}}
		if err := w.putSuspects(); err != nil {
			return err
		}
		state, err := w.seal(0, &storepb.State{Time: j.saved, Resumed: j.resumed, Last: w.last, Records: w.records})
		if err != nil {
			return err
		}
		for _, moved := range w.moved {
			moved()
		}
		j.last, j.records = w.last, w.records
		if err := tx.Bucket(stateBucket).Put(stateKey, state); err != nil {
			return err
		}
		return errors.Join(dropLegacy(tx), putGuard(tx))
	})
	j.suspects, j.buffer = nil, nil
	return err
}

func dropLegacy(tx *bbolt.Tx) error {
	for _, name := range [][]byte{legacyClusters, legacyPins} {
		if err := tx.DeleteBucket(name); err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
			return err
		}
	}
	return nil
}
