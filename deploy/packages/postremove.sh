#!/bin/sh
# After the package has gone. Its identity and config stay for the next installation,
# but for a purge.
set -e

if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || true
fi
if [ "$1" = purge ]; then
  rm -rf /etc/spanctl /var/lib/spanctl /var/lib/private/spanctl-discovery /var/lib/spanctl-discovery
fi
