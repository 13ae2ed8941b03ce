-- Sellable stock: rules, what becomes of what the ERP owes, and readings of the ERP that are older than a sale.  No network.
\set ECHO none
SET client_min_messages = warning;
SET timezone = 'UTC';
\pset format unaligned
\pset footer off
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install() IS NOT NULL AS installed;
INSERT INTO sync.connection (name, kind, base_url) VALUES ('shop', 'shopify', 'https://shop.test/'), ('erp', 'xorosoft', 'https://erp.test/');
SET ROLE sync_worker;
INSERT INTO sync.product (id, handle, title, vendor, type) VALUES (1, 'mug', 'Mug', 'Acme', 'Mugs'), (2, 'pen', 'Pen', 'Bic', 'Pens');
INSERT INTO sync.variant (id, product_id, sku) VALUES (1, 1, 'MUG-R'), (2, 1, 'MUG_B'), (3, 2, 'PEN');
INSERT INTO sync.shopify_product (connection, remote_id, handle, document, variants, remote_updated_at, merge_due) VALUES
	('shop', 1, 'mug', '{"title": "Mug", "variants": {}}', '{"11": {"tracked": true, "policy": "deny"}, "12": {"tracked": true, "policy": "continue"}}', now(), false),
	('shop', 2, 'pen', '{"title": "Pen", "variants": {}}', '{"13": {"tracked": true, "policy": "deny"}}', now(), false);
INSERT INTO sync.product_listing (connection, product_id, remote_id, merged_at) VALUES ('shop', 1, 1, now()), ('shop', 2, 2, now());
INSERT INTO sync.listing (connection, product_listing_id, variant_id, remote_id, inventory_item_id) VALUES
	('shop', 1, 1, 11, 111), ('shop', 1, 2, 12, 112), ('shop', 2, 3, 13, 113);
INSERT INTO sync.shopify_location (connection, remote_id, name, store) VALUES ('shop', 7, 'Toronto', 'MAIN'), ('shop', 8, 'Calgary', 'WEST'), ('shop', 9, 'Pop-up', NULL);
INSERT INTO sync.xorosoft_item (connection, item_number, item_key) VALUES ('erp', 'MUG-R', 'MUGR'), ('erp', 'MUG_B', 'MUG_B'), ('erp', 'PEN', 'PEN');
-- The ERP and the shop, read so many minutes ago; the merge of all stock.
CREATE FUNCTION pg_temp.erp(no text, at_store text, number numeric, minutes integer DEFAULT 0) RETURNS void LANGUAGE sql AS $$
	INSERT INTO sync.xorosoft_stock (connection, item_number, store, on_hand, seen_at) VALUES ('erp', no, at_store, number, now() - minutes * interval '1 minute')
	ON CONFLICT (connection, item_number, store) DO UPDATE SET on_hand = excluded.on_hand, seen_at = excluded.seen_at
$$;
CREATE FUNCTION pg_temp.shop(item bigint, location bigint, number integer, minutes integer DEFAULT 60) RETURNS void LANGUAGE sql AS $$
	INSERT INTO sync.shopify_stock (connection, inventory_item_id, location_id, available, remote_updated_at) VALUES ('shop', item, location, number, now() - minutes * interval '1 minute')
	ON CONFLICT (connection, inventory_item_id, location_id) DO UPDATE SET available = excluded.available, remote_updated_at = excluded.remote_updated_at
$$;
CREATE FUNCTION pg_temp.merge() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(e.key || ' ' || e.value, ', ' ORDER BY e.key) FROM jsonb_each_text(sync.shop_stock_merge(NULL, 'shop', NULL)) e WHERE e.value <> '0'
$$;
-- What the push sends, all of it, and the shop takes.
CREATE FUNCTION pg_temp.push() RETURNS bigint LANGUAGE sql AS $$
	SELECT count(sync.shop_pushed_stock('shop', o.variant_id, o.location_id, o.local_value::integer, now() - interval '30 seconds')) FILTER (WHERE true)
	FROM (SELECT * FROM sync.shop_outbox('shop') x WHERE x.location_id IS NOT NULL OFFSET 0) o
