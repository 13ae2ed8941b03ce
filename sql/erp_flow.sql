-- A run of the ERP from its reading on: validation, what it owns of the catalogue, low stock.  No network: the mirror is written by hand.
\set ECHO none
SET client_min_messages = warning;
SET timezone = 'UTC';
\pset format unaligned
\pset footer off
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install() IS NOT NULL AS installed;
INSERT INTO sync.connection (name, kind, base_url) VALUES ('erp', 'xorosoft', 'https://erp.test/');
INSERT INTO sync.product (id, handle, title, vendor) SELECT n, 'p' || n, 'Product ' || n, 'Acme' FROM generate_series(1, 8) n;
INSERT INTO sync.variant (id, product_id, sku, price, cost, barcode, gtin) SELECT n, n, 'CWS-' || n, 10, 6, CASE n WHEN 7 THEN '036000291452' END, CASE n WHEN 7 THEN '00036000291452' END
FROM generate_series(1, 8) n;
INSERT INTO sync.variant (id, product_id, sku, price, cost) VALUES (9, 1, 'CWS-1B', NULL, NULL), (10, 1, 'HERE-ONLY', 1, 1);
-- An item of the ERP as it is now.
CREATE FUNCTION pg_temp.item(no text, price text, cost text DEFAULT '6', more jsonb DEFAULT '{}') RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
	INSERT INTO sync.xorosoft_item (connection, item_number, item_key, unit_price, unit_cost, active, gtin, upc, mpn, brand, title, details, gone_since)
	VALUES ('erp', no, sync.item_key(no), price::numeric, cost::numeric, (more ->> 'active')::boolean, more ->> 'gtin', more ->> 'upc', more ->> 'mpn', more ->> 'brand',
			more ->> 'title', coalesce(more -> 'details', '{}'), (more ->> 'gone')::timestamptz)
	ON CONFLICT (connection, item_number) DO UPDATE SET unit_price = excluded.unit_price, unit_cost = excluded.unit_cost, active = excluded.active, gtin = excluded.gtin,
		upc = excluded.upc, mpn = excluded.mpn, brand = excluded.brand, title = excluded.title, details = excluded.details, gone_since = excluded.gone_since
$$;
CREATE FUNCTION pg_temp.stock(no text, store text, on_hand numeric, reserved numeric DEFAULT 0) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
	INSERT INTO sync.xorosoft_stock (connection, item_number, store, on_hand, allocated) VALUES ('erp', no, store, on_hand, reserved)
	ON CONFLICT (connection, item_number, store) DO UPDATE SET on_hand = excluded.on_hand, allocated = excluded.allocated, gone_since = NULL
$$;
-- A run that has read the ERP, from there to where it rests.  complete: whether the reading came to its end.
CREATE FUNCTION pg_temp.run(complete boolean DEFAULT true) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	this bigint;
	me constant integer := sync.worker_register();
	claimed record;
BEGIN
	SET LOCAL ROLE sync_worker;
	this := sync.run_start('xorosoft', 'erp');
	DELETE FROM sync.job WHERE run_id = this;
	PERFORM sync.run_move(this, 'xorosoft_validation');
	INSERT INTO sync.xorosoft_crawl (connection, run_id, what, mode, complete, finished_at) VALUES
		('erp', this, 'items', 'delta', complete, now()), ('erp', this, 'stock', 'full', true, now());
	PERFORM sync.run_advance(this);
	LOOP
		SELECT array_agg(c.job_id) AS ids, min(c.kind) AS kind INTO claimed FROM sync.worker_claim(me, 1, NULL, '1 minute') c;
		EXIT WHEN claimed.ids IS NULL;
		PERFORM sync.worker_run(me, claimed.kind, claimed.ids);
	END LOOP;
	PERFORM pg_advisory_unlock(sync.owner_lock_class(), me);
	RETURN (SELECT concat_ws(': ', r.state, r.message, (SELECT string_agg(e.key || ' ' || e.value, ', ' ORDER BY e.key) FROM jsonb_each_text(r.counts) e WHERE e.value <> '0'),
		(SELECT string_agg(d.error::text, ' ') FROM sync.dead_letter d WHERE d.run_id = r.id)) FROM sync.run r WHERE r.id = this);
