// Package samples keeps how the connections to peers were, in memory: the last hour in steps of 30
// seconds, and the last day in steps of ten minutes.
//
// A Ring takes what is known of the peers whenever it was read. That holds until the next reading,
// unless the next is late; then nothing is known in between. Bytes are spread over the time from one
// reading to the next, since a machine at rest reads its peers as seldom as a step is long.
//
// Times are durations on a clock that nobody sets and that goes on in suspend. A sample needs nine
// bytes (pack.go), so a peer needs less than 3 KiB after a day, and 2 KiB after an hour.
package samples
