-- Xorosoft: the reader, the mirror and the validation of a feed, with answers put in by hand.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install();
-- Each error by itself: nothing is held back because there were many.
UPDATE sync.setting SET value = '0' WHERE name = 'breaker_failures';
\set SHOW_CONTEXT never

-- What kind of answer a body is.
SELECT name, e.* FROM (VALUES
	('null', NULL),
	('empty', ''::bytea),
	('page', '{"Result": true, "Message": null, "Data": [{}, {}], "Page": 2, "TotalPages": 9}'),
	('no pages', '{"Result": true, "Data": []}'),
	('refused', '{"Result": false, "Message": "Too fast", "Data": []}'),
	('error', '{"Message": "An error has occurred."}'),
	('web page', '<html><body>Sign in</body></html>'),
	('other', '{"error": "no"}'),
	('list', '[]'),
	('no UTF-8', '{"Message": "caf\351"}'::bytea),
	('NUL', '\x7b00'),
	('binary', '\x1f8b0800deadbeef')) v (name, body), sync.xorosoft_envelope(body) e;

-- Rows of all sorts: what cannot be used says why.
SELECT row_no, item_number, title, upc, active, unit_price, modified_at AT TIME ZONE 'UTC' AS modified_at, details, error
FROM sync.xorosoft_items(convert_to('{"Result": true, "Data": [
	{"ItemNumber": "A-1", "Title": "Pen \u0000\ud83d", "ItemUpc": 36000291452, "ActiveFlag": "1", "StandardUnitPrice": "1.50",
	 "ModifyDttm": "04/23/2025 03:10:05 PM", "ReOrderPointQty": 10.0},
	{"ItemNumber": "", "Title": "none"}, 17, {"ItemNumber": "B", "ModifyDttm": "01/01/0001 12:00:00 AM", "StandardUnitPrice": "free"}]}', 'UTF8'));
SELECT * FROM sync.xorosoft_stock_rows('{"Result": true, "Data": [
	{"ItemNumber": "A-1", "StoreName": "Main", "OnHandQty": 3.5, "QtyOnPO": 2}, {"ItemNumber": "A-1", "StoreName": "Main", "OnHandQty": null}]}');
SELECT count(*) FROM sync.xorosoft_items(NULL);
SELECT count(*) FROM sync.xorosoft_items(convert_to(repeat('[', 1000000), 'UTF8'));
SELECT count(*), count(error), max(length(title)) FROM sync.xorosoft_items(convert_to('{"Data": ['
	|| (SELECT string_agg(format('{"ItemNumber": "%s", "Title": "%s"}', n, repeat('x', 3000)), ',') FROM generate_series(1, 2000) n) || ']}', 'UTF8'));

-- An ERP in a table: pages of two, and answers for once, taken first.
CREATE TABLE erp (n integer PRIMARY KEY, item jsonb NOT NULL);
CREATE TABLE once (id serial, param text, result jsonb DEFAULT '{"ok": true, "status": 200}', body text);
CREATE TABLE asked (id serial, url text);
CREATE TABLE manner (total_pages boolean);
INSERT INTO manner VALUES (true);
CREATE FUNCTION erp_body(url text) RETURNS text LANGUAGE sql AS $$
	SELECT jsonb_build_object('Result', true, 'Data', coalesce((SELECT jsonb_agg(e.item ORDER BY e.n) FROM (
			SELECT * FROM erp WHERE (substring(url FROM 'item_number=([^&]*)') IS NULL OR item ->> 'ItemNumber' = substring(url FROM 'item_number=([^&]*)'))
				AND (substring(url FROM 'updated_at_min=([^&]*)') IS NULL OR to_timestamp(item ->> 'ModifyDttm', 'MM/DD/YYYY HH12:MI:SS AM') AT TIME ZONE 'UTC'
					>= replace(substring(url FROM 'updated_at_min=([^&]*)'), '%3A', ':')::timestamp)
			ORDER BY n LIMIT 2 OFFSET (coalesce(substring(url FROM '[?&]page=([0-9]+)')::integer, 1) - 1) * 2) e), '[]'))
		|| CASE WHEN (SELECT total_pages FROM manner) THEN jsonb_build_object('TotalPages', (SELECT (count(*) + 1) / 2 FROM erp
				WHERE substring(url FROM 'updated_at_min=([^&]*)') IS NULL OR to_timestamp(item ->> 'ModifyDttm', 'MM/DD/YYYY HH12:MI:SS AM') AT TIME ZONE 'UTC'
					>= replace(substring(url FROM 'updated_at_min=([^&]*)'), '%3A', ':')::timestamp)) ELSE '{}' END
