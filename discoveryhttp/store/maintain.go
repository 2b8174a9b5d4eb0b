package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/spanmesh/span/discoveryhttp/storepb"
)

// CheckBolt reads the whole file of a Bolt at path and returns what it holds. The error of a
// damaged file is a *DamageError. If a server has the file open, a copy that the server gives
// is checked.
func CheckBolt(ctx context.Context, path string) (Stats, error) {
	if _, err := os.Stat(path); err != nil {
		return Stats{}, fmt.Errorf("check store: %w", err)
	}
	stats, err := checkFile(path)
	if !errors.Is(err, bolterrors.ErrTimeout) {
		return stats, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), "check.*")
	if err != nil {
		return Stats{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	to := filepath.Join(dir, filepath.Base(path))
	if err := copyFromServer(ctx, path, to); err != nil {
		return Stats{}, err
	}
	return checkFile(to)
}

// checkFile checks a file that no server has open.
func checkFile(path string) (Stats, error) {
	if info, err := os.Stat(path); err == nil && info.Size() == 0 {
		return Stats{}, &DamageError{path, errors.New("it is empty")}
	}
	if _, err := inspect(path, askTimeout); err != nil {
		return Stats{}, err
	}
	db, err := openDB(path, true, askTimeout)
	if err != nil {
		return Stats{}, err
	}
	m := NewMemory(Limits{})
	err = db.View(func(tx *bbolt.Tx) error { return (&journal{db: db}).read(tx, m, &storepb.State{}) })
	if err != nil {
		err = damage(path, err)
	}
	return m.Stats(), errors.Join(err, db.Close())
}

// BackupBolt writes a consistent copy of the file of a Bolt at path to another file, mode
// 0600, which it replaces. If a server has the file open, the server gives the copy. The copy
// is checked.
func BackupBolt(ctx context.Context, path, to string) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("back up store: %w", err)
	}
	db, err := openDB(path, true, askTimeout)
	if errors.Is(err, bolterrors.ErrTimeout) {
		return copyFromServer(ctx, path, to)
	}
	if err != nil {
		return err
	}
	return errors.Join(replaceFile(to, func(w io.Writer) error { return copyDB(db, w) }), db.Close())
}

// copyDB writes the file as it is now.
func copyDB(db *bbolt.DB, w io.Writer) error {
	return db.View(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(w)
		return err
	})
}

// RestoreBolt puts a copy that BackupBolt made in the place of the file at path. No server
// may have that open. The file that was there is moved aside, to a name that is returned,
// empty if there was none.
func RestoreBolt(ctx context.Context, from, path string) (aside string, err error) {
	if _, err := CheckBolt(ctx, from); err != nil {
		return "", err
	}
	path = followLinks(path)
	source, err := os.Open(from)
	if err != nil {
		return "", fmt.Errorf("restore store: %w", err)
	}
	defer func() { _ = source.Close() }()
	// A server must not begin with an empty store because there is no room for the copy.
	written, err := writeFile(path, func(w io.Writer) error {
		_, err := io.Copy(w, source)
		return err
	})
	if err != nil {
		return "", err
	}
	if aside, err = ResetBolt(path); err != nil {
		return "", errors.Join(err, os.Remove(written))
	}
	return aside, place(written, path)
}

