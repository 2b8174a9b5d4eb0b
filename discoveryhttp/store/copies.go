package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// socketOf returns the path of the Unix socket at which a server gives copies of its file.
func socketOf(path string) string { return path + ".sock" }

const (
	// copyTimeout bounds how long a server takes to give a copy.
	copyTimeout = time.Minute
	// sizeHeader is the size of the size of a copy, which precedes it, in bytes.
	sizeHeader = 8
	// noCopy in the place of the size precedes the reason why there is no copy, which has up to
	// maxReason bytes.
	noCopy    = math.MaxUint64
	maxReason = 1 << 10
)

// noCopyError is the error of a server that gives no copy.
func noCopyError(err error) error { return fmt.Errorf("the server gives no copy: %w", err) }

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
	size, err := readSize(conn)
	if err != nil {
		return noCopyError(err)
	}
	return replaceFile(to, func(w io.Writer) error {
		n, err := io.CopyN(w, conn, size)
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("the server has ended the copy after %d of %d bytes: it stops, or cannot read its file", n, size)
		}
		return err
	})
}

// readSize reads the size of a copy, or the reason why there is none.
func readSize(conn io.Reader) (int64, error) {
	var header [sizeHeader]byte
	if _, err := io.ReadFull(conn, header[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, errors.New("it has ended the connection: it stops, or is of an earlier version and has no room for the copy on its disk")
		}
		return 0, err
	}
	size := binary.BigEndian.Uint64(header[:])
	if size == noCopy {
		reason, err := io.ReadAll(io.LimitReader(conn, maxReason))
		return 0, cmp.Or(err, errors.New(string(reason)))
	}
	return int64(size), nil //nolint:gosec // a negative size copies nothing
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
		begun := false
		err = b.journal.db.View(func(tx *bbolt.Tx) error {
			begun = true
			return sendSized(conn, tx.Size(), func() (int64, error) { return tx.WriteTo(conn) })
		})
		if !begun {
			return sendReason(conn, err)
		}
		return err
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

// sendReason sends why there is no copy.
func sendReason(conn net.Conn, reason error) error {
	text := reason.Error()
	_, err := conn.Write(append(binary.BigEndian.AppendUint64(nil, noCopy), text[:min(len(text), maxReason)]...))
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
