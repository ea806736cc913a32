#!/bin/sh
# Installs Nimbus into this machine, or into an image that is mounted somewhere:
# the agent and its scripts under /opt/nimbus. It needs no network: the program
# is taken from a local build (bin/nimbus) or from a file.
#
#   ./install.sh [--root DIR] [--binary FILE]
#
# Run it again at will: the program is replaced, scripts that were changed stay.
set -eu

usage() {
	echo "usage: $0 [--root DIR] [--binary FILE]" >&2
	exit 1
}

fail() {
	echo "install.sh: error: $1" >&2
	[ -z "${2:-}" ] || echo "install.sh: hint: $2" >&2
	exit 1
}

# All in a function: a script that arrived in part does nothing.
main() {
	root='' binary=''
	while [ $# -gt 0 ]; do
		case $1 in
		--root | --binary)
			[ $# -ge 2 ] || usage
			option=$1 value=$2
			shift 2
			;;
		--root=* | --binary=*)
			option=${1%%=*} value=${1#*=}
			shift
			;;
		*) usage ;;
		esac
		[ -n "$value" ] || fail "$option is empty" "name a directory or file, or leave the option out"
		if [ "$option" = --root ]; then root=$value; else binary=$value; fi
	done
	here=$(cd "$(dirname "$0")" && pwd)
	if [ -z "$binary" ]; then
		binary=$here/bin/nimbus
		[ -f "$binary" ] || fail "there is no $binary" "build it with 'make build', or name one with --binary FILE"
	fi
	if [ ! -f "$binary" ] || [ ! -r "$binary" ]; then fail "cannot read $binary"; fi
	if [ -n "$root" ]; then
		[ -d "$root" ] || fail "$root is no directory" "mount the image first"
		# A link in the image would lead out of it, into this machine.
		for part in opt opt/nimbus opt/nimbus/bin opt/nimbus/ctx opt/nimbus/ctx-scripts; do
			[ ! -L "$root/$part" ] || fail "$root/$part is a symbolic link" "make it a directory, or install with the image as the root (chroot)"
		done
	fi
	[ "$(uname)" = Linux ] || [ -n "$root" ] || fail "the agent runs on Linux; this is $(uname)"
	target=$root/opt/nimbus
	mkdir -p "$target/bin" "$target/ctx" 2>/dev/null || fail "cannot write to $target" "run this as root"

	# The old program may be running: put the new one in its place as a whole.
	cp "$binary" "$target/bin/.nimbus.new" || fail "cannot write to $target/bin"
	chmod 755 "$target/bin/.nimbus.new"
	mv -f "$target/bin/.nimbus.new" "$target/bin/nimbus"
	# A script, as it always was: people write "sh launch.sh" into rc.local.
	rm -f "$target/ctx/launch.sh"
	cat >"$target/ctx/launch.sh" <<-'EOF'
		#!/bin/sh
		# Configures this machine as a node of a cluster; to be called at boot.
		exec "$(dirname "$0")/../bin/nimbus" agent "$@"
	EOF
	chmod 755 "$target/ctx/launch.sh"
	for name in ctx-agent ctx-broker cloud-client cloud-client.sh; do
		ln -sfn nimbus "$target/bin/$name"
	done

	scripts=$here/ctxscripts/ctx-scripts
	if [ -d "$scripts" ]; then
		(cd "$scripts" && find . -type f) | while read -r file; do
			[ ! -e "$target/ctx-scripts/$file" ] || continue
			mkdir -p "$(dirname "$target/ctx-scripts/$file")"
			cp "$scripts/$file" "$target/ctx-scripts/$file"
			case $file in
			*.md) chmod 644 "$target/ctx-scripts/$file" ;;
			*) chmod 755 "$target/ctx-scripts/$file" ;;
			esac
		done
	fi # else the agent brings its own, when it finds none

	echo "Installed in $target."
	echo "Call /opt/nimbus/ctx/launch.sh at boot, when the network is up."
	echo "Try it: on a machine that is no part of a cluster it says so and does nothing."
}

main "$@"
