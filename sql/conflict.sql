-- Conflicts as a queue for people, and locks on fields.
\set ECHO none
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
\pset format unaligned
\pset footer off
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install() IS NOT NULL AS installed;
SET application_name = 'test';
INSERT INTO sync.connection (name, kind, base_url) VALUES ('shop', 'shopify', 'https://shop.test/'), ('feed', 'etilize', 'ftp://127.0.0.1/');
INSERT INTO sync.product (id, title, vendor) SELECT g, 'Product ' || g, 'V' || g % 2 FROM generate_series(1, 6) g;
INSERT INTO sync.variant (id, product_id, sku, price) SELECT g, g, 'S-' || g, 100 FROM generate_series(1, 6) g;
SET ROLE sync_worker;
INSERT INTO sync.run (kind, connection, state) VALUES ('shopify_down', 'shop', 'staging_creation') RETURNING id AS run \gset
INSERT INTO sync.shopify_product (connection, remote_id, document, remote_updated_at, merge_due) SELECT 'shop', g + 100, '{}', now(), false FROM generate_series(1, 6) g;
INSERT INTO sync.product_listing (connection, product_id, remote_id) SELECT 'shop', g, g + 100 FROM generate_series(1, 6) g;
INSERT INTO sync.shopify_location (connection, remote_id, name) VALUES ('shop', 7, 'Main street');
SELECT set_config('test.run', :'run', false) AS run \gset
-- What a merge hands over: product, path, catalogue's, shop's and base value.
CREATE FUNCTION pg_temp.found(VARIADIC text[]) RETURNS jsonb LANGUAGE sql AS $$
	SELECT sync.conflict_open(current_setting('test.run')::bigint, 'shop',
		ARRAY(SELECT ROW(w[1]::bigint, CASE WHEN w[2] LIKE 'variants%' THEN w[1]::bigint END, substring(w[2] FROM 'stock\[(\d+)\]')::bigint, w[2],
						 CASE WHEN w[2] LIKE '%price' THEN 'price' WHEN w[2] LIKE '%stock%' THEN 'inventory' ELSE 'other' END,
						 w[3]::jsonb, w[4]::jsonb, w[5]::jsonb, 'a_rule', 'because')::sync.conflict_row
			  FROM unnest($1) s, string_to_array(s, '|', '') w))
$$;
CREATE FUNCTION pg_temp.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN SQLSTATE || ' ' || SQLERRM || coalesce(' / ' || nullif(hint, ''), '');
END
$$;
RESET ROLE;
CREATE VIEW pg_temp.queue AS
	SELECT id, product_id, path, local_value AS local, shopify_value AS shop, state, choice, custom_value AS custom, decided_by = session_user AS by_me,
		   decided_how, closed_at IS NOT NULL AS closed FROM sync.conflict ORDER BY id;
\set ECHO all

-- A field is in the queue once; where the values move on, the old row says so and a new one takes its place.
SET ROLE sync_worker;
SELECT pg_temp.found('1|variants[S-1].price|100|110|90', '1|title|"A"|"B"|', '2|variants[S-2].price|100|120|90', '3|variants[S-3].price|100|200|90',
	'4|tags|["a"]|["b"]|[]', '5|variants[S-5].stock[7]|5|50|10', '6|variants[S-6]|{}||{}');
SELECT pg_temp.found('1|variants[S-1].price|100|110.0|90', '1|title|"A"|"B"|', '2|variants[S-2].price|100|125|90');
SELECT pg_temp.found('1|title|"A"|"B"|', '1|title|"A"|"B"|');
RESET ROLE;
SELECT * FROM pg_temp.queue;
SELECT product, sku, label, local, shopify, base, difference, percent, rule, reason, shopify_product_id, shopify_url FROM sync.conflicts WHERE state = 'open' ORDER BY id;

