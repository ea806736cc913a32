#!/bin/sh
# What all scripts for hosts begin with. They are sent through standard input,
# with values for their variables before this, and run as root under whatever
# sh the host has. What they print are answers, a word and a value in each line.
set -u
PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
LC_ALL=C
export LC_ALL
umask 022

top=/opt/nimbus
program=$top/bin/nimbus
launcher=$top/ctx/launch.sh
log=$top/ctxlog.txt
state=/var/lib/nimbus
note=$state/ssh-instance.json
begun=$state/ssh-started
# Beside an agent that a launch put there and left: whether there was $top before.
kept=$top/kept-by-launch
pidfile=$state/ssh-agent.pid

fail() {
	echo "$1" >&2
	exit 1
}

# The SHA-256 of a file, by whatever can tell it.
sum() {
	if command -v sha256sum >/dev/null 2>&1; then
		set -- "$(sha256sum <"$1")"
	elif command -v shasum >/dev/null 2>&1; then
		set -- "$(shasum -a 256 <"$1")"
	elif command -v openssl >/dev/null 2>&1; then
		set -- "$(openssl dgst -sha256 -r <"$1")"
	elif command -v busybox >/dev/null 2>&1; then
		set -- "$(busybox sha256sum <"$1")"
	else
		fail "it has no program for a SHA-256: sha256sum, shasum, openssl or busybox"
	fi
	echo "${1%% *}"
}

size() { wc -c <"$1" | tr -d ' '; }

yes() { if "$@"; then echo yes; else echo no; fi; }
