#!/bin/sh
# After an installation or an upgrade. Nothing is started that did not run: a machine
# joins a mesh once somebody has given it a config.
set -e

if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  # The mesh stays up while the agent is restarted.
  systemctl try-restart spanctl.service spanctl-discovery.service || true
fi

# rpm passes the number of installed packages, dpkg "configure" and the version before.
case "$1 $2" in
  "1 " | "configure ")
    echo "spanctl: write a config with 'spanctl gen config', put it in its place with 'spanctl apply -f FILE',"
    echo "spanctl: and join with 'systemctl enable --now spanctl'."
    ;;
esac
