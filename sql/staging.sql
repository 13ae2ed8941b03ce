-- Staging: what a run would change, with why; what it must not stage again; when a whole run is held.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install();
RESET client_min_messages;

INSERT INTO sync.connection (name, kind, base_url) VALUES ('feed', 'etilize', 'ftp://127.0.0.1/');
INSERT INTO sync.feed_profile (name, description) VALUES ('t', 'test');
INSERT INTO sync.feed_profile_column (profile, header, target, create_only) VALUES
	('t', 'URL handle', 'product.handle', true), ('t', 'Status', 'product.status', true), ('t', 'Weight', 'variant.weight', true),
	('t', 'Metafield: custom.fixed_*', 'product.metafields.custom.fixed_', true), ('t', 'Title', 'product.title', false);
INSERT INTO sync.product (id, handle, title, vendor, tags, metafields) VALUES
	(1, 'pen', 'Pen', 'Acme', '{a,b}', '{"custom.fixed_x": "1"}'), (2, 'desk', 'Desk', 'Acme', '{}', '{}'), (3, 'same', 'Same', 'Acme', '{}', '{}'),
	(4, 'lamp', 'Lamp', 'Lux', '{}', '{}'), (5, 'bulb', 'Bulb', 'Lux', '{}', '{}');
INSERT INTO sync.variant (id, product_id, sku, gtin, price, weight, options) VALUES
	(11, 1, 'CWS-1', '00012345678905', 1.50, 10, '{}'), (12, 2, 'CWS-2', NULL, 100, NULL, '{"Color": "Oak"}'), (13, 3, 'CWS-3', NULL, 5, NULL, '{}'),
	(14, 4, 'CWS-4', NULL, 40, NULL, '{}'), (15, 5, 'CWS-5', NULL, 5, NULL, '{}');

