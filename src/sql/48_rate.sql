-- The rate limit of a connection: requests reserve their start times in sync.rate_limit before they are sent, in the short transaction
-- in which a worker asks what to send.  So all workers together keep the rate, and none of them waits holding anything.
--
-- There are two kinds of limit.  Requests a second: sync.rate_reserve() gives out slots.  A bucket of points, from which each request takes
-- what it costs and which fills again: sync.points_reserve() says when there are enough, sync.points_told() takes over what answers tell.
--
-- How the bucket is kept.  Its level here is what an answer told, less what requests have reserved that are sent after the one that was
-- answered, or just before (the other side had not taken those off yet), plus what came back since.  The answer to a request that was sent before that one
-- tells nothing new: it only gives back what was reserved too much.  Where answers tell less than was reckoned, another client eats too; how
-- much in a second is followed, and taken off what is reckoned with for requests of the next seconds.
--
-- Who comes first.  Each class leaves a part of the bucket to those before it, and nobody reserves further ahead than a moment, so what is
-- urgent finds points however long the queue of the rest is.  A dear request would never find enough beside many cheap ones: it saves up,
-- and until it has its points nobody takes any who came after it in its class, or is of a later one.  Of a long queue each job comes back when its turn may have come
-- (ten times as often as by what is reserved, since most requests cost less than that), not all of them every moment; those that nobody took
-- yet are put off with it, so that a worker is free for another shop at once.

CREATE FUNCTION sync.install_part_48_rate() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = 'sync.rate_limit'::regclass AND a.attname = 'others_per_second') THEN
		ALTER TABLE sync.rate_limit ADD COLUMN others_per_second numeric NOT NULL DEFAULT 0, ADD COLUMN told_of timestamptz,
			ADD COLUMN saving_job bigint, ADD COLUMN saving_class integer, ADD COLUMN saving_until timestamptz,
			ADD COLUMN queued_until timestamptz[] NOT NULL DEFAULT '{}';
	END IF;
	COMMENT ON COLUMN sync.rate_limit.others_per_second IS 'Points that other clients of the bucket seem to take in a second.';
	COMMENT ON COLUMN sync.rate_limit.told_of IS 'When the request was sent whose answer told the level: answers to older ones no longer do.';
	COMMENT ON COLUMN sync.rate_limit.saving_job IS 'A dear request for which points are saved up, until saving_until: jobs of later classes, and later ones of its own, wait.';
	COMMENT ON COLUMN sync.rate_limit.queued_until IS 'By class: when the last of those that had to wait comes back.';
END
$$;

-- Requests a second --------------------------------------------------------------------------------------------------------------

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
	-- And not at this moment: the transaction has to end and the connection to be made before anything is sent, and a request that goes out late
	-- is followed too soon by the next one, which does not.
	SELECT greatest(l.next_at, l.paused_until, clock_timestamp() + least(interval '0.1 seconds', step / 4)), clock_timestamp() INTO first_at, present
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
	gate record;
	slot record;
BEGIN
	IF cardinality(job_ids) = 0 THEN
		RETURN;
	END IF;
	gate := sync.breaker_gate(connection, job_ids);
	SELECT * INTO slot FROM sync.rate_reserve(connection, cardinality(gate.allowed));
	RETURN QUERY
		SELECT r.id, CASE WHEN r.id <> ALL (gate.allowed) THEN jsonb_build_object('op', 'defer', 'retry_in', extract(epoch FROM gate.wait))
						  WHEN r.no <= slot.granted THEN r.req || jsonb_build_object('start_at', slot.first_at + (r.no - 1) * slot.step,
							-- One that a busy worker sends late is not followed too soon.
							'spacing_ms', floor(extract(epoch FROM slot.step) * 1000 / 1.02))
						  ELSE jsonb_build_object('op', 'defer', 'retry_in', greatest(0.2, extract(epoch FROM
								slot.free_at + (r.no - slot.granted - 1) * slot.step - clock_timestamp()) - 2)) END
		FROM (SELECT u.id, u.req, count(*) FILTER (WHERE u.id = ANY (gate.allowed)) OVER (ORDER BY u.no) AS no
			  FROM unnest(job_ids, requests) WITH ORDINALITY AS u (id, req, no)) r;
END
$$;

-- A bucket of points -------------------------------------------------------------------------------------------------------------

