#!/bin/sh
# Runs after the removal. Identity and config stay for the next installation, except
# after a purge.
set -e

if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || true
fi
if [ "$1" = purge ]; then
  rm -rf /etc/spanctl /var/lib/spanctl /var/lib/private/spanctl-discovery /var/lib/spanctl-discovery
fi
