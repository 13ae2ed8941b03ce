#!/usr/bin/env bash
# zip -> sync.feed_item against COPY of the same CSV, unpacked, into an equal table, in the same run.
#   ROWS=1000000 test/bench/feed_load.sh
# PGHOST, PGPORT, PGUSER ... say which server; a superuser there, who may write its data directory, since the feed goes into the spool
# folder.  Both tables are logged and get their primary key after the rows; feed_item gets its two further indexes in its time too.
# COPY's table has the CSV's columns as text and a number as key.  Each side runs RUNS times, in turns; the best of each counts.
set -euo pipefail
rows=${ROWS:-200000} runs=${RUNS:-3}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d /tmp/feed_load.XXXXXX)
database=product_sync_bench_$$
query() { psql -XAtq -v ON_ERROR_STOP=1 -d "$database" "$@"; }
cleanup() {
	psql -XAtq -d postgres -c "DROP DATABASE IF EXISTS $database WITH (FORCE)" 2>/dev/null || true
	rm -rf "$work" ${spool:+"$spool"}
}
trap cleanup EXIT

chmod 755 "$work"
node "$here/make_feed.js" --out "$work/feed.csv" --rows "$rows" --seed 42 > /dev/null
node "$here/make_feed.js" --out "$work/feed.zip" --rows "$rows" --seed 42 > /dev/null
chmod 644 "$work"/*

psql -XAtq -v ON_ERROR_STOP=1 -d postgres -c "CREATE DATABASE $database TEMPLATE template0 ENCODING 'UTF8'"
query -c 'CREATE EXTENSION product_sync' -c 'SELECT sync_install()' > /dev/null
query -c "INSERT INTO sync.connection (name, kind, base_url) VALUES ('etilize', 'etilize', 'ftp://localhost/')"
data=$(query -c 'SHOW data_directory')
spool=$(query -c "LOAD 'product_sync'" -c 'SHOW product_sync.spool_directory')
[[ $spool = /* ]] || spool=$data/$spool
spool=$spool/$(query -c 'SELECT oid FROM pg_database WHERE datname = current_database()')
mkdir -p "$spool" && chown --reference="$data" "$(dirname "$spool")" "$spool"

# seconds FILE: how long the last statement of a script takes
seconds() { query -c '\timing on' -f "$1" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | awk '{ total += $1 } END { printf "%.3f", total / 1000 }'; }

columns=$(head -n 1 "$work/feed.csv" | tr -d '\357\273\277\r' | awk -F, '{ for (i = 1; i <= NF; i++) printf("%sc%d text", (i > 1 ? ", " : ""), i) }')
names=$(sed 's/ text//g' <<< "$columns")
cat > "$work/copy.sql" <<SQL
BEGIN;
CREATE TABLE public.equal (id bigint GENERATED ALWAYS AS IDENTITY, $columns);
COPY public.equal ($names) FROM '$work/feed.csv' (FORMAT csv, HEADER true);
ALTER TABLE public.equal ADD PRIMARY KEY (id);
COMMIT;
SQL

best_copy=999999 best_load=999999 id=9000000
for ((run = 1; run <= runs; run++)); do
	query -c 'DROP TABLE IF EXISTS public.equal' -c 'CHECKPOINT' 2> /dev/null
	copy=$(seconds "$work/copy.sql")

	id=$((id + 1))
	query -c "UPDATE sync.feed_file SET state = 'dropped'" -c 'DROP TABLE IF EXISTS '"sync.feed_item_$((id - 1))" 2> /dev/null
	query -c "INSERT INTO sync.feed_file (id, connection, name, size) OVERRIDING SYSTEM VALUE VALUES ($id, 'etilize', 'feed.zip', 1)"
	cp "$work/feed.zip" "$spool/feed-$id.zip" && chown --reference="$data" "$spool/feed-$id.zip"
	query -c 'CHECKPOINT'
	echo "SET ROLE sync_worker; SELECT sync.feed_load($id);" > "$work/load.sql"
	load=$(seconds "$work/load.sql")
	best_copy=$(printf '%s\n' "$best_copy" "$copy" | sort -n | head -n 1)
	best_load=$(printf '%s\n' "$best_load" "$load" | sort -n | head -n 1)
	echo "# run $run: COPY $copy s, load $load s"
done
loaded=$(query -c "SELECT format('%s rows, %s rejected', (SELECT count(*) FROM sync.feed_item), rejected) FROM sync.feed_file WHERE id = $id")
size=$(stat -c %s "$work/feed.csv")
awk -v rows="$rows" -v size="$size" -v copy="$best_copy" -v load="$best_load" -v loaded="$loaded" 'BEGIN {
	printf "feed_load: %s of %.0f MB: zip to feed_item %.2f s, COPY of the CSV %.2f s, ratio %.2f (at most 1.25)\n",
		loaded, size / 1e6, load, copy, load / copy }'
