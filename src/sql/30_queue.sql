-- The queue: jobs are claimed under a lease, run, finished.  The engine (src/worker) knows SQL only through the worker_* functions.

CREATE FUNCTION sync.wake() RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ps_wake';
COMMENT ON FUNCTION sync.wake() IS 'Wakes this database''s coordinator when the transaction commits; does nothing where the library is not preloaded.';

CREATE FUNCTION sync.interrupt_workers(run_id bigint) RETURNS void
LANGUAGE c STRICT VOLATILE AS 'MODULE_PATHNAME', 'ps_interrupt_workers';
COMMENT ON FUNCTION sync.interrupt_workers(bigint) IS 'At commit, interrupts the workers that are busy with this run.';

CREATE FUNCTION sync.worker_activity() RETURNS TABLE (pid integer, run_id bigint, kind text, done bigint)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ps_worker_activity';
COMMENT ON FUNCTION sync.worker_activity() IS 'What this database''s workers do at this moment, from shared memory; done counts within the present job.';

-- The first half of the advisory lock that stands for a live owner; the second is the owner's number.
CREATE FUNCTION sync.owner_lock_class() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1347637582';

CREATE FUNCTION sync.counts_add(a jsonb, b jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT coalesce(jsonb_object_agg(key, total), '{}')
	FROM (SELECT e.key, sum(e.value::numeric) AS total
		  FROM (SELECT * FROM jsonb_each_text(coalesce(a, '{}')) UNION ALL SELECT * FROM jsonb_each_text(coalesce(b, '{}'))) e
		  WHERE e.value ~ '^-?[0-9]+(\.[0-9]+)?$'
		  GROUP BY e.key) t
$$;
COMMENT ON FUNCTION sync.counts_add(jsonb, jsonb) IS 'Adds two flat objects of numbers, key by key; what is no number is left out.';

CREATE FUNCTION sync.job_enqueue(kind text, run_id bigint DEFAULT NULL, payload jsonb DEFAULT '{}', key text DEFAULT NULL,
								 run_at timestamptz DEFAULT now(), class integer DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	new_id bigint;
	job_kind sync.job_kind;
BEGIN
	SELECT * INTO job_kind FROM sync.job_kind k WHERE k.kind = job_enqueue.kind;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no kind of job called "%"', job_enqueue.kind
			USING ERRCODE = 'invalid_parameter_value', HINT = 'sync.job_kind lists the kinds; sync_install() adds what an upgrade brought.';
	END IF;
	INSERT INTO sync.job AS j (kind, class, run_id, phase_id, key, payload, run_at, max_attempts)
	VALUES (job_enqueue.kind, coalesce(job_enqueue.class, job_kind.class), job_enqueue.run_id,
			(SELECT p.id FROM sync.run_phase p WHERE p.run_id = job_enqueue.run_id AND p.ended_at IS NULL ORDER BY p.id DESC LIMIT 1),
			job_enqueue.key, job_enqueue.payload, job_enqueue.run_at, job_kind.max_attempts)
	ON CONFLICT (kind, key) WHERE key IS NOT NULL DO UPDATE SET run_at = least(j.run_at, excluded.run_at)
	RETURNING j.id INTO new_id;
	PERFORM sync.wake();
	RETURN new_id;
END
$$;
COMMENT ON FUNCTION sync.job_enqueue(text, bigint, jsonb, text, timestamptz, integer) IS
'Adds a job to the open phase of its run and wakes the coordinator at commit. Returns the job''s id, or that of the waiting job of this kind with the same key.';

CREATE FUNCTION sync.worker_register() RETURNS integer
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	owner integer := nextval('sync.owner_seq');
BEGIN
	WHILE NOT pg_try_advisory_lock(sync.owner_lock_class(), owner) LOOP
		owner := nextval('sync.owner_seq');
	END LOOP;
	RETURN owner;
END
$$;
COMMENT ON FUNCTION sync.worker_register() IS 'A number under which this session takes jobs. It holds an advisory lock of it, so that its death is seen at once.';

-- patience NULL: any job.  Else the caller has requests under way, which a local job would hold up: only network jobs, but for local
-- ones that have been due for so long.
CREATE FUNCTION sync.worker_claim(owner integer, free_transfers integer, patience interval, lease interval)
RETURNS TABLE (job_id bigint, kind text, network boolean, run_id bigint)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	top record;
BEGIN
	SELECT k.kind, k.network, r.room, j.id, j.run_id INTO top
	FROM sync.job_kind k
	-- A worker has no more of a network kind under way than its batch: what comes back is work too, and others shall have their part of it.
	CROSS JOIN LATERAL (
		SELECT CASE WHEN k.network THEN least(free_transfers, k.batch - count(h.id)) ELSE k.batch END AS room
		FROM sync.job h WHERE k.network AND h.lease_owner = worker_claim.owner AND h.kind = k.kind) r
	CROSS JOIN LATERAL (
		SELECT w.id, w.run_id, w.class, w.run_at FROM sync.job w
		WHERE w.kind = k.kind AND w.lease_owner IS NULL AND w.run_at <= now()
		ORDER BY w.class, w.run_at, w.id LIMIT 1 FOR UPDATE SKIP LOCKED) j
	WHERE r.room > 0 AND (k.network OR patience IS NULL OR j.run_at < now() - patience)
	ORDER BY j.class, j.run_at, j.id
	LIMIT 1;
	IF NOT FOUND THEN
		RETURN;
	END IF;

	RETURN QUERY
	WITH batch AS (
		SELECT w.id FROM sync.job w
		WHERE w.kind = top.kind AND w.lease_owner IS NULL AND w.run_at <= now() AND w.run_id IS NOT DISTINCT FROM top.run_id
		ORDER BY w.class, w.run_at, w.id
		LIMIT top.room
		FOR UPDATE SKIP LOCKED)
	UPDATE sync.job w
	SET lease_owner = owner, lease_until = now() + lease, attempt = w.attempt + 1, key = NULL
	FROM batch b
	WHERE w.id = b.id
	RETURNING w.id, w.kind, top.network, w.run_id;
	-- Here, where the transaction is short: the work itself may take long, and must not hold its run for all that time.
	PERFORM sync.run_enter_state_of(top.kind, top.run_id);
END
$$;

-- The jobs of these ids that this owner still holds, locked: a job whose lease was taken back is no longer this owner's to finish.  A
-- cancelled run wants nothing more: what its cancelling could not take, because somebody held it, ends here.
CREATE FUNCTION sync.worker_fence(owner integer, ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	cancelled bigint;
BEGIN
	FOR cancelled IN
		WITH gone AS (
			DELETE FROM sync.job j USING sync.run r
			WHERE j.id = ANY (ids) AND j.lease_owner = owner AND r.id = j.run_id AND r.state = 'cancelled'
			RETURNING j.run_id)
		SELECT DISTINCT g.run_id FROM gone g
	LOOP
		PERFORM sync.run_supersede(cancelled);
	END LOOP;
	RETURN (SELECT array_agg(j.id ORDER BY j.id)
			FROM (SELECT w.id FROM sync.job w WHERE w.id = ANY (ids) AND w.lease_owner = owner ORDER BY w.id FOR UPDATE) j);
END
$$;

-- Finished jobs leave the queue; their counts go to their phase; the last one of a phase moves the run on.
CREATE FUNCTION sync.jobs_done(ids bigint[], counts jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	phase record;
	state sync.run_state;
BEGIN
	FOR phase IN
		WITH gone AS (
			DELETE FROM sync.job j WHERE j.id = ANY (ids)
			RETURNING j.id, j.kind, j.run_id, j.phase_id, j.attempt, j.created_at),
		kept AS (
			INSERT INTO sync.job_history (id, kind, run_id, attempt, outcome, created_at)
			SELECT g.id, g.kind, g.run_id, g.attempt, 'done', g.created_at FROM gone g)
		SELECT DISTINCT g.run_id, g.phase_id FROM gone g WHERE g.run_id IS NOT NULL
	LOOP
		-- Of two that finish the last jobs, the second sees what the first did.
		SELECT r.state INTO state FROM sync.run r WHERE r.id = phase.run_id FOR NO KEY UPDATE;
		IF state = 'cancelled' THEN
			-- What was done meanwhile is undone: its entries would be up for approval with nobody to finish the run.
			RAISE EXCEPTION 'run % was cancelled', phase.run_id USING ERRCODE = 'query_canceled';
		END IF;
		UPDATE sync.run_phase p
		SET done = p.done + coalesce((jobs_done.counts ->> 'done')::bigint, 0),
			counts = sync.counts_add(p.counts, jobs_done.counts - 'done')
		WHERE p.id = phase.phase_id;
		UPDATE sync.run r SET counts = sync.counts_add(r.counts, jobs_done.counts - 'done')
		WHERE r.id = phase.run_id AND jobs_done.counts - 'done' <> '{}';
		IF NOT EXISTS (SELECT FROM sync.job j WHERE j.run_id = phase.run_id AND j.phase_id = phase.phase_id) THEN
			-- The run may be in another phase by now: a job that somebody enqueued before, and committed after, the run moved.
			PERFORM sync.run_advance(phase.run_id);
		END IF;
	END LOOP;
END
$$;

-- Puts jobs back: with an error after an attempt that counts, or without cost.
CREATE FUNCTION sync.job_put_back(id bigint, wait interval, error jsonb, costs_attempt boolean) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	UPDATE sync.job j
	SET lease_owner = NULL, lease_until = NULL,
		run_at = clock_timestamp() + coalesce(wait, sync.backoff(k.backoff_base, k.backoff_cap, j.attempt)),
		attempt = CASE WHEN costs_attempt THEN j.attempt ELSE greatest(j.attempt - 1, 0) END,
		last_error = coalesce(error, j.last_error)
	FROM sync.job_kind k
	WHERE j.id = job_put_back.id AND k.kind = j.kind;
	IF error IS NOT NULL THEN
		PERFORM FROM sync.run r JOIN sync.job j ON j.run_id = r.id WHERE j.id = job_put_back.id FOR NO KEY UPDATE OF r;
		UPDATE sync.run_phase p SET error = job_put_back.error
		FROM sync.job j WHERE j.id = job_put_back.id AND p.id = j.phase_id;
	END IF;
	-- The coordinator may be asleep for longer than this job.
	PERFORM sync.wake();
END
$$;

CREATE FUNCTION sync.backoff(base interval, cap interval, attempt integer) RETURNS interval
LANGUAGE sql VOLATILE SET search_path = '' AS $$
	SELECT random() * least(cap, base * power(2, least(attempt, 30)))
$$;
COMMENT ON FUNCTION sync.backoff(interval, interval, integer) IS 'Full jitter: a random time up to base × 2^attempt, at most cap.';

-- A job that cannot be done: kept as a dead letter, and its run fails with it.
CREATE FUNCTION sync.job_bury(id bigint, error jsonb, retry_run boolean) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	job sync.job;
BEGIN
	SELECT * INTO job FROM sync.job j WHERE j.id = job_bury.id;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	IF to_regprocedure(format('sync.%I(bigint,jsonb)', 'failed_' || job.kind)) IS NOT NULL THEN
		EXECUTE format('SELECT sync.%I($1, $2)', 'failed_' || job.kind) USING job.id, error;
	END IF;
	-- An address may be signed, and so as good as a key.
	INSERT INTO sync.dead_letter (job_id, kind, run_id, payload, attempt, error)
	VALUES (job.id, job.kind, job.run_id, job.payload - 'url', job.attempt, error);
	INSERT INTO sync.job_history (id, kind, run_id, attempt, outcome, created_at)
	VALUES (job.id, job.kind, job.run_id, job.attempt, 'failed', job.created_at);
	DELETE FROM sync.job j WHERE j.id = job.id;
	IF job.run_id IS NOT NULL THEN
		PERFORM sync.run_fail(job.run_id, error, retry_run);
	END IF;
END
$$;

CREATE FUNCTION sync.worker_run(owner integer, kind text, ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	held bigint[] := sync.worker_fence(owner, ids);
	counts jsonb;
BEGIN
	IF held IS NULL THEN
		RETURN;
	END IF;
	-- What a crash takes away is done again, work and its being done together; so nobody waits for the disk.
	PERFORM set_config('synchronous_commit', 'off', true);
	EXECUTE format('SELECT sync.%I($1)', 'work_' || kind) INTO counts USING held;
	PERFORM sync.jobs_done(held, counts);
END
$$;

CREATE FUNCTION sync.worker_request(owner integer, kind text, ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	held bigint[] := sync.worker_fence(owner, ids);
	requests jsonb[];
	asked bigint[];
	done bigint[];
	i integer;
BEGIN
	IF held IS NULL THEN
		RETURN;
	END IF;
	EXECUTE format('SELECT array_agg(r.job_id), array_agg(r.request) FROM sync.%I($1) r WHERE r.request IS NOT NULL', 'request_' || kind)
		INTO asked, requests USING held;
	asked := coalesce(asked, '{}');
	FOR i IN 1 .. cardinality(asked) LOOP
		CASE requests[i] ->> 'op'
			WHEN 'defer' THEN
				PERFORM sync.job_put_back(asked[i], make_interval(secs => (requests[i] ->> 'retry_in')::double precision), NULL, false);
			WHEN 'fail' THEN
				PERFORM sync.job_bury(asked[i], requests[i] -> 'error', false);
			ELSE
				job_id := asked[i];
				request := requests[i];
				RETURN NEXT;
		END CASE;
	END LOOP;
	SELECT array_agg(h) INTO done FROM unnest(held) h WHERE h <> ALL (asked);
	IF done IS NOT NULL THEN
		PERFORM sync.jobs_done(done, '{}');
	END IF;
END
$$;

CREATE FUNCTION sync.worker_respond(owner integer, kind text, ids bigint[], results jsonb[], bodies bytea[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	held bigint[] := sync.worker_fence(owner, ids);
	answer record;
	done bigint[] := '{}';
	total jsonb := '{}';
BEGIN
	IF held IS NULL THEN
		RETURN;
	END IF;
	IF cardinality(held) < cardinality(ids) THEN
		SELECT array_agg(u.id), array_agg(u.result), array_agg(u.body) INTO ids, results, bodies
		FROM unnest(ids, results, bodies) AS u (id, result, body) WHERE u.id = ANY (held);
	END IF;
	FOR answer IN EXECUTE format('SELECT r.job_id, r.outcome, r.retry_in, r.error, r.counts FROM sync.%I($1, $2, $3) r', 'response_' || kind)
		USING ids, results, bodies
	LOOP
		CASE answer.outcome
			WHEN 'done' THEN
				done := done || answer.job_id;
				total := sync.counts_add(total, answer.counts);
			WHEN 'defer' THEN
				PERFORM sync.job_put_back(answer.job_id, answer.retry_in, answer.error, false);
			WHEN 'retry' THEN
				PERFORM sync.job_retry(answer.job_id, answer.error, answer.retry_in);
			WHEN 'fail' THEN
				PERFORM sync.job_bury(answer.job_id, answer.error, false);
		END CASE;
	END LOOP;
	IF cardinality(done) > 0 THEN
		PERFORM sync.jobs_done(done, total);
	END IF;
	-- A job that response_<kind> said nothing about would keep its lease for as long as this worker lives.
	FOR answer IN
		SELECT j.id AS job_id FROM sync.job j WHERE j.id = ANY (held) AND j.lease_owner = worker_respond.owner
	LOOP
		PERFORM sync.job_bury(answer.job_id, jsonb_build_object('class', 'unknown', 'message',
			format('response_%s has no answer for its job %s', kind, answer.job_id)), false);
	END LOOP;
END
$$;

-- Tries again, or gives up after the last attempt.  A wait that the server asked for is a floor, not a replacement of the backoff.
CREATE FUNCTION sync.job_retry(id bigint, error jsonb, wait interval DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	tired boolean;
	own_wait interval;
BEGIN
	SELECT j.attempt >= j.max_attempts, greatest(sync.backoff(k.backoff_base, k.backoff_cap, j.attempt), wait)
	INTO tired, own_wait
	FROM sync.job j JOIN sync.job_kind k USING (kind) WHERE j.id = job_retry.id;
	IF tired THEN
		PERFORM sync.job_bury(id, error, true);
	ELSE
		PERFORM sync.job_put_back(id, own_wait, error, true);
	END IF;
END
$$;

-- Whether an SQL error may go away by itself: connection, transaction rollback, resources, lock not available, operator's intervention, I/O.
CREATE FUNCTION sync.sqlstate_is_transient(sqlstate text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT left(sqlstate, 2) IN ('08', '40', '53', '57', '58') OR sqlstate IN ('55P03', '55006')
$$;

CREATE FUNCTION sync.worker_fail(owner integer, ids bigint[], error jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	failed bigint;
BEGIN
	FOREACH failed IN ARRAY coalesce(sync.worker_fence(owner, ids), '{}') LOOP
		IF sync.sqlstate_is_transient(error ->> 'sqlstate') THEN
			PERFORM sync.job_retry(failed, error);
		ELSE
			PERFORM sync.job_bury(failed, error, false);
		END IF;
	END LOOP;
END
$$;

-- Leases of this owner that are still its own, made longer.  What is missing from the answer was taken away (a cancelled run).
CREATE FUNCTION sync.worker_renew(owner integer, lease interval) RETURNS SETOF bigint
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	RETURN QUERY UPDATE sync.job j SET lease_until = now() + lease WHERE j.lease_owner = owner RETURNING j.id;
END
$$;

-- Takes back what the dead held, and what a hung owner held too long.  A row that its worker has locked is being worked on: left alone.
CREATE FUNCTION sync.lease_reclaim() RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	taken bigint := 0;
	job record;
BEGIN
	IF NOT EXISTS (SELECT FROM sync.job j WHERE j.lease_owner IS NOT NULL) THEN
		RETURN 0;
	END IF;
	FOR job IN
	WITH alive AS MATERIALIZED (
		SELECT l.objid::bigint AS owner FROM pg_locks l
		WHERE l.locktype = 'advisory' AND l.classid::bigint = sync.owner_lock_class() AND l.objsubid = 2 AND l.granted
		  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())),
	lost AS (
		SELECT j.id FROM sync.job j
		WHERE j.lease_owner IS NOT NULL
		  AND (j.lease_owner NOT IN (SELECT a.owner FROM alive a) OR j.lease_until < now())
		FOR UPDATE SKIP LOCKED)
	UPDATE sync.job j SET lease_owner = NULL, lease_until = NULL, run_at = least(j.run_at, now())
	FROM lost l WHERE j.id = l.id
	RETURNING j.id, j.kind, j.attempt, j.max_attempts
	LOOP
		taken := taken + 1;
		-- A job that ends its worker time and again must not do so for ever.
		IF job.attempt >= job.max_attempts THEN
			-- What a kind does about its failure may fail itself; then the job stays, and the other jobs are not held up by it.
			BEGIN
				PERFORM sync.job_bury(job.id, jsonb_build_object('class', 'unknown', 'message',
					format('its worker died or hung %s times while it worked on this %s', job.attempt, job.kind),
					'hint', 'The server log says how the worker ended.'), false);
			EXCEPTION WHEN OTHERS THEN
				RAISE WARNING 'job % of kind % cannot be ended: %', job.id, job.kind, SQLERRM;
				UPDATE sync.job j SET run_at = now() + interval '1 hour' WHERE j.id = job.id;
			END;
		END IF;
	END LOOP;
	RETURN taken;
END
$$;
COMMENT ON FUNCTION sync.lease_reclaim() IS 'Frees jobs whose owner died or hung; returns how many.';

-- What the coordinator needs to know: how many workers have something to do (at most so many), and when the next job falls due.
CREATE FUNCTION sync.coordinator_tick(most integer) RETURNS TABLE (workers_wanted integer, next_due timestamptz)
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	PERFORM sync.lease_reclaim();
	SELECT coalesce(sum(ceil(d.n / k.batch::numeric)), 0)::integer INTO workers_wanted
	FROM sync.job_kind k
	CROSS JOIN LATERAL (
		SELECT count(*) AS n FROM (
			SELECT FROM sync.job j WHERE j.kind = k.kind AND j.lease_owner IS NULL AND j.run_at <= now()
			LIMIT k.batch * most) few) d;
	SELECT min(j.run_at) INTO next_due
	FROM sync.job_kind k
	CROSS JOIN (VALUES (1), (2), (3)) c (class)
	CROSS JOIN LATERAL (
		SELECT w.run_at FROM sync.job w
		WHERE w.kind = k.kind AND w.class = c.class AND w.lease_owner IS NULL AND w.run_at > now()
		ORDER BY w.run_at LIMIT 1) j;
	RETURN NEXT;
END
$$;