$$;

-- Works on the jobs of the ERP until there are none or so many were done, as the engine does, one at a time and without waiting.
CREATE FUNCTION work(most integer DEFAULT 200) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	me constant integer := sync.worker_register();
	claimed record;
	asking record;
	given record;
	taken integer := 0;
BEGIN
	WHILE taken < most LOOP
		UPDATE sync.job SET run_at = now() - interval '1 minute' WHERE kind LIKE 'xorosoft%' OR kind = 'run_start';
		SELECT array_agg(c.job_id) AS ids, min(c.kind) AS kind, bool_or(c.network) AS network INTO claimed
		FROM sync.worker_claim(me, 1, NULL, '1 minute') c;
		EXIT WHEN claimed.ids IS NULL;
		taken := taken + 1;
		IF NOT claimed.network THEN
			PERFORM sync.worker_run(me, claimed.kind, claimed.ids);
			CONTINUE;
		END IF;
		FOR asking IN SELECT * FROM sync.worker_request(me, claimed.kind, claimed.ids) LOOP
			INSERT INTO asked (url) VALUES (asking.request ->> 'url');
			DELETE FROM once WHERE id = (SELECT min(id) FROM once WHERE asking.request ->> 'url' LIKE '%' || param) RETURNING * INTO given;
			IF FOUND THEN
				PERFORM sync.worker_respond(me, claimed.kind, ARRAY[asking.job_id], ARRAY[given.result], ARRAY[convert_to(given.body, 'UTF8')]);
			ELSE
				PERFORM sync.worker_respond(me, claimed.kind, ARRAY[asking.job_id], ARRAY['{"ok": true, "status": 200}'::jsonb],
											ARRAY[convert_to(erp_body(asking.request ->> 'url'), 'UTF8')]);
			END IF;
		END LOOP;
	END LOOP;
	PERFORM pg_advisory_unlock(sync.owner_lock_class(), me);
	RETURN (SELECT concat_ws(' ', r.state, p.done || '/' || p.total) FROM sync.run r LEFT JOIN sync.run_phase p ON p.run_id = r.id AND p.state = 'xorosoft_validation'
			ORDER BY r.id DESC, p.id DESC LIMIT 1);
END
$$;
CREATE VIEW crawls AS
	SELECT what, mode, total_pages AS total, pages, items, rejected, gaps, complete, finished_at IS NOT NULL AS finished, error, first_reject
	FROM sync.xorosoft_crawl c WHERE what = 'items' ORDER BY id DESC LIMIT 1;
CREATE VIEW urls AS SELECT substring(url FROM '/api/.*') AS url FROM asked ORDER BY id;

-- No connection, and one too many.
SELECT sync_run_xorosoft();
INSERT INTO sync.connection (name, kind, base_url, username, secret_ref, settings) VALUES
	('erp', 'xorosoft', 'http://127.0.0.1:9/api/xerp/', 'key', 'env:NONE', '{"page_size": 2, "requests_per_second": 100000}'),
	('erp-2', 'xorosoft', 'http://127.0.0.1:9/api/xerp/', 'key', 'env:NONE', '{}');
SELECT sync_run_xorosoft();
DELETE FROM sync.connection WHERE name = 'erp-2';

-- The first reading takes all; of two rows with one number the later change counts.
INSERT INTO erp SELECT n, jsonb_build_object('Id', n, 'ItemNumber', 'CWS-' || n, 'BasePartNumber', 'B' || n, 'Title', 'Item ' || n,
	'ItemUpc', CASE n WHEN 1 THEN '036000291452' END, 'ActiveFlag', n <> 2, 'ModifyDttm', format('01/%s/2026 09:00:00 AM', 10 + n), 'StandardUnitPrice', n + 0.5)
