#!/bin/sh
# Makes a disk ($2, qcow2) of a tree of files ($1): ext4 without partitions.
set -eu
raw=$2.raw
trap 'rm -f "$raw" "$2.new"' EXIT
truncate -s 1500M "$raw"
mkfs.ext4 -q -L stock -m 0 -E lazy_itable_init=0,lazy_journal_init=1 -d "$1" "$raw"
qemu-img convert -O qcow2 "$raw" "$2.new"
mv "$2.new" "$2"
