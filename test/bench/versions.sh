#!/usr/bin/env bash
# Size of the history and time of sync_as_of(): VERSIONED products (default 20000) of two variants and about 2.8 kB, ten versions of each,
# two changed fields a version, written by what writes all versions.
#   VERSIONED=20000 test/bench/versions.sh
# Counted is all of sync.product_version: rows, TOAST, and its three indexes.  The yardstick is the same table with the whole document in
# each version.  PGHOST, PGPORT, PGUSER ... say where; database bench is made anew.
set -euo pipefail
products=${VERSIONED:-20000}
versions=10
probes=5000

psql -qX -v ON_ERROR_STOP=1 -d postgres -c 'DROP DATABASE IF EXISTS bench' -c 'CREATE DATABASE bench' 2>/dev/null
run() { psql -qAtX -v ON_ERROR_STOP=1 -d bench "$@"; }

run >/dev/null <<'END'
CREATE EXTENSION product_sync;
SELECT sync_install();
CREATE FUNCTION words(seed bigint, n integer) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(translate(left(md5(seed || ':' || i), 4 + (seed + i)::integer % 6), '0123456789', 'ghijklmnop'), ' ')
	FROM generate_series(1, n) i $$;
-- A product of the size that a supplier's are.
CREATE FUNCTION document(id bigint) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('handle', 'product-' || id, 'title', 'Product ' || id || ' ' || words(id, 6), 'description', words(id + 1, 150),
		'vendor', 'Vendor ' || id % 97, 'type', 'Type ' || id % 31, 'status', 'active', 'tags', to_jsonb(string_to_array(words(id + 2, 5), ' ')),
		'images', (SELECT jsonb_agg(jsonb_build_object('src', 'https://images.example.com/' || md5(id || ':' || i) || '.jpg', 'alt', words(id + i, 3)))
				   FROM generate_series(1, 4) i),
		'metafields', (SELECT jsonb_object_agg('custom.field_' || i, words(id + 10 + i, 3)) FROM generate_series(1, 8) i),
		'attributes', jsonb_build_object('seo_title', words(id + 3, 6)),
		'variants', (SELECT jsonb_object_agg('SKU-' || id || '-' || i, jsonb_build_object('price', id % 500 + 0.99, 'cost', id % 300 + 0.5,
						'currency', 'USD', 'weight', 250, 'barcode', lpad(id::text || i, 13, '4'),
						'options', jsonb_build_object('Size', chr(64 + i)), 'attributes', '{}'::jsonb))
					 FROM generate_series(1, 2) i)) $$;
-- Which two fields a version changes goes round: price and cost, two prices, title and price, metafield and vendor, tags and status, SEO
-- title and cost.
CREATE FUNCTION paths(id bigint, version integer) RETURNS text[] LANGUAGE sql AS $$
	SELECT CASE (id + version) % 6
		WHEN 5 THEN ARRAY[format('variants[SKU-%s-1].price', id), format('variants[SKU-%s-1].cost', id)]
		WHEN 0 THEN ARRAY[format('variants[SKU-%s-1].price', id), format('variants[SKU-%s-2].price', id)]
		WHEN 1 THEN ARRAY['title', format('variants[SKU-%s-1].price', id)]
		WHEN 2 THEN ARRAY['metafields.custom.field_3', 'vendor']
		WHEN 3 THEN ARRAY['tags', 'status']
		ELSE ARRAY['attributes.seo_title', format('variants[SKU-%s-2].cost', id)] END $$;
CREATE FUNCTION new_value(path text, id bigint, version integer) RETURNS jsonb LANGUAGE sql AS $$
	SELECT CASE WHEN path LIKE '%.price' OR path LIKE '%.cost' THEN to_jsonb(id % 500 + version + 0.49)
		WHEN path = 'tags' THEN to_jsonb(string_to_array(words(id + version * 7, 5), ' '))
		WHEN path = 'status' THEN to_jsonb(CASE WHEN version % 2 = 0 THEN 'draft' ELSE 'active' END)
		WHEN path = 'title' THEN to_jsonb('Product ' || id || ' ' || words(id + version, 6))
		ELSE to_jsonb(words(id + version * 3, 4)) END $$;
CREATE TABLE present (id bigint PRIMARY KEY, document jsonb);
CREATE TABLE size (version integer, bytes bigint);
CREATE TABLE whole (product_id bigint, version integer, kind text, document jsonb, source text, run_id bigint, staging_id bigint,
	approved_by text, approved_at timestamptz, created_at timestamptz, PRIMARY KEY (product_id, version));
CREATE UNIQUE INDEX ON whole (staging_id);
GRANT SELECT, UPDATE ON present TO sync_worker;
ALTER TABLE sync.product_version OWNER TO sync_worker;
-- One version of each product, in batches of 500 as a run applies them.
CREATE PROCEDURE write_versions(version integer, products bigint) LANGUAGE plpgsql AS $$
DECLARE
	from_id bigint;
	batch record;
