-- The merge of a shop's mirror with the catalogue: taken over, kept to be sent, decided, handed to people.  No network: the mirror is
-- written by hand.
\set ECHO none
SET client_min_messages = warning;
SET timezone = 'UTC';
\pset format unaligned
\pset footer off
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install() IS NOT NULL AS installed;
INSERT INTO sync.connection (name, kind, base_url) VALUES ('shop', 'shopify', 'https://shop.test/'), ('feed', 'etilize', 'ftp://127.0.0.1/'),
	('erp', 'xorosoft', 'https://erp.test/');
SET ROLE sync_worker;
INSERT INTO sync.run (kind, connection, state) VALUES ('shopify_down', 'shop', 'staging_creation') RETURNING id AS run \gset
INSERT INTO sync.run_phase (run_id, state, attempt) VALUES (:run, 'staging_creation', 1);
SELECT set_config('test.run', :'run', false) AS run \gset

-- A product as it is seen in the shop.
CREATE FUNCTION pg_temp.seen(remote bigint, document jsonb) RETURNS void LANGUAGE sql AS $$
	INSERT INTO sync.shopify_product (connection, remote_id, handle, document, variants, remote_updated_at)
	SELECT 'shop', remote, document ->> 'handle', document,
		   (SELECT jsonb_object_agg(v.key, jsonb_build_object('sku', v.value -> 'sku', 'inventory_item', v.key::bigint + 1000, 'tracked', true, 'policy', 'deny'))
			FROM jsonb_each(document -> 'variants') v), now()
	ON CONFLICT (connection, remote_id) DO UPDATE
	SET document = excluded.document, variants = excluded.variants, merge_due = true, gone_since = NULL, gone_evidence = NULL
$$;
-- The same with one thing changed.
CREATE FUNCTION pg_temp.changed(remote bigint, path text, value jsonb) RETURNS void LANGUAGE sql AS $$
	SELECT pg_temp.seen(remote, sync.document_patch(m.document, path, value)) FROM sync.shopify_product m WHERE m.remote_id = remote
$$;
CREATE FUNCTION pg_temp.merge() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(e.key || ' ' || e.value, ', ' ORDER BY e.key)
	FROM jsonb_each_text(sync.shop_merge_range(current_setting('test.run')::bigint, 'shop', 0, 1000000)) e WHERE e.value <> '0'
$$;
CREATE VIEW pg_temp.conflicts AS
	SELECT path, local_value AS local, shopify_value AS shop, base_value AS base, rule, state, choice FROM sync.conflict ORDER BY id;
CREATE VIEW pg_temp.outbox AS SELECT path, shopify_value, local_value FROM sync.shop_outbox('shop') ORDER BY path;
CREATE VIEW pg_temp.product AS
	SELECT p.handle, p.title, p.status, p.tags, p.version, v.sku, trim_scale(v.price) AS price
	FROM sync.product p JOIN sync.variant v ON v.product_id = p.id ORDER BY p.id, v.sku;
\set ECHO all

-- A product that the catalogue does not have is created, with a version and an applied entry; the same again changes nothing.
SELECT pg_temp.seen(1, '{"handle": "mug", "title": "Mug", "description": "<p>A mug</p>", "vendor": "Acme", "type": "Mugs", "status": "active", "tags": ["a", "b"],
	"metafields": {"custom.material": "clay"},
	"variants": {"11": {"sku": "MUG-R", "price": 10, "currency": "USD", "options": {"Color": "Red"}}, "12": {"sku": "MUG-B", "price": 12, "currency": "USD", "options": {"Color": "Blue"}}}}');
SELECT pg_temp.merge();
SELECT * FROM pg_temp.product;
SELECT kind, decision, state, reason, decided_by FROM sync.staging ORDER BY id;
SELECT l.base, (SELECT jsonb_object_agg(i.remote_id, i.base) FROM sync.listing i) AS variants FROM sync.product_listing l;
SELECT pg_temp.changed(1, 'title', '"Mug"');
SELECT pg_temp.merge();
SELECT version, kind, changes FROM sync.product_version ORDER BY id;

