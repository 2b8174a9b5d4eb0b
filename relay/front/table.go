package front

import (
	"context"
	"os"
	"time"

	"github.com/spanmesh/span/relay/savefile"
)

const (
	// maxTable bounds the file with the table, in bytes.
	maxTable = 256 << 20
	// saveEvery is the least time between two writes of the members, and saveRenewals that where no new
	// ones have come: they may register for an hour.
	saveEvery, saveRenewals = time.Second, 5 * time.Minute
	// savePause is how many times as long as a write took there is none after it.
	savePause = 50
	// checkStreams is how often streams without a member are looked for.
	checkStreams = 5 * time.Second
)

// restore takes over what the file has. It then has the members alone: sessions are restored once.
func (f *Front) restore() {
	if f.options.Table == "" {
		return
	}
	now := time.Now()
	content, err := savefile.Read(f.options.Table, maxTable)
	if err == nil && content == nil {
		return
	}
	if err == nil {
		err = f.router.Restore(now, content)
	}
	if err != nil {
		f.log.Warn("relay's table not restored; members register anew", "file", f.options.Table, "error", err)
		return
	}
	f.restoreOnce(now)
	c := f.router.Counts()
	f.log.Info("relay's table restored", "members", c.Members, "registered", c.Registered, "flows", c.Flows)
}

// restoreOnce has the file lose the sessions that were restored: their counters must not be used twice.
// Where it keeps them, they are given up.
func (f *Front) restoreOnce(now time.Time) {
	members := f.router.SaveMembers(now)
	if f.write(members) == nil {
		return
	}
	f.joined = true // the members are saved later
	err := os.Remove(f.options.Table)
	if err == nil {
		return
	}
	f.log.Warn("relay's sessions not restored, as the table keeps them; members register anew", "file", f.options.Table, "error", err)
	if err := f.router.Restore(now, members); err != nil {
		f.log.Warn("relay's members not restored; they join anew", "error", err) // not reached: it was just made
	}
}

func (f *Front) write(content []byte) error {
	err := savefile.Write(f.options.Table, content)
	if err != nil {
		f.log.Warn("relay's table not saved; after a restart, members join and register anew", "file", f.options.Table, "error", err)
	}
	return err
}

// maintain forgets what is too old, and saves the members, until ctx ends.
func (f *Front) maintain(ctx context.Context) {
	expire := time.NewTimer(0)
	defer expire.Stop()
	save, renewals, streams := time.NewTimer(saveEvery), time.NewTicker(saveRenewals), time.NewTicker(checkStreams)
	defer save.Stop()
	defer renewals.Stop()
	defer streams.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-expire.C:
			f.mu.Lock()
			now := time.Now()
			next := f.router.Expire(now)
			f.mu.Unlock()
			expire.Reset(max(next.Sub(now), time.Millisecond))
		case begun := <-save.C:
			f.saveMembers()
			save.Reset(max(saveEvery, savePause*time.Since(begun)))
		case <-renewals.C:
			f.mu.Lock()
			f.joined, f.renewed = f.joined || f.renewed, false
			f.mu.Unlock()
		case now := <-streams.C:
			f.closeUnregistered(now)
		}
	}
}

// saveMembers writes the members if they have changed.
func (f *Front) saveMembers() {
	if f.options.Table == "" {
		return
	}
	f.mu.Lock()
	changed := f.joined
	f.joined = false
	var content []byte
	if changed {
		content = f.router.SaveMembers(time.Now())
	}
	f.mu.Unlock()
	if changed {
		_ = f.write(content)
	}
}

// stop saves the table when nothing is received any more, and ends the streams.
func (f *Front) stop() {
	f.mu.Lock()
	f.stopped = true
	var content []byte
	if f.options.Table != "" {
		content = f.router.Save(time.Now())
	}
	for _, m := range f.streams {
		go func() { _ = m.conn.Close() }()
	}
	f.mu.Unlock()
	if content != nil {
		_ = f.write(content)
	}
}
