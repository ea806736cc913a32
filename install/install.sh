#!/bin/sh
# Installs Nimbus: the agent into this machine or into an image that is mounted
# somewhere, a broker, or the client. This script only brings the right program
# here and checks it; the program does the rest ("nimbus agent install").
#
#   curl -qfsSL --cacert ca.pem https://BROKER:8443/install.sh | sh -s -- agent
#   ./install.sh agent [--root DIR] [--from DIR]
#
# A broker that hands this out fills in where it is and what it hands out; a
# copy out of a clone or a release takes the program from the directory that it
# lies in, without any network. Run it again at will.

# The braces: a shell reads to the last one before it does anything, so a
# script that arrived in part does nothing at all.
{
set -eu
umask 022

# Filled in by the broker; each value is one word of the shell.
brokers=''
broker_id=''
ca=''
sums=''

usage() {
	cat <<-'END'
		usage: install.sh agent|broker|client [options]
		  agent               configures this machine as a node, at boot (as root)
		  broker              serves contexts to others (as root)
		  client              launches clusters (as root for all users)
		  --root DIR          agent, broker: into the image that is mounted at DIR
		  --arch OS-ARCH      the platform of that image, such as linux-arm64, if not
		                      the one that its programs are for
		  --prefix DIR        client: where to (default /usr/local; ~/.local if not root)
		  --from DIR          take the program from DIR: a release, or bin/nimbus of a clone
		  --no-boot           agent, broker: nothing is started at boot
		  --keep-state        agent: keep what an earlier cluster left
		  --uninstall         take all of it back
	END
}

say() {
	# A script in a pipe has its shell's name.
	echo "install.sh: $1: $2" >&2
}

fail() {
	say error "$1"
	[ -z "${2:-}" ] || say hint "$2"
	exit 1
}

# wrong TEXT: what was typed cannot be meant.
wrong() {
	say error "$1"
	usage >&2
	exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# platform SYSTEM MACHINE: the name of a build by what uname prints.
platform() {
	case $1-$2 in
	Linux-x86_64 | Linux-amd64) echo linux-amd64 ;;
	Linux-aarch64 | Linux-arm64) echo linux-arm64 ;;
	Linux-armv7* | Linux-armv8*) echo linux-armv7 ;;
	Linux-riscv64) echo linux-riscv64 ;;
	Linux-ppc64le) echo linux-ppc64le ;;
	Linux-s390x) echo linux-s390x ;;
	Darwin-x86_64) echo darwin-amd64 ;;
	Darwin-arm64) echo darwin-arm64 ;;
	*) return 1 ;;
	esac
}

# elf FILE: the platform that a program of Linux is for, by its first bytes.
# (0x28 is any 32 bit ARM; older ones than ARMv7 have no build.)
elf() {
	head=$(od -An -tx1 -N20 "$1" 2>/dev/null | tr -d ' \n')
	case $head in
	7f454c460201*3e00) echo linux-amd64 ;;
	7f454c460201*b700) echo linux-arm64 ;;
	7f454c460101*2800) echo linux-armv7 ;;
	7f454c460201*f300) echo linux-riscv64 ;;
	7f454c460201*1500) echo linux-ppc64le ;;
	7f454c460202*0016) echo linux-s390x ;;
	7f454c46*) echo unknown ;;
	*) return 1 ;;
	esac
}

# built FILE: the platform that a program is for, of macOS too.
built() {
	elf "$1" && return 0
	case $head in
	cffaedfe07000001*) echo darwin-amd64 ;;
	cffaedfe0c000001*) echo darwin-arm64 ;;
	*) return 1 ;;
	esac
}

