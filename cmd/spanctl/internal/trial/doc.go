// Package trial decides what happens to the machine's config: when it is applied, tried,
// confirmed, rolled back, edited, taken down, and when the agent starts or time passes.
//
// It is pure. A State is what the disk says, Step turns an event into effects, and the caller
// carries those out, in their order. Each may fail, and the process may end before and after each:
// the next Step then decides from what the disk says by then.
//
//	           try                          confirm, rollback N, apply after its time
//	none ───────────────▶ on ──────────────────────────────────────▶ decided
//	 ▲ ▲                  │ time is up, rollback, down, a failure        │
//	 │ │                  ▼                                              │
//	 │ └──────────────── over: the config before comes back              │
//	 └───────────────────────────────────────────────────────────────────┘
//	                          the record is removed
//
// Three things hold whatever happens. The record of a trial is on disk before anything else is
// changed, and goes last. What is kept of a trial in the history is not confirmed, until it is
// confirmed. What the end of a trial brings back is the newest config that is confirmed; where
// none is, the mesh is taken down.
package trial
