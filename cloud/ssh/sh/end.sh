#!/bin/sh
# Takes back what a launch left on this host, and goes on with that when the
# connection breaks. Its note is the last to go.
: "${tag:?}" "${whose:?}"
[ -e "$note" ] || exit 0
text=$(cat "$note") || exit 1
case $text in
*"$whose"*) ;;
*) exit 0 ;;
esac
trap '' HUP PIPE INT

keeps() { case $text in *'"keeps":true'*) return 0 ;; *) return 1 ;; esac }
had() { case $text in *"\"had_$1\":true"*) return 0 ;; *) return 1 ;; esac }

# What is gone with the state comes back when something fails.
fail() {
	mkdir -p "$state" && chmod 700 "$state" && (umask 077 && printf '%s\n' "$text" >"$note")
	echo "$1" >&2
	exit 1
}

agents() {
	# shellcheck disable=SC2012 # no other program tells all links at once
	ls -l /proc/[0-9]*/exe 2>/dev/null | sed -n "s|.*/proc/\([0-9]*\)/exe -> $program\( (deleted)\)\{0,1\}\$|\1|p"
	[ ! -f "$pidfile" ] || cat "$pidfile"
}

# Of the processes those that are agents: a broker may run from the same file.
running() {
	for pid in $(agents | sort -u); do
		line=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") || continue
		case $line in
		*" agent install "*) ;;
		*"/nimbus agent "* | ctx-agent\ * | */ctx-agent\ * | *"$launcher "*) echo "$pid" ;;
		esac
	done
}

if [ -d /run/systemd/system ]; then
	for unit in "nimbus-agent-$tag.service" nimbus-agent.service; do
		systemctl stop "$unit" >/dev/null 2>&1
		systemctl reset-failed "$unit" >/dev/null 2>&1 # it was stopped before its end, or had failed
	done
fi
signal=TERM
tries=0
while pids=$(running) && [ -n "$pids" ]; do
	[ "$tries" -ne 200 ] || signal=KILL
	[ "$tries" -lt 250 ] || fail "the agent does not end: process $pids"
	# shellcheck disable=SC2086 # a list of numbers
	if [ "$tries" = 0 ] || [ "$signal" = KILL ]; then kill -s "$signal" $pids 2>/dev/null; fi
	sleep 0.1 2>/dev/null || { sleep 1 && tries=$((tries + 9)); }
	tries=$((tries + 1))
done

if [ -x "$top/ctx-scripts/clean.sh" ]; then
	said=$("$top/ctx-scripts/clean.sh" --image 2>&1 </dev/null) || fail "$top/ctx-scripts/clean.sh --image: $said"
fi
rm -f "$top/bin/.nimbus-$tag.new"
if ! had nimbus && keeps && [ -x "$program" ] && [ -x "$launcher" ]; then
	echo "top $(yes had top)" >"$kept" || fail "cannot write $kept"
elif ! had nimbus; then
	if [ -x "$program" ]; then
		said=$("$program" agent install --uninstall 2>&1 </dev/null) || fail "$program agent install --uninstall: $said"
	fi
	if ! had top; then
		# Nothing was here: scripts that were changed meanwhile are of this launch.
		rm -rf "${top:?}/bin" "$top/ctx" "$top/ctx-scripts" "$top/ctx-scripts.image" "$top/ctx-test" "$top/installed.json" "$log" "$log.1" || fail "cannot remove $top"
	fi
	rm -f "$kept"
	rmdir "$top/bin" "$top/ctx" 2>/dev/null
	if had top; then
		mkdir -p "$top"
	else
		rmdir "$top" 2>/dev/null
		[ ! -d "$top" ] || echo "left $top"
	fi
fi
rm -rf "$state" || fail "cannot remove $state"
if had state; then mkdir "$state" && chmod 700 "$state"; fi
echo "removed yes"
