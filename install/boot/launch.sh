#!/bin/sh
# Configures this machine as a node of a cluster; called at boot.
exec "$(dirname "$0")/../bin/nimbus" agent "$@"
