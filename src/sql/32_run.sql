-- Runs: the state machine of diagram 6.  sync.run_move() is the one place where a state changes, sync.run_advance() the one that
-- decides what comes next.
--
-- Locks are taken in this order: jobs, run, run_phase.  Who holds a run takes jobs with SKIP LOCKED only.  A run is locked FOR NO KEY
-- UPDATE: who writes rows that refer to it (a batch, for its whole time) does not stand in the way.

CREATE FUNCTION sync.install_part_32_run() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $install$
BEGIN
	INSERT INTO sync.run_transition (from_state, to_state, meaning) VALUES
		('idle', 'ftp_monitoring', 'start monitoring'),
		('idle', 'xorosoft_validation', 'a run of the ERP: its items and stock are read'),
		('ftp_monitoring', 'file_detected', 'new file found'),
		('ftp_monitoring', 'complete', 'no new file'),
		('file_detected', 'downloading', 'begin download'),
		('downloading', 'processing', 'download complete'),
		('processing', 'xorosoft_validation', 'CSV parsed'),
		('processing', 'complete', 'the file has the content of the one before'),
		('processing', 'held', 'the feed shrank or lost a column: a person must look'),
		('xorosoft_validation', 'matching', 'validation complete'),
		('xorosoft_validation', 'staging_creation', 'the ERP was read: its values are compared with the catalogue'),
		('xorosoft_validation', 'complete', 'nothing was read that could be compared'),
		('matching', 'staging_creation', 'products matched'),
		('staging_creation', 'review_pending', 'entries created'),
		('review_pending', 'auto_approval', 'confidence above the threshold'),
		('review_pending', 'manual_review', 'requires approval'),
		('review_pending', 'complete', 'nothing differs'),
		('auto_approval', 'syncing', 'apply what was approved by itself'),
		('manual_review', 'syncing', 'approved'),
		('manual_review', 'rejected', 'all rejected'),
		('manual_review', 'complete', 'nothing is left to decide'),
		('syncing', 'complete', 'applied'),
		('syncing', 'rejected', 'nothing was applied, all was rejected'),
		('syncing', 'manual_review', 'applied what was approved; the rest waits for people'),
		('held', 'idle', 'a person let it go on'),
		('error', 'retry_wait', 'will be tried again'),
		('retry_wait', 'idle', 'after the delay'),
		('retry_wait', 'error', 'could not be started again'),
		('error', 'idle', 'a person retried it')
	ON CONFLICT DO NOTHING;
	INSERT INTO sync.run_transition (from_state, to_state, meaning)
	SELECT s.state, 'error', 'failed'
	FROM unnest(ARRAY['idle', 'ftp_monitoring', 'file_detected', 'downloading', 'processing', 'xorosoft_validation', 'matching',
					  'staging_creation', 'review_pending', 'auto_approval', 'manual_review', 'syncing']::sync.run_state[]) AS s (state)
	ON CONFLICT DO NOTHING;
	INSERT INTO sync.run_transition (from_state, to_state, meaning)
	SELECT s.state, 'cancelled', 'stopped by a person'
	FROM unnest(ARRAY['idle', 'ftp_monitoring', 'file_detected', 'downloading', 'processing', 'xorosoft_validation', 'matching',
					  'staging_creation', 'review_pending', 'auto_approval', 'manual_review', 'syncing', 'error', 'retry_wait',
					  'held']::sync.run_state[]) AS s (state)
	ON CONFLICT DO NOTHING;

	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('run_attempts', '3', 'count', 'How often a run that failed for a passing reason is tried in all.'),
		('retry_wait', '5 minutes', 'interval', 'How long a failed run waits before it is tried again; doubled each time.')
	ON CONFLICT DO NOTHING;
	INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, description) VALUES
		('run_start', false, 1, 1, 5, 'Starts a run, or starts it again after its wait.')
	ON CONFLICT DO NOTHING;

	-- What a live worker has done within its present job; nothing where the library is not preloaded or the extension is gone.
	CREATE OR REPLACE FUNCTION sync.live_done(run_id bigint) RETURNS bigint
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
	DECLARE
		live bigint;
	BEGIN
		IF to_regprocedure('sync.worker_activity()') IS NOT NULL THEN
			EXECUTE 'SELECT sum(a.done) FROM sync.worker_activity() a WHERE a.run_id = $1' INTO live USING run_id;
		END IF;
		RETURN coalesce(live, 0);
	END
	$$;
	REVOKE ALL ON FUNCTION sync.live_done(bigint) FROM PUBLIC;
	GRANT EXECUTE ON FUNCTION sync.live_done(bigint) TO sync_viewer;

	CREATE OR REPLACE VIEW sync.progress WITH (security_barrier) AS
	SELECT p.id AS phase_id, r.id AS run_id, r.kind::text AS kind, r.connection, p.state::text AS phase,
		   r.state = p.state AND p.ended_at IS NULL AND r.finished_at IS NULL AS current,
		   p.attempt, n.done, p.total, p.unit,
		   CASE WHEN p.total > 0 THEN round(100.0 * least(n.done, p.total) / p.total, 1) END AS percent,
		   CASE WHEN n.done > 0 AND t.seconds > 0 THEN round(n.done / t.seconds, 1) END AS per_second,
		   CASE WHEN p.ended_at IS NULL AND n.done > 0 AND p.total > n.done
				THEN make_interval(secs => ((p.total - n.done) * t.seconds / n.done)::double precision) END AS time_left,
		   p.started_at, p.ended_at, make_interval(secs => t.seconds::double precision) AS elapsed,
		   p.counts, coalesce(w.why, p.message) AS message, coalesce(p.error ->> 'message', '') AS last_error
	FROM sync.run_phase p
	JOIN sync.run r ON r.id = p.run_id
	CROSS JOIN LATERAL (SELECT p.done + CASE WHEN p.ended_at IS NULL THEN sync.live_done(r.id) ELSE 0 END AS done) n
	CROSS JOIN LATERAL (SELECT greatest(extract(epoch FROM coalesce(p.ended_at, clock_timestamp()) - p.started_at), 0)::numeric AS seconds) t
	LEFT JOIN LATERAL (
		SELECT format('nothing is sent to "%s": %s', b.endpoint, coalesce('paused, ' || b.paused_reason, format('it failed %s times in a row, the last: %s',
			b.failures, b.last_error ->> 'message'))) AS why
		FROM sync.breaker b
		WHERE (b.paused_reason IS NOT NULL OR b.state <> 'closed') AND p.ended_at IS NULL AND r.finished_at IS NULL
		  AND EXISTS (SELECT FROM sync.job j WHERE j.run_id = r.id AND j.payload ->> 'held' = b.connection)
		ORDER BY b.paused_reason IS NULL, b.endpoint LIMIT 1) w ON true;
	COMMENT ON VIEW sync.progress IS 'Each phase that each run has been through: what is done, how fast, and the time left of the one that is under way.';