-- The bucket of a connection, locked, as it is at a moment by what is known: filled up since then, less what others take.
CREATE FUNCTION sync.points_bucket(connection text, present timestamptz) RETURNS record
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	bucket sync.rate_limit;
BEGIN
	INSERT INTO sync.rate_limit (connection) VALUES (points_bucket.connection) ON CONFLICT DO NOTHING;
	SELECT * INTO bucket FROM sync.rate_limit l WHERE l.connection = points_bucket.connection FOR UPDATE;
	present := coalesce(present, clock_timestamp());
	bucket.points_per_second := coalesce(bucket.points_per_second, sync.setting_value(points_bucket.connection, 'points_per_second')::numeric);
	bucket.points_maximum := coalesce(bucket.points_maximum, 20 * bucket.points_per_second);
	bucket.points_available := least(bucket.points_maximum, coalesce(bucket.points_available
		+ (bucket.points_per_second - bucket.others_per_second) * extract(epoch FROM present - bucket.points_at)::numeric, bucket.points_maximum));
	bucket.points_at := present;
	RETURN bucket;
END
$$;

-- Puts off what else is due of the same kinds, classes and connection as some jobs that have to wait: one after the other, at most for so long.
-- changes: of their payloads.  Returns how many.
CREATE FUNCTION sync.jobs_put_off(connection text, like_jobs bigint[], present timestamptz, first interval, step interval, longest interval,
	changes jsonb DEFAULT '{}') RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	n bigint;
BEGIN
	WITH due AS MATERIALIZED (
		SELECT w.id FROM (SELECT DISTINCT l.kind, l.class FROM sync.job l WHERE l.id = ANY (like_jobs)) k
		JOIN sync.job w ON w.kind = k.kind AND w.class = k.class
		WHERE w.lease_owner IS NULL AND w.run_at <= present AND w.payload ->> 'connection' = jobs_put_off.connection AND w.id <> ALL (like_jobs)
		ORDER BY w.run_at, w.id FOR UPDATE OF w SKIP LOCKED)
	UPDATE sync.job j SET run_at = present + least(first + d.no * step, greatest(first, longest)), payload = j.payload || changes
	FROM (SELECT u.id, row_number() OVER () AS no FROM due u) d WHERE j.id = d.id;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END
$$;

-- Reserves points for jobs, the most urgent first: start_in says in how many seconds a job may be sent, or, where it is NULL, retry_in when it
-- shall ask again.  present: a test's clock.
CREATE FUNCTION sync.points_reserve(connection text, job_ids bigint[], costs numeric[], present timestamptz DEFAULT NULL)
RETURNS TABLE (job_id bigint, start_in float8, retry_in float8)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	horizon constant float8 := 1;
	left_to_others constant numeric[] := '{0, 0.05, 0.1}';
	longest_wait constant interval := '1 minute';
	bucket sync.rate_limit := sync.points_bucket(points_reserve.connection, present);
	rate constant numeric := bucket.points_per_second - bucket.others_per_second;
	ask record;
	pause float8;
	seconds float8;
	turn timestamptz;
	waiting bigint[];
	late record;
	step interval;
BEGIN
	present := bucket.points_at;
	SELECT NULL::bigint AS id, NULL::integer AS class, NULL::numeric AS cost INTO late;
	pause := greatest(extract(epoch FROM bucket.paused_until - present), 0);
	FOR ask IN
		SELECT a.id, coalesce(j.class, 3) AS class, a.cost FROM unnest(job_ids, costs) WITH ORDINALITY AS a (id, cost, no)
		LEFT JOIN sync.job j ON j.id = a.id ORDER BY coalesce(j.class, 3), a.no
	LOOP
		job_id := ask.id;
		start_in := NULL;
		retry_in := NULL;
		-- Whatever was reserved before: a job that comes again reserves anew.  The bucket may not hold as much as one costs: then a full one has to do.
		seconds := pause + greatest(0, least(ask.cost + left_to_others[ask.class] * bucket.points_maximum, bucket.points_maximum)
			- bucket.points_available) / rate;
		IF bucket.saving_until > present AND (ask.class, ask.id) > (bucket.saving_class, bucket.saving_job) THEN
			seconds := greatest(seconds, extract(epoch FROM bucket.saving_until - present) + horizon);
		ELSIF seconds <= horizon THEN
			start_in := seconds;
			bucket.points_available := bucket.points_available - ask.cost;
			IF ask.id = bucket.saving_job THEN
				bucket.saving_until := NULL;
			END IF;
			IF seconds = 0 THEN
				bucket.queued_until[ask.class] := NULL;
			END IF;
			UPDATE sync.job j SET payload = j.payload || jsonb_build_object('points', ask.cost, 'asked', present + make_interval(secs => start_in))
			WHERE j.id = ask.id;
		ELSIF ask.cost * 2 > rate THEN
			bucket.saving_job := ask.id;
			bucket.saving_class := ask.class;
			bucket.saving_until := present + make_interval(secs => seconds);
		END IF;
		IF start_in IS NULL THEN
			turn := present + make_interval(secs => greatest(seconds - horizon / 2, 0.2));
			IF ask.id IS DISTINCT FROM bucket.saving_job THEN
				turn := least(greatest(turn, bucket.queued_until[ask.class]), greatest(turn, present + longest_wait));
				bucket.queued_until[ask.class] := turn + make_interval(secs => (ask.cost / rate / 10)::float8);
			END IF;
			retry_in := extract(epoch FROM turn - present);
			waiting := CASE WHEN ask.class = late.class THEN waiting ELSE '{}' END || ask.id;
			late := ask;
		END IF;
		RETURN NEXT;
	END LOOP;
	-- Of the latest class that has to wait, nobody else need ask now.
	IF late.id IS NOT NULL THEN
		step := make_interval(secs => (late.cost / rate / 10)::float8);
		turn := greatest(turn, bucket.queued_until[late.class]);
		bucket.queued_until[late.class] := least(greatest(turn, present + longest_wait),
			turn + step * sync.jobs_put_off(points_reserve.connection, waiting, present, turn - present, step, longest_wait));
	END IF;
	UPDATE sync.rate_limit l SET points_available = bucket.points_available, points_maximum = bucket.points_maximum, points_at = present,
		points_per_second = bucket.points_per_second, saving_job = bucket.saving_job, saving_class = bucket.saving_class,
		saving_until = bucket.saving_until, queued_until = bucket.queued_until
	WHERE l.connection = points_reserve.connection;
