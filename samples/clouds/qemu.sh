#!/bin/sh
# Virtual machines on this machine, by qemu: a cloud for the driver "command",
# and an example to copy for virsh, Proxmox or whatever you have. docs/clouds.md
# is the contract. In config.toml:
#
#   [clouds.vms]
#   driver = "command"
#   command = "/path/to/qemu.sh"
#   broker_address = "10.77.0.1"    # of the bridge
#
# An image NAME is a disk IMAGES/NAME.qcow2; each machine writes to a layer of
# its own above it. IMAGES/NAME.conf may set, in the shell's words:
#   kernel, initrd, append   to start without the disk's boot loader
#   seed                     nocloud (the default), config-2, or none
#   options                  more words for qemu
#
# A network NAME is a bridge of this machine with an address of the form A.B.C.1/24:
#   ip link add NAME type bridge; ip addr add 10.77.0.1/24 dev NAME; ip link set NAME up
# Machines get A.B.C.10 and up, by what is on the seed drive: no DHCP is needed.
# It needs root (for taps), qemu-system-x86, qemu-utils, genisoimage, iproute2.
set -eu
images=${NIMBUS_QEMU_IMAGES:-/var/lib/nimbus-qemu}
accel=${NIMBUS_QEMU_ACCEL:-tcg} # kvm, where that works: much faster
memory=${NIMBUS_QEMU_MEMORY:-384}

# The working directory is ours. A machine is a directory machines/ID with what
# belongs to it; an address that is in use is a directory addresses/A.B.C.D.
mkdir -p machines addresses
fail() {
	echo "$*" >&2
	exit 1
}

# running ID: whether its qemu runs. The number alone could be another's by now.
running() {
	pid=$(cat "machines/$1/pid" 2>/dev/null) && tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$PWD/machines/$1/pid"
}

# nics ID REQUEST: an address and a tap for each network; writes what the
# machine is told of it, and prints qemu's words.
nics() {
	n=0
	echo 'version: 2' >"machines/$1/network-config"
	echo 'ethernets:' >>"machines/$1/network-config"
	while read -r bridge; do
		own=$(ip -4 -o addr show dev "$bridge" 2>/dev/null | sed -n 's|.* inet \([0-9.]*\)\.1/24 .*|\1|p')
		[ -n "$own" ] || fail "network '$bridge': there must be a bridge of that name with an address A.B.C.1/24"
		last=10
		until mkdir "addresses/$own.$last" 2>/dev/null; do
			last=$((last + 1))
			[ "$last" -lt 255 ] || { echo "network '$bridge' has no address left" >&2; exit 4; }
		done
		echo "$own.$last" >>"machines/$1/addresses"
		# The address in hex is in the names of the tap and of the hardware.
		hex=$(echo "$own.$last" | awk -F. '{ printf "%02x:%02x:%02x:%02x", $1, $2, $3, $4 }')
		tap=nm$(echo "$hex" | tr -d :)
		ip tuntap add dev "$tap" mode tap
		ip link set "$tap" master "$bridge" up
		cat >>"machines/$1/network-config" <<END
  nic$n:
    match: {macaddress: "52:54:$hex"}
    addresses: [$own.$last/24]
END
		[ $n -gt 0 ] || echo "    routes: [{to: \"0.0.0.0/0\", via: \"$own.1\"}]" >>"machines/$1/network-config"
		echo "$bridge 52:54:$hex $own $own.$last" >>"machines/$1/nics"
		echo "-netdev tap,id=n$n,ifname=$tap,script=no,downscript=no -device virtio-net-pci,netdev=n$n,mac=52:54:$hex,romfile="
		n=$((n + 1))
	done <"$2/networks"
}

