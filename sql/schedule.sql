-- The schedule without pg_cron, and housekeeping.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install();
\set SHOW_CONTEXT never

-- Without pg_cron the calls say what to do; what else they say depends on the server.
DO $$
BEGIN
	PERFORM sync_schedule();
	RAISE EXCEPTION 'it was scheduled without pg_cron';
EXCEPTION WHEN undefined_file OR feature_not_supported THEN
	NULL;
END
$$;
SELECT sync_schedule('hourly');
SELECT j.job_name, j.schedule, j.command FROM sync.schedule_jobs('standard') j WHERE j.job_name <> 'product_sync_work';
SELECT p.preset, string_agg(j.schedule, ', ') FROM unnest(ARRAY['frequent', 'nightly']) p (preset), sync.schedule_jobs(p.preset) j
WHERE j.job_name <> 'product_sync_work' GROUP BY p.preset ORDER BY p.preset;

-- The ticks.
SELECT sync.tick('everything');
SELECT sync.tick('stage'), sync.tick('apply');
INSERT INTO sync.connection (name, kind, base_url) VALUES ('feed', 'etilize', 'ftp://127.0.0.1:9/'), ('feed-2', 'etilize', 'ftp://127.0.0.1:9/'),
	('feed-3', 'etilize', 'ftp://127.0.0.1:9/'), ('erp', 'xorosoft', 'http://127.0.0.1:9/');
UPDATE sync.connection SET enabled = false WHERE name = 'feed-3';
SELECT sync.tick('poll'), sync.tick('mirror');
SELECT sync.tick('poll');
SELECT connection, kind, trigger, state FROM sync.run ORDER BY connection;
-- A run that lost its job is moved on.
DELETE FROM sync.job;
SELECT sync.tick('stage');
SELECT r.connection, r.state, string_agg(j.kind, ', ' ORDER BY j.kind) AS jobs FROM sync.run r LEFT JOIN sync.job j ON j.run_id = r.id GROUP BY r.id ORDER BY r.connection;
-- An operator may tick, others may not.
SET ROLE sync_operator;
SELECT sync.tick('stage');
SELECT sync_schedule();
RESET ROLE;
SET ROLE sync_viewer;
SELECT sync.tick('stage');
RESET ROLE;
DELETE FROM sync.job;
DELETE FROM sync.run;
DELETE FROM sync.xorosoft_crawl;

-- Housekeeping: of six loaded files the newest three stay, and those that are still needed.
INSERT INTO sync.feed_file (connection, name, state, size) SELECT 'feed', n || '.zip', 'loaded', 1 FROM generate_series(1, 6) n;
INSERT INTO sync.feed_file (connection, name, state, size, created_at) VALUES ('feed', 'same.zip', 'unchanged', 1, now() - interval '2 days'), ('feed', 'new.zip', 'failed', 1, now());
DO $$
DECLARE
	file record;
BEGIN
	FOR file IN SELECT id FROM sync.feed_file WHERE state = 'loaded' LOOP
		EXECUTE format('CREATE TABLE sync.%I PARTITION OF sync.feed_item FOR VALUES IN (%L)', 'feed_item_old_' || file.id, file.id);
		EXECUTE format('INSERT INTO sync.feed_item (id, feed_file_id, line, product_no, kind) VALUES (%s, %s, 1, 1, ''product'')', file.id, file.id);
	END LOOP;
END
$$;
INSERT INTO sync.run (kind, connection, feed_file_id, active, state, finished_at)
SELECT 'etilize', 'feed', f.id, false, CASE f.name WHEN '1.zip' THEN 'manual_review' ELSE 'complete' END::sync.run_state, CASE f.name WHEN '1.zip' THEN NULL ELSE now() - interval '3 days' END
FROM sync.feed_file f WHERE f.name IN ('1.zip', '2.zip', '3.zip');
INSERT INTO sync.staging (run_id, connection, kind, reason, confidence, method) SELECT r.id, 'feed', 'create', 'test', 1, 'test' FROM sync.run r JOIN sync.feed_file f ON f.id = r.feed_file_id WHERE f.name = '2.zip';
INSERT INTO sync.match_result (run_id, feed_item_id, product_no, variant_id, product_id, confidence, method, evidence) SELECT r.id, 1, 1, 1, 1, 1, 'test', '{}' FROM sync.run r;
INSERT INTO sync.validation (run_id, feed_item_id, product_no, sku, status) SELECT r.id, 1, 1, 'x', 'unknown' FROM sync.run r;
INSERT INTO sync.notification (kind, message, created_at) VALUES ('old', 'old', now() - interval '91 days'), ('recent', 'recent', now() - interval '1 day');
TRUNCATE sync.job_history;
SELECT sync.work_housekeep('{}') - 'history_days' AS done;
SELECT f.name, f.state, (SELECT count(*) FROM sync.feed_item i WHERE i.feed_file_id = f.id) AS items FROM sync.feed_file f ORDER BY f.id;
SELECT f.name, (SELECT count(*) FROM sync.match_result m WHERE m.run_id = r.id) AS matches, (SELECT count(*) FROM sync.validation v WHERE v.run_id = r.id) AS validations
FROM sync.run r JOIN sync.feed_file f ON f.id = r.feed_file_id ORDER BY f.id;
SELECT kind FROM sync.notification WHERE kind IN ('old', 'recent');
SELECT sync.work_housekeep('{}') AS again;

-- Where approving is not to apply, neither does the clock; what sync_apply() began goes on.
UPDATE sync.connection SET settings = '{"apply_on_approval": "false"}' WHERE name = 'feed';
UPDATE sync.run r SET state = 'manual_review', finished_at = NULL FROM sync.staging s WHERE s.run_id = r.id;
SELECT d.entries FROM sync_approve(ARRAY(SELECT id FROM sync.staging)) d;
SELECT sync.tick('apply');
UPDATE sync.run r SET state = 'syncing' FROM sync.staging s WHERE s.run_id = r.id;
SELECT sync.tick('apply');
DELETE FROM sync.job;

-- History: a partition for today and the next days, old ones gone with their rows.
SELECT count(*) AS days FROM generate_series(0, 3) n WHERE to_regclass(to_char((now() AT TIME ZONE 'UTC')::date + n::integer, '"sync.job_history_"YYYYMMDD')) IS NOT NULL;
CREATE TABLE sync.job_history_20200101 PARTITION OF sync.job_history FOR VALUES FROM ('2020-01-01 00:00:00+00') TO ('2020-01-02 00:00:00+00');
INSERT INTO sync.job_history (id, kind, attempt, outcome, created_at, finished_at) VALUES (1, 'x', 1, 'done', '2020-01-01 10:00+00', '2020-01-01 10:00+00'),
	(2, 'x', 1, 'done', '2019-01-01 10:00+00', '2019-01-01 10:00+00'), (3, 'x', 1, 'done', now(), now());
SELECT sync.housekeep_history();
SELECT id, tableoid::regclass::text ~ '^sync.job_history_[0-9]+$' AS of_a_day FROM sync.job_history;
DELETE FROM sync.run;
DELETE FROM sync.feed_file;
DELETE FROM sync.connection;
DROP TABLE IF EXISTS sync.job_history_20200101;
