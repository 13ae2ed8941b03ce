-- The Etilize feed up to a complete local copy: look for the file, see that it is complete, download, look again.
--
-- FTP cannot say that a file is complete, nor that it is the file of a moment ago.  So: size and time must be the same in two looks
-- before the download and in one after it; a part on disk is continued only for the size and time that its feed_file row holds.
-- Context of a run, as far as it is kept here: look (what the last look saw, and how many there were), poll (new_file, no_new_file,
-- absent, waiting), poll_message, downloads (how often the file changed under the download), force (take the file though it is known).

CREATE FUNCTION sync.spool_size(name text) RETURNS bigint
LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'sync_spool_size';
COMMENT ON FUNCTION sync.spool_size(text) IS 'Bytes of feed-<id>.zip or shopify-<id>.jsonl, or of either with .part behind, in product_sync.spool_directory; NULL where there is none.';

CREATE FUNCTION sync.spool_rename(old_name text, new_name text) RETURNS void
LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'sync_spool_rename';
COMMENT ON FUNCTION sync.spool_rename(text, text) IS 'Renames a download so that name and content survive a crash. Not undone by a rollback.';

CREATE FUNCTION sync.spool_remove(name text) RETURNS boolean
LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'sync_spool_remove';
COMMENT ON FUNCTION sync.spool_remove(text) IS 'Removes a download; whether there was one. Not undone by a rollback.';

CREATE FUNCTION sync.transfer_outcomes(OUT source text, OUT first_code integer, OUT last_code integer, OUT class text, OUT meaning text,
	OUT advice text) RETURNS SETOF record
LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'sync_transfer_outcomes';
COMMENT ON FUNCTION sync.transfer_outcomes() IS
'What each error of a request means and whether it is tried again: network (yes), api_limit (yes, and costs no attempt), permanent (no). The first row whose codes fit counts; source says whether the code is libcurl''s, an HTTP status or an FTP reply.';

CREATE FUNCTION sync.install_part_42_etilize() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $install$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('file_name', 'CowanOfficeSupplies.zip', '', 'Name of the feed on the FTP server.'),
		('path', '', '', 'Folder of the feed on the FTP server, below base_url; with a leading / from the server''s root.'),
		('ftp_tls', 'none', '', 'none: plain FTP. explicit: AUTH TLS for control and data, or the transfer fails.'),
		('tls_ca_file', '', '', 'File in product_sync.secret_directory with the certificates to trust; empty: those of the system.'),
		('settle', '2 seconds', 'interval', 'How long size and time of a file must stay the same before it is taken for complete.'),
		('poll_interval', '15 minutes', 'interval', 'How often the schedule looks for a new file.'),
		('max_looks', '30', 'count', 'How often a file that keeps changing is looked at, or downloaded again, before the run fails.'),
		('max_download_bytes', '8589934592', 'bytes', 'Largest file that is downloaded.'),
		('ftp_connect_timeout', '30 seconds', 'interval', 'Longest time for connection and login.'),
		('ftp_look_timeout', '2 minutes', 'interval', 'Longest time for a look at the file.'),
		('ftp_download_timeout', '4 hours', 'interval', 'Longest time for one attempt of a download.'),
		('ftp_stall_timeout', '1 minute', 'interval', 'A transfer on which nothing moves for so long has failed.')
	ON CONFLICT DO NOTHING;
	INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, backoff_base, backoff_cap, description) VALUES
		('etilize_poll', true, 2, 10, 5, '1 second', '1 minute', 'Looks at the feed''s size and time on the FTP server.'),
		('etilize_download', true, 2, 10, 8, '1 second', '2 minutes', 'Downloads the feed, and goes on where it was interrupted.'),
		('etilize_recheck', true, 2, 10, 5, '1 second', '1 minute', 'Looks whether the feed changed while it was downloaded.')
	ON CONFLICT DO NOTHING;
END
$install$;