END
$$;
CREATE VIEW pg_temp.open AS
	SELECT s.sku, s.method, s.decision, s.flags, f.path, f.old_value AS old, f.new_value AS new FROM sync.staging s JOIN sync.staging_field f ON f.staging_id = s.id
	WHERE s.state = 'open' ORDER BY s.product_id, f.path;
CREATE VIEW pg_temp.prices AS SELECT v.sku, trim_scale(v.price) AS price, trim_scale(v.cost) AS cost, p.version FROM sync.variant v JOIN sync.product p ON p.id = v.product_id ORDER BY v.id;
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

-- The first comparison: what is empty here is filled; what differs is for people; what is the same is noted.
SELECT count(pg_temp.item('CWS-' || n, CASE n WHEN 2 THEN '12' ELSE '10' END)) FROM generate_series(1, 8) n;
SELECT pg_temp.item('cws1b', '5', '3');
SELECT pg_temp.run();
SELECT * FROM pg_temp.open;
SELECT * FROM pg_temp.prices;
SELECT reason FROM sync.staging ORDER BY id;
SELECT state FROM sync.run_phase ORDER BY id;
SELECT v.version, v.kind, v.source, v.changes FROM sync.product_version v ORDER BY id;

-- Nothing moved: nothing is staged again, and what waits goes on waiting.
SELECT pg_temp.run();
SELECT count(*), min(run_id) FROM sync.staging WHERE state = 'open';
-- A price that was set here on purpose stays, as long as the ERP does not move.
UPDATE sync.variant SET price = 9 WHERE sku = 'CWS-3';
SELECT pg_temp.run();
SELECT pg_temp.item('CWS-3', '11');
SELECT pg_temp.run();
SELECT * FROM pg_temp.prices WHERE sku = 'CWS-3';

-- What waits for a person since the first comparison stays his when the ERP moves on; his entry is superseded.
SELECT pg_temp.item('CWS-2', '12.5');
SELECT pg_temp.run();
SELECT run_id, state, decision, flags FROM sync.staging WHERE sku = 'CWS-2' ORDER BY id;
-- Refused: not offered again until it changes, and then like any other change.
UPDATE sync.staging SET decision = 'rejected' WHERE state = 'open';
SELECT pg_temp.run();
SELECT pg_temp.item('CWS-2', '11');
SELECT pg_temp.run();
SELECT pg_temp.item('CWS-2', '12.5');
SELECT pg_temp.run();
SELECT * FROM pg_temp.prices WHERE sku = 'CWS-2';

-- For a person: a jump of more than a quarter, a price of 0, one below the cost, a cost above the price, another GTIN, an item that is not sold.
SELECT pg_temp.item('CWS-1', '12.51'), pg_temp.item('CWS-3', '0'), pg_temp.item('CWS-4', '9', '9.5'), pg_temp.item('CWS-5', '10', '10.01'), pg_temp.item('CWS-6', '11', '6', '{"active": false}'),
	pg_temp.item('CWS-7', '11', '6', '{"gtin": "00012345678905"}'), pg_temp.item('CWS-8', '12.50');
SELECT pg_temp.run();
SELECT * FROM pg_temp.open;
SELECT * FROM pg_temp.prices WHERE sku = 'CWS-8';
SELECT reason FROM sync.staging WHERE state = 'open' ORDER BY id;
SELECT sku, problems, item_number, details FROM sync.erp_findings ORDER BY sku;
-- Approved by a person; then it is applied as a version of the ERP's.
UPDATE sync.staging SET decision = 'approved' WHERE state = 'open' AND sku = 'CWS-1';
UPDATE sync.staging SET decision = 'rejected' WHERE state = 'open' AND sku <> 'CWS-1';
SELECT pg_temp.run();
SELECT * FROM pg_temp.prices WHERE sku = 'CWS-1';
SELECT count(*) AS labels FROM sync.match_label;