-- People set choice, and nothing else; who and how is recorded, and the merge is woken.
UPDATE sync.conflict SET choice = 'shopify' WHERE id = 2;
UPDATE sync.conflict SET choice = 'custom', custom_value = '"C"', note = 'between us' WHERE id = 1;
SELECT * FROM pg_temp.queue WHERE id <= 2;
SELECT remote_id FROM sync.shopify_product WHERE merge_due;
SELECT kind, payload FROM sync.job;
SELECT pg_temp.try('UPDATE sync.conflict SET local_value = ''1'' WHERE id = 1');
SELECT pg_temp.try('UPDATE sync.conflict SET state = ''applied'' WHERE id = 1');
SELECT pg_temp.try('UPDATE sync.conflict SET decided_by = ''me'', choice = ''local'' WHERE id = 1');
-- They change their mind, as long as it is not carried out.
UPDATE sync.conflict SET choice = NULL WHERE id = 2;
UPDATE sync.conflict SET choice = 'local' WHERE id = 1;
SELECT * FROM pg_temp.queue WHERE id <= 2;
-- What was decided, and then changes, is asked again.
SET ROLE sync_worker;
SELECT pg_temp.found('1|title|"A"|"D"|');
RESET ROLE;
SELECT * FROM pg_temp.queue WHERE path = 'title';
SELECT pg_temp.try('UPDATE sync.conflict SET choice = ''shopify'' WHERE id = 1');
UPDATE sync.conflict SET note = 'it was late' WHERE id = 1;

-- A value of one's own must fit the field.
SELECT pg_temp.try(format('SELECT sync_resolve(%s, ''custom'', %L)', id, v))
FROM sync.conflict, unnest(ARRAY[NULL, 'null', '"9"', '-1', '1e10', '1.23456', '[1]', '12.5']) v WHERE path = 'variants[S-1].price' AND state = 'open';
SELECT pg_temp.try(format('SELECT sync_resolve(%s, ''custom'', %L)', id, v))
FROM sync.conflict, unnest(ARRAY['1.5', '-3', '99999999999', '0']) v WHERE path LIKE '%stock%' AND state = 'open';
SELECT pg_temp.try(format('SELECT sync_resolve(%s, ''custom'', %L)', id, v))
FROM sync.conflict, unnest(ARRAY['"a"', '[1]', '{}', '["x", "y"]', 'null']) v WHERE path = 'tags' AND state = 'open';
SELECT pg_temp.try(format('SELECT sync_resolve(%s, ''custom'', %L)', id, v))
FROM sync.conflict, unnest(ARRAY['null', '" "', '5', '"E"']) v WHERE path = 'title' AND state = 'open';
SELECT pg_temp.try(format('SELECT sync_resolve(%s, ''custom'', ''{}'')', id)) FROM sync.conflict WHERE path = 'variants[S-6]';
SELECT sync.field_value_problem(p, v) FROM (VALUES ('images', '[{"alt": "x"}]'::jsonb), ('images', '[{"src": "https://x/"}]'), ('status', '"sold"'),
	('status', '"draft"'), ('metafields.custom.a', '{"a": 1}'), ('variants["A]B"].price', '1'), ('variants[A].options.Color', '3')) x (p, v);

-- By call.
SELECT pg_temp.try('SELECT sync_resolve(99999, ''local'')');
SELECT pg_temp.try('SELECT sync_resolve(NULL, ''local'')');
SELECT pg_temp.try('SELECT sync_resolve(1, ''ours'')');
SELECT pg_temp.try('SELECT sync_resolve(1, ''local'', ''5'')');
SELECT pg_temp.try('SELECT sync_resolve(1, ''local'')');
SELECT sync_resolve(2, 'local', note => 'ours is right');
SELECT choice, state, note FROM sync.conflict WHERE id = 2;
SELECT count(sync_resolve(id, NULL)) FROM sync.conflict WHERE state = 'resolved';
SELECT id, path, state FROM sync.conflict WHERE state IN ('open', 'resolved') ORDER BY id;

