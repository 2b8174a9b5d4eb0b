// Package hostsfile keeps a block of lines in /etc/hosts.
//
// The block is between two lines that name its owner. Every line of it ends with a mark:
//
//	127.0.0.1	localhost
//	# BEGIN spanctl /var/lib/spanctl: what is changed up to END is lost
//	fd12::1	web1.span.internal	# spanctl
//	# END spanctl /var/lib/spanctl
//
// What is outside of the block stays as it is, byte for byte. Edit is pure; a File is for one
// goroutine.
package hostsfile
