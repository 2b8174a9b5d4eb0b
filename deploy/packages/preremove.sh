#!/bin/sh
# Runs before a removal, and does nothing before an upgrade. rpm passes the number of
# packages that remain, dpkg "remove" or "upgrade".
set -e

case "$1" in
  0 | remove) ;;
  *) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
  systemctl --no-reload disable --now spanctl.service spanctl-discovery.service || true
fi
# Without the program, nobody could take the mesh down.
if [ -e /etc/spanctl/machine.cue ] || [ -e /etc/spanctl/machine.yaml ] || [ -e /etc/spanctl/machine.json ]; then
  /usr/bin/spanctl down > /dev/null || echo "spanctl: the mesh could not be taken down" >&2
fi
