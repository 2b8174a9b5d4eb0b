// Package retry repeats what failed, after pauses that double.
//
// It is the one place that decides how long a failed call, watch or connection
// waits before the next attempt. Do repeats a function until it succeeds; a
// caller that waits for more than time and a context asks a Backoff for the next
// pause and waits itself, or calls Wait.
//
// Pauses have a jitter, so that machines that failed together do not return
// together.
//
// Do and Wait are safe for concurrent use. A Backoff is for one goroutine.
package retry