-- What cannot be used is counted by its reason and changes nothing; it is noted as soon as it is right again.
SELECT pg_temp.item('CWS-1', '-1'), pg_temp.item('CWS-2', 'NaN'), pg_temp.item('CWS-3', '1e12'), pg_temp.item('CWS-4', 'Infinity'), pg_temp.item('CWS-5', '10', '6', '{"gone": "2026-01-01"}'),
	pg_temp.item('CWS-8', '12'), pg_temp.item('CWS8', '13'), pg_temp.item('cws-8', '14');
SELECT pg_temp.run();
SELECT sku, problems, item_number, details FROM sync.erp_findings ORDER BY sku;
SELECT count(*) FROM pg_temp.open;
-- Of two items with one number the one that is written as here counts; one that is not sold does not.
DELETE FROM sync.xorosoft_item WHERE item_number = 'CWS-8';
SELECT pg_temp.run();
SELECT sku, problems FROM sync.erp_findings WHERE sku = 'CWS-8';
UPDATE sync.xorosoft_item SET active = false WHERE item_number = 'cws-8';
SELECT pg_temp.item('CWS-1', '12.51'), pg_temp.item('CWS-2', '12.5'), pg_temp.item('CWS-3', '0'), pg_temp.item('CWS-4', '9', '9.5'), pg_temp.item('CWS-5', '10', '10.01');
SELECT pg_temp.run();
SELECT sku, problems FROM sync.erp_findings ORDER BY sku;
SELECT * FROM pg_temp.prices WHERE sku = 'CWS-8';

-- Another currency is never compared.
UPDATE sync.connection SET settings = '{"erp_currency": "CAD"}' WHERE name = 'erp';
SELECT pg_temp.item('CWS8', '14');
SELECT pg_temp.run();
SELECT count(*) FROM pg_temp.open;
UPDATE sync.variant SET currency = 'CAD' WHERE sku = 'CWS-8';
SELECT pg_temp.run();
SELECT * FROM pg_temp.prices WHERE sku = 'CWS-8';

-- A locked field is left alone, and taken over once it is let go.
UPDATE sync.connection SET settings = '{}' WHERE name = 'erp';
SELECT sync_lock(8, 'variants[*].price');
SELECT pg_temp.item('CWS8', '15');
SELECT pg_temp.run();
SELECT sync_unlock(8);
SELECT pg_temp.run();
SELECT * FROM pg_temp.prices WHERE sku = 'CWS-8';

-- Other fields, where the ERP owns them; not by themselves, and a product's own only where all its variants' items say the same.
UPDATE sync.connection SET settings = '{"erp_fields": "barcode, mpn, title, vendor", "erp_first": "apply"}' WHERE name = 'erp';
SELECT pg_temp.item('CWS-7', '11', '6', '{"upc": "36000291452", "mpn": "M-7", "brand": "Acme Ltd", "title": "Seven"}'), pg_temp.item('CWS-1', '1', '1', '{"title": "One"}');
SELECT pg_temp.run();
SELECT * FROM pg_temp.open;
-- A run that is cancelled loses nothing: the next one stages it again.
SELECT sync_cancel(max(id)) FROM sync.run;
SELECT pg_temp.run();
SELECT count(*) FROM pg_temp.open;
UPDATE sync.staging SET decision = 'approved' WHERE state = 'open';
SELECT pg_temp.run();
SELECT p.title, p.vendor, v.mpn, v.barcode FROM sync.product p JOIN sync.variant v ON v.product_id = p.id WHERE p.id = 7;

-- With erp_first skip, what is there stays.
UPDATE sync.connection SET settings = '{"erp_first": "skip"}' WHERE name = 'erp';
DELETE FROM sync.erp_value;
SELECT pg_temp.run();
SELECT count(*) FROM pg_temp.open;

-- A reading that did not come to its end stages nothing.
SELECT pg_temp.item('CWS8', '16');
SELECT pg_temp.run(false);
SELECT pg_temp.run();
SELECT * FROM pg_temp.prices WHERE sku = 'CWS-8';