FROM generate_series(1, 5) n;
INSERT INTO erp VALUES (6, '{"ItemNumber": "CWS-5", "Title": "Item 5, older", "ModifyDttm": "01/01/2026 09:00:00 AM"}'), (7, '{"Title": "no number"}');
UPDATE erp SET n = 60 WHERE n = 6;
SELECT sync_run_xorosoft() IS NOT NULL AS started;
SELECT sync_run_xorosoft() = (SELECT max(id) FROM sync.run) AS the_same_run;
SELECT work();
SELECT * FROM crawls;
SELECT * FROM urls WHERE url LIKE '%getitem%';
SELECT xorosoft_id, item_number, item_key, base_key, title, upc, gtin, active, unit_price, modified_at AT TIME ZONE 'UTC' AS modified_at, gone_since
FROM sync.xorosoft_item ORDER BY item_number;
SELECT newest AT TIME ZONE 'UTC' AS newest, watermark BETWEEN newest - interval '1 minute' AND newest AS moved FROM sync.xorosoft_crawl WHERE what = 'items';
SELECT severity, kind, message FROM sync.notification WHERE kind LIKE 'xorosoft%';

-- Then only what changed, with an overlap; what is as it was is not written.
DELETE FROM erp WHERE n >= 7;
UPDATE erp SET item = item || '{"Title": "Changed", "ModifyDttm": "01/20/2026 09:00:00 AM"}' WHERE n = 2;
TRUNCATE asked;
CREATE TABLE before AS SELECT id, seen_at, ctid AS place FROM sync.xorosoft_item;
SELECT sync_run_xorosoft() IS NOT NULL AS started, work();
SELECT * FROM crawls;
SELECT regexp_replace(url, 'T08%3A(44|45)%3A..', 'T08:45 or a little less') AS url FROM urls WHERE url LIKE '%getitem%';
SELECT item_number, title FROM sync.xorosoft_item i JOIN before b USING (id) WHERE i.ctid <> b.place;

-- A page that comes empty is asked for again, without cost, and is right in the end.  So is a throttled one; the pause is kept.
UPDATE sync.connection SET settings = settings || '{"mirror_full_every": "0"}' WHERE name = 'erp';
INSERT INTO once (param, body) SELECT 'page=2&per_page=2', '{"Result": true, "Data": [], "TotalPages": 3}' FROM generate_series(1, 3);
INSERT INTO once (param, body) VALUES ('page=1&per_page=2', '{"Result": false, "Data": null}');
INSERT INTO once (param, result, body) VALUES ('page=3&per_page=2', '{"ok": false, "class": "api_limit", "status": 429, "retry_after": 40, "message": "slow"}', 'x');
TRUNCATE asked;
UPDATE sync.connection SET settings = settings || '{"stock_path": "none"}' WHERE name = 'erp';
SELECT sync_run_xorosoft() IS NOT NULL AS started, work(30);
SELECT paused_until > now() + interval '30 seconds' AS paused FROM sync.rate_limit WHERE connection = 'erp';
UPDATE sync.rate_limit SET paused_until = NULL;
SELECT work();
SELECT * FROM crawls;
SELECT url, count(*) FROM urls WHERE url LIKE '%getitem%' GROUP BY url ORDER BY url;
SELECT max(attempt) AS attempts FROM sync.job_history WHERE kind = 'xorosoft_page';

-- An empty page that stays so is believed in the end, but then nothing is concluded from what was not seen.
INSERT INTO once (param, body) SELECT 'page=2&per_page=2', '{"Result": true, "Data": [], "TotalPages": 3}' FROM generate_series(1, 4);
SELECT sync_run_xorosoft() IS NOT NULL AS started, work();
SELECT * FROM crawls;
SELECT count(*) FROM sync.xorosoft_item WHERE gone_since IS NOT NULL;

-- A full reading that misses few marks them as gone; one that misses many is not trusted in this.
DELETE FROM erp WHERE n = 4;
SELECT sync_run_xorosoft() IS NOT NULL AS started, work();
SELECT item_number, gone_since IS NOT NULL AS gone FROM sync.xorosoft_item ORDER BY item_number;
DELETE FROM erp WHERE n IN (1, 3);
SELECT sync_run_xorosoft() IS NOT NULL AS started, work();
SELECT item_number, gone_since IS NOT NULL AS gone FROM sync.xorosoft_item ORDER BY item_number;
SELECT severity, message FROM sync.notification WHERE kind = 'xorosoft_shrunk';

