#!/bin/sh
# Installs the program that comes on standard input.
: "${tag:?}" "${want:?}" "${bytes:?}"
new=$top/bin/.nimbus-$tag.new
mkdir -p "$top/bin" || exit 1
trap 'rm -f "$new"' EXIT
trap 'exit 1' HUP INT TERM PIPE
rm -f "$new"
cat >"$new" || fail "there is no room for $bytes bytes in $top/bin"
[ "$(size "$new")" = "$bytes" ] || fail "the program arrived in part: $(size "$new") of $bytes bytes"
have=$(sum "$new") || exit 1
[ "$have" = "$want" ] || fail "the program arrived damaged: its SHA-256 is $have, not $want"
chmod 755 "$new" || exit 1
said=$("$new" agent install --keep-state </dev/null 2>&1) || fail "the program could not install itself: $said"
have=$(sum "$program") || exit 1
[ "$have" = "$want" ] || fail "after the installation $program has the SHA-256 $have, not $want"
