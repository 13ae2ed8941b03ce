-- Reading a shop into its mirror, with a shop in a table: pages, cursors, single products, deletions, what is believed and what is not.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install();
\set SHOW_CONTEXT never
INSERT INTO sync.connection (name, kind, base_url, secret_ref, settings)
VALUES ('shop', 'shopify', 'https://shop.example/', 'file:shop', '{"shopify_page_size": "3", "overlap": "10 seconds"}');

-- The shop: products with as many variants, at times of the last weeks.  What its search index has not seen yet is not found by a page.
CREATE TABLE item (id bigint PRIMARY KEY, title text NOT NULL, at timestamptz NOT NULL, indexed_at timestamptz, variants integer NOT NULL DEFAULT 1, stock integer NOT NULL DEFAULT 5);
CREATE TABLE event (id serial, subject text, at timestamptz NOT NULL DEFAULT date_trunc('second', now()));
CREATE TABLE once (id serial, pattern text, result jsonb DEFAULT '{"ok": true, "status": 200}', body text);
CREATE TABLE asked (id serial, kind text, body jsonb);
CREATE TABLE beginning AS SELECT date_trunc('second', now()) - interval '1 day' AS at;
CREATE FUNCTION moment(seconds float8) RETURNS timestamptz LANGUAGE sql AS $$ SELECT at + make_interval(secs => seconds) FROM beginning $$;
CREATE FUNCTION shown(at timestamptz) RETURNS text LANGUAGE sql AS $$ SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') $$;
CREATE FUNCTION gid(kind text, id bigint) RETURNS text LANGUAGE sql AS $$ SELECT format('gid://shopify/%s/%s', kind, id) $$;
CREATE FUNCTION node(i item, first_variant integer, most integer) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('id', gid('Product', i.id), 'handle', 'p-' || i.id, 'title', i.title, 'descriptionHtml', '', 'vendor', 'Acme', 'productType', '',
		'tags', '[]'::jsonb, 'status', 'ACTIVE', 'updatedAt', shown(i.at), 'seo', jsonb_build_object('title', NULL, 'description', NULL),
		'media', '{"nodes": [], "pageInfo": {"hasNextPage": false}}'::jsonb, 'metafields', '{"nodes": [], "pageInfo": {"hasNextPage": false}}'::jsonb,
		'variants', jsonb_build_object('nodes', coalesce((SELECT jsonb_agg(jsonb_build_object('id', gid('ProductVariant', i.id * 1000 + n), 'sku', format('S-%s-%s', i.id, n),
				'barcode', NULL, 'price', '9.50', 'compareAtPrice', NULL, 'position', n, 'inventoryPolicy', 'DENY', 'selectedOptions', '[]'::jsonb,
				'inventoryItem', jsonb_build_object('id', gid('InventoryItem', i.id * 1000 + n), 'tracked', true, 'unitCost', NULL, 'measurement', NULL,
					'inventoryLevels', jsonb_build_object('nodes', jsonb_build_array(jsonb_build_object('id', gid('InventoryLevel', i.id) || '?inventory_item_id=' || i.id * 1000 + n,
						'location', jsonb_build_object('id', gid('Location', 1)), 'quantities', jsonb_build_array(jsonb_build_object('name', 'available', 'quantity', i.stock, 'updatedAt', shown(i.at))))),
						'pageInfo', '{"hasNextPage": false}'::jsonb))) ORDER BY n)
				FROM generate_series(first_variant, least(i.variants, first_variant + most - 1)) n), '[]'),
			'pageInfo', jsonb_build_object('hasNextPage', i.variants >= first_variant + most, 'endCursor', (first_variant + most)::text)))