-- Too much at once is held as a whole.
UPDATE sync.connection SET settings = '{"max_change_minimum": 1, "max_change_share": 0.2}' WHERE name = 'erp';
SELECT pg_temp.item('CWS8', '16.5'), pg_temp.item('CWS-7', '11.5');
SELECT pg_temp.run();
SELECT held_reason FROM sync.run ORDER BY id DESC LIMIT 1;
SELECT sync_release(max(id)) FROM sync.run;
UPDATE sync.connection SET settings = '{}' WHERE name = 'erp';
SELECT pg_temp.run();
SELECT * FROM pg_temp.prices WHERE sku IN ('CWS-7', 'CWS-8');

-- Settings that cannot be.
SET ROLE sync_worker;
UPDATE sync.connection SET settings = '{"erp_fields": "price,weight"}' WHERE name = 'erp';
SELECT pg_temp.try($$SELECT sync.erp_field_list('erp', 'erp_fields')$$);
RESET ROLE;
SELECT pg_temp.run();
SET ROLE sync_worker;
UPDATE sync.connection SET settings = '{"erp_first": "ask", "erp_currency": "cad"}' WHERE name = 'erp';
SELECT pg_temp.try($$SELECT sync.erp_first('erp')$$), pg_temp.try($$SELECT sync.erp_currency('erp')$$);
UPDATE sync.connection SET settings = '{}' WHERE name = 'erp';
RESET ROLE;

-- Low stock -----------------------------------------------------------------------------------------------------------------------

-- No row is not zero, a row of zero is; all stores are added up; the item's own reorder point goes first.
SELECT pg_temp.stock('CWS-1', 'A', 6), pg_temp.stock('CWS-1', 'B', 6, 2), pg_temp.stock('CWS-2', 'A', 0), pg_temp.stock('CWS-3', 'A', 11), pg_temp.stock('CWS-4', 'A', 20);
SELECT pg_temp.item('CWS-4', '9', '9.5', '{"details": {"ReOrderPointQty": 20.0}}'), pg_temp.item('CWS-3', '0', '6', '{"details": {"ReOrderPointQty": 0}}');
SELECT pg_temp.run();
CREATE VIEW pg_temp.low AS SELECT v.sku, trim_scale(k.available) AS available, trim_scale(k.threshold) AS threshold, k.notified_at IS NOT NULL AS told, k.cleared_at IS NOT NULL AS over
	FROM sync.low_stock k JOIN sync.variant v ON v.id = k.variant_id ORDER BY k.id;
SELECT * FROM pg_temp.low;
SELECT message FROM sync.notification WHERE kind = 'low_stock' ORDER BY id;
-- Told once; again only after it has risen.
SELECT pg_temp.stock('CWS-1', 'A', 3);
SELECT pg_temp.run();
SELECT pg_temp.stock('CWS-1', 'A', 60);
SELECT pg_temp.run();
SELECT pg_temp.stock('CWS-1', 'A', 0);
SELECT pg_temp.run();
SELECT * FROM pg_temp.low WHERE sku = 'CWS-1';
SELECT message FROM sync.notification WHERE kind = 'low_stock' ORDER BY id DESC LIMIT 1;
-- What the ERP sells no more is not low.
SELECT pg_temp.item('CWS-2', '12.5', '6', '{"active": false}');
SELECT pg_temp.run();
SELECT * FROM pg_temp.low WHERE sku = 'CWS-2';
-- Many at once are told of at once.
UPDATE sync.setting SET value = '2' WHERE name = 'low_stock_single';
SELECT count(pg_temp.stock('CWS-' || n, 'A', n - 5)) FROM generate_series(3, 7) n;
SELECT pg_temp.run();
SELECT message, details - 'first' AS details FROM sync.notification WHERE kind = 'low_stock' ORDER BY id DESC LIMIT 1;
SELECT sync.reorder_point(d::jsonb, 10) FROM unnest(ARRAY['{}', '{"ReOrderPointQty": 3.5}', '{"ReOrderPointQty": "12"}', '{"ReOrderPointQty": -1}', '{"ReOrderPointQty": "many"}', '{"ReOrderPointQty": null}']) d;
DROP EXTENSION product_sync CASCADE;
