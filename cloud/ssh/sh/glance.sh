#!/bin/sh
# Only the note of the launch that uses a host.
if [ -e "$note" ]; then
	[ "$(size "$note")" -lt 65536 ] || fail "$note is damaged: it is too large"
	echo "note $(tr -d '\n' <"$note")"
fi