END
$install$;

-- Locks a run for its transaction, or says that there is none.
CREATE FUNCTION sync.run_lock(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	PERFORM FROM sync.run r WHERE r.id = run_id FOR NO KEY UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no run %', run_id USING ERRCODE = 'no_data_found';
	END IF;
END
$$;

CREATE FUNCTION sync.run_move(run_id bigint, state text, message text DEFAULT NULL, error jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	run sync.run;
	phase bigint;
BEGIN
	PERFORM sync.run_lock(run_id);
	SELECT * INTO run FROM sync.run r WHERE r.id = run_move.run_id;
	IF NOT EXISTS (SELECT FROM sync.run_transition t WHERE t.from_state = run.state AND t.to_state = run_move.state::sync.run_state) THEN
		RAISE EXCEPTION 'run % cannot go from % to %', run_id, run.state, state
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'sync.run_transition lists the moves of a run.';
	END IF;
	UPDATE sync.run_phase p
	SET ended_at = clock_timestamp(), error = CASE WHEN run_move.state = 'error' THEN run_move.error ELSE p.error END
	WHERE p.run_id = run_move.run_id AND p.ended_at IS NULL;
	INSERT INTO sync.run_phase (run_id, state, attempt, message, error)
	VALUES (run_move.run_id, run_move.state::sync.run_state, run.attempt, run_move.message, run_move.error)
	RETURNING id INTO phase;
	UPDATE sync.run r
	SET state = run_move.state::sync.run_state, state_at = clock_timestamp(), message = run_move.message,
		last_error = coalesce(run_move.error, r.last_error),
		active = r.active AND run_move.state NOT IN ('manual_review', 'complete', 'rejected', 'held', 'cancelled'),
		finished_at = CASE WHEN run_move.state IN ('complete', 'rejected', 'cancelled') THEN clock_timestamp() END
	WHERE r.id = run_move.run_id;
	IF run_move.state IN ('complete', 'rejected', 'cancelled') THEN
		UPDATE sync.run_phase p SET ended_at = clock_timestamp() WHERE p.id = phase;
	END IF;
	PERFORM pg_notify('sync_run', json_build_object('run', run_id, 'kind', run.kind, 'from', run.state, 'state', run_move.state,
		'at', clock_timestamp())::text);
	RETURN phase;
END
$$;
COMMENT ON FUNCTION sync.run_move(bigint, text, text, jsonb) IS
'Moves a run to a state: the only place that does. Ends its present phase and opens the next, and notifies channel sync_run. Returns the phase''s id. Error 55000 where sync.run_transition has no such move.';

CREATE FUNCTION sync.run_start(kind text, connection text, trigger text DEFAULT 'manual', context jsonb DEFAULT '{}') RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	new_id bigint;
	source sync.connection;
BEGIN
	SELECT * INTO source FROM sync.connection c WHERE c.name = run_start.connection;
	IF NOT FOUND OR NOT source.enabled THEN
		RAISE EXCEPTION 'connection "%" is %', run_start.connection, CASE WHEN source.name IS NULL THEN 'missing' ELSE 'not enabled' END
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'sync.connection lists the connections.';
	ELSIF source.kind::text <> split_part(run_start.kind, '_', 1) THEN
		-- The run would be the one active run of the connection, and keep its own kind out until it has failed.
		RAISE EXCEPTION 'connection "%" is of kind %, not %', source.name, source.kind, split_part(run_start.kind, '_', 1)
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'sync.connection lists the connections.';
	END IF;
	LOOP
		INSERT INTO sync.run (kind, connection, trigger, context)
		VALUES (run_start.kind::sync.run_kind, run_start.connection, run_start.trigger, run_start.context)
		ON CONFLICT (connection, kind) WHERE active AND NOT context ?| ARRAY['chosen', 'sending'] DO NOTHING
		RETURNING id INTO new_id;
		EXIT WHEN new_id IS NOT NULL;
		SELECT r.id INTO new_id FROM sync.run r
		WHERE r.connection = run_start.connection AND r.kind = run_start.kind::sync.run_kind AND r.active AND NOT r.context ?| ARRAY['chosen', 'sending'];
		IF new_id IS NOT NULL THEN
			RETURN new_id;
		END IF;
	END LOOP;
	INSERT INTO sync.run_phase (run_id, state, attempt) VALUES (new_id, 'idle', 1);
	PERFORM sync.job_enqueue('run_start', new_id);
	PERFORM pg_notify('sync_run', json_build_object('run', new_id, 'kind', run_start.kind, 'state', 'idle', 'at', clock_timestamp())::text);
	RETURN new_id;
END
$$;
COMMENT ON FUNCTION sync.run_start(text, text, text, jsonb) IS 'Starts a run of a connection and returns its id, or the id of the one of its kind that is active. One whose context has the key chosen is of what a person picked, one with sending is busy with a shop: others run beside them.';

-- The only enabled connection of a kind.
CREATE FUNCTION sync.connection_of(kind text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	names text[];
BEGIN
	SELECT array_agg(c.name ORDER BY c.name) INTO names FROM sync.connection c WHERE c.kind::text = connection_of.kind AND c.enabled;
	IF names IS NULL THEN
		RAISE EXCEPTION 'there is no enabled connection of kind "%"', kind
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = format('INSERT INTO sync.connection (name, kind, base_url, username, secret_ref) VALUES (...), with kind ''%s''.', kind);
	ELSIF cardinality(names) > 1 THEN
		RAISE EXCEPTION 'there are % enabled connections of kind "%": %', cardinality(names), kind, array_to_string(names, ', ')
			USING ERRCODE = 'ambiguous_parameter', HINT = 'Name the one that is meant.';
	END IF;
	RETURN names[1];
END
$$;

CREATE FUNCTION @extschema@.sync_run_etilize(connection text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
	connection := coalesce(connection, sync.connection_of('etilize'));
	PERFORM sync.paused_check(connection);
	RETURN sync.run_start('etilize', connection);
END
$$;
ALTER FUNCTION @extschema@.sync_run_etilize(text) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_run_etilize(text) TO sync_operator;
COMMENT ON FUNCTION @extschema@.sync_run_etilize(text) IS
'Starts a run of the Etilize feed: look for a new file, download, parse, validate, match, stage, approve, apply. connection: which supplier, when there is more than one. Returns the run''s id at once, or that of the run that is active. Watch it in sync.progress, or wait with sync_wait(). Errors: 55000 no enabled connection, or it is paused, 42P08 more than one and none named.';

CREATE FUNCTION sync.work_run_start(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	-- The phase has no other job, so finishing this one advances the run.
	RETURN '{}';
END
$$;

-- A kind of job that belongs to a state (apply_batch to syncing) brings its run there.  One that somebody else is just about to move is
-- left to him: the job is done all the same.
CREATE FUNCTION sync.run_enter_state_of(kind text, run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	target text;
	phase bigint;
BEGIN
	SELECT k.run_state INTO target
	FROM sync.job_kind k
	JOIN sync.run r ON r.id = run_enter_state_of.run_id AND r.state <> k.run_state
	JOIN sync.run_transition t ON t.from_state = r.state AND t.to_state = k.run_state
	WHERE k.kind = run_enter_state_of.kind
	FOR NO KEY UPDATE OF r SKIP LOCKED;
	IF FOUND THEN
		phase := sync.run_move(run_id, target);
		UPDATE sync.job j SET phase_id = phase
		WHERE j.id IN (SELECT w.id FROM sync.job w
					   WHERE w.run_id = run_enter_state_of.run_id AND w.kind = run_enter_state_of.kind FOR UPDATE SKIP LOCKED);
	END IF;
END
$$;

-- What comes next, once a phase has no open job.  Each turn of the loop is one move; a phase that got jobs ends it.
-- A phase that wrote many rows is followed by an ANALYZE of what the next one plans by: autovacuum would come a minute too late.
CREATE FUNCTION sync.run_advance(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	run sync.run;
	phase sync.run_phase;
BEGIN
	LOOP
		SELECT * INTO run FROM sync.run r WHERE r.id = run_advance.run_id FOR NO KEY UPDATE;
		SELECT * INTO phase FROM sync.run_phase p WHERE p.run_id = run.id AND p.ended_at IS NULL ORDER BY p.id DESC LIMIT 1;
		IF run.id IS NULL OR phase.id IS NULL OR phase.state <> run.state
		   OR EXISTS (SELECT FROM sync.job j WHERE j.run_id = run.id AND j.phase_id = phase.id) THEN
			RETURN;
		END IF;
		CASE run.state
			WHEN 'idle' THEN
				PERFORM sync.run_leave_idle(run.id);
			WHEN 'ftp_monitoring' THEN
				PERFORM sync.run_leave_monitoring(run.id);
			WHEN 'file_detected' THEN
				PERFORM sync.run_move(run.id, 'downloading');
				PERFORM sync.job_enqueue('etilize_download', run.id, jsonb_build_object('feed_file_id', run.feed_file_id));
			WHEN 'downloading' THEN
				IF run.kind = 'shopify_down' THEN
					PERFORM sync.shopify_leave_downloading(run.id);
				ELSE
					PERFORM sync.run_leave_downloading(run.id);
				END IF;
			WHEN 'processing' THEN
				PERFORM sync.run_leave_processing(run.id);
			WHEN 'xorosoft_validation' THEN
				PERFORM sync.run_leave_validation(run.id);
			WHEN 'matching' THEN
				IF run.kind = 'shopify_down' THEN
					PERFORM sync.shopify_leave_matching(run.id);
				ELSIF sync.match_leave(run.id) THEN
					PERFORM sync.run_move(run.id, 'staging_creation');
					PERFORM sync.staging_begin(run.id);
				END IF;
			WHEN 'staging_creation' THEN
				ANALYZE sync.staging (run_id, connection, kind, decision, state, sku, product_id, product_no);
				ANALYZE sync.staging_field (staging_id, decision);
				PERFORM sync.run_move(run.id, 'review_pending');
				PERFORM sync.conflicts_notify(run.id);
				PERFORM sync.shop_up_wanted(run.connection) WHERE run.kind = 'shopify_down' AND (run.counts ->> 'to_send')::numeric > 0;
				PERFORM sync.low_stock_notify(run.id, run.connection) WHERE run.kind = 'xorosoft';
				-- The merge decided about its entries itself.
				PERFORM sync.job_enqueue('stage_finish', run.id) WHERE run.kind <> 'shopify_down';
			WHEN 'review_pending' THEN
				PERFORM sync.run_leave_review_pending(run.id);
			WHEN 'auto_approval' THEN
				PERFORM sync.run_move(run.id, 'syncing');
				PERFORM sync.apply_begin(run.id);
			WHEN 'syncing', 'manual_review' THEN
				IF NOT sync.run_settle(run.id) THEN
					RETURN;
				END IF;
			WHEN 'retry_wait' THEN
				UPDATE sync.run r SET attempt = r.attempt + 1 WHERE r.id = run.id;
				PERFORM sync.run_move(run.id, 'idle', format('attempt %s', run.attempt + 1));
			ELSE
				RETURN;
		END CASE;
	END LOOP;
END
$$;
COMMENT ON FUNCTION sync.run_advance(bigint) IS 'Moves a run on, as far as it goes without new work. Called when the last job of a phase is done.';


CREATE FUNCTION sync.run_leave_idle(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	IF (SELECT r.kind = 'xorosoft' FROM sync.run r WHERE r.id = run_id) THEN
		PERFORM sync.run_move(run_id, 'xorosoft_validation');
		PERFORM sync.xorosoft_begin(run_id);
	ELSIF (SELECT r.kind::text = 'rollback' FROM sync.run r WHERE r.id = run_id) THEN
		-- One that is tried again: its entries are there.
		PERFORM sync.run_move(run_id, 'staging_creation');
		PERFORM sync.run_move(run_id, 'review_pending');
	ELSIF (SELECT r.kind::text = 'shopify_down' FROM sync.run r WHERE r.id = run_id) THEN
		PERFORM sync.shopify_leave_idle(run_id);
	ELSIF (SELECT r.kind::text = 'shopify_up' FROM sync.run r WHERE r.id = run_id) THEN
		PERFORM sync.push_leave_idle(run_id);
	ELSE
		UPDATE sync.run r SET context = r.context - 'look' - 'poll' WHERE r.id = run_id;
		PERFORM sync.run_move(run_id, 'ftp_monitoring');
		PERFORM sync.job_enqueue('etilize_poll', run_id);
	END IF;
END
$$;

CREATE FUNCTION sync.run_leave_monitoring(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	context jsonb := (SELECT r.context FROM sync.run r WHERE r.id = run_id);
BEGIN
	IF context ->> 'poll' = 'new_file' THEN
		PERFORM sync.run_move(run_id, 'file_detected');
	ELSE
		PERFORM sync.run_move(run_id, 'complete', coalesce(context ->> 'poll_message', 'no new file'));
	END IF;
END
$$;

CREATE FUNCTION sync.run_leave_downloading(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	file record;
BEGIN
	SELECT f.id, f.state INTO file FROM sync.feed_file f JOIN sync.run r ON r.feed_file_id = f.id WHERE r.id = run_id;
	PERFORM sync.run_move(run_id, 'processing');
	IF file.state <> 'loaded' THEN
		PERFORM sync.job_enqueue('feed_load', run_id, jsonb_build_object('feed_file_id', file.id));
	END IF;
END
$$;

-- A feed that looks wrong as a whole stops here, before anything is staged; sync_retry() lets it go on.
CREATE FUNCTION sync.run_leave_processing(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	run record;
	hold text;
BEGIN
	SELECT r.hold_override, f.id AS file_id, f.state AS file_state, f.name INTO run
	FROM sync.run r JOIN sync.feed_file f ON f.id = r.feed_file_id WHERE r.id = run_id;
	IF run.file_state = 'unchanged' THEN
		PERFORM sync.run_move(run_id, 'complete', format('%s has the content of the file before; nothing to do', run.name));
		RETURN;
	END IF;
	IF NOT run.hold_override THEN
		hold := sync.feed_hold_reason(run.file_id);
	END IF;
	IF hold IS NOT NULL THEN
		UPDATE sync.run r SET held_reason = hold WHERE r.id = run_id;
		PERFORM sync.run_move(run_id, 'held', hold);
		PERFORM sync.notify(run_id, 'warning', 'run_held', format('Run %s is held: %s', run_id, hold));
		RETURN;
	END IF;
	PERFORM sync.run_move(run_id, 'xorosoft_validation');
	PERFORM sync.validation_begin(run_id);
END
$$;

CREATE FUNCTION sync.run_leave_validation(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	IF (SELECT r.kind = 'xorosoft' FROM sync.run r WHERE r.id = run_id) THEN
		PERFORM sync.erp_begin(run_id);
	ELSE
		PERFORM sync.validation_finish(run_id);
		ANALYZE sync.validation (run_id, feed_item_id, product_no, status);
		PERFORM sync.run_move(run_id, 'matching');
		PERFORM sync.match_begin(run_id);
	END IF;
END
$$;

CREATE FUNCTION sync.run_leave_review_pending(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	review record;
	older bigint;
BEGIN
	SELECT * INTO review FROM sync.run_review_counts(run_id);
	IF review.approved > 0 THEN
		PERFORM sync.run_move(run_id, 'auto_approval', format('%s approved by themselves', review.approved));
	ELSIF review.pending > 0 THEN
		PERFORM sync.run_move(run_id, 'manual_review', format('%s wait for a decision', review.pending));
	ELSE
		PERFORM sync.run_move(run_id, 'complete', sync.run_words(run_id));
	END IF;
	-- What this run staged anew is gone from older reviews; those that have nothing left end.
	FOR older IN
		SELECT o.id FROM sync.run o JOIN sync.run r ON r.connection = o.connection
		WHERE r.id = run_id AND o.id < r.id AND o.state = 'manual_review'
	LOOP
		PERFORM sync.run_settle(older);
	END LOOP;
END
$$;

-- Ends the review of a run when nothing is left to decide or apply.  True when the run moved.
CREATE FUNCTION sync.run_settle(run_id bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	run record;
	review record;
BEGIN
	SELECT r.state, r.id INTO run FROM sync.run r WHERE r.id = run_id FOR NO KEY UPDATE;
	IF run.state NOT IN ('manual_review', 'syncing')
	   OR EXISTS (SELECT FROM sync.job j WHERE j.run_id = run.id AND j.kind = 'apply_batch') THEN
		RETURN false;
	END IF;
	SELECT * INTO review FROM sync.run_review_counts(run_id);
	IF review.approved > 0 THEN
		RETURN false;
	ELSIF review.pending > 0 THEN
		IF run.state = 'manual_review' THEN
			RETURN false;
		END IF;
		PERFORM sync.run_move(run_id, 'manual_review', format('%s wait for a decision', review.pending));
	ELSIF review.applied = 0 AND review.rejected > 0 THEN
		PERFORM sync.run_move(run_id, 'rejected', format('%s rejected', review.rejected));
	ELSE
		PERFORM sync.run_move(run_id, 'complete', format('%s applied, %s rejected, %s failed', review.applied, review.rejected, review.failed));
	END IF;
	RETURN true;
END
$$;

CREATE FUNCTION sync.notify(run_id bigint, severity text, kind text, message text, details jsonb DEFAULT '{}') RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	INSERT INTO sync.notification (run_id, severity, kind, message, details)
	VALUES (notify.run_id, notify.severity::sync.severity, notify.kind, notify.message, notify.details);
	PERFORM pg_notify('sync_notification', json_build_object('run', notify.run_id, 'severity', notify.severity, 'kind', notify.kind,
		'message', left(notify.message, 2000))::text);
END
$$;
COMMENT ON FUNCTION sync.notify(bigint, text, text, text, jsonb) IS 'Adds a row to sync.notification and notifies channel sync_notification.';

-- A run whose job could not be done.  Tried again from the top after a wait when the reason may pass: what is done already is found done.
CREATE FUNCTION sync.run_fail(run_id bigint, error jsonb, passing boolean) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	run sync.run;
	wait interval;
BEGIN
	SELECT * INTO run FROM sync.run r WHERE r.id = run_id FOR NO KEY UPDATE;
	-- One that waits goes on when its run_start falls due; without that it would wait for ever, and let no other run of its connection begin.
	IF run.finished_at IS NOT NULL OR run.state IN ('error', 'held', 'cancelled')
	   OR (run.state = 'retry_wait' AND EXISTS (SELECT FROM sync.job j WHERE j.run_id = run.id AND j.kind = 'run_start')) THEN
		RETURN;
	END IF;
	DELETE FROM sync.job j WHERE j.id IN (SELECT w.id FROM sync.job w WHERE w.run_id = run.id FOR UPDATE SKIP LOCKED);
	PERFORM sync.run_move(run_id, 'error', error ->> 'message', error);
	-- A run that people were deciding on keeps its entries: it goes back to them, not to the start.
	IF passing AND run.active AND run.attempt < sync.setting_value(run.connection, 'run_attempts')::integer THEN
		wait := sync.setting_value(run.connection, 'retry_wait')::interval * power(2, run.attempt - 1);
		PERFORM sync.run_move(run_id, 'retry_wait', format('will be tried again at %s', clock_timestamp() + wait));
		PERFORM sync.job_enqueue('run_start', run_id, run_at => clock_timestamp() + wait);
	ELSE
		UPDATE sync.run r SET active = false, finished_at = clock_timestamp() WHERE r.id = run_id;
		PERFORM sync.notify(run_id, 'error', 'run_failed', format('Run %s failed: %s', run_id, error ->> 'message'), error);
	END IF;
END
$$;

-- The entries of a cancelled run that nobody holds.  A batch that is applying some of them is undone, and a person who is deciding one
-- enqueues an apply_batch: sync.worker_fence() then comes back here.
CREATE FUNCTION sync.run_supersede(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	UPDATE sync.staging s SET state = 'superseded'
	WHERE s.id IN (SELECT o.id FROM sync.staging o WHERE o.run_id = run_supersede.run_id AND o.state = 'open' FOR UPDATE SKIP LOCKED);
	PERFORM sync.push_cancel(run_id);
END
$$;

CREATE FUNCTION @extschema@.sync_cancel(run_id bigint) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
	run sync.run;
BEGIN
	PERFORM sync.run_lock(run_id);
	SELECT * INTO run FROM sync.run r WHERE r.id = run_id;
	IF run.finished_at IS NOT NULL AND run.state <> 'error' THEN
		RETURN run.state::text;
	END IF;
	DELETE FROM sync.job j WHERE j.id IN (SELECT w.id FROM sync.job w WHERE w.run_id = run.id FOR UPDATE SKIP LOCKED);
	PERFORM sync.run_supersede(run_id);
	PERFORM sync.run_move(run_id, 'cancelled', format('cancelled by %s', session_user));
	PERFORM sync.interrupt_workers(run_id);
	RETURN 'cancelled';
END
$$;
ALTER FUNCTION @extschema@.sync_cancel(bigint) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_cancel(bigint) TO sync_operator;
COMMENT ON FUNCTION @extschema@.sync_cancel(bigint) IS
'Stops a run: its waiting jobs are dropped, those under way are interrupted, entries that are not applied yet are superseded; what was applied stays. sync_run_etilize() then takes the same file again; a schedule waits for a newer one. Returns the run''s state. Error P0002 when there is no such run.';

CREATE FUNCTION @extschema@.sync_retry(run_id bigint) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
	run sync.run;
BEGIN
	PERFORM sync.run_lock(run_id);
	SELECT * INTO run FROM sync.run r WHERE r.id = run_id;
	IF run.state = 'retry_wait' THEN
		-- One that is locked is being worked on.
		UPDATE sync.job j SET run_at = now()
		WHERE j.id IN (SELECT w.id FROM sync.job w WHERE w.run_id = run.id AND w.kind = 'run_start' FOR UPDATE SKIP LOCKED);
		PERFORM sync.wake();
		RETURN run.state::text;
	ELSIF run.state NOT IN ('error', 'held') THEN
		RAISE EXCEPTION 'run % is %, not failed or held', run_id, run.state
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Start a new run.';
	ELSIF EXISTS (SELECT FROM sync.run o WHERE o.connection = run.connection AND o.kind = run.kind AND o.active AND NOT o.context ?| ARRAY['chosen', 'sending'])
		  AND NOT run.context ? 'chosen' THEN
		RAISE EXCEPTION 'another run of "%" is active', run.connection
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Wait for it, or cancel it.';
	END IF;
	BEGIN
		UPDATE sync.run r
		SET active = true, finished_at = NULL, attempt = 1, hold_override = r.hold_override OR r.state = 'held', held_reason = NULL
		WHERE r.id = run.id;
	EXCEPTION WHEN unique_violation THEN
		-- It became active after the look above.
		RAISE EXCEPTION 'another run of "%" is active', run.connection
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Wait for it, or cancel it.';
	END;
	UPDATE sync.feed_file f SET state = 'downloaded' WHERE f.id = run.feed_file_id AND f.state = 'failed';
	UPDATE sync.run r SET context = r.context || '{"force": true}' WHERE r.id = run.id;
	PERFORM sync.run_move(run_id, 'idle', format('retried by %s', session_user));
	PERFORM sync.job_enqueue('run_start', run_id);
	RETURN 'idle';
END
$$;
ALTER FUNCTION @extschema@.sync_retry(bigint) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_retry(bigint) TO sync_operator;
COMMENT ON FUNCTION @extschema@.sync_retry(bigint) IS
'Starts a failed or held run again; a held one is thereby let through. Returns its state. Errors: P0002 no such run, 55000 neither failed nor held, or another run of the connection is active.';

CREATE FUNCTION @extschema@.sync_wait(run_id bigint, timeout interval DEFAULT '1 hour') RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
	deadline constant timestamptz := clock_timestamp() + timeout;
	pause double precision := 0.02;
	run record;
	warned boolean := false;
BEGIN
	LOOP
		SELECT r.state::text AS state, r.active OR EXISTS (SELECT FROM sync.job j WHERE j.run_id = r.id) AS busy,
			   r.xmin = pg_current_xact_id_if_assigned()::xid AS unseen INTO run
		FROM sync.run r WHERE r.id = run_id;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'there is no run %', run_id
				USING ERRCODE = 'no_data_found', HINT = 'A run is visible to others once the transaction that started it has committed.';
		ELSIF NOT run.busy THEN
			RETURN run.state;
		ELSIF run.unseen THEN
			RAISE EXCEPTION 'run % was started in this transaction, so no worker sees it yet', run_id
				USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Start it in one statement and wait for it in the next, outside of a transaction block.';
		ELSIF clock_timestamp() >= deadline THEN
			RAISE EXCEPTION 'run % is still % after %', run_id, run.state, timeout USING ERRCODE = 'query_canceled';
		ELSIF NOT warned AND clock_timestamp() > deadline - timeout + interval '3 seconds'
			  -- Workers leave when there is nothing to do: only a job that nobody takes is a sign that there are none.
			  AND EXISTS (SELECT FROM sync.job j WHERE j.run_id = sync_wait.run_id AND j.run_at < clock_timestamp() - interval '3 seconds')
			  AND NOT sync.engine_present() THEN
			RAISE NOTICE 'nothing works on the queue of this database'
				USING HINT = 'Set shared_preload_libraries = ''product_sync'' and product_sync.databases, or CALL sync_work().';
			warned := true;
		END IF;
		PERFORM pg_sleep(least(pause, greatest(extract(epoch FROM deadline - clock_timestamp()), 0)));
		pause := least(pause * 1.5, 0.5);
	END LOOP;
END
$$;
ALTER FUNCTION @extschema@.sync_wait(bigint, interval) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_wait(bigint, interval) TO sync_viewer;
COMMENT ON FUNCTION @extschema@.sync_wait(bigint, interval) IS
'Waits until a run rests: manual_review, complete, rejected, held, cancelled, or error with no try left. Returns that state. Errors: P0002 no such run, 57014 still busy after the timeout, 55000 the run was started in this transaction: workers see only what is committed.';

-- Whether anybody works on the queue: some session holds an owner's lock, or the coordinator is there.
CREATE FUNCTION sync.engine_present() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
	RETURN EXISTS (
		SELECT FROM pg_locks l
		WHERE l.locktype = 'advisory' AND l.classid::bigint = sync.owner_lock_class() AND l.objsubid = 2 AND l.granted
		  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()));
END
$$;
