#!/bin/sh
# How long the agent's log is.
if [ -e "$log" ]; then echo "log $(size "$log")"; else echo "log 0"; fi