-- Many alike at once, counted first.
SELECT sync_resolve_where('{"field": "price", "max_difference": 0.25}', 'shopify', dry_run => true);
SELECT sync_resolve_where('{"field": "price", "max_difference": 0.1}', 'shopify', dry_run => true);
SELECT sync_resolve_where('{"min_difference": 0.5}', 'shopify', dry_run => true);
SELECT sync_resolve_where('{"path": "variants[*].price", "vendor": "V1"}', 'shopify', dry_run => true);
SELECT sync_resolve_where('{"rule": "a_rule", "created_before": "2000-01-01"}', 'shopify', dry_run => true);
SELECT sync_resolve_where(format('{"connection": "shop", "run_id": %s, "product_id": 1, "sku": "S-%%"}', :'run')::jsonb, 'shopify', dry_run => true);
SELECT sync_resolve_where('{"field": "price", "max_difference": 0.25}', 'shopify', 'small enough');
SELECT * FROM pg_temp.queue WHERE state = 'resolved';
SELECT pg_temp.try(s) FROM unnest(ARRAY[
	$$SELECT sync_resolve_where('{}', 'local')$$,
	$$SELECT sync_resolve_where(NULL, 'local')$$,
	$$SELECT sync_resolve_where('{"title": "x"}', 'local')$$,
	$$SELECT sync_resolve_where('{"path": 5}', 'local')$$,
	$$SELECT sync_resolve_where('{"product_id": 1.5}', 'local')$$,
	$$SELECT sync_resolve_where('{"product_id": 1e20}', 'local')$$,
	$$SELECT sync_resolve_where('{"created_before": "soon"}', 'local')$$,
	$$SELECT sync_resolve_where('{"field": "x'' OR true --"}', 'local')$$,
	$$SELECT sync_resolve_where('{"field": "price"}', 'custom')$$,
	$$SELECT sync_resolve_where('{"field": "price"}', NULL)$$,
	$$SELECT sync_resolve_where('{"field": "price"}', 'local', NULL, NULL)$$]) s;

-- One notification of a run, whatever it opened; what is no longer in conflict is over.
SET ROLE sync_worker;
SELECT sync.conflicts_notify(:run);
SELECT message, details FROM sync.notification WHERE kind = 'conflicts_open';
SELECT sync.shop_conflicts(:run, 'shop', '{3,4}', ARRAY(
	SELECT ROW(product_id, path, base_value, local_value, shopify_value, 'both', 'manual', NULL, rule, reason, NULL, NULL)::sync.merge_field
	FROM sync.conflict WHERE product_id = 4 AND path = 'tags' AND state = 'open'));
SELECT id, path, state, closed_at IS NOT NULL AS closed FROM sync.conflict WHERE product_id IN (3, 4) ORDER BY id;
UPDATE sync.shopify_product SET merge_due = false;
SELECT sync.conflicts_due('shop');
SELECT remote_id FROM sync.shopify_product WHERE merge_due ORDER BY 1;
-- What is over is kept for its time, what is open for ever.
UPDATE sync.conflict SET created_at = now() - interval '3 years', closed_at = CASE WHEN closed_at IS NOT NULL THEN now() - interval '2 years' END;
SELECT sync.housekeep_rows();
SELECT state, count(*) FROM sync.conflict GROUP BY 1 ORDER BY 1;
RESET ROLE;

-- Who may: a viewer looks, an approver decides and nothing else.
CREATE ROLE conflict_viewer; CREATE ROLE conflict_approver;
GRANT sync_viewer TO conflict_viewer;
GRANT sync_approver TO conflict_approver;
SET ROLE conflict_viewer;
SELECT count(*) FROM sync.conflicts WHERE state = 'open';
SELECT pg_temp.try('UPDATE sync.conflict SET choice = ''local''');
SELECT pg_temp.try('SELECT sync_resolve(1, ''local'')');
SELECT pg_temp.try('SELECT sync_lock(1)');
SET ROLE conflict_approver;
SELECT pg_temp.try(format('SELECT sync_resolve(%s, ''local'')', (SELECT min(id) FROM sync.conflict WHERE path = 'tags')));
SELECT sync_resolve_where('{"product_id": 5}', 'shopify');
SELECT sync_resolve_where('{"product_id": 5}', 'shopify');
SELECT pg_temp.try('UPDATE sync.conflict SET path = ''x''');
SELECT pg_temp.try('DELETE FROM sync.conflict');
SELECT sync_lock(1, 'title', 'ours'), sync_lock(1, 'variants[*].price'), sync_lock(2), sync_lock(1, 'title');
SELECT sync_unlock(2), sync_unlock(2), sync_unlock(1, 'variants[S-1].price');
RESET ROLE;
SELECT product_id, path, kind, reason, created_by = session_user AS by_me FROM sync.field_lock ORDER BY id;
SELECT product_id, pattern, kind FROM sync.locked('{1,2}') ORDER BY 2;

