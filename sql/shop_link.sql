-- Linking a shop's products to those of the catalogue: by SKU, by the matcher, by people.  The mirror is written by hand.
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
INSERT INTO sync.connection (name, kind, base_url) VALUES ('shop', 'shopify', 'https://shop.test/'), ('other', 'shopify', 'https://other.test/');
SET ROLE sync_worker;
INSERT INTO sync.run (kind, connection, state) VALUES ('shopify_down', 'shop', 'matching') RETURNING id AS run \gset
INSERT INTO sync.run_phase (run_id, state, attempt) VALUES (:run, 'matching', 1);
SELECT set_config('test.run', :'run', false) AS run \gset

-- A product as it is seen in the shop.
CREATE FUNCTION pg_temp.seen(remote bigint, document jsonb) RETURNS void LANGUAGE sql AS $$
	INSERT INTO sync.shopify_product (connection, remote_id, handle, document, variants, remote_updated_at)
	SELECT 'shop', remote, document ->> 'handle', document,
		   (SELECT coalesce(jsonb_object_agg(v.key, jsonb_build_object('sku', v.value -> 'sku', 'inventory_item', v.key::bigint + 1000)), '{}')
			FROM jsonb_each(document -> 'variants') v), now()
	ON CONFLICT (connection, remote_id) DO UPDATE SET document = excluded.document, variants = excluded.variants, merge_due = true, gone_since = NULL
$$;
-- One of the catalogue, its variants with what they need.
CREATE FUNCTION pg_temp.product(id bigint, title text, vendor text, variants jsonb) RETURNS void LANGUAGE sql AS $$
	INSERT INTO sync.product (id, title, vendor) VALUES ($1, $2, $3);
	INSERT INTO sync.variant (id, product_id, sku, barcode, gtin, mpn, price, options)
	SELECT $1 * 10 + v.no, $1, v.value ->> 'sku', v.value ->> 'barcode', public.sync_gtin(v.value ->> 'barcode'), v.value ->> 'mpn',
		   (v.value ->> 'price')::numeric, coalesce(v.value -> 'options', '{}')
	FROM jsonb_array_elements($4) WITH ORDINALITY AS v (value, no);
	SELECT sync.catalogue_changed();
$$;
CREATE FUNCTION pg_temp.link(VARIADIC remote_ids bigint[]) RETURNS jsonb LANGUAGE sql AS $$
	SELECT sync.shopify_link('shop', remote_ids, current_setting('test.run')::bigint)
$$;
CREATE VIEW pg_temp.links AS
	SELECT p.remote_id, p.product_id, p.merged_at IS NULL AS never_agreed, p.linked_by = session_user AS by_me,
		   string_agg(l.remote_id || '=' || l.variant_id || coalesce('/' || l.inventory_item_id, ''), ' ' ORDER BY l.remote_id) AS variants
	FROM sync.product_listing p LEFT JOIN sync.listing l ON l.product_listing_id = p.id WHERE p.connection = 'shop' GROUP BY p.id ORDER BY 1;
CREATE VIEW pg_temp.questions AS
	SELECT (evidence ->> 'remote_id')::bigint AS remote_id, product_id, product_no, state, decision, flags, links, confidence BETWEEN 0.5 AND 1 AS sane,
		   regexp_replace(reason, '\([01]\.?\d*\)', '(…)') AS reason FROM sync.staging ORDER BY id;
-- All jobs of the run's phase, one after another.
CREATE FUNCTION pg_temp.work() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	job bigint;
	steps text := '';
BEGIN
	LOOP
		SELECT min(j.id) INTO job FROM sync.job j WHERE j.kind = 'shopify_match';
		IF job IS NULL AND sync.shopify_match_leave(current_setting('test.run')::bigint) THEN
			RETURN steps;
		ELSIF job IS NOT NULL THEN
			steps := steps || sync.work_shopify_match(ARRAY[job])::text || ' ';
			DELETE FROM sync.job j WHERE j.id = job;
		END IF;
	END LOOP;
END
$$;
\set ECHO all

-- The catalogue is empty: all is new, and no job is made.
SELECT pg_temp.seen(1, '{"title": "Avery 5160 Easy Peel Address Labels", "vendor": "Avery", "status": "active", "variants": {"11": {"sku": "AVE-5160", "price": 31}}}');
SELECT pg_temp.link(1);
SELECT sync.shopify_match_begin(:run);
SELECT count(*) FROM sync.job;

