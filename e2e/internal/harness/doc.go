// Package harness gives end-to-end tests machines that run the spanctl binary.
//
// A Mesh is a lab with a discovery server and machines that share a config. A Machine
// is a node of the lab. What a test does with a machine is grouped by what it works on:
//
//   - CLI runs spanctl commands,
//   - Agent is the process of `spanctl run`,
//   - API asks the agent for its resources,
//   - Files are the machine's config and what lies beside it,
//   - Net is the kernel's network configuration,
//   - Packets sends traffic,
//   - Exec runs other programs in the machine.
//
// Every method fails the test when it cannot do what it is named for. Every wait ends
// after Patience.
package harness
