// Package nodecmd has what people and other programs do to a machine by hand: take a route
// away, block a port, drop packets. The test program runs it inside of a node.
//
// A command is named by its key in Commands. One that keeps running prints Ready when it
// has begun and ends with SIGTERM.
package nodecmd