SELECT pg_temp.product(1, 'Avery Easy Peel Address Labels 5160, 1 x 2 5/8, White, 3000', 'Avery', '[{"sku": "AVE-5160", "mpn": "5160", "barcode": "072782051600"}]');
SELECT pg_temp.product(2, 'Acme cotton shirt', 'Acme', '[{"sku": "SHIRT-R", "options": {"Color": "Red"}}, {"sku": "SHIRT-B", "barcode": "036000291452", "options": {"Color": "Blue"}}, {"sku": "SHIRT-G", "options": {"Color": "Green"}}]');
SELECT pg_temp.product(3, 'Swingline 747 Rio Red Stapler, 25 sheets', 'Swingline', '[{"sku": "SWI-74736", "mpn": "S7074736", "barcode": "074711747363"}]');
SELECT pg_temp.product(4, 'Bosch GSB 18V-55 cordless impact drill', 'Bosch', '[{"sku": "BO-1", "mpn": "06019H5302"}]');
SELECT pg_temp.product(5, 'Wood clamp 300 mm', 'Kreg', '[{"sku": "7", "price": 12}]');
SELECT pg_temp.product(100 + i, 'Part ' || md5(i::text) || ' type ' || i % 7, 'V' || i % 9, jsonb_build_array(jsonb_build_object('sku', 'P-' || md5(i::text), 'mpn', 'MP' || i * 37, 'price', i)))
FROM generate_series(1, 300) i \g /dev/null

-- By SKU: one variant; two of three with a new one beside; a barcode that contradicts; a SKU that is chance.
SELECT pg_temp.seen(2, '{"title": "Shirt", "variants": {"21": {"sku": "SHIRT-R", "options": {"Color": "Red"}}, "22": {"sku": "SHIRT-B", "barcode": "0036000291452"}, "23": {"sku": "SHIRT-X"}}}');
SELECT pg_temp.seen(3, '{"title": "Garden gnome", "vendor": "Gnomes Ltd", "variants": {"31": {"sku": "SWI-74736", "barcode": "4006381333931"}}}');
SELECT pg_temp.seen(4, '{"title": "Chocolate bar", "vendor": "Sweets", "variants": {"41": {"sku": "7", "price": 1}}}');
SELECT pg_temp.link(1, 2, 3, 4);
SELECT * FROM pg_temp.links;
SELECT remote_id, flags FROM pg_temp.questions WHERE remote_id = 4;
SELECT pg_temp.link(1, 2);

-- By the matcher: another SKU, the same GTIN; brand and part number.
DELETE FROM sync.staging;
SELECT pg_temp.seen(5, '{"title": "Stapler 747 red", "vendor": "Swingline", "variants": {"51": {"sku": "X-1", "barcode": "074711747363"}}}');
SELECT pg_temp.seen(6, '{"title": "GSB 18V-55 drill", "vendor": "Bosch", "metafields": {"custom.mpn": "06019H5302"}, "variants": {"61": {"sku": "DRILL"}}}');
SELECT pg_temp.link(5, 6);
SELECT * FROM pg_temp.links WHERE remote_id > 2;
SELECT remote_id, product_id, flags, sane, reason FROM pg_temp.questions;

