#!/usr/bin/env bash
# Builds the extension and runs its test suites against one version of PostgreSQL, as the present user, who must not be root.
#   suites.sh VERSION WORK SUITE...      SUITE: unit, regress, isolation, tap
# WORK/src holds the sources, which are copied.  Everything that this writes is below WORK: that copy, a private PostgreSQL, logs,
# clusters.
# Adds a line "name passed failed skipped seconds" a suite to WORK/results.
set -uo pipefail

version=$1 work=$2; shift 2
here=$(dirname "$(readlink -f "$0")")
src=$work/src-$version
logs=$work/log-$version
prefix=$work/p$version
bindir=$prefix/lib/postgresql/$version/bin
config=$bindir/pg_config
export TMPDIR=$work HOME=$work LANG=C.UTF-8 LC_ALL=C.UTF-8 PGTZ=UTC
unset PGHOST PGPORT PGUSER PGDATABASE PGPASSWORD PGSERVICE PGOPTIONS MAKEFLAGS MAKELEVEL
mkdir -p "$logs"
rm -rf "$src" && cp -a "$work/src" "$src"
cd "$src" || exit 1

say() { printf '%s\n' "$*"; }
result() { printf '%s %s %s %s %s\n' "PG$version-$1" "$2" "$3" "$4" "$((SECONDS - began))" >>"$work/results"; }
make_pg() { make -s --no-print-directory PG_CONFIG="$config" "$@"; }
variable() { make_pg --eval='print-variable: ; @printf "%s\n" "$('"$1"')"' print-variable; }

# A function of ours that has the name of one of the server's would be called in its place, or the other way round.
names_are_ours() {
	local clash
	clash=$(comm -12 <(nm -D --defined-only product_sync.so | awk '{ print $3 }' | sort) \
		<(nm -D --defined-only "$bindir/postgres" | awk '{ print $3 }' | sort) | grep -vE '^(_init|_fini|Pg_magic_func|_PG_.*)$')
	[ -z "$clash" ] || { echo "names that PostgreSQL $version has too: $clash"; return 1; }
}

build() {
	began=$SECONDS
	if "$here/prefix.sh" "$version" "$prefix" >"$logs/build.log" 2>&1 &&
		make -j"$(nproc)" PG_CONFIG="$config" all install >>"$logs/build.log" 2>&1 && names_are_ours >>"$logs/build.log"; then
		result build 1 0 0
	else
		say "build for PostgreSQL $version failed; the end of $logs/build.log:"
		grep -vE "^[a-z0-9_-]*(gcc|clang) " "$logs/build.log" | tail -n 40
		result build 0 1 0
		return 1
	fi
}

# Every C program of test/unit.
unit() {
	local programs=() source

	began=$SECONDS
	if ! make -s -j"$(nproc)" -C test/unit BUILD="$work/unit-$version" PG_CONFIG="$config" all >"$logs/unit-build.log" 2>&1; then
		say "the unit tests do not build:"
		tail -n 40 "$logs/unit-build.log"
		result unit 0 1 0
		return
	fi
	for source in test/unit/*.c; do
		programs+=("$work/unit-$version/$(basename "$source" .c)")
	done
	rm -f "$logs"/*.count
	perl "$here/tap.pl" --log "$logs/unit" --count "$logs/unit.count" "${programs[@]}"
	read -r passed failed skipped <"$logs/unit.count" || read -r passed failed skipped <<<"0 1 0" # no count: it did not come to its end
	result unit "$passed" "$failed" "$skipped"
}

# pg_regress or pg_isolation_regress on a throw-away cluster that preloads the library.
#   regression SUITE PROGRAM EXTENSION-OF-DIFFS TEST...
regression() {
	local suite=$1 program=$2 out=$work/$1-$version passed failed status=0
	shift 2

	began=$SECONDS
	mkdir -p "$out"
	cat >"$out/temp.conf" <<-END
		shared_preload_libraries = 'product_sync'
		fsync = off
		timezone = 'UTC'
	END
	"$(dirname "$(dirname "$("$config" --pgxs)")")/../src/test/$program" --temp-instance="$out/instance" --temp-config="$out/temp.conf" \
		--bindir="$bindir" --outputdir="$out" --encoding=UTF8 --load-extension=product_sync "$@" >"$logs/$suite.log" 2>&1 </dev/null || status=$?
	passed=$(grep -cE '^(test .*\.\.\. +ok|ok )' "$logs/$suite.log")
	failed=$(grep -cE '^(test .*\.\.\. +FAILED|not ok )|^ .*\.\.\. +FAILED' "$logs/$suite.log")
	if [ $status != 0 ]; then
		[ "$failed" != 0 ] || failed=1
		say "$suite on PostgreSQL $version failed; the end of $logs/$suite.log:"
		grep -vE '^(test .*\.\.\. +ok|ok )' "$logs/$suite.log" | tail -n 30
		find "$out" -name '*.diffs' -exec head -n 250 {} \;
		grep -hE 'PANIC|FATAL|TRAP|terminated by signal' "$out"/log/postmaster.log 2>/dev/null | tail -n 20
	fi
	result "$suite" "$passed" "$failed" 0
}

regress() {
	local tests
	read -ra tests <<<"$(variable REGRESS)"
	regression regress regress/pg_regress --inputdir="$src" --dlpath="$src" "${tests[@]}"
}

isolation() {
	local spec tests=()
	for spec in test/specs/*.spec; do
		tests+=("$(basename "$spec" .spec)")
	done
	regression isolation isolation/pg_isolation_regress --inputdir="$src/test" "${tests[@]}"
}

tap() {
	local files=(${TESTS:-test/t/*.pl}) library
	began=$SECONDS
	library=$(dirname "$("$config" --pgxs)")/../test
	export PATH=$bindir:$PATH PG_REGRESS=$library/regress/pg_regress PG_TEST_TIMEOUT_DEFAULT=${PG_TEST_TIMEOUT_DEFAULT:-180}
	export PERL5LIB=$src/test/lib:$library/perl TESTDIR=$work/tap-$version
	export TESTDATADIR=$TESTDIR/tmp_check TESTLOGDIR=$TESTDIR/tmp_check/log PG_TEST_NOCLEAN=
	unset PG_TEST_NOCLEAN
	mkdir -p "$TESTLOGDIR"
	rm -f "$logs"/*.count
	perl "$here/tap.pl" --jobs "${TAP_JOBS:-2}" --log "$logs/tap" --count "$logs/tap.count" "${files[@]}"
	read -r passed failed skipped <"$logs/tap.count" || read -r passed failed skipped <<<"0 1 0" # no count: it did not come to its end
	result tap "$passed" "$failed" "$skipped"
}

build || exit 1
for suite in "$@"; do
	case $suite in
		unit) compgen -G 'test/unit/*.c' >/dev/null || continue ;;
		isolation) compgen -G 'test/specs/*.spec' >/dev/null || continue ;;
		tap) compgen -G 'test/t/*.pl' >/dev/null || continue ;;
	esac
	"$suite"
done
