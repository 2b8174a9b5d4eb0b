#!/bin/sh
# Runs after an installation or an upgrade. It starts nothing that was not running: a
# machine joins a mesh only once it has a config.
set -e

if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  # The mesh stays up while the agent restarts.
  systemctl try-restart spanctl.service spanctl-discovery.service || true
fi

# rpm passes the number of installed packages, dpkg "configure" and the previous version.
case "$1 $2" in
  "1 " | "configure ")
    echo "spanctl: write a config with 'spanctl gen config', store it with 'spanctl apply -f FILE',"
    echo "spanctl: and join with 'systemctl enable --now spanctl'."
    ;;
esac
