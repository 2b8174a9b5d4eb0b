// Package etcd tests discovery servers that share an etcd, which `make etcd` builds.
package etcd
