-- What people said of matches, and what follows for a supplier's next ones.
--
-- Every person's decision on a staging entry is a label of its matches, as far as it says something of them:
--
--		decision								label
--		match_correct is set					right or wrong, as it says; before anything else, also on applied entries
--		update approved							right
--		update rejected as a whole				wrong, unless flags say why else: unknown_to_erp, inactive_in_erp, sku_taken
--		update rejected field by field			none: the values are not wanted
--		create approved							its best candidates, which were below the threshold, are wrong
--		create rejected							none
--		by a filter (sync_approve_where() ...)	the same, unless the setting match_learn_from_filters is false: nobody may have looked at each
--		by itself								none
--
-- A verdict on what was approved by itself is kept, but has no part in the supplier's curve: of thousands that nobody looks at, people say
-- something of those few that are wrong, and the curve would take these for a fair sample.  match_audit_share draws one.
--
-- There is one label for each supplier, incoming SKU and variant: the newest word counts.  The labels of an entry are a function of what it
-- is now, so a decision that is changed or taken back changes them.  The functions that triggers need are ordinary objects, as in
-- 74_approval.sql.

CREATE FUNCTION sync.install_part_73_match_label() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $install$
BEGIN
	IF to_regclass('sync.match_label') IS NULL THEN
		CREATE TABLE sync.match_label (
			id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
			supplier text NOT NULL CHECK (supplier <> ''),
			incoming_id text,
			existing_id text,
			correct boolean NOT NULL,
			log_odds real,
			confidence double precision,
			method text,
			source text NOT NULL CHECK (source IN ('decision', 'verdict', 'review')),
			staging_id bigint,
			run_id bigint,
			decided_by text NOT NULL,
			decided_at timestamptz NOT NULL DEFAULT now(),
			UNIQUE (supplier, incoming_id, existing_id)
		);
		CREATE INDEX match_label_newest_idx ON sync.match_label (supplier, decided_at DESC, id DESC) WHERE log_odds IS NOT NULL;
		CREATE INDEX match_label_staging_id_idx ON sync.match_label (staging_id) WHERE staging_id IS NOT NULL;
	END IF;
	COMMENT ON TABLE sync.match_label IS 'What people said of matches, one row a supplier, incoming item and existing item. The newest 2000 of a supplier shape its confidences.';
	COMMENT ON COLUMN sync.match_label.supplier IS 'Name of the connection; of tables matched outside the flow, what their caller names it.';
	COMMENT ON COLUMN sync.match_label.incoming_id IS 'The supplier''s SKU; outside the flow, incoming_id of sync_match().';
	COMMENT ON COLUMN sync.match_label.existing_id IS 'sync.variant.id; outside the flow, existing_id of sync_match().';
	COMMENT ON COLUMN sync.match_label.log_odds IS 'The score, which is before the supplier''s calibration; null for a match that had none, such as a link, and for one that was approved by itself; only labels with a score shape confidences.';
	COMMENT ON COLUMN sync.match_label.confidence IS 'What the matcher said then.';
	COMMENT ON COLUMN sync.match_label.source IS 'decision on a staging entry, verdict by its match_correct, or review by sync_match_review().';
	COMMENT ON COLUMN sync.staging.match_correct IS 'Whether this is the right product, if you want to say so: true or false, whatever you decide of the values, also afterwards. False on an update, or true on a new product, rejects the entry as long as it is open.';

	-- Makes the labels of these entries what the entries now say.
	CREATE OR REPLACE FUNCTION sync.staging_label(ids bigint[]) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
	BEGIN
		DELETE FROM sync.match_label l WHERE l.staging_id = ANY (ids);
		WITH entry AS MATERIALIZED (
			SELECT s.id, s.run_id, s.connection, s.kind, s.sku, s.product_no, s.method, s.confidence, s.evidence, s.links, s.match_correct,
				   s.decided_by, s.decided_at, s.decided_how IS NOT DISTINCT FROM 'auto' AS by_itself, e.correct,
				   (SELECT count(*) FROM jsonb_object_keys(s.links)) AS n_links
			FROM sync.staging s
			CROSS JOIN LATERAL (SELECT CASE
				WHEN s.match_correct IS NOT NULL THEN s.match_correct
				WHEN s.decided_how IS NULL OR s.decided_how = 'auto' THEN NULL
				WHEN s.decided_how LIKE '%, by filter%' AND 'false' = coalesce(
					(SELECT c.settings ->> 'match_learn_from_filters' FROM sync.connection c WHERE c.name = s.connection),
					(SELECT t.value FROM sync.setting t WHERE t.name = 'match_learn_from_filters')) THEN NULL
				WHEN s.kind = 'update' AND s.decision = 'approved' THEN true
				WHEN s.kind = 'update' AND s.decision = 'rejected' AND s.decided_how NOT LIKE '%, by fields'
					AND NOT s.flags && ARRAY['unknown_to_erp', 'inactive_in_erp', 'sku_taken'] THEN false
				WHEN s.kind = 'create' AND s.decision = 'approved' THEN false END AS correct) e
			WHERE s.id = ANY (ids) AND e.correct IS NOT NULL),
		matched AS (
			-- Match results of old runs are gone: an entry of one variant has all that is needed itself.  Several SKUs of an entry may be
			-- matched to one variant, each with its own score.
			SELECT e.id, k.key AS sku, k.value AS variant, coalesce(m.confidence, e.confidence) AS confidence,
				   coalesce(m.method, e.method) AS method, coalesce(m.evidence, CASE WHEN e.n_links = 1 THEN e.evidence END) ->> 'score' AS score
			FROM entry e
			JOIN sync.run r ON r.id = e.run_id
			CROSS JOIN LATERAL jsonb_each_text(e.links) k
			LEFT JOIN LATERAL (
				SELECT o.confidence, o.method, o.evidence
				FROM sync.match_result o
				LEFT JOIN sync.feed_item i ON i.feed_file_id = r.feed_file_id AND i.product_no = o.product_no AND i.id = o.feed_item_id
				WHERE o.run_id = e.run_id AND o.product_no = e.product_no AND o.variant_id::text = k.value
				  AND (i.sku = k.key OR i.sku IS NULL)) m ON true
			WHERE e.kind = 'update'
			UNION ALL
			SELECT e.id, coalesce(i.sku, e.sku), m.variant_id::text, m.confidence, m.method, m.evidence ->> 'score'
			FROM entry e
			JOIN sync.run r ON r.id = e.run_id
			JOIN sync.match_result m ON m.run_id = e.run_id AND m.product_no = e.product_no
			LEFT JOIN sync.feed_item i ON i.feed_file_id = r.feed_file_id AND i.product_no = m.product_no AND i.id = m.feed_item_id
			WHERE e.kind = 'create')
		INSERT INTO sync.match_label AS o (supplier, incoming_id, existing_id, correct, log_odds, confidence, method, source, staging_id,
										   run_id, decided_by, decided_at)
		SELECT DISTINCT ON (e.connection, m.sku, m.variant) e.connection, m.sku, m.variant, e.correct, CASE WHEN NOT e.by_itself THEN m.score::real END, m.confidence, m.method,
			   CASE WHEN e.match_correct IS NULL THEN 'decision' ELSE 'verdict' END, e.id, e.run_id,
			   CASE WHEN e.match_correct IS NULL THEN e.decided_by ELSE who.decided_by END,
			   CASE WHEN e.match_correct IS NULL THEN e.decided_at ELSE now() END
		FROM matched m
		JOIN entry e ON e.id = m.id
		CROSS JOIN sync.decision_by() who
		-- What had no score was no estimate; only a verdict is worth keeping of it.
		WHERE m.score IS NOT NULL OR e.match_correct IS NOT NULL
		ORDER BY e.connection, m.sku, m.variant, e.id DESC, m.confidence DESC
		ON CONFLICT (supplier, incoming_id, existing_id) DO UPDATE
		SET correct = excluded.correct, log_odds = excluded.log_odds, confidence = excluded.confidence, method = excluded.method,
			source = excluded.source, staging_id = excluded.staging_id, run_id = excluded.run_id, decided_by = excluded.decided_by,
			decided_at = excluded.decided_at;
	END
	$$;
	REVOKE ALL ON FUNCTION sync.staging_label(bigint[]) FROM PUBLIC;

	-- A verdict on a match is remembered, or what was remembered of it is forgotten, whatever becomes of the values.
	CREATE OR REPLACE FUNCTION sync.staging_verdict(ids bigint[]) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
	BEGIN
		DELETE FROM sync.variant_source v
		USING sync.staging s
		WHERE s.id = ANY (ids) AND s.id = v.staging_id AND s.state <> 'applied' AND s.match_correct IS NOT TRUE;
		DELETE FROM sync.variant_source v
		USING sync.match_label l
		WHERE l.staging_id = ANY (ids) AND l.source = 'verdict' AND NOT l.correct
		  AND v.connection = l.supplier AND v.supplier_sku = l.incoming_id AND v.variant_id::text = l.existing_id;
		INSERT INTO sync.variant_source AS o (connection, supplier_sku, variant_id, staging_id)
		SELECT DISTINCT ON (l.supplier, l.incoming_id) l.supplier, l.incoming_id, v.id, l.staging_id
		FROM sync.match_label l
		JOIN sync.connection c ON c.name = l.supplier
		JOIN sync.variant v ON v.id::text = l.existing_id
		WHERE l.staging_id = ANY (ids) AND l.source = 'verdict' AND l.correct
		ORDER BY l.supplier, l.incoming_id, l.confidence DESC
		ON CONFLICT (connection, supplier_sku) DO UPDATE
		SET variant_id = excluded.variant_id, staging_id = excluded.staging_id, confirmed_at = now()
		WHERE o.variant_id <> excluded.variant_id;
	END
	$$;
	REVOKE ALL ON FUNCTION sync.staging_verdict(bigint[]) FROM PUBLIC;
