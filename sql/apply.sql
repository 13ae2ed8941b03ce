-- Applying: only what was approved, never over a newer value, each once, each a version.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install();
RESET client_min_messages;
SET application_name = 'test';

INSERT INTO sync.connection (name, kind, base_url) VALUES ('feed', 'etilize', 'ftp://127.0.0.1/');
INSERT INTO sync.product (id, handle, title, vendor, metafields) SELECT g, 'h' || g, 'Product ' || g, 'Acme', '{"a": "1", "b": "2"}' FROM generate_series(1, 9) g;
INSERT INTO sync.variant (id, product_id, sku, barcode, gtin, price, options)
SELECT g, g, 'S-' || g, '4006381333931', '04006381333931', 10, '{"Color": "Red"}' FROM generate_series(1, 9) g;
INSERT INTO sync.run (kind, connection, state, active) VALUES ('etilize', 'feed', 'manual_review', false) RETURNING id AS run \gset
INSERT INTO sync.run_phase (run_id, state, attempt) VALUES (:run, 'manual_review', 1);
CREATE SEQUENCE pg_temp.number;

-- An update of a product, approved unless said otherwise; changes is {path: [old, new, decision]}.
CREATE FUNCTION pg_temp.stage(product bigint, changes jsonb, links jsonb DEFAULT '{}') RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	entry bigint;
BEGIN
	SET LOCAL ROLE sync_worker;
	INSERT INTO sync.staging (run_id, connection, kind, title, sku, reason, confidence, method, product_id, base_version, product_no, links)
	SELECT r.id, 'feed', 'update', p.title, 'E-' || product, 'test', 0.9, 'sku', p.id, p.version, (SELECT count(*) FROM sync.staging) + 1, stage.links
	FROM sync.run r, sync.product p WHERE p.id = product RETURNING id INTO entry;
	INSERT INTO sync.staging_field (staging_id, path, old_value, new_value, base_version)
	SELECT entry, c.key, nullif(c.value -> 0, 'null'), nullif(c.value -> 1, 'null'), 0 FROM jsonb_each(changes) c ORDER BY c.key COLLATE "C";
	RESET ROLE;
	UPDATE sync.staging_field f SET decision = coalesce(changes -> f.path ->> 2, 'approved')::sync.decision WHERE f.staging_id = entry;
	RETURN entry;
