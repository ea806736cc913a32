#!/bin/sh
# Starts the agent with the bootstrap document that comes on standard input.
# It goes on when this connection ends.
: "${tag:?}" "${bytes:?}"
umask 077
new=$state/bootstrap.$tag
trap 'rm -f "$new"' EXIT
trap 'exit 1' HUP INT TERM PIPE
cat >"$new" || exit 1
[ "$(size "$new")" = "$bytes" ] || fail "the bootstrap document was cut"
mv -f "$new" "$state/bootstrap" || exit 1
[ -e "$log" ] || : >"$log"
offset=$(size "$log") || exit 1
echo "log $offset"

start() {
	if [ -d /run/systemd/system ]; then
		if systemctl cat nimbus-agent.service >/dev/null 2>&1 && systemctl restart --no-block nimbus-agent.service; then return; fi
		if systemd-run --quiet --unit="nimbus-agent-$tag" "$launcher" >/dev/null 2>&1; then return; fi
	fi
	if command -v setsid >/dev/null 2>&1; then
		setsid nohup "$launcher" </dev/null >/dev/null 2>&1 &
	else
		nohup "$launcher" </dev/null >/dev/null 2>&1 &
	fi
	echo "$!" >"$pidfile"
}
start || exit 1
: >"$begun"
