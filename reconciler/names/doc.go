// Package names gives the machines of a mesh their names in a DNS domain.
//
// A machine is found by the first label of its host name, in lower case, and by that of its
// Kubernetes Node, if it differs:
//
//	web2                  web2.span.internal
//	DB1.example.com       db1.span.internal
//	my_host, *, 10.0.0.5  none: RFC 1123 allows no such label, or it is an address
//
// Of several machines with one label, none has it. Each has the label with four hexadecimal digits
// that follow from its node ID, and do not change:
//
//	vm, vm                vm-3f9c.span.internal, vm-a07e.span.internal
//
// A machine that calls itself vm-3f9c does not get that name as long as it is another's. So nobody
// takes a name from a machine that has it, except by making it that of nobody.
//
// All is a pure function of the machines; their order does not matter. A Table is for concurrent
// use.
package names
