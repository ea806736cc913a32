#!/bin/sh
# Installs what the tests on virtual machines need (root on Debian), or says
# what is missing.
set -eu

missing=''
packages=''
need() { # command, package
	if ! command -v "$1" >/dev/null 2>&1 && [ ! -x "/usr/sbin/$1" ]; then
		missing="$missing $1"
		packages="$packages $2"
	fi
}
need qemu-system-x86_64 qemu-system-x86
need qemu-img qemu-utils
need debootstrap debootstrap
need busybox busybox-static
need cpio cpio
need depmod kmod
need mkfs.ext4 e2fsprogs
need genisoimage genisoimage
need dnsmasq dnsmasq-base
need ssh openssh-client
need ip iproute2
need unshare util-linux
need pgrep procps
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "the tests on virtual machines lack:$missing" >&2
	exit 1
fi
echo "installing:$packages" >&2
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of words
apt-get install -y -q --no-install-recommends $packages >/dev/null 2>&1 || {
	apt-get update -q >/dev/null
	apt-get install -y -q --no-install-recommends $packages >/dev/null
}
