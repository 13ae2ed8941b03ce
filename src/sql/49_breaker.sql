-- Why nothing is sent to a connection: somebody paused it, or it fails time and again.  Both are in sync.breaker, and nowhere else.
--
-- A circuit breaker for each endpoint.  An endpoint is a connection, or a part of one that may fail by itself ('shop/files': where
-- Shopify keeps its files).  closed: all goes.  After breaker_failures failures in a row that are the other side's fault (no connection, a
-- reset, 5xx), or one login that was refused, it opens: nothing is sent, and jobs are put back without cost.  After its wait, which doubles
-- each time, it is half open: one job goes through as the probe, and what comes of it closes the breaker or opens it again for longer.  The
-- probe is a job's number with a deadline, so that it is one job in all processes, and one that comes to nothing holds up nobody for ever.
--
-- Who is about to send asks sync.breaker_gate(), who has an answer tells sync.breaker_told(); both cost one look while all is well.  What
-- has to wait is marked in its payload ("held": the connection), and is woken by that mark when the breaker closes or the pause ends.  A job
-- is refused with the breaker's row locked, so whoever wakes the waiting finds it there.
--
-- Locks: a connection's row in sync.rate_limit, then its rows here in the order of their parts, then jobs with SKIP LOCKED.

CREATE FUNCTION sync.install_part_31_breaker() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	IF to_regclass('sync.breaker') IS NULL THEN
		CREATE TABLE sync.breaker (
			endpoint text GENERATED ALWAYS AS (connection || CASE part WHEN '' THEN '' ELSE '/' || part END) STORED PRIMARY KEY,
			connection text NOT NULL REFERENCES sync.connection ON UPDATE CASCADE ON DELETE CASCADE,
			part text NOT NULL DEFAULT '' CHECK (part ~ '^[a-z_]*$'),
			state text NOT NULL DEFAULT 'closed' CHECK (state IN ('closed', 'open', 'half_open')),
			failures integer NOT NULL DEFAULT 0,
			openings integer NOT NULL DEFAULT 0,
			opened_at timestamptz,
			retry_at timestamptz,
			probe_job bigint,
			probe_until timestamptz,
			last_error jsonb,
			times_opened bigint NOT NULL DEFAULT 0,
			paused_reason text CHECK (paused_reason <> ''),
			paused_by text,
			paused_at timestamptz,
			CHECK (part = '' OR paused_reason IS NULL)
		);
	END IF;
	COMMENT ON TABLE sync.breaker IS 'Why nothing is sent to a connection, if so: paused (sync_pause, or a shop that is frozen), or open since it failed time and again. No row: all is well. sync_resume() lets it go on.';
	COMMENT ON COLUMN sync.breaker.endpoint IS 'The connection, or a part of it that may fail by itself: shop/files is where Shopify keeps its files.';
	COMMENT ON COLUMN sync.breaker.state IS 'closed: all is well. open: nothing is sent until retry_at. half_open: one job is sent, to see how it is.';
	COMMENT ON COLUMN sync.breaker.failures IS 'Failures in a row that were the other side''s fault; at breaker_failures it opens.';
	COMMENT ON COLUMN sync.breaker.openings IS 'How often it opened since it was closed last: each time it waits longer.';
	COMMENT ON COLUMN sync.breaker.probe_job IS 'The one job that goes through while it is half open, or asked to; another may when it is gone or probe_until is past.';
	COMMENT ON COLUMN sync.breaker.last_error IS 'The failure that came last, scrubbed.';
	COMMENT ON COLUMN sync.breaker.times_opened IS 'How often it opened in all.';
	COMMENT ON COLUMN sync.breaker.paused_reason IS 'Why a person has to look first, or what one said who paused it; null where it is not paused.';
	COMMENT ON COLUMN sync.breaker.paused_by IS 'Who paused it; null where that was product_sync itself.';
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('breaker_failures', '5', 'count', 'Failures in a row after which nothing is sent to a system for a while; 0: never.'),
		('breaker_wait', '30 seconds', 'interval', 'How long nothing is sent then, before one request tries again; doubled each time that it fails.'),
		('breaker_wait_cap', '10 minutes', 'interval', 'Longest such wait.')
	ON CONFLICT (name) DO NOTHING;
