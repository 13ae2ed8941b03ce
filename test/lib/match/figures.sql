-- Figures of how good matches are, for test/bench/match.sh and test/t/061_match_quality.pl.
-- result holds what sync_match() returned, pair the true pairs; both have incoming_id and existing_id.

CREATE SCHEMA IF NOT EXISTS figures;
SET check_function_bodies = off;	-- the tables come later

-- The share that is surely exceeded (one-sided, 95 %) where k of n were right: Clopper and Pearson 1934, by bisection.  The tail is summed
-- from its end, so it needs as many steps as there are errors.
CREATE OR REPLACE FUNCTION figures.lower_bound(k bigint, n bigint) RETURNS double precision LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	low double precision := 0;
	high double precision := 1;
	p double precision;
	term double precision;
	tail double precision;
BEGIN
	IF k = 0 OR n = 0 THEN
		RETURN 0;
	END IF;
	FOR step IN 1 .. 40 LOOP
		p := (low + high) / 2;
		term := n * ln(p);
		tail := CASE WHEN term > -700 THEN exp(term) ELSE 0 END;
		FOR errors IN 1 .. n - k LOOP
			term := term + ln((n - errors + 1.0::double precision) / errors) + ln((1 - p) / p);
			tail := tail + CASE WHEN term > -700 THEN exp(term) ELSE 0 END;
		END LOOP;
		IF tail < 0.05 THEN low := p; ELSE high := p; END IF;
	END LOOP;
	RETURN low;
END
$$;

-- One line: what, how much, the bar, and whether that is met.  bar NULL: there is none, and no verdict.  at_least: the bar is a floor, not a ceiling.
CREATE OR REPLACE FUNCTION figures.line(what text, value double precision, bar double precision, at_least boolean, unit text DEFAULT '',
	digits integer DEFAULT 4)
RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT rtrim(format('%s %s %s %s',
		rpad(what, 84), lpad(coalesce(round(value::numeric, digits) || unit, 'not built'), 12),
		rpad(CASE WHEN bar IS NULL THEN '(no bar)' ELSE format('(at %s %s%s)', CASE WHEN at_least THEN 'least' ELSE 'most' END, bar, unit) END, 22),
		CASE WHEN bar IS NULL THEN '' WHEN value IS NULL THEN 'MISSED' WHEN at_least THEN CASE WHEN value >= bar THEN 'ok' ELSE 'MISSED' END
			WHEN value <= bar THEN 'ok' ELSE 'MISSED' END))
$$;

-- Expected calibration error over ten bins of equal width, of the rows that sync_match() returned.
CREATE OR REPLACE FUNCTION figures.calibration_error(matches regclass) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
	answer double precision;
