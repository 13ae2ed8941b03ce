#!/usr/bin/env bash
# How good and how fast the matcher is: each figure on a line, with its bar if it has one, then ending in ok or MISSED.
#   match.sh [INCOMING [EXISTING]]      default 100000 1000000, which takes some minutes; 5000 50000 takes one
# INCOMING is the number of rows of the troubled feed (match/corruption.sql) and of the speed test, EXISTING of the latter's catalogue.
# PARTS='labelled corruption speed trigram one' picks parts.  Uses the server that libpq's environment (PGHOST, PGPORT, PGUSER ...)
# names, as a superuser, in a database of its own that it drops again; the extension must be installed there.  The labelled pairs are
# read from MATCHING_DATA, by default ../shared/data/matching beside the project; where they are absent that part is skipped and says
# so.  Same data at each run: no random numbers, only hashes.
set -euo pipefail
incoming=${1:-100000} existing=${2:-1000000}
here=$(dirname "$(readlink -f "$0")")
top=$(cd "$here/../.." && pwd)
data=${MATCHING_DATA:-$top/../shared/data/matching}
parts=${PARTS:-labelled corruption speed trigram one}
database=product_sync_bench_match_$$

createdb "$database"
trap 'dropdb --if-exists "$database"; rm -f "$report"' EXIT
report=$(mktemp)
run() { PGOPTIONS='-c client_min_messages=warning' psql -XqAt -v ON_ERROR_STOP=1 -v items="$incoming" -v existing="$existing" -d "$database" "$@"; }
wanted() { [[ " $parts " == *" $1 "* ]]; }

# load_table NAME FILE: a table of the file's columns, all of them text.
load_table() {
	run -c "DROP TABLE IF EXISTS $1; CREATE TABLE $1 ($(head -n 1 "$2" | tr -d '\r' | sed 's/,/ text, /g') text)" \
		-c "\\copy $1 FROM '$2' CSV HEADER"
}

# labelled NAME INCOMING EXISTING COLUMN: the figures of a labelled set; COLUMN of matches.csv has the incoming rows.
labelled() {
	local other=idA
	[ "$4" = idB ] || other=idB
	load_table incoming "$data/$1/$2"
	load_table existing "$data/$1/$3"
	load_table label "$data/$1/matches.csv"
	run -v name="$1" -c "DROP TABLE IF EXISTS pair; CREATE TABLE pair AS SELECT $4 AS incoming_id, $other AS existing_id FROM label" \
		-f "$here/match/labelled.sql"
}

measure() {
	run -c 'CREATE EXTENSION product_sync' -c 'SELECT FROM sync_install()' -f "$top/test/lib/match/figures.sql"
	if wanted labelled && [ -d "$data/abt-buy" ]; then
		labelled abt-buy tableB.csv tableA.csv idB
		labelled walmart-amazon tableA.csv tableB.csv idA
		echo "walmart-amazon: its labels are incomplete and taken as given: of 40 confident errors that were read, 18 to 19 are true matches"
	elif wanted labelled; then
		echo "labelled sets: skipped, there are none in $data"
	fi
	if wanted labelled && [ -d "$data/abt-buy" ] && [ -x "$top/test/fit/run" ]; then
		"$top/test/fit/run" loso
	fi
	if wanted corruption; then
		run -c 'DROP TABLE IF EXISTS incoming, existing, pair, result' -f "$top/test/lib/match/corruption.sql" -f "$here/match/corruption.sql"
	fi
	if wanted speed || wanted trigram || wanted one; then
		run -f "$here/match/synthetic.sql"
	fi
	! wanted speed || { run -f "$here/match/speed_build.sql"; run -f "$here/match/speed.sql"; }
	! wanted trigram || run -f "$here/match/trigram.sql"
	! wanted one || { run -f "$here/match/one_build.sql"; run -f "$here/match/one.sql"; }
}

measure | tee "$report"
[ "${PIPESTATUS[0]}" = 0 ]
awk '/ ok$/ { ok++ } / MISSED$/ { missed++ } END { printf "match: %d figures reach their bar, %d missed it\n", ok, missed }' "$report"
