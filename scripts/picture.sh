#!/bin/sh
# Draws docs/live.svg: a launch of fifty machines in the middle of it, as a
# terminal shows it. A real run (root on Linux, tmux), with a home of its own;
# the role scripts take a few seconds each, as real ones do.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
terminal() { tmux -u -S "$work/tmux" -f /dev/null "$@"; }
finish() {
	terminal kill-server 2>/dev/null || true
	for _ in 1 2 3 4 5; do # the client of the run may not have let go yet
		HOME=$work "$work/nimbus" terminate --all && break
		sleep 1
	done
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

go build -o "$work/nimbus" .
go build -o "$work/picture" ./docs/picture
cp -r ctxscripts/ctx-scripts "$work/scripts"
for role in queue worker; do
	# The number in the host's name says how long this one takes.
	cat >"$work/scripts/1-ipandhost/$role" <<'END'
#!/bin/sh
host=$(hostname)
host=${host%%.*}
sleep $((${host##*-} % 7))
END
	chmod +x "$work/scripts/1-ipandhost/$role"
done
mkdir -p "$work/.config/nimbus"
cat >"$work/.config/nimbus/config.toml" <<END
[clouds.local.images.picture]
scripts = "$work/scripts"
END

terminal new-session -d -x 80 -y 24 env -i HOME="$work" PATH="$PATH" TERM=screen-256color LANG=C.UTF-8 \
	sh -c '"$@"; exec cat' sh "$work/nimbus" run --cluster docs/picture/cluster.xml --hours 1
tries=0
until terminal capture-pane -p | grep -q ' 2[0-9] ok  .* configuring'; do
	tries=$((tries + 1))
	if [ $tries -gt 300 ]; then
		echo "picture.sh: the launch was never half way:" >&2
		terminal capture-pane -p >&2
		exit 1
	fi
	sleep 0.1
done
# What was printed before names this machine and its directories.
# shellcheck disable=SC2016 # a prompt
{
	printf '$ nimbus run --cluster cluster.xml --hours 1\n…\n\n'
	terminal capture-pane -p -e | sed -n '/^Waiting for context/,$p'
} | "$work/picture" -title "nimbus run, half way: a bar for each workspace, what the slowest waits for, the time" >"$work/live.svg"
mv "$work/live.svg" docs/live.svg
