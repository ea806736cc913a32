#!/bin/sh
# Who we are on this host, and whether we can become root. Not run as root.
echo "login nimbus"
echo "system $(uname -s) $(uname -m)"
echo "uid $(id -u)"
# The address by which it was reached.
echo "connection ${SSH_CONNECTION:-}"
if [ "$(id -u)" = 0 ]; then
	echo "root direct"
elif ! command -v sudo >/dev/null 2>&1; then
	echo "root missing"
elif said=$(sudo -n -H sh -c : 2>&1 </dev/null); then
	echo "root sudo"
else
	echo "root refused $(printf '%s' "$said" | tr '\n' ' ')"
fi
