-- Matching a run's feed: a sample of it tells what its supplier is like, ranges of products are matched each by itself, and what rows of
-- different ranges claim together is settled at the end.

CREATE FUNCTION sync.install_part_62_match_run() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $install$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('match_range_products', '2000', 'count', 'How many feed products one job matches.')
	ON CONFLICT (name) DO NOTHING;
	INSERT INTO sync.job_kind (kind, network, class, batch, run_state, description) VALUES
		('match_index', false, 3, 1, 'matching', 'builds the match index of the present catalogue and divides the feed into ranges'),
		('match_batch', false, 3, 2, 'matching', 'matches a range of a feed''s products with the catalogue'),
		('match_settle', false, 3, 1, 'matching', 'settles what rows of different ranges claim together')
	ON CONFLICT (kind) DO NOTHING;
	COMMENT ON COLUMN sync.match_result.unsettled IS 'Confidence and evidence as they were before rows of other ranges were seen to claim the same variant; null where none does.';
	IF to_regclass('sync.match_calibration') IS NULL THEN
		CREATE TABLE sync.match_calibration (
			supplier text PRIMARY KEY,
			slope real NOT NULL,
			"offset" real NOT NULL,
			labels bigint NOT NULL,
			correct bigint NOT NULL,
			share_shift real NOT NULL,
			repeats real NOT NULL,
			sampled bigint NOT NULL,
			run_id bigint,
			fitted_at timestamptz NOT NULL DEFAULT now()
		);
	END IF;
	COMMENT ON TABLE sync.match_calibration IS 'What the newest run of each supplier took for granted: confidence = 1 / (1 + exp(-(slope × score + offset))).';
	COMMENT ON COLUMN sync.match_calibration.labels IS 'Reviews that slope and offset were fitted to, of which correct were of right matches; none: slope 1, offset 0.';
	COMMENT ON COLUMN sync.match_calibration.share_shift IS 'Added to all scores, since more or fewer rows have a match than is usual; estimated from a sample.';
	COMMENT ON COLUMN sync.match_calibration.repeats IS 'Odds that another row is a variant too that one row is: near 0 where the supplier''s rows are unique, at most 0.2.';
END
$install$;

-- The last four are what the whole run knows of its supplier; see sync.match_shares() and sync.match_curve().
CREATE FUNCTION sync.match_feed(feed_file_id bigint, connection text, version bigint, first_product integer, last_product integer,
								shift real, repeats real, slope real, "offset" real)
RETURNS TABLE (feed_item_id bigint, product_no integer, variant_id bigint, confidence double precision, method text, evidence jsonb)
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'product_sync_match_feed'
ROWS 2000;
COMMENT ON FUNCTION sync.match_feed(bigint, text, bigint, integer, integer, real, real, real, real) IS 'The best match of each variant in a range of a feed''s products, apart from those that an earlier run linked.';

CREATE FUNCTION sync.match_shares(feed_file_id bigint, connection text, version bigint, last_product integer, step integer,
								  OUT shift real, OUT repeats real, OUT sampled bigint)
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'product_sync_match_shares';
COMMENT ON FUNCTION sync.match_shares(bigint, text, bigint, integer, integer) IS 'What a sample of a feed, every step-th group of four products, tells of its supplier: by how much scores shift, and whether each variant is one row at most.';

CREATE FUNCTION sync.match_shipped_curve(OUT slope double precision, OUT "offset" double precision)
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'product_sync_match_shipped_curve';
COMMENT ON FUNCTION sync.match_shipped_curve() IS 'A score is slope × the log odds that the rows together give + offset; from `make fit`, the same for all suppliers.';

