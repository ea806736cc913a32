#!/bin/sh
# Builds a stock image for virtual machines, once, and prints the directory that
# has it: Debian with sshd, sudo, curl, wget and cloud-init, never prepared for Nimbus.
#
#   tree/           its files, for images that are made of it
#   debian.qcow2    the same as a disk
#   vmlinuz initrd  its kernel, with drivers for the disk
#   NAME.qcow2, NAME.conf for each name that samples/clouds/qemu.sh may start:
#     light         light-init (beside this file) as process 1: ten seconds
#     cloud-init    systemd and cloud-init: minutes, since processors are emulated
#
# It lies in the user's cache, outside of any clone, and is built anew when the
# scripts here change; what was not used for a month goes. Root on Debian for
# amd64; the packages come from where apt gets its.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nimbus-vm
version=$(cat "$here/image.sh" "$here/disk.sh" "$here/light-init" | sha256sum | cut -c1-12)
out=$cache/$version
say() { echo "image.sh: $*" >&2; }

umask 022
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9 # two builds at once would be one too many
if [ -e "$out/done" ]; then
	touch "$out"
	echo "$out"
	exit 0
fi
[ "$(id -u)" = 0 ] || { say "only root can build the image"; exit 1; }
[ "$(dpkg --print-architecture)" = amd64 ] || { say "this is not Debian for amd64"; exit 1; }
find "$cache" -mindepth 1 -maxdepth 1 -type d -mtime +30 -exec rm -rf {} +
release=bookworm
# shellcheck disable=SC2016 # apt's own way to name fields
mirror=$(apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' | awk -v r=$release '$2 == r && $3 == "main" { print $1; exit }')
[ -n "$mirror" ] || { say "apt has no source of Debian $release here"; exit 1; }
rm -rf "$out"
mkdir "$out"
work=$out/work
tree=$out/tree
mkdir "$work"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

say "the system, from $mirror"
packages=systemd-sysv,udev,dbus,openssh-server,iproute2,isc-dhcp-client,ca-certificates,curl,wget,netbase,kmod,procps,sudo
# debootstrap does not know who provides what: the last but one is what
# python3-cryptography would get.
packages=$packages,cloud-init,python3-cffi-backend,python3-minimal
debootstrap --variant=minbase --include="$packages" "$release" "$tree" "$mirror" >"$work/log" 2>&1 || {
	tail -n 20 "$work/log" >&2
	exit 1
}
rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/* "$tree"/usr/share/doc "$tree"/usr/share/man "$tree"/usr/share/locale

say "the kernel"
fetch() {
	kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2; exit }')
	[ -n "$kernel" ] && (cd "$work" && apt-get download -q -o APT::Sandbox::User=root "$kernel" >/dev/null)
}
fetch || { # apt's lists are missing or old
	apt-get update -q >/dev/null
	fetch
}
dpkg-deb -x "$work/$kernel"_*.deb "$work/kernel"
cp "$work"/kernel/boot/vmlinuz-* "$out/vmlinuz"
running=$(ls "$work/kernel/lib/modules")
depmod -b "$work/kernel" "$running"
# Of its modules those that a machine of qemu's needs, with what they need.
modules() {
	for module; do
		modprobe -d "$work/kernel" -S "$running" --show-depends "$module" | awk '$1 == "insmod" { print $2 }'
	done | awk '!seen[$0]++'
}
mkdir -p "$tree/lib/modules/$running"
cp "$work/kernel/lib/modules/$running"/modules.order "$work/kernel/lib/modules/$running"/modules.builtin* "$tree/lib/modules/$running/"
modules virtio_pci virtio_blk virtio_net virtio_rng isofs vfat nls_ascii nls_cp437 | while read -r file; do
	install -D -m 644 "$file" "$tree${file#"$work/kernel"}"
done
depmod -b "$tree" "$running"

# What brings the disk up, and calls the init that the kernel's arguments name.
(mkdir "$work/initrd" && cd "$work/initrd" && mkdir bin dev modules proc root)
cp "$(command -v busybox)" "$work/initrd/bin/busybox"
n=10
modules virtio_pci virtio_blk virtio_net | while read -r file; do
	n=$((n + 1))
	cp "$file" "$work/initrd/modules/$n.ko"
done
cat >"$work/initrd/init" <<'END'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
for module in /modules/*; do $b insmod "$module"; done
n=0
until [ -b /dev/vda ] || [ $n = 100 ]; do
	n=$((n + 1))
	$b sleep 0.1
done
$b mount -t ext4 -o noatime /dev/vda /root || $b poweroff -f
init=/sbin/init
for word in $($b cat /proc/cmdline); do
	case $word in stock.init=*) init=${word#*=} ;; esac
done
$b umount /proc
$b mount -o move /dev /root/dev
exec $b switch_root /root "$init"
END
chmod 755 "$work/initrd/init"
(cd "$work/initrd" && find . | cpio -o -H newc --quiet | gzip) >"$out/initrd"

say "the image"
install -m 755 "$here/light-init" "$tree/sbin/light-init"
echo stock >"$tree/etc/hostname"
echo 'LABEL=stock / ext4 noatime 0 0' >"$tree/etc/fstab"
: >"$tree/etc/resolv.conf"
: >"$tree/etc/machine-id"
# As in Debian's cloud images: each machine makes its keys, root logs in by key.
rm -f "$tree"/etc/ssh/ssh_host_*
printf 'UseDNS no\nPermitRootLogin prohibit-password\n' >"$tree/etc/ssh/sshd_config.d/stock.conf"
ln -sf /lib/systemd/system/systemd-networkd.service "$tree/etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
# What only costs time where processors are emulated; of cloud-init's modules
# the ones that a machine cannot do without, as each starts Python's imports.
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer dpkg-db-backup.timer systemd-timesyncd.service getty@tty1.service; do
	ln -sf /dev/null "$tree/etc/systemd/system/$unit"
done
cat >"$tree/etc/cloud/cloud.cfg.d/90-stock.cfg" <<'END'
datasource_list: [NoCloud, ConfigDrive, OpenStack, Ec2, None]
disable_root: false
locale: false
package_update: false
cloud_init_modules: [set_hostname, users-groups, ssh]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-user]
END
sh "$here/disk.sh" "$tree" "$out/debian.qcow2"

name() { # what qemu.sh may start: name, the kernel's arguments
	ln -s debian.qcow2 "$out/$1.qcow2"
	cat >"$out/$1.conf" <<END
kernel=$out/vmlinuz
initrd=$out/initrd
append='console=ttyS0 quiet net.ifnames=0 mitigations=off init_on_alloc=0 $2'
END
}
name light stock.init=/sbin/light-init
name cloud-init systemd.show_status=1
rm -rf "$work"
touch "$out/done"
say "$(du -sh "$out" | cut -f1) in $out"
echo "$out"
