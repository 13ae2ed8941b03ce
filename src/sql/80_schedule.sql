-- Running by the clock: one pg_cron job a phase, each one short call of sync.tick() that is safe to overlap with itself and with
-- people.  pg_cron is optional: nothing here needs it before somebody calls sync_schedule().

CREATE FUNCTION sync.install_part_80_schedule() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('keep_feed_files', '3', 'count', 'Loaded feed files of a connection whose rows and zip are kept; one that is still needed always is.'),
		('keep_job_history', '14 days', 'interval', 'How long finished jobs stay in sync.job_history.'),
		('keep_run_details', '2 days', 'interval', 'How long match results and validation rows of a finished run stay.'),
		('keep_pushes', '30 days', 'interval', 'How long what was sent to a shop stays in sync.push, sync.push_event and sync.push_call.'),
		('keep_notifications', '90 days', 'interval', 'How long notifications stay.')
	ON CONFLICT (name) DO NOTHING;
	INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, description) VALUES
		('housekeep', false, 3, 1, 3, 'Drops old partitions, spool files and history')
	ON CONFLICT (kind) DO NOTHING;
END
$$;

-- The ticks ----------------------------------------------------------------------------------------------------------------------

-- Starts a run of each enabled connection of a kind; one that cannot start does not hold up the others.
-- A connection is looked at when its own poll_interval has passed since the last scheduled look; where it has none, that of the
-- schedule.  Half a minute of slack, so that a clock that ticks by the minute does not miss every second turn.
-- What is paused until a person looks needs no reminder by the clock.
CREATE FUNCTION sync.tick_runs(kind text, every interval, context jsonb DEFAULT '{}') RETURNS integer
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	name text;
	started integer := 0;
BEGIN
	FOR name IN
		SELECT c.name FROM sync.connection c
		WHERE c.kind::text = split_part(tick_runs.kind, '_', 1) AND c.enabled
		  AND sync.paused(c.name) IS NULL
		  AND NOT EXISTS (
			SELECT FROM sync.run r
			WHERE r.connection = c.name AND r.trigger = 'schedule' AND r.context ->> 'mode' IS NOT DISTINCT FROM tick_runs.context ->> 'mode'
			  AND r.created_at > now() + interval '30 seconds' - coalesce((c.settings ->> 'poll_interval')::interval, tick_runs.every))
		ORDER BY c.name
	LOOP
		BEGIN
			PERFORM sync.run_start(kind, name, 'schedule', context);
			started := started + 1;
		EXCEPTION WHEN OTHERS THEN
			RAISE WARNING 'no run of connection "%" was started: %', name, SQLERRM;
		END;
	END LOOP;
	RETURN started;
END
$$;

-- Jobs of the dead are taken back, and runs that lost their work move on.
CREATE FUNCTION sync.tick_stage() RETURNS integer
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	id bigint;
	nudged integer := 0;
BEGIN
	PERFORM sync.lease_reclaim();
	FOR id IN
		SELECT r.id FROM sync.run r
		WHERE r.active AND NOT EXISTS (SELECT FROM sync.job j WHERE j.run_id = r.id) ORDER BY r.id
	LOOP
		BEGIN
			PERFORM sync.run_advance(id);
			nudged := nudged + 1;
		EXCEPTION WHEN OTHERS THEN
			RAISE WARNING 'run % does not move on: %', id, SQLERRM;
		END;
	END LOOP;
	-- What waits to be sent, and nobody put together to calls.
	PERFORM sync.push_plan_wanted(p.connection) FROM (SELECT DISTINCT o.connection FROM sync.push o WHERE o.state = 'queued') p;
	PERFORM sync.wake();
	RETURN nudged;
END
$$;

-- Runs with approved entries that nothing is applying yet.  Where approving is not to apply, what is in review waits for sync_apply().
CREATE FUNCTION sync.tick_apply() RETURNS integer
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	id bigint;
	nudged integer := 0;
BEGIN
	FOR id IN
		SELECT r.id FROM sync.run r
		WHERE (r.state = 'syncing' OR (r.state = 'manual_review' AND sync.setting_value(r.connection, 'apply_on_approval')::boolean))
		  AND EXISTS (SELECT FROM sync.staging s WHERE s.run_id = r.id AND s.state = 'open' AND s.decision = 'approved')
		  AND NOT EXISTS (SELECT FROM sync.job j WHERE j.run_id = r.id) ORDER BY r.id
	LOOP
		BEGIN
			PERFORM sync.job_enqueue('apply_batch', id);
			nudged := nudged + 1;
		EXCEPTION WHEN OTHERS THEN
			RAISE WARNING 'approved entries of run % are not being applied: %', id, SQLERRM;
		END;
	END LOOP;
	PERFORM sync.wake();
	RETURN nudged;
