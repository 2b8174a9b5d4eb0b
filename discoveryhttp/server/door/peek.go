package door

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// frameHeader is the length of a frame's header, in bytes (RFC 9113, section 4.1).
	frameHeader = 9
	// headerTable is the size of the table for compressed headers that a client may assume,
	// in bytes (RFC 9113, section 6.5.2).
	headerTable = 4096
	// maxFrame is the largest frame that a client may send before it has the server's
	// SETTINGS, without its header, in bytes (RFC 9113, section 4.2).
	maxFrame = 16 << 10
)

// isSettingsAck reports whether a frame with this header acknowledges SETTINGS.
func isSettingsAck(header []byte) bool {
	return frameLength(header) == 0 && http2.FrameType(header[3]) == http2.FrameSettings &&
		http2.Flags(header[4]).Has(http2.FlagSettingsAck)
}

// frameLength returns the length of a frame after its header, in bytes.
func frameLength(header []byte) int {
	return int(header[0])<<16 | int(header[1])<<8 | int(header[2])
}

// errHeader is returned for a connection that sends too much before its first request.
var errHeader = errors.New("too much was sent before the headers of the first request")

// peek reads from a connection up to the headers of its first request, and reports whether
// the request is gRPC in protobuf. Of other protocols than HTTP/2 it reads only enough to
// know that. It sends a SETTINGS frame if the client may wait for one.
func peek(r io.Reader, w io.Writer, l *Limits) (p *peeked, grpc bool, err error) {
	p = &peeked{buffer: bufio.NewReader(r)}
	isHTTP2, err := p.readPreface()
	if err != nil || !isHTTP2 {
		return p, false, err
	}
	framer := http2.NewFramer(w, nil)
	grpc, err = p.readHeaders(framer, l)
	if err != nil {
		// Requests that the client sends meanwhile were not served, and can be repeated.
		_ = framer.WriteGoAway(0, goAwayCode(err), nil)
	}
	return p, grpc, err
}

// readPreface reports whether the client speaks HTTP/2, which begins with a fixed text.
func (p *peeked) readPreface() (bool, error) {
	preface := []byte(http2.ClientPreface)
	for len(p.read) < len(preface) {
		b, err := p.buffer.ReadByte()
		if err != nil {
			return false, err
		}
		p.read = append(p.read, b)
		if !bytes.HasPrefix(preface, p.read) {
			return false, nil
		}
	}
	return true, nil
}

// readHeaders reads frames up to the headers of the first request.
func (p *peeked) readHeaders(writer *http2.Framer, l *Limits) (grpc bool, err error) {
	record := bytes.NewBuffer(p.read)
	limited := &io.LimitedReader{R: p.buffer, N: int64(l.Header)}
	framer := http2.NewFramer(nil, io.TeeReader(limited, record))
	framer.SetMaxReadFrameSize(maxFrame)
	framer.ReadMetaHeaders = hpack.NewDecoder(headerTable, nil)
	framer.MaxHeaderListSize = uint32(l.Header)
	answered := false
	for {
		if !answered && p.buffer.Buffered() == 0 {
			if err := writer.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: l.Streams}); err != nil {
				return false, err
			}
			answered, p.withhold = true, true
		}
		before := record.Len()
		frame, err := framer.ReadFrame()
		p.read = record.Bytes()
		var malformed http2.StreamError
		switch {
		case errors.As(err, &malformed):
			// A request that HTTP answers with an error.
			return false, nil
		case err != nil && limited.N == 0:
			return false, errHeader
		case err != nil:
			return false, err
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			return isGRPC(f), nil
		case *http2.SettingsFrame:
			if p.withhold && f.IsAck() {
				record.Truncate(before)
				p.withhold = false
			}
		}
	}
}

// isGRPC reports whether a request has the content type of gRPC with protobuf.
func isGRPC(headers *http2.MetaHeadersFrame) bool {
	for _, field := range headers.RegularFields() {
		if field.Name == "content-type" {
			contentType, _, _ := strings.Cut(strings.ToLower(field.Value), ";")
			contentType = strings.TrimSpace(contentType)
			return contentType == "application/grpc" || contentType == "application/grpc+proto"
		}
	}
	return false
}

// goAwayCode returns the error code that a client of HTTP/2 is sent away with.
func goAwayCode(err error) http2.ErrCode {
	var broken http2.ConnectionError
	switch {
	case errors.As(err, &broken):
		return http2.ErrCode(broken)
	case errors.Is(err, errHeader):
		return http2.ErrCodeEnhanceYourCalm
	case errors.Is(err, http2.ErrFrameTooLarge):
		return http2.ErrCodeFrameSize
	}
	return http2.ErrCodeNo
}
