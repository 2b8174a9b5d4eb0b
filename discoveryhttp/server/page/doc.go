// Package page is the page of a discovery server: what it shows, to whom, and over which time.
//
// A server records a Reading every few seconds on a Board. The board keeps what happened between
// two readings: of the last hour by 10 seconds, and of the last day by 5 minutes (ring.go). It
// answers with JSON, which is made at most once between two readings and shared by all who ask
// (board.go). An Audience says how much of it somebody may see (audience.go). The files that a
// browser loads are in the program (files.go); their sources are in web.
//
// Nothing here knows an ID of a cluster or an affiliate, or an address: readings have none.
//
// A Board is safe for concurrent use.
package page