BEGIN
	EXECUTE format('SELECT sum(abs(claimed - found)) / sum(n)
		FROM (SELECT sum(r.confidence) AS claimed, count(p.incoming_id) AS found, count(*) AS n
			FROM %s r LEFT JOIN pair p USING (incoming_id, existing_id) GROUP BY least(floor(r.confidence * 10), 9)) bin', matches) INTO answer;
	RETURN answer;
END
$$;

-- Of matches of at least this confidence: how many, how many of them right, and of how many pairs.
CREATE OR REPLACE FUNCTION figures.at(matches regclass, threshold double precision, OUT claimed bigint, OUT correct bigint, OUT pairs bigint)
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SELECT count(*), count(p.incoming_id), (SELECT count(*) FROM pair)
		FROM %s r LEFT JOIN pair p USING (incoming_id, existing_id) WHERE r.confidence >= $1', matches) INTO claimed, correct, pairs USING threshold;
END
$$;

-- The figures of a labelled set, by name.
CREATE OR REPLACE FUNCTION figures.quality(matches regclass) RETURNS TABLE (figure text, value double precision) LANGUAGE sql AS $$
	SELECT t.figure, t.value
	FROM figures.at(matches, 0.5) h, figures.at(matches, 0.95) a,
		LATERAL (VALUES
			('f1', 2.0 * h.correct / greatest(h.claimed + h.pairs, 1)),
			('precision', 1.0 * h.correct / greatest(h.claimed, 1)),
			('coverage', 1.0 * h.correct / greatest(h.pairs, 1)),
			('precision_95', CASE WHEN a.claimed = 0 THEN 1 ELSE 1.0 * a.correct / a.claimed END),
			('lower_bound_95', figures.lower_bound(a.correct, a.claimed)),
			('coverage_95', 1.0 * a.correct / greatest(a.pairs, 1)),
			('calibration_error', figures.calibration_error(matches))) t(figure, value)
$$;

-- Matches of the exact stage that would be approved by themselves, by kind of trouble: of truth(incoming_id, existing_id, trouble), where
-- existing_id is NULL for a new product.
CREATE OR REPLACE FUNCTION figures.exact_stage() RETURNS TABLE (trouble text, incoming bigint, has_match bigint, approved bigint, wrong bigint)
LANGUAGE sql AS $$
	SELECT t.trouble, count(*), count(t.existing_id), count(r.incoming_id), count(r.incoming_id) FILTER (WHERE r.existing_id IS DISTINCT FROM t.existing_id)
	FROM truth t LEFT JOIN result r ON r.incoming_id = t.incoming_id AND r.confidence >= 0.95 AND r.method IN ('gtin', 'brand_mpn', 'sku')
	GROUP BY t.trouble
$$;

-- What someone said of n matches of matches, chosen by the seed, as the supplier's reviews.  Returns false where the calls for that are
-- not there.
CREATE OR REPLACE FUNCTION figures.review(supplier text, matches regclass, n integer, seed integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_proc f WHERE f.proname = 'sync_match_review') THEN
		RETURN false;
	END IF;
	DROP TABLE IF EXISTS reviewed;
	EXECUTE format('CREATE TEMP TABLE reviewed AS
		SELECT r.*, p.incoming_id IS NOT NULL AS correct FROM %s r LEFT JOIN pair p USING (incoming_id, existing_id)
		ORDER BY hashtextextended(r.incoming_id, $1), r.incoming_id, r.existing_id LIMIT $2', matches) USING seed, n;
	EXECUTE 'SELECT sync_match_review($1, r.evidence, r.correct, r.incoming_id, r.existing_id) FROM reviewed r' USING supplier;
	RETURN true;
END
$$;

-- Share of the pairs that are among the candidates; NULL where the call that lists them is not there.
CREATE OR REPLACE FUNCTION figures.candidate_recall(candidates integer) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
	answer double precision;
BEGIN
	IF to_regproc('sync.match_candidates') IS NOT NULL THEN
		EXECUTE 'SELECT 1.0 * count(DISTINCT p) / greatest((SELECT count(*) FROM pair), 1)
			FROM sync.match_candidates(''incoming'', ''existing'', ''{}'', $1) c JOIN pair p USING (incoming_id, existing_id)' INTO answer USING candidates;
	END IF;
	RETURN answer;
END
$$;

-- Matches anew with a supplier's n reviews and measures those that were not reviewed: the mean of so many draws, each by a seed of its
-- own and for a supplier of its own.  No row where reviews cannot be given.
CREATE OR REPLACE FUNCTION figures.with_reviews(name text, n integer, draws integer) RETURNS TABLE (figure text, value double precision)
LANGUAGE plpgsql AS $$
DECLARE
	supplier text;
BEGIN
	CREATE TEMP TABLE IF NOT EXISTS drawn (figure text, value double precision);
	TRUNCATE drawn;
	FOR draw IN 1 .. draws LOOP
		supplier := format('%s %s', name, draw);
		IF NOT figures.review(supplier, 'result', n, draw) THEN
			RETURN;
		END IF;
		DROP TABLE IF EXISTS unreviewed;
		CREATE TEMP TABLE unreviewed AS
			SELECT r.* FROM sync_match('incoming', 'existing', jsonb_build_object('supplier', supplier)) r
			WHERE r.incoming_id NOT IN (SELECT v.incoming_id FROM reviewed v);
		INSERT INTO drawn SELECT * FROM figures.quality('unreviewed');
	END LOOP;
	RETURN QUERY SELECT d.figure, avg(d.value) FROM drawn d GROUP BY d.figure;
END
$$;

-- The most memory that this session's process ever held, in MB, shared buffers that it touched and mapped files included.
CREATE OR REPLACE FUNCTION figures.peak_memory() RETURNS double precision LANGUAGE sql VOLATILE AS
$$SELECT substring(pg_read_file('/proc/self/status') FROM 'VmHWM:\s*([0-9]+)')::double precision / 1024$$;

-- Seconds that a statement takes.
CREATE OR REPLACE FUNCTION figures.seconds(statement text) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
	began timestamptz := clock_timestamp();
BEGIN
	EXECUTE statement;
	RETURN extract(epoch FROM clock_timestamp() - began);
END
$$;
