#!/usr/bin/env bash
# Installs what building, testing and the demo need on Debian 12, and only what is missing.  Asks nothing, starts no service, makes
# no database cluster, and takes well under a second when everything is there.  Needs root, or sudo.
#
# The FTP server of the tests (proftpd) is unpacked, not installed: Debian allows one FTP server at a time, and the machine may
# have another.  It lies in $PRODUCT_SYNC_CACHE/ftpd (default /var/cache/product_sync/ftpd) and runs as an ordinary user.
#
# Beside it, in shopify/, lie what the Shopify double needs from npm: Shopify's own schema, one file out of a package that would
# bring hundreds of others, and graphql-js with the lock file of test/doubles.
set -euo pipefail

cache=${PRODUCT_SYNC_CACHE:-/var/cache/product_sync}
packages=(build-essential pkg-config git
	postgresql-15 postgresql-server-dev-15 postgresql-15-cron
	libcurl4-openssl-dev libzip-dev libjansson-dev libssl-dev
	libipc-run-perl zip openssl curl debootstrap util-linux procps
	# what proftpd links to
	libhiredis0.14 libmemcached11 libmemcachedutil2 libpcre2-posix3 libsodium23 libcap2 libidn2-0)
ftpd_packages=(proftpd-core proftpd-mod-crypto)
schema_package=@shopify/dev-mcp@1.16.0 schema_file=package/dist/data/admin_2026-10.json.gz
schema_integrity=sha512-tqgRnK7sQhjew+htxtleTH23nXB5fZcsrhWgEkomsorGXvLOB2mh2upwZm8uzuTDNTZnqtLMe64yIwh6s2awtw==
doubles=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../doubles" && pwd)

say() { printf 'install: %s\n' "$*" >&2; }

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo -n "$@" || { say "sudo could not run: $*"; exit 1; }
	else
		say "this needs root: $*"
		say "run it as root, or install sudo"
		exit 1
	fi
}

# Runs a command whose output matters only when it fails; then its end is shown.
quietly() {
	local log status=0

	log=$(mktemp)
	("$@") >"$log" 2>&1 || { status=$?; tail -n 40 "$log" >&2; }
	rm -f "$log"
	return $status
}

missing() {
	local package
	declare -A have=()
	while read -r package; do
		have[$package]=1
	done < <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null | sed -n 's/^installed //p')
	for package in "${packages[@]}"; do
		[ -n "${have[$package]:-}" ] || printf '%s\n' "$package"
	done
	if ! command -v node >/dev/null || ! node -e 'process.exit(+process.versions.node.split(".")[0] >= 18 ? 0 : 1)'; then
		printf 'nodejs\n'
	fi
	# The packager comes along where node does not come from Debian.
	[ -n "$(shopify_stamp_missing)" ] && ! command -v npm >/dev/null && printf 'npm\n'
	return 0
}

# What the Shopify double's folder in the cache must be made of; printed by shopify_stamp_missing where it is not.
shopify_stamp() { printf '%s %s\n' "$schema_package" "$(sha256sum <"$doubles/package-lock.json")"; }
shopify_stamp_missing() { [ "$(cat "$cache/shopify/.stamp" 2>/dev/null)" = "$(shopify_stamp)" ] || shopify_stamp; }

updated=
apt_update() {
	[ -n "$updated" ] && return
	quietly as_root apt-get -q -o DPkg::Lock::Timeout=300 update
	updated=1
}

apt_install() {
	quietly as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -q --no-install-recommends \
		-o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 "$@" </dev/null
}

# Installs the packages while a policy forbids to start services, and without the cluster that PostgreSQL's package would make.
install_packages() {
	local policy=/usr/sbin/policy-rc.d conf=/etc/postgresql-common/createcluster.conf undo=true status=0

	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
		as_root chmod 755 $policy
		undo="as_root rm -f $policy"
	fi
	trap "$undo" EXIT
	apt_update
	if [[ " $* " == *" postgresql-15 "* ]]; then
		apt_install postgresql-common || status=$?
		if [ $status = 0 ] && [ -e $conf ]; then
			as_root cp -p $conf $conf.product_sync
			undo="as_root mv -f $conf.product_sync $conf; $undo"
			trap "$undo" EXIT
			printf '\ncreate_main_cluster = false\n' | as_root tee -a $conf >/dev/null
		fi
	fi
	[ $status != 0 ] || apt_install "$@" || status=$?
	eval "$undo"
	trap - EXIT
	if [ $status != 0 ]; then
		say "apt-get could not install: $*"
		say "product_sync's tests are made for Debian 12 (bookworm); this is $(. /etc/os-release && echo "$PRETTY_NAME")"
		exit 1
	fi
}

# Fetches and unpacks the FTP server; the folder appears only when it is complete.
unpack_ftpd() {
	local new deb

	new=$(mktemp -d)
	chmod 755 "$new"
	apt_update
	(cd "$new" && quietly apt-get -q -o APT::Sandbox::User=root download "${ftpd_packages[@]}")
	for deb in "$new"/*.deb; do
		dpkg-deb -x "$deb" "$new/root"
	done
	as_root mkdir -p "$cache"
	as_root rm -rf "$cache/ftpd"
	as_root cp -r "$new/root" "$cache/ftpd.new"
	as_root chmod -R a+rX "$cache/ftpd.new"
	as_root mv "$cache/ftpd.new" "$cache/ftpd"
	rm -rf "$new"
}

# Fetches the schema and graphql-js; the folder appears only when it is complete.
unpack_shopify() {
	local new integrity

	new=$(mktemp -d)
	chmod 755 "$new"
	mkdir "$new/root"
	cp "$doubles/package.json" "$doubles/package-lock.json" "$new/root"
	(
		export npm_config_cache=$new/npm npm_config_update_notifier=false npm_config_fund=false npm_config_audit=false
		cd "$new" && quietly npm pack --silent "$schema_package" </dev/null
		cd "$new/root" && quietly npm ci --omit=dev --ignore-scripts </dev/null
	)
	integrity=sha512-$(openssl dgst -sha512 -binary "$new"/*.tgz | base64 -w 0)
	if [ "$integrity" != "$schema_integrity" ]; then
		say "$schema_package is not what it was: its integrity is $integrity, not $schema_integrity"
		exit 1
	fi
	tar -xzf "$new"/*.tgz -C "$new" "$schema_file"
	cp "$new/$schema_file" "$new/root"
	shopify_stamp >"$new/root/.stamp"
	as_root mkdir -p "$cache"
	as_root rm -rf "$cache/shopify" "$cache/shopify.new"
	as_root cp -r "$new/root" "$cache/shopify.new"
	as_root chmod -R a+rX "$cache/shopify.new"
	as_root mv "$cache/shopify.new" "$cache/shopify"
	rm -rf "$new"
}

mapfile -t wanted < <(missing)
if [ ${#wanted[@]} -gt 0 ]; then
	say "installing ${wanted[*]}"
	install_packages "${wanted[@]}"
fi
if [ ! -x "$cache/ftpd/usr/sbin/proftpd" ]; then
	say "unpacking ${ftpd_packages[*]} in $cache/ftpd"
	unpack_ftpd
fi
if [ -n "$(shopify_stamp_missing)" ]; then
	say "unpacking $schema_package and graphql-js in $cache/shopify"
	unpack_shopify
fi
