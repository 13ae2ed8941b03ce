#!/usr/bin/env bash
# How good the matcher is on labelled product pairs, and how fast on synthetic ones.
#   match.sh [INCOMING [EXISTING]]      default 100000 1000000
# Uses the server that libpq's environment (PGHOST, PGPORT, PGUSER ...) names, in a database of its own that it drops again; the
# extension must be installed there.  The labelled pairs are read from MATCHING_DATA, by default ../shared/data/matching beside the
# project; where they are absent that part is skipped and says so.  Same data at each run: no random numbers, only hashes.
set -euo pipefail
incoming=${1:-100000} existing=${2:-1000000}
top=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)
data=${MATCHING_DATA:-$top/../shared/data/matching}
database=product_sync_bench_match_$$

createdb "$database"
trap 'dropdb --if-exists "$database"' EXIT
run() { PGOPTIONS='-c client_min_messages=warning' psql -XqAt -v ON_ERROR_STOP=1 -d "$database" "$@"; }
run -c 'CREATE EXTENSION product_sync'

# quality NAME INCOMING EXISTING COLUMNS: F1, precision and coverage at thresholds, and the calibration error over ten bands.
quality() {
	local name=$1 incoming_file=$2 existing_file=$3 columns=$4 swap=$5
	run <<-SQL
		DROP TABLE IF EXISTS incoming, existing, pair, result;
		CREATE TABLE incoming ($columns);
		CREATE TABLE existing ($6);
		CREATE TABLE pair (a text, b text);
		\copy incoming FROM '$data/$name/$incoming_file' CSV HEADER
		\copy existing FROM '$data/$name/$existing_file' CSV HEADER
		\copy pair FROM '$data/$name/matches.csv' CSV HEADER
		UPDATE pair SET a = b, b = a WHERE $swap;
		CREATE TABLE result AS
			SELECT r.*, EXISTS (SELECT FROM pair p WHERE p.a = r.incoming_id AND p.b = r.existing_id) AS right
			FROM sync_match('incoming', 'existing') r;
		SELECT format('%-15s p >= %s  F1 %s  precision %s  coverage %s  (%s of %s claimed)', '$name', t,
				round(2.0 * count(*) FILTER (WHERE r.right) / (count(*) + n), 4),
				round(1.0 * count(*) FILTER (WHERE r.right) / greatest(count(*), 1), 4),
				round(1.0 * count(*) FILTER (WHERE r.right) / n, 4), count(*) FILTER (WHERE r.right), count(*))
		FROM unnest(ARRAY[.5, .9, .95]) t JOIN result r ON r.confidence >= t, (SELECT count(*) AS n FROM pair) p
		GROUP BY t, n ORDER BY t;
		SELECT format('%-15s expected calibration error %s', '$name', round((sum(abs(claimed - found)) / sum(n))::numeric, 4))
		FROM (SELECT sum(confidence) AS claimed, count(*) FILTER (WHERE r.right) AS found, count(*) AS n
			  FROM result r GROUP BY least(floor(confidence * 10), 9)) bands;
	SQL
}

# new_only NAME: the same with the true matches taken out of the existing side: whatever is approved then is wrong.
new_only() {
	run <<-SQL
		DELETE FROM existing e USING pair p WHERE p.b = e.id;
		SELECT format('%-15s new products only: %s of %s at p >= .95', '$1', count(*) FILTER (WHERE confidence >= .95),
			(SELECT count(*) FROM incoming)) FROM sync_match('incoming', 'existing');
	SQL
}

if [ -d "$data/abt-buy" ]; then
	quality abt-buy tableB.csv tableA.csv 'id text, title text, description text, manufacturer text, price text' true \
		'id text, title text, description text, price text'
	new_only abt-buy
	both='id text, title text, category text, brand text, modelno text, price text'
	quality walmart-amazon tableA.csv tableB.csv "$both" false "$both"
	new_only walmart-amazon
else
	echo "quality: skipped, there are no labelled pairs in $data"
