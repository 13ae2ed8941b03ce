-- Nothing is sent to a system that fails, or that somebody paused; what waits costs nothing, one probe goes through, and all goes on after it.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install();
\set SHOW_CONTEXT never
INSERT INTO sync.connection (name, kind, base_url, secret_ref) VALUES ('shop', 'shopify', 'https://shop.example/', 'file:shop'),
	('other', 'shopify', 'https://other.example/', 'file:other'), ('erp', 'xorosoft', 'http://erp.example/', 'file:erp'), ('etilize', 'etilize', 'ftp://ftp.example/', 'file:ftp');
SELECT sync.job_enqueue('shopify_product', NULL, jsonb_build_object('connection', 'shop', 'remote_id', n)) AS id FROM generate_series(1, 6) n;
CREATE VIEW breaker AS
SELECT endpoint, state, failures, openings, times_opened, round(extract(epoch FROM retry_at - clock_timestamp()) / 30) * 30 AS retry_in, probe_job, last_error ->> 'message' AS last, paused_reason, paused_by IS NOT NULL AS by_a_person
FROM sync.breaker ORDER BY endpoint;
CREATE FUNCTION gate(VARIADIC ids bigint[]) RETURNS TABLE (allowed bigint[], wait interval, waits boolean) LANGUAGE sql AS $$ SELECT g.allowed, g.wait, g.wait IS NOT NULL FROM sync.breaker_gate('shop', ids) g $$;
CREATE FUNCTION told(id bigint, sign text) RETURNS boolean LANGUAGE sql AS $$ SELECT sync.breaker_told('shop', id, sign, '{"message": "no connection"}') > '20 seconds' $$;
CREATE VIEW held AS SELECT id, payload ->> 'held' AS held, run_at > now() + interval '1 second' AS waits FROM sync.job WHERE payload ? 'held' ORDER BY id;

-- Failures in a row, and no others, open it: four, an answer, four more; what is throttled says nothing.
SELECT told(1, 'down'), told(1, 'down'), told(1, 'down'), told(1, 'down');
SELECT told(2, NULL), told(2, 'up');
SELECT allowed, waits FROM gate(1, 2);
SELECT told(1, 'down'), told(2, 'down'), told(3, 'down'), told(1, 'down');
SELECT told(4, NULL);
SELECT * FROM breaker;
SELECT told(2, 'down');
SELECT * FROM breaker;
SELECT severity, kind, message, details ->> 'hint' AS hint FROM sync.notification ORDER BY id;
-- Then nothing goes; what is told by requests that were under way changes nothing.
SELECT allowed, waits FROM gate(1, 2, 3);
SELECT told(5, 'down'), told(5, 'up');
SELECT state, failures, openings FROM breaker;
SELECT * FROM held;
-- Once its time is over, one goes through: the same for all who ask, and again when it asks again.
UPDATE sync.breaker SET retry_at = clock_timestamp() - interval '1 second';
SELECT * FROM sync.breaker_gate('shop', '{}');
SELECT allowed, waits FROM gate(3, 4);
SELECT allowed, waits FROM gate(4, 5);
SELECT allowed, waits FROM gate(5, 3);
SELECT allowed, waits FROM gate(6);
SELECT state, probe_job, probe_until > clock_timestamp() + interval '100 seconds' AS deadline FROM sync.breaker;
-- It fails: open for longer, and others will be the next.
UPDATE sync.job SET run_at = now() + interval '1 hour' WHERE payload ? 'held';
SELECT told(3, 'down');
SELECT * FROM breaker;
SELECT id, run_at < now() + interval '2 minutes' AS next FROM sync.job WHERE payload ? 'held' ORDER BY id;
SELECT count(*) FROM sync.notification;
-- A probe that comes to nothing: its job is gone, or its time is over.
UPDATE sync.breaker SET retry_at = clock_timestamp() - interval '1 second';
SELECT allowed FROM gate(6);
DELETE FROM sync.job WHERE id = 6;
SELECT allowed FROM gate(5);
UPDATE sync.breaker SET probe_until = clock_timestamp() - interval '1 second';
SELECT allowed FROM gate(4);
SELECT told(4, NULL);
SELECT allowed FROM gate(2, 5);
-- It succeeds: closed, all that waited is due, and people are told.
SELECT told(5, 'up');
SELECT told(2, 'up');
SELECT * FROM breaker;
SELECT * FROM held;
SELECT count(*) FROM sync.job WHERE run_at <= clock_timestamp();
SELECT severity, kind, regexp_replace(message, 'after .*', 'after ...') AS message FROM sync.notification ORDER BY id;
SELECT allowed, waits FROM gate(1, 2, 3, 4);

-- The wait doubles up to its cap; a login that is refused opens at once; a part has its own; 0 is never.
CREATE FUNCTION waits(n integer) RETURNS SETOF numeric LANGUAGE plpgsql AS $$
BEGIN
	PERFORM sync.breaker_told('erp', 1, 'login', '{"message": "wrong key"}');
	FOR i IN 1 .. n LOOP
		RETURN NEXT (SELECT round(extract(epoch FROM retry_at - clock_timestamp()) / 30) FROM sync.breaker WHERE endpoint = 'erp');
		UPDATE sync.breaker SET retry_at = clock_timestamp() WHERE endpoint = 'erp';
		PERFORM sync.breaker_gate('erp', '{1}');
		PERFORM sync.breaker_told('erp', 1, 'down', '{"message": "down"}');
	END LOOP;