-- A path for a URL: all but letters, digits and -._~/ as %XX.
CREATE FUNCTION sync.url_path(path text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT SET search_path = '' AS $$
	SELECT coalesce(string_agg(CASE WHEN chr(b.byte) ~ '[A-Za-z0-9/._~-]' AND b.byte < 128 THEN chr(b.byte)
									ELSE '%' || upper(lpad(to_hex(b.byte), 2, '0')) END, '' ORDER BY b.place), '')
	FROM (SELECT p.place, get_byte(convert_to(path, 'UTF8'), p.place) AS byte
		  FROM generate_series(0, octet_length(convert_to(path, 'UTF8')) - 1) AS p (place)) b
$$;

-- Address of a connection's feed.  A folder from the server's root is %2F in a URL of FTP.
CREATE FUNCTION sync.etilize_url(connection text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	base text := (SELECT rtrim(c.base_url, '/') FROM sync.connection c WHERE c.name = etilize_url.connection);
	path text := sync.setting_value(connection, 'path');
	folder text := trim(BOTH '/' FROM path);
BEGIN
	RETURN base || '/' || CASE WHEN path LIKE '/%' THEN '%2F' ELSE '' END || sync.url_path(folder)
		|| CASE WHEN folder <> '' THEN '/' ELSE '' END || sync.url_path(sync.setting_value(connection, 'file_name'));
END
$$;

CREATE FUNCTION sync.interval_ms(value interval) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT SET search_path = '' AS $$
	SELECT least(ceil(extract(epoch FROM value) * 1000), 2147483647)::bigint
$$;

-- What all requests to a connection's FTP server have in common.
CREATE FUNCTION sync.etilize_request(connection text, op text, timeout_setting text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	source sync.connection;
BEGIN
	SELECT * INTO STRICT source FROM sync.connection c WHERE c.name = etilize_request.connection;
	RETURN jsonb_strip_nulls(jsonb_build_object(
		'op', op,
		'url', sync.etilize_url(source.name),
		'username', source.username,
		'secret_ref', source.secret_ref,
		'tls', sync.setting_value(source.name, 'ftp_tls'),
		'ca_file', nullif(sync.setting_value(source.name, 'tls_ca_file'), ''),
		'connect_timeout_ms', sync.interval_ms(sync.setting_value(source.name, 'ftp_connect_timeout')::interval),
		'timeout_ms', sync.interval_ms(sync.setting_value(source.name, timeout_setting)::interval),
		'low_speed_seconds', ceil(extract(epoch FROM sync.setting_value(source.name, 'ftp_stall_timeout')::interval))));
END
$$;

-- What to do about a transfer that failed.
CREATE FUNCTION sync.etilize_failure(result jsonb, OUT outcome text, OUT error jsonb)
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT CASE result ->> 'class' WHEN 'permanent' THEN 'fail' WHEN 'api_limit' THEN 'defer' ELSE 'retry' END,
		   jsonb_build_object('class', result ->> 'class', 'message', result ->> 'message',
			   'detail', format('curl code %s, FTP reply %s', result ->> 'curl_code', result ->> 'status'))
$$;

-- What an answer says of the server, for sync.breaker_told().  A download that broke off on its way says nothing: it goes on where it was.
CREATE FUNCTION sync.etilize_sign(result jsonb) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT CASE WHEN (result ->> 'ok')::boolean THEN 'up'
				WHEN (result ->> 'status')::integer IN (430, 530) OR (result ->> 'curl_code')::integer = 67 THEN 'login'
				WHEN result ->> 'class' = 'network' THEN CASE WHEN coalesce((result ->> 'bytes')::bigint, 0) = 0 THEN 'down' END
				WHEN (result ->> 'status')::integer > 0 THEN 'up' END
$$;

-- A request to the FTP server, or what is done with the job in its place while nothing may be sent there.  Before the run is locked.
CREATE FUNCTION sync.etilize_gate(connection text, job_id bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	gate record;
BEGIN
	gate := sync.breaker_gate(connection, ARRAY[job_id]);
	RETURN CASE WHEN gate.allowed = '{}' THEN jsonb_build_object('op', 'defer', 'retry_in', extract(epoch FROM gate.wait)) END;
END
$$;

-- Tells the breaker of an answer, before anything of it is written.
CREATE FUNCTION sync.etilize_told(connection text, job_id bigint, result jsonb) RETURNS interval
LANGUAGE sql SET search_path = '' AS $$
	SELECT sync.breaker_told(connection, job_id, sync.etilize_sign(result), f.error) FROM sync.etilize_failure(result) f
$$;

-- Where the file itself is missing, as opposed to its folder.
CREATE FUNCTION sync.etilize_file_absent(result jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT NOT (result ->> 'ok')::boolean AND (result ->> 'curl_code')::integer = 78
$$;

-- A time in messages, whatever the session's settings.
CREATE FUNCTION sync.time_text(at timestamptz) RETURNS text
LANGUAGE sql STABLE SET search_path = '' AS $$
	SELECT coalesce(to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), 'unknown time')
$$;

CREATE FUNCTION sync.run_context_set(run_id bigint, changes jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	UPDATE sync.run r SET context = r.context || changes WHERE r.id = run_id;
END
$$;

-- Poll -------------------------------------------------------------------------------------------------------------------------

-- A run that has its file already goes on with it: who let a held run through meant that file, not a newer one.
CREATE FUNCTION sync.etilize_file_kept(run_id bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	file record;
BEGIN
	SELECT f.id, f.state, f.size INTO file FROM sync.feed_file f JOIN sync.run r ON r.feed_file_id = f.id WHERE r.id = run_id;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	RETURN coalesce(file.state = 'loaded' OR (file.state = 'downloaded' AND sync.spool_size(format('feed-%s.zip', file.id)) = file.size), false);
END
$$;

CREATE FUNCTION sync.request_etilize_poll(job_ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	target record;
BEGIN
	FOR target IN SELECT j.id, j.run_id, r.connection FROM sync.job j JOIN sync.run r ON r.id = j.run_id WHERE j.id = ANY (job_ids) LOOP
		IF sync.etilize_file_kept(target.run_id) THEN
			PERFORM sync.run_context_set(target.run_id, '{"poll": "new_file", "poll_message": "goes on with the file that it has"}');
		ELSE
			job_id := target.id;
			request := coalesce(sync.etilize_gate(target.connection, target.id), sync.etilize_request(target.connection, 'ftp_stat', 'ftp_look_timeout'));
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;

-- A file of this size and time that was dealt with before, when it was the last one to be.  Who starts a run after having cancelled one
-- means the same file; a schedule does not, or it would bring back what was cancelled.
CREATE FUNCTION sync.etilize_file_known(run_id bigint, file_size bigint, file_time timestamptz) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	run sync.run;
	file sync.feed_file;
BEGIN
	SELECT * INTO run FROM sync.run r WHERE r.id = run_id;
	SELECT * INTO file FROM sync.feed_file f
	WHERE f.connection = run.connection AND f.name = sync.setting_value(run.connection, 'file_name') AND f.state <> 'seen'
	ORDER BY f.id DESC LIMIT 1;
	IF NOT FOUND OR file.size <> file_size OR file.modified_at IS DISTINCT FROM file_time
	   OR file.state NOT IN ('loaded', 'unchanged', 'failed', 'dropped')
	   OR file.id = run.feed_file_id OR coalesce((run.context ->> 'force')::boolean, false)
	   OR (run.trigger <> 'schedule' AND sync.feed_cancelled(file.id)) THEN
		RETURN NULL;
	END IF;
	RETURN CASE file.state
		WHEN 'failed' THEN format('no new file: %s of %s could not be used before (%s)', file.name, sync.time_text(file.modified_at), file.error)
		ELSE format('no new file: %s of %s was taken in before', file.name, sync.time_text(file.modified_at)) END;
END
$$;

-- Makes a complete file the run's own: the row of an earlier attempt at the same file, with what it has downloaded, or a new one.
CREATE FUNCTION sync.etilize_file_take(run_id bigint, file_size bigint, file_time timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	run sync.run;
	file_name text;
	file sync.feed_file;
BEGIN
	SELECT * INTO run FROM sync.run r WHERE r.id = run_id;
	file_name := sync.setting_value(run.connection, 'file_name');
	SELECT * INTO file FROM sync.feed_file f
	WHERE f.connection = run.connection AND f.name = file_name AND f.size = file_size AND f.modified_at IS NOT DISTINCT FROM file_time
	  AND (f.state IN ('seen', 'downloading', 'downloaded') OR f.id = run.feed_file_id OR coalesce((run.context ->> 'force')::boolean, false))
	ORDER BY f.id DESC LIMIT 1;
	IF NOT FOUND THEN
		INSERT INTO sync.feed_file (connection, name, state, size, modified_at)
		VALUES (run.connection, file_name, 'downloading', file_size, file_time)
		RETURNING * INTO file;
	ELSIF file.state IN ('seen', 'failed', 'unchanged', 'dropped') THEN
		-- What could not be used may have been damaged on its way.
		PERFORM sync.spool_remove(format('feed-%s.zip', file.id));
		UPDATE sync.feed_file f SET state = 'downloading', error = NULL, bytes_received = 0 WHERE f.id = file.id;
	END IF;
	UPDATE sync.run r SET feed_file_id = file.id WHERE r.id = run_id;
	PERFORM sync.run_context_set(run_id, jsonb_build_object('poll', 'new_file',
		'poll_message', format('%s, %s bytes of %s', file_name, file_size, sync.time_text(file_time))));
END
$$;

-- A schedule's run does not wait for the second look: the next poll is it.  Returns whether this was the second.
CREATE FUNCTION sync.etilize_look_scheduled(run_id bigint, file_size bigint, file_time timestamptz) RETURNS boolean
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	source text := (SELECT r.connection FROM sync.run r WHERE r.id = run_id);
	file_name text := sync.setting_value(source, 'file_name');
	seen sync.feed_file;
BEGIN
	SELECT * INTO seen FROM sync.feed_file f
	WHERE f.connection = source AND f.name = file_name AND f.state = 'seen' ORDER BY f.id DESC LIMIT 1;
	IF NOT FOUND THEN
		INSERT INTO sync.feed_file (connection, name, state, size, modified_at) VALUES (source, file_name, 'seen', file_size, file_time);
	ELSIF seen.size <> file_size OR seen.modified_at IS DISTINCT FROM file_time THEN
		UPDATE sync.feed_file f SET size = file_size, modified_at = file_time, created_at = now() WHERE f.id = seen.id;
	ELSIF seen.created_at + sync.setting_value(source, 'settle')::interval <= now() THEN
		RETURN true;
	END IF;
	PERFORM sync.run_context_set(run_id, jsonb_build_object('poll', 'waiting',
		'poll_message', format('%s has %s bytes; the next poll takes it if that is still so', file_name, file_size)));
	RETURN false;
END
$$;

-- The two looks of a run that a person waits for.  Returns done, defer, or fail where the file never stands still.
CREATE FUNCTION sync.etilize_look_twice(run_id bigint, file_size bigint, file_time timestamptz) RETURNS text
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	run sync.run;
	seen jsonb;
	looks integer;
BEGIN
	SELECT * INTO run FROM sync.run r WHERE r.id = run_id;
	seen := run.context -> 'look';
	looks := coalesce((seen ->> 'looks')::integer, 0) + 1;
	IF (seen ->> 'size')::bigint = file_size AND (seen ->> 'modified_at')::timestamptz IS NOT DISTINCT FROM file_time
	   AND (seen ->> 'at')::timestamptz + sync.setting_value(run.connection, 'settle')::interval <= clock_timestamp() THEN
		PERFORM sync.etilize_file_take(run_id, file_size, file_time);
		RETURN 'done';
	ELSIF looks > sync.setting_value(run.connection, 'max_looks')::integer THEN
		RETURN 'fail';
	END IF;
	PERFORM sync.run_context_set(run_id, jsonb_build_object('look', jsonb_build_object(
		'size', file_size, 'modified_at', file_time, 'at', clock_timestamp(), 'looks', looks)));
	RETURN 'defer';
END
$$;

-- Decides on what one look saw.
CREATE FUNCTION sync.etilize_look(run_id bigint, result jsonb, OUT outcome text, OUT retry_in interval, OUT error jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	run sync.run;
	file_name text;
	file_size bigint := (result ->> 'size')::bigint;
	file_time timestamptz := (result ->> 'modified_at')::timestamptz;
	known text;
	most bigint;
BEGIN
	SELECT * INTO run FROM sync.run r WHERE r.id = run_id FOR NO KEY UPDATE;
	file_name := sync.setting_value(run.connection, 'file_name');
	most := sync.setting_value(run.connection, 'max_download_bytes')::bigint;
	outcome := 'fail';
	IF file_size IS NULL THEN
		error := jsonb_build_object('class', 'permanent', 'message', format('the FTP server of "%s" does not tell the size of %s', run.connection, file_name),
			'hint', 'Without SIZE a truncated file cannot be told from a whole one; ask for a server that has it.');
	ELSIF file_size = 0 THEN
		error := jsonb_build_object('class', 'permanent', 'message', format('%s on the server of "%s" is empty', file_name, run.connection),
			'hint', 'Ask the supplier, or try again when the upload is done.');
	ELSIF file_size > most THEN
		error := jsonb_build_object('class', 'permanent', 'message', format('%s has %s bytes, more than the %s that are allowed', file_name, file_size, most),
			'hint', 'Raise the connection''s setting max_download_bytes if the size is right.');
	ELSE
		known := sync.etilize_file_known(run_id, file_size, file_time);
		IF known IS NOT NULL THEN
			PERFORM sync.run_context_set(run_id, jsonb_build_object('poll', 'no_new_file', 'poll_message', known));
			outcome := 'done';
		ELSIF run.trigger = 'schedule' THEN
			IF sync.etilize_look_scheduled(run_id, file_size, file_time) THEN
				PERFORM sync.etilize_file_take(run_id, file_size, file_time);
			END IF;
			outcome := 'done';
		ELSE
			outcome := sync.etilize_look_twice(run_id, file_size, file_time);
			retry_in := sync.setting_value(run.connection, 'settle')::interval;
			IF outcome = 'fail' THEN
				error := jsonb_build_object('class', 'network', 'message', format('%s keeps changing: %s looks, and no two in a row saw the same size and time',
					file_name, sync.setting_value(run.connection, 'max_looks')), 'hint', 'Is it still being uploaded? Raise max_looks or settle.');
			END IF;
		END IF;
	END IF;
END
$$;

CREATE FUNCTION sync.response_etilize_poll(job_ids bigint[], results jsonb[], bodies bytea[])
RETURNS TABLE (job_id bigint, outcome text, retry_in interval, error jsonb, counts jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	target record;
	wait interval;
BEGIN
	FOR target IN
		SELECT j.id, j.run_id, r.connection, a.result
		FROM unnest(job_ids, results) AS a (job_id, result) JOIN sync.job j ON j.id = a.job_id JOIN sync.run r ON r.id = j.run_id
	LOOP
		wait := sync.etilize_told(target.connection, target.id, target.result);
		job_id := target.id;
		outcome := 'done';
		retry_in := NULL;
		error := NULL;
		counts := '{}';
		IF (target.result ->> 'ok')::boolean THEN
			SELECT l.outcome, l.retry_in, l.error INTO outcome, retry_in, error FROM sync.etilize_look(target.run_id, target.result) l;
		ELSIF sync.etilize_file_absent(target.result) THEN
			PERFORM sync.run_context_set(target.run_id, jsonb_build_object('poll', 'absent',
				'poll_message', format('%s is not on the server of "%s"', sync.setting_value(target.connection, 'file_name'), target.connection)));
		ELSE
			SELECT f.outcome, f.error INTO outcome, error FROM sync.etilize_failure(target.result) f;
		END IF;
		IF outcome = 'retry' AND wait IS NOT NULL THEN
			outcome := 'defer';
			retry_in := wait;
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;

-- Download ---------------------------------------------------------------------------------------------------------------------

-- Bytes of the part that may be continued; one that is longer than the file is thrown away.
CREATE FUNCTION sync.etilize_part_size(file_id bigint, file_size bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	part constant text := format('feed-%s.zip.part', file_id);
	bytes bigint := coalesce(sync.spool_size(part), 0);
BEGIN
	IF bytes > file_size THEN
		PERFORM sync.spool_remove(part);
		bytes := 0;
	END IF;
	RETURN bytes;
END
$$;

CREATE FUNCTION sync.request_etilize_download(job_ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	target record;
	part bigint;
BEGIN
	FOR target IN
		SELECT j.id, j.run_id, j.phase_id, f.connection, f.id AS file_id, f.state, f.size
		FROM sync.job j JOIN sync.feed_file f ON f.id = (j.payload ->> 'feed_file_id')::bigint WHERE j.id = ANY (job_ids)
	LOOP
		CONTINUE WHEN target.state = 'loaded';
		IF sync.spool_size(format('feed-%s.zip', target.file_id)) = target.size THEN
			-- Renamed by a transaction that did not live to say so: it was checked by then.
			UPDATE sync.feed_file f SET state = 'downloaded', bytes_received = f.size WHERE f.id = target.file_id AND f.state <> 'downloaded';
			CONTINUE;
		END IF;
		job_id := target.id;
		request := sync.etilize_gate(target.connection, target.id);
		IF request IS NOT NULL THEN
			RETURN NEXT;
			CONTINUE;
		END IF;
		part := sync.etilize_part_size(target.file_id, target.size);
		UPDATE sync.feed_file f SET state = 'downloading', bytes_received = part WHERE f.id = target.file_id;
		PERFORM FROM sync.run r WHERE r.id = target.run_id FOR NO KEY UPDATE;
		UPDATE sync.run_phase p SET unit = 'bytes', total = target.size, done = part WHERE p.id = target.phase_id;
		IF part = target.size THEN
			PERFORM sync.job_enqueue('etilize_recheck', target.run_id, jsonb_build_object('feed_file_id', target.file_id));
			CONTINUE;
		END IF;
		request := sync.etilize_request(target.connection, 'ftp_get', 'ftp_download_timeout')
			|| jsonb_build_object('file', format('feed-%s.zip.part', target.file_id), 'resume_from', part,
				'max_bytes', sync.setting_value(target.connection, 'max_download_bytes')::bigint);
		RETURN NEXT;
	END LOOP;
END
$$;

CREATE FUNCTION sync.response_etilize_download(job_ids bigint[], results jsonb[], bodies bytea[])
RETURNS TABLE (job_id bigint, outcome text, retry_in interval, error jsonb, counts jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	target record;
	part text;
	wait interval;
BEGIN
	FOR target IN
		SELECT j.id, j.run_id, a.result, f.connection, f.id AS file_id, f.name
		FROM unnest(job_ids, results) AS a (job_id, result) JOIN sync.job j ON j.id = a.job_id
		JOIN sync.feed_file f ON f.id = (j.payload ->> 'feed_file_id')::bigint
	LOOP
		wait := sync.etilize_told(target.connection, target.id, target.result);
		job_id := target.id;
		outcome := 'done';
		retry_in := NULL;
		error := NULL;
		counts := jsonb_build_object('done', target.result -> 'bytes', 'bytes_downloaded', target.result -> 'bytes');
		part := format('feed-%s.zip.part', target.file_id);
		UPDATE sync.feed_file f SET bytes_received = coalesce(sync.spool_size(part), 0) WHERE f.id = target.file_id;
		IF (target.result ->> 'ok')::boolean THEN
			PERFORM sync.job_enqueue('etilize_recheck', target.run_id, jsonb_build_object('feed_file_id', target.file_id));
		ELSE
			SELECT f.outcome, f.error INTO outcome, error FROM sync.etilize_failure(target.result) f;
			IF (target.result ->> 'curl_code')::integer IN (31, 33, 36) THEN
				-- The server cannot continue this part.
				PERFORM sync.spool_remove(part);
			ELSIF sync.etilize_file_absent(target.result) THEN
				-- It was there a moment ago: somebody may be replacing it.
				outcome := 'retry';
				error := error || jsonb_build_object('class', 'network', 'message', format('%s vanished from the server before it was downloaded', target.name));
			END IF;
		END IF;
		IF outcome = 'retry' AND wait IS NOT NULL THEN
			outcome := 'defer';
			retry_in := wait;
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;

-- Recheck ----------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.request_etilize_recheck(job_ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	RETURN QUERY
	SELECT j.id, coalesce(sync.etilize_gate(f.connection, j.id), sync.etilize_request(f.connection, 'ftp_stat', 'ftp_look_timeout'))
	FROM sync.job j JOIN sync.feed_file f ON f.id = (j.payload ->> 'feed_file_id')::bigint
	WHERE j.id = ANY (job_ids) AND f.state = 'downloading';
END
$$;

-- The file changed under the download: what is here is worth nothing.  Downloads again, or gives up with an error.
CREATE FUNCTION sync.etilize_download_again(run_id bigint, file_id bigint, new_size bigint, new_time timestamptz) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	run sync.run;
	file sync.feed_file;
	part constant text := format('feed-%s.zip.part', file_id);
	downloads integer;
	told text;
BEGIN
	SELECT * INTO run FROM sync.run r WHERE r.id = run_id FOR NO KEY UPDATE;
	SELECT * INTO file FROM sync.feed_file f WHERE f.id = file_id;
	downloads := coalesce((run.context ->> 'downloads')::integer, 1) + 1;
	IF new_size = file.size AND new_time IS NOT DISTINCT FROM file.modified_at THEN
		told := format('the copy of %s has %s of %s bytes', file.name, coalesce(sync.spool_size(part), 0), file.size);
	ELSE
		told := format('%s changed while it was downloaded (%s bytes of %s, now %s of %s)', file.name, file.size,
			sync.time_text(file.modified_at), coalesce(new_size::text, 'unknown'), sync.time_text(new_time));
	END IF;
	PERFORM sync.spool_remove(part);
	IF new_size IS NULL OR new_size = 0 OR new_size > sync.setting_value(run.connection, 'max_download_bytes')::bigint
	   OR downloads > sync.setting_value(run.connection, 'max_looks')::integer THEN
		RETURN jsonb_build_object('class', 'network',
			'message', format('%s, after %s downloads', told, downloads - 1),
			'hint', 'Is it still being uploaded? A later run starts afresh.');
	END IF;
	told := told || ': downloading it again';
	UPDATE sync.feed_file f SET size = new_size, modified_at = new_time, bytes_received = 0 WHERE f.id = file_id;
	UPDATE sync.run_phase p SET message = told WHERE p.run_id = run.id AND p.ended_at IS NULL;
	PERFORM sync.run_context_set(run_id, jsonb_build_object('downloads', downloads));
	PERFORM sync.job_enqueue('etilize_download', run_id, jsonb_build_object('feed_file_id', file_id),
		run_at => clock_timestamp() + sync.setting_value(run.connection, 'settle')::interval);
	RETURN NULL;
END
$$;

CREATE FUNCTION sync.response_etilize_recheck(job_ids bigint[], results jsonb[], bodies bytea[])
RETURNS TABLE (job_id bigint, outcome text, retry_in interval, error jsonb, counts jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	target record;
	part text;
	new_size bigint;
	new_time timestamptz;
	wait interval;
BEGIN
	FOR target IN
		SELECT j.id, j.run_id, a.result, f.connection, f.id AS file_id, f.name, f.size, f.modified_at
		FROM unnest(job_ids, results) AS a (job_id, result) JOIN sync.job j ON j.id = a.job_id
		JOIN sync.feed_file f ON f.id = (j.payload ->> 'feed_file_id')::bigint
	LOOP
		wait := sync.etilize_told(target.connection, target.id, target.result);
		job_id := target.id;
		outcome := 'done';
		retry_in := NULL;
		error := NULL;
		counts := '{}';
		part := format('feed-%s.zip.part', target.file_id);
		new_size := (target.result ->> 'size')::bigint;
		new_time := (target.result ->> 'modified_at')::timestamptz;
		IF sync.etilize_file_absent(target.result) THEN
			SELECT 'retry', f.error || jsonb_build_object('class', 'network', 'message', format('%s vanished from the server while it was downloaded', target.name))
			INTO outcome, error FROM sync.etilize_failure(target.result) f;
		ELSIF NOT (target.result ->> 'ok')::boolean THEN
			SELECT f.outcome, f.error INTO outcome, error FROM sync.etilize_failure(target.result) f;
		ELSIF new_size = target.size AND new_time IS NOT DISTINCT FROM target.modified_at AND sync.spool_size(part) = target.size THEN
			UPDATE sync.feed_file f SET state = 'downloaded', bytes_received = f.size, error = NULL WHERE f.id = target.file_id;
			PERFORM sync.spool_rename(part, format('feed-%s.zip', target.file_id));
		ELSE
			error := sync.etilize_download_again(target.run_id, target.file_id, new_size, new_time);
			outcome := CASE WHEN error IS NULL THEN 'done' ELSE 'fail' END;
		END IF;
		IF outcome = 'retry' AND wait IS NOT NULL THEN
			outcome := 'defer';
			retry_in := wait;
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;

-- A download that was given up: the row says why, and the part stays for the next run to continue.
CREATE FUNCTION sync.failed_etilize_download(job_id bigint, error jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	UPDATE sync.feed_file f SET error = failed_etilize_download.error ->> 'message'
	FROM sync.job j WHERE j.id = failed_etilize_download.job_id AND f.id = (j.payload ->> 'feed_file_id')::bigint;
END
$$;

CREATE FUNCTION sync.failed_etilize_recheck(job_id bigint, error jsonb) RETURNS void
LANGUAGE sql SET search_path = '' AS 'SELECT sync.failed_etilize_download(job_id, error)';