END $$;
CREATE FUNCTION pg_temp.stage_new(sku text, document jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	entry bigint;
BEGIN
	SET LOCAL ROLE sync_worker;
	INSERT INTO sync.staging (run_id, connection, kind, title, sku, reason, confidence, method, document, product_no)
	SELECT r.id, 'feed', 'create', document ->> 'title', stage_new.sku, 'test', 1, 'none', stage_new.document, (SELECT count(*) FROM sync.staging) + 1
	FROM sync.run r RETURNING id INTO entry;
	RESET ROLE;
	UPDATE sync.staging SET decision = 'approved' WHERE id = entry;
	RETURN entry;
END $$;
CREATE FUNCTION pg_temp.apply() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	result jsonb;
BEGIN
	SELECT sync.work_apply_batch(array_agg(id)) INTO result FROM sync.job WHERE kind = 'apply_batch';
	DELETE FROM sync.job;
	RETURN result;
END $$;
CREATE VIEW pg_temp.version AS
SELECT product_id, version, kind, document IS NOT NULL AS whole, v.source, run_id IS NOT NULL AS run, CASE WHEN v.id > 0 THEN v.id END AS staging_id, approved_by = session_user AS by_me,
	   (SELECT jsonb_object_agg(c.key, c.value) FROM jsonb_each(changes) c) AS changes
FROM sync.product_version v;

-- Approved fields only, each with where it came from and who said yes.
SELECT pg_temp.stage(1, '{"title": ["Product 1", "New"], "vendor": ["Acme", "Other", "rejected"], "metafields.a": ["1", null],
	"metafields.custom.c.d": [null, "3"], "variants[S-1].price": [10, 12.5], "variants[S-1].barcode": ["4006381333931", "12345678905"],
	"variants[S-1].options.Size": [null, "L"], "variants[E-1b]": [null, {"price": 3, "barcode": "036000291452"}], "tags": [[], ["x", "y"]],
	"status": ["draft", "active"]}', '{"E-1": 1}');
SELECT pg_temp.apply();
SELECT sync.product_document(1);
SELECT sku, barcode, gtin, price FROM sync.variant WHERE product_id = 1 ORDER BY id;
SELECT * FROM pg_temp.version;
SELECT changes -> 'title' AS change, kind, source, approved_by = session_user AS by_me, approved_at <= created_at AS approved_before FROM sync.product_version;
SELECT decision, state, applied_version FROM sync.staging;
SELECT supplier_sku, variant_id, staging_id FROM sync.variant_source ORDER BY 1;
SELECT version FROM sync.product WHERE id = 1;

-- Applied is applied.
SELECT sync_apply(:run);
SELECT pg_temp.apply();
INSERT INTO sync.job (kind, class, run_id, max_attempts) VALUES ('apply_batch', 2, :run, 5);
SELECT pg_temp.apply();
SELECT count(*) FROM sync.product_version;

-- Edits by hand are versions too, of what they changed; loading was none.
UPDATE sync.product SET title = 'By hand', version = 77, metafields = metafields || '{"b": "3"}' WHERE id = 2;
UPDATE sync.variant SET price = 11, stock = 5 WHERE id = 2;
UPDATE sync.variant SET stock = 6 WHERE id = 2;
UPDATE sync.product SET title = title WHERE id = 2;
INSERT INTO sync.variant (product_id, sku, price) VALUES (2, 'S-2b', 5), (3, 'S-3b', 5);
DELETE FROM sync.variant WHERE sku = 'S-2b';
SELECT * FROM pg_temp.version WHERE product_id IN (2, 3);
SELECT id, version FROM sync.product WHERE id IN (2, 3) ORDER BY 1;
-- A barcode that is edited takes its GTIN along, or the variant would be matched by the old one.
BEGIN;
UPDATE sync.variant SET barcode = '036000291452' WHERE id = 3;
UPDATE sync.variant SET barcode = 'none' WHERE id = 4;
UPDATE sync.variant SET barcode = 'ours', gtin = '00036000291452' WHERE id = 5;
SELECT id, barcode, gtin FROM sync.variant WHERE id BETWEEN 3 AND 5 ORDER BY id;
ROLLBACK;
-- Nobody who may edit the catalogue can pass off an edit as the machine's.
BEGIN;
CREATE ROLE sync_test_admin IN ROLE sync_admin;
SET SESSION AUTHORIZATION sync_test_admin;
UPDATE sync.product SET title = 'Sneaky', version = 0 WHERE id = 4;
SELECT product_id, version, kind, changes -> 'title' AS title, source, approved_by FROM sync.product_version WHERE product_id = 4;
SAVEPOINT before;
SET ROLE sync_worker;
ROLLBACK TO before;
ALTER TABLE sync.product DISABLE TRIGGER ALL;
ROLLBACK TO before;
SELECT sync.manual_versions('{4}', '{}');
ROLLBACK;

-- A value that changed since is not written over: back to review with the present one.  Another field of the product may have changed.
SELECT pg_temp.stage(3, '{"title": ["Product 3", "New"], "vendor": ["Acme", "Other", "rejected"]}') AS stale \gset
SELECT pg_temp.stage(4, '{"title": ["Product 4", "New"]}') AS fresh \gset
SELECT pg_temp.stage(5, '{"title": ["Product 5", "Same by hand"], "vendor": ["Acme", "Other"]}') AS same \gset
SELECT pg_temp.stage(6, '{"variants[S-6].price": [10, 11], "title": ["Product 6", "New"]}') AS lost \gset
SELECT pg_temp.stage(7, '{"title": ["Product 7", "New"]}') AS gone \gset
UPDATE sync.product SET title = 'Edited' WHERE id = 3;
UPDATE sync.product SET vendor = 'Edited' WHERE id = 4;
UPDATE sync.product SET title = 'Same by hand' WHERE id = 5;
UPDATE sync.variant SET sku = 'S-6-new' WHERE id = 6;
DELETE FROM sync.product WHERE id = 7;
SELECT pg_temp.apply();
SELECT id, decision, state, flags, base_version, applied_version, decided_by IS NULL AS open, reason, error FROM sync.staging WHERE id >= :stale ORDER BY id;
SELECT staging_id, path, old_value, new_value, base_version, decision FROM sync.staging_field WHERE staging_id IN (:stale, :lost) ORDER BY 1, 2;
SELECT id, title, vendor, version FROM sync.product WHERE id BETWEEN 3 AND 6 ORDER BY id;
-- Approved again as it is now, it goes in.
UPDATE sync.staging SET decision = 'approved' WHERE id = :stale;
SELECT pg_temp.apply();
SELECT title, vendor, version FROM sync.product WHERE id = 3;
-- What is there already makes no version.
SELECT pg_temp.stage(8, '{"title": ["Product 8", "Same"]}') AS nothing \gset
UPDATE sync.product SET title = 'Same' WHERE id = 8;
SELECT pg_temp.apply();
SELECT state, applied_version FROM sync.staging WHERE id = :nothing;
SELECT count(*) FROM sync.product_version WHERE product_id = 8;

-- A value that the catalogue refuses fails its own entry; the others of the batch go in.
SELECT pg_temp.stage(9, '{"variants[S-9].price": [10, -5]}') AS bad \gset
SELECT pg_temp.stage(8, '{"vendor": ["Acme", "Good"]}') AS good \gset
SELECT pg_temp.stage_new('N-1', '{"title": "No number", "variants": {"N-1": {"price": "cheap"}}}') AS bad_new \gset
SELECT pg_temp.stage_new('N-2', '{"vendor": "Nobody", "variants": {"N-2": {}}}') AS untitled \gset
SELECT pg_temp.stage_new('N-8', jsonb_build_object('title', 'Longer than an index entry', 'variants', '{"N-8": {}}'::jsonb,
	'handle', (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 160) g))) AS too_long \gset