-- What only the shop changed is taken over; what only we changed waits to be sent.
SELECT pg_temp.changed(1, 'title', '"Big mug"');
SELECT pg_temp.merge();
RESET ROLE;
UPDATE sync.product SET vendor = 'Acme Ltd';
SET ROLE sync_worker;
SELECT pg_temp.changed(1, 'variants[11].price', '11');
SELECT pg_temp.merge();
SELECT * FROM pg_temp.product;
SELECT * FROM pg_temp.outbox;

-- Our own write that comes back is nothing, even where the shop wrote it in its own way.
RESET ROLE;
UPDATE sync.product SET description = '<P>A big<br>mug</P>';
SET ROLE sync_worker;
SELECT sync.shop_pushed('shop', 1, m.document || '{"vendor": "Acme Ltd", "description": "<p>A big<br />mug &amp; more</p>"}', '{vendor,description}')
FROM sync.shopify_product m;
SELECT pg_temp.merge();
SELECT * FROM pg_temp.outbox;
SELECT base ->> 'description' AS theirs, base_local ->> 'description' AS ours FROM sync.product_listing;

-- Both changed: a small difference of price is the shop's, a larger one is a person's, and does not hold up the title.
RESET ROLE;
UPDATE sync.variant SET price = 20 WHERE sku = 'MUG-R';
UPDATE sync.variant SET price = 20 WHERE sku = 'MUG-B';
UPDATE sync.product SET tags = '{a,c}';
SET ROLE sync_worker;
SELECT pg_temp.changed(1, 'variants[11].price', '20.5');
SELECT pg_temp.changed(1, 'variants[12].price', '25');
SELECT pg_temp.changed(1, 'title', '"Bigger mug"');
SELECT pg_temp.merge();
SELECT * FROM pg_temp.product;
SELECT * FROM pg_temp.conflicts;
SELECT * FROM pg_temp.outbox;
SELECT path, outcome, value, rule, reason FROM sync.decision_log ORDER BY id;
-- Seen again as it was: one conflict, one decision.
SELECT pg_temp.changed(1, 'title', '"Bigger mug"');
SELECT pg_temp.merge();
SELECT count(*) FROM sync.decision_log;

-- A person chooses; the next merge carries it out.  One whose values moved on is asked again.
RESET ROLE;
SELECT sync_resolve((SELECT id FROM sync.conflict WHERE state = 'open'), 'local');
SET ROLE sync_worker;
SELECT pg_temp.changed(1, 'variants[12].price', '26');
SELECT pg_temp.merge();
SELECT * FROM pg_temp.conflicts;
RESET ROLE;
SELECT sync_resolve((SELECT id FROM sync.conflict WHERE state = 'open'), 'local');
SET ROLE sync_worker;
SELECT pg_temp.merge();
SELECT * FROM pg_temp.conflicts;
SELECT * FROM pg_temp.outbox WHERE path LIKE '%price';
RESET ROLE;
UPDATE sync.variant SET price = 30 WHERE sku = 'MUG-B';
SET ROLE sync_worker;
SELECT pg_temp.changed(1, 'variants[12].price', '40');
SELECT pg_temp.merge();
RESET ROLE;
SELECT sync_resolve((SELECT id FROM sync.conflict WHERE state = 'open'), 'custom', '35', 'in between');
SET ROLE sync_worker;
SELECT pg_temp.merge();
SELECT * FROM pg_temp.product;
SELECT * FROM pg_temp.outbox WHERE path LIKE '%price';
SELECT replace(v.changes::text, session_user, 'the user') AS changes FROM sync.product_version v ORDER BY id DESC LIMIT 1;

