package server

import (
	"fmt"
	"net/http"
	"strings"

	"connectrpc.com/connect"
)

// identity is the name of no compression.
const identity = "identity"

// withoutCompression refuses compressed requests with an error that says what is taken instead.
// Encrypted data does not get smaller, and a compressed request may get large.
func withoutCompression(next http.Handler) http.Handler {
	refusal := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		encoding := encodingOf(r)
		if encoding == "" || encoding == identity || !refusal.IsSupported(r) {
			next.ServeHTTP(w, r)
			return
		}
		// A client that has gone does not read the error.
		_ = refusal.Write(w, r, connect.NewError(connect.CodeUnimplemented,
			fmt.Errorf("compression %q is not supported: send %s, which is no compression", encoding, identity)))
	})
}

// encodingOf returns the compression that a request says it has, by its protocol: gRPC and
// gRPC-Web, streams of Connect, or calls of Connect with one request.
func encodingOf(r *http.Request) string {
	switch contentType := r.Header.Get("Content-Type"); {
	case strings.HasPrefix(contentType, "application/grpc"):
		return r.Header.Get("Grpc-Encoding")
	case strings.HasPrefix(contentType, "application/connect+"):
		return r.Header.Get("Connect-Content-Encoding")
	default:
		return r.Header.Get("Content-Encoding")
	}
}
