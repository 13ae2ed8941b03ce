#!/usr/bin/env bash
# Time per row of zip -> sync.feed_item at 10 and at 100 times the rows, against that at the least, in the same run.
#   LEAST=10000 test/bench/growth.sh
# PGHOST, PGPORT, PGUSER ... as for feed_load.sh, which does the measuring.
set -euo pipefail
least=${LEAST:-10000}
here=$(cd "$(dirname "$0")" && pwd)

# per_row TIMES RUNS: microseconds a row at that many times the least
per_row() {
	local rows=$((least * $1))
	ROWS=$rows RUNS=$2 bash "$here/feed_load.sh" |
		awk -v rows="$rows" '/^feed_load:/ { for (i = 1; i < NF; i++) if ($i == "feed_item") { printf "%.3f", $(i + 1) * 1e6 / rows; exit } }'
}

one=$(per_row 1 5)
ten=$(per_row 10 3)
hundred=$(per_row 100 2)
awk -v least="$least" -v one="$one" -v ten="$ten" -v hundred="$hundred" 'BEGIN {
	printf "growth: %.1f us a row at %d rows, %.1f at ten times as many: ratio %.2f, %.1f at a hundred times: ratio %.2f (each at most 1.30)\n",
		one, least, ten, ten / one, hundred, hundred / one }'
