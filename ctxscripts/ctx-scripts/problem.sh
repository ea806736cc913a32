#!/bin/sh
# Runs after a failure was reported, if the agent's configuration names it
# (problem_script), or with agent --poweroff: STEP CODE.
# A machine that failed is kept, so that somebody can look at it, unless the
# agent is told otherwise (power_off).
set -eu

echo "contextualization of ${NIMBUS_NODE:-this machine} failed in step \"${1:-unknown}\" with code ${2:-unknown}"
if [ "${NIMBUS_POWEROFF:-no}" = yes ]; then
    echo "powering off"
    exec poweroff
fi
