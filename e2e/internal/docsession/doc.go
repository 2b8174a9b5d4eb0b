// Package docsession follows a document on a machine: it types commands as they stand there.
package docsession
