#!/usr/bin/env bash
# Makes a Debian root that holds another PostgreSQL than the machine's own, and prints its path.  Needs root.
#   root.sh VERSION      17: trixie, 18: sid
# It is kept in $PRODUCT_SYNC_CACHE (default /var/cache/product_sync) and used again when it is complete.
set -euo pipefail

version=${1:?version of PostgreSQL}
cache=${PRODUCT_SYNC_CACHE:-/var/cache/product_sync}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
case $version in
	17) suite=trixie ;;
	18) suite=sid ;;
	*) echo "root.sh: no Debian release is known for PostgreSQL $version" >&2; exit 1 ;;
esac
root=$cache/root-$version
packages=(build-essential pkg-config "postgresql-$version" "postgresql-server-dev-$version" "postgresql-$version-cron"
	libcurl4-openssl-dev libzip-dev libjansson-dev libssl-dev libipc-run-perl)
mark=$root/.product_sync
stamp="$suite ${packages[*]}"

if [ "$(cat "$mark" 2>/dev/null)" != "$stamp" ]; then
	[ "$(id -u)" = 0 ] || { echo "root.sh: making a Debian root needs root" >&2; exit 1; }
	mkdir -p "$cache"
	rm -rf --one-file-system "$root"
	script=/usr/share/debootstrap/scripts/$suite
	[ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
	# A namespace of its own, so that nothing stays mounted whatever happens.
	env -u TMPDIR unshare --mount --propagation private bash -euo pipefail -c '
		root=$1 suite=$2 mirror=$3 script=$4; shift 4
		debootstrap --variant=minbase "$suite" "$root" "$mirror" "$script"
		for config in /etc/apt/apt.conf.d/*proxy*; do
			[ ! -e "$config" ] || cp "$config" "$root/etc/apt/apt.conf.d/"
		done
		printf "#!/bin/sh\nexit 101\n" > "$root/usr/sbin/policy-rc.d"
		chmod 755 "$root/usr/sbin/policy-rc.d"
		mkdir -p "$root/etc/postgresql-common"
		echo "create_main_cluster = false" > "$root/etc/postgresql-common/createcluster.conf"
		mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
		# A mirror that stands still, as snapshots do, is good enough for tests.
		chroot "$root" apt-get -q -o Acquire::Check-Valid-Until=false update
		DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 chroot "$root" apt-get install -y -q --no-install-recommends \
			-o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 "$@"
		chroot "$root" apt-get clean
	' root.sh "$root" "$suite" "$mirror" "$script" "${packages[@]}" </dev/null >&2 || {
		rm -rf --one-file-system "$root"
		echo "root.sh: this machine could not make a $suite root with PostgreSQL $version in $root" >&2
		exit 1
	}
	printf '%s\n' "$stamp" >"$mark"
fi
printf '%s\n' "$root"