// followLinks returns the path of the file that a symbolic link leads to, and any other path as
// it is.
func followLinks(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

// ResetBolt moves the file of a Bolt aside, so that OpenBolt begins with an empty one. No
// server may have it open. It returns the new name, empty if there was no file.
func ResetBolt(path string) (aside string, err error) {
	path = followLinks(path)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	db, err := openDB(path, true, askTimeout)
	switch {
	case err == nil:
		if err := db.Close(); err != nil {
			return "", err
		}
	case errors.Is(err, bolterrors.ErrTimeout):
		return "", fmt.Errorf("%w: stop the server first", err)
	}
	// A file that cannot be opened is what a reset is for.
	aside = path + "." + time.Now().UTC().Format("20060102T150405.000")
	if err := os.Rename(path, aside); err != nil {
		return "", fmt.Errorf("move store aside: %w", err)
	}
	return aside, nil
}

// replaceFile writes a store's file, checks it, and gives it the name to once it is on disk.
func replaceFile(to string, write func(io.Writer) error) error {
	written, err := writeFile(to, write)
	if err != nil {
		return err
	}
	return place(written, to)
}

// writeFile writes a store's file beside to, and checks it once it is on disk. It returns its name.
func writeFile(to string, write func(io.Writer) error) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(to), filepath.Base(to)+".*")
	if err != nil {
		return "", fmt.Errorf("write a copy of the store: %w", err)
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		_, err = checkFile(f.Name())
	}
	if err != nil {
		return "", fmt.Errorf("write a copy of the store: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return f.Name(), nil
}

// place renames a file that is on disk.
func place(name, to string) error {
	if err := os.Rename(name, to); err != nil {
		return fmt.Errorf("write a copy of the store: %w", errors.Join(err, os.Remove(name)))
	}
	return syncDirectory(filepath.Dir(to))
}

// syncDirectory makes a rename durable.
func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// socketOf returns the path of the Unix socket at which a server gives copies of its file.
func socketOf(path string) string { return path + ".sock" }

const (
	// copyTimeout bounds how long a server takes to give a copy.
	copyTimeout = time.Minute
	// sizeHeader is the size of the size of a copy, which precedes it, in bytes.
	sizeHeader = 8
)

// copyFromServer writes the copy that the server gives that has the file at path open.
func copyFromServer(ctx context.Context, path, to string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socketOf(path))
	if err != nil {
		return fmt.Errorf("store %s is open in another process, which gives no copy: %w", path, err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(copyTimeout)); err != nil {
		return err
	}
	return replaceFile(to, func(w io.Writer) error {
		var size [sizeHeader]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return fmt.Errorf("the server gives no copy: %w", err)
		}
		_, err := io.CopyN(w, conn, int64(binary.BigEndian.Uint64(size[:]))) //nolint:gosec // a negative size copies nothing
		return err
	})
}

// ServeCopies gives a copy of the file to everyone who connects to a Unix socket beside it,
// until ctx ends. The socket is for the user of the server alone.
func (b *Bolt) ServeCopies(ctx context.Context) error {
	path := socketOf(b.path)
	// The file is open here alone, so the socket is nobody else's.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("listen for backups: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("listen for backups: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(fmt.Errorf("listen for backups: %w", err), listener.Close())
	}
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept a backup's connection: %w", err)
		}
		// One at a time. Whoever cannot be served sees the connection end.
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		_ = b.sendCopy(conn)
		stop()
		_ = conn.Close()
	}
}

// sendCopy sends a copy. It is made on disk first, so that a slow reader delays no write. A disk
// without room takes no write either, and the copy is sent as it is read.
func (b *Bolt) sendCopy(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(copyTimeout)); err != nil {
		return err
	}
	f, size, err := b.copyOnDisk()
	if err != nil {
		return b.journal.db.View(func(tx *bbolt.Tx) error {
			return sendSized(conn, tx.Size(), func() (int64, error) { return tx.WriteTo(conn) })
		})
	}
	defer func() { _ = f.Close() }()
	return sendSized(conn, size, func() (int64, error) { return io.Copy(conn, f) })
}

// sendSized sends a size, then what has it.
func sendSized(conn net.Conn, size int64, send func() (int64, error)) error {
	if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, uint64(size))); err != nil { //nolint:gosec // a size
		return err
	}
	_, err := send()
	return err
}

// copyOnDisk returns a copy without a name, and its size.
func (b *Bolt) copyOnDisk() (f *os.File, size int64, err error) {
	if f, err = os.CreateTemp(filepath.Dir(b.path), filepath.Base(b.path)+".*"); err != nil {
		return nil, 0, err
	}
	err = os.Remove(f.Name())
	if err == nil {
		err = copyDB(b.journal.db, f)
	}
	if err == nil {
		size, err = f.Seek(0, io.SeekCurrent)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}