-- What comes back is no longer gone.  Without TotalPages the reading ends with the page that is not full.
UPDATE manner SET total_pages = false;
INSERT INTO erp SELECT n, jsonb_build_object('ItemNumber', 'CWS-' || n, 'Title', 'Item ' || n, 'BasePartNumber', 'B' || n, 'ActiveFlag', true) FROM unnest(ARRAY[1, 3, 4]) n;
UPDATE erp SET item = item || '{"ItemUpc": "036000291452"}' WHERE n = 1;
TRUNCATE asked;
SELECT sync_run_xorosoft() IS NOT NULL AS started, work();
SELECT * FROM crawls;
SELECT * FROM urls WHERE url LIKE '%getitem%';
SELECT count(*) FROM sync.xorosoft_item WHERE gone_since IS NOT NULL;

-- A reading that fails is never taken for the truth, whatever it saw; the next run reads only the pages that it lacks.
UPDATE manner SET total_pages = true;
DELETE FROM erp WHERE n = 5;
INSERT INTO erp SELECT n, jsonb_build_object('ItemNumber', 'NEW-' || n) FROM generate_series(11, 15) n;
INSERT INTO once (param, result, body) SELECT 'page=3&per_page=2', '{"ok": false, "class": "network", "status": 500, "message": "GET: status 500"}', '{"Message": "An error has occurred."}'
FROM generate_series(1, 6);
UPDATE sync.setting SET value = '1' WHERE name = 'run_attempts';
SELECT sync_run_xorosoft() IS NOT NULL AS started, work();
SELECT complete, finished, error, pages @> 3 AS has_page_3 FROM crawls;
SELECT last_error FROM sync.run ORDER BY id DESC LIMIT 1;
SELECT count(*) FROM sync.xorosoft_item WHERE gone_since IS NOT NULL;
TRUNCATE asked;
SELECT sync_run_xorosoft() IS NOT NULL AS started, work();
SELECT complete, finished, error FROM crawls;
SELECT count(*) BETWEEN 1 AND 3 AS only_the_rest FROM urls WHERE url LIKE '%getitem%';

-- A list that is empty from the start, a wrong key, a web page: each ends in its own error.
INSERT INTO once (param, body) SELECT 'getitem?page=1&per_page=2', '{"Result": true, "Data": []}' FROM generate_series(1, 4 + 5);
SELECT sync_run_xorosoft() IS NOT NULL AS started, work();
SELECT last_error FROM sync.run ORDER BY id DESC LIMIT 1;
INSERT INTO once (param, result) VALUES ('getitem?page=1&per_page=2', '{"ok": false, "class": "permanent", "status": 401, "message": "GET http://127.0.0.1:9/: the server wants a valid login"}');
SELECT sync_run_xorosoft() IS NOT NULL AS started, work();
SELECT last_error FROM sync.run ORDER BY id DESC LIMIT 1;
INSERT INTO once (param, body) SELECT 'getitem?page=1&per_page=2', '<html>' FROM generate_series(1, 6);
SELECT sync_run_xorosoft() IS NOT NULL AS started, work();
SELECT last_error FROM sync.run ORDER BY id DESC LIMIT 1;

-- Validation --------------------------------------------------------------------------------------------------------------------

TRUNCATE erp, asked, once;
INSERT INTO erp VALUES
	(1, '{"ItemNumber": "CWS1", "ActiveFlag": true}'), (2, '{"ItemNumber": "CWS-2", "ActiveFlag": false}'),
	(3, '{"ItemNumber": "X-3", "BasePartNumber": "cws-3", "IsSellableFlag": true}'), (4, '{"ItemNumber": "by-metafield"}'),
	(5, '{"ItemNumber": "by-second-metafield", "ActiveFlag": "N"}'), (6, '{"ItemNumber": "upc", "ItemUpc": "036000291452"}'),
	(7, '{"ItemNumber": "CWS-7", "ActiveFlag": false}'), (8, '{"ItemNumber": "CWS7", "ActiveFlag": true}');
