-- A bucket of points shared by all workers: never more is sent than it holds, hardly any of what it gives is left, and what is urgent comes first.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install();
\set SHOW_CONTEXT never
INSERT INTO sync.connection (name, kind, base_url, secret_ref) VALUES ('shop', 'shopify', 'https://shop.example/', 'file:shop');

CREATE FUNCTION at(seconds float8) RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz '2026-01-01 00:00:00+00' + make_interval(secs => seconds) $$;
CREATE FUNCTION enqueue(n integer, class integer DEFAULT 3, seconds float8 DEFAULT 0) RETURNS SETOF bigint LANGUAGE sql AS $$
	SELECT sync.job_enqueue('shopify_product', NULL, '{"connection": "shop"}', run_at => at(seconds), class => class) FROM generate_series(1, n)
$$;
CREATE FUNCTION reserve(VARIADIC ids bigint[]) RETURNS TABLE (job_id bigint, start_in numeric, retry_in numeric) LANGUAGE sql AS $$
	SELECT r.job_id, round(r.start_in::numeric, 2), round(r.retry_in::numeric, 2) FROM sync.points_reserve('shop', ids, array_fill(300::numeric, ARRAY[cardinality(ids)]), at(0)) r
$$;
CREATE FUNCTION told(id bigint, level numeric, cost numeric, seconds float8 DEFAULT 0) RETURNS void LANGUAGE sql AS $$ SELECT sync.points_told('shop', id, level, 2000, 100, cost, at(seconds)) $$;
CREATE VIEW bucket AS SELECT round(points_available) AS available, points_maximum, points_per_second, round(others_per_second) AS others FROM sync.rate_limit;

-- Each class leaves something to those before it; within a call the urgent come first.
SELECT count(*) FROM enqueue(8);
UPDATE sync.job SET class = CASE id WHEN 7 THEN 2 WHEN 8 THEN 1 ELSE 3 END;
UPDATE sync.job SET lease_owner = 1;
SELECT * FROM reserve(1, 2, 3, 4, 5, 6);
SELECT * FROM bucket;
UPDATE sync.rate_limit SET saving_until = NULL;
SELECT * FROM reserve(7, 8);
SELECT * FROM bucket;
-- Answers that come together do not count each other's points: of seven requests five have come.
SELECT told(1, 100, 100), told(2, 300, 100), told(3, 500, 100), told(4, 700, 100), told(5, 900, 100);
SELECT * FROM bucket;
SELECT sum((payload ->> 'points')::numeric) FROM sync.job;
-- An answer to an older request does not bring back what was taken since; it gives back what it had too much.
UPDATE sync.job SET payload = payload || jsonb_build_object('points', 300, 'asked', at(CASE id WHEN 7 THEN -5 ELSE 1 END)) WHERE id IN (7, 8);
SELECT told(8, 800, 300, 1);
SELECT * FROM bucket;
SELECT told(7, 1900, 100, 1);
SELECT * FROM bucket;
-- A worker that died: its points come back with the next answer.
SELECT * FROM reserve(1, 2);
SELECT * FROM bucket;
UPDATE sync.job SET lease_owner = NULL WHERE id IN (1, 2);
SELECT told(3, 1000, NULL, 1.5);
SELECT * FROM bucket;
-- An answer that tells nothing.
SELECT told(3, NULL, NULL, 1.5), sync.shopify_bucket_told('shop', 3, NULL), sync.shopify_bucket_told('shop', 3, '{"throttleStatus": {"restoreRate": 0}}');
-- A dear request saves up: until it has its points nobody of its class or a later one takes any, who is more urgent does.
UPDATE sync.rate_limit SET points_available = 300, points_at = at(2), others_per_second = 0, saving_until = NULL;
SELECT job_id, round(start_in::numeric, 1) AS start_in, round(retry_in::numeric, 1) AS retry_in FROM sync.points_reserve('shop', '{1}', '{900}', at(2));
SELECT job_id, round(start_in::numeric, 1) AS start_in, round(retry_in::numeric, 1) AS retry_in FROM sync.points_reserve('shop', '{2, 7, 8}', '{10, 10, 10}', at(2));
SELECT job_id, round(start_in::numeric, 1) AS start_in, round(retry_in::numeric, 1) AS retry_in FROM sync.points_reserve('shop', '{1}', '{900}', at(9.3));
SELECT job_id, start_in IS NOT NULL AS sent FROM sync.points_reserve('shop', '{2}', '{10}', at(11));
-- Of a long queue each comes back when its turn may have come.
DELETE FROM sync.job;
DELETE FROM sync.rate_limit;
SELECT count(*) FROM enqueue(5000);
SELECT count(r.start_in) AS sent, round(min(r.retry_in)) AS first, round(max(r.retry_in)) AS last, count(DISTINCT round(r.retry_in)) > 40 AS spread
FROM sync.points_reserve('shop', (SELECT array_agg(id ORDER BY id) FROM sync.job), (SELECT array_agg(10::numeric) FROM sync.job), at(0)) r;

