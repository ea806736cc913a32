#!/bin/sh
# The end of the agent's log.
: "${bytes:?}"
[ ! -e "$log" ] || tail -c "$bytes" "$log"
