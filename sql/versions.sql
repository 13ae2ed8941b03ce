-- Versions: what a product was at any time, where its values come from, and back again.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
RESET client_min_messages;
SET application_name = 'test';

-- A history of before step 3, which said at each field who and where.
SET ROLE sync_worker;
DO $$ BEGIN PERFORM sync.install_step_1(); PERFORM sync.install_step_2(); INSERT INTO sync.installed_step (step) VALUES (1), (2); END $$;
INSERT INTO sync.product (id, handle, title, vendor, version, created_at) VALUES (20, 'old', 'Newer', 'Ours', 3, now() - interval '3 hours');
INSERT INTO sync.product_version (product_id, version, kind, document, changes, source, run_id, staging_id, approved_by, approved_at, created_at) VALUES
	(20, 1, 'update', '{"tags": [], "title": "Old", "handle": "old", "images": [], "status": "draft", "vendor": "Acme", "variants": {}, "attributes": {}, "metafields": {}}',
	 '{"title": {"old": "First", "new": "Old", "source": "feed", "run": 3, "staging_field": 5, "approved_by": "ann", "approved_at": "2026-01-02T03:04:05Z"}}', 'feed', 3, 1002, 'ann', now(), now() - interval '2 hours'),
	(20, 2, 'manual', NULL, '{"title": {"old": "Old", "new": "Newer", "source": "sql:psql", "approved_by": "bob", "approved_at": "2026-01-02T03:04:05Z"}}', 'sql:psql', NULL, NULL, 'bob', now(), now() - interval '1 hour'),
	(20, 3, 'update', NULL, '{"vendor": {"old": "Acme", "new": "Ours", "source": "feed", "run": 4, "staging_field": 6, "approved_by": "product_sync", "approved_at": "2026-01-02T03:04:05Z"}}', 'feed', 4, 1007, 'product_sync', now(), now() - interval '30 minutes');
RESET ROLE;
SELECT sync_install();
SELECT id, version FROM sync.product_version ORDER BY version;
SELECT version, path, old_value, new_value, source, actor, run_id FROM sync.product_change ORDER BY 1, 2;
SELECT path, version, source, actor, run_id FROM sync_blame(20);
SELECT * FROM sync_diff(20, 0);
SELECT sync_as_of(20) = sync.product_document(20) AS present, sync_as_of(20, now() - interval '45 minutes') ->> 'vendor' AS vendor,
	   sync_as_of(20, now() - interval '90 minutes') ->> 'title' AS title, sync_as_of(20, now() - interval '150 minutes') ->> 'title' AS loaded,
	   sync_as_of(20, now() - interval '4 hours') AS before;
DELETE FROM sync.product WHERE id = 20;

INSERT INTO sync.connection (name, kind, base_url) VALUES ('feed', 'etilize', 'ftp://127.0.0.1/');
INSERT INTO sync.product (id, handle, title, vendor, tags, metafields, created_at)
SELECT g, 'h' || g, 'Product ' || g, 'Acme', '{a,b}', '{"a": "1", "b": "2"}', now() - interval '1 hour' FROM generate_series(1, 9) g;
INSERT INTO sync.variant (id, product_id, sku, price, options)
SELECT g, g, 'S-' || g, 10, '{"Color": "Red"}' FROM generate_series(1, 9) g;
UPDATE sync.setting SET value = '4' WHERE name = 'version_snapshot_every';
CREATE TABLE moment (name text, product_id bigint, at timestamptz, document jsonb, PRIMARY KEY (name, product_id));

-- A feed's run: its documents are staged as the feed's, approved and applied.
CREATE FUNCTION pg_temp.run() RETURNS bigint LANGUAGE sql AS $$
	INSERT INTO sync.run (kind, connection, state, active, feed_file_id) VALUES ('etilize', 'feed', 'manual_review', false, NULL) RETURNING id $$;
CREATE FUNCTION pg_temp.feed(run bigint, documents jsonb, OUT staged text, OUT suppressed bigint) LANGUAGE plpgsql AS $$
DECLARE
	products sync.staged[];
	updates record;