END
$$;
COMMENT ON FUNCTION sync.points_reserve(text, bigint[], numeric[], timestamptz) IS
'Reserves points in the bucket of a connection, the most urgent jobs first: start_in seconds from now, or retry_in where there will not be enough soon.';

-- An answer to a job tells the bucket's level, its rate and what the request really cost.  Locks the bucket in any case.
CREATE FUNCTION sync.points_told(connection text, job_id bigint, level numeric, maximum numeric, rate numeric, cost numeric,
	present timestamptz DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	on_the_way constant interval := '2 seconds';
	memory constant numeric := 10;
	most_of_others constant numeric := 0.75;
	most_at_once constant numeric := 0.05;
	bucket sync.rate_limit := sync.points_bucket(points_told.connection, present);
	job jsonb;
	asked timestamptz;
	reckoned numeric;
	lost numeric;
BEGIN
	-- What was reserved for it is no longer: neither by answers of the same moment nor by those to come.
	UPDATE sync.job j SET payload = j.payload - 'points' FROM sync.job was
	WHERE j.id = points_told.job_id AND was.id = j.id AND j.payload ? 'points' RETURNING was.payload INTO job;
	IF level IS NULL OR coalesce(rate, 0) <= 0 THEN
		RETURN;
	END IF;
	asked := coalesce((job ->> 'asked')::timestamptz, bucket.points_at);
	reckoned := bucket.points_available + coalesce((job ->> 'points')::numeric - coalesce(cost, 0), 0);
	IF bucket.told_of IS NULL OR asked >= bucket.told_of THEN
		level := level - coalesce((
			SELECT sum((j.payload ->> 'points')::numeric) FROM sync.job j
			WHERE j.lease_owner IS NOT NULL AND j.payload ? 'points' AND j.payload ->> 'connection' = points_told.connection
			  AND (j.payload ->> 'asked')::timestamptz > asked - on_the_way), 0);
		lost := (least(reckoned, maximum) - level) / greatest(memory, extract(epoch FROM asked - bucket.told_of));
		-- The first level is compared with nothing.
		IF bucket.told_of IS NOT NULL THEN
			bucket.others_per_second := greatest(0, least(most_of_others * rate,
				bucket.others_per_second + greatest(-most_at_once * rate, least(lost, most_at_once * rate))));
		END IF;
		bucket.points_available := level;
		bucket.told_of := asked;
	ELSE
		bucket.points_available := least(reckoned, maximum);
	END IF;
	UPDATE sync.rate_limit l SET points_available = bucket.points_available, points_at = bucket.points_at, points_per_second = rate,
		points_maximum = coalesce(maximum, bucket.points_maximum), others_per_second = bucket.others_per_second, told_of = bucket.told_of
	WHERE l.connection = points_told.connection;
END
$$;
COMMENT ON FUNCTION sync.points_told(text, bigint, numeric, numeric, numeric, numeric, timestamptz) IS
'Takes over what an answer tells of a connection''s bucket: its level, less what others have reserved, its size and rate, and the cost of the request.';
