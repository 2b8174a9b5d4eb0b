// Package discovery tests the discovery server as operators run it: stores, TLS, calls in
// JSON, socket activation.
package discovery