END
$$;

CREATE FUNCTION sync.tick(phase text, every interval DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
	IF NOT sync.schema_ready() THEN
		RETURN 'the tables are not installed: SELECT sync_install()';
	END IF;
	CASE phase
		WHEN 'poll' THEN
			RETURN format('%s runs', sync.tick_runs('etilize', coalesce(every, sync.setting_value(NULL, 'poll_interval')::interval)));
		WHEN 'mirror' THEN
			RETURN format('%s runs', sync.tick_runs('xorosoft', coalesce(every, interval '0')));
		WHEN 'shop' THEN
			RETURN format('%s runs', sync.tick_runs('shopify_down', coalesce(every, interval '0'), '{"mode": "auto"}'));
		WHEN 'shop_full' THEN
			RETURN format('%s runs', sync.tick_runs('shopify_down', coalesce(every, interval '0'), '{"mode": "full"}'));
		WHEN 'push' THEN
			RETURN format('%s runs', sync.tick_runs('shopify_up', coalesce(every, interval '0')));
		WHEN 'stage' THEN
			RETURN format('%s runs moved on', sync.tick_stage());
		WHEN 'apply' THEN
			RETURN format('%s runs', sync.tick_apply());
		WHEN 'webhooks' THEN
			RETURN format('%s shops', sync.webhooks_look(NULL, true));
		WHEN 'housekeep' THEN
			RETURN format('job %s', sync.job_enqueue('housekeep', NULL, '{}', 'daily'));
		ELSE
			RAISE EXCEPTION 'there is no phase "%"', phase
				USING ERRCODE = 'invalid_parameter_value', HINT = 'The phases are poll, mirror, shop, shop_full, push, stage, apply, webhooks and housekeep.';
	END CASE;
END
$$;
ALTER FUNCTION sync.tick(text, interval) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION sync.tick(text, interval) TO sync_operator;
COMMENT ON FUNCTION sync.tick(text, interval) IS
'One step of a phase: poll (starts feed runs), mirror (starts runs that refresh the ERP''s mirror), shop (starts runs that take over what changed in the shops, or all of it where that is due), shop_full (all of it), push (starts runs that send to the shops what changed here), stage (moves on runs that lost their work), apply (applies what was approved), webhooks (verifies the shops'' subscriptions), housekeep (drops what is old). every: least time between two looks at a connection, where it has no poll_interval of its own; NULL takes the setting. Returns what it did, at once; the workers do the work. Errors: 22023 for another phase.';

-- The schedule -------------------------------------------------------------------------------------------------------------------

-- The jobs of a preset.  Where no library is preloaded, one more job works on the queue.
CREATE FUNCTION sync.schedule_jobs(preset text) RETURNS TABLE (job_name text, schedule text, command text)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	preloaded boolean;
	plan jsonb;
BEGIN
	plan := CASE preset
		WHEN 'standard' THEN '{"poll": "* * * * *", "mirror": "7 * * * *", "shop": "*/15 * * * *", "shop_full": "15 2 * * 0", "push": "8,23,38,53 * * * *", "stage": "*/5 * * * *", "apply": "* * * * *", "webhooks": "23 * * * *", "housekeep": "30 3 * * *"}'
		WHEN 'frequent' THEN '{"poll": "* * * * *", "mirror": "*/30 * * * *", "shop": "*/5 * * * *", "shop_full": "15 2 * * *", "push": "3,8,13,18,23,28,33,38,43,48,53,58 * * * *", "stage": "* * * * *", "apply": "* * * * *", "webhooks": "23 * * * *", "housekeep": "30 3 * * *"}'
		WHEN 'nightly' THEN '{"poll": "0 1 * * *", "mirror": "30 0 * * *", "shop": "45 0 * * *", "shop_full": "15 2 * * 0", "push": "0 4 * * *", "stage": "*/15 * * * *", "apply": "*/5 * * * *", "webhooks": "23 * * * *", "housekeep": "30 3 * * *"}'
	END::jsonb;
	IF plan IS NULL THEN
		RAISE EXCEPTION 'there is no preset "%"', preset
			USING ERRCODE = 'invalid_parameter_value', HINT = 'The presets are standard, frequent and nightly.';
	END IF;
	BEGIN
		preloaded := current_setting('shared_preload_libraries') ~ '(^|[,/ "])product_sync([," ]|$)';
	EXCEPTION WHEN insufficient_privilege THEN
		preloaded := coalesce(current_setting('product_sync.databases', true), '') <> '';
	END;
	RETURN QUERY
		SELECT 'product_sync_' || p.phase, plan ->> p.phase, format('SELECT sync.tick(%L%s)', p.phase,
			CASE WHEN p.phase = 'poll' AND preset = 'frequent' THEN ', ''5 minutes''' WHEN p.phase = 'poll' AND preset = 'nightly' THEN ', ''0 s''' ELSE '' END)
		FROM unnest(ARRAY['poll', 'mirror', 'shop', 'shop_full', 'push', 'stage', 'apply', 'webhooks', 'housekeep']) WITH ORDINALITY AS p (phase, no)
		UNION ALL
		SELECT 'product_sync_work', '* * * * *', 'CALL @extschema@.sync_work(''50 seconds'')' WHERE NOT preloaded;
END
$$;

-- Fails, saying what to do, where pg_cron cannot be used from this database by this user.
CREATE FUNCTION sync.schedule_require_cron(preset text) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	home text;
BEGIN
	IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN
		IF NOT has_schema_privilege('cron', 'USAGE') THEN
			RAISE EXCEPTION 'permission denied for schema cron'
				USING ERRCODE = 'insufficient_privilege', HINT = format('As a superuser: GRANT USAGE ON SCHEMA cron TO %I;', current_user);
		END IF;
		RETURN;
	END IF;
	BEGIN
		home := current_setting('cron.database_name', true);
	EXCEPTION WHEN insufficient_privilege THEN
		home := NULL;
	END;
	IF home IS NOT NULL AND home <> current_database() THEN
		RAISE EXCEPTION 'pg_cron works in database "%", not here', home
			USING ERRCODE = 'feature_not_supported',
				  DETAIL = 'It keeps its jobs in one database of the server, and runs them in any.',
				  HINT = format(E'Connect to database "%s" and run there:\n%s', home,
					(SELECT string_agg(format('SELECT cron.schedule_in_database(%L, %L, %L, %L);', j.job_name || '@' || current_database(),
											  j.schedule, j.command, current_database()), E'\n') FROM sync.schedule_jobs(preset) j));
	ELSIF home IS NOT NULL THEN
		RAISE EXCEPTION 'extension pg_cron is not created in this database'
			USING ERRCODE = 'feature_not_supported', HINT = 'CREATE EXTENSION pg_cron;';
	END IF;
	RAISE EXCEPTION 'pg_cron is not there'
		USING ERRCODE = 'undefined_file',
			  HINT = format('Install it (Debian: postgresql-%s-cron), set shared_preload_libraries = ''product_sync,pg_cron'' and cron.database_name = ''%s'', restart, and CREATE EXTENSION pg_cron. Or let anything else call SELECT sync.tick(''poll'') by the clock.',
							current_setting('server_version_num')::integer / 10000, current_database());
END
$$;

CREATE FUNCTION @extschema@.sync_schedule(preset text DEFAULT 'standard') RETURNS SETOF text
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	job record;
	names text[] := '{}';
	id bigint;
BEGIN
	PERFORM sync.schedule_jobs(preset);
	PERFORM sync.schedule_require_cron(preset);
	FOR job IN SELECT * FROM sync.schedule_jobs(preset) LOOP
		id := cron.schedule(job.job_name, job.schedule, job.command);
		names := names || job.job_name;
		RETURN NEXT format('%s: %s', job.job_name, job.schedule);
	END LOOP;
	PERFORM cron.unschedule(c.jobid) FROM cron.job c
	WHERE c.jobname LIKE 'product\_sync\_%' AND c.jobname <> ALL (names) AND c.database = current_database() AND c.username = current_user;
END
$$;
GRANT EXECUTE ON FUNCTION @extschema@.sync_schedule(text), sync.schedule_jobs(text), sync.schedule_require_cron(text) TO sync_admin;
COMMENT ON FUNCTION @extschema@.sync_schedule(text) IS
'Makes one pg_cron job a phase, in the caller''s name: product_sync_poll, _mirror, _shop, _shop_full, _stage, _apply, _webhooks and _housekeep, and _work where the library is not preloaded. preset: standard (poll every 15 minutes, mirror every hour, shops every 15 minutes and whole every week), frequent (5, 30 and 5 minutes, whole every night) or nightly. Returns the jobs with their schedules; calling it again replaces them. Times are those of cron.timezone, GMT by default. Errors: 58P01 without pg_cron, 0A000 when it works in another database, 42501 without access to schema cron, 22023 for another preset.';

CREATE FUNCTION @extschema@.sync_unschedule() RETURNS SETOF text
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	job record;
BEGIN
	PERFORM sync.schedule_require_cron('standard');
	FOR job IN
		SELECT c.jobid, c.jobname FROM cron.job c
		WHERE c.jobname LIKE 'product\_sync\_%' AND c.database = current_database() AND c.username = current_user ORDER BY c.jobid
	LOOP
		PERFORM cron.unschedule(job.jobid);
		RETURN NEXT job.jobname;
	END LOOP;
END
$$;
GRANT EXECUTE ON FUNCTION @extschema@.sync_unschedule() TO sync_admin;
COMMENT ON FUNCTION @extschema@.sync_unschedule() IS
'Removes the caller''s pg_cron jobs that sync_schedule() made for this database. Returns their names. Errors as of sync_schedule().';

-- Housekeeping -------------------------------------------------------------------------------------------------------------------

-- Drops a partition without waiting long for its readers: false where they are still at it.
CREATE FUNCTION sync.partition_drop(partition regclass) RETURNS boolean
LANGUAGE plpgsql SET search_path = '' SET lock_timeout = '2s' AS $$
BEGIN
	EXECUTE format('DROP TABLE %s', partition);
	RETURN true;
EXCEPTION WHEN lock_not_available THEN
	RETURN false;
END
$$;

-- Feed files that nobody needs: neither among the newest loaded ones nor of a run that is not finished or has open entries.
CREATE FUNCTION sync.housekeep_feeds() RETURNS integer
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	file record;
	partition regclass;
	dropped integer := 0;
BEGIN
	FOR file IN
		SELECT f.id FROM sync.feed_file f
		WHERE f.state IN ('loaded', 'unchanged', 'failed')
		  AND CASE f.state
				WHEN 'loaded' THEN (SELECT count(*) FROM sync.feed_file n
									WHERE n.connection = f.connection AND n.state = 'loaded' AND n.id > f.id)
					>= greatest(1, sync.setting_value(f.connection, 'keep_feed_files')::integer)
				ELSE f.created_at < now() - interval '1 day' END
		  AND NOT EXISTS (SELECT FROM sync.run r WHERE r.feed_file_id = f.id
						  AND (r.finished_at IS NULL OR r.active OR r.state = 'held'
							   OR EXISTS (SELECT FROM sync.staging s WHERE s.run_id = r.id AND s.state = 'open')))
		ORDER BY f.id
	LOOP
		SELECT i.inhrelid::regclass INTO partition FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'sync.feed_item'::regclass
		  AND pg_get_expr(c.relpartbound, c.oid) = format('FOR VALUES IN (%L)', file.id::text);
		IF partition IS NULL OR sync.partition_drop(partition) THEN
			DELETE FROM sync.feed_reject r WHERE r.feed_file_id = file.id;
			UPDATE sync.feed_file f SET state = 'dropped' WHERE f.id = file.id;
			PERFORM sync.spool_remove(format('feed-%s.zip', file.id));
			PERFORM sync.spool_remove(format('feed-%s.zip.part', file.id));
			dropped := dropped + 1;
		END IF;
	END LOOP;
	RETURN dropped;
END
$$;

-- Day partitions of sync.job_history, in UTC: made for the next days, dropped when they are old.  What fell into the default partition
-- while a day had none goes row by row.
CREATE FUNCTION sync.housekeep_history() RETURNS integer
LANGUAGE plpgsql SET search_path = '' SET lock_timeout = '2s' AS $$
DECLARE
	keep constant interval := sync.setting_value(NULL, 'keep_job_history');
	today constant date := (now() AT TIME ZONE 'UTC')::date;
	day date;
	partition record;
	dropped integer := 0;
BEGIN
	FOR day IN SELECT today + n FROM generate_series(0, 3) n LOOP
		IF to_regclass(format('sync.job_history_%s', to_char(day, 'YYYYMMDD'))) IS NULL THEN
			BEGIN
				EXECUTE format('CREATE TABLE sync.%I PARTITION OF sync.job_history FOR VALUES FROM (%L) TO (%L)',
							   'job_history_' || to_char(day, 'YYYYMMDD'), day::text || ' 00:00:00+00', (day + 1)::text || ' 00:00:00+00');
			EXCEPTION
				WHEN check_violation THEN
					NULL;		-- the default partition has rows of that day: they stay there
				WHEN lock_not_available THEN
					RAISE WARNING 'the job history of % has no partition yet: the table is in use', day;
			END;
		END IF;
	END LOOP;
	FOR partition IN
		SELECT i.inhrelid::regclass AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'sync.job_history'::regclass AND c.relname ~ '^job_history_[0-9]{8}$'
		  AND to_date(right(c.relname, 8), 'YYYYMMDD') + 1 < (now() - keep)::date
	LOOP
		IF sync.partition_drop(partition.name) THEN
			dropped := dropped + 1;
		END IF;
	END LOOP;
	DELETE FROM sync.job_history_default h WHERE h.finished_at < now() - keep;
	RETURN dropped;
END
$$;

-- Rows that only a run in progress or a person who still decides needs, and old notifications.
CREATE FUNCTION sync.housekeep_rows() RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	old bigint[];
	n bigint;
	deleted bigint := 0;
BEGIN
	SELECT coalesce(array_agg(r.id), '{}') INTO old FROM sync.run r
	WHERE NOT r.active AND r.finished_at < now() - sync.setting_value(NULL, 'keep_run_details')::interval
	  AND NOT EXISTS (SELECT FROM sync.staging s WHERE s.run_id = r.id AND s.state = 'open');
	DELETE FROM sync.match_result m WHERE m.run_id = ANY (old);
	GET DIAGNOSTICS n = ROW_COUNT;
	deleted := deleted + n;
	DELETE FROM sync.validation v WHERE v.run_id = ANY (old);
	GET DIAGNOSTICS n = ROW_COUNT;
	deleted := deleted + n;
	DELETE FROM sync.webhook_event e WHERE e.received_at < now() - greatest(interval '1 day', sync.setting_value(NULL, 'keep_webhook_events')::interval);
	GET DIAGNOSTICS n = ROW_COUNT;
	deleted := deleted + n;
	DELETE FROM sync.conflict c
	WHERE c.state NOT IN ('open', 'resolved') AND c.closed_at < now() - sync.setting_value(NULL, 'keep_conflicts')::interval;
	GET DIAGNOSTICS n = ROW_COUNT;
	deleted := deleted + n;
	DELETE FROM sync.decision_log d WHERE d.decided_at < now() - sync.setting_value(NULL, 'keep_decisions')::interval;
	GET DIAGNOSTICS n = ROW_COUNT;
	deleted := deleted + n;
	DELETE FROM sync.push_event e WHERE e.at < now() - sync.setting_value(NULL, 'keep_pushes')::interval
		AND NOT EXISTS (SELECT FROM sync.push p WHERE p.id = e.push_id AND p.ended_at IS NULL);
	GET DIAGNOSTICS n = ROW_COUNT;
	deleted := deleted + n;
	DELETE FROM sync.push p WHERE p.ended_at < now() - sync.setting_value(NULL, 'keep_pushes')::interval;
	GET DIAGNOSTICS n = ROW_COUNT;
	deleted := deleted + n;
	DELETE FROM sync.push_call c WHERE c.finished_at < now() - sync.setting_value(NULL, 'keep_pushes')::interval;
	GET DIAGNOSTICS n = ROW_COUNT;
	deleted := deleted + n;
	DELETE FROM sync.low_stock k WHERE k.cleared_at < now() - sync.setting_value(NULL, 'keep_notifications')::interval;
	GET DIAGNOSTICS n = ROW_COUNT;
	deleted := deleted + n;
	DELETE FROM sync.notification t WHERE t.created_at < now() - sync.setting_value(NULL, 'keep_notifications')::interval;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN deleted + n;
END
$$;

-- Readings of shops that nobody goes on with, but the last complete ones: their watermark is where the next begins.
CREATE FUNCTION sync.housekeep_shops() RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	n bigint;
BEGIN
	DELETE FROM sync.shopify_bulk_line l
	WHERE NOT EXISTS (SELECT FROM sync.shopify_crawl c WHERE c.id = l.crawl_id AND c.finished_at IS NULL);
	PERFORM sync.spool_remove(c.file) FROM sync.shopify_crawl c WHERE c.file IS NOT NULL AND c.finished_at IS NOT NULL;
	DELETE FROM sync.shopify_crawl c
	WHERE c.finished_at < now() - sync.setting_value(c.connection, 'keep_run_details')::interval
	  AND (NOT c.complete OR EXISTS (SELECT FROM sync.shopify_crawl n
									 WHERE n.connection = c.connection AND n.mode = c.mode AND n.complete AND n.id > c.id));
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END
$$;

CREATE FUNCTION sync.work_housekeep(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	RETURN jsonb_build_object('feed_files', sync.housekeep_feeds(), 'history_days', sync.housekeep_history(),
							  'rows', sync.housekeep_rows(), 'shop_readings', sync.housekeep_shops());
END
$$;
