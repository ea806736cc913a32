#!/bin/sh
# A cloud of files for the tests: each instance is a file below ./machines that
# has its line of the list. What is in ./fault goes wrong.
set -eu
fault=$(cat fault 2>/dev/null || true)
mkdir -p machines
verb=$1
shift
echo "cloud.sh: $verb $*" >&2

case $verb in
launch)
	launch=$1 dir=$2
	n=$(find machines -type f | wc -l)
	for request in "$dir"/*/; do
		[ -d "$request" ] || continue
		token=$(basename "$request")
		n=$((n + 1))
		case $fault in
		full) exit 4 ;;
		second) [ "$n" -lt 2 ] || { echo "no more machines today" >&2; exit 1; } ;;
		forgets) continue ;;
		esac
		cp -r "$request" "seen-$token"
		addresses=
		nic=0
		while read -r network; do
			nic=$((nic + 1))
			addresses="$addresses 192.0.2.$((10 * nic + n))"
		done <"$request/networks"
		echo "$launch $token vm-$launch-$token running$addresses" >"machines/vm-$launch-$token"
		if [ "$fault" = hangs ]; then
			mkfifo fifo
			sh -c 'trap "" TERM; echo $$ >stubborn; echo "now it hangs" >&3; exec cat fifo 3>&-' 3>&2 >/dev/null 2>&1 &
			wait
		fi
		if [ "$fault" = background ]; then
			sleep 100 & # holds the output
			echo $! >background
		fi
	done
	;;
list)
	case $fault in
	endless) yes "a b c running" ;;
	foreign) echo "other head-0 vm-1 running"; exit 0 ;;
	esac
	cat machines/* 2>/dev/null | if [ $# = 0 ]; then cat; else grep "^$1 " || true; fi
	;;
terminate)
	[ "$fault" = stays ] || for id; do rm -f "machines/$id"; done
	;;
console)
	[ -e "machines/$1" ] || exit 3
	echo "hello from $1"
	;;
*) exit 3 ;;
esac