SELECT pg_temp.apply();
SELECT id, decision, state, error FROM sync.staging WHERE id >= :bad ORDER BY id;
SELECT vendor FROM sync.product WHERE id = 8;
-- A failed one can be decided again.
UPDATE sync.staging SET decision = 'approved' WHERE id = :bad;
UPDATE sync.staging SET decision = 'pending' WHERE id = :bad;
SELECT decision, state, error FROM sync.staging WHERE id = :bad;

-- New products: a handle that is taken, also by one of the same batch, gets an ending; a SKU that has come meanwhile goes back to review.
SELECT pg_temp.stage_new('N-3', '{"title": "Three", "handle": "h1", "tags": ["t"], "images": [{"src": "http://x/1.jpg"}], "status": "active",
	"metafields": {"m": 1}, "variants": {"N-3": {"price": 3, "barcode": "4006381333931", "options": {"Size": "L"}}, "N-3b": {}}}') AS three \gset
SELECT pg_temp.stage_new('N-4', '{"title": "Four", "handle": "fresh", "variants": {"N-4": {"price": 3}}}');
SELECT pg_temp.stage_new('N-5', '{"title": "Five", "handle": "fresh", "variants": {"N-5": {"price": 3}}}');
SELECT pg_temp.stage_new('N-6', '{"title": "Six", "variants": {"S-9": {"price": 3}}}');
SELECT pg_temp.stage_new('N-7', '{"title": "Seven", "variants": {"N-7": {"price": 3}}}');
SELECT pg_temp.stage_new('N-7', '{"title": "Seven again", "variants": {"N-7": {"price": 3}}}');
SELECT pg_temp.apply();
SELECT title, decision, state, product_id - (SELECT min(product_id) FROM sync.staging WHERE id = :three) AS product, flags, reason FROM sync.staging WHERE id >= :three ORDER BY id;
SELECT title, regexp_replace(handle, '-[0-9]+$', '-ID') AS handle, status, tags, images, metafields, version,
	   (SELECT jsonb_object_agg(v.sku, v.gtin) FROM sync.variant v WHERE v.product_id = p.id) AS variants
FROM sync.product p WHERE id > 9 ORDER BY title;
SELECT kind, whole, changes FROM pg_temp.version WHERE staging_id = :three;
SELECT s.supplier_sku, v.sku FROM sync.variant_source s JOIN sync.variant v ON v.id = s.variant_id WHERE s.supplier_sku LIKE 'N-%' ORDER BY 1;

-- More than a batch: the rest is asked for.
UPDATE sync.connection SET settings = '{"apply_batch": 2}';
SELECT count(pg_temp.stage(g, jsonb_build_object('description', jsonb_build_array(NULL, 'text')))) FROM generate_series(1, 5) g;
SELECT sync.work_apply_batch(array_agg(id)) FROM sync.job WHERE kind = 'apply_batch';
DELETE FROM sync.job WHERE id < (SELECT max(id) FROM sync.job);
SELECT kind, run_id = :run AS this_run FROM sync.job;
SELECT sync.work_apply_batch(array_agg(id)), sync.work_apply_batch(array_agg(id)) FROM sync.job;
SELECT count(*) FROM sync.product WHERE description = 'text';
SELECT * FROM sync.run_review_counts(:run);
