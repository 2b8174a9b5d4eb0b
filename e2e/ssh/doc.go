// Package ssh tests commands that work on other machines through sshd(8).
package ssh