DELETE FROM sync.xorosoft_item;
INSERT INTO sync.connection (name, kind, base_url, settings) VALUES ('feed', 'etilize', 'ftp://127.0.0.1:9/', '{}');
UPDATE sync.connection SET settings = settings || '{"mirror_max_age": "1 hour", "validation_batch": 2, "lookup_limit": 3}' WHERE name = 'erp';
INSERT INTO sync.feed_file (connection, name, state, size, products) VALUES ('feed', 'test.zip', 'loaded', 1, 11);
SELECT id AS file FROM sync.feed_file WHERE name = 'test.zip' \gset
CREATE TABLE sync.feed_item_test PARTITION OF sync.feed_item FOR VALUES IN (:file);
INSERT INTO sync.feed_item (id, feed_file_id, line, product_no, kind, sku, product, variant)
SELECT (:file::bigint << 32) + no, :file, no, no, kind::sync.feed_row_kind, sku, product::jsonb, variant::jsonb FROM (VALUES
	(1, 'product', 'cws-1', '{}', '{}'), (2, 'product', 'CWS-2', '{}', '{}'), (3, 'product', 'CWS3', '{}', '{}'),
	(4, 'product', 'A4', '{"metafields": {"custom.CWS_A": "BYMETAFIELD"}}', '{}'),
	(5, 'product', 'A5', '{"metafields": {"custom.CWS_A": "nothing", "custom.SPRC": ["x", "by-second-metafield"]}}', '{}'),
	(6, 'product', 'A6', '{}', '{"barcode": "036000291452"}'), (7, 'product', 'C-W-S-7', '{}', '{}'),
	(8, 'product', 'LOOKUP-8', '{}', '{}'), (9, 'variant', 'LOOKUP-9', NULL, '{}'), (10, 'image', NULL, NULL, NULL),
	(11, 'product', 'never', '{}', '{}')) v (no, kind, sku, product, variant);