# inside ROOT: the platform of an image, by the first program that is found in
# it. What is reached through a symbolic link may be this machine's.
inside() {
	for dir in usr/bin usr/sbin bin sbin; do
		if [ -L "$1/${dir%/*}" ] || [ -L "$1/$dir" ]; then continue; fi
		for file in "$1/$dir"/*; do
			if [ -L "$file" ] || [ ! -f "$file" ]; then continue; fi
			elf "$file" && return 0
		done
	done
	return 1
}

# sum FILE: its SHA-256.
sum() {
	if have sha256sum; then
		line=$(sha256sum <"$1")
	elif have shasum; then
		line=$(shasum -a 256 <"$1")
	elif have openssl; then
		line=$(openssl dgst -sha256 -r <"$1")
	elif have busybox && busybox sha256sum </dev/null >/dev/null 2>&1; then
		line=$(busybox sha256sum <"$1")
	else
		fail "nothing here computes a SHA-256, so the program cannot be checked" "install one of sha256sum (coreutils), shasum, openssl, busybox"
	fi
	echo "${line%% *}"
}

# pinned NAME: the sum of a file in the list.
pinned() {
	echo "$sums" | while read -r hex name; do
		if [ "$name" = "$1" ]; then
			echo "$hex"
			break
		fi
	done
}

# names: what there is in the list.
names() {
	echo "$sums" | while read -r hex name; do
		[ -z "$hex" ] || printf ' %s' "${name#nimbus-}"
	done
}

# writing TROUBLE: what to do when something cannot be written.
writing() {
	case $1 in
	*[Rr]ead-only*) echo "it is mounted read-only: mount it for writing (mount -o remount,rw)" ;;
	*[Ss]pace*) echo "free some space there: the program takes some 20 MB, twice while it is replaced" ;;
	*[Pp]ermission* | *permitted*) echo "run this as root" ;;
	*) echo "does that directory belong to you, and has it space?" ;;
	esac
}

# mine DIR: whether nobody else can put something into the place of what lies
# in it. The top of an image may be open to all.
mine() {
	# shellcheck disable=SC2012 # only what stands before the name is read
	ls -ldn "$1" | {
		read -r mode _ owner _
		case $mode in
		?????????[tT]*) ;;
		?????w* | ????????w*) return 1 ;;
		esac
		[ "$owner" = "$(id -u)" ] || [ "$owner" = 0 ]
	}
}

# workplace DIR: a new directory in DIR, or in the first above it that there is,
# in which programs can be run. Downloads go there: /tmp is often mounted noexec.
work=''
workplace() {
	at=$1
	while [ ! -d "$at" ]; do at=$(dirname "$at"); done
	work=${at%/}/.nimbus-install.$$
	trouble=$(mkdir -m 700 "$work" 2>&1) || { work=''; fail "cannot write to $at: ${trouble##*: }" "$(writing "$trouble")"; }
	trouble=$( (printf '#!/bin/sh\nexit 0\n' | cat >"$work/try") 2>&1) || fail "cannot write to $at: ${trouble##*: }" "$(writing "$trouble")"
	chmod 700 "$work/try"
	if "$work/try" 2>/dev/null; then
		rm -f "$work/try"
		return 0
	fi
	rm -rf "$work"
	work=''
	return 1
}

# leave: whatever happened, only what the program installed stays.
# shellcheck disable=SC2317 # the trap calls it
leave() {
	code=$?
	trap - EXIT
	[ -z "$work" ] || rm -rf "$work"
	exit "$code"
}

# get BROKER NAME: from that broker to $work/NAME, by whatever is here.
get() {
	case $tool in
	curl)
		# The broker is known by its id, whatever its address is called.
		place=${1#https://}
		case ${place##*:} in "$place" | *[!0-9]*) place=$place:443 ;; esac
		curl -qfsS --connect-timeout 20 --speed-limit 100 --speed-time 60 --cacert "$work/ca.pem" \
			--connect-to "$broker_id:443:$place" -o "$work/$2" "https://$broker_id/download/$2"
		;;
	wget) wget -nv --tries=2 --timeout=60 --ca-certificate="$work/ca.pem" -O "$work/$2" "$1/download/$2" ;;
	*)
		# That of busybox cannot verify a server, and not each knows the option:
		# the sum decides alone. Without openssl beside it, it speaks no TLS that
		# brokers of today understand; with its own option -T it crashes.
		limit=''
		! have timeout || limit='timeout 900'
		# shellcheck disable=SC2086 # lists of words
		$limit $tool -q --no-check-certificate -O "$work/$2" "$1/download/$2" || $limit $tool -q -O "$work/$2" "$1/download/$2"
		;;
	esac
}

# download NAME: from the first broker that has it.
download() {
	[ -n "$brokers" ] || fail "this install.sh knows no broker, and there is no program beside it" \
		"fetch it from a broker (https://BROKER/install.sh), or say --from DIR: the directory of a release, or a clone after make build"
	if have curl; then
		tool=curl
	elif have wget && wget --version 2>/dev/null | grep -q 'GNU Wget'; then
		tool=wget
	elif have wget; then
		tool='wget '
	elif have busybox && busybox wget --help 2>&1 | grep -q Usage; then
		tool='busybox wget'
	else
		fail "there is neither curl nor wget here" "install one of them, or fetch ${brokers%% *}/download/$1 elsewhere and say --from DIR"
	fi
	printf '%s' "$ca" >"$work/ca.pem"
	for broker in $brokers; do
		say note "fetching $1 from $broker"
		code=0
		get "$broker" "$1" </dev/null 2>"$work/trouble" || code=$?
		[ "$code" -ne 0 ] || return 0
		trouble=$(grep '^curl: ' "$work/trouble" || grep -v '^ *$' "$work/trouble" | tail -n 1)
		rm -f "$work/$1"
		[ "$broker" = "${brokers##* }" ] || say note "$broker: ${trouble:-it ended with $code}"
	done
	case "$tool $code $trouble" in
	'curl 23 '* | 'wget 3 '*) advice="is there space left in ${work%/*}?" ;;
	*' wget '* | 'wget  '*) advice="that was the wget of busybox, which often cannot do this: install curl or GNU wget, or fetch $broker/download/$1 elsewhere and say --from DIR" ;;
	*ertificate* | *SSL*) advice="what answers there is not the broker that gave you this script, or its CA is a new one: fetch install.sh again, with its new ca.pem" ;;
	*404*) advice="this script is older than what the broker hands out now: fetch install.sh again" ;;
	*) advice="can this machine reach the broker, and does it run? Then run this again" ;;
	esac
	fail "$1 could not be fetched: ${trouble:-the download ended with $code}" "$advice"
}

# check FILE SUM NAME
check() {
	got=$(sum "$1")
	[ "$got" = "$2" ] || fail "$3 is not what it must be: its SHA-256 is $got, expected was $2" \
		"the file was changed, or did not arrive whole: nothing was installed; fetch it again, and ask whoever runs the broker if that does not help"
}

# suits FILE PLATFORM NAME: root runs it, or it goes into an image, so it is
# looked at before: the first bytes tell whether it is a program for that
# platform, and this machine's own must answer.
suits() {
	trouble='' machine=$2
	[ "$2" != "$host" ] || machine="this machine ($2)"
	kind=$2 # without od only a try can tell
	! have od || kind=$(built "$1") || kind=''
	if [ ! -s "$1" ]; then
		trouble='it is empty'
	elif [ "$kind" = unknown ]; then
		trouble='it is for another processor'
	elif [ -n "$kind" ] && [ "$kind" != "$2" ]; then
		trouble="it is for $kind"
	elif [ -z "$kind" ]; then
		trouble='it is no program, by its first bytes'
	elif [ "$2" = "$host" ]; then
		# Its name counts, too. The shell's own words about a crash are left out.
		chmod 755 "$1"
		mv "$1" "$work/nimbus"
		code=0
		answer=$(
			exec 2>/dev/null
			"$work/nimbus" version </dev/null || exit
		) 2>/dev/null || code=$?
		mv "$work/nimbus" "$1"
		case $code-$answer in
		0-nimbus\ *) ;;
		0-*) trouble='it does not say that it is Nimbus' ;;
		*) trouble="it does not run (\"version\" ends with $code): it may not be whole" ;;
		esac
	fi
	[ -z "$trouble" ] || fail "$3 is no program for $machine: $trouble" \
		"nothing was installed; build it again (make build for this machine, make release for all), or copy it again"
}

# bring PLATFORM: the program for it, checked, to $work/nimbus-PLATFORM.
bring() {
	name=nimbus-$1
	[ ! -e "$work/$name" ] || return 0
	if [ -z "$from" ]; then
		hex=$(pinned "$name")
		if [ -z "$hex" ] && [ -n "$brokers" ]; then
			fail "this broker has no program for $1; it has:$(names)" \
				"put $name and SHA256SUMS of a release (make release) into the broker's downloads directory"
		fi
		download "$name"
		check "$work/$name" "$hex" "$name"
		file=$name
	else
		if [ -f "$from/$name" ]; then
			file=$from/$name
		elif [ -f "$from/bin/nimbus" ] && [ "$(built "$from/bin/nimbus" || echo "$1")" = "$1" ]; then
			file=$from/bin/nimbus
		elif [ -f "$from/bin/release/$name" ]; then
			file=$from/bin/release/$name
		else
			fail "there is no $name in $from" "build it (make build for this machine, make release for all), or fetch install.sh from a broker"
		fi
		trouble=$(cp "$file" "$work/$name" 2>&1) || fail "cannot copy $file to ${work%/*}: ${trouble##*: }" "$(writing "$trouble")"
		list=${file%/*}/SHA256SUMS
		if [ "${file##*/}" != "$name" ]; then
			: # built here
		elif [ ! -f "$list" ]; then
			say note "there is no SHA256SUMS in ${file%/*}: whether $name is what was released is not checked"
		else
			sums=$(cat "$list")
			hex=$(pinned "$name")
			[ -n "$hex" ] || fail "$list does not name $name" "take both out of the same release"
			check "$work/$name" "$hex" "$file"
		fi
	fi
	suits "$work/$name" "$1" "$file"
	chmod 755 "$work/$name"
}

