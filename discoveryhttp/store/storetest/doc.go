// Package storetest tests implementations of server.Store. Run is the test that
// every store passes; the other functions help with further tests of one store.
package storetest
