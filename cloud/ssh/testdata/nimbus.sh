#!/bin/sh
# Stands for the program: it installs itself, takes itself away, and as an agent
# says what it has got and waits to be ended.
set -eu
top=/opt/nimbus
case "$*" in
"agent install --keep-state")
	mkdir -p $top/bin $top/ctx $top/ctx-scripts
	cp "$0" $top/bin/nimbus.new
	chmod 755 $top/bin/nimbus.new
	mv $top/bin/nimbus.new $top/bin/nimbus
	printf '#!/bin/sh\nexec "$(dirname "$0")/../bin/nimbus" agent\n' >$top/ctx/launch.sh
	printf '#!/bin/sh\nrm -f /opt/nimbus/ctxlog.txt\nsed -i /nimbus-test/d /etc/hosts\n' >$top/ctx-scripts/clean.sh
	chmod 755 $top/ctx/launch.sh $top/ctx-scripts/clean.sh
	echo "once" >>/var/tmp/installed
	;;
"agent install --uninstall")
	rm -rf $top/ctx $top/ctx-scripts
	rm -f $top/bin/nimbus
	rmdir $top/bin $top 2>/dev/null || true
	;;
agent)
	echo "agent begins: $(cat /var/lib/nimbus/bootstrap)" >>$top/ctxlog.txt
	echo "10.0.0.1 nimbus-test" >>/etc/hosts
	trap 'echo "agent ends" >>$top/ctxlog.txt; kill $!; exit 0' TERM
	sleep 1000 &
	wait
	;;
*)
	echo "unexpected: $*" >&2
	exit 1
	;;
esac
