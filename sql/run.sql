-- Runs: starting, moving, stopping; no network is needed for that.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install();
RESET client_min_messages;

SELECT sync_run_etilize();
INSERT INTO sync.connection (name, kind, base_url, settings) VALUES ('feed', 'etilize', 'ftp://127.0.0.1:1/', '{"retry_wiat": "1 minute"}');
INSERT INTO sync.connection (name, kind, base_url, settings) VALUES ('feed', 'etilize', 'ftp://127.0.0.1:1/', '{"retry_wait": "soon"}');
INSERT INTO sync.connection (name, kind, base_url, secret_ref) VALUES ('feed', 'etilize', 'ftp://user:secret@127.0.0.1/', 'file:x');
INSERT INTO sync.connection (name, kind, base_url, secret_ref) VALUES ('feed', 'etilize', 'ftp://127.0.0.1/', 'swordfish');
INSERT INTO sync.connection (name, kind, base_url, settings) VALUES ('feed', 'etilize', 'ftp://127.0.0.1:1/', '{"retry_wait": "1 hour"}');

-- One run at a time: asking again gives the one that is active.
SELECT sync_run_etilize() AS run \gset
SELECT sync_run_etilize() = :run AS same_run;
SELECT sync.run_start('etilize', 'feed', 'schedule') = :run AS same_run_for_the_schedule;
SELECT kind, trigger, state, active FROM sync.run WHERE id = :run;
SELECT kind, count(*) FROM sync.job GROUP BY kind;

-- A second supplier must be named.
INSERT INTO sync.connection (name, kind, base_url, enabled) VALUES ('other', 'etilize', 'ftp://127.0.0.1:1/', true);
SELECT sync_run_etilize();
UPDATE sync.connection SET enabled = false WHERE name = 'other';
SELECT sync_run_etilize('other');

-- Nor is an ERP a supplier.
INSERT INTO sync.connection (name, kind, base_url) VALUES ('erp', 'xorosoft', 'http://127.0.0.1:1/');
SELECT sync_run_etilize('erp');
DELETE FROM sync.connection WHERE name = 'erp';

-- States move along the table of transitions, and nowhere else.
SELECT sync.run_move(:run, 'syncing');
SELECT sync.run_move(:run + 1000, 'error');
SELECT from_state, count(*) FROM sync.run_transition WHERE to_state NOT IN ('error', 'cancelled') GROUP BY from_state ORDER BY from_state;

-- Waiting, cancelling, retrying.
SELECT sync_wait(:run, '0.1 seconds');
SELECT sync_wait(:run + 1000);
SELECT sync_cancel(:run);
SELECT sync_cancel(:run);
SELECT sync_wait(:run);
SELECT sync_retry(:run);
SELECT count(*) AS jobs_left FROM sync.job;
SELECT phase, current, ended_at IS NOT NULL AS ended FROM sync.progress WHERE run_id = :run ORDER BY phase_id;

-- A server that refuses the connection: an error that passes, so the run waits and will be tried again; then it is not.
SELECT sync_run_etilize() AS run \gset
UPDATE sync.job_kind SET max_attempts = 2, backoff_base = '1 ms' WHERE kind = 'etilize_poll';
CALL sync_work('20 seconds');
SELECT state, active, attempt FROM sync.run WHERE id = :run;
SELECT state, error ->> 'class' AS class FROM sync.run_phase WHERE run_id = :run ORDER BY id;
SELECT sync_retry(:run);
UPDATE sync.connection SET settings = '{"run_attempts": "2"}' WHERE name = 'feed';
CALL sync_work('20 seconds');
SELECT state, active, attempt, finished_at IS NOT NULL AS finished FROM sync.run WHERE id = :run;
SELECT severity, kind, message ~ '127.0.0.1:1' AS names_the_server FROM sync.notification WHERE run_id = :run;
SELECT sync_retry(:run);
SELECT sync_cancel(:run);

-- Who may do what.
SET ROLE sync_viewer;
SELECT count(*) > 0 AS sees_runs FROM sync.run;
SELECT sync_run_etilize();
RESET ROLE;
SET ROLE sync_operator;
SELECT sync_run_etilize() AS run \gset
SELECT sync_cancel(:run);
UPDATE sync.run SET state = 'complete' WHERE id = :run;
RESET ROLE;

