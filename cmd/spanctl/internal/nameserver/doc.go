// Package nameserver answers DNS queries for the names of a mesh, and for no others.
//
// A Zone has what is answered, and is pure. A Server answers at one address by UDP and TCP. It
// hears this machine and the machines of the mesh alone, and takes a bounded number of queries
// from each side, so that no machine of the mesh keeps this one's own programs waiting.
package nameserver
