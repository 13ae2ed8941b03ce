-- The feed's way to this server: what is asked of the FTP server, and what follows from its answers, which are put in by hand.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install();
-- Each error by itself: nothing is held back because there were many.
UPDATE sync.setting SET value = '0' WHERE name = 'breaker_failures';
INSERT INTO sync.job_kind (kind, network, class, batch, description) VALUES ('feed_load', false, 2, 1, 'loads') ON CONFLICT DO NOTHING;
-- What other tests may have left.
DO $$ BEGIN PERFORM sync.spool_remove(format('feed-%s.%s', n, e)) FROM generate_series(1, 9) n, unnest(ARRAY['zip', 'zip.part']) e; END $$;
RESET client_min_messages;

-- Addresses.
SELECT sync.url_path('a b/ü#1%.zip'), sync.url_path('');
INSERT INTO sync.connection (name, kind, base_url, username, secret_ref) VALUES ('feed', 'etilize', 'ftp://127.0.0.1:1', 'me', 'env:PRODUCT_SYNC_X');
SELECT sync.etilize_url('feed');
UPDATE sync.connection SET base_url = 'ftp://127.0.0.1:1/pub/', settings = '{"path": "/new feed/", "file_name": "a&b.zip"}' WHERE name = 'feed';
SELECT sync.etilize_url('feed');
UPDATE sync.connection SET base_url = 'ftp://127.0.0.1:1/', settings = '{"settle": "0", "max_looks": "3"}' WHERE name = 'feed';
SELECT jsonb_pretty(sync.etilize_request('feed', 'ftp_stat', 'ftp_look_timeout'));

-- Spool files: by their names only.
SELECT sync.spool_size('feed-9000000000000000000.zip') IS NULL AS none, sync.spool_remove('feed-9000000000000000000.zip.part') AS removed;
SELECT sync.spool_size('../../PG_VERSION');
SELECT sync.spool_remove('feed-1.zip/../../../PG_VERSION');
SELECT sync.spool_remove('feed-.zip');
SELECT sync.spool_remove('match-1-2.idx');
DO $$
BEGIN
	PERFORM sync.spool_rename('feed-9000000000000000000.zip', 'feed-9000000000000000000.zip.part');
EXCEPTION WHEN undefined_file THEN
	RAISE NOTICE 'there is no such file';
END
$$;
SELECT source, class, count(*) > 0 AS rules FROM sync.transfer_outcomes() GROUP BY source, class ORDER BY source, class;

