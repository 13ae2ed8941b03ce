-- The queue, worked on in this session by CALL sync_work(): the workers' own code, one commit a step.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install();
RESET client_min_messages;

CREATE TABLE seen (id bigint, note text);
GRANT ALL ON seen TO sync_worker;
CREATE FUNCTION sync.work_test(job_ids bigint[]) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF EXISTS (SELECT FROM sync.job WHERE id = ANY (job_ids) AND payload ->> 'note' = 'bad') THEN
		RAISE EXCEPTION 'this one is bad' USING ERRCODE = 'data_exception', DETAIL = 'It always was.', HINT = 'Mend it.';
	ELSIF EXISTS (SELECT FROM sync.job WHERE id = ANY (job_ids) AND payload ->> 'note' = 'later' AND attempt < 3) THEN
		RAISE EXCEPTION 'not yet' USING ERRCODE = 'lock_not_available';
	END IF;
	INSERT INTO public.seen SELECT id, payload ->> 'note' FROM sync.job WHERE id = ANY (job_ids);
	RETURN jsonb_build_object('done', cardinality(job_ids));
END
$$;
CREATE FUNCTION sync.failed_test(job_id bigint, error jsonb) RETURNS void LANGUAGE sql AS
	$$ INSERT INTO public.seen VALUES (NULL, 'failed: ' || (error ->> 'message')) $$;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sync TO sync_worker;
INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, backoff_base, description)
VALUES ('test', false, 2, 5, 3, '1 millisecond', 'of the regression test');

-- A kind that nobody knows is refused, with what to do.
SELECT sync.job_enqueue('tset');

-- Asking twice under one key is asking once, as long as the first still waits.
SELECT sync.job_enqueue('test', NULL, '{"note": "once"}', 'k') = sync.job_enqueue('test', NULL, '{"note": "twice"}', 'k') AS same;
SELECT count(*) FROM (SELECT sync.job_enqueue('test', NULL, jsonb_build_object('note', n)) FROM (VALUES ('a'), ('bad'), ('later'), ('b')) v (n)) x;
SELECT sync.job_enqueue('test', NULL, '{"note": "tomorrow"}', NULL, now() + interval '1 day') IS NOT NULL AS enqueued;

CALL sync_work('10 seconds');

-- One bad job holds up none of its batch, a passing error is tried again, a job of tomorrow waits.
SELECT note FROM seen ORDER BY note COLLATE "C";
SELECT kind, payload, attempt, error - 'context' AS error FROM sync.dead_letter;
SELECT payload, attempt, lease_owner FROM sync.job;
SELECT outcome, count(*), max(attempt) FROM sync.job_history GROUP BY outcome ORDER BY outcome;

-- More urgent classes go first.
TRUNCATE seen;
SELECT count(sync.job_enqueue('test', NULL, jsonb_build_object('note', 'class ' || c), class => c)) FROM generate_series(3, 1, -1) c;
UPDATE sync.job_kind SET batch = 1 WHERE kind = 'test';
CALL sync_work('10 seconds');
SELECT note FROM seen;

-- A job whose owner is dead is taken back at once; one whose owner kept it too long, too; a third death is the last.
INSERT INTO sync.job (kind, class, payload, attempt, max_attempts, lease_owner, lease_until)
VALUES ('test', 2, '{"note": "of the dead"}', 1, 3, 2000000001, now() + interval '1 hour'),
	   ('test', 2, '{"note": "killer"}', 3, 3, 2000000002, now() + interval '1 hour');
SELECT sync.lease_reclaim();
SELECT payload, attempt, lease_owner FROM sync.job WHERE run_at <= now() ORDER BY id;
SELECT payload, error ->> 'message' AS error FROM sync.dead_letter ORDER BY id DESC LIMIT 1;

-- A result that comes after the lease was lost is not taken.
SELECT sync.worker_fence(2000000001, array_agg(id)) FROM sync.job;

-- sync_work() commits, so it cannot be part of a transaction; the session's identity is its own again afterwards.
BEGIN;
CALL sync_work('1 second');
ROLLBACK;
SELECT current_user = session_user AS own_identity;
SELECT count(*) AS owners_left FROM pg_locks WHERE locktype = 'advisory' AND classid::bigint = 1347637582;

-- The engine's functions are for sync_worker alone.
CREATE ROLE regress_sync_nobody;
SET ROLE regress_sync_nobody;
SELECT sync_run_etilize();
CALL sync_work('1 second');
SELECT count(*) FROM sync.job;
RESET ROLE;
DROP ROLE regress_sync_nobody;

DELETE FROM sync.job;
DELETE FROM sync.job_kind WHERE kind = 'test';
DROP FUNCTION sync.work_test(bigint[]);
DROP FUNCTION sync.failed_test(bigint, jsonb);
DROP TABLE seen;