BEGIN
	SET LOCAL ROLE sync_worker;
	SELECT array_agg(ROW(d.no, d.no, 'F-' || d.no, d.value ->> 'title', d.value - 'id', (d.value ->> 'id')::bigint, 0.99, 'sku', '{}', '{}', '{}', NULL, 0.99)::sync.staged)
	INTO products FROM jsonb_array_elements(documents) WITH ORDINALITY AS d (value, no);
	PERFORM sync.stage_creates(run, 'feed', products);
	SELECT * INTO updates FROM sync.stage_updates(run, 'feed', products, '{}');
	suppressed := updates.suppressed;
	staged := (SELECT string_agg(coalesce(s.product_id::text, 'new') || ': ' || coalesce((SELECT string_agg(f.path, ' ' ORDER BY f.path COLLATE "C")
		FROM sync.staging_field f WHERE f.staging_id = s.id), s.title), ', ' ORDER BY s.id) FROM sync.staging s WHERE s.run_id = run);
	UPDATE sync.staging s SET decision = 'approved', decided_by = 'product_sync', decided_at = now(), decided_how = 'auto' WHERE s.run_id = run;
	UPDATE sync.staging_field f SET decision = 'approved', decided_by = 'product_sync', decided_at = now(), decided_how = 'auto'
	WHERE f.staging_id IN (SELECT s.id FROM sync.staging s WHERE s.run_id = run);
	PERFORM sync.job_enqueue('apply_batch', run);
	RESET ROLE;
END $$;
CREATE FUNCTION pg_temp.apply() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	result jsonb;
BEGIN
	SELECT sync.work_apply_batch(array_agg(id)) INTO result FROM sync.job WHERE kind = 'apply_batch';
	DELETE FROM sync.job;
	RETURN result;
END $$;
-- Remembers every product as it is now.
CREATE PROCEDURE pg_temp.remember(name text) LANGUAGE sql AS $$
	INSERT INTO moment SELECT remember.name, p.id, clock_timestamp(), sync.product_document(p.id) FROM sync.product p $$;
-- Each remembered moment whose product is not read back as it was.
CREATE FUNCTION pg_temp.wrong() RETURNS TABLE (name text, product_id bigint, was jsonb, is_said jsonb) LANGUAGE sql AS $$
	SELECT m.name, m.product_id, m.document, a FROM moment m CROSS JOIN LATERAL sync_as_of(m.product_id, m.at) a
	WHERE a IS DISTINCT FROM m.document ORDER BY m.at, m.product_id $$;
CREATE VIEW pg_temp.entry AS
SELECT s.id, s.product_id, s.reason, s.flags, s.decision, s.state,
	   (SELECT jsonb_object_agg(f.path, jsonb_build_array(f.old_value, f.new_value)) FROM sync.staging_field f WHERE f.staging_id = s.id) AS fields
FROM sync.staging s WHERE s.method = 'rollback';

-- History ------------------------------------------------------------------------------------------------------------------------

-- Nothing has changed yet: what was loaded is what there is, since it was loaded.
CALL pg_temp.remember('loaded');
SELECT sync_as_of(1) = sync.product_document(1) AS present, sync_as_of(1, now() - interval '2 hours') AS before;
SELECT DISTINCT version, source, actor FROM sync_blame(1);
SELECT count(*) FROM sync_diff(1, 0);

-- All that a feed and people do: fields set, emptied, variants added, renamed, moved and deleted, options, new products.
SELECT pg_temp.run() AS one \gset
SELECT * FROM pg_temp.feed(:one, '[
	{"id": 1, "title": "Title by feed", "metafields": {"custom.c.d": "3"}, "variants": {"S-1": {"price": 12.5, "options": {"Size": "L"}}, "S-1b": {"price": 3}}},
	{"id": 2, "tags": ["x"], "images": [{"src": "http://i/1.png", "alt": "one"}]},
	{"title": "Made by feed", "status": "active", "variants": {"N-1": {"price": 1.2345, "barcode": "036000291452"}, "N]2": {}}}]');
