#!/bin/sh
# Before the package goes, not before it is upgraded: rpm passes the number of packages
# that will be left, dpkg "remove" or "upgrade".
set -e

case "$1" in
  0 | remove) ;;
  *) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
  systemctl --no-reload disable --now spanctl.service spanctl-discovery.service || true
fi
# Nothing of the mesh is left without the program that could take it down.
if [ -e /etc/spanctl/machine.cue ] || [ -e /etc/spanctl/machine.yaml ] || [ -e /etc/spanctl/machine.json ]; then
  /usr/bin/spanctl down > /dev/null || echo "spanctl: the mesh could not be taken down" >&2
fi