-- The run is brought to its phase, and kept there by a job that is not due.
CREATE FUNCTION begin_validation(file bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	this bigint := sync.run_start('etilize', 'feed');
BEGIN
	DELETE FROM sync.job WHERE run_id = this;
	UPDATE sync.run SET feed_file_id = file WHERE id = this;
	PERFORM sync.run_move(this, s) FROM unnest(ARRAY['ftp_monitoring', 'file_detected', 'downloading', 'processing', 'xorosoft_validation']) s;
	PERFORM sync.job_enqueue('housekeep', this, run_at => now() + interval '1 day');
	PERFORM sync.validation_begin(this);
	RETURN this;
END
$$;
CREATE FUNCTION end_validation(this bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM sync.validation_finish(this);
	DELETE FROM sync.job WHERE run_id = this;
	PERFORM sync.run_move(this, 'cancelled');
	UPDATE sync.run SET active = false, finished_at = now() WHERE id = this;
END
$$;
CREATE FUNCTION job_kinds(this bigint) RETURNS text LANGUAGE sql AS
	$$ SELECT string_agg(kind || ' ' || n, ', ' ORDER BY kind COLLATE "C") FROM (SELECT kind, count(*) AS n FROM sync.job WHERE run_id = this GROUP BY kind) k $$;

-- The mirror is too old: it is read first.  Then batches of two; three look-ups at most.
UPDATE sync.xorosoft_crawl SET finished_at = finished_at - interval '2 hours';
UPDATE sync.connection SET settings = settings || '{"stock_path": "inventory/getinventorybyitem"}' WHERE name = 'erp';
SELECT begin_validation(:file) AS run \gset
SELECT job_kinds(:run);
SELECT work(4);
SELECT job_kinds(:run);
SELECT work(1);
SELECT job_kinds(:run);
SELECT product_no, sku, status, looked_up FROM sync.validation WHERE run_id = :run ORDER BY product_no;
-- Meanwhile the ERP has learnt of one, and knows another as not sold; the third stays unknown.
INSERT INTO erp VALUES (20, '{"ItemNumber": "LOOKUP-8", "ActiveFlag": true}'), (21, '{"ItemNumber": "LOOKUP-9", "ActiveFlag": false}');
SELECT work();
SELECT * FROM urls WHERE url LIKE '%item_number%' ORDER BY url COLLATE "C";
SELECT product_no, sku, status, looked_up FROM sync.validation WHERE run_id = :run ORDER BY product_no;
SELECT end_validation(:run);
SELECT context -> 'validation' AS validation, counts FROM sync.run WHERE id = :run;

-- Now the mirror is fresh, and what was looked up in vain is not asked for again.
TRUNCATE asked;
SELECT begin_validation(:file) AS run \gset
SELECT job_kinds(:run);
SELECT work();
SELECT product_no, sku, status, looked_up FROM sync.validation WHERE run_id = :run ORDER BY product_no;
SELECT * FROM urls;
-- Begun again, it comes to the same.
SELECT sync.validation_enqueue(:run);
SELECT work() IS NOT NULL AS worked;
SELECT count(*) FROM sync.validation WHERE run_id = :run;
SELECT end_validation(:run);

-- A look-up that fails for good, or is throttled, does not stop the run.
UPDATE sync.connection SET settings = settings || '{"lookup_misses": "always"}' WHERE name = 'erp';
INSERT INTO once (param, result, body) SELECT '%item_number=never', '{"ok": false, "class": "network", "status": 500, "message": "GET: status 500"}', '' FROM generate_series(1, 5);
INSERT INTO once (param, body) VALUES ('%item_number=never', '{"Result": false, "Data": []}');
SELECT begin_validation(:file) AS run \gset
SELECT work();
SELECT sku, status, looked_up FROM sync.validation WHERE run_id = :run ORDER BY product_no;
SELECT counts FROM sync.run WHERE id = :run;
SELECT count(*) FROM sync.dead_letter WHERE run_id = :run;
SELECT end_validation(:run);

-- Another run that reads the mirror already is waited for.
UPDATE sync.xorosoft_crawl SET finished_at = finished_at - interval '2 hours';
SELECT sync_run_xorosoft() AS reader \gset
SELECT work(2);
SELECT begin_validation(:file) AS run \gset
SELECT job_kinds(:run);
SELECT work();
SELECT count(*) FROM sync.validation WHERE run_id = :run;
SELECT count(*) AS readings FROM sync.xorosoft_crawl WHERE run_id IN (:run, :reader) AND what = 'items';
SELECT end_validation(:run);

-- And when that run is cancelled in the middle, the one that waits goes on where it stopped.
UPDATE sync.xorosoft_crawl SET finished_at = finished_at - interval '2 hours';
SELECT sync_run_xorosoft() AS reader \gset
SELECT work(2);
SELECT begin_validation(:file) AS run \gset
SELECT sync_cancel(:reader);
TRUNCATE asked;
SELECT work() IS NOT NULL AS worked;
SELECT job_kinds(:run), done, total FROM sync.run_phase WHERE run_id = :run AND state = 'xorosoft_validation';
SELECT count(*) FILTER (WHERE complete) AS complete, count(*) AS readings FROM sync.xorosoft_crawl WHERE run_id IN (:run, :reader) AND what = 'items';
SELECT count(*) AS again FROM urls WHERE url LIKE '%getitem?page=1&%';
SELECT end_validation(:run);

-- Without a Xorosoft connection there is nothing to validate with.
UPDATE sync.connection SET enabled = false WHERE name = 'erp';
SELECT begin_validation(:file) AS run \gset
SELECT job_kinds(:run), context ->> 'validation' AS validation FROM sync.run WHERE id = :run;
SELECT end_validation(:run);
UPDATE sync.connection SET settings = '{"validate_with": "erp"}' WHERE name = 'feed';
SELECT begin_validation(:file);

-- The rate: start times are apart, what is far ahead is put off, a pause is kept.
UPDATE sync.connection SET enabled = true, settings = '{"requests_per_second": 2}' WHERE name = 'erp';
DELETE FROM sync.rate_limit;
SELECT granted, step FROM sync.rate_reserve('erp', 4);
SELECT granted, first_at > clock_timestamp() + interval '1.5 seconds' AS later FROM sync.rate_reserve('erp', 100);
SELECT granted, free_at > clock_timestamp() + interval '4 seconds' AS much_later FROM sync.rate_reserve('erp', 1);
DELETE FROM sync.rate_limit;
SELECT sync.rate_pause('erp', 60);
SELECT granted FROM sync.rate_reserve('erp', 1);
DELETE FROM sync.rate_limit;
SELECT no, request ->> 'op' AS op, CASE WHEN request ? 'start_at' THEN 'reserved' WHEN (request ->> 'retry_in')::numeric BETWEEN 0.2 AND 60 THEN 'put off' END AS fate
FROM sync.rate_schedule('erp', ARRAY[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], array_fill('{"op": "http"}'::jsonb, ARRAY[12])) WITH ORDINALITY AS s (job_id, request, no);

DROP TABLE sync.feed_item_test;
DELETE FROM sync.run;
DELETE FROM sync.job;
DELETE FROM sync.feed_file;
DELETE FROM sync.connection WHERE name IN ('erp', 'feed');
UPDATE sync.setting SET value = '3' WHERE name = 'run_attempts';
DROP VIEW crawls, urls;
DROP TABLE erp, once, asked, manner, before;
DROP FUNCTION erp_body, work, begin_validation, end_validation, job_kinds;