$$;
CREATE VIEW pg_temp.offer AS SELECT sku, location, trim_scale(in_erp) AS in_erp, trim_scale(sellable) AS sellable, trim_scale(offered) AS offered, in_shop, waits_for FROM sync.stock_offer ORDER BY sku, location;
CREATE VIEW pg_temp.outbox AS SELECT path, shopify_value, local_value FROM sync.shop_outbox('shop') WHERE location_id IS NOT NULL ORDER BY path;
CREATE FUNCTION pg_temp.try(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	EXECUTE command;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN SQLSTATE || ' ' || SQLERRM || ' / ' || hint;
END
$$;
\set ECHO all

-- The formula, at its bounds.
SELECT available, safety_stock AS kept, minimum, maximum, below_zero, sync.sellable(available, safety_stock, minimum, maximum, below_zero)
FROM (VALUES (12.7, 0, 0, NULL, false), (12.7, 5, 0, NULL, false), (5, 5, 0, NULL, false), (4.99, 5, 0, NULL, false), (12.7, 5, 0, 6, false), (12.7, 5, 9, 9, false), (0, 5, 3, NULL, false),
	(-0.5, 0, 3, NULL, false), (-2.5, 0, 0, NULL, false), (-2.5, 1, 3, 9, true), (0, 3, 0, NULL, true), (NULL, 1, 1, 1, false), ('NaN', 0, 0, NULL, false), ('Infinity', 0, 0, 9, false),
	(1e20, 0, 0, 100, false)) AS v (available, safety_stock, minimum, maximum, below_zero);
SELECT sync.sellable(7.5), provolatile FROM pg_proc WHERE proname = 'sellable';

-- Rules that cannot be are refused, with why.
SELECT pg_temp.try('INSERT INTO sync.stock_rule (name, ' || r) FROM unnest(ARRAY['safety_stock) VALUES (''a'', -1)', 'minimum, maximum) VALUES (''b'', 5, 4)', 'location_id, store) VALUES (''c'', 7, ''MAIN'')',
	'location_id) VALUES (''d'', 77)', 'store) VALUES (''e'', ''Torono'')', 'connection) VALUES (''f'', ''erp'')', E'sku) VALUES (''g'', ''A\\'')', 'maximum) VALUES (''h'', 1000001)',
	E'sku) VALUES (''i'', ''A\\\\'')', 'vendor) VALUES (''j'', ''  '')']) r;
SELECT name, vendor, sku, updated_by FROM sync.stock_rule ORDER BY name;
DELETE FROM sync.stock_rule;

-- Without a rule: what is available, in whole pieces.
SELECT pg_temp.erp('MUG-R', 'MAIN', 12.7), pg_temp.erp('MUG-R', 'WEST', 30), pg_temp.erp('MUG_B', 'MAIN', 20), pg_temp.erp('PEN', 'MAIN', 100);
SELECT pg_temp.shop(111, 7, 12), pg_temp.shop(111, 8, 30), pg_temp.shop(111, 9, 2), pg_temp.shop(112, 7, 20), pg_temp.shop(113, 7, 100);
SELECT pg_temp.merge();
SELECT * FROM pg_temp.offer;

-- The more exact rule counts, then the higher priority, then the one that offers less.  An edited rule has stock compared anew, once.
DELETE FROM sync.job;
INSERT INTO sync.stock_rule (name, safety_stock) VALUES ('all', 1);
INSERT INTO sync.stock_rule (name, vendor, safety_stock) VALUES ('acme', 'ACME', 2), ('acme too', 'acme', 3);
INSERT INTO sync.stock_rule (name, vendor, store, maximum) VALUES ('acme in the west', 'Acme', 'WEST', 10);
INSERT INTO sync.stock_rule (name, product_type, maximum) VALUES ('pens', 'pens', 50);
INSERT INTO sync.stock_rule (name, product_type, connection, maximum, enabled) VALUES ('pens here', 'pens', 'shop', 5, false);
SELECT kind, payload, key FROM sync.job;
SELECT pg_temp.merge();
SELECT * FROM pg_temp.offer;
INSERT INTO sync.stock_rule (name, sku, safety_stock) VALUES ('one pattern', 'MUG%', 4), ('this one', 'MUG_B', 5);
UPDATE sync.stock_rule SET priority = 1 WHERE name = 'acme';
UPDATE sync.stock_rule SET enabled = true WHERE name = 'pens here';
SELECT pg_temp.merge();
SELECT * FROM pg_temp.offer;
SELECT * FROM pg_temp.outbox;
DELETE FROM sync.stock_rule WHERE sku IS NOT NULL;
SELECT pg_temp.merge();
SELECT * FROM pg_temp.offer WHERE sku LIKE 'MUG%';
SELECT pg_temp.push();
SELECT pg_temp.merge();
SELECT * FROM pg_temp.outbox;

-- With a limit, what the shop sold is filled up again as the ERP learns of it.
SELECT pg_temp.shop(113, 7, 3, 20), pg_temp.merge();
SELECT pg_temp.erp('PEN', 'MAIN', 98), pg_temp.merge();
SELECT * FROM pg_temp.offer WHERE sku = 'PEN';
SELECT pg_temp.push();
DELETE FROM sync.stock_rule;
SELECT pg_temp.merge(), pg_temp.push();

-- What the ERP owes is never below 0 in the shop; people are told once.
SELECT pg_temp.erp('MUG-R', 'MAIN', -3), pg_temp.erp('MUG_B', 'MAIN', -1), pg_temp.merge();
SELECT pg_temp.erp('MUG-R', 'MAIN', -4), pg_temp.merge();
SELECT * FROM pg_temp.offer WHERE location = 'Toronto';
SELECT kind, message FROM sync.notification WHERE kind = 'oversold' ORDER BY id;
-- Only where the shop sells beyond its stock, and push_negative says so.
RESET ROLE;
UPDATE sync.setting SET value = 'true' WHERE name = 'push_negative';
SET ROLE sync_worker;
SELECT pg_temp.merge();
SELECT * FROM pg_temp.outbox;
RESET ROLE;
UPDATE sync.setting SET value = 'false' WHERE name = 'push_negative';
SET ROLE sync_worker;
SELECT pg_temp.merge(), pg_temp.push();

-- A reading of the ERP that is not newer than the last change in the shop lowers its stock, but never raises it.
SELECT pg_temp.erp('PEN', 'MAIN', 60, 10), pg_temp.shop(113, 7, 98, 5), pg_temp.merge();
SELECT * FROM pg_temp.offer WHERE sku = 'PEN';
SELECT pg_temp.push(), pg_temp.shop(113, 7, 60, 4), pg_temp.erp('PEN', 'MAIN', 70, 10), pg_temp.merge();
SELECT * FROM pg_temp.offer WHERE sku = 'PEN';
SELECT * FROM pg_temp.outbox;
SELECT path, state, rule, local_value, shopify_value, reason FROM sync.conflict WHERE rule = 'stale_snapshot';
SELECT outcome, rule, reason FROM sync.decision_log WHERE rule = 'stale_snapshot';
-- It is said once; nobody is asked to do anything; and it does not go round in circles.
SELECT pg_temp.merge(), pg_temp.merge();
SELECT count(*) FROM sync.decision_log WHERE rule = 'stale_snapshot';
SELECT count(*) FROM sync.conflict WHERE rule = 'stale_snapshot';
SELECT count(*) FROM sync.notification WHERE kind = 'conflicts_open';
-- Read at that very moment is not newer; a moment later is.  The next reading ends it by itself.
SELECT pg_temp.shop(113, 7, 60, 4), pg_temp.erp('PEN', 'MAIN', 70, 4), pg_temp.merge();
SELECT * FROM pg_temp.outbox;
SELECT pg_temp.erp('PEN', 'MAIN', 70, 3), pg_temp.merge();
SELECT * FROM pg_temp.outbox;
SELECT state, rule FROM sync.conflict WHERE rule = 'stale_snapshot';
-- Sold and returned before it was sent: the reading is older than that again.
SELECT pg_temp.shop(113, 7, 60, 2), pg_temp.merge();
SELECT * FROM pg_temp.outbox;
SELECT pg_temp.erp('PEN', 'MAIN', 70, 1), pg_temp.merge();
SELECT pg_temp.push(), pg_temp.merge();
-- erp_import_lag: how long a sale takes to the ERP.
RESET ROLE;
UPDATE sync.connection SET settings = '{"erp_import_lag": "10 minutes"}' WHERE name = 'erp';
SET ROLE sync_worker;
SELECT pg_temp.shop(113, 7, 70, 5), pg_temp.erp('PEN', 'MAIN', 80, 0), pg_temp.merge();
SELECT * FROM pg_temp.offer WHERE sku = 'PEN';
SELECT pg_temp.erp('PEN', 'MAIN', 65, 0), pg_temp.merge();
SELECT * FROM pg_temp.outbox;
SELECT pg_temp.erp('PEN', 'MAIN', 80, 0), pg_temp.merge();
-- A person may take it all the same, and is not asked again before it is sent.
RESET ROLE;
SELECT sync_resolve((SELECT id FROM sync.conflict WHERE state = 'open' AND rule = 'stale_snapshot'), 'local');
SET ROLE sync_worker;
SELECT pg_temp.merge(), pg_temp.merge();
SELECT * FROM pg_temp.outbox;
SELECT count(*) FROM sync.conflict WHERE state = 'open';
SELECT pg_temp.push(), pg_temp.merge();
-- Our own push is no sale: a rule that is taken back counts at once.
RESET ROLE;
UPDATE sync.connection SET settings = '{}' WHERE name = 'erp';
SET ROLE sync_worker;
INSERT INTO sync.stock_rule (name, product_type, safety_stock) VALUES ('keep pens', 'Pens', 30);
SELECT pg_temp.erp('PEN', 'MAIN', 80, 3), pg_temp.merge(), pg_temp.push();
DELETE FROM sync.stock_rule;
SELECT pg_temp.merge();
SELECT * FROM pg_temp.outbox;
SELECT pg_temp.push(), pg_temp.merge();

-- A sale down to little has the ERP read again: at once, then no more often than every five minutes; not for our own pushes, and not where nobody wants it.
RESET ROLE;
UPDATE sync.connection SET settings = '{"low_stock_run": "false"}' WHERE name = 'erp';
SET ROLE sync_worker;
DELETE FROM sync.job;
SELECT pg_temp.shop(113, 7, 12, 1), pg_temp.merge();
SELECT pg_temp.shop(113, 7, 10, 0), pg_temp.merge();
SELECT count(*) FROM sync.job WHERE kind = 'low_stock_run';
RESET ROLE;
UPDATE sync.connection SET settings = '{}' WHERE name = 'erp';
SET ROLE sync_worker;
SELECT pg_temp.shop(113, 7, 12, 1), pg_temp.merge();
SELECT pg_temp.shop(113, 7, 11, 0), pg_temp.merge();
SELECT count(*) FROM sync.job WHERE kind = 'low_stock_run';
SELECT pg_temp.shop(113, 7, 10, 0), pg_temp.merge();
SELECT pg_temp.shop(113, 7, 9, 0), pg_temp.merge();
SELECT payload, key, run_at <= clock_timestamp() AS due FROM sync.job WHERE kind = 'low_stock_run';
SELECT sync.work_low_stock_run(array_agg(id)) FROM sync.job WHERE kind = 'low_stock_run';
DELETE FROM sync.job WHERE kind = 'low_stock_run';
SELECT kind, trigger, active FROM sync.run;
SELECT pg_temp.shop(113, 7, 8, 0), pg_temp.merge();
SELECT run_at BETWEEN clock_timestamp() + interval '4 minutes' AND clock_timestamp() + interval '5 minutes' AS later FROM sync.job WHERE kind = 'low_stock_run';
-- One that is under way may have read the stock before: another one, when it is over.
SELECT sync.work_low_stock_run(array_agg(id)) FROM sync.job WHERE kind = 'low_stock_run';
SELECT count(*) AS runs FROM sync.run;
SELECT count(*) AS waiting FROM sync.job WHERE kind = 'low_stock_run';

-- What pushes is told, where it is there.
RESET ROLE;
CREATE TABLE public.wanted (connection text);
GRANT ALL ON public.wanted TO sync_worker;
CREATE OR REPLACE FUNCTION sync.shop_up_wanted(connection text) RETURNS void LANGUAGE sql AS 'INSERT INTO public.wanted VALUES (connection)';
GRANT EXECUTE ON FUNCTION sync.shop_up_wanted(text) TO sync_worker;
SET ROLE sync_worker;
INSERT INTO sync.job (kind, class, max_attempts, payload) VALUES ('shopify_stock_merge', 2, 1, '{"connection": "shop"}');
SELECT pg_temp.erp('PEN', 'MAIN', 50);
SELECT sync.work_shopify_stock_merge(array_agg(id)) FROM sync.job WHERE kind = 'shopify_stock_merge' AND payload ? 'connection';
SELECT * FROM pg_temp.outbox;
SELECT * FROM public.wanted;
SELECT pg_temp.erp('PEN', 'MAIN', 8), pg_temp.merge();
TRUNCATE public.wanted;
SELECT sync.work_shopify_stock_merge(array_agg(id)) FROM sync.job WHERE kind = 'shopify_stock_merge' AND payload ? 'connection';
SELECT * FROM public.wanted;
RESET ROLE;
DROP EXTENSION product_sync CASCADE;
DROP TABLE public.wanted;
DROP FUNCTION IF EXISTS sync.shop_up_wanted(text);