-- A feed: product_no, sku, title, price, more.  Rows of one product share its number.
CREATE FUNCTION pg_temp.feed(rows jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	file bigint;
	run bigint;
BEGIN
	UPDATE sync.run SET active = false;
	INSERT INTO sync.feed_file (connection, name, size, state, profile) VALUES ('feed', 'f.zip', 1, 'loaded', 't') RETURNING id INTO file;
	EXECUTE format('CREATE TABLE sync.feed_item_%s PARTITION OF sync.feed_item FOR VALUES IN (%s)', file, file);
	EXECUTE format('ALTER TABLE sync.feed_item_%s OWNER TO sync_worker', file);
	INSERT INTO sync.feed_item (id, feed_file_id, line, product_no, kind, product_key, sku, product, variant)
	SELECT file << 32 | n, file, n + 1, (r ->> 'no')::integer, CASE WHEN r ? 'product' THEN 'product' ELSE 'variant' END::sync.feed_row_kind,
		   'key' || (r ->> 'no'), r ->> 'sku', r -> 'product', coalesce(r -> 'variant', '{}') || jsonb_build_object('sku', r ->> 'sku')
	FROM jsonb_array_elements(rows) WITH ORDINALITY AS e (r, n);
	INSERT INTO sync.run (kind, connection, feed_file_id, state) VALUES ('etilize', 'feed', file, 'review_pending') RETURNING id INTO run;
	INSERT INTO sync.run_phase (run_id, state, attempt) VALUES (run, 'review_pending', 1);
	INSERT INTO sync.match_result (run_id, feed_item_id, product_no, variant_id, product_id, confidence, method, evidence)
	SELECT run, file << 32 | n, (r ->> 'no')::integer, v.id, v.product_id, (r -> 'match' ->> 1)::float8, r -> 'match' ->> 2, '{}'
	FROM jsonb_array_elements(rows) WITH ORDINALITY AS e (r, n) JOIN sync.variant v ON v.sku = r -> 'match' ->> 0;
	RETURN run;
END $$;
CREATE FUNCTION pg_temp.stage(run bigint) RETURNS TABLE (batch jsonb, finish jsonb) LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM sync.job;
	PERFORM sync.staging_begin(run);
	SELECT sync.work_stage_batch(array_agg(j.id)) INTO batch FROM sync.job j WHERE j.kind = 'stage_batch';
	finish := sync.work_stage_finish(ARRAY[sync.job_enqueue('stage_finish', run)]);
	DELETE FROM sync.job;
	RETURN NEXT;
END $$;
CREATE FUNCTION pg_temp.entries(run bigint) RETURNS TABLE (no integer, kind text, decision text, state text, confidence numeric, flags text[], reason text)
LANGUAGE sql AS $$
	SELECT product_no, s.kind::text, s.decision::text, s.state::text, round(s.confidence::numeric, 2), s.flags, s.reason
	FROM sync.staging s WHERE run_id = run ORDER BY product_no
$$;

-- One of everything.
SELECT pg_temp.feed('[
	{"no": 1, "sku": "E-1", "match": ["CWS-1", 0.99, "gtin"],
	 "product": {"title": "Ball pen", "tags": ["b", "a"], "handle": "other", "status": "active", "metafields": {"custom.fixed_x": "2"}},
	 "variant": {"price": 1.60, "weight": 11}},
	{"no": 2, "sku": "E-2", "match": ["CWS-2", 0.99, "sku"], "product": {"title": "Desk", "metafields": {"custom.wood": "oak"}},
	 "variant": {"price": 100.00, "options": {"Color": "Oak"}}},
	{"no": 2, "sku": "E-2b", "variant": {"price": 110, "options": {"Color": "Pine"}}},
	{"no": 3, "sku": "E-3", "match": ["CWS-3", 0.97, "link"], "product": {"title": "Same"}, "variant": {"price": 5.0}},
	{"no": 4, "sku": "E-4", "match": ["CWS-3", 0.31, "tokens"], "product": {"title": "New", "handle": "desk"}, "variant": {"price": 9.99}},
	{"no": 5, "sku": "E-5", "product": {"title": "Nothing like it"}, "variant": {"price": 1}},
	{"no": 6, "sku": "E-6", "match": ["CWS-4", 0.95, "tokens"], "product": {"title": "Lamp, big"}},
	{"no": 6, "sku": "E-6b", "match": ["CWS-5", 0.9, "tokens"], "variant": {"price": 6}}]') AS run \gset
SELECT * FROM pg_temp.stage(:run);
SELECT * FROM pg_temp.entries(:run);
SELECT s.product_no, f.path, f.old_value, f.new_value, f.decision, f.decided_how FROM sync.staging s JOIN sync.staging_field f ON f.staging_id = s.id
WHERE s.run_id = :run ORDER BY 1, 2;
SELECT product_no, sku, document, links FROM sync.staging WHERE run_id = :run ORDER BY 1;
SELECT connection, supplier_sku, variant_id FROM sync.variant_source ORDER BY 2;
SELECT context, held_reason FROM sync.run WHERE id = :run;
SELECT severity, kind, replace(message, :'run', 'N') AS message, details - 'run' AS details FROM sync.notification ORDER BY id;
SELECT done, total, unit FROM sync.run_phase WHERE run_id = :run;
SELECT * FROM sync.run_review_counts(:run);

-- Staging it again replaces what nobody decided, and leaves the rest.
SELECT id AS kept FROM sync.staging WHERE run_id = :run AND product_no = 1 \gset
SELECT * FROM pg_temp.stage(:run);
SELECT count(*), bool_or(id = :kept) AS decided_one_is_still_there FROM sync.staging WHERE run_id = :run;

-- A person says no to two of these; the next run does not ask again, except where the value is another.
UPDATE sync.staging SET decision = 'rejected' WHERE run_id = :run AND product_no IN (2, 4, 5);
SELECT pg_temp.feed('[
	{"no": 1, "sku": "E-4", "product": {"title": "New", "handle": "desk"}, "variant": {"price": 9.99}},
	{"no": 2, "sku": "E-5", "product": {"title": "Nothing like it"}, "variant": {"price": 2}},
	{"no": 3, "sku": "E-2", "match": ["CWS-2", 0.99, "sku"], "product": {"metafields": {"custom.wood": "oak"}}},
	{"no": 3, "sku": "E-2b", "variant": {"price": 111, "options": {"Color": "Pine"}}},
	{"no": 4, "sku": "E-6", "match": ["CWS-4", 0.95, "tokens"], "product": {"title": "Lamp"}}]') AS second \gset
SELECT * FROM pg_temp.stage(:second);
SELECT * FROM pg_temp.entries(:second);
SELECT path, new_value FROM sync.staging_field f JOIN sync.staging s ON s.id = f.staging_id WHERE s.run_id = :second ORDER BY path;
-- The lamp is as it should be again: its older entry needs no decision any more.
SELECT product_no, state FROM sync.staging WHERE run_id = :run ORDER BY 1;

-- Two products of the feed that claim the same one, in different batches; and products that the ERP does not know or sell.
UPDATE sync.connection SET settings = '{"stage_batch_products": 1}';
SELECT pg_temp.feed('[
	{"no": 1, "sku": "E-6", "match": ["CWS-4", 0.99, "gtin"], "product": {"title": "Lamp"}},
	{"no": 2, "sku": "E-7", "match": ["CWS-4", 0.98, "gtin"], "product": {"title": "Lamp 2"}},
	{"no": 3, "sku": "E-3", "match": ["CWS-3", 0.99, "gtin"], "product": {"title": "Same, unknown"}},
	{"no": 4, "sku": "E-8", "match": ["CWS-5", 0.99, "gtin"], "product": {"title": "Bulb, inactive"}}]') AS third \gset
INSERT INTO sync.validation (run_id, feed_item_id, product_no, sku, status)
SELECT :third, i.id, i.product_no, i.sku, CASE i.product_no WHEN 3 THEN 'unknown' ELSE 'inactive' END
FROM sync.feed_item i JOIN sync.run r ON r.feed_file_id = i.feed_file_id AND r.id = :third WHERE i.product_no > 2;
SELECT * FROM pg_temp.stage(:third);
SELECT * FROM pg_temp.entries(:third);
UPDATE sync.connection SET settings = '{"unknown_products": "skip"}';
SELECT * FROM pg_temp.stage(:third);
SELECT no, flags FROM pg_temp.entries(:third);

-- What was staged as new and has come into the catalogue since is new no more.
UPDATE sync.connection SET settings = '{}';
SELECT pg_temp.feed('[{"no": 1, "sku": "E-20", "product": {"title": "Soon here"}}]') AS early \gset
SELECT * FROM pg_temp.stage(:early);
SELECT pg_temp.feed('[{"no": 1, "sku": "E-20", "match": ["CWS-5", 0.9, "sku"], "product": {"title": "Bulb"}}]') AS late \gset
SELECT * FROM pg_temp.stage(:late);
SELECT no, kind, state FROM pg_temp.entries(:early);

-- Too much of the catalogue at a time: nothing is approved by itself until a person lets the run go on.
UPDATE sync.connection SET settings = '{"max_change_minimum": 1}';
SELECT pg_temp.feed('[
	{"no": 1, "sku": "E-1", "match": ["CWS-1", 0.99, "gtin"], "product": {"title": "Wrong"}},
	{"no": 2, "sku": "E-2", "match": ["CWS-2", 0.95, "gtin"], "product": {"title": "Wrong"}},
	{"no": 3, "sku": "E-3", "match": ["CWS-3", 0.9500001, "gtin"], "product": {"title": "Wrong"}}]') AS fourth \gset
SELECT * FROM pg_temp.stage(:fourth);
SELECT no, decision FROM pg_temp.entries(:fourth);
SELECT held_reason, context FROM sync.run WHERE id = :fourth;
SELECT severity, kind, replace(message, :'fourth', 'N') AS message FROM sync.notification WHERE run_id = :fourth ORDER BY id;
SELECT sync_release(:fourth);
-- Exactly at the threshold is not above it.
SELECT no, decision FROM pg_temp.entries(:fourth);
SELECT kind, run_id = :fourth AS of_this_run FROM sync.job;
SELECT sync_release(:fourth);
SELECT sync_release(0);

-- Creations by themselves, where a setting says so.
UPDATE sync.connection SET settings = '{"auto_approve_creates": true}';
SELECT pg_temp.feed('[{"no": 1, "sku": "E-9", "product": {"title": "Sure"}}, {"no": 2, "sku": "E-10", "match": ["CWS-1", 0.3, "tokens"], "product": {"title": "Unsure"}}]') AS fifth \gset
SELECT * FROM pg_temp.stage(:fifth);
SELECT * FROM pg_temp.entries(:fifth);

-- A SKU that another product has is said so before anybody approves what cannot be applied.
SELECT pg_temp.feed('[{"no": 1, "sku": "CWS-5", "product": {"title": "Not a bulb"}},
	{"no": 2, "sku": "CWS-1", "match": ["CWS-1", 0.99, "sku"]}, {"no": 2, "sku": "CWS-2", "variant": {"price": 1}}, {"no": 2, "sku": "E-new"}]') AS sixth \gset
SELECT * FROM pg_temp.stage(:sixth);
SELECT * FROM pg_temp.entries(:sixth);

-- Realtime, where Supabase is.
SET client_min_messages = error;
CREATE PUBLICATION supabase_realtime;
RESET client_min_messages;
SELECT sync_install();
SELECT sync.publish_realtime();
SELECT tablename FROM pg_publication_tables WHERE pubname = 'supabase_realtime' ORDER BY 1;
DROP PUBLICATION supabase_realtime;