-- The open network job of a run answers so; what the run says then.
CREATE FUNCTION answer(run bigint, answer jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	owner integer := sync.worker_register();
	job record;
	asked jsonb;
BEGIN
	UPDATE sync.job SET run_at = now() - interval '1 minute' WHERE run_id = run;
	FOR job IN SELECT j.id, j.kind FROM sync.job j WHERE j.run_id = run ORDER BY j.id LOOP
		UPDATE sync.job j SET lease_owner = owner, lease_until = now() + interval '1 hour', attempt = j.attempt + 1 WHERE j.id = job.id;
		IF job.kind = 'run_start' THEN
			PERFORM sync.worker_run(owner, job.kind, ARRAY[job.id]);
			RETURN 'started';
		END IF;
		SELECT r.request INTO asked FROM sync.worker_request(owner, job.kind, ARRAY[job.id]) r;
		IF asked IS NOT NULL THEN
			PERFORM sync.worker_respond(owner, job.kind, ARRAY[job.id], ARRAY[answer], ARRAY[NULL::bytea]);
		END IF;
	END LOOP;
	RETURN coalesce(asked ->> 'op' || coalesce(' from ' || (asked ->> 'resume_from'), ''), 'nothing asked');
END
$$;
CREATE VIEW story AS
SELECT r.id - (SELECT min(id) FROM sync.run) + 1 AS run, r.state, r.context ->> 'poll' AS poll, r.context -> 'look' ->> 'looks' AS looks,
	r.feed_file_id AS file, f.state AS file_state, f.size,
	coalesce(r.last_error ->> 'message', r.message, r.context ->> 'poll_message') AS message
FROM sync.run r LEFT JOIN sync.feed_file f ON f.id = r.feed_file_id ORDER BY r.id DESC LIMIT 1;

\set seen '{"ok": true, "status": 213, "curl_code": 0, "size": 1000, "modified_at": "2026-01-01T00:00:00+00:00", "bytes": 0}'
\set grown '{"ok": true, "status": 213, "curl_code": 0, "size": 1001, "modified_at": "2026-01-01T00:00:00+00:00", "bytes": 0}'
\set absent '{"ok": false, "class": "permanent", "status": 550, "curl_code": 78, "message": "no such file", "bytes": 0}'
\set lost '{"ok": false, "class": "network", "status": 150, "curl_code": 56, "message": "reset", "bytes": 400}'
\set login '{"ok": false, "class": "permanent", "status": 530, "curl_code": 67, "message": "refused the login", "bytes": 0}'

-- Absent; empty; without a size; too large.
SELECT sync_run_etilize() AS run \gset
SELECT answer(:run, NULL), answer(:run, :'absent'); SELECT * FROM story;
SELECT sync_run_etilize() AS run \gset
SELECT answer(:run, NULL), answer(:run, '{"ok": true, "size": 0}'); SELECT * FROM story;
SELECT sync_run_etilize() AS run \gset
SELECT answer(:run, NULL), answer(:run, '{"ok": true}'); SELECT * FROM story;
SELECT sync_run_etilize() AS run \gset
SELECT answer(:run, NULL), answer(:run, '{"ok": true, "size": 9999999999999}'); SELECT * FROM story;
SELECT sync_run_etilize() AS run \gset
SELECT answer(:run, NULL), answer(:run, :'login'); SELECT * FROM story;

-- A file that never stands still.
SELECT sync_run_etilize() AS run \gset
SELECT answer(:run, NULL), answer(:run, :'seen'), answer(:run, :'grown'), answer(:run, :'seen'); SELECT * FROM story;
SELECT answer(:run, :'grown'); SELECT * FROM story;

-- Two equal looks; a lost connection; the file changed under the download; and vanished.
SELECT sync_run_etilize() AS run \gset
SELECT answer(:run, NULL), answer(:run, :'lost'), answer(:run, :'seen'), answer(:run, :'grown'); SELECT * FROM story;
SELECT answer(:run, :'grown'); SELECT * FROM story;
SELECT answer(:run, :'lost'); SELECT * FROM story;
SELECT answer(:run, '{"ok": true, "status": 226, "bytes": 1001}'); SELECT * FROM story;
SELECT answer(:run, :'absent'); SELECT * FROM story;
SELECT answer(:run, :'seen'); SELECT * FROM story;
SELECT message FROM sync.run_phase WHERE run_id = :run AND state = 'downloading';
SELECT answer(:run, '{"ok": true, "status": 226, "bytes": 1000}'); SELECT * FROM story;
-- Size and time are right, but nothing is on this disk: not believed either, and after max_looks not tried again.
SELECT answer(:run, :'seen'), answer(:run, '{"ok": true, "status": 226, "bytes": 1000}'), answer(:run, :'seen'); SELECT * FROM story;
SELECT error FROM sync.feed_file;

-- The next run goes on with the same row.
SELECT sync_run_etilize() AS run \gset
SELECT answer(:run, NULL), answer(:run, :'seen'), answer(:run, :'seen'); SELECT * FROM story;
SELECT sync_cancel(:run);

-- A file that was dealt with is no new file, unless a person retries the run that did.
UPDATE sync.feed_file SET state = 'failed', error = 'not a zip file';
UPDATE sync.run SET state = 'error' WHERE id = :run;
SELECT sync_run_etilize() AS run \gset
SELECT answer(:run, NULL), answer(:run, :'seen'); SELECT * FROM story;
UPDATE sync.feed_file SET state = 'loaded', error = NULL;
SELECT sync_run_etilize() AS run \gset
SELECT answer(:run, NULL), answer(:run, :'seen'); SELECT * FROM story;
SELECT sync.run_start('etilize', 'feed', 'manual', '{"force": true}') AS run \gset
SELECT answer(:run, NULL), answer(:run, :'seen'), answer(:run, :'seen'); SELECT * FROM story;
SELECT sync_cancel(:run);
-- One whose run was cancelled has not been dealt with: a person's next run takes it, a schedule's does not bring it back.
SELECT sync.run_start('etilize', 'feed', 'schedule') AS run \gset
SELECT answer(:run, NULL), answer(:run, :'seen'); SELECT * FROM story;
SELECT sync_run_etilize() AS run \gset
SELECT answer(:run, NULL), answer(:run, :'seen'), answer(:run, :'seen'); SELECT * FROM story;
SELECT sync_cancel(:run);

-- A schedule takes a file at its second poll; until then it only remembers it.
SELECT sync.run_start('etilize', 'feed', 'schedule') AS run \gset
SELECT answer(:run, NULL), answer(:run, :'grown'); SELECT * FROM story;
SELECT sync.run_start('etilize', 'feed', 'schedule') AS run \gset
SELECT answer(:run, NULL), answer(:run, '{"ok": true, "size": 1002, "modified_at": "2026-01-01T00:00:00+00:00"}'); SELECT * FROM story;
SELECT sync.run_start('etilize', 'feed', 'schedule') AS run \gset
SELECT answer(:run, NULL), answer(:run, '{"ok": true, "size": 1002, "modified_at": "2026-01-01T00:00:00+00:00"}'); SELECT * FROM story;
SELECT sync_cancel(:run);
SELECT id, state, size FROM sync.feed_file ORDER BY id;

DROP VIEW story;
DROP FUNCTION answer;