SELECT pg_temp.apply();
SELECT id AS made FROM sync.product WHERE title = 'Made by feed' \gset
CALL pg_temp.remember('fed');
UPDATE sync.product SET title = 'By hand', vendor = NULL, tags = '{}', metafields = '{"b": "3"}' WHERE id IN (1, 2);
CALL pg_temp.remember('edited');
UPDATE sync.variant SET sku = 'S-1 new' WHERE sku = 'S-1';
CALL pg_temp.remember('renamed');
UPDATE sync.variant SET price = price + 0.5, options = options - 'Size' || '{"Color": "Blue"}' WHERE product_id IN (1, 3);
CALL pg_temp.remember('priced');
INSERT INTO sync.variant (product_id, sku, cost, attributes) VALUES (1, 'S-1c', 5.50, '{"x": [1]}'), (3, 'A"]B', 1, '{}');
CALL pg_temp.remember('added');
DELETE FROM sync.variant WHERE sku IN ('S-1b', 'S-3', 'N-1');
CALL pg_temp.remember('deleted');
UPDATE sync.variant SET product_id = 4, price = 99 WHERE sku = 'S-1c';
CALL pg_temp.remember('moved');
UPDATE sync.product SET title = title || '!', description = 'Some words' WHERE id = 1;
UPDATE sync.product SET title = title || '!' WHERE id = 1;
CALL pg_temp.remember('last');
SELECT * FROM pg_temp.wrong();
SELECT count(*), count(DISTINCT document) FROM moment;
-- A new product did not exist before it was made, and its first version has what the catalogue put to it.
SELECT sync_as_of(:made, (SELECT min(at) FROM moment)) AS before, sync_as_of(:made) = sync.product_document(:made) AS now;
SELECT document -> 'variants' AS variants FROM sync.product_version WHERE product_id = :made AND version = 1;
-- The whole product is kept on the first version and every fourth; the others are what changed.
SELECT version, kind, document IS NOT NULL AS whole, source, run_id IS NOT NULL AS run, approved_by = session_user AS by_me, changes
FROM sync.product_version WHERE product_id = 1 ORDER BY version;

SELECT * FROM sync_diff(1, 1, 3);
SELECT * FROM sync_diff(1, 3, 1);
SELECT count(*) FROM sync_diff(1, 7);
SELECT count(*) FROM sync_diff(1, 9);
SELECT path, old_value IS NULL AS new FROM sync_diff(:made, 0, 1);
SELECT path, value, version, source, actor = session_user AS by_me, actor = 'product_sync' AS by_itself, run_id = :one AS run, staging_id IS NOT NULL AS entry
FROM sync_blame(1);
SELECT path, version, source FROM sync_blame(:made);

