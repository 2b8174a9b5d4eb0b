// Package docs follows the documents: it types their commands as they stand there.
package docs
