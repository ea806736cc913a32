#!/bin/sh
# Notes, from standard input, for whom this host is used. One launch can.
: "${tag:?}"
umask 077
if [ ! -d "$state" ]; then mkdir -p "$state" || exit 1; fi
new=$note.$tag
trap 'rm -f "$new"' EXIT
trap 'exit 1' HUP INT TERM PIPE
cat >"$new" || exit 1
tail -c 1 "$new" | grep -q . && fail "the note was cut" # its last byte is the end of a line
[ -s "$new" ] || fail "the note was cut"
if ln "$new" "$note" 2>/dev/null; then
	echo "claimed yes"
elif [ -e "$note" ]; then
	echo "claimed no"
	echo "note $(tr -d '\n' <"$note")"
else
	mv "$new" "$note" || exit 1 # a file system without hard links
	echo "claimed yes"
fi
