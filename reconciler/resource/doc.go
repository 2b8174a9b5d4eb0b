// Package resource keeps what `spanctl get` shows.
//
// A Resource has a Type, an ID, a version that rises with every change of its spec, and the
// spec: a plain struct whose fields have the names that talosctl shows. Store holds all
// resources. The engine replaces those of a type as a whole, and only those that differ
// become a Change. Watchers get every change once and in order. A watcher that lags gets only
// the latest of several changes of one resource, so that its queue never outgrows the store.
//
// Each type has a file of its own, with its names, its columns and its spec; types.go lists
// them. Recorder keeps Events, which are resources too.
//
// Store is safe for concurrent use.
package resource
