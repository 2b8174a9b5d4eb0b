// Package nat has machines behind each kind of NAT and firewall meet, each kind with each: how they
// met, how long it took, that packets flow, and that nobody between them can read any.
//
// table_test.go has what is wanted of each pair, grid_test.go the mesh in which all pairs meet, and
// change_test.go one in which what is between machines changes. kinds_test.go proves that the routers of
// package lab are of the kinds that they are named for, with sockets alone.
package nat
