// Package evaluate makes machine configs out of their texts in a child process, and whatever else is
// read from the texts of others.
//
// A config is a program: CUE has comprehensions, YAML has aliases, and a few lines can ask for
// hours of work or all memory. The child is this binary, started with Command. It has limits of
// processor time and of memory, ends with its parent, and gets the request on standard input. Its
// answer is on standard output. Secrets that a config has elsewhere never reach it: the parent
// reads them.
//
// A program that uses an Evaluator calls Main at its start where IsChild.
package evaluate