# drive ID REQUEST KIND: what the machine reads at its first start, as a drive.
drive() {
	mkdir "machines/$1/seed"
	case $3 in
	nocloud)
		label=cidata
		cp "$2/user-data" "$2/meta-data" "machines/$1/network-config" "machines/$1/seed"
		;;
	config-2)
		label=config-2 latest=machines/$1/seed/openstack/latest
		mkdir -p "$latest"
		cp "$2/user-data" "$latest/user_data"
		printf '{"uuid": "%s", "hostname": "%s", "public_keys": {%s}}\n' "$1" "$(cat "$2/name")" \
			"$(sed 's/["\\]/\\&/g' "$2/authorized-keys" | awk '{ printf "%s\"%d\": \"%s\"", (NR > 1 ? ", " : ""), NR, $0 }')" >"$latest/meta_data.json"
		awk '{ links = links (NR > 1 ? ", " : "") sprintf("{\"id\": \"nic%d\", \"type\": \"phy\", \"ethernet_mac_address\": \"%s\"}", NR - 1, $2)
			nets = nets (NR > 1 ? "," : "") sprintf("\n{\"id\": \"net%d\", \"type\": \"ipv4\", \"link\": \"nic%d\", \"ip_address\": \"%s\", \"netmask\": \"255.255.255.0\"}", NR - 1, NR - 1, $4) }
			END { printf "{\"links\": [%s], \"networks\": [%s], \"services\": []}\n", links, nets }' "machines/$1/nics" >"$latest/network_data.json"
		;;
	*) fail "seed '$3': nocloud, config-2 or none is wanted" ;;
	esac
	genisoimage -quiet -V $label -J -r -o "machines/$1/seed.iso" "machines/$1/seed"
	rm -r "machines/$1/seed"
}

# start LAUNCH REQUEST
start() {
	token=$(basename "$2")
	id=$1.$token
	image=$(cat "$2/image")
	case $image in '' | .* | */*) fail "image '$image': the name of a file in $images is wanted" ;; esac
	[ -f "$images/$image.qcow2" ] || fail "image '$image': there is no $images/$image.qcow2"
	mkdir "machines/$id"
	echo "$1 $token" >"machines/$id/whose" # from here on list knows it
	trap 'end "$id"' EXIT                  # and it goes when the rest fails
	kernel='' initrd='' append='' seed=nocloud options=''
	# shellcheck source=/dev/null # the operator's own
	[ ! -e "$images/$image.conf" ] || . "$images/$image.conf"
	qemu-img create -q -f qcow2 -F qcow2 -b "$(realpath "$images/$image.qcow2")" "machines/$id/disk"
	words="$options $(nics "$id" "$2")"
	if [ "$seed" != none ]; then
		drive "$id" "$2" "$seed"
		words="$words -drive file=machines/$id/seed.iso,format=raw,if=virtio,readonly=on"
	fi
	# shellcheck disable=SC2086 # words, none with a space in it
	set -- $words
	[ -z "$kernel" ] || set -- "$@" -kernel "$kernel" -initrd "$initrd" -append "$append"
	# Nothing of these machines has to survive a power cut: cache=unsafe.
	qemu-system-x86_64 -name "$id" -accel "$accel" -m "$memory" -nodefaults -display none \
		-drive "file=machines/$id/disk,format=qcow2,if=virtio,cache=unsafe" -device virtio-rng-pci "$@" \
		-serial "file:machines/$id/console" -daemonize -pidfile "$PWD/machines/$id/pid" >/dev/null
	trap - EXIT
}

# end ID: also of a machine that is half made.
end() {
	tries=0
	while running "$1"; do
		[ "$tries" -lt 50 ] && signal=TERM || signal=KILL
		[ $((tries % 50)) -gt 0 ] || kill "-$signal" "$pid" 2>/dev/null || true
		tries=$((tries + 1))
		sleep 0.1
	done
	[ ! -e "machines/$1/addresses" ] || while read -r address; do
		ip link del "nm$(echo "$address" | awk -F. '{ printf "%02x%02x%02x%02x", $1, $2, $3, $4 }')" 2>/dev/null || true
		rmdir "addresses/$address"
	done <"machines/$1/addresses"
	rm -rf "machines/$1"
}

verb=${1:-}
[ $# = 0 ] || shift
case $verb in
launch)
	trap 'exit 1' INT TERM
	for request in "$2"/*/; do
		start "$1" "${request%/}"
	done
	;;
list)
	for whose in machines/*/whose; do
		{ read -r launch token <"$whose"; } 2>/dev/null || continue # none, or just ended
		id=$(basename "${whose%/whose}")
		[ "${1:-$launch}" = "$launch" ] || continue
		if running "$id"; then
			echo "$launch $token $id running $(tr '\n' ' ' <"machines/$id/addresses")"
		elif [ ! -e "machines/$id/console" ]; then
			echo "$launch $token $id starting"
		else
			echo "$launch $token $id failed its qemu has ended"
		fi
	done
	;;
terminate) for id; do [ ! -d "machines/$id" ] || end "$id"; done ;;
console) cat "machines/$1/console" ;;
*) exit 3 ;; # not in this cloud
esac
