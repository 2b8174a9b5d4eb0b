// Package resource keeps what `spanctl get` shows.
//
// A Resource has a type, an ID, a version that rises with every change of its
// spec, and the spec itself: a plain struct whose fields carry the names that
// users of talosctl know. Store holds all resources; the loop replaces those of
// a type as a whole and only what differs becomes an event. Watchers get each
// change once and in order; a watcher that lags sees the latest of several
// changes of one resource, so that its queue never outgrows the store.
//
// Types describes every type: its names and the columns of its table.
//
// Store is safe for concurrent use.
package resource
