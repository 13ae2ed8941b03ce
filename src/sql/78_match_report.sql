-- How far the matcher's confidences can be trusted, by what people said of them, so that a person can set the threshold.

-- Where confidences are grouped.
CREATE FUNCTION sync.match_bands() RETURNS double precision[] LANGUAGE sql IMMUTABLE AS 'SELECT ARRAY[0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1]::double precision[]';

CREATE FUNCTION sync.share_bounds(seen bigint, tries bigint, OUT lowest double precision, OUT highest double precision)
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'product_sync_share_bounds';
COMMENT ON FUNCTION sync.share_bounds(bigint, bigint) IS 'Between which bounds a share lies, 95 % sure, of which so many were seen in so many tries (Clopper and Pearson).';

-- The newest labels of a supplier, or of all, in the band of the confidence that they would have now.
CREATE FUNCTION sync.match_report_labels(supplier text)
RETURNS TABLE (band integer, labels bigint, correct bigint, sum_confidence double precision)
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT width_bucket(p.confidence, sync.match_bands()), count(*), count(*) FILTER (WHERE p.correct), sum(p.confidence)
	FROM (SELECT DISTINCT l.supplier FROM sync.match_label l WHERE l.supplier = match_report_labels.supplier OR match_report_labels.supplier IS NULL) s
	CROSS JOIN LATERAL sync.match_curve(s.supplier) c
	CROSS JOIN LATERAL (SELECT n.correct, sync.calibrated(n.log_odds, c.slope, c."offset") AS confidence
						FROM sync.match_newest_labels(s.supplier) n) p
	GROUP BY 1;
END
$$;

-- Matches of the newest matched run of a connection, or of each, likewise; and how many rows had to be matched.
CREATE FUNCTION sync.match_report_matches(supplier text, OUT incoming bigint, OUT matches bigint[])
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	run record;
	counted bigint[];
BEGIN
	FOR run IN
		SELECT n.id, n.incoming, c.slope, c."offset"
		FROM (SELECT DISTINCT ON (r.connection) r.id, r.connection, (r.context #>> '{match,incoming}')::bigint AS incoming
			  FROM sync.run r
			  WHERE (r.connection = match_report_matches.supplier OR match_report_matches.supplier IS NULL) AND r.context ? 'match_settled'
				AND EXISTS (SELECT FROM sync.match_result m WHERE m.run_id = r.id)
			  ORDER BY r.connection, r.id DESC) n
		CROSS JOIN LATERAL sync.match_curve(n.connection) c
	LOOP
		SELECT array_agg(coalesce(b.n, 0) ORDER BY g) INTO counted
		FROM generate_series(1, 8) g
		LEFT JOIN (
			-- What several rows claim has a confidence that does not follow from its score alone.
			SELECT least(width_bucket(CASE WHEN m.evidence ? 'score' AND NOT m.evidence ? 'shared'
										   THEN sync.calibrated((m.evidence ->> 'score')::double precision, run.slope, run."offset")
										   ELSE m.confidence END, sync.match_bands()), 8) AS band, count(*) AS n
			FROM sync.match_result m WHERE m.run_id = run.id GROUP BY 1) b ON b.band = g;
		matches := CASE WHEN matches IS NULL THEN counted
						ELSE ARRAY(SELECT a + b FROM unnest(matches, counted) WITH ORDINALITY AS u (a, b, n) ORDER BY n) END;
		incoming := coalesce(incoming, 0) + run.incoming;
	END LOOP;
END
$$;

CREATE FUNCTION @extschema@.sync_match_report(supplier text DEFAULT NULL)
RETURNS TABLE (band text, from_confidence numeric, matches bigint, labels bigint, labels_right bigint, mean_confidence numeric, share_right numeric,
			   share_lowest numeric, share_highest numeric, above_coverage numeric, above_labels bigint, above_precision numeric,
			   above_lowest numeric, approved_by_itself bigint, found_right bigint, found_wrong bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	bands constant double precision[] := sync.match_bands();
	run record;
BEGIN
	SELECT m.incoming, m.matches INTO run FROM sync.match_report_matches(sync_match_report.supplier) m;
	RETURN QUERY
	WITH approved AS (
		SELECT least(width_bucket(s.confidence, bands), 8) AS band, count(*) AS approved, count(*) FILTER (WHERE s.match_correct) AS found_right,
			   count(*) FILTER (WHERE NOT s.match_correct) AS found_wrong
		FROM sync.staging s
		WHERE s.decided_how = 'auto' AND s.kind = 'update' AND (s.connection = sync_match_report.supplier OR sync_match_report.supplier IS NULL)
		GROUP BY 1),
	counted AS (
		SELECT b.band, run.matches[b.band] AS matches, coalesce(l.labels, 0) AS labels, coalesce(l.correct, 0) AS correct,
			   l.sum_confidence, coalesce(a.approved, 0) AS approved, coalesce(a.found_right, 0) AS found_right, coalesce(a.found_wrong, 0) AS found_wrong
		FROM generate_series(1, 8) AS b (band)
		LEFT JOIN (SELECT least(r.band, 8) AS band, r.labels, r.correct, r.sum_confidence
				   FROM sync.match_report_labels(sync_match_report.supplier) r) l ON l.band = b.band
		LEFT JOIN approved a ON a.band = b.band),
	added AS (
		SELECT c.*, sum(c.matches) OVER above AS above_matches, (sum(c.labels) OVER above)::bigint AS above_labels,
			   (sum(c.correct) OVER above)::bigint AS above_correct
		FROM counted c WINDOW above AS (ORDER BY c.band DESC))
	SELECT format('%s to %s', bands[a.band], bands[a.band + 1]), bands[a.band]::numeric, a.matches, a.labels, a.correct,
		   round((a.sum_confidence / a.labels)::numeric, 4), round(a.correct::numeric / nullif(a.labels, 0), 4),
		   CASE WHEN a.labels > 0 THEN round(own.lowest::numeric, 4) END, CASE WHEN a.labels > 0 THEN round(own.highest::numeric, 4) END,
		   round(a.above_matches / nullif(run.incoming, 0), 4), a.above_labels, round(a.above_correct::numeric / nullif(a.above_labels, 0), 4),
		   CASE WHEN a.above_labels > 0 THEN round(above.lowest::numeric, 4) END, a.approved, a.found_right, a.found_wrong
	FROM added a
	CROSS JOIN LATERAL sync.share_bounds(a.correct, a.labels) own
	CROSS JOIN LATERAL sync.share_bounds(a.above_correct, a.above_labels) above
	ORDER BY a.band;
END
$$;
ALTER FUNCTION @extschema@.sync_match_report(text) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_match_report(text) TO sync_viewer;
COMMENT ON FUNCTION @extschema@.sync_match_report(text) IS
'How far confidences can be trusted, by what people said of matches: one row a band of confidence. supplier: a connection, or a name given to sync_match_review(); by default all. matches: of the newest run whose results are kept. labels, labels_right: newest 2000 reviews of each supplier, with the confidence that they would have now; mean_confidence and share_right should be alike; share_lowest and share_highest bound the true share, 95 % sure. above_coverage: share of the run''s incoming variants that have this band''s lowest confidence or more, links among them; above_labels, above_precision, above_lowest: reviews of such, share that was right, and its lower bound: what auto_approve_threshold would give there. approved_by_itself: updates so far, by their confidence then, of which found_right and found_wrong have been judged since by match_correct. Example: SELECT * FROM sync_match_report(''etilize''). No errors.';