fi

# Synthetic products: a brand, a model number of their own, three to seven words of a skewed vocabulary; incoming ones are every tenth
# existing one with words lost, the model number written otherwise or left out.
run <<-SQL
	DROP TABLE IF EXISTS incoming, existing, pair, result;
	CREATE FUNCTION h(n bigint, salt int) RETURNS bigint LANGUAGE sql IMMUTABLE AS
		'SELECT (hashint8extended(n, salt) & 9007199254740991)';
	CREATE FUNCTION word(n bigint, salt int) RETURNS text LANGUAGE sql IMMUTABLE AS
		\$\$SELECT translate(to_hex(floor(20000 * power((h(n, salt) % 1000003) / 1000003.0, 3))::int + 4096), '0123456789', 'ghijklmnop')\$\$;
	CREATE UNLOGGED TABLE existing AS
		SELECT i AS id, 'brand' || translate((h(i, 1) % 3000)::text, '0123456789', 'abcdefghij') AS brand,
			upper(substr(md5(i::text), 1, 3)) || '-' || (h(i, 2) % 900000 + 100000) AS mpn,
			concat_ws(' ', word(i, 11), word(i, 12), word(i, 13), CASE WHEN i % 2 = 0 THEN word(i, 14) END,
				CASE WHEN i % 3 = 0 THEN word(i, 15) || ' ' || word(i, 16) END, (h(i, 3) % 64 + 1) || ' gb') AS title,
			round((h(i, 4) % 100000) / 100.0, 2) AS price
		FROM generate_series(1, $existing) i;
	CREATE UNLOGGED TABLE incoming AS
		SELECT e.id, e.brand, CASE WHEN e.id % 3 = 0 THEN replace(lower(e.mpn), '-', '') END AS mpn,
			regexp_replace(e.title, ' [a-z]+ ', ' ') || CASE WHEN e.id % 3 = 1 THEN ' ' || e.mpn ELSE '' END AS title,
			round(e.price * (0.9 + (h(e.id, 5) % 20) / 100.0), 2) AS price
		FROM existing e WHERE e.id % greatest($existing / $incoming, 1) = 0 LIMIT $incoming;
	CREATE UNLOGGED TABLE nothing (LIKE incoming);
	ANALYZE;
SQL
run <<-SQL
	SELECT pg_backend_pid() AS pid \gset
	SELECT clock_timestamp() AS t0 \gset
	SELECT count(*) FROM existing WHERE length(title || brand || mpn) > 0 \gset read_
	SELECT clock_timestamp() AS t1 \gset
	SELECT count(*) FROM sync_match('nothing', 'existing') \gset none_
	SELECT clock_timestamp() AS t2 \gset
	CREATE TEMP TABLE result AS SELECT * FROM sync_match('incoming', 'existing');
	SELECT clock_timestamp() AS t3 \gset
	SELECT format('speed: index of %s rows %s s; %s incoming rows matched in %s s more, %s rows/s; reading the table alone %s s',
		$existing, round(extract(epoch FROM :'t2'::timestamptz - :'t1'::timestamptz), 2), $incoming,
		round(extract(epoch FROM (:'t3'::timestamptz - :'t2'::timestamptz) - (:'t2'::timestamptz - :'t1'::timestamptz)), 2),
		round($incoming / greatest(extract(epoch FROM (:'t3'::timestamptz - :'t2'::timestamptz) - (:'t2'::timestamptz - :'t1'::timestamptz)), 0.001)),
		round(extract(epoch FROM :'t1'::timestamptz - :'t0'::timestamptz), 2));
	SELECT format('speed: right at p >= .5: %s of %s incoming rows', count(*) FILTER (WHERE incoming_id = existing_id AND confidence >= .5), $incoming)
	FROM result;
	\setenv BACKEND :pid
	\! grep -s VmHWM /proc/\$BACKEND/status | awk '{ printf "memory: at most %d MB resident in the backend, shared buffers included\n", \$2 / 1024 }'
SQL