CREATE FUNCTION sync.calibrated(log_odds double precision, slope double precision, "offset" double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT 1 / (1 + exp(-greatest(least(slope * log_odds + "offset", 9), -9)))
$$;
COMMENT ON FUNCTION sync.calibrated(double precision, double precision, double precision) IS 'The confidence that calibrate() in C gives.';

CREATE FUNCTION sync.match_begin(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	UPDATE sync.run r SET context = r.context - 'match_settled' WHERE r.id = match_begin.run_id;
	PERFORM sync.job_enqueue('match_index', run_id, key => run_id::text);
END
$$;
COMMENT ON FUNCTION sync.match_begin(bigint) IS 'Starts the matching of a run''s feed.';

-- What the ranges of a run all go by.
CREATE FUNCTION sync.match_learn(run_id bigint, connection text, feed_file_id bigint, version bigint, last_product integer, incoming bigint)
RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	sample_size constant integer := 2000;
	curve record;
	shares record;
BEGIN
	SELECT * INTO curve FROM sync.match_curve(match_learn.connection);
	SELECT coalesce(s.shift, 0) AS shift, coalesce(s.repeats, 0.005) AS repeats, coalesce(s.sampled, 0) AS sampled INTO shares
	FROM sync.match_shares(match_learn.feed_file_id, match_learn.connection, match_learn.version, match_learn.last_product,
						   ceil(incoming::numeric / sample_size)::integer) s;
	INSERT INTO sync.match_calibration AS o (supplier, slope, "offset", labels, correct, share_shift, repeats, sampled, run_id)
	VALUES (match_learn.connection, curve.slope, curve."offset", curve.labels, curve.correct, shares.shift, shares.repeats, shares.sampled,
			match_learn.run_id)
	ON CONFLICT (supplier) DO UPDATE
	SET slope = excluded.slope, "offset" = excluded."offset", labels = excluded.labels, correct = excluded.correct,
		share_shift = excluded.share_shift, repeats = excluded.repeats, sampled = excluded.sampled, run_id = excluded.run_id,
		fitted_at = now();
	RETURN jsonb_build_object('slope', curve.slope, 'offset', curve."offset", 'shift', shares.shift, 'repeats', shares.repeats,
		'incoming', incoming, 'range', greatest(sync.setting_value(match_learn.connection, 'match_range_products')::integer, 1));
END
$$;

CREATE FUNCTION sync.work_match_index(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	job record;
	feed record;
	version bigint;
	learnt jsonb;
	range_size integer;
	first_product integer;
BEGIN
	FOR job IN
		SELECT j.id, j.phase_id, r.id AS run_id, r.feed_file_id, r.connection
		FROM sync.job j JOIN sync.run r ON r.id = j.run_id WHERE j.id = ANY (job_ids) ORDER BY j.id
	LOOP
		version := sync.match_index_refresh();
		SELECT max(f.product_no) AS last_product, count(*) FILTER (WHERE f.kind = 'product') AS products,
			   count(*) FILTER (WHERE f.kind <> 'image') AS incoming
		INTO feed
		FROM sync.feed_item f WHERE f.feed_file_id = job.feed_file_id;
		learnt := sync.match_learn(job.run_id, job.connection, job.feed_file_id, version, feed.last_product, feed.incoming);
		range_size := (learnt ->> 'range')::integer;
		UPDATE sync.run r SET context = r.context || jsonb_build_object('match_index', version, 'match', learnt) WHERE r.id = job.run_id;
		UPDATE sync.run_phase p SET total = feed.products, unit = 'products' WHERE p.id = job.phase_id;
		DELETE FROM sync.match_result m WHERE m.run_id = job.run_id;
		FOR first_product IN SELECT generate_series(1, feed.last_product, range_size) LOOP
			PERFORM sync.job_enqueue('match_batch', job.run_id,
				jsonb_build_object('from', first_product, 'to', least(first_product + range_size - 1, feed.last_product)),
				format('%s:%s', job.run_id, first_product));
		END LOOP;
	END LOOP;
	RETURN '{}';
END
$$;

CREATE FUNCTION sync.match_range(run_id bigint, first_product integer, last_product integer) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	run record;
	counts jsonb;
BEGIN
	SELECT r.id, r.feed_file_id, r.connection, coalesce((r.context ->> 'match_index')::bigint, 0) AS version,
		   coalesce((r.context #>> '{match,shift}')::real, 0) AS shift, coalesce((r.context #>> '{match,repeats}')::real, 0.005) AS repeats,
		   coalesce((r.context #>> '{match,slope}')::real, 1) AS slope, coalesce((r.context #>> '{match,offset}')::real, 0) AS "offset"
	INTO STRICT run
	FROM sync.run r WHERE r.id = match_range.run_id;
	DELETE FROM sync.match_result m WHERE m.run_id = run.id AND m.product_no BETWEEN first_product AND last_product;

	-- What an earlier run linked needs no search.  OFFSET 0: one look-up a row, whatever the planner believes of new tables.
	-- A supplier may use a number again for something else: where both sides have a GTIN, it must be the same.
	INSERT INTO sync.match_result (run_id, feed_item_id, product_no, variant_id, product_id, confidence, method, evidence)
	SELECT run.id, f.id, f.product_no, v.id, v.product_id, 1, 'link', jsonb_build_object('confirmed_at', s.confirmed_at)
		   || CASE WHEN @extschema@.sync_gtin(left(f.variant ->> 'barcode', 64)) <> @extschema@.sync_gtin(left(coalesce(v.gtin, v.barcode), 64))
				   THEN '{"contradicted": true}' ELSE '{}' END::jsonb
	FROM sync.feed_item f
	CROSS JOIN LATERAL (SELECT * FROM sync.variant_source s WHERE s.connection = run.connection AND s.supplier_sku = f.sku OFFSET 0) s
	JOIN sync.variant v ON v.id = s.variant_id
	WHERE f.feed_file_id = run.feed_file_id AND f.product_no BETWEEN first_product AND last_product AND f.kind <> 'image';

	-- The index may be older than the catalogue: a variant that is gone is no match.
	INSERT INTO sync.match_result (run_id, feed_item_id, product_no, variant_id, product_id, confidence, method, evidence)
	SELECT run.id, m.feed_item_id, m.product_no, v.id, v.product_id, m.confidence, m.method, m.evidence
	FROM sync.match_feed(run.feed_file_id, run.connection, run.version, first_product, last_product,
						 run.shift, run.repeats, run.slope, run."offset") m
	JOIN sync.variant v ON v.id = m.variant_id;

	SELECT jsonb_build_object(
			'done', (SELECT count(*) FROM sync.feed_item f WHERE f.feed_file_id = run.feed_file_id
					 AND f.product_no BETWEEN first_product AND last_product AND f.kind = 'product'),
			'matched', count(*), 'link', count(*) FILTER (WHERE m.method = 'link'),
			'exact', count(*) FILTER (WHERE m.method IN ('gtin', 'brand_mpn', 'sku')),
			'tokens', count(*) FILTER (WHERE m.method = 'tokens')) INTO counts
	FROM sync.match_result m WHERE m.run_id = run.id AND m.product_no BETWEEN first_product AND last_product;
	RETURN counts;
END
$$;
COMMENT ON FUNCTION sync.match_range(bigint, integer, integer) IS 'Matches a range of a run''s feed products anew and returns counts.';

CREATE FUNCTION sync.work_match_batch(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	job record;
	counts jsonb := '{}';
BEGIN
	FOR job IN SELECT j.run_id, j.payload FROM sync.job j WHERE j.id = ANY (job_ids) ORDER BY j.id LOOP
		counts := sync.counts_add(counts, sync.match_range(job.run_id, (job.payload ->> 'from')::integer, (job.payload ->> 'to')::integer));
	END LOOP;
	RETURN counts;
END
$$;

-- What the ranges could not see ---------------------------------------------------------------------------------------------------------

-- A match that a person called wrong by sync.staging.match_correct is not offered again, unless it was confirmed later.
CREATE FUNCTION sync.match_forget_wrong(run_id bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	run record;
	forgotten bigint;
BEGIN
	SELECT r.id, r.feed_file_id, r.connection INTO STRICT run FROM sync.run r WHERE r.id = match_forget_wrong.run_id;
	IF NOT EXISTS (SELECT FROM sync.match_label l WHERE l.supplier = run.connection AND l.source = 'verdict' AND NOT l.correct) THEN
		RETURN 0;
	END IF;
	DELETE FROM sync.match_result m
	USING sync.match_label l
	JOIN sync.feed_item f ON f.sku = l.incoming_id AND f.feed_file_id = run.feed_file_id
	WHERE l.supplier = run.connection AND l.source = 'verdict' AND NOT l.correct
	  AND m.run_id = run.id AND m.product_no = f.product_no AND m.feed_item_id = f.id AND m.variant_id::text = l.existing_id
	  AND NOT EXISTS (SELECT FROM sync.variant_source v
					  WHERE v.connection = l.supplier AND v.supplier_sku = l.incoming_id AND v.variant_id = m.variant_id
						AND v.confirmed_at > l.decided_at);
	GET DIAGNOSTICS forgotten = ROW_COUNT;
	RETURN forgotten;
END
$$;

-- How often rows claim a variant together, as estimate_repeats() of assign.c says it of rows that were matched together.
CREATE FUNCTION sync.match_repeats(run_id bigint) RETURNS double precision
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	share double precision;
BEGIN
	SELECT coalesce(sum(c.claims) FILTER (WHERE c.claims > 1), 0) / (coalesce(sum(c.claims), 0) + 50) INTO share
	FROM (SELECT count(*) AS claims FROM sync.match_result m
		  WHERE m.run_id = match_repeats.run_id AND m.confidence >= 0.9 AND m.method <> 'link'
		  GROUP BY m.variant_id) c;
	RETURN greatest(least(share / (1 - share), 0.2), 0.005);
END
$$;

-- Settles the claims of rows in different ranges to the same variant, as assign.c does it for rows of one: the odds of each are multiplied by
-- P / (1 + (P - 1) / repeats), where P is the product of 1 + repeats × odds of the others.  Of several only the best may be approved by
-- itself, and a link is not weakened.  Doing it again begins with what the ranges said.
CREATE FUNCTION sync.match_settle(run_id bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' SET work_mem = '64MB' AS $$
#variable_conflict use_column
DECLARE
	worth constant double precision := 0.3;
	shared_most constant double precision := 0.94;
	sure constant double precision := 9;	-- log odds of a link: the most that calibrate() gives
	run record;
	repeats double precision;
	curve record := sync.match_shipped_curve();
	forgotten bigint;
	contested bigint[];
	settled record;
BEGIN
	SELECT r.id, r.context ? 'match_settled' AS again, coalesce((r.context #>> '{match,range}')::integer, 2000) AS range_size,
		   coalesce((r.context #>> '{match,repeats}')::double precision, 0.005) AS repeats,
		   coalesce((r.context #>> '{match,slope}')::double precision, 1) AS slope,
		   coalesce((r.context #>> '{match,offset}')::double precision, 0) AS "offset"
	INTO STRICT run
	FROM sync.run r WHERE r.id = match_settle.run_id;
	IF run.again THEN
		UPDATE sync.match_result m
		SET confidence = (m.unsettled ->> 'confidence')::double precision, evidence = m.unsettled -> 'evidence', unsettled = NULL
		WHERE m.run_id = run.id AND m.unsettled IS NOT NULL;
	END IF;
	forgotten := sync.match_forget_wrong(run.id);
	repeats := greatest(run.repeats, sync.match_repeats(run.id));

	-- Array by array, so that no statement joins all results with a number of rows that the planner cannot know.
	SELECT array_agg(c.variant_id) INTO contested
	FROM (SELECT m.variant_id FROM sync.match_result m
		  WHERE m.run_id = run.id AND m.confidence >= worth
		  GROUP BY m.variant_id
		  HAVING min((m.product_no - 1) / run.range_size) <> max((m.product_no - 1) / run.range_size)
			  OR (count(*) > 1 AND bool_or(m.method = 'link') AND NOT bool_and(m.method = 'link'))) c;
	WITH claim AS MATERIALIZED (
		SELECT m.id, m.variant_id, m.method, (m.product_no - 1) / run.range_size AS range_no,
			   (m.evidence ->> 'score')::double precision AS score,
			   CASE WHEN m.method = 'link' THEN exp(sure)
					ELSE exp(least(greatest(((m.evidence ->> 'score')::double precision - curve."offset") / curve.slope, -30), 30)) END AS odds
		FROM sync.match_result m
		WHERE m.run_id = run.id AND m.confidence >= worth AND m.variant_id = ANY (contested)),
	weighed AS (
		SELECT c.*,
			   exp(least(greatest(sum(ln(1 + repeats * c.odds)) OVER variant
					- coalesce(sum(ln(1 + repeats * c.odds)) FILTER (WHERE c.method <> 'link') OVER own_range, 0), 0), 30)) AS others,
			   row_number() OVER (PARTITION BY c.variant_id ORDER BY c.method = 'link' DESC, c.score DESC, c.id) AS place
		FROM claim c
		WINDOW variant AS (PARTITION BY c.variant_id), own_range AS (PARTITION BY c.variant_id, c.range_no)),
	anew AS (
		SELECT w.id, w.place, round((w.score + curve.slope * ln(w.others / (1 + (w.others - 1) / repeats)))::numeric, 2) AS score
		FROM weighed w WHERE w.method <> 'link' AND w.score IS NOT NULL)
	SELECT array_agg(a.id) AS ids, array_agg(a.place) AS places, array_agg(a.score) AS scores INTO settled FROM anew a;
	UPDATE sync.match_result m
	SET unsettled = jsonb_build_object('confidence', m.confidence, 'evidence', m.evidence),
		confidence = least(sync.calibrated(s.score::double precision, run.slope, run."offset"), m.confidence,
						   CASE WHEN s.place > 1 THEN shared_most END),
		evidence = m.evidence || jsonb_build_object('score', s.score, 'shared', true, 'added',
			sync.match_pieces(m.evidence -> 'added', s.score - (m.evidence ->> 'score')::numeric,
							  round(((run.slope - 1) * s.score::double precision + run."offset")::numeric, 2)))
	FROM unnest(settled.ids, settled.places, settled.scores) AS s (id, place, score)
	WHERE m.id = s.id;
	UPDATE sync.run r SET context = r.context || '{"match_settled": true}' WHERE r.id = run.id;
	RETURN jsonb_build_object('contested', coalesce(cardinality(settled.ids), 0), 'called_wrong', forgotten);
END
$$;
COMMENT ON FUNCTION sync.match_settle(bigint) IS 'Settles what rows of different ranges of a run claim together, and returns how many did.';

-- What each piece added to a score, once rivals of other ranges are known.
CREATE FUNCTION sync.match_pieces(added jsonb, rivals numeric, supplier numeric) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT (added - 'rivals' - 'supplier')
		|| CASE WHEN coalesce((added ->> 'rivals')::numeric, 0) + rivals = 0 THEN '{}'
				ELSE jsonb_build_object('rivals', coalesce((added ->> 'rivals')::numeric, 0) + rivals) END
		|| CASE WHEN supplier = 0 THEN '{}' ELSE jsonb_build_object('supplier', supplier) END
$$;

CREATE FUNCTION sync.work_match_settle(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	job record;
	counts jsonb := '{}';
BEGIN
	FOR job IN SELECT DISTINCT j.run_id FROM sync.job j WHERE j.id = ANY (job_ids) LOOP
		counts := sync.counts_add(counts, sync.match_settle(job.run_id));
	END LOOP;
	RETURN counts;
END
$$;

-- When all ranges are matched: first the settling, then what comes after.  True when the run may go on.
CREATE FUNCTION sync.match_leave(run_id bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	IF (SELECT r.context ? 'match_settled' FROM sync.run r WHERE r.id = run_id) THEN
		RETURN true;
	END IF;
	ANALYZE sync.match_result (run_id, feed_item_id, product_no, variant_id, product_id, confidence);
	PERFORM sync.job_enqueue('match_settle', run_id, key => run_id::text);
	RETURN false;
END
$$;
