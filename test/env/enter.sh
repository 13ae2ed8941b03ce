#!/usr/bin/env bash
# Runs a command inside a Debian root, as a given user, with one folder of the machine mounted at the same path.  Needs root.
#   enter.sh ROOT USER FOLDER COMMAND...
# It runs in mount and process namespaces of its own: when the command ends, every process it left and every mount is gone.
set -euo pipefail

root=$1 user=$2 folder=$3; shift 3
uid=$(id -u "$user") gid=$(id -g "$user")
grep -q "^$user:" "$root/etc/passwd" || echo "$user:x:$uid:$gid::/nonexistent:/bin/bash" >>"$root/etc/passwd"
grep -q "^$user:" "$root/etc/group" || echo "$user:x:$gid:" >>"$root/etc/group"
sed -i "s|^$user:x:[0-9]*:[0-9]*:|$user:x:$uid:$gid:|" "$root/etc/passwd"
mkdir -p "$root$folder"
exec unshare --mount --pid --fork --kill-child --propagation private bash -euo pipefail -c '
	root=$1 uid=$2 gid=$3 folder=$4; shift 4
	mount --bind "$folder" "$root$folder"
	mount -t proc proc "$root/proc"
	mount --rbind /dev "$root/dev"
	mountpoint -q "$root/dev/shm" || { mkdir -p "$root/dev/shm"; mount -t tmpfs tmpfs "$root/dev/shm"; }
	cd "$folder"
	exec chroot --userspec="$uid:$gid" --groups= "$root" env -C "$folder" -- "$@"
' enter.sh "$root" "$uid" "$gid" "$folder" "$@"