-- Not sure: a person is asked, and meanwhile the product is neither asked about again, nor created, nor compared.
SELECT pg_temp.product(6, 'Fellowes Powershred 99Ci 18-sheet cross-cut paper shredder, 9 gallon, black', 'Fellowes', '[{"sku": "FEL-3227901", "mpn": "3227901", "price": 299}]');
SELECT pg_temp.product(7, 'Kreg pocket hole jig 520PRO', 'Kreg', '[{"sku": "KR-520", "mpn": "KPHJ520PRO", "price": 99, "options": {"Size": "Standard"}}]');
SELECT pg_temp.seen(7, '{"title": "Paper shredder for the office, black", "vendor": "Fellowes", "variants": {"71": {"sku": "SHRED", "price": 310}}}');
SELECT pg_temp.seen(8, '{"title": "Jig for woodworkers", "vendor": "Kreg", "variants": {"81": {"sku": "JIG", "price": 105, "options": {"Size": "Standard"}}}}');
SELECT pg_temp.link(7, 8);
SELECT * FROM pg_temp.questions;
SELECT kind, message FROM sync.notification WHERE kind = 'links_uncertain';
SELECT pg_temp.link(7, 8);
SELECT m.remote_id FROM sync.shopify_product m WHERE m.id = ANY (sync.shop_links_pending('shop', ARRAY(SELECT id FROM sync.shopify_product))) ORDER BY 1;
-- Yes: the link is made when the entry is applied.
RESET ROLE;
SELECT entries FROM sync_approve(ARRAY(SELECT id FROM sync.staging WHERE evidence ->> 'remote_id' = '7'));
UPDATE sync.shopify_product SET merge_due = false;
SET ROLE sync_worker;
SELECT sync.apply_run(:run);
SELECT * FROM pg_temp.links WHERE remote_id = 7;
SELECT remote_id FROM sync.shopify_product WHERE merge_due;
-- No: it is another product, now and later; the merge is woken.
RESET ROLE;
SELECT entries FROM sync_reject(ARRAY(SELECT id FROM sync.staging WHERE evidence ->> 'remote_id' = '8'), 'the other jig');
SELECT kind FROM sync.job WHERE kind = 'shopify_merge_start';
SET ROLE sync_worker;
SELECT sync.link_rejections('shop');
SELECT sync.link_rejections('shop');
SELECT remote_id, rejected_links, merge_due FROM sync.shopify_product WHERE remote_id = 8;
SELECT pg_temp.link(8);
-- Changed their mind: the link is made all the same.
RESET ROLE;
UPDATE sync.staging SET decision = 'pending' WHERE evidence ->> 'remote_id' = '8';
UPDATE sync.staging SET decision = 'approved' WHERE evidence ->> 'remote_id' = '8';
SET ROLE sync_worker;
SELECT sync.apply_run(:run);
SELECT l.*, m.rejected_links FROM pg_temp.links l JOIN sync.shopify_product m ON m.remote_id = l.remote_id WHERE l.remote_id = 8;

-- Two products of the shop claim one of the catalogue: the best is linked, the other is for a person, who cannot link both.
SELECT pg_temp.product(8, 'Rubbermaid Brute 32-gallon round container, gray', 'Rubbermaid', '[{"sku": "RCP-2632", "mpn": "FG263200GRAY", "barcode": "086876147582"}]');
SELECT pg_temp.seen(9, '{"title": "Brute container gray 32 gallon", "vendor": "Rubbermaid", "variants": {"91": {"sku": "BR-A", "barcode": "086876147582"}}}');
SELECT pg_temp.seen(10, '{"title": "Rubbermaid Brute container", "vendor": "Rubbermaid", "variants": {"101": {"sku": "BR-B", "barcode": "086876147582"}}}');
SELECT pg_temp.link(9, 10);
SELECT * FROM pg_temp.links WHERE remote_id IN (9, 10);
SELECT remote_id, product_id, flags, state FROM pg_temp.questions WHERE remote_id IN (9, 10);
-- And one that comes later, when the first is linked.
SELECT pg_temp.seen(12, '{"title": "Rubbermaid Brute 32-gallon round container, gray", "vendor": "Rubbermaid", "variants": {"121": {"sku": "BR-C", "barcode": "086876147582"}}}');
SELECT pg_temp.link(12);
SELECT remote_id, product_id, flags FROM pg_temp.questions WHERE remote_id = 12;
RESET ROLE;
UPDATE sync.staging SET decision = 'approved' WHERE evidence ->> 'remote_id' = '12';
SET ROLE sync_worker;
SELECT sync.apply_run(:run);
SELECT state, error FROM sync.staging WHERE evidence ->> 'remote_id' = '12';
-- The same SKUs twice: the one whose title is ours.
SELECT pg_temp.product(9, 'Duct tape 50 m', '3M', '[{"sku": "TAPE-50"}]');
SELECT pg_temp.seen(13, '{"title": "Tape", "variants": {"131": {"sku": "TAPE-50"}}}');
SELECT pg_temp.seen(14, '{"title": "Duct tape 50 m", "variants": {"141": {"sku": "TAPE-50"}}}');
SELECT pg_temp.link(13, 14) ->> 'linked' AS linked;
SELECT * FROM pg_temp.links WHERE product_id = 9;
-- What is gone makes way for what was made again in its place.
UPDATE sync.shopify_product SET gone_since = now() WHERE remote_id = 14;
SELECT pg_temp.seen(15, '{"title": "Duct tape 50 m", "variants": {"151": {"sku": "TAPE-50"}}}');
SELECT pg_temp.link(15);
SELECT * FROM pg_temp.links WHERE product_id = 9;

-- Its variants are of different products here.
SELECT pg_temp.product(10, 'Cardinal 1-inch round ring binder, blue', 'Cardinal', '[{"sku": "CRD-B", "barcode": "083086112345"}]'),
	pg_temp.product(11, 'Cardinal 1-inch round ring binder, red', 'Cardinal', '[{"sku": "CRD-R", "barcode": "083086112352"}]');
