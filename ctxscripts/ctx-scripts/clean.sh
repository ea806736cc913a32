#!/bin/sh
# Takes back what a context left on this machine.
#
#   clean.sh --image   before the machine is saved as an image: everything
#   clean.sh           does nothing, unless the agent calls it because the
#                      machine is in another context now (NIMBUS_OLD_CONTEXT)
set -eu

# setting NAME DEFAULT: what the agent's settings say.
setting() {
    value=$(sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*[\"']\([^\"']*\)[\"'].*/\1/p" "${NIMBUS_CONFIG:-/opt/nimbus/ctx/ctx.conf}" 2>/dev/null | tail -n 1)
    echo "${value:-$2}"
}

hosts=${NIMBUS_HOSTS_FILE:-/etc/hosts}
known=${NIMBUS_KNOWN_HOSTS:-$(setting known_hosts /etc/ssh/ssh_known_hosts)}
equiv=${NIMBUS_HOSTS_EQUIV:-$(setting hosts_equiv /etc/hosts.equiv)}
testdir=${NIMBUS_TESTDIR:-/opt/nimbus/ctx-test}
state=${NIMBUS_STATE_DIR:-$(setting state_dir /var/lib/nimbus)}
log=${NIMBUS_LOG_FILE:-$(setting log_file /opt/nimbus/ctxlog.txt)}
bootstrap=$(setting bootstrap_file /var/lib/nimbus/bootstrap)
scripts=${NIMBUS_SCRIPTS_DIR:-$(cd "$(dirname "$0")" && pwd)}

if [ "${1:-}" != --image ] && [ -z "${NIMBUS_OLD_CONTEXT:-}" ]; then
    echo "the context did not change, nothing to clean; before saving an image: $0 --image"
    exit 0
fi

# Removes our block from a file; a file without one is not touched, and a
# begin without its end takes no foreign line with it.
strip() {
    [ -f "$1" ] || return 0
    grep -qs '^# nimbus begin$' "$1" || return 0
    new=$(mktemp "$1.XXXXXX")
    cp -p "$1" "$new"
    awk '
        $0 == "# nimbus begin" { printf "%s", held; held = ""; ours = 1 }
        ours { held = held $0 "\n"; if ($0 == "# nimbus end") { held = ""; ours = 0 }; next }
        { print }
        END { printf "%s", held }
    ' "$1" >"$new"
    mv -f "$new" "$1" 2>/dev/null || { cat "$new" >"$1"; rm -f "$new"; }
}

strip "$hosts"
strip "$known"
# An empty one was made for our block. Settings may say /dev/null.
if [ -f "$known" ] && [ ! -s "$known" ]; then
    rm -f "$known"
fi
if [ -e "$equiv.before-nimbus" ]; then
    mv -f "$equiv.before-nimbus" "$equiv"
fi
rm -rf "$testdir"

# The agent's memory of contexts holds secrets and must not get into an image.
if [ "${1:-}" = --image ]; then
    # Settings may be wrong: no agent has ever worked in a directory without lock.
    if [ -e "$state/lock" ] || [ "$state" = "${NIMBUS_STATE_DIR:-/var/lib/nimbus}" ]; then
        rm -rf "$state"
    fi
    for file in "$log" "$log.1" "$bootstrap"; do
        [ ! -f "$file" ] || rm -f "$file"
    done

    # What came with a launch lies over this machine's own scripts, which are
    # kept beside. Interrupted here, the agent does the rest in the next context.
    if [ -d "$scripts.image" ]; then
        find "$scripts/" -mindepth 1 -maxdepth 1 -exec rm -rf {} +
        cp -pR "$scripts.image/." "$scripts/"
        rm -f "$scripts/.pack"
        # A directory goes bit by bit, and half of one would be taken for all.
        gone=$(dirname "$scripts")/.$(basename "$scripts").image.draft
        rm -rf "$gone"
        mv "$scripts.image" "$gone"
        rm -rf "$gone"
    fi
fi
echo "cleaned"