$$;
CREATE FUNCTION answer(body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	query text := body ->> 'query';
	v jsonb := body -> 'variables';
	since timestamptz := substring(v ->> 'query' FROM 'updated_at:>=''([^'']*)''');
	data jsonb;
BEGIN
	IF query LIKE '%productsCount%' THEN
		data := jsonb_build_object('shop', '{"id": "gid://shopify/Shop/1", "currencyCode": "CAD", "myshopifyDomain": "shop.myshopify.com"}'::jsonb,
			'currentAppInstallation', '{"accessScopes": [{"handle": "write_products"}, {"handle": "read_inventory"}, {"handle": "read_locations"}]}'::jsonb,
			'locations', '{"nodes": [{"id": "gid://shopify/Location/1", "name": "Main", "isActive": true}], "pageInfo": {"hasNextPage": false}}'::jsonb)
			|| CASE WHEN (v ->> 'delta')::boolean THEN jsonb_build_object('productsCount', jsonb_build_object('count', (SELECT count(*) FROM item i WHERE coalesce(i.indexed_at, i.at) >= since))) ELSE '{}' END;
	ELSIF query LIKE '%products(%' THEN
		SELECT jsonb_build_object('products', jsonb_build_object('nodes', coalesce(jsonb_agg(node(f.i, 1, (v ->> 'variants')::integer) ORDER BY f.no) FILTER (WHERE f.no <= (v ->> 'first')::integer), '[]'),
			'pageInfo', jsonb_build_object('hasNextPage', count(*) > (v ->> 'first')::integer,
				'endCursor', max(shown(coalesce((f.i).indexed_at, (f.i).at)) || '/' || (f.i).id) FILTER (WHERE f.no = (v ->> 'first')::integer)))) INTO data
		FROM (SELECT i, row_number() OVER (ORDER BY coalesce(i.indexed_at, i.at), i.id) AS no FROM item i
			  WHERE coalesce(i.indexed_at, i.at) >= since
				AND (v ->> 'after' IS NULL OR (coalesce(i.indexed_at, i.at), i.id) > (split_part(v ->> 'after', '/', 1)::timestamptz, split_part(v ->> 'after', '/', 2)::bigint))
			  ORDER BY coalesce(i.indexed_at, i.at), i.id LIMIT (v ->> 'first')::integer + 1) f;
	ELSIF query LIKE '%product(%' THEN
		data := jsonb_build_object('product', (SELECT node(i, coalesce((v ->> 'variantsAfter')::integer, 1), (v ->> 'variants')::integer) FROM item i WHERE gid('Product', i.id) = v ->> 'id'));
	ELSIF query LIKE '%events(%' THEN
		data := jsonb_build_object('events', jsonb_build_object('nodes', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', gid('BasicEvent', e.id), 'createdAt', shown(e.at), 'subjectId', e.subject,
			'subjectType', 'PRODUCT', 'action', 'destroy') ORDER BY e.id), '[]') FROM event e), 'pageInfo', '{"hasNextPage": false, "endCursor": null}'::jsonb));
	END IF;
	RETURN jsonb_build_object('data', data, 'extensions', '{"cost": {"requestedQueryCost": 10, "actualQueryCost": 5, "throttleStatus": {"maximumAvailable": 2000.0, "currentlyAvailable": 1995, "restoreRate": 100.0}}}'::jsonb);
END
$$;

-- Works on the shop's jobs until there are none or so many were done, as the engine does, one at a time and without waiting.  What the
-- merge would do is left out: a run that gets so far is ended.
CREATE FUNCTION work(most integer DEFAULT 200) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	me constant integer := sync.worker_register();
	claimed record;
	asking record;
	given record;
	taken integer := 0;
BEGIN
	WHILE taken < most LOOP
		DELETE FROM sync.job j WHERE j.kind IN ('shopify_match', 'shopify_merge', 'shopify_stock_merge', 'shopify_webhooks', 'shopify_merge_start');
		PERFORM sync_cancel(r.id) FROM sync.run r WHERE r.active AND r.state IN ('matching', 'staging_creation');
		UPDATE sync.job SET run_at = now() - interval '1 minute';
		SELECT array_agg(c.job_id) AS ids, min(c.kind) AS kind, bool_or(c.network) AS network INTO claimed FROM sync.worker_claim(me, 1, NULL, '1 minute') c;
		EXIT WHEN claimed.ids IS NULL;
		taken := taken + 1;
		IF NOT claimed.network THEN
			PERFORM sync.worker_run(me, claimed.kind, claimed.ids);
			CONTINUE;
		END IF;
		FOR asking IN SELECT * FROM sync.worker_request(me, claimed.kind, claimed.ids) LOOP
			INSERT INTO asked (kind, body) VALUES (claimed.kind, (asking.request ->> 'body')::jsonb);
			DELETE FROM once WHERE id = (SELECT min(id) FROM once WHERE asking.request ->> 'body' LIKE pattern) RETURNING * INTO given;
			IF FOUND THEN
				PERFORM sync.worker_respond(me, claimed.kind, ARRAY[asking.job_id], ARRAY[given.result], ARRAY[convert_to(given.body, 'UTF8')]);
			ELSE
				PERFORM sync.worker_respond(me, claimed.kind, ARRAY[asking.job_id], ARRAY['{"ok": true, "status": 200}'::jsonb],
											ARRAY[convert_to(answer((asking.request ->> 'body')::jsonb)::text, 'UTF8')]);
			END IF;
		END LOOP;
	END LOOP;
	PERFORM pg_advisory_unlock(sync.owner_lock_class(), me);
	RETURN coalesce((SELECT r.state || coalesce(': ' || (r.last_error ->> 'message'), '') FROM sync.run r ORDER BY r.id DESC LIMIT 1), 'no run');