SELECT pg_temp.seen(16, format('{"title": "Cardinal 1-inch round ring binder", "vendor": "Cardinal", "variants": {"161": {"sku": "B1", "barcode": "%s", "options": {"Color": "Blue"}}, "162": {"sku": "B2", "barcode": "%s", "options": {"Color": "Red"}}}}',
	'083086112345', '083086112352')::jsonb);
SELECT pg_temp.link(16);
SELECT remote_id, flags, reason FROM pg_temp.questions WHERE remote_id = 16;

-- Hostile: nothing of it is SQL, a number, or an endless title.
SELECT pg_temp.seen(17, jsonb_build_object('title', repeat('<script>alert(1)</script> '' OR 1=1 -- ', 5000), 'vendor', repeat('%s', 5000), 'variants',
	jsonb_build_object('171', jsonb_build_object('sku', repeat(E'\\''"', 3000), 'barcode', repeat('9', 100000), 'price', 'NaN', 'options', 'none'))));
SELECT pg_temp.seen(18, '{"title": {"a": [1]}, "variants": {"181": {"sku": ["x"], "barcode": {}, "price": [], "options": {"a": null}}}}');
SELECT pg_temp.seen(19, '{"variants": {}}');
INSERT INTO sync.shopify_product (connection, remote_id, document, remote_updated_at) VALUES ('shop', 20, '{"variants": [1]}', now()),
	('shop', 21, '{"title": "", "description": "Fellowes", "variants": {"x": {"sku": "FEL-3227901"}, "9999999999999999999999": 5}}', now());
SELECT pg_temp.link(17, 18, 19, 20, 21);
SELECT pg_temp.link(99999);
SELECT pg_temp.link(NULL);

-- Another shop has links of its own.
INSERT INTO sync.shopify_product (connection, remote_id, document, remote_updated_at) VALUES
	('other', 1, '{"title": "Labels", "variants": {"11": {"sku": "AVE-5160"}}}', now());
SELECT sync.shopify_link('other', NULL);
SELECT connection, remote_id, product_id FROM sync.product_listing WHERE product_id = 1 ORDER BY 1;

-- A run: what is exact at once, the rest in ranges, settled together at the end.
DELETE FROM sync.job;
UPDATE sync.shopify_product SET merge_due = false;
UPDATE sync.setting SET value = '40' WHERE name = 'match_range_products';
SELECT pg_temp.seen(1000 + i, jsonb_build_object('title', CASE WHEN i <= 100 THEN 'x' ELSE 'Part ' || md5(i::text) || ' type ' || i % 7 END, 'vendor', 'V' || i % 9, 'variants', jsonb_build_object(
	10000 + i, jsonb_build_object('sku', CASE WHEN i <= 100 THEN 'P-' || md5(i::text) ELSE 'Q' || i END, 'price', i)), 'metafields', jsonb_build_object('custom.mpn', 'MP' || i * 37)))
FROM generate_series(1, 200) i \g /dev/null
-- Two more in another range than what they are the same as.
SELECT pg_temp.seen(2000 + i, jsonb_build_object('title', 'Part ' || md5(i::text), 'vendor', 'V' || i % 9, 'variants', jsonb_build_object(20000 + i, jsonb_build_object('sku', 'R' || i)), 'metafields', jsonb_build_object('custom.mpn', 'MP' || i * 37)))
FROM generate_series(150, 151) i \g /dev/null
SELECT sync.shopify_match_begin(:run);
SELECT pg_temp.work();
SELECT count(*) FILTER (WHERE product_id = remote_id - 900) AS right, count(*) FROM pg_temp.links WHERE remote_id BETWEEN 1000 AND 1999;
SELECT remote_id, product_id, flags FROM pg_temp.questions WHERE remote_id > 1000;
SELECT count(*) AS unlinked FROM sync.shopify_product m WHERE m.remote_id > 1000 AND NOT EXISTS (SELECT FROM sync.product_listing l WHERE l.remote_id = m.remote_id);
-- Once more: nothing is left to match.
SELECT sync.shopify_match_begin(:run);
SELECT pg_temp.work();
-- A question about what is gone meanwhile is none.
UPDATE sync.shopify_product SET gone_since = now() WHERE remote_id = 10;
SELECT sync.shopify_match_begin(:run);
SELECT remote_id, state FROM pg_temp.questions WHERE remote_id = 10;
RESET ROLE;
SET client_min_messages = error;
DROP EXTENSION product_sync CASCADE;