END
$$;
SELECT bool_and(abs(w - least(20, 2 ^ (n - 1))) <= least(20, 2 ^ (n - 1)) * 0.11 + 0.5) AS doubled FROM (SELECT sync.breaker_close('erp')) c, waits(7) WITH ORDINALITY AS w (w, n);
SELECT sync.breaker_told('shop', 1, 'login', '{"message": "no"}', 'files') > interval '0' AS waits;
SELECT endpoint, state FROM sync.breaker ORDER BY endpoint;
SELECT (sync.breaker_gate('shop', '{1}')).allowed, (sync.breaker_gate('shop', '{1}', 'files')).allowed;
UPDATE sync.connection SET settings = '{"breaker_failures": 0}' WHERE name = 'other';
SELECT count(sync.breaker_told('other', 1, sign)) FROM generate_series(1, 10), unnest(ARRAY['down', 'login']) sign;
SELECT state, failures FROM sync.breaker WHERE endpoint = 'other';

-- Pausing, by people: any kind of connection, with all its parts.
SELECT sync_pause('shop', 'stocktaking');
SELECT sync_pause('shop', 'again');
SELECT sync_pause('erp') ~ '^paused: paused by ';
SELECT sync_pause('nothing');
SELECT endpoint, state, paused_reason, by_a_person FROM breaker WHERE endpoint IN ('shop', 'shop/files');
SELECT allowed, wait BETWEEN '5 minutes' AND '10 minutes' AS minutes FROM gate(1, 2);
SELECT (sync.breaker_gate('shop', '{3}', 'files')).allowed;
SELECT s.request ->> 'op' AS op FROM sync.shopify_schedule('shop', '{1, 2}', '{"{}", "{}"}', '{1, 1}') s;
SELECT s.request ->> 'op' AS op FROM sync.rate_schedule('erp', '{1, 2}', '{"{}", "{}"}') s;
SELECT sync_run_shopify_down('auto', 'shop');
DO $$ BEGIN PERFORM sync_run_xorosoft(); EXCEPTION WHEN object_not_in_prerequisite_state THEN RAISE WARNING 'refused'; END $$;
SELECT held, count(*) FROM held GROUP BY held ORDER BY held;
SELECT sync_resume('shop');
SELECT sync_resume('shop');
SELECT sync_resume('nothing');
SELECT held, count(*) FROM held GROUP BY held ORDER BY held;
SELECT endpoint, state, paused_reason FROM breaker WHERE endpoint LIKE 'shop%';
-- A run says why it waits.
SELECT sync_resume('erp') IS NOT NULL;
SELECT sync_run_etilize() AS run \gset
UPDATE sync.job SET run_at = now() + interval '1 hour' WHERE run_id IS NULL;
CALL sync_work('0 seconds');
SELECT sync_pause('etilize', 'the supplier asked for it');
SELECT r.request ->> 'op' AS op FROM sync.request_etilize_poll((SELECT array_agg(id) FROM sync.job WHERE kind = 'etilize_poll')) r;
SELECT phase, message FROM sync.progress WHERE current;
SELECT sync_resume('etilize');
SELECT phase, message FROM sync.progress WHERE current;
SELECT r.request ->> 'op' AS op FROM sync.request_etilize_poll((SELECT array_agg(id) FROM sync.job WHERE kind = 'etilize_poll')) r;
-- The clock starts nothing that is paused.
SELECT sync_cancel(:run);
SELECT sync_pause('etilize') IS NOT NULL;
SELECT sync.tick_runs('etilize', '1 minute');
-- Who may.
SET ROLE sync_viewer;
SELECT state, paused_reason IS NOT NULL AS paused FROM sync.breaker WHERE endpoint = 'etilize';
SELECT sync_pause('etilize');
RESET ROLE;
SET ROLE sync_operator;
SELECT sync_resume('etilize') ~ '^resumed';
RESET ROLE;

-- What answers say of the systems that give them.
SELECT v.verdict, sync.xorosoft_sign(v.verdict, v.result::jsonb) AS sign FROM (VALUES ('rows', '{"ok": true, "status": 200}'), ('refused', '{"ok": true, "status": 200}'), ('retry', '{"ok": true, "status": 200}'),
	('retry', '{"ok": false, "status": 500, "class": "network"}'), ('retry', '{"ok": false, "class": "network"}'), ('fail', '{"ok": false, "status": 401, "class": "permanent"}'),
	('fail', '{"ok": false, "status": 400, "class": "permanent"}'), ('absent', '{"ok": false, "status": 404, "class": "permanent"}'), ('throttled', '{"ok": false, "status": 429, "class": "api_limit"}'),
	('fail', '{"ok": false, "class": "permanent", "curl_code": 60}')) v (verdict, result);
SELECT r.result, sync.etilize_sign(r.result::jsonb) AS sign FROM (VALUES ('{"ok": true}'), ('{"ok": false, "class": "permanent", "status": 530, "curl_code": 67}'), ('{"ok": false, "class": "network", "curl_code": 7}'),
	('{"ok": false, "class": "network", "curl_code": 56, "bytes": 1000}'), ('{"ok": false, "class": "permanent", "status": 550, "curl_code": 78}'), ('{"ok": false, "class": "permanent", "curl_code": 23}')) r (result);
-- Renamed, it stays what it was; removed, it goes.
UPDATE sync.connection SET name = 'store' WHERE name = 'shop';
SELECT endpoint FROM sync.breaker ORDER BY endpoint;
DELETE FROM sync.connection WHERE name = 'store';
SELECT endpoint FROM sync.breaker ORDER BY endpoint;
DROP VIEW breaker, held;
DROP FUNCTION gate, told, waits;
DROP EXTENSION product_sync;
DROP SCHEMA sync CASCADE;