-- Simulated: two workers that take jobs as worker_claim() does, a shop that keeps the bucket, and another client of it.
CREATE TABLE flight (job_id bigint PRIMARY KEY, worker integer, arrives_at float8, answers_at float8, cost numeric, actual numeric, arrived boolean DEFAULT false);
CREATE TABLE outcome (job_id bigint, class integer, made_at float8, done_at float8);
-- others: points a second that another client takes.  share: what a request really costs of what it asks for.
CREATE FUNCTION simulate(seconds integer, others numeric DEFAULT 0, share numeric DEFAULT 0.6, guess numeric DEFAULT 1, deaths integer DEFAULT 0, dears integer DEFAULT 20,
	OUT requests bigint, OUT throttled bigint, OUT used numeric, OUT touched bigint, OUT pulls text, OUT webhooks text, OUT dear text, OUT believed numeric, OUT level numeric)
LANGUAGE plpgsql AS $$
DECLARE
	tick constant float8 := 0.05;
	t float8 := 0;
	spent numeric := 0;
	taken numeric := 0;
	f record;
	granted record;
	ids bigint[];
	costs numeric[];
	owner integer;
BEGIN
	TRUNCATE flight, outcome, sync.job, sync.rate_limit;
	PERFORM setseed(0.3);
	-- A bucket that is nearly empty from the start: what it gives from now on counts.
	level := 200;
	INSERT INTO sync.rate_limit (connection, points_available, points_maximum, points_per_second, points_at) VALUES ('shop', 200, 2000, 100, at(0));
	requests := 0;
	throttled := 0;
	touched := 0;
	FOR i IN 0 .. seconds * 20 - 1 LOOP
		t := i * tick;
		level := least(2000, level + 100 * tick::numeric);
		-- The other client asks every half second, where there is enough.
		IF others > 0 AND i % 10 = 0 AND level >= others / 2 THEN
			level := level - others / 2;
			taken := taken + others / 2;
		END IF;
		-- Always work; now and then something urgent, and a dear page.
		IF i % 100 = 0 THEN
			PERFORM enqueue(400 - (SELECT count(*)::integer FROM sync.job), 3, t);
		END IF;
		IF i % 40 = 7 THEN
			PERFORM enqueue(1, 2, t), enqueue(1, 1, t);
		END IF;
		IF dears > 0 AND i % (dears * 20) = 11 THEN
			PERFORM sync.job_enqueue('shopify_product', NULL, '{"connection": "shop", "dear": true}', run_at => at(t), class => 2);
		END IF;
		-- What the shop does.
		FOR f IN SELECT * FROM flight WHERE arrives_at <= t AND NOT arrived ORDER BY arrives_at LOOP
			requests := requests + 1;
			IF level < f.cost THEN
				throttled := throttled + 1;
				UPDATE flight SET arrived = true, actual = NULL WHERE job_id = f.job_id;
			ELSE
				level := level - f.cost;
				UPDATE flight SET arrived = true WHERE job_id = f.job_id;
			END IF;
		END LOOP;
		-- What the workers do: answers, one after the other.
		FOR f IN SELECT * FROM flight WHERE answers_at <= t ORDER BY answers_at LOOP
			level := level + coalesce(f.cost - f.actual, 0);
			PERFORM sync.points_told('shop', f.job_id, floor(level), 2000, 100, f.actual, at(t));
			DELETE FROM flight WHERE job_id = f.job_id;
			IF f.actual IS NULL THEN
				UPDATE sync.job SET lease_owner = NULL, run_at = at(t + greatest(0.1, (f.cost - level) / 100)) WHERE id = f.job_id;
			ELSE
				spent := spent + f.actual;
				INSERT INTO outcome SELECT id, CASE WHEN payload ? 'dear' THEN 0 ELSE class END, (payload ->> 'made')::float8, t FROM sync.job WHERE id = f.job_id;
				DELETE FROM sync.job WHERE id = f.job_id;
			END IF;
		END LOOP;
		-- A worker dies: what it had reserved and not sent is another's.
		IF deaths > 0 AND i % (seconds * 20 / deaths) = 100 THEN
			UPDATE sync.job SET lease_owner = NULL, run_at = at(t) WHERE id IN (SELECT job_id FROM flight WHERE worker = 1 AND NOT arrived);
			DELETE FROM flight WHERE worker = 1 AND NOT arrived;
		END IF;
		FOR owner IN 1 .. 2 LOOP
			WITH batch AS (
				SELECT id FROM sync.job WHERE kind = 'shopify_product' AND lease_owner IS NULL AND run_at <= at(t) ORDER BY class, run_at, id
				LIMIT 32 - (SELECT count(*) FROM flight WHERE worker = owner)),
			claimed AS (
				UPDATE sync.job j SET lease_owner = owner, payload = CASE WHEN j.payload ? 'made' THEN j.payload ELSE j.payload || jsonb_build_object('made', t) END
				FROM batch b WHERE j.id = b.id RETURNING j.id, j.payload)
			SELECT array_agg(c.id ORDER BY c.id), array_agg(CASE WHEN c.payload ? 'dear' THEN 900 ELSE 10 + c.id % 7 * 4 END::numeric ORDER BY c.id)
			INTO ids, costs FROM claimed c;
			CONTINUE WHEN ids IS NULL;
			touched := touched + cardinality(ids);
			FOR granted IN
				SELECT r.*, a.cost FROM sync.points_reserve('shop', ids, ARRAY(SELECT round(guess * c) FROM unnest(costs) c), at(t)) r
				JOIN unnest(ids, costs) AS a (id, cost) ON a.id = r.job_id
			LOOP
				IF granted.start_in IS NULL THEN
					UPDATE sync.job SET lease_owner = NULL, run_at = at(t + granted.retry_in) WHERE id = granted.job_id;
				ELSE
					INSERT INTO flight VALUES (granted.job_id, owner, t + granted.start_in + 0.02 + random() * 0.1, t + granted.start_in + 0.2 + random() * 0.6,
						granted.cost, round(granted.cost * share));
				END IF;
			END LOOP;
		END LOOP;
	END LOOP;
	-- What came into the bucket while it ran, less what the other client took.
	used := round(100 * spent / (100 * seconds - taken));
	SELECT format('%s, slowest %s s', count(*), max(round((done_at - made_at)::numeric, 1))) INTO pulls FROM outcome WHERE class = 2;
	SELECT format('%s, slowest %s s', count(*), max(round((done_at - made_at)::numeric, 1))) INTO webhooks FROM outcome WHERE class = 1;
	SELECT format('%s, slowest %s s', count(*), max(round((done_at - made_at)::numeric, 1))) INTO dear FROM outcome WHERE class = 0;
	SELECT round(others_per_second) INTO believed FROM sync.rate_limit;
	level := round(level);
END
$$;
CREATE FUNCTION judged(others numeric DEFAULT 0, deaths integer DEFAULT 0, dears integer DEFAULT 20)
RETURNS TABLE (throttled boolean, used boolean, urgent_soon boolean, dear_too boolean, busy boolean) LANGUAGE sql AS $$
	SELECT s.throttled > 0, s.used >= 94, split_part(s.webhooks, 'slowest ', 2)::interval < '2.5 seconds', s.dear !~ '^0', s.touched > 10 * s.requests + 1500
	FROM simulate(40, others => others, deaths => deaths, dears => dears) s
$$;
SELECT * FROM judged();
-- Another client takes half.
SELECT * FROM judged(others => 50, dears => 0);
-- Workers die.
SELECT * FROM judged(deaths => 4);
DROP TABLE flight, outcome;
DROP VIEW bucket;
DROP FUNCTION at, enqueue, reserve, told, simulate, judged;
DROP EXTENSION product_sync;
DROP SCHEMA sync CASCADE;
