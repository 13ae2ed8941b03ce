-- The matching of a run's feed: jobs, ranges, links, and the same result however often it is done.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install() IS NOT NULL AS installed;
RESET client_min_messages;

INSERT INTO sync.connection (name, kind, base_url) VALUES ('etilize', 'etilize', 'ftp://localhost/x');
INSERT INTO sync.product (id, title, vendor) OVERRIDING SYSTEM VALUE
	SELECT i, 'Acme part ' || i || ' ' || md5(i::text), 'Acme' FROM generate_series(1, 3000) i;
INSERT INTO sync.variant (id, product_id, sku, mpn, options) OVERRIDING SYSTEM VALUE
	SELECT i, i, 'V-' || i, 'AC-' || (100000 + i), '{}' FROM generate_series(1, 3000) i;
UPDATE sync.product SET title = 'Acme shirt cotton' WHERE id = 10;
UPDATE sync.variant SET options = '{"Color": "Red"}', mpn = NULL WHERE id = 10;
INSERT INTO sync.variant (id, product_id, sku, options) OVERRIDING SYSTEM VALUE VALUES (3001, 10, 'V-10-blue', '{"Color": "Blue"}');
SELECT sync.catalogue_changed();

CREATE TABLE sync.feed_item_1 PARTITION OF sync.feed_item FOR VALUES IN (1);
INSERT INTO sync.feed_item (id, feed_file_id, line, product_no, kind, sku, product, variant)
SELECT 4294967296 + i, 1, i + 1, i, 'product', 'F-' || i,
	jsonb_build_object('title', 'Part by Acme ' || md5(i::text), 'vendor', 'ACME Inc.'),
	jsonb_build_object('sku', 'F-' || i, 'mpn', 'ac' || (100000 + i))
FROM generate_series(1, 2500) i;
-- A product with two variants, told apart by their colour; an image row; one product that is new.
UPDATE sync.feed_item SET product = '{"title": "Acme cotton shirt", "vendor": "Acme"}', variant = '{"options": {"Color": "Blue"}}' WHERE product_no = 10;
INSERT INTO sync.feed_item (id, feed_file_id, line, product_no, kind, sku, variant, image) VALUES
	(4294967296 + 9001, 1, 9001, 10, 'variant', 'F-10-red', '{"options": {"Color": "Red"}}', NULL),
	(4294967296 + 9002, 1, 9002, 10, 'image', NULL, NULL, '{"src": "x"}');
UPDATE sync.feed_item SET product = '{"title": "Weber charcoal grill", "vendor": "Weber"}', variant = '{"mpn": "741001"}' WHERE product_no = 2500;

INSERT INTO sync.run (kind, connection, state, feed_file_id) VALUES ('etilize', 'etilize', 'matching', 1) RETURNING id AS run_id \gset
INSERT INTO sync.run_phase (run_id, state, attempt) VALUES (:run_id, 'matching', 1);
SET ROLE sync_worker;
SELECT sync.match_begin(:run_id);
SELECT sync.match_begin(:run_id);
SELECT kind, count(*) FROM sync.job GROUP BY kind;
SELECT sync.work_match_index(array_agg(id)) FROM sync.job WHERE kind = 'match_index';
SELECT payload FROM sync.job WHERE kind = 'match_batch' ORDER BY id;
SELECT total, unit FROM sync.run_phase WHERE run_id = :run_id;
SELECT context ->> 'match_index' = sync.catalogue_version()::text AS of_the_present FROM sync.run WHERE id = :run_id;
SELECT sync.work_match_batch(array_agg(id)) FROM sync.job WHERE kind = 'match_batch';
SELECT count(*) FILTER (WHERE variant_id = product_no) AS right, count(*) FROM sync.match_result WHERE run_id = :run_id AND product_no NOT IN (10, 2500);
SELECT feed_item_id - 4294967296 AS item, variant_id, product_id FROM sync.match_result WHERE run_id = :run_id AND product_no IN (10, 2500) ORDER BY 1;

-- Once more after some links are known, and after the index file is lost: the same variants, now by link where there is one.
CREATE TEMP TABLE first_time AS SELECT feed_item_id, variant_id FROM sync.match_result WHERE run_id = :run_id;
INSERT INTO sync.variant_source (connection, supplier_sku, variant_id) SELECT 'etilize', 'F-' || i, i FROM generate_series(1, 100) i WHERE i <> 10;
UPDATE sync.run SET context = context || '{"match_index": 999999}' WHERE id = :run_id;
SELECT sync.work_match_batch(array_agg(id)) FROM sync.job WHERE kind = 'match_batch';
SELECT count(*) AS differ FROM first_time f FULL JOIN (SELECT * FROM sync.match_result WHERE run_id = :run_id) m USING (feed_item_id)
WHERE f.variant_id IS DISTINCT FROM m.variant_id;

-- A variant that is gone since the index was built is no match.
DELETE FROM sync.product WHERE id = 200;
SELECT sync.match_range(:run_id, 200, 200);
RESET ROLE;
