package statedir

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// historyDir has a file for each of the last configs that were in force. A file's name is
// NUMBER_TIME_HOW with the ending of the config's own name. HOW has unconfirmedMark for a config
// on trial, and stays so if the trial ends without `spanctl confirm`.
const (
	historyDir      = "history"
	unconfirmedMark = "_unconfirmed"
)

// Kept is the number of configs in the history, of those that are confirmed and of others each.
const Kept = 10

// MaxNumber is more than the number of any revision. It fits in every integer that carries one.
const MaxNumber = math.MaxInt32

// historyTime is the layout of the time in a name, in UTC.
const historyTime = "20060102T150405Z"

// Revision is a config that was in force.
type Revision struct {
	// Number counts from 1. No two revisions have the same.
	Number int
	// Time is when it was put in force.
	Time time.Time
	// How is what put it in force, in small letters, digits and "-".
	How string
	// Path is its file. Its extension is that of the format.
	Path string
	// Confirmed is set unless it was in force on trial only.
	Confirmed bool
}

// ErrNoRevision is returned where the history has no such config, or none at all.
var ErrNoRevision = errors.New("there is no such config in the history")

// Keep adds a config that is in force to the history, as its newest, and removes the oldest. A
// config that is the newest of those that are confirmed is not added again; nor is one on trial that
// is the newest of all.
func (d *Dir) Keep(now time.Time, how, name string, data []byte, confirmed bool) (Revision, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all, err := d.history()
	if err != nil {
		return Revision{}, err
	}
	record, _, err := d.trial()
	if err != nil {
		return Revision{}, err
	}
	if newest, kept := newestOf(all, confirmed, record.Newest); kept && filepath.Ext(newest.Path) == filepath.Ext(name) {
		if there, err := os.ReadFile(newest.Path); err == nil && string(there) == string(data) {
			return newest, nil
		}
	}
	next := Revision{Number: 1, Time: now.UTC().Truncate(time.Second), How: how, Confirmed: confirmed}
	if len(all) > 0 {
		next.Number = all[0].Number + 1
	}
	dir := filepath.Join(d.path, historyDir)
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return Revision{}, fmt.Errorf("make the history: %w", d.unwritable(err))
	}
	next.Path = filepath.Join(dir, next.file(filepath.Ext(name)))
	if err := d.unwritable(d.Disk.Write(next.Path, data)); err != nil {
		return Revision{}, err
	}
	return next, d.prune(append([]Revision{next}, all...))
}

// newestOf returns the newest revision that is confirmed, or the newest of all if it is on trial,
// which those up to a number are not.
func newestOf(all []Revision, confirmed bool, upTo int) (Revision, bool) {
	for _, r := range all {
		switch {
		case confirmed && !r.Confirmed:
		case !confirmed && (r.Confirmed || r.Number <= upTo):
			return Revision{}, false
		default:
			return r, true
		}
	}
	return Revision{}, false
}

// prune removes the oldest revisions. Configs that were never confirmed do not push out those
// that were.
func (d *Dir) prune(all []Revision) (err error) {
	kept := map[bool]int{}
	for _, r := range all {
		if kept[r.Confirmed]++; kept[r.Confirmed] > Kept {
			err = errors.Join(err, d.Disk.Remove(r.Path))
		}
	}
	return err
}

// Confirm marks the newest revision as confirmed. It needs no space on the disk.
func (d *Dir) Confirm() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	all, err := d.history()
	if err != nil {
		return err
	}
	newest, _, err := first(all, func(Revision) bool { return true })
	if err != nil || newest.Confirmed {
		return err
	}
	newest.Confirmed = true
	return d.unwritable(d.Disk.Rename(newest.Path, filepath.Join(filepath.Dir(newest.Path), newest.file(filepath.Ext(newest.Path)))))
}

// file returns the name of a revision's file.
func (r Revision) file(ext string) string {
	mark := unconfirmedMark
	if r.Confirmed {
		mark = ""
	}
	return fmt.Sprintf("%06d_%s_%s%s%s", r.Number, r.Time.Format(historyTime), r.How, mark, ext)
}

// History lists the configs that were in force, the newest first.
func (d *Dir) History() ([]Revision, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.history()
}

func (d *Dir) history() ([]Revision, error) {
	entries, err := os.ReadDir(filepath.Join(d.path, historyDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	var all []Revision
	for _, e := range entries {
		if r, ok := parseRevision(e.Name()); ok {
			r.Path = filepath.Join(d.path, historyDir, e.Name())
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b Revision) int { return cmp.Compare(b.Number, a.Number) })
	return all, nil
}

// parseRevision parses the name of a file, and reports whether it is that of a revision.
func parseRevision(file string) (Revision, bool) {
	parts := strings.SplitN(strings.TrimSuffix(file, filepath.Ext(file)), "_", 3)
	if len(parts) != 3 {
		return Revision{}, false
	}
	number, err := strconv.Atoi(parts[0])
	at, timeErr := time.Parse(historyTime, parts[1])
	how, unconfirmed := strings.CutSuffix(parts[2], unconfirmedMark)
	return Revision{Number: number, Time: at, How: how, Confirmed: !unconfirmed}, err == nil && timeErr == nil && number > 0 && number < MaxNumber
}

// Read returns a config of the history; number 0 stands for the newest.
func (d *Dir) Read(number int) (Revision, []byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all, err := d.history()
	if err != nil {
		return Revision{}, nil, err
	}
	r, data, err := first(all, func(r Revision) bool { return number == 0 || r.Number == number })
	switch {
	case !errors.Is(err, ErrNoRevision):
		return r, data, err
	case len(all) == 0:
		return r, nil, fmt.Errorf("%w: %d; the history is empty", err, number)
	default:
		return r, nil, fmt.Errorf("%w: %d; there is %s", err, number, numbers(all))
	}
}

// first returns the newest revision that is wanted, and its text.
func first(all []Revision, wanted func(Revision) bool) (Revision, []byte, error) {
	for _, r := range all {
		if wanted(r) {
			data, err := os.ReadFile(r.Path)
			return r, data, err
		}
	}
	return Revision{}, nil, ErrNoRevision
}

// numbers lists the numbers of revisions, the lowest first.
func numbers(all []Revision) string {
	var list []string
	for _, r := range slices.Backward(all) {
		list = append(list, strconv.Itoa(r.Number))
	}
	return strings.Join(list, ", ")
}
