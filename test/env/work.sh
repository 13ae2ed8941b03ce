# Sourced by test/run and test/demo: installs what is missing and makes the folder in which everything happens.
#   open_work NAME     sets $work, a new folder with a copy of the sources in $work/src, that the ordinary user may write
#   as_user COMMAND    runs a command as that user: oneself, or product_sync_test when this is root, as which PostgreSQL does not run
top=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
user=product_sync_test

as_user() {
	if [ "$(id -u)" = 0 ]; then
		setpriv --reuid="$user" --regid="$user" --clear-groups -- "$@"
	else
		"$@"
	fi
}

open_work() {
	"$top/test/env/install.sh" || return 1
	work=$(mktemp -d "${TMPDIR:-/tmp}/product_sync-$1-XXXXXX") || return 1
	chmod 755 "$work"
	mkdir "$work/src"
	(
		cd "$top" || exit 1
		if git -c safe.directory='*' rev-parse --is-inside-work-tree >/dev/null 2>&1; then
			git -c safe.directory='*' ls-files -z -co --exclude-standard | while IFS= read -r -d '' file; do
				[ ! -e "$file" ] || printf '%s\0' "$file"
			done | tar -c --null -T -
		else
			tar -c --exclude=./.git --exclude='*.o' --exclude='*.so' --exclude='./product_sync--*.sql' .
		fi
	) | tar -x -C "$work/src" || return 1
	touch "$work/results"
	if [ "$(id -u)" = 0 ]; then
		id "$user" >/dev/null 2>&1 || useradd --system --user-group --no-create-home --shell /bin/bash "$user" || return 1
		chown -R "$user:" "$work"
	fi
}
