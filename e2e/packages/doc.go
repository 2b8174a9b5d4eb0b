// Package packages tests what `make packages` makes: the .deb, the .rpm, the container image
// and the unit of systemd.
package packages
