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
// NUMBER_TIME_HOW with the ending of the config's own name.
const historyDir = "history"

// Kept is the number of configs in the history.
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
}

// ErrNoRevision is returned where the history has no such config, or none at all.
var ErrNoRevision = errors.New("there is no such config in the history")

// Keep adds a config that is in force to the history, as its newest, and removes the
// oldest. A config that is the newest already is not added again.
func (d *Dir) Keep(now time.Time, how, name string, data []byte) (Revision, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all, err := d.history()
	if err != nil {
		return Revision{}, err
	}
	next := Revision{Number: 1, Time: now.UTC().Truncate(time.Second), How: how}
	if len(all) > 0 {
		newest, err := os.ReadFile(all[0].Path)
		if err == nil && string(newest) == string(data) && filepath.Ext(all[0].Path) == filepath.Ext(name) {
			return all[0], nil
		}
		next.Number = all[0].Number + 1
	}
	dir := filepath.Join(d.path, historyDir)
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return Revision{}, fmt.Errorf("make the history: %w", err)
	}
	file := fmt.Sprintf("%06d_%s_%s%s", next.Number, next.Time.Format(historyTime), how, filepath.Ext(name))
	next.Path = filepath.Join(dir, file)
	if err := d.Disk.Write(next.Path, data); err != nil {
		return Revision{}, err
	}
	trial, _, trialErr := d.trial()
	err = errors.Join(err, trialErr)
	for _, old := range all[min(Kept-1, len(all)):] {
		// The config before a trial stays, however often the file is edited meanwhile.
		if old.Number != trial.Before {
			err = errors.Join(err, d.Disk.Remove(old.Path))
		}
	}
	return next, err
}

// History lists the configs that were in force, the newest, which is in force, first.
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
	return Revision{Number: number, Time: at, How: parts[2]}, err == nil && timeErr == nil && number > 0 && number < MaxNumber
}

// Read returns a config of the history; number 0 stands for the newest.
func (d *Dir) Read(number int) (Revision, []byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all, err := d.history()
	if err != nil {
		return Revision{}, nil, err
	}
	for _, r := range all {
		if number == 0 || r.Number == number {
			data, err := os.ReadFile(r.Path)
			return r, data, err
		}
	}
	if len(all) == 0 {
		return Revision{}, nil, fmt.Errorf("%w: %d; the history is empty", ErrNoRevision, number)
	}
	return Revision{}, nil, fmt.Errorf("%w: %d; there is %s", ErrNoRevision, number, numbers(all))
}

// numbers lists the numbers of revisions, the lowest first.
func numbers(all []Revision) string {
	var list []string
	for _, r := range slices.Backward(all) {
		list = append(list, strconv.Itoa(r.Number))
	}
	return strings.Join(list, ", ")
}