-- A locked field is not overwritten; the shop's change is there for a person to see.
RESET ROLE;
SELECT sync_lock((SELECT id FROM sync.product WHERE handle = 'mug'), 'title', 'we know better');
SET ROLE sync_worker;
SELECT pg_temp.changed(1, 'title', '"Mug!!!"');
SELECT pg_temp.merge();
SELECT title FROM sync.product;
SELECT path, rule, state FROM sync.conflict ORDER BY id DESC LIMIT 1;

-- A value that goes back and forth twice is frozen.
SELECT pg_temp.changed(1, 'type', '"Cups"');
SELECT pg_temp.merge();
SELECT pg_temp.changed(1, 'type', '"Mugs"');
SELECT pg_temp.merge();
SELECT pg_temp.changed(1, 'type', '"Cups"');
SELECT pg_temp.merge();
SELECT pg_temp.changed(1, 'type', '"Mugs"');
SELECT pg_temp.merge();
SELECT type FROM sync.product;
SELECT path, kind, reason FROM sync.field_lock ORDER BY id;
SELECT kind, message FROM sync.notification WHERE kind = 'field_frozen';

-- A variant that comes, and one that goes: the second is a person's to decide.
SELECT pg_temp.changed(1, 'variants[13]', '{"sku": "MUG-G", "price": 9, "currency": "USD", "options": {"Color": "Green"}}');
SELECT pg_temp.merge();
SELECT pg_temp.changed(1, 'variants[11]', NULL);
SELECT pg_temp.merge();
SELECT * FROM pg_temp.product;
SELECT s.reason, s.flags, f.path, f.new_value FROM sync.staging s JOIN sync.staging_field f ON f.staging_id = s.id WHERE s.state = 'open';
-- Made again with its SKU, it is the same one.
SELECT pg_temp.changed(1, 'variants[14]', '{"sku": "MUG-R", "price": 20.5, "currency": "USD", "options": {"Color": "Red"}}');
SELECT pg_temp.merge();
SELECT v.sku, l.remote_id FROM sync.listing l JOIN sync.variant v ON v.id = l.variant_id ORDER BY 1;
SELECT count(*) AS open FROM sync.staging WHERE state = 'open';

-- Gone from the shop: archiving is staged, once; nothing is deleted.  Back again: the entry is out of date.
UPDATE sync.shopify_product SET gone_since = now(), gone_evidence = 'full_read', merge_due = true;
SELECT pg_temp.merge();
UPDATE sync.shopify_product SET merge_due = true;
SELECT pg_temp.merge();
SELECT s.reason, s.flags, f.path, f.old_value, f.new_value FROM sync.staging s JOIN sync.staging_field f ON f.staging_id = s.id WHERE s.state = 'open';
SELECT pg_temp.changed(1, 'vendor', '"Acme Ltd"');
SELECT pg_temp.merge();
SELECT state FROM sync.staging WHERE flags @> '{gone_in_shop}' ORDER BY id;

-- Without a SKU, with one that is taken, with one twice: nothing is lost and nothing doubled.
SELECT pg_temp.seen(2, '{"handle": "card", "title": "Card", "status": "active", "variants": {"21": {"price": 3, "currency": "USD"}}}');
SELECT pg_temp.seen(3, '{"handle": "mug", "title": "Another mug", "status": "active", "variants": {"31": {"sku": "MUG-B", "price": 3, "currency": "USD"}}}');
SELECT pg_temp.seen(4, '{"handle": "twins", "title": "Twins", "status": "draft", "variants": {"41": {"sku": "T", "price": 3, "currency": "USD", "options": {"Size": "S"}}, "42": {"sku": "T", "price": 4, "currency": "USD", "options": {"Size": "L"}}}}');
SELECT pg_temp.merge();
SELECT * FROM pg_temp.product WHERE handle <> 'mug';
SELECT title, sku, kind, state, flags FROM sync.staging WHERE state = 'open';