END
$install$;

-- The curve that a supplier's newest labels give.  It is read when it is needed, not kept up to date: people who review at the same time would wait
-- for each other at one row.
CREATE FUNCTION sync.match_calibration_fit(log_odds real[], correct boolean[], OUT slope real, OUT "offset" real)
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'product_sync_match_calibration_fit';
COMMENT ON FUNCTION sync.match_calibration_fit(real[], boolean[]) IS 'The curve that makes these reviews likely, held to the shipped one (1, 0) as long as they are few.';

CREATE FUNCTION sync.match_newest_labels(supplier text)
RETURNS TABLE (log_odds real, correct boolean)
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT l.log_odds, l.correct FROM sync.match_label l
	WHERE l.supplier = match_newest_labels.supplier AND l.log_odds IS NOT NULL
	ORDER BY l.decided_at DESC, l.id DESC LIMIT 2000;
END
$$;

CREATE FUNCTION sync.match_curve(supplier text, OUT slope real, OUT "offset" real, OUT labels bigint, OUT correct bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
	IF to_regclass('sync.match_label') IS NULL THEN
		slope := 1;
		"offset" := 0;
		labels := 0;
		correct := 0;
		RETURN;
	END IF;
	SELECT f.slope, f."offset", l.labels, l.correct INTO slope, "offset", labels, correct
	FROM (SELECT coalesce(array_agg(n.log_odds), '{}') AS log_odds, coalesce(array_agg(n.correct), '{}') AS verdicts, count(*) AS labels,
				 count(*) FILTER (WHERE n.correct) AS correct
		  FROM sync.match_newest_labels(match_curve.supplier) n) l
	CROSS JOIN LATERAL sync.match_calibration_fit(l.log_odds, l.verdicts) f;
END
$$;
ALTER FUNCTION sync.match_curve(text) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION sync.match_curve(text) TO sync_viewer;
COMMENT ON FUNCTION sync.match_curve(text) IS 'A supplier''s calibration by its newest labels, of which correct were of right matches; without any, and before sync_install(), slope 1 and offset 0.';

CREATE FUNCTION @extschema@.sync_match_review(supplier text, evidence jsonb, correct boolean, incoming_id text DEFAULT NULL,
											  existing_id text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
BEGIN
	IF coalesce(supplier, '') = '' THEN
		RAISE EXCEPTION 'a review needs the name of its supplier' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'The one that sync_match() was given as "supplier" in its columns.';
	ELSIF correct IS NULL THEN
		IF incoming_id IS NULL OR existing_id IS NULL THEN
			RAISE EXCEPTION 'correct must be true or false' USING ERRCODE = 'null_value_not_allowed',
				HINT = 'Null takes a review back, which needs its incoming_id and existing_id.';
		END IF;
		DELETE FROM sync.match_label l
		WHERE l.supplier = sync_match_review.supplier AND l.incoming_id = sync_match_review.incoming_id
		  AND l.existing_id = sync_match_review.existing_id AND l.source = 'review';
		RETURN;
	ELSIF jsonb_typeof(evidence -> 'score') IS DISTINCT FROM 'number' OR abs((evidence ->> 'score')::numeric) > 1000 THEN
		RAISE EXCEPTION 'the evidence has no score: %', left(coalesce(evidence::text, 'null'), 200) USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Give the evidence as sync_match() returned it.';
	END IF;
	INSERT INTO sync.match_label AS o (supplier, incoming_id, existing_id, correct, log_odds, source, decided_by)
	SELECT supplier, incoming_id, existing_id, correct, (evidence ->> 'score')::real, 'review', d.decided_by FROM sync.decision_by() d
	ON CONFLICT ON CONSTRAINT match_label_supplier_incoming_id_existing_id_key DO UPDATE
	SET correct = excluded.correct, log_odds = excluded.log_odds, confidence = NULL, method = NULL, source = 'review', staging_id = NULL,
		run_id = NULL, decided_by = excluded.decided_by, decided_at = now()
	-- A verdict does more than a review, which may contradict it but not take its place.
	WHERE o.source <> 'verdict' OR o.correct <> excluded.correct;
END
$$;
ALTER FUNCTION @extschema@.sync_match_review(text, jsonb, boolean, text, text) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_match_review(text, jsonb, boolean, text, text) TO sync_approver;
COMMENT ON FUNCTION @extschema@.sync_match_review(text, jsonb, boolean, text, text) IS
'Tells whether a match of sync_match() was right, so that the supplier''s next ones are surer or less sure. supplier: a name of yours, which sync_match() then takes as "supplier" in its columns; evidence: that of the match; incoming_id and existing_id: those of the match, so that a second review of it replaces the first (without them each call counts). correct null takes a review back. In the flow there is no need to call it: decisions on staging entries are reviews. Example: SELECT sync_match_review(''acme'', m.evidence, true, m.incoming_id, m.existing_id) FROM my_matches m WHERE looks_right. Errors: 22023 no supplier, or evidence without a score; 22004 correct is null and the ids are not both given.';
