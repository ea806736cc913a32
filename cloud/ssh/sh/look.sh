#!/bin/sh
# What a launch must know of a host, and the note of one that uses it.
echo "now $(date +%s)"
if [ -e "$kept" ]; then # what a launch left is no one else's
	echo "top $(yes grep -qx 'top yes' "$kept")"
	echo "nimbus no"
else
	echo "top $(yes test -d "$top")"
	echo "nimbus $(yes test -e "$program" -o -e "$launcher")"
fi
echo "state $(yes test -d "$state")"
echo "bootstrap $(yes test -e "$state/bootstrap")"
echo "begun $(yes test -e "$begun")"
# A program without its launcher has yet to be installed.
if [ -f "$program" ] && [ -x "$launcher" ]; then
	have=$(sum "$program") || exit 1
	echo "sum $have"
fi
dir=$top
while [ ! -d "$dir" ]; do dir=$(dirname "$dir"); done
df -Pk "$dir" 2>/dev/null | {
	read -r _
	read -r _ _ _ free _ && echo "free $free"
}
if [ -e "$note" ]; then
	[ "$(size "$note")" -lt 65536 ] || fail "$note is damaged: it is too large"
	echo "note $(tr -d '\n' <"$note")"
fi