-- A rule or a conflict, and the person who decided it, stand at the field.
SET ROLE sync_worker;
UPDATE sync.product SET title = 'By rule', vendor = 'Ours', metafields = '{"b": "2"}', version = 1 WHERE id = 9;
SELECT sync.version_write('{9}', '{1}', 'update', ARRAY[sync.product_document(9)], ARRAY['{"title": {"old": "Product 9", "new": "By rule", "rule": "title_first"},
	"vendor": {"old": "Acme", "new": "Ours", "rule": "person", "conflict": 17, "by": "bea"}, "metafields.a": {"old": "1"}}'::jsonb], 'shop', NULL, NULL, 'product_sync');
RESET ROLE;
SELECT changes FROM sync.product_version WHERE product_id = 9;
SELECT path, version, source, actor, rule, conflict_id FROM sync_blame(9) WHERE version > 0;
SELECT version, path, old_value, new_value, source, actor, rule, conflict_id FROM sync.product_change WHERE product_id = 9 ORDER BY 1, 2;
SELECT * FROM sync_diff(9, 0);
-- One that is deleted is still known.
BEGIN;
DELETE FROM sync.product WHERE id = 1;
SELECT sync_as_of(1) ->> 'title' AS title, (SELECT count(*) FROM sync_blame(1)) AS blamed, (SELECT count(*) FROM sync_diff(1, 1)) AS differ;
SELECT sync_rollback(1, 1);
ROLLBACK;

-- While the extension is away, edits are versions all the same, and are read when it is back.
BEGIN;
SET LOCAL client_min_messages = warning;
DROP EXTENSION product_sync;
UPDATE sync.product SET title = 'Away' WHERE id IN (1, 5);
UPDATE sync.product SET title = 'Away again' WHERE id = 5;
CREATE EXTENSION product_sync;
SELECT sync_install();
SELECT product_id, version, kind, document IS NULL AS no_document FROM sync.product_version WHERE changes -> 'title' ->> 1 LIKE 'Away%' ORDER BY 1, 2;
SELECT sync_as_of(5) = sync.product_document(5) AS present, sync.version_document(5, 1) ->> 'title' AS one, sync.version_document(5, 0) = (SELECT document FROM moment WHERE name = 'loaded' AND product_id = 5) AS loaded;
SELECT * FROM pg_temp.wrong();
ROLLBACK;

-- Rolling back a product ---------------------------------------------------------------------------------------------------------

SELECT sync_rollback(1, 1, ARRAY['title', 'variants[*].options.*']) AS entry \gset
SELECT * FROM pg_temp.entry WHERE id = :entry;
SELECT r.kind, r.connection, r.state, r.active, r.context, r.counts, r.requested_by = session_user AS by_me,
	   (SELECT array_agg(p.state ORDER BY p.id) FROM sync.run_phase p WHERE p.run_id = r.id) AS phases
FROM sync.run r WHERE r.id = (SELECT run_id FROM sync.staging WHERE id = :entry);
-- A second wish takes the place of the first; variants that came since go, those that went come back.
SELECT sync_rollback(1, 1) AS second \gset
SELECT decision, state FROM pg_temp.entry WHERE id = :entry;
SELECT reason, flags, fields FROM pg_temp.entry WHERE id = :second;
SELECT entries FROM sync_approve(ARRAY[:second]);
SELECT pg_temp.apply();
SELECT sync.product_document(1) = sync.version_document(1, 1) AS back;
SELECT version, kind, source, approved_by = session_user AS by_me FROM sync.product_version WHERE product_id = 1 ORDER BY version DESC LIMIT 1;
SELECT DISTINCT source, version FROM sync_blame(1) WHERE path IN ('title', 'variants[S-1].price');
SELECT state FROM sync.run WHERE id = (SELECT run_id FROM sync.staging WHERE id = :second);
CALL pg_temp.remember('back');
SELECT * FROM pg_temp.wrong();
-- Nothing differs: nothing is staged.
SELECT sync_rollback(1, 1);
SELECT sync_rollback(1, 0, ARRAY['handle']);
-- A rejected field stays as it is.
SELECT sync_rollback(2, 0) AS entry \gset
UPDATE sync.staging_field SET decision = CASE path WHEN 'title' THEN 'rejected' ELSE 'approved' END::sync.decision WHERE staging_id = :entry;
SELECT pg_temp.apply();
SELECT * FROM sync_diff(2, 0);

-- Rolling back a run -------------------------------------------------------------------------------------------------------------

-- A bad feed: wrong titles, prices, a variant that is not, products that are not.
SELECT pg_temp.run() AS bad \gset
\set feed '[{"id": 5, "title": "Bad", "vendor": "Bad", "variants": {"S-5": {"price": 1}, "BAD": {"price": 1}}}, {"id": 6, "title": "Bad", "variants": {"S-6": {"price": 1}}}, {"id": 7, "title": "Bad"}, {"id": 8, "vendor": "Bad", "tags": ["bad"]}]'
\set created '[{"title": "Bad product", "status": "active", "variants": {"BAD-1": {"price": 1}}}]'
SELECT * FROM pg_temp.feed(:bad, :'feed'::jsonb || :'created'::jsonb);
SELECT pg_temp.apply();
CALL pg_temp.remember('bad');
SELECT id AS bad_product FROM sync.product WHERE title = 'Bad product' \gset
-- People have gone on meanwhile: their edits stay.
UPDATE sync.product SET title = 'Mended by hand' WHERE id IN (5, 7);
UPDATE sync.variant SET cost = 2 WHERE sku = 'S-6';
UPDATE sync.product SET vendor = 'Acme' WHERE id = 8;
SELECT sync_rollback_run(:bad) AS undo \gset
SELECT reason, flags, fields FROM pg_temp.entry e WHERE id IN (SELECT id FROM sync.staging WHERE run_id = :undo) ORDER BY product_id;
SELECT f.path, f.old_value, f.new_value, f.decision, f.decided_by, f.decided_how, replace(f.note, session_user, 'me') AS note
FROM sync.staging_field f JOIN sync.staging s ON s.id = f.staging_id WHERE s.run_id = :undo AND f.note IS NOT NULL ORDER BY f.id;
SELECT kind, state, context, counts FROM sync.run WHERE id = :undo;
SELECT decision, state, decided_how, count(*) FROM sync.staging WHERE run_id = :undo GROUP BY 1, 2, 3 ORDER BY 1, 2;
SELECT kind, message FROM sync.notification WHERE run_id = :undo;
SELECT sync_rollback_run(:bad);
SELECT entries, fields FROM sync_approve_where(jsonb_build_object('run_id', :undo));
SELECT pg_temp.apply();
SELECT id, title, vendor, tags, status FROM sync.product WHERE id IN (5, 6, 7, 8, :bad_product) ORDER BY id;
SELECT sku, price, cost FROM sync.variant WHERE product_id IN (5, 6, 7, 8) ORDER BY id;
SELECT count(*) AS learnt_from_rollbacks FROM sync.variant_source v JOIN sync.staging s ON s.id = v.staging_id WHERE s.method = 'rollback';
CALL pg_temp.remember('undone');
SELECT * FROM pg_temp.wrong();

-- The same feed comes again: it brings nothing back by itself.  What it says anew is staged.
SELECT pg_temp.run() AS again \gset
SELECT * FROM pg_temp.feed(:again, :'feed');
SELECT pg_temp.run() AS again \gset
SELECT * FROM pg_temp.feed(:again, replace(:'feed', '"id": 8, "vendor": "Bad"', '"id": 8, "vendor": "Better"')::jsonb);
SELECT pg_temp.apply();

-- Undoing the undoing: the values come back, and the feed may bring them.
SELECT sync_rollback_run(:undo) AS redo \gset
SELECT product_id, flags, fields FROM pg_temp.entry e WHERE id IN (SELECT id FROM sync.staging WHERE run_id = :redo) ORDER BY product_id;
SELECT entries FROM sync_approve_where(jsonb_build_object('run_id', :redo));
SELECT pg_temp.apply();
SELECT id, title, vendor, tags, status FROM sync.product WHERE id IN (5, 6, 7, 8, :bad_product) ORDER BY id;
SELECT sku, price FROM sync.variant WHERE product_id = 5 ORDER BY sku;
UPDATE sync.product SET title = 'Other' WHERE id = 6;
SELECT pg_temp.run() AS third \gset
SELECT * FROM pg_temp.feed(:third, :'feed');
DELETE FROM sync.job;
-- The first run once more, whose values another rollback brought back: they are its own again.
SELECT sync_rollback_run(:bad) AS once_more \gset
SELECT product_id, flags, fields FROM pg_temp.entry e WHERE id IN (SELECT id FROM sync.staging WHERE run_id = :once_more) ORDER BY product_id;
SELECT sync_cancel(:once_more);
SELECT * FROM pg_temp.wrong();

-- Two bad feeds, the newer undone first: neither comes back, though they say different things.  Undoing one of the undoings lifts that one.
INSERT INTO sync.product (id, handle, title) VALUES (30, 'twice', 'Right');
SELECT pg_temp.run() AS bad_one \gset
SELECT staged FROM pg_temp.feed(:bad_one, '[{"id": 30, "title": "Bad one"}]');
SELECT pg_temp.apply();
SELECT pg_temp.run() AS bad_two \gset
SELECT staged FROM pg_temp.feed(:bad_two, '[{"id": 30, "title": "Bad two"}]');
SELECT pg_temp.apply();
CREATE FUNCTION pg_temp.undo(run bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	undo bigint := sync_rollback_run(run);
BEGIN
	PERFORM sync_approve_where(jsonb_build_object('run_id', undo));
	PERFORM pg_temp.apply();
	RETURN undo;
END $$;
SELECT pg_temp.undo(:bad_two) AS undo_two \gset
SELECT pg_temp.undo(:bad_one) AS undo_one \gset
SELECT title FROM sync.product WHERE id = 30;
SELECT path, new_value FROM sync.refused_fields('feed', '{30}', 1000000) ORDER BY 2;
SELECT pg_temp.run() AS again \gset
SELECT * FROM pg_temp.feed(:again, '[{"id": 30, "title": "Bad two"}]');
SELECT pg_temp.run() AS again \gset
SELECT * FROM pg_temp.feed(:again, '[{"id": 30, "title": "Bad one"}]');
SELECT pg_temp.undo(:undo_one) AS redo_one \gset
SELECT path, new_value FROM sync.refused_fields('feed', '{30}', 1000000) ORDER BY 2;
SELECT pg_temp.undo(:redo_one) > 0 AS undone_again;
SELECT path, new_value FROM sync.refused_fields('feed', '{30}', 1000000) ORDER BY 2;
-- What the feed says anew ends it.
SELECT pg_temp.run() AS again \gset
SELECT * FROM pg_temp.feed(:again, '[{"id": 30, "title": "New"}]');
SELECT pg_temp.apply();
SELECT path, new_value FROM sync.refused_fields('feed', '{30}', 1000000) ORDER BY 2;

-- A variant that was renamed since has no field that could be put back: that it was changed is told, and no field is staged.
INSERT INTO sync.variant (product_id, sku, price) VALUES (30, 'R-30', 10);
SELECT pg_temp.run() AS bad \gset
SELECT staged FROM pg_temp.feed(:bad, '[{"id": 30, "title": "Bad", "variants": {"R-30": {"price": 1}}}]');
SELECT pg_temp.apply();
UPDATE sync.variant SET sku = 'R-30 new' WHERE sku = 'R-30';
SELECT sync_rollback_run(:bad) AS undo \gset
SELECT reason, flags, fields FROM pg_temp.entry e WHERE id IN (SELECT id FROM sync.staging WHERE run_id = :undo);
SELECT sync_cancel(:undo);

-- A rollback that could not be applied is tried again with its entries.
SELECT sync_rollback(8, 0) AS entry \gset
SELECT run_id AS run FROM sync.staging WHERE id = :entry \gset
SET ROLE sync_worker;
SELECT sync.run_move(:run, 'error', 'test') IS NOT NULL;
RESET ROLE;
SELECT sync_retry(:run);
DELETE FROM sync.job;
SELECT sync.run_advance(:run);
SELECT state, active FROM sync.run WHERE id = :run;

-- Anything, in any order: each product is read back as it was at each moment, from its snapshots, and backwards where there are none.
CREATE TABLE any_moment (product_id bigint, at timestamptz, document jsonb);
INSERT INTO sync.product (id, handle, title) SELECT 900 + i, 'f' || i, 'f' || i FROM generate_series(1, 5) i;
INSERT INTO sync.variant (product_id, sku, price, options) SELECT 900 + i, 'F' || i || '-' || j, i, '{"a": "b"}' FROM generate_series(1, 5) i, generate_series(1, 3) j;
DO $$
DECLARE
	p bigint;
	k text;
	edit text;
BEGIN
	PERFORM setseed(0.42);
	FOR i IN 1 .. 400 LOOP
		p := 901 + floor(random() * 5);
		k := chr(97 + floor(random() * 4)::integer);
		edit := CASE floor(random() * 10)
			WHEN 0 THEN format('UPDATE sync.product SET title = %L, tags = %L WHERE id = %s', 't' || i, CASE WHEN random() < 0.3 THEN '{}' ELSE '{x,' || k || '}' END, p)
			WHEN 1 THEN format('UPDATE sync.product SET metafields = metafields || %L WHERE id IN (%s, 903)', jsonb_build_object(k || '."x]', i), p)
			WHEN 2 THEN format('UPDATE sync.product SET metafields = metafields - %L, attributes = attributes || %L WHERE id = %s', k || '."x]', jsonb_build_object(k, ARRAY[i]), p)
			WHEN 3 THEN format('UPDATE sync.product SET vendor = %s, images = %L WHERE id = %s', CASE WHEN random() < 0.5 THEN 'NULL' ELSE quote_literal(k) END, jsonb_build_array(jsonb_build_object('src', k)), p)
			WHEN 4 THEN format('UPDATE sync.variant SET price = %s, cost = %s, options = options || %L WHERE product_id = %s', random()::numeric(5, 3), CASE WHEN random() < 0.5 THEN 'NULL' ELSE '1.50' END, jsonb_build_object(k, i), p)
			WHEN 5 THEN format('UPDATE sync.variant SET options = options - %L, weight = %s, attributes = attributes || %L WHERE product_id = %s', k, i, jsonb_build_object(k, i), p)
			WHEN 6 THEN format('INSERT INTO sync.variant (product_id, sku, price) VALUES (%s, %L, 1) ON CONFLICT DO NOTHING', p, CASE WHEN random() < 0.2 THEN 'q"][' ELSE 'N-' END || k || p)
			WHEN 7 THEN format('DELETE FROM sync.variant WHERE id = (SELECT id FROM sync.variant WHERE product_id = %s ORDER BY random() LIMIT 1)', p)
			WHEN 8 THEN format('UPDATE sync.variant SET sku = %L, price = price + 1 WHERE id = (SELECT id FROM sync.variant WHERE product_id = %s ORDER BY random() LIMIT 1)', 'R-' || i, p)
			ELSE format('UPDATE sync.variant SET product_id = %s WHERE id = (SELECT id FROM sync.variant WHERE product_id = %s ORDER BY random() LIMIT 1)', 901 + floor(random() * 5), p) END;
		EXECUTE edit;
		INSERT INTO any_moment SELECT d.product_id, clock_timestamp(), d.document FROM sync.product_documents('{901,902,903,904,905}') d;
	END LOOP;
END $$;
SELECT count(*), count(*) FILTER (WHERE sync_as_of(product_id, at) IS DISTINCT FROM document) AS wrong FROM any_moment;
UPDATE sync.product_version SET document = NULL WHERE product_id > 900;
SELECT count(*), count(*) FILTER (WHERE sync_as_of(product_id, at) IS DISTINCT FROM document) AS wrong FROM any_moment;
DROP TABLE any_moment;

-- Errors and rights --------------------------------------------------------------------------------------------------------------

SELECT sync_as_of(777);
SELECT sync_as_of(1, NULL);
SELECT * FROM sync_diff(1, 77);
SELECT * FROM sync_diff(1, 1, -1);
SELECT * FROM sync_diff(1, NULL);
SELECT * FROM sync_blame(777);
SELECT sync_rollback(777, 1);
SELECT sync_rollback(1, 77);
SELECT sync_rollback(:made, 0);
SELECT sync_rollback(1, 1, '{}');
SELECT sync_rollback(1, 1, '{title,NULL}');
SELECT sync_rollback(1, 1, '{{title},{vendor}}');
SELECT sync_rollback_run(777);
SELECT sync_rollback_run(NULL);
INSERT INTO sync.run (kind, connection, state) VALUES ('etilize', 'feed', 'matching') RETURNING id AS busy \gset
SELECT sync_rollback_run(:busy);
UPDATE sync.run SET active = false, state = 'complete' WHERE id = :busy;
SELECT sync_rollback_run(:busy);
CREATE ROLE sync_test_reader IN ROLE sync_viewer;
CREATE ROLE sync_test_runner IN ROLE sync_operator;
SET ROLE sync_test_reader;
SELECT sync_as_of(1) IS NOT NULL AS read, (SELECT count(*) > 0 FROM sync_diff(1, 2)) AS compared, (SELECT count(*) > 0 FROM sync_blame(1)) AS blamed,
	   (SELECT count(*) > 0 FROM sync.product_change) AS changes;
SELECT sync_rollback(1, 1);
SELECT sync_rollback_run(1);
SELECT sync.version_write('{1}', '{99}', 'update', NULL, NULL, 'feed', NULL, NULL, 'me');
SELECT sync.version_add('{1}', '{99}', 'update', NULL, NULL, 'feed', NULL, NULL, NULL, NULL);
SET ROLE sync_test_runner;
SELECT sync_rollback(3, 0) IS NOT NULL AS staged;
RESET ROLE;
DROP ROLE sync_test_reader, sync_test_runner;
DROP TABLE moment;