BEGIN
	FOR from_id IN SELECT generate_series(1, products, 500) LOOP
		SELECT array_agg(p.id ORDER BY p.id) AS ids, array_agg(p.document ORDER BY p.id) AS old, array_agg(n.document ORDER BY p.id) AS documents,
			   array_agg(c.changes ORDER BY p.id) AS changes INTO batch
		FROM present p
		CROSS JOIN LATERAL (SELECT array_agg(k ORDER BY k) AS paths, array_agg(new_value(k, p.id, version) ORDER BY k) AS new_values,
								   jsonb_object_agg(k, jsonb_build_object('old', sync.document_get(p.document, k), 'new', new_value(k, p.id, version))) AS changes
							FROM unnest(paths(p.id, version)) k) c
		CROSS JOIN LATERAL (SELECT CASE WHEN version = 1 THEN p.document ELSE sync.document_patch_all(p.document, c.paths, c.new_values) END AS document) n
		WHERE p.id BETWEEN from_id AND from_id + 499;
		UPDATE present p SET document = b.document FROM unnest(batch.ids, batch.documents) AS b (id, document) WHERE p.id = b.id;
		PERFORM sync.version_add(batch.ids, array_fill(version, ARRAY[cardinality(batch.ids)]),
			CASE version WHEN 1 THEN 'create' ELSE 'update' END, batch.documents, CASE WHEN version > 1 THEN batch.changes END, 'etilize', version,
			ARRAY(SELECT version * products + i FROM unnest(batch.ids) i), array_fill('product_sync'::text, ARRAY[cardinality(batch.ids)]),
			array_fill(clock_timestamp(), ARRAY[cardinality(batch.ids)]));
		INSERT INTO whole SELECT i, version, 'update', d, 'etilize', version, version * products + i, 'product_sync', now(), now()
		FROM unnest(batch.ids, batch.documents) AS b (i, d);
		COMMIT;
	END LOOP;
	INSERT INTO size VALUES (version, pg_total_relation_size('sync.product_version'));
END $$;
END
run -c "INSERT INTO present SELECT i, document(i) FROM generate_series(1, $products) i" -c 'VACUUM ANALYZE present'
for version in $(seq 1 $versions); do run -c "CALL write_versions($version, $products)"; done
run -c 'VACUUM ANALYZE sync.product_version' -c 'VACUUM ANALYZE whole' \
	-c "UPDATE size SET bytes = pg_total_relation_size('sync.product_version') WHERE version = $versions"

wrong=$(run -c "SELECT count(*) FROM present p WHERE p.id % 50 = 0 AND sync_as_of(p.id) IS DISTINCT FROM p.document")
run -F ' ' -c "SELECT round(avg(octet_length(document::text))),
	round((max(bytes) FILTER (WHERE version = $versions) - max(bytes) FILTER (WHERE version = 1)) / ($products * ($versions - 1.0)), 1),
	round(max(bytes) FILTER (WHERE version = $versions) / ($products * $versions::numeric), 1),
	round(pg_total_relation_size('whole') / ($products * $versions::numeric), 1),
	round(pg_relation_size('sync.product_version') / ($products * $versions::numeric), 1),
	round(pg_indexes_size('sync.product_version') / ($products * $versions::numeric), 1)
	FROM size, (SELECT document FROM present LIMIT 500) p" |
	awk -v wrong="$wrong" '{
		printf "versions: documents of %d bytes; %.1f bytes a version of two changed fields, indexes included (at most 350: %s), %.1f with the snapshots of the first versions; %.1f where each holds the whole document\n",
			$1, $2, $2 <= 350 ? "ok" : "missed", $3, $4
		printf "versions: of that %.1f rows and %.1f indexes on average; %d read back wrong (none: %s)\n", $5, $6, wrong, wrong == 0 ? "ok" : "missed" }'
run -F ' ' <<END |
CREATE TABLE probe (first double precision, second double precision);
DO \$\$
DECLARE
	low timestamptz := (SELECT min(created_at) FROM sync.product_version);
	span interval := (SELECT max(created_at) FROM sync.product_version) - low;
	id bigint;
	at timestamptz;
	began timestamptz;
	middle timestamptz;
BEGIN
	PERFORM setseed(0.5);
	PERFORM sync_as_of(1);
	FOR i IN 1 .. $probes LOOP
		id := 1 + floor(random() * $products)::bigint;
		at := low + span * random();
		began := clock_timestamp();
		PERFORM sync_as_of(id, at);
		middle := clock_timestamp();
		PERFORM sync_as_of(id, at);
		INSERT INTO probe VALUES (extract(epoch FROM middle - began) * 1000, extract(epoch FROM clock_timestamp() - middle) * 1000);
	END LOOP;
END \$\$;
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY first), percentile_cont(0.99) WITHIN GROUP (ORDER BY first),
	percentile_cont(0.99) WITHIN GROUP (ORDER BY least(first, second)), count(*) FROM probe;
END
	awk '{ printf "versions: sync_as_of of %d random products and times: median %.3f ms, p99 %.3f ms, %.3f ms where the quicker of two calls counts and a busy machine less (that at most 2 ms: %s)\n",
		$4, $1, $2, $3, $3 <= 2 ? "ok" : "missed" }'
psql -qX -d postgres -c 'DROP DATABASE bench'