main() {
	root='' arch='' from='' prefix='' what='' uninstall='' pass=''
	while [ $# -gt 0 ]; do
		case $1 in
		agent | broker | client)
			[ -z "$what" ] || wrong "one of agent, broker, client at a time"
			what=$1
			;;
		--root | --arch | --from | --prefix)
			[ -n "${2:-}" ] || fail "$1 is empty" "name a directory (a platform for --arch), or leave the option out"
			option=${1#--}
			eval "$option=\$2"
			shift
			;;
		--root=?* | --arch=?* | --from=?* | --prefix=?*)
			option=${1%%=*}
			eval "${option#--}=\${1#*=}"
			;;
		--root= | --arch= | --from= | --prefix=) fail "${1%=} is empty" "name a directory (a platform for --arch), or leave the option out" ;;
		--uninstall) uninstall=$1 ;;
		--no-boot | --keep-state) pass="$pass $1" ;;
		-h | --help)
			usage
			return
			;;
		-*) wrong "there is no option $1" ;;
		*) wrong "'$1' cannot be installed" ;;
		esac
		shift
	done
	[ -n "$what" ] || wrong "say what to install: agent, broker or client"
	case $what in
	client) [ -z "$root$arch$pass" ] || wrong "--root, --arch, --no-boot and --keep-state are not for the client" ;;
	broker) case $prefix$pass in '' | ' --no-boot') ;; *) wrong "--prefix and --keep-state are not for a broker" ;; esac ;;
	*) [ -z "$prefix" ] || wrong "--prefix is for the client alone" ;;
	esac

	host=$(platform "$(uname -s)" "$(uname -m)") || fail "there is no program for $(uname -s) on $(uname -m)" "it can be built from the source, if Go knows that machine"
	target=$host
	if [ -n "$root" ]; then
		[ -d "$root" ] || fail "$root is no directory" "mount the image first"
		root=$(cd "$root" && pwd -P)
		[ "$root" != / ] || root=''
	fi
	if [ -n "$arch" ]; then
		target=${arch#linux-}
		case $target in x86_64) target=amd64 ;; aarch64) target=arm64 ;; esac
		target=linux-$target
		if [ -n "$root" ] && [ -z "$uninstall" ] && there=$(inside "$root") && [ "$there" != "$target" ]; then
			[ "$there" != unknown ] || there='another processor'
			say note "programs in $root are for $there; $target is installed, as --arch says"
		fi
	elif [ -n "$root" ] && [ -z "$uninstall" ]; then
		target=$(inside "$root") || fail "cannot tell which processor $root is for: there is no program in its bin" "is that the root of an image? Say --arch, for example --arch linux-arm64"
		[ "$target" != unknown ] || fail "there is no program for the processor that $root is for" "say --arch if that is wrong"
	fi
	case $what-$host-$root in
	client-*) ;;
	*-linux-*) ;;
	*-) fail "the $what runs on Linux; this is $(uname -s)" "with --root it is installed into an image" ;;
	esac

	# Offline: what lies beside this script.
	if [ -z "$from" ] && [ -z "$brokers" ] && [ -f "$0" ]; then
		from=$(cd "$(dirname "$0")" && pwd -P)
	fi
	[ -z "$from" ] || [ -d "$from" ] || fail "$from is no directory" "--from names the directory of a release, or a clone"

	trap leave EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM

	case $what in
	agent) there=$root/opt/nimbus own=$root/opt/nimbus/bin/nimbus ;;
	broker) there=$root/usr/local/bin own=$there/nimbus ;;
	client)
		if [ -z "$prefix" ]; then
			if [ "$(id -u)" = 0 ]; then prefix=/usr/local; else prefix=$HOME/.local; fi
		fi
		there=$prefix/bin own=$there/nimbus
		;;
	esac
	# In an image at its top: below, a link may lead out of it into this machine.
	# (The program knows how to follow one.)
	[ -z "$root" ] || there=$root

	set -- install
	[ "$what" = client ] || set -- "$what" install
	[ -z "$root" ] || set -- "$@" --root "$root"
	[ -z "$prefix" ] || set -- "$@" --prefix "$prefix"
	# shellcheck disable=SC2086 # a list of options
	set -- "$@" $pass $uninstall

	# What is there already, and is right, needs not be fetched. Nothing out of
	# an image is run on this machine.
	if [ -z "$root" ] && [ -x "$own" ] && [ ! -L "$own" ]; then
		if [ -n "$uninstall" ] || { [ -z "$from" ] && [ "$(sum "$own")" = "$(pinned "nimbus-$target")" ]; }; then
			"$own" "$@" </dev/null
			return
		fi
	fi
	if [ -n "$root" ] && ! mine "$root" || ! workplace "$there"; then
		# An image may be mounted noexec, or be open to all; the program that does
		# the work can be elsewhere.
		[ -n "$root" ] || fail "programs cannot be run in $at: it is mounted noexec" "mount it with exec (mount -o remount,exec), or install elsewhere"
		workplace "${TMPDIR:-/tmp}" || workplace /var/tmp || fail "programs can be run neither in $root nor in ${TMPDIR:-/tmp}: they are mounted noexec, or open to all" "set TMPDIR to a directory where they can"
	fi
	bring "$host"
	if [ "$target" != "$host" ]; then
		bring "$target"
		set -- "$@" --binary "$work/nimbus-$target"
	elif [ -n "$arch" ]; then
		set -- "$@" --binary "$work/nimbus" # whatever the image's programs are for
	fi
	mv "$work/nimbus-$host" "$work/nimbus"
	"$work/nimbus" "$@" </dev/null
}

main "$@"
exit
}
