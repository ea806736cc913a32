package client

// receiveScript takes a tar stream in and gives what is in it its place when
// all of it is there: first it looks whether that can be. Directories that
// exist stay as they are and take in what comes; links are not followed.
// Its arguments: where to, and how many things come; "." is what is in one
// directory.
const receiveScript = `# It lives on when nobody hears it: to tidy up.
trap '' PIPE
umask 022
cd || exit 1
to=$1 many=$2
case $to in '') to=. ;; -*) to=./$to ;; esac
if [ -d "$to" ]; then into=$to name=
else
	case $to in */) echo "there is no directory $1" >&2; exit 1 ;; esac
	case $many in 1 | .) ;; *) echo "$1 is no directory, for several files" >&2; exit 1 ;; esac
	case $to in */*) into=${to%/*}/ ;; *) into=. ;; esac
	name=${to##*/}
	[ -d "$into" ] || { echo "there is no directory ${into%/}" >&2; exit 1; }
fi
command -v tar >/dev/null || { echo "it has no tar" >&2; exit 1; }
tmp=$(mktemp -d "$into/.nimbus-cp-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
tar -xpf - -C "$tmp" || exit 1
[ -e "$tmp/complete" ] || { echo "not all of it arrived" >&2; exit 1; }
place() {
	if [ -d "$1" ] && [ ! -L "$1" ]; then
		if [ -d "$2" ] && [ ! -L "$2" ]; then
			for from in "$1"/* "$1"/.[!.]* "$1"/..?*; do
				[ -e "$from" ] || [ -L "$from" ] || continue
				place "$from" "$2/${from##*/}"
			done
			return
		fi
		if [ -L "$2" ]; then echo "$2 is a link, no directory" >&2; exit 1; fi
		if [ -e "$2" ]; then echo "$2 is no directory" >&2; exit 1; fi
	elif [ -d "$2" ]; then echo "$2 is a directory" >&2; exit 1
	fi
	$move "$1" "$2" || exit 1
}
for move in : 'mv -f'; do
	if [ "$many" = . ]; then place "$tmp/data" "$into/$name"; continue; fi
	for from in "$tmp"/data/* "$tmp"/data/.[!.]* "$tmp"/data/..?*; do
		[ -e "$from" ] || [ -L "$from" ] || continue
		place "$from" "$into/${name:-${from##*/}}"
	done
done`

// sendScript sends what a path leads to as a tar stream. Its argument is the
// path.
const sendScript = `cd || exit 1
from=$1
case $from in '') from=. ;; -*) from=./$from ;; esac
[ -e "$from" ] || { echo "there is no $1" >&2; exit 1; }
command -v tar >/dev/null || { echo "it has no tar" >&2; exit 1; }
if [ -d "$from" ]; then cd -P -- "$from" && exec tar -cf - .; fi
if [ -L "$from" ]; then from=$(readlink -f -- "$from") || exit 1; fi
case $from in */*) cd -- "${from%/*}/" || exit 1 ;; esac
exec tar -cf - -- "./${from##*/}"`