-- Locks on what is no field are refused.
SELECT p, pg_temp.try(format('SELECT sync_lock(3, %L)', p)) LIKE 'done' AS good FROM unnest(ARRAY['*', 'title', 'metafields.*', 'metafields.custom.A_B', 'attributes.seo_title',
	'variants[*]', 'variants[*].*', 'variants[S-3].price', 'variants["A]B"].options.Color', 'variants[*].stock[*]', 'variants[S-3].stock[7]', 'variants[CWS*', 'variants[*].opt*']) p;
SELECT left(p, 20) AS p, left(pg_temp.try(format('SELECT sync_lock(3, %L)', p)), 60) AS error FROM unnest(ARRAY['', 'Title', 'price', 'variants.price', 'variants[*].prize', 'title.x', 'variants[S-3].stock[x]', '%', repeat('variants[', 200)]) p;
SELECT pg_temp.try('SELECT sync_lock(99)');
SELECT pg_temp.try('INSERT INTO sync.field_lock (product_id, path, kind) VALUES (4, ''title'', ''freeze'')');
SELECT sync_unlock(3);

-- A lock keeps a feed from staging the field, and what was approved before from being applied; other fields go on.
SET ROLE sync_worker;
INSERT INTO sync.run (kind, connection, state, active) VALUES ('etilize', 'feed', 'staging_creation', false) RETURNING id AS feed \gset
SELECT u.* FROM sync.stage_updates(:feed, 'feed', ARRAY[
	ROW(1, NULL, 'S-1', 'x', '{"title": "New 1", "vendor": "W", "variants": {"S-1": {"price": 77}}}', 1, 0.9, 'sku', '{}', '{}', '{}', NULL, 0.9)::sync.staged,
	ROW(2, NULL, 'S-2', 'x', '{"title": "New 2", "variants": {"S-2": {"price": 78}}}', 2, 0.9, 'sku', '{}', '{}', '{}', NULL, 0.9)::sync.staged], '{}') u;
SELECT s.product_id, s.reason, f.path, f.new_value FROM sync.staging s JOIN sync.staging_field f ON f.staging_id = s.id ORDER BY f.id;
RESET ROLE;
SELECT sync_lock(2, 'variants[*].price', 'a promotion');
UPDATE sync.staging SET decision = 'approved';
SET ROLE sync_worker;
SELECT sync.apply_run(:feed);
SELECT product_id, state, decision, reason, flags FROM sync.staging ORDER BY id;
SELECT id, title, vendor FROM sync.product WHERE id < 3 ORDER BY id;
RESET ROLE;
UPDATE sync.staging_field SET decision = 'rejected' WHERE path = 'variants[S-2].price';
UPDATE sync.staging_field SET decision = 'approved' WHERE decision = 'pending';
SET ROLE sync_worker;
SELECT sync.apply_run(:feed);
SELECT p.title, trim_scale(v.price) AS price FROM sync.product p JOIN sync.variant v ON v.product_id = p.id WHERE p.id = 2;
RESET ROLE;

-- While the extension is away, choices are kept.
SET ROLE sync_worker;
SELECT pg_temp.found('4|vendor|"a"|"b"|');
RESET ROLE;
SET client_min_messages = error;
DROP EXTENSION product_sync CASCADE;
UPDATE sync.conflict SET choice = 'local' WHERE path = 'vendor';
SELECT state, choice FROM sync.conflict WHERE path = 'vendor';
SELECT count(*) > 0 AS readable FROM sync.conflicts;
DROP ROLE conflict_viewer; DROP ROLE conflict_approver;
