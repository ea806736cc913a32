#!/bin/sh
# Installs what the tests need where that is possible (root on Debian), and
# says what is missing and what that leaves out where it is not.
set -eu

missing=''
packages=''
need() { # command, package, what for
	if ! command -v "$1" >/dev/null 2>&1 && [ ! -x "/usr/sbin/$1" ]; then
		missing="$missing
  $1 (Debian: $2): $3"
		packages="$packages $2"
	fi
}

need make make "everything"
need go golang "everything"
need git git "planting bugs into the core"
need gcc gcc "the race detector"
if [ ! -e /usr/include/stdlib.h ] && [ "$(uname)" = Linux ]; then
	missing="$missing
  C headers (Debian: libc6-dev): the race detector"
	packages="$packages libc6-dev"
fi
need sshd openssh-server "logging in to sandboxes"
need ssh openssh-client "logging in to sandboxes, known_hosts"
need tmux tmux "looking at the live view in a terminal"
need shellcheck shellcheck "checking the shell scripts"
need mandoc mandoc "checking the manual pages"
need bash bash "completing commands"
need curl curl "fetching from a broker"
need wget wget "fetching from a broker"
need dash dash "user data"
need busybox busybox-static "user data"
need genisoimage genisoimage "drives that clouds attach"
need mkfs.vfat dosfstools "drives that clouds attach"
if [ "$(uname)" = Linux ]; then
	need ip iproute2 "looking into sandboxes"
	need nsenter util-linux "looking into sandboxes"
	need sudo sudo "becoming root on hosts"
	need busybox busybox-static "hosts with nothing else"
	need pgrep procps "looking into sandboxes"
	need dash dash "install.sh in several shells"
	need busybox busybox-static "install.sh in several shells, an image of nothing else"
	need openssl openssl "install.sh with other tools"
fi

# What go.mod asks for; a newer Go fetches that by itself, an old one cannot.
version() { go env GOVERSION | sed 's/^go1\.\([0-9]*\).*/\1/'; }
if command -v go >/dev/null 2>&1 && [ "$(version)" -lt 21 ]; then
	echo "this is $(go env GOVERSION), and go.mod asks for Go $(sed -n 's/^go //p' go.mod): install a newer one" >&2
	exit 1
fi
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	echo "installing:$packages" >&2
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086 # a list of words
	apt-get install -y -q $packages >/dev/null 2>&1 || {
		apt-get update -q >/dev/null
		apt-get install -y -q $packages >/dev/null
	}
	exit 0
fi
echo "the tests lack (and fail, or leave out):$missing" >&2
