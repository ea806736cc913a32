#!/bin/sh
# Runs a program in place of this shell, in root's home. Before, it says which
# session that is: all of it ends with the one who wanted it.
: "${whose:?}"
case $(cat "$note" 2>/dev/null) in
*"$whose"*) ;;
*)
	echo "absent nimbus"
	exit 0
	;;
esac
read -r line <"/proc/$$/stat"
line=${line##*) }
# shellcheck disable=SC2086 # words
set -- $line
echo "session $4"
umask 022
home=$(sed -n 's/^root:[^:]*:[^:]*:[^:]*:[^:]*:\([^:]*\):.*/\1/p' /etc/passwd)
HOME=${home:-/root}
export HOME
unset LC_ALL
cd "$HOME" 2>/dev/null || cd /
