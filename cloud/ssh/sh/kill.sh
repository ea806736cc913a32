#!/bin/sh
# Ends all processes of a session.
: "${session:?}"
signal() {
	found=''
	for dir in /proc/[0-9]*; do
		read -r line <"$dir/stat" || continue
		line=${line##*) }
		# shellcheck disable=SC2086 # words
		set -- "$1" $line
		if [ "${5:-}" = "$session" ] && [ "$2" != Z ]; then
			found=yes
			kill -s "$1" "${dir#/proc/}"
		fi
	done
	[ -n "$found" ]
} 2>/dev/null
# Those above it: sudo with a terminal sleeps when its program was stopped.
above=''
pid=$session
while [ "${pid:-1}" -gt 1 ] && read -r line <"/proc/$pid/stat"; do
	line=${line##*) }
	# shellcheck disable=SC2086 # words
	set -- $line
	pid=$2
	above="$above $pid"
done 2>/dev/null

signal HUP && signal TERM
signal CONT
# shellcheck disable=SC2086 # a list of numbers
kill -s CONT $above 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do
	signal 0 || exit 0
	sleep 0.1 2>/dev/null || sleep 1
done
while signal KILL; do sleep 0.1 2>/dev/null || sleep 1; done