-- Where a person decides all changes.
RESET ROLE;
UPDATE sync.connection SET settings = '{"shop_changes": "stage"}' WHERE name = 'shop';
SET ROLE sync_worker;
SELECT pg_temp.changed(2, 'title', '"Greeting card"');
SELECT pg_temp.merge();
SELECT s.title, s.reason, f.path, f.new_value FROM sync.staging s JOIN sync.staging_field f ON f.staging_id = s.id WHERE s.state = 'open';
RESET ROLE;
SELECT sync_reject(ARRAY(SELECT id FROM sync.staging WHERE title = 'Card' AND state = 'open'), 'no');
SET ROLE sync_worker;
SELECT pg_temp.changed(2, 'title', '"Greeting card"');
SELECT pg_temp.merge();
SELECT title FROM sync.product WHERE handle = 'card';
SELECT count(*) AS open FROM sync.staging s JOIN sync.staging_field f ON f.staging_id = s.id WHERE s.state = 'open';
RESET ROLE;
UPDATE sync.connection SET settings = '{}' WHERE name = 'shop';

-- Stock: the ERP's store is our side of a location that is mapped to it.
SET ROLE sync_worker;
INSERT INTO sync.shopify_location (connection, remote_id, name, store) VALUES ('shop', 7, 'Main street', 'MAIN'), ('shop', 8, 'Pop-up', NULL);
INSERT INTO sync.xorosoft_item (connection, item_number, item_key) VALUES ('erp', 'MUG-B', 'MUGB'), ('erp', 'MUG-R', 'MUGR');
INSERT INTO sync.xorosoft_stock (connection, item_number, store, on_hand, allocated) VALUES ('erp', 'MUG-B', 'MAIN', 12, 2), ('erp', 'MUG-B', 'ELSE', 99, 0), ('erp', 'MUG-R', 'MAIN', 50, 0);
INSERT INTO sync.shopify_stock (connection, inventory_item_id, location_id, available, remote_updated_at) VALUES
	('shop', 1012, 7, 10, now() - interval '1 hour'), ('shop', 1012, 8, 3, now()), ('shop', 1014, 7, 30, now() - interval '1 hour');
CREATE VIEW pg_temp.stock AS
	SELECT v.sku, n.location_id AS location, n.erp, n.local, n.base, v.stock FROM sync.stock_level n JOIN sync.variant v ON v.id = n.variant_id ORDER BY 1, 2;
SELECT sync.shop_stock_merge(:run, 'shop', NULL);
SELECT * FROM pg_temp.stock;
SELECT path, local_value, shopify_value, rule FROM sync.conflict WHERE location_id IS NOT NULL AND state = 'open';
SELECT sync.shop_stock_merge(:run, 'shop', NULL);
-- Sold in the shop; then counted in the ERP; then both.
UPDATE sync.shopify_stock SET available = 8 WHERE inventory_item_id = 1012 AND location_id = 7;
SELECT sync.shop_stock_merge(:run, 'shop', NULL);
UPDATE sync.xorosoft_stock SET on_hand = 20 WHERE item_number = 'MUG-B' AND store = 'MAIN';
SELECT sync.shop_stock_merge(:run, 'shop', NULL);
SELECT * FROM pg_temp.stock WHERE sku = 'MUG-B';
SELECT * FROM pg_temp.outbox WHERE path LIKE '%stock%';
UPDATE sync.shopify_stock SET available = 15 WHERE inventory_item_id = 1012 AND location_id = 7;
SELECT sync.shop_stock_merge(:run, 'shop', NULL);
SELECT * FROM pg_temp.stock WHERE sku = 'MUG-B';
RESET ROLE;
SELECT sync_resolve((SELECT id FROM sync.conflict WHERE location_id IS NOT NULL AND state = 'open'), 'custom', '40');
SET ROLE sync_worker;
SELECT sync.shop_stock_merge(:run, 'shop', NULL);
SELECT * FROM pg_temp.stock WHERE sku = 'MUG-R';
SELECT * FROM pg_temp.outbox WHERE path LIKE '%stock%';
SELECT (SELECT sync.shop_pushed_stock('shop', variant_id, location_id, (local_value)::integer) FROM sync.shop_outbox('shop') o WHERE o.location_id IS NOT NULL);
SELECT sync.shop_stock_merge(:run, 'shop', NULL);
SELECT * FROM pg_temp.outbox WHERE path LIKE '%stock%';

