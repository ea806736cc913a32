#!/bin/sh
# Builds the ACME test server Pebble and its DNS server from its Go module and prints the
# directory that has the executables and its test certificates.
set -eu
version=v2.10.1
dir=${TMPDIR:-/tmp}/nimbus-pebble-$version
if [ ! -x "$dir/pebble" ]; then
	mkdir -p "$dir"
	GOBIN=$dir CGO_ENABLED=0 go install "github.com/letsencrypt/pebble/v2/cmd/pebble@$version" \
		"github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv@$version"
	source=$(go mod download -json "github.com/letsencrypt/pebble/v2@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	cp -r "$source/test" "$dir/"
	chmod -R u+w "$dir/test"
fi
echo "$dir"
