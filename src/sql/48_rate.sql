-- The rate limit of a connection: requests reserve their start times in sync.rate_limit before they are sent, in the short transaction
-- in which a worker asks what to send.  So all workers together keep the rate, and none of them waits holding anything.

-- Start times for up to n requests, evenly spaced (GCRA with a burst of one).  Slots further ahead than some seconds are not given
-- out, so that a pause takes hold soon and a crash loses little: granted may be less than n, and free_at says when the next one is.
CREATE FUNCTION sync.rate_reserve(connection text, n integer, OUT first_at timestamptz, OUT step interval, OUT granted integer,
	OUT free_at timestamptz)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	horizon constant interval := '5 seconds';
	present timestamptz;
BEGIN
	INSERT INTO sync.rate_limit (connection) VALUES (rate_reserve.connection) ON CONFLICT DO NOTHING;
	-- A little slower than allowed: on their way, requests move closer together.
	step := make_interval(secs => 1.02 / sync.setting_value(rate_reserve.connection, 'requests_per_second')::float8);
	SELECT greatest(l.next_at, l.paused_until, clock_timestamp()), clock_timestamp() INTO first_at, present
	FROM sync.rate_limit l WHERE l.connection = rate_reserve.connection FOR UPDATE;
	granted := CASE WHEN first_at > present + horizon THEN 0
					ELSE least(n, 1 + floor(extract(epoch FROM present + horizon - first_at) / extract(epoch FROM step))::integer) END;
	free_at := first_at + granted * step;
	IF granted > 0 THEN
		UPDATE sync.rate_limit l SET next_at = free_at WHERE l.connection = rate_reserve.connection;
	END IF;
END
$$;
COMMENT ON FUNCTION sync.rate_reserve(text, integer) IS
'Reserves start times for up to n requests to a connection: first_at, first_at + step ..., as many as granted. The rest may ask again at free_at.';

CREATE FUNCTION sync.rate_pause(connection text, seconds float8) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	INSERT INTO sync.rate_limit AS l (connection, paused_until)
	VALUES (rate_pause.connection, clock_timestamp() + make_interval(secs => seconds))
	ON CONFLICT ON CONSTRAINT rate_limit_pkey DO UPDATE SET paused_until = greatest(l.paused_until, excluded.paused_until);
END
$$;
COMMENT ON FUNCTION sync.rate_pause(text, float8) IS 'No request to a connection is given a start time for so many seconds.';

-- Requests with their start times; jobs for which there is no slot yet are put back until about their turn.
CREATE FUNCTION sync.rate_schedule(connection text, job_ids bigint[], requests jsonb[])
RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	slot record;
BEGIN
	IF cardinality(job_ids) = 0 THEN
		RETURN;
	END IF;
	SELECT * INTO slot FROM sync.rate_reserve(connection, cardinality(job_ids));
	RETURN QUERY
		SELECT r.id, CASE WHEN r.no <= slot.granted
						  THEN r.req || jsonb_build_object('start_at', slot.first_at + (r.no - 1) * slot.step)
						  ELSE jsonb_build_object('op', 'defer', 'retry_in', greatest(0.2, extract(epoch FROM
								slot.free_at + (r.no - slot.granted - 1) * slot.step - clock_timestamp()) - 2)) END
		FROM unnest(job_ids, requests) WITH ORDINALITY AS r (id, req, no);
END
$$;