-- A sale begins and ends in the shop: its compare-at price comes and goes.  A price that goes is a person's.
SELECT pg_temp.seen(20, '{"handle": "sale", "title": "Sale", "status": "active", "variants": {"201": {"sku": "SALE-0001", "price": 100, "currency": "USD"}}}');
SELECT pg_temp.merge();
SELECT pg_temp.changed(20, 'variants[201].compare_at_price', '120');
SELECT pg_temp.changed(20, 'variants[201].price', '80');
SELECT pg_temp.merge();
SELECT trim_scale(price) AS price, trim_scale(compare_at_price) AS compare_at FROM sync.variant WHERE sku = 'SALE-0001';
SELECT pg_temp.changed(20, 'variants[201].compare_at_price', NULL);
SELECT pg_temp.changed(20, 'variants[201].price', '100');
SELECT pg_temp.merge();
SELECT trim_scale(price) AS price, trim_scale(compare_at_price) AS compare_at FROM sync.variant WHERE sku = 'SALE-0001';
SELECT path, old_value, new_value FROM sync.product_change WHERE version = 3 AND path LIKE '%SALE%' ORDER BY path;
SELECT pg_temp.changed(20, 'variants[201].price', NULL);
SELECT pg_temp.merge();
SELECT path, rule FROM sync.conflict WHERE path LIKE '%SALE%' AND state = 'open';
SELECT pg_temp.changed(20, 'variants[201].price', '100');
SELECT pg_temp.merge();

-- A product that came from elsewhere after this run had looked for it is linked, not doubled, and compared at the next turn.
SELECT pg_temp.seen(21, '{"handle": "both", "title": "In both", "vendor": "Theirs", "status": "active", "variants": {"211": {"sku": "BOTH-0001", "price": 7, "currency": "USD"}}}');
INSERT INTO sync.product (handle, title, status) VALUES ('both', 'In both', 'active');
INSERT INTO sync.variant (product_id, sku, price) SELECT id, 'BOTH-0001', 7 FROM sync.product WHERE handle = 'both';
DELETE FROM sync.job;
SELECT pg_temp.merge();
SELECT kind, payload FROM sync.job;
SELECT pg_temp.merge();
SELECT count(*), max(vendor) AS vendor FROM sync.product WHERE title = 'In both';
SELECT count(*) FROM sync.staging WHERE title = 'In both' AND kind = 'create';

-- What a shop changes all at once is held before anything of it is merged.
RESET ROLE;
UPDATE sync.connection SET settings = '{"max_change_minimum": 0}' WHERE name = 'shop';
SET ROLE sync_worker;
SELECT pg_temp.changed(1, 'title', '"Hacked"');
SELECT pg_temp.changed(4, 'title', '"Hacked"');
SELECT sync.shopify_merge_begin(:run);

-- Two variants that come to one SKU: a person decides about that product, the others of the range go on.
SELECT pg_temp.seen(901, '{"handle": "clash", "title": "Clash", "status": "active", "variants": {"911": {"sku": "", "price": 1, "currency": "USD"}, "912": {"sku": "shopify-911", "price": 2, "currency": "USD"}}}');
SELECT pg_temp.seen(902, '{"handle": "clear", "title": "Clear", "status": "active", "variants": {"921": {"sku": "CLEAR-1", "price": 1, "currency": "USD"}}}');
SELECT pg_temp.merge();
SELECT title, kind, state, reason FROM sync.staging WHERE title IN ('Clash', 'Clear') ORDER BY title;

RESET ROLE;
DROP EXTENSION product_sync CASCADE;