-- Who only reads cannot let the triggers act on rows of his own making, and approve or rewrite history with them.
SET ROLE sync_viewer;
CREATE TEMP TABLE forged (id bigint, staging_id bigint, decision sync.decision);
CREATE TRIGGER forge AFTER UPDATE ON forged REFERENCING OLD TABLE AS old_field NEW TABLE AS new_field
	FOR EACH STATEMENT EXECUTE FUNCTION sync.staging_field_decided();
RESET ROLE;
SELECT p.oid::regprocedure AS open_to_all FROM pg_proc p
WHERE p.pronamespace = 'sync'::regnamespace AND p.prorettype = 'trigger'::regtype AND has_function_privilege('sync_viewer', p.oid, 'EXECUTE');

-- Who approved before the run moved, and committed after: his job belongs to a phase that is over, and may be the last one.
SET ROLE sync_worker;
INSERT INTO sync.run (kind, connection, state, active) VALUES ('etilize', 'feed', 'manual_review', false) RETURNING id AS run \gset
INSERT INTO sync.run_phase (run_id, state, attempt) VALUES (:run, 'manual_review', 1) RETURNING id AS review \gset
INSERT INTO sync.staging (run_id, connection, kind, decision, title, reason, confidence, method, product_no, document)
VALUES (:run, 'feed', 'create', 'approved', 'Stapler', 'new', 0.9, 'tokens', 1, '{"title": "Stapler", "variants": {"S-1": {}}}');
SELECT sync.job_enqueue('apply_batch', :run) AS early \gset
SELECT array_agg(job_id) AS first FROM sync.worker_claim(1, 0, NULL, '1 minute') \gset
SELECT state FROM sync.run WHERE id = :run;
SELECT sync.job_enqueue('apply_batch', :run) AS late \gset
UPDATE sync.job SET phase_id = :review WHERE id = :late;
SELECT array_agg(job_id) AS last FROM sync.worker_claim(2, 0, NULL, '1 minute') \gset
SELECT sync.worker_run(1, 'apply_batch', :'first');
SELECT sync.worker_run(2, 'apply_batch', :'last');
SELECT state, counts FROM sync.run WHERE id = :run;
RESET ROLE;

-- A worker was at it when the run was cancelled: what it did is undone, its job ends, and no entry stays up for approval.
SET ROLE sync_worker;
INSERT INTO sync.run (kind, connection, state, active) VALUES ('etilize', 'feed', 'manual_review', false) RETURNING id AS run \gset
INSERT INTO sync.run_phase (run_id, state, attempt) VALUES (:run, 'manual_review', 1);
RESET ROLE;
SELECT sync_cancel(:run);
SET ROLE sync_worker;
INSERT INTO sync.staging (run_id, connection, kind, decision, title, reason, confidence, method, product_no, document)
VALUES (:run, 'feed', 'create', 'approved', 'Punch', 'new', 0.9, 'tokens', 1, '{"title": "Punch", "variants": {"P-1": {}}}');
SELECT sync.job_enqueue('apply_batch', :run) AS job \gset
SELECT count(*) AS claimed FROM sync.worker_claim(1, 0, NULL, '1 minute') \gset
SELECT sync.jobs_done(ARRAY[:job], '{}');
SELECT sync.worker_run(1, 'apply_batch', ARRAY[:job]);
SELECT r.state, s.state AS entry, (SELECT count(*) FROM sync.job) AS jobs FROM sync.run r JOIN sync.staging s ON s.run_id = r.id WHERE r.id = :run;
RESET ROLE;

-- What starts a waiting run again cannot be done: the run fails, where somebody sees it, instead of waiting for ever.
UPDATE sync.connection SET settings = '{}' WHERE name = 'feed';
SELECT sync_run_etilize() AS run \gset
SET ROLE sync_worker;
SELECT sync.run_fail(:run, '{"message": "it passes"}', true);
SELECT sync.run_fail(:run, '{"message": "a late one of the same"}', true);
SELECT r.state, j.kind FROM sync.run r JOIN sync.job j ON j.run_id = r.id WHERE r.id = :run;
UPDATE sync.job SET lease_owner = 2000000001, attempt = max_attempts;
SELECT sync.lease_reclaim();
SELECT state, active, finished_at IS NOT NULL AS finished, last_error ->> 'message' AS error FROM sync.run WHERE id = :run;
RESET ROLE;
SELECT sync_retry(:run);
SELECT sync_cancel(:run);