END
$$;
-- A whole reading of some time ago, as if by a bulk operation.
CREATE FUNCTION read_before(at timestamptz) RETURNS void LANGUAGE sql AS $$
	INSERT INTO sync.shopify_crawl (connection, mode, complete, started_at, finished_at, watermark, events_since) VALUES ('shop', 'full', true, at, now() - interval '1 hour', at, at)
$$;
CREATE VIEW mirror AS SELECT m.remote_id AS id, m.document ->> 'title' AS title, m.gone_since IS NOT NULL AS gone, m.gone_evidence AS evidence, m.merge_due AS due,
	(SELECT count(*) FROM jsonb_object_keys(m.document -> 'variants')) AS variants, (SELECT sum(s.available) FROM sync.shopify_stock s WHERE s.inventory_item_id / 1000 = m.remote_id) AS stock
	FROM sync.shopify_product m;
CREATE VIEW reading AS SELECT c.id, c.mode, c.pages, c.products, c.changed, c.rejected, c.complete, c.watermark - moment(0) AS watermark, cardinality(c.wanted) AS wanted, c.error FROM sync.shopify_crawl c;

-- Changed products, page by page, in the order of time; equal times do not hide one another.
INSERT INTO item (id, title, at) SELECT n, 'Item ' || n, moment(n / 4) FROM generate_series(1, 10) n;
SELECT read_before(moment(-100));
SELECT sync_run_shopify_down();
SELECT work();
SELECT * FROM mirror ORDER BY id;
SELECT * FROM reading;
SELECT kind, count(*), min(body #>> '{variables,first}') AS first FROM asked GROUP BY kind ORDER BY kind;
SELECT shop_id, domain, currency, scopes FROM sync.shopify_shop;
SELECT remote_id, name, active FROM sync.shopify_location;
SELECT document FROM sync.shopify_product WHERE remote_id = 1;
SELECT variants FROM sync.shopify_product WHERE remote_id = 1;

-- Again: nothing changed, nothing is due, the watermark stays; the last seconds are read again.
UPDATE sync.shopify_product SET merge_due = false;
TRUNCATE asked;
SELECT sync_run_shopify_down('delta') IS NOT NULL;
SELECT work();
SELECT count(*) FROM mirror WHERE due;
SELECT * FROM reading ORDER BY id DESC LIMIT 1;

-- A change that the index shows late, behind the watermark but within the overlap, is found; stock alone makes a product due too.
INSERT INTO item (id, title, at) VALUES (11, 'Late', moment(1));
UPDATE item SET stock = 7, at = moment(3) WHERE id = 8;
SELECT sync_run_shopify_down('delta') IS NOT NULL;
SELECT work();
SELECT * FROM mirror WHERE due OR stock <> 5 ORDER BY id;
DELETE FROM item WHERE id = 11;
DELETE FROM sync.shopify_product WHERE remote_id = 11;

-- Only what is not older than what is there is written; of equal times what was read later counts.
SELECT w.* FROM (VALUES (1, moment(50), 'newer'), (2, moment(40), 'older'), (3, moment(50), 'same time')) v (no, at, title),
	sync.shopify_mirror_write('shop', NULL, clock_timestamp(), ARRAY[99], ARRAY[v.at], ARRAY[jsonb_build_object('title', v.title)], ARRAY['{}'::jsonb], ARRAY['{}'::jsonb]) w;
SELECT title FROM mirror WHERE id = 99;
SELECT w.* FROM sync.shopify_mirror_write('shop', NULL, now() - interval '1 hour', ARRAY[99], ARRAY[moment(50)], ARRAY['{"title": "same time, read before"}'::jsonb], ARRAY['{}'::jsonb], ARRAY['{}'::jsonb]) w;
SELECT sync.shopify_gone('shop', ARRAY[99], 'event');
SELECT w.* FROM sync.shopify_mirror_write('shop', NULL, now() - interval '1 hour', ARRAY[99], ARRAY[moment(60)], ARRAY['{"title": "from before it went"}'::jsonb], ARRAY['{}'::jsonb], ARRAY['{}'::jsonb]) w;
SELECT title, gone, evidence FROM mirror WHERE id = 99;
DELETE FROM sync.shopify_product WHERE remote_id = 99;
-- Two answers of one second that were under way together: the product is asked for again.
SELECT w.seen, w.written FROM sync.shopify_nodes_write('shop', NULL, now() - interval '1 minute', (SELECT jsonb_build_array(jsonb_set(node(i, 1, 20), '{title}', '"Of the same second"')) FROM item i WHERE id = 2)) w;
SELECT kind, key FROM sync.job WHERE key LIKE 'shop/%';
DELETE FROM sync.job;
-- The stock of an item is all of it: a location that is not among its levels any more has none.
SELECT sync.shopify_stock_write('shop', ARRAY['{"1001": {"1": {"available": 3, "updated_at": "2030-01-01T00:00:00Z"}, "2": {"available": 4}}}'::jsonb]);
SELECT sync.shopify_stock_write('shop', ARRAY['{"1001": {"1": {"available": 9, "updated_at": "2029-01-01T00:00:00Z"}}}'::jsonb]);
SELECT location_id, available FROM sync.shopify_stock WHERE inventory_item_id = 1001;

-- Cut off in the middle, the reading goes on at its cursor; what was read is not asked for again.
UPDATE item SET title = title || '!', at = moment(20 + id);
SELECT sync_run_shopify_down('delta') AS run \gset
TRUNCATE asked;
SELECT work(3);
SELECT sync_cancel(:run);
SELECT * FROM reading ORDER BY id DESC LIMIT 1;
SELECT sync_run_shopify_down() IS NOT NULL;
SELECT work();
SELECT count(*) FROM mirror WHERE title LIKE '%!';
SELECT * FROM reading ORDER BY id DESC LIMIT 1;
SELECT kind, count(*) FROM asked GROUP BY kind ORDER BY kind;
-- A reading that is too old is not gone on with.
UPDATE item SET at = moment(50 + id);
SELECT sync_run_shopify_down('delta') AS run \gset
SELECT work(3);
SELECT sync_cancel(:run);
UPDATE sync.shopify_crawl SET started_at = now() - interval '1 day' WHERE finished_at IS NULL;
SELECT sync_run_shopify_down() IS NOT NULL;
SELECT work();
SELECT pages, products, complete, error FROM reading ORDER BY id DESC LIMIT 2;

-- Too dear: a smaller page; throttled: no attempt; a page that cannot be gathered: smaller too.
INSERT INTO once (pattern, body) VALUES ('%products(%', '{"errors": [{"message": "too dear", "extensions": {"code": "MAX_COST_EXCEEDED"}}]}'),
	('%products(%', '{"errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}]}');
UPDATE item SET at = moment(100 + id);
TRUNCATE asked;
SELECT sync_run_shopify_down('delta') IS NOT NULL;
SELECT work();
SELECT body #>> '{variables,first}' AS first, count(*) FROM asked WHERE kind = 'shopify_page' GROUP BY 1 ORDER BY 1;
SELECT max(attempt) FROM sync.job_history WHERE kind = 'shopify_page';

-- More variants than a page shows: the product is read by itself, in parts if need be; the reading waits for it.
UPDATE item SET variants = 130, at = moment(200) WHERE id = 4;
UPDATE item SET variants = 21, at = moment(201) WHERE id = 5;
TRUNCATE asked;
SELECT sync_run_shopify_down('delta') IS NOT NULL;
SELECT work();
SELECT id, variants FROM mirror WHERE variants > 1 ORDER BY id;
SELECT body #>> '{variables,id}' AS id, body #>> '{variables,variants}' AS variants, body #>> '{variables,variantsAfter}' AS after FROM asked WHERE kind = 'shopify_product' ORDER BY asked.id;
SELECT products, wanted, complete FROM reading ORDER BY id DESC LIMIT 1;
-- One that cannot be read holds up the end of the reading, and is read by the next run.
UPDATE item SET title = 'Long', at = moment(210) WHERE id = 5;
INSERT INTO once (pattern, body) VALUES ('%product(id%', '{"errors": [{"message": "no", "extensions": {"code": "undefinedField"}}]}');
SELECT sync_run_shopify_down('delta') IS NOT NULL;
SELECT work();
SELECT wanted, complete FROM reading ORDER BY id DESC LIMIT 1;
SELECT sync_run_shopify_down('delta') IS NOT NULL;
SELECT work();
SELECT title FROM mirror WHERE id = 5;

-- Deleted: an event is a hint, the look-up decides; of a product that is still there nothing is taken for gone.
DELETE FROM item WHERE id = 7;
INSERT INTO event (subject) VALUES (gid('Product', 7)), (gid('Product', 6)), (gid('Product', 12345)), (gid('Collection', 6)), (NULL);
SELECT sync_run_shopify_down('delta') IS NOT NULL;
SELECT work();
SELECT id, gone, evidence, due FROM mirror WHERE gone OR id = 6;
-- A webhook's look-up, and one back that was gone by mistake.
DELETE FROM item WHERE id = 6;
SELECT sync.shopify_gone('shop', ARRAY[3], 'full_read');
SELECT sync.shopify_product_fetch('shop', 6, 1, 'webhook') = sync.shopify_product_fetch('shop', 6), sync.shopify_product_fetch('shop', 3) > 0;
SELECT kind, key FROM sync.job ORDER BY id;
SELECT work(1);
SELECT kind, key FROM sync.job WHERE kind = 'shopify_merge_start';
SELECT work(1);
SELECT id, gone, evidence FROM mirror WHERE gone OR id = 3 ORDER BY id;
-- A null because of a missing scope is no deletion; the shop is paused.
INSERT INTO once (pattern, body) VALUES ('%product(id%', '{"data": {"product": null}, "errors": [{"message": "Access denied for product field. Required access: `read_products` access scope.", "path": ["product"], "extensions": {"code": "ACCESS_DENIED", "requiredAccess": "`read_products` access scope."}}]}');
SELECT sync.shopify_product_fetch('shop', 1) > 0;
SELECT work(1);
SELECT gone FROM mirror WHERE id = 1;
SELECT message FROM sync.notification ORDER BY id DESC LIMIT 1;
SELECT sync_resume('shop') IS NOT NULL;
SELECT work(1);
SELECT gone FROM mirror WHERE id = 1;

-- A search that Shopify does not understand gives everything: nothing of it is taken.
UPDATE item SET title = 'Not to be read', at = moment(300);
INSERT INTO once (pattern, body) VALUES ('%products(%', jsonb_build_object('data', jsonb_build_object('products', jsonb_build_object('nodes', (SELECT jsonb_agg(node(i, 1, 20)) FROM item i), 'pageInfo', '{"hasNextPage": false}'::jsonb)),
	'extensions', '{"search": [{"path": ["products"], "query": "x", "warnings": [{"field": "updated_at", "message": "Invalid search field for this query.", "code": "invalid_field"}]}]}'::jsonb)::text);
SELECT sync_run_shopify_down('delta') IS NOT NULL;
SELECT work();
SELECT count(*) FROM mirror WHERE title = 'Not to be read';
-- Nor of a page in place of data, of a list that does not go on, of a product that is none.
INSERT INTO once (pattern, body) VALUES ('%products(%', '<html>'), ('%products(%', '{"data": {"products": null}}'), ('%products(%', '{"data": {"products": {"nodes": [], "pageInfo": {"hasNextPage": true, "endCursor": null}}}}'),
	('%products(%', '{"data": {"products": {"nodes": [17, null, {"id": "x"}, {"id": "gid://shopify/Product/55", "updatedAt": "2026-13-99T00:00:00Z"}, {"id": "gid://shopify/Product/56", "updatedAt": "2026-01-01T00:00:00Z", "title": 5}], "pageInfo": {"hasNextPage": false}}}}');
SELECT sync_run_shopify_down('delta') IS NOT NULL;
SELECT work();
SELECT products, rejected, complete FROM reading ORDER BY id DESC LIMIT 1;
SELECT kind, message FROM sync.notification ORDER BY id DESC LIMIT 1;
-- So many changes that a list ends before them: it begins again from a while before its last one.
UPDATE sync.shopify_crawl SET chain = 24999, finished_at = NULL, complete = false, read_at = NULL, rejected = 0, pages = 0, cursor = NULL WHERE id = (SELECT max(id) FROM sync.shopify_crawl);
UPDATE item SET title = 'Chained', at = moment(400 + id * 20);
SELECT sync_run_shopify_down('delta') IS NOT NULL;
SELECT work();
SELECT count(*) FROM mirror WHERE title = 'Chained';
SELECT complete, error FROM reading ORDER BY id DESC LIMIT 1;

-- Missing scopes are named before anything is read.
INSERT INTO once (pattern, body) SELECT '%productsCount%', jsonb_set(answer('{"query": "productsCount", "variables": {"delta": false}}'), '{data,currentAppInstallation,accessScopes}', '[{"handle": "read_products"}]')::text;
SELECT sync_run_shopify_down('delta') IS NOT NULL;
SELECT work(2);
SELECT sync.paused('shop');
SELECT sync_resume('shop') IS NOT NULL;
SELECT work();

-- What is gone by a whole reading: only a complete one without an error says so, and not of too many.
SELECT count(*) FROM mirror WHERE NOT gone;
INSERT INTO sync.shopify_crawl (connection, mode, expected, products, rejected, started_at) VALUES ('shop', 'full', 6, 6, 1, now() + interval '1 hour') RETURNING id AS crawl \gset
UPDATE sync.shopify_product SET crawl_id = :crawl WHERE remote_id NOT IN (1);
SELECT sync.shopify_full_gone(:crawl, NULL);
-- A product that is known to be there keeps no other one from being missed.
UPDATE sync.shopify_crawl SET unusable = '{1}' WHERE id = :crawl;
SELECT sync.shopify_full_gone(:crawl, NULL);
UPDATE sync.shopify_crawl SET rejected = 0, unusable = '{}', products = 5 WHERE id = :crawl;
SELECT sync.shopify_full_gone(:crawl, NULL);
UPDATE sync.shopify_crawl SET products = 6 WHERE id = :crawl;
UPDATE sync.shopify_product SET crawl_id = 0 WHERE remote_id IN (2, 3);
SELECT sync.shopify_full_gone(:crawl, NULL);
UPDATE sync.shopify_product SET crawl_id = :crawl WHERE remote_id IN (2, 3);
SELECT id FROM mirror WHERE gone AND evidence = 'full_read';
SELECT sync.shopify_full_gone(:crawl, NULL);
SELECT id FROM mirror WHERE gone AND evidence = 'full_read';
SELECT message FROM sync.notification WHERE kind = 'shopify_shrunk' ORDER BY id;

-- Which reading is due.
DELETE FROM sync.shopify_crawl;
SELECT p.mode FROM sync.shopify_crawl_plan((SELECT max(id) FROM sync.run)) p;
SELECT read_before(moment(0));
SELECT p.mode, p.updated_since - moment(0) FROM sync.shopify_crawl_plan((SELECT max(id) FROM sync.run)) p;
UPDATE sync.run SET context = '{"mode": "auto"}';
UPDATE sync.shopify_crawl SET finished_at = now() - interval '8 days';
SELECT p.mode FROM sync.shopify_crawl_plan((SELECT max(id) FROM sync.run)) p;

DROP EXTENSION product_sync;
DROP SCHEMA sync CASCADE;
DROP TABLE item, event, once, asked, beginning CASCADE;
DROP FUNCTION moment, shown, gid, answer, work, read_before;
