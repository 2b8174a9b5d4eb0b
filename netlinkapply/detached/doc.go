// Package detached runs processes that outlive the one that starts them, as WireGuard in userspace
// outlives the agent.
//
//	agent --Start--> Spawn: this program again, with what the process inherits
//	                   `--> the process: in a session of its own, ends by Ready what Start waits for
//
// Start runs a command, which calls Spawn. Spawn runs the same command once more, in which Inherited
// reports true, and ends as soon as that has called Ready. So the process is a child of init.
//
// A process is found again by its control socket, which names the process behind it (unix(7),
// SO_PEERCRED). A Socket answers one request per connection; it lies in a directory that root alone
// may enter, and a process whose socket was removed or replaced is to end.
//
// All functions may be called concurrently.
package detached
