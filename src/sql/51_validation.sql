-- Validation of a feed against the ERP's mirror: the xorosoft_validation phase of a run, and the run that only keeps the mirror.

-- Called when a run enters the phase.  Without a Xorosoft connection there is nothing to do; with a fresh mirror the batches are
-- enqueued at once; else the mirror is read first, and the last page enqueues them.
CREATE FUNCTION sync.validation_begin(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	run record;
	erp text;
	products bigint;
BEGIN
	SELECT r.connection, r.feed_file_id INTO run FROM sync.run r WHERE r.id = validation_begin.run_id;
	erp := sync.xorosoft_connection(run.connection);
	UPDATE sync.run r SET context = r.context - 'validation' - 'xorosoft' || CASE WHEN erp IS NULL THEN '{"validation": "skipped"}'::jsonb
																			  ELSE jsonb_build_object('xorosoft', erp) END
	WHERE r.id = validation_begin.run_id;
	products := sync.validation_products(run.feed_file_id);
	UPDATE sync.run_phase p SET total = CASE WHEN erp IS NOT NULL THEN products ELSE 0 END, unit = 'products'
	WHERE p.run_id = validation_begin.run_id AND p.ended_at IS NULL;
	IF erp IS NULL OR products = 0 THEN
		RETURN;
	END IF;
	IF sync.xorosoft_crawl_ensure(erp, run_id, 'items', sync.setting_value(erp, 'mirror_max_age')::interval) THEN
		PERFORM sync.validation_enqueue(run_id);
	END IF;
END
$$;
COMMENT ON FUNCTION sync.validation_begin(bigint) IS
'Enqueues what the xorosoft_validation phase of a run needs. No job means nothing to do: no Xorosoft connection (run.context.validation is then "skipped"), or no product.';

CREATE FUNCTION sync.validation_products(feed_file_id bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
	RETURN coalesce((SELECT f.products FROM sync.feed_file f WHERE f.id = validation_products.feed_file_id),
					(SELECT max(i.product_no) FROM sync.feed_item i WHERE i.feed_file_id = validation_products.feed_file_id), 0);
END
$$;

-- One job for each validation_batch products of the run's feed.
CREATE FUNCTION sync.validation_enqueue(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	run record;
	batch bigint;
BEGIN
	SELECT r.connection, r.feed_file_id, r.context ->> 'xorosoft' AS erp INTO run FROM sync.run r WHERE r.id = validation_enqueue.run_id;
	batch := greatest(1, sync.setting_value(run.erp, 'validation_batch')::bigint);
	-- What an earlier attempt found is found again, from a newer mirror.
	DELETE FROM sync.validation v WHERE v.run_id = validation_enqueue.run_id;
	PERFORM sync.job_enqueue('xorosoft_validate', validation_enqueue.run_id,
							 jsonb_build_object('from', n, 'to', n + batch - 1), format('%s/%s', validation_enqueue.run_id, n))
	FROM generate_series(1, sync.validation_products(run.feed_file_id), batch) n;
END
$$;

-- The feed rows of some jobs of a run that the mirror does not know or that are no longer sold.  The rule is the origin system's:
-- the SKU, then certain metafields, each against ItemNumber and then BasePartNumber, compared without hyphens and in capitals; the
-- GTIN as a last resort.  Of several items that answer to a number, one that is sold counts.
--
-- Each probe is a lateral LIMIT 1, and jit is off, since a mirror that was just filled has no statistics yet: left to itself the
-- planner then hashes the whole mirror for each batch, and compiling takes ten times as long as running.
CREATE FUNCTION sync.validation_misses(run_id bigint, job_ids bigint[])
RETURNS TABLE (feed_item_id bigint, product_no integer, sku text, known boolean)
LANGUAGE plpgsql SET search_path = '' SET jit = off AS $$
#variable_conflict use_column
DECLARE
	file bigint;
	erp text;
	number_fields text[];
	part int4range;
BEGIN
	SELECT r.feed_file_id, r.context ->> 'xorosoft' INTO file, erp FROM sync.run r WHERE r.id = validation_misses.run_id;
	number_fields := regexp_split_to_array(sync.setting_value(erp, 'number_metafields'), '\s*,\s*');
	-- Jobs that follow one another are one range, and its bounds are known when the plan is made: joined with the jobs themselves, the
	-- planner would take each of them for a ninth of the feed and read it from end to end.
	FOREACH part IN ARRAY ARRAY(
		SELECT unnest(range_agg(int4range((j.payload ->> 'from')::integer, (j.payload ->> 'to')::integer, '[]')))
		FROM sync.job j WHERE j.id = ANY (job_ids) AND j.run_id = validation_misses.run_id)
	LOOP
		RETURN QUERY
		WITH row_of AS MATERIALIZED (
			SELECT i.id, i.product_no, i.sku, i.product -> 'metafields' AS metafields, i.variant ->> 'barcode' AS barcode
			FROM sync.feed_item i
			WHERE i.product_no >= lower(part) AND i.product_no < upper(part)
			  AND i.feed_file_id = file AND i.sku <> '' AND i.kind <> 'image'
		), by_number AS MATERIALIZED (
			SELECT p.*, x.sold FROM row_of p LEFT JOIN LATERAL (
				SELECT coalesce(m.active, true) AND coalesce(m.sellable, true) AS sold FROM sync.xorosoft_item m
				WHERE m.connection = erp AND m.item_key = sync.item_key(p.sku) AND m.gone_since IS NULL
				ORDER BY 1 DESC LIMIT 1) x ON true
		)
		SELECT n.id, n.product_no, n.sku, true FROM by_number n WHERE NOT n.sold
		UNION ALL
		SELECT n.id, n.product_no, n.sku, x.sold IS NOT NULL
		FROM by_number n LEFT JOIN LATERAL (
			SELECT hit.sold FROM (
				WITH candidate AS (
					SELECT 0::bigint AS no, sync.item_key(n.sku) AS key
					UNION ALL
					SELECT f.no, sync.item_key(v.value)
					FROM unnest(number_fields) WITH ORDINALITY AS f (name, no),
						LATERAL jsonb_array_elements_text(CASE jsonb_typeof(n.metafields -> f.name)
							WHEN 'array' THEN n.metafields -> f.name ELSE jsonb_build_array(n.metafields ->> f.name) END) AS v (value)
				)
				SELECT c.no * 2 AS no, i.sold FROM candidate c CROSS JOIN LATERAL (
					SELECT coalesce(m.active, true) AND coalesce(m.sellable, true) AS sold FROM sync.xorosoft_item m
					WHERE m.connection = erp AND m.item_key = c.key AND m.gone_since IS NULL ORDER BY 1 DESC LIMIT 1) i
				UNION ALL
				SELECT c.no * 2 + 1, i.sold FROM candidate c CROSS JOIN LATERAL (
					SELECT coalesce(m.active, true) AND coalesce(m.sellable, true) AS sold FROM sync.xorosoft_item m
					WHERE m.connection = erp AND m.base_key = c.key AND m.gone_since IS NULL ORDER BY 1 DESC LIMIT 1) i
				UNION ALL
				(SELECT 1000, coalesce(m.active, true) AND coalesce(m.sellable, true) FROM sync.xorosoft_item m
				 WHERE m.connection = erp AND m.gtin = @extschema@.sync_gtin(n.barcode) AND m.gone_since IS NULL ORDER BY 2 DESC LIMIT 1)
			) hit ORDER BY hit.no, hit.sold DESC LIMIT 1
		) x ON true
		WHERE n.sold IS NULL AND x.sold IS NOT TRUE;
	END LOOP;
END
$$;

CREATE FUNCTION sync.work_xorosoft_validate(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET jit = off AS $$
DECLARE
	run record;
	found_out record;
	totals jsonb := '{}';
BEGIN
	FOR run IN
		SELECT r.id, r.context ->> 'xorosoft' AS erp, sum(least((j.payload ->> 'to')::bigint, sync.validation_products(r.feed_file_id))
														  - (j.payload ->> 'from')::bigint + 1) AS products
		FROM sync.job j JOIN sync.run r ON r.id = j.run_id WHERE j.id = ANY (job_ids) GROUP BY r.id
	LOOP
		WITH inserted AS (
			INSERT INTO sync.validation (run_id, feed_item_id, product_no, sku, status)
			SELECT run.id, m.feed_item_id, m.product_no, m.sku, CASE WHEN m.known THEN 'inactive' ELSE 'unknown' END
			FROM sync.validation_misses(run.id, job_ids) m
			ON CONFLICT ON CONSTRAINT validation_run_id_feed_item_id_key DO NOTHING
			RETURNING validation.sku, validation.status
		)
		SELECT count(*) FILTER (WHERE i.status = 'unknown') AS unknown, count(*) FILTER (WHERE i.status = 'inactive') AS inactive,
			array_agg(DISTINCT i.sku) FILTER (WHERE i.status = 'unknown') AS skus
		INTO found_out FROM inserted i;
		totals := jsonb_build_object('done', coalesce((totals ->> 'done')::bigint, 0) + run.products,
			'unknown', coalesce((totals ->> 'unknown')::bigint, 0) + found_out.unknown,
			'inactive', coalesce((totals ->> 'inactive')::bigint, 0) + found_out.inactive,
			'lookups', coalesce((totals ->> 'lookups')::bigint, 0) + sync.lookup_enqueue(run.id, run.erp, found_out.skus));
	END LOOP;
	RETURN totals;
END
$$;

-- Enqueues the look-ups of unknown numbers that are wanted, and marks their rows as pending.  Returns how many.
CREATE FUNCTION sync.lookup_enqueue(run_id bigint, erp text, skus text[]) RETURNS integer
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	wish constant text := sync.setting_value(erp, 'lookup_misses');
	ttl constant interval := sync.setting_value(erp, 'lookup_ttl');
	room bigint;
	chosen text[];
BEGIN
	IF wish NOT IN ('auto', 'always', 'never') THEN
		RAISE EXCEPTION 'setting "lookup_misses" cannot be "%"', wish
			USING ERRCODE = 'invalid_parameter_value', HINT = 'It is one of auto, always, never.';
	END IF;
	IF wish = 'never' OR skus IS NULL THEN
		RETURN 0;
	END IF;
	IF wish = 'auto' THEN
		-- Batches of one run validate side by side; the limit is the run's.
		PERFORM pg_advisory_xact_lock(hashtextextended('product_sync.lookup ' || lookup_enqueue.run_id, 0));
		SELECT greatest(0, sync.setting_value(erp, 'lookup_limit')::bigint - count(DISTINCT v.sku)) INTO room FROM sync.validation v
		WHERE v.run_id = lookup_enqueue.run_id AND (v.status = 'pending' OR v.looked_up);
	END IF;
	SELECT coalesce(array_agg(w.sku), '{}') INTO chosen FROM (
		SELECT s.sku FROM unnest(skus) s (sku)
		WHERE wish = 'always' OR NOT EXISTS (
			SELECT FROM sync.validation v JOIN sync.run r ON r.id = v.run_id
			WHERE v.sku = s.sku AND v.looked_up AND v.status = 'unknown' AND r.context ->> 'xorosoft' = erp AND r.created_at > now() - ttl)
		ORDER BY s.sku LIMIT room) w;
	UPDATE sync.validation v SET status = 'pending'
	WHERE v.run_id = lookup_enqueue.run_id AND v.sku = ANY (chosen) AND v.status = 'unknown';
	PERFORM sync.job_enqueue('xorosoft_lookup', lookup_enqueue.run_id, jsonb_build_object('sku', s.sku, 'connection', erp),
							 format('%s/%s', lookup_enqueue.run_id, s.sku))
	FROM unnest(chosen) s (sku);
	RETURN cardinality(chosen);
END
$$;

CREATE FUNCTION sync.request_xorosoft_lookup(job_ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	part record;
BEGIN
	FOR part IN
		SELECT w.erp, array_agg(w.id ORDER BY w.id) AS ids, array_agg(sync.xorosoft_request(w.erp, sync.setting_value(w.erp, 'lookup_path'),
				jsonb_build_object(sync.setting_value(w.erp, 'lookup_parameter'), w.sku)) ORDER BY w.id) AS requests
		FROM (SELECT j.id, j.payload ->> 'connection' AS erp, j.payload ->> 'sku' AS sku FROM sync.job j
			  WHERE j.id = ANY (job_ids) AND EXISTS (SELECT FROM sync.validation v WHERE v.run_id = j.run_id
													 AND v.sku = j.payload ->> 'sku' AND v.status = 'pending')) w
		GROUP BY w.erp ORDER BY w.erp
	LOOP
		RETURN QUERY SELECT s.job_id, s.request FROM sync.rate_schedule(part.erp, part.ids, part.requests) s;
	END LOOP;
END
$$;

-- The answers to many look-ups at once: found items into the mirror, then each number settled from the mirror.  A look-up that cannot
-- be had leaves its number unknown; it does not stop the run.
CREATE FUNCTION sync.response_xorosoft_lookup(job_ids bigint[], results jsonb[], bodies bytea[])
RETURNS TABLE (job_id bigint, outcome text, retry_in interval, error jsonb, counts jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	answer record;
	found_in record;
	settled bigint[] := '{}';
	failed bigint[] := '{}';
	tries integer;
	wait interval;
BEGIN
	FOR answer IN
		SELECT j.id, j.payload, j.payload ->> 'connection' AS erp, j.attempt, j.max_attempts, b.result, v.verdict, v.error
		FROM unnest(job_ids, results, bodies) AS b (id, result, body) JOIN sync.job j ON j.id = b.id,
			LATERAL sync.xorosoft_verdict(b.result, b.body) v
		ORDER BY j.payload ->> 'connection', j.id
	LOOP
		wait := sync.breaker_told(answer.erp, answer.id, sync.xorosoft_sign(answer.verdict, answer.result), answer.error);
		job_id := answer.id;
		outcome := 'done';
		retry_in := NULL;
		error := NULL;
		counts := '{"looked_up": 1}';
		tries := coalesce((answer.payload ->> 'empty')::integer, 0);
		IF answer.verdict = 'throttled' THEN
			outcome := 'defer';
			retry_in := sync.xorosoft_back_off(answer.erp, answer.id, answer.payload, answer.result);
		ELSIF answer.verdict = 'refused' AND tries < sync.setting_value(answer.erp, 'empty_page_retries')::integer THEN
			outcome := 'defer';
			retry_in := make_interval(secs => 2 ^ tries);
			UPDATE sync.job j SET payload = j.payload || jsonb_build_object('empty', tries + 1) WHERE j.id = answer.id;
		ELSIF answer.verdict = 'retry' AND wait IS NOT NULL THEN
			outcome := 'defer';
			retry_in := wait;
			error := answer.error;
		ELSIF answer.verdict = 'retry' AND answer.attempt < answer.max_attempts THEN
			outcome := 'retry';
			error := answer.error;
		ELSIF answer.verdict IN ('retry', 'fail') THEN
			failed := failed || answer.id;
			counts := '{"lookups_failed": 1}';
		ELSE
			settled := settled || answer.id;
		END IF;
		IF outcome <> 'done' THEN
			counts := '{}';
		END IF;
		RETURN NEXT;
	END LOOP;
	FOR found_in IN
		SELECT j.payload ->> 'connection' AS erp, array_agg(b.body ORDER BY j.id) AS bodies
		FROM unnest(job_ids, results, bodies) AS b (id, result, body) JOIN sync.job j ON j.id = b.id
		WHERE (b.result ->> 'ok')::boolean GROUP BY j.payload ->> 'connection'
	LOOP
		PERFORM sync.xorosoft_items_write(found_in.erp, NULL, false, found_in.bodies);
	END LOOP;
	PERFORM sync.lookup_settle(settled, true);
	PERFORM sync.lookup_settle(failed, false);
END
$$;

-- What the mirror now says of the numbers of some look-ups: sold (no longer listed), not sold, or unknown.
CREATE FUNCTION sync.lookup_settle(job_ids bigint[], answered boolean) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	WITH fate AS MATERIALIZED (
		SELECT j.run_id, j.payload ->> 'sku' AS sku, (
			SELECT coalesce(m.active, true) AND coalesce(m.sellable, true) FROM sync.xorosoft_item m
			WHERE m.connection = j.payload ->> 'connection' AND m.gone_since IS NULL
			  AND (m.item_key = sync.item_key(j.payload ->> 'sku') OR m.base_key = sync.item_key(j.payload ->> 'sku'))
			ORDER BY m.item_key = sync.item_key(j.payload ->> 'sku') DESC, 1 DESC LIMIT 1) AS sold
		FROM sync.job j WHERE j.id = ANY (job_ids)
	), cleared AS (
		DELETE FROM sync.validation v USING fate f WHERE v.run_id = f.run_id AND v.sku = f.sku AND v.status = 'pending' AND f.sold
	)
	UPDATE sync.validation v SET status = CASE WHEN f.sold IS NULL THEN 'unknown' ELSE 'inactive' END, looked_up = answered
	FROM fate f WHERE v.run_id = f.run_id AND v.sku = f.sku AND v.status = 'pending' AND f.sold IS NOT TRUE;
END
$$;

CREATE FUNCTION sync.validation_finish(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	UPDATE sync.validation v SET status = 'unknown' WHERE v.run_id = validation_finish.run_id AND v.status = 'pending';
	UPDATE sync.run r SET context = r.context || jsonb_build_object('validation',
		(SELECT jsonb_build_object('unknown', count(*) FILTER (WHERE v.status = 'unknown'),
								   'inactive', count(*) FILTER (WHERE v.status = 'inactive'))
		 FROM sync.validation v WHERE v.run_id = r.id))
	WHERE r.id = validation_finish.run_id AND r.context ? 'xorosoft';
END
$$;
COMMENT ON FUNCTION sync.validation_finish(bigint) IS
'Closes the xorosoft_validation phase of a run: what is still pending becomes unknown, and run.context.validation says how many rows the ERP does not know or no longer sells.';

-- The run that only keeps the mirror -----------------------------------------------------------------------------------------------

CREATE FUNCTION sync.xorosoft_begin(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	erp text;
BEGIN
	SELECT r.connection INTO erp FROM sync.run r WHERE r.id = xorosoft_begin.run_id;
	UPDATE sync.run_phase p SET unit = 'pages' WHERE p.run_id = xorosoft_begin.run_id AND p.ended_at IS NULL;
	PERFORM sync.xorosoft_crawl_ensure(erp, run_id, 'items', '0');
	PERFORM sync.xorosoft_crawl_ensure(erp, run_id, 'stock', '0');
END
$$;
COMMENT ON FUNCTION sync.xorosoft_begin(bigint) IS 'Enqueues the reading of items and stock for a run of kind xorosoft.';

CREATE FUNCTION @extschema@.sync_run_xorosoft() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
	PERFORM sync.paused_check(sync.connection_of('xorosoft'));
	RETURN sync.run_start('xorosoft', sync.connection_of('xorosoft'), 'manual');
END
$$;
ALTER FUNCTION @extschema@.sync_run_xorosoft() OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_run_xorosoft() TO sync_operator;
COMMENT ON FUNCTION @extschema@.sync_run_xorosoft() IS
'Starts a run that brings the mirror of Xorosoft''s items and stock up to date, and returns its id at once; where one is active, its id. No arguments. Errors: 55000 when no Xorosoft connection is enabled, or it is paused, 42P08 when several are.';
