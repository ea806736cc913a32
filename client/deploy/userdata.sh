#!/bin/sh
# Makes this machine a node of a Nimbus cluster. Run it again to try again.
#
# The user data of machines that need not be prepared: cloud-init runs it, or
# whatever does its work; the agent of a prepared image reads the document in it
# and needs no more. It is the same for every node but for that document, which
# is data to the shell. Clouds take little: only the first comment is sent.
#
# shellcheck disable=SC2086 # none of these paths, names and sums has a blank

main() {
	set -uf # no globs: a URL may hold brackets
	umask 022
	unset http_proxy https_proxy HTTPS_PROXY all_proxy ALL_PROXY
	run=/run/nimbus opt=/opt/nimbus
	# Beside it: /tmp may be noexec. A name of its own: this may run twice at once.
	bin=$opt/bin/nimbus new=$opt/bin/.nimbus.new.$$
	trap 'rm -f $new' EXIT
	trap 'exit 143' HUP INT TERM
	(
		umask 077
		mkdir -p $run
		cat >$run/new.$$ <<'NIMBUS-BOOTSTRAP'
{document}
NIMBUS-BOOTSTRAP
		mv -f $run/new.$$ $run/bootstrap
		printf %b "$(field ca)" >$run/ca
	) || fail "cannot write to $run"
	id=$(field broker_id)
	urls=$(sed 's/.*"brokers":\["\(.*\)"\],"broker_id".*/\1/; s/","/ /g' $run/bootstrap)
	kind=$(uname -sm) arch=''
	case $kind in
	Linux\ x86_64 | Linux\ amd64) arch=amd64 ;;
	Linux\ aarch64 | Linux\ arm64) arch=arm64 ;;
	Linux\ armv7* | Linux\ armv8l) arch=armv7 ;;
	Linux\ *) arch=${kind#* } ;;
	esac
	file=nimbus-linux-$arch want=$(field "linux-$arch") from=$bin
	if [ "$want" ]; then
		[ "$(sum $bin)" = "$want" ] || fetch
	elif [ ! -x $bin ]; then
		fail "this machine is a $kind, and the broker has no $file: put that file of a release (make release) into its downloads"
	fi
	if [ $from = $new ] || [ ! -x $opt/ctx/launch.sh ]; then
		why=$($from agent install --keep-state 2>&1) || fail "agent install: $why"
		rm -f $new
	fi
	set --
	failed=/var/lib/nimbus/$(field context)/failed
	[ ! -e $failed ] || set -- --rerun # the broker was told that it failed
	rm -f $failed
	$opt/ctx/launch.sh --bootstrap $run/bootstrap "$@"
	code=$?
	[ $code != 5 ] || code=0 # another agent is at work here
	exit $code
}

# A text of the document. There are no quotes in those that are asked for.
field() { sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p' $run/bootstrap; }

has() { command -v "$1" >/dev/null; }

sum() { { sha256sum $1 || shasum -a 256 $1 || openssl dgst -sha256 -r $1; } 2>/dev/null | cut -c 1-64; }

# ask BROKER PATH OPTION...: by curl, and of nobody but the broker.
ask() {
	to=${1#https://} path=$2
	to=${to%/}
	case ${to##*:} in "$to" | *[!0-9]*) to=$to:443 ;; esac
	shift 2
	curl -qfsS --cacert $run/ca --connect-to "$id:443:$to" --connect-timeout 5 "$@" "https://$id$path"
}

# get BROKER: what it has for $new, by whatever is here. Busybox cannot verify
# a certificate, and not all of them know the option: the sum decides.
get() {
	ulimit -f 600000 # 300 MB
	case $with in
	curl) ask "$1" /download/$file $lax -y 30 -o $new ;;
	wget) wget -nv $lax --ca-certificate=$run/ca -t 1 -T 30 -O $new "${1%/}/download/$file" ;;
	*) $slow wget -q --no-check-certificate -O $new "$1/download/$file" || $slow wget -q -O $new "$1/download/$file" ;;
	esac
}

# Brings the program to $new. The network may come late, and a broker may be
# down: they get some minutes. What waiting does not change is tried thrice.
fetch() {
	[ "$(sum /dev/null)" ] || fail "no sha256sum, shasum or openssl to check the agent by"
	{ mkdir -p $opt/bin && touch $new; } 2>/dev/null || fail "cannot write to $opt/bin"
	with='' lax='' slow=''
	if has curl; then
		with=curl
	elif ! has wget; then
		fail "no curl and no wget to fetch the agent with"
	elif wget --help 2>&1 | grep -q -e --ca-cert; then
		with=wget
	elif has timeout; then
		slow='timeout 900'
	fi
	# To a clock before the document's day no certificate is valid yet.
	if [ "$(date -u +%Y%m%d)" -lt "$(field issued | cut -c 1-10 | tr -d -)" ]; then
		if [ "$with" = curl ]; then lax=-k; else lax=--no-check-certificate; fi
	fi
	round=0 final=0
	while [ $round -lt 30 ] && [ $final -lt 3 ]; do
		[ $round = 0 ] || sleep 5
		round=$((round + 1)) final=$((final + 1))
		for url in $urls; do
			why=$(get "$url" 2>&1)
			code=$?
			got=$(sum $new)
			if [ "$got" = "$want" ]; then
				chmod 755 $new
				from=$new
				return
			fi
			why=$(echo "$why" | tr -s '\n\t ' ' ' | cut -c 1-200)
			case "$code $why" in
			0*) why="this is not the agent: its SHA-256 is $got, not $want" ;;
			*'handshake fail'*) why="$why: install curl" ;; # TLS of busybox
			*'rror: 5'* | *'ERROR 5'*) final=0 ;; # the broker's own trouble
			2\ * | 5\ * | 8\ * | 22* | 60*) ;;     # no such option, refused, not to be trusted
			*) final=0 ;;
			esac
			why="$url/download/$file: $why"
		done
	done
	fail "$why"
}

# Ends, and tells who waits for this machine: they would wait for long.
fail() {
	rm -f $new
	echo "nimbus: error: $1" >&2
	[ ! -e /dev/console ] || { echo "nimbus: error: $1" >/dev/console; } 2>/dev/null
	has curl && [ -s $run/ca ] || exit 3
	context=$(field context)
	claim=/var/lib/nimbus/$context/claim
	[ ! -e $claim ] || exit 3 # an agent was here: it speaks for itself
	secret=$(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')
	text=$(echo "$1" | tr -c "A-Za-z0-9 .,:;/@_=+()'-" ' ' | cut -c 1-2000)
	for url in $urls; do
		# Secrets go in by a pipe: everybody sees a command line.
		printf 'header = "%s"\n' "Authorization: Nimbus-Node $(field token)" "Nimbus-Claim: $secret" |
			ask "$url" "/v1/contexts/$context/report" -K - -m 30 -H 'Content-Type: application/json' \
				-d '{"step":"user-data","code":3,"log":"'"$text"'\n"}' >/dev/null 2>&1 || continue
		# The agent is the same machine to the broker when it is here at last.
		umask 077
		mkdir -p ${claim%/*}
		echo $secret >$claim
		touch ${claim%/*}/failed
		break
	done
	exit 3
}

main