END
$$;

-- Locks the rows of a connection in their order, and makes sure that there is one of this part.  Returns it.
CREATE FUNCTION sync.breaker_lock(connection text, part text DEFAULT '') RETURNS record
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	breaker sync.breaker;
BEGIN
	PERFORM FROM sync.rate_limit l WHERE l.connection = breaker_lock.connection FOR UPDATE;
	INSERT INTO sync.breaker (connection, part) VALUES (breaker_lock.connection, breaker_lock.part) ON CONFLICT DO NOTHING;
	PERFORM FROM sync.breaker b WHERE b.connection = breaker_lock.connection ORDER BY b.part FOR UPDATE;
	SELECT * INTO breaker FROM sync.breaker b WHERE b.connection = breaker_lock.connection AND b.part = breaker_lock.part;
	RETURN breaker;
END
$$;

CREATE FUNCTION sync.paused(connection text) RETURNS text
LANGUAGE sql STABLE SET search_path = '' AS $$
	SELECT b.paused_reason FROM sync.breaker b WHERE b.connection = paused.connection AND b.part = ''
$$;
COMMENT ON FUNCTION sync.paused(text) IS 'Why a connection is paused until a person looks; NULL where it is not.';

-- For who starts a run of a connection: a pause is an error.
CREATE FUNCTION sync.paused_check(connection text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	reason text := sync.paused(connection);
BEGIN
	IF reason IS NOT NULL THEN
		RAISE EXCEPTION 'connection "%" is paused: %', connection, reason
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format('Once that is mended: SELECT sync_resume(%L).', connection);
	END IF;
END
$$;

-- Sending ------------------------------------------------------------------------------------------------------------------------

-- Marks jobs as held, so that they are woken.
CREATE FUNCTION sync.breaker_hold(connection text, job_ids bigint[]) RETURNS void
LANGUAGE sql SET search_path = '' AS $$
	UPDATE sync.job j SET payload = j.payload || jsonb_build_object('held', breaker_hold.connection)
	WHERE j.id = ANY (job_ids) AND j.payload ->> 'held' IS DISTINCT FROM breaker_hold.connection
$$;

CREATE FUNCTION sync.breaker_gate(connection text, job_ids bigint[], part text DEFAULT '', OUT allowed bigint[], OUT wait interval)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	paused_wait constant interval := '5 minutes';
	breaker sync.breaker;
	present timestamptz;
	probe bigint;
	refused bigint[];
BEGIN
	allowed := job_ids;
	PERFORM FROM sync.breaker b
	WHERE b.connection = breaker_gate.connection AND (b.paused_reason IS NOT NULL OR (b.part = breaker_gate.part AND b.state <> 'closed'));
	IF FOUND THEN
		breaker := sync.breaker_lock(breaker_gate.connection, breaker_gate.part);
		present := clock_timestamp();
		IF sync.paused(breaker_gate.connection) IS NOT NULL THEN
			-- The resuming wakes them; that they look now and then is for the worst case.
			allowed := '{}';
			wait := paused_wait * (1 + random());
		ELSIF breaker.state <> 'closed' AND breaker.retry_at > present THEN
			allowed := '{}';
			wait := breaker.retry_at - present + sync.setting_value(breaker_gate.connection, 'breaker_wait')::interval * random() / 4;
		ELSIF breaker.state <> 'closed' AND NOT breaker.probe_job = ANY (job_ids) AND breaker.probe_until > present
			  AND EXISTS (SELECT FROM sync.job j WHERE j.id = breaker.probe_job) THEN
			allowed := '{}';
			wait := breaker.probe_until - present + interval '1 second';
		ELSIF breaker.state <> 'closed' AND cardinality(job_ids) > 0 THEN
			probe := CASE WHEN breaker.probe_job = ANY (job_ids) THEN breaker.probe_job ELSE job_ids[1] END;
			allowed := ARRAY[probe];
			breaker.probe_until := present + interval '30 seconds' + sync.setting_value(breaker_gate.connection, 'request_timeout')::interval;
			wait := breaker.probe_until - present + interval '1 second';
			UPDATE sync.breaker b SET state = 'half_open', probe_job = probe, probe_until = breaker.probe_until
			WHERE b.endpoint = breaker.endpoint;
		END IF;
		refused := ARRAY(SELECT i FROM unnest(job_ids) i WHERE i <> ALL (allowed));
		PERFORM sync.breaker_hold(breaker_gate.connection, refused);
		-- Nor can those that nobody took yet: so a worker is free for others at once.
		PERFORM sync.jobs_put_off(breaker_gate.connection, job_ids, present, wait, interval '0', wait, jsonb_build_object('held', breaker_gate.connection));
	END IF;
	UPDATE sync.job j SET payload = j.payload - 'held' WHERE j.id = ANY (allowed) AND j.payload ? 'held';
END
$$;
COMMENT ON FUNCTION sync.breaker_gate(text, bigint[], text) IS
'Which of these jobs may send to a connection now: all, one (the probe of a breaker that is half open) or none; the others wait so long, without cost, or until they are woken. Without jobs it is a look: wait is NULL where one might. part: that of the endpoint. To be asked last, when nothing else keeps a job from being sent.';

-- Answers ------------------------------------------------------------------------------------------------------------------------

-- What an endpoint's answer to a job says of it.  sign: up (it answered, whatever it said), down (its fault: no connection, a reset, 5xx),
-- login (it refused the login), NULL (nothing: throttled, or an error of our own).  Returns how long the job has to wait when it is to be
-- tried again while the breaker is open, NULL where it is not open: such a job is put back without cost.
CREATE FUNCTION sync.breaker_told(connection text, job_id bigint, sign text, error jsonb DEFAULT NULL, part text DEFAULT '') RETURNS interval
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	breaker sync.breaker;
	most integer;
	wait interval;
BEGIN
	IF sign IS NULL OR sign = 'up' THEN
		PERFORM FROM sync.breaker b
		WHERE b.connection = breaker_told.connection AND b.part = breaker_told.part
		  AND (b.probe_job = breaker_told.job_id OR (sign = 'up' AND b.state = 'closed' AND b.failures > 0));
		IF NOT FOUND THEN
			RETURN NULL;
		END IF;
	END IF;
	breaker := sync.breaker_lock(breaker_told.connection, breaker_told.part);
	most := sync.setting_value(breaker_told.connection, 'breaker_failures')::integer;
	IF sign IN ('down', 'login') AND most > 0 THEN
		breaker.failures := breaker.failures + 1;
		breaker.last_error := error;
		IF breaker.state = 'closed' AND (sign = 'login' OR breaker.failures >= most) THEN
			breaker := sync.breaker_open(breaker);
			PERFORM sync.notify(NULL, 'error', 'breaker_opened', format('Nothing is sent to "%s" for now: %s, the last: %s', breaker.endpoint,
					CASE sign WHEN 'login' THEN 'it refused the login' ELSE format('%s requests in a row failed', breaker.failures) END,
					coalesce(error ->> 'message', 'no reason given')),
				jsonb_build_object('endpoint', breaker.endpoint, 'retry_at', breaker.retry_at, 'error', error, 'hint',
					format('It is tried again by itself; SELECT sync_resume(%L) does so now.', breaker_told.connection)));
		ELSIF breaker.state <> 'closed' AND breaker.probe_job = breaker_told.job_id THEN
			breaker := sync.breaker_open(breaker);
			-- Others come first, should it be the job and not the system.
			UPDATE sync.job j SET run_at = breaker.retry_at
			WHERE j.id IN (SELECT w.id FROM sync.job w
						   WHERE w.payload ->> 'held' = breaker_told.connection AND w.lease_owner IS NULL AND w.run_at > breaker.retry_at
						   ORDER BY w.class, w.run_at, w.id LIMIT 3 FOR UPDATE SKIP LOCKED);
		END IF;
		UPDATE sync.breaker b SET state = breaker.state, failures = breaker.failures, openings = breaker.openings, opened_at = breaker.opened_at,
			retry_at = breaker.retry_at, probe_job = breaker.probe_job, probe_until = breaker.probe_until, last_error = breaker.last_error,
			times_opened = breaker.times_opened
		WHERE b.endpoint = breaker.endpoint;
		IF breaker.state <> 'closed' THEN
			wait := greatest(breaker.retry_at, breaker.probe_until, clock_timestamp()) - clock_timestamp();
			PERFORM sync.breaker_hold(breaker_told.connection, ARRAY[breaker_told.job_id]);
			RETURN wait + sync.setting_value(breaker_told.connection, 'breaker_wait')::interval * (1 + random()) / 4;
		END IF;
	ELSIF sign = 'up' AND breaker.state = 'closed' THEN
		UPDATE sync.breaker b SET failures = 0 WHERE b.endpoint = breaker.endpoint;
	ELSIF sign = 'up' AND breaker.probe_job = breaker_told.job_id THEN
		PERFORM sync.breaker_close(breaker.endpoint);
		PERFORM sync.notify(NULL, 'info', 'breaker_closed', format('"%s" answers again, after %s', breaker.endpoint,
				date_trunc('second', clock_timestamp() - breaker.opened_at)), jsonb_build_object('endpoint', breaker.endpoint));
		PERFORM sync.breaker_wake(breaker_told.connection);
	ELSIF breaker.probe_job = breaker_told.job_id THEN
		UPDATE sync.breaker b SET probe_job = NULL, probe_until = NULL WHERE b.endpoint = breaker.endpoint;
		PERFORM sync.breaker_wake(breaker_told.connection, 3);
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync.breaker_told(text, bigint, text, jsonb, text) IS
'What the answer to a job says of its connection: sign up, down, login, or NULL where it says nothing. Counts failures, opens and closes the breaker, tells people. Returns how long the job has to wait, at no cost, where it is to be tried again and the breaker is open; else NULL. To be told before rows of the answer are written.';

-- A breaker as it is when it opens now, or opens again.
CREATE FUNCTION sync.breaker_open(breaker record) RETURNS record
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	base constant interval := sync.setting_value(breaker.connection, 'breaker_wait');
	cap constant interval := sync.setting_value(breaker.connection, 'breaker_wait_cap');
BEGIN
	IF breaker.state = 'closed' THEN
		breaker.opened_at := clock_timestamp();
		breaker.times_opened := breaker.times_opened + 1;
		breaker.openings := 0;
	END IF;
	breaker.state := 'open';
	breaker.openings := breaker.openings + 1;
	breaker.retry_at := clock_timestamp() + least(cap, base * power(2, least(breaker.openings - 1, 30))) * (0.9 + random() / 5);
	breaker.probe_job := NULL;
	breaker.probe_until := NULL;
	RETURN breaker;
END
$$;

CREATE FUNCTION sync.breaker_close(endpoint text) RETURNS void
LANGUAGE sql SET search_path = '' AS $$
	UPDATE sync.breaker b SET state = 'closed', failures = 0, openings = 0, retry_at = NULL, probe_job = NULL, probe_until = NULL
	WHERE b.endpoint = breaker_close.endpoint
$$;

-- Jobs that a connection's breaker or pause held up fall due, all or so many of the most urgent.
CREATE FUNCTION sync.breaker_wake(connection text, most integer DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	UPDATE sync.job j SET run_at = clock_timestamp(), payload = j.payload - 'held'
	WHERE j.id IN (SELECT w.id FROM sync.job w WHERE w.payload ->> 'held' = breaker_wake.connection AND w.lease_owner IS NULL
				   ORDER BY w.class, w.run_at, w.id LIMIT most FOR UPDATE SKIP LOCKED);
	PERFORM sync.wake();
END
$$;

-- Pausing ------------------------------------------------------------------------------------------------------------------------

-- Stops all requests to a connection until sync_resume().  Whether it was not paused before.
CREATE FUNCTION sync.pause(connection text, reason text, by_whom text) RETURNS boolean
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
	PERFORM sync.breaker_lock(connection);
	UPDATE sync.breaker b SET paused_reason = reason, paused_by = by_whom, paused_at = clock_timestamp()
	WHERE b.connection = pause.connection AND b.part = '' AND b.paused_reason IS NULL;
	RETURN FOUND;
END
$$;

CREATE FUNCTION sync.connection_known(connection text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM sync.connection c WHERE c.name = connection_known.connection) THEN
		RAISE EXCEPTION 'there is no connection "%"', connection
			USING ERRCODE = 'no_data_found', HINT = 'SELECT name, kind FROM sync.connection lists them.';
	END IF;
END
$$;

CREATE FUNCTION @extschema@.sync_pause(connection text, reason text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
	PERFORM sync.connection_known(connection);
	reason := coalesce(nullif(reason, ''), format('paused by %s', session_user));
	IF sync.pause(connection, reason, session_user) THEN
		RETURN 'paused: ' || reason;
	END IF;
	RETURN 'it was paused before: ' || sync.paused(connection);
END
$$;
ALTER FUNCTION @extschema@.sync_pause(text, text) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_pause(text, text) TO sync_operator;
COMMENT ON FUNCTION @extschema@.sync_pause(text, text) IS
'Stops requests to a connection of any kind until sync_resume(): what is under way finishes, what waits goes on waiting without cost, and sync.progress says why. reason: why, for others to read. Returns what it is paused for; one that is paused already stays so, with its reason. Error P0002 when there is no such connection. Example: SELECT sync_pause(''shop'', ''stocktaking until noon'');';

CREATE FUNCTION @extschema@.sync_resume(connection text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	was text;
	opened sync.breaker;
BEGIN
	PERFORM sync.connection_known(connection);
	PERFORM sync.breaker_lock(connection);
	was := sync.paused(connection);
	UPDATE sync.breaker b SET paused_reason = NULL, paused_by = NULL, paused_at = NULL
	WHERE b.connection = sync_resume.connection AND b.paused_reason IS NOT NULL;
	FOR opened IN SELECT * FROM sync.breaker b WHERE b.connection = sync_resume.connection AND b.state <> 'closed' ORDER BY b.part LOOP
		PERFORM sync.breaker_close(opened.endpoint);
		was := concat_ws('; ', was, format('%s failed: %s', opened.endpoint, opened.last_error ->> 'message'));
	END LOOP;
	-- Whatever was changed meanwhile, a token from before may not know of it.
	UPDATE sync.shopify_shop s SET token_expires_at = NULL, token_renew_at = NULL WHERE s.connection = sync_resume.connection;
	UPDATE sync.job j SET payload = j.payload - 'refreshed'
	WHERE j.id IN (SELECT w.id FROM sync.job w
				   WHERE w.payload ? 'refreshed' AND w.payload ->> 'connection' = sync_resume.connection AND w.lease_owner IS NULL
				   FOR UPDATE SKIP LOCKED);
	PERFORM sync.breaker_wake(connection);
	RETURN coalesce('resumed; it was stopped: ' || was, 'it was not stopped');
END
$$;
ALTER FUNCTION @extschema@.sync_resume(text) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_resume(text) TO sync_operator;
COMMENT ON FUNCTION @extschema@.sync_resume(text) IS
'Lets requests go to a connection again that was paused (by sync_pause(), or since it is frozen, locked, lacks a scope or has a wrong secret) or whose breaker is open, once the cause is mended; what waits goes on at once. Returns what it was stopped for. Error P0002 when there is no such connection. Example: SELECT sync_resume(''shop'');';

-- The name from when only shops could be paused.
CREATE FUNCTION @extschema@.sync_shopify_resume(connection text) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path = '' AS 'SELECT @extschema@.sync_resume(connection)';
ALTER FUNCTION @extschema@.sync_shopify_resume(text) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_shopify_resume(text) TO sync_operator;
COMMENT ON FUNCTION @extschema@.sync_shopify_resume(text) IS 'The same as sync_resume(), by its former name. Error P0002 when there is no such connection.';
