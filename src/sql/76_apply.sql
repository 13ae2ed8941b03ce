-- Applying: what was approved goes into the catalogue, checked again against what the catalogue holds now, and becomes a version.
--
-- A batch is one transaction.  It takes the locks that it needs (entries, their fields, products, variants) without waiting: what
-- somebody holds at this moment is put off.  So a batch never waits while it holds something, and cannot deadlock with people.

CREATE FUNCTION sync.install_part_76_apply() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $install$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('apply_batch', '500', 'count', 'How many approved entries are applied in one transaction.')
	ON CONFLICT (name) DO NOTHING;
	INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, run_state, description) VALUES
		('apply_batch', false, 2, 1000, 10, 'syncing', 'Approved entries of a run: checked again, written to the catalogue, each a version.')
	ON CONFLICT (kind) DO NOTHING;
	PERFORM sync.install_manual_versions();
END
$install$;

CREATE FUNCTION sync.run_review_counts(run_id bigint, OUT pending bigint, OUT approved bigint, OUT applied bigint, OUT rejected bigint,
									   OUT failed bigint)
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	run constant bigint := run_review_counts.run_id;
BEGIN
	SELECT count(*) INTO pending FROM sync.staging s WHERE s.run_id = run AND s.state = 'open' AND s.decision = 'pending';
	-- Those on their way to a shop are not there yet.
	SELECT count(*) INTO approved FROM sync.staging s WHERE s.run_id = run AND s.state::text IN ('open', 'sending') AND s.decision = 'approved';
	SELECT count(*) FILTER (WHERE s.state = 'applied'), count(*) FILTER (WHERE s.state = 'rejected'), count(*) FILTER (WHERE s.state = 'failed')
	INTO applied, rejected, failed
	FROM sync.staging s WHERE s.run_id = run AND s.state IN ('applied', 'rejected', 'failed');
END
$$;
COMMENT ON FUNCTION sync.run_review_counts(bigint) IS 'How many entries of a run wait for a decision, are approved but not applied, are applied, rejected, failed.';

CREATE FUNCTION sync.apply_begin(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
	UPDATE sync.run_phase p
	SET total = (SELECT count(*) FROM sync.staging s WHERE s.run_id = apply_begin.run_id AND s.state = 'open' AND s.decision = 'approved'),
		unit = 'products'
	WHERE p.id = (SELECT max(o.id) FROM sync.run_phase o WHERE o.run_id = apply_begin.run_id AND o.ended_at IS NULL);
	PERFORM sync.job_enqueue('apply_batch', apply_begin.run_id);
END
$$;

-- Approved entries of a run, in the order of their ids, locked with all that applying them touches; one entry for a product.
CREATE FUNCTION sync.apply_take(run_id bigint, most integer) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	ids bigint[];
	product_ids bigint[];
	busy bigint[];
BEGIN
	SELECT array_agg(t.id ORDER BY t.id), array_agg(DISTINCT t.product_id) INTO ids, product_ids
	FROM (SELECT s.id, s.product_id FROM sync.staging s
		  WHERE s.run_id = apply_take.run_id AND s.state = 'open' AND s.decision = 'approved'
		  ORDER BY s.id LIMIT most FOR UPDATE SKIP LOCKED) t;
	IF ids IS NULL THEN
		RETURN '{}'::bigint[];
	END IF;
	WITH field AS (SELECT f.id FROM sync.staging_field f WHERE f.staging_id = ANY (ids) FOR UPDATE SKIP LOCKED)
	SELECT array_agg(f.staging_id) INTO busy
	FROM sync.staging_field f WHERE f.staging_id = ANY (ids) AND f.id NOT IN (SELECT l.id FROM field l);
	WITH product AS (SELECT p.id FROM sync.product p WHERE p.id = ANY (product_ids) FOR NO KEY UPDATE SKIP LOCKED),
	variant AS (SELECT v.id FROM sync.variant v WHERE v.product_id = ANY (product_ids) FOR NO KEY UPDATE SKIP LOCKED)
	SELECT coalesce(busy, '{}') || array_agg(s.id) INTO busy
	FROM sync.staging s
	WHERE s.id = ANY (ids)
	  AND (s.product_id IN (SELECT p.id FROM sync.product p WHERE p.id = ANY (product_ids) AND p.id NOT IN (SELECT l.id FROM product l))
		   OR s.product_id IN (SELECT v.product_id FROM sync.variant v
							   WHERE v.product_id = ANY (product_ids) AND v.id NOT IN (SELECT l.id FROM variant l)));
	RETURN ARRAY(SELECT DISTINCT ON (coalesce(s.product_id, -s.id)) s.id FROM sync.staging s
				 WHERE s.id = ANY (ids) AND s.id <> ALL (coalesce(busy, '{}'))
				 ORDER BY coalesce(s.product_id, -s.id), s.id);
END
$$;

-- Sends entries back to review: their fields get the catalogue's present values to be compared with.
CREATE FUNCTION sync.apply_send_back(entry_ids bigint[], reasons text[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	UPDATE sync.staging_field f
	SET old_value = sync.document_get(d.document, f.path), base_version = d.version,
		decision = CASE f.decision WHEN 'approved' THEN 'pending' ELSE f.decision END,
		decided_by = CASE WHEN f.decision <> 'approved' THEN f.decided_by END,
		decided_at = CASE WHEN f.decision <> 'approved' THEN f.decided_at END,
		decided_how = CASE WHEN f.decision <> 'approved' THEN f.decided_how END
	FROM sync.staging s
	JOIN sync.product_documents((SELECT array_agg(o.product_id) FROM sync.staging o WHERE o.id = ANY (entry_ids))) d ON d.product_id = s.product_id
	WHERE s.id = ANY (entry_ids) AND f.staging_id = s.id;
	UPDATE sync.staging s
	SET decision = 'pending', decided_by = NULL, decided_at = NULL, decided_how = NULL, reason = b.reason,
		flags = array_append(array_remove(s.flags, 'stale'), 'stale'),
		base_version = coalesce((SELECT p.version FROM sync.product p WHERE p.id = s.product_id), s.base_version)
	FROM unnest(entry_ids, reasons) AS b (id, reason)
	WHERE s.id = b.id;
END
$$;

-- Updates that cannot go on as they were approved, with why: the product is gone, or a value is no longer what was to be replaced.
-- That the version moved does not matter by itself: another field may have changed.
CREATE FUNCTION sync.apply_stale(entry_ids bigint[]) RETURNS TABLE (id bigint, gone boolean, reason text)
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	product_ids bigint[] := (SELECT array_agg(s.product_id) FROM sync.staging s WHERE s.id = ANY (entry_ids) AND s.kind = 'update');
BEGIN
	RETURN QUERY
	WITH document AS MATERIALIZED (SELECT d.product_id, d.version, d.document FROM sync.product_documents(product_ids) d),
	field AS (
		SELECT s.id, f.path, f.old_value, f.new_value, d.version, s.base_version, sync.document_get(d.document, f.path) AS present, d.document
		FROM sync.staging s
		JOIN document d ON d.product_id = s.product_id
		JOIN sync.entry_fields(entry_ids) f ON f.staging_id = s.id AND f.decision = 'approved'
		WHERE s.id = ANY (entry_ids) AND s.kind = 'update')
	SELECT f.id, false, format('%s changed here after this was staged (version %s, then %s); decide again',
		string_agg(f.path, ', ' ORDER BY f.path), min(f.base_version), min(f.version))
	FROM field f
	CROSS JOIN LATERAL sync.document_path(f.path) AS k
	WHERE (f.present IS DISTINCT FROM f.old_value AND f.present IS DISTINCT FROM f.new_value)
	   OR (cardinality(k) > 2 AND k[1] = 'variants' AND NOT (f.document -> 'variants') ? k[2])
	GROUP BY f.id
	UNION ALL
	SELECT s.id, true, format('product %s is no longer in the catalogue', s.product_id)
	FROM sync.staging s
	WHERE s.id = ANY (entry_ids) AND s.kind = 'update' AND s.product_id NOT IN (SELECT d.product_id FROM document d)
	UNION ALL
	SELECT s.id, false, format('SKU %s is another product''s in the catalogue; reject this, or change the SKU there and decide again', string_agg(v.sku, ', ' ORDER BY v.sku))
	FROM sync.staging s
	CROSS JOIN LATERAL (
		SELECT jsonb_object_keys(s.document -> 'variants') AS sku WHERE s.kind = 'create'
		UNION ALL
		SELECT (sync.document_path(f.path))[2] FROM sync.staging_field f
		WHERE f.staging_id = s.id AND f.decision = 'approved' AND f.path LIKE 'variants[%]' AND cardinality(sync.document_path(f.path)) = 2) n
	JOIN sync.variant v ON v.sku = n.sku AND v.product_id IS DISTINCT FROM s.product_id
	WHERE s.id = ANY (entry_ids)
	GROUP BY s.id;
END
$$;

-- The version row of each applied entry.
CREATE FUNCTION sync.versions_write(entry_ids bigint[], product_ids bigint[], versions integer[], documents jsonb[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
BEGIN
	PERFORM sync.version_add(g.product_ids, g.versions, g.kind, p.whole, p.fields, g.source, g.run_id, g.ids, g.actors, g.approved)
	FROM (SELECT array_agg(w.product_id) AS product_ids, array_agg(w.version) AS versions, w.kind, array_agg(w.document) AS documents,
				 array_agg(w.changes) AS changes, w.source, w.run_id, array_agg(w.id) AS ids, array_agg(w.decided_by) AS actors,
				 array_agg(w.decided_at) AS approved
		  FROM (SELECT a.product_id, a.version, CASE s.method WHEN 'rollback' THEN 'rollback' ELSE s.kind::text END AS kind, a.document,
					   (SELECT jsonb_object_agg(f.path, jsonb_build_object('old', f.old_value, 'new', f.new_value))
						FROM sync.staging_field f WHERE f.staging_id = s.id AND f.decision = 'approved') AS changes,
					   coalesce(s.connection, s.method) AS source, s.run_id, s.id, s.decided_by, s.decided_at
				FROM unnest(entry_ids, product_ids, versions, documents) AS a (id, product_id, version, document)
				JOIN sync.staging s ON s.id = a.id
				ORDER BY a.id) w
		  GROUP BY w.kind, w.source, w.run_id) g
	CROSS JOIN LATERAL sync.version_prepare(g.product_ids, g.kind, g.documents, g.changes) p;
	UPDATE sync.staging s
	SET state = 'applied', applied_version = a.version, applied_at = now(), product_id = a.product_id, error = NULL
	FROM unnest(entry_ids, product_ids, versions) AS a (id, product_id, version)
	WHERE s.id = a.id;
END
$$;

-- Applies new products.  A handle that is taken gets the product's id behind it.
CREATE FUNCTION sync.apply_creates(entry_ids bigint[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
DECLARE
	ids bigint[];
	product_ids bigint[];
	documents jsonb[];
BEGIN
	WITH entry AS MATERIALIZED (
		SELECT s.id, s.document, nextval(pg_get_serial_sequence('sync.product', 'id')) AS product_id
		FROM sync.staging s WHERE s.id = ANY (entry_ids) AND s.kind = 'create' ORDER BY s.id),
	named AS (
		SELECT e.id, e.product_id,
			   CASE WHEN e.document ? 'handle' AND (EXISTS (SELECT FROM sync.product p WHERE p.handle = e.document ->> 'handle')
													OR row_number() OVER (PARTITION BY e.document ->> 'handle' ORDER BY e.id) > 1)
					THEN jsonb_set(e.document, '{handle}', to_jsonb((e.document ->> 'handle') || '-' || e.product_id))
					ELSE e.document END AS document
		FROM entry e)
	SELECT array_agg(n.id ORDER BY n.id), array_agg(n.product_id ORDER BY n.id), array_agg(n.document ORDER BY n.id)
	INTO ids, product_ids, documents FROM named n;
	IF ids IS NULL THEN
		RETURN 0;
	END IF;
	PERFORM sync.products_create(product_ids, documents);
	PERFORM sync.versions_write(ids, product_ids, array_fill(1, ARRAY[cardinality(ids)]), documents);
	RETURN cardinality(ids);
END
$$;

-- Applies the approved fields of updates.  An entry whose values are all there already makes no version.
CREATE FUNCTION sync.apply_updates(entry_ids bigint[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
DECLARE
	ids bigint[];
	product_ids bigint[];
	versions integer[];
	documents jsonb[];
	all_products bigint[] := (SELECT array_agg(s.product_id) FROM sync.staging s WHERE s.id = ANY (entry_ids) AND s.kind = 'update');
	same bigint[];
BEGIN
	IF all_products IS NULL THEN
		RETURN 0;
	END IF;
	WITH entry AS MATERIALIZED (
		SELECT s.id, s.product_id, d.version, d.document, sync.document_patch_all(d.document, c.paths, c.new_values) AS patched
		FROM sync.staging s
		JOIN sync.product_documents(all_products) d ON d.product_id = s.product_id
		CROSS JOIN LATERAL (SELECT coalesce(array_agg(f.path ORDER BY f.path), '{}') AS paths,
								   coalesce(array_agg(f.new_value ORDER BY f.path), '{}') AS new_values
							FROM sync.staging_field f WHERE f.staging_id = s.id AND f.decision = 'approved') c
		WHERE s.id = ANY (entry_ids) AND s.kind = 'update')
	SELECT array_agg(e.id ORDER BY e.id) FILTER (WHERE e.changed), array_agg(e.product_id ORDER BY e.id) FILTER (WHERE e.changed),
		   array_agg(e.version + 1 ORDER BY e.id) FILTER (WHERE e.changed), array_agg(e.patched ORDER BY e.id) FILTER (WHERE e.changed),
		   array_agg(e.id) FILTER (WHERE NOT e.changed)
	INTO ids, product_ids, versions, documents, same
	FROM (SELECT n.*, n.patched <> n.document AS changed FROM entry n) e;

	UPDATE sync.staging s SET state = 'applied', applied_at = now(), applied_version = p.version
	FROM sync.product p WHERE s.id = ANY (same) AND p.id = s.product_id;
	IF ids IS NOT NULL THEN
		PERFORM sync.products_write(product_ids, versions, documents, array_agg(k.product_id), array_agg(k.sku))
		FROM (SELECT DISTINCT e.product_id, (sync.document_path(f.path))[2] AS sku
			  FROM unnest(ids, product_ids) AS e (id, product_id)
			  JOIN sync.entry_fields(ids) f ON f.staging_id = e.id AND f.decision = 'approved' AND starts_with(f.path, 'variants[')) k;
		PERFORM sync.versions_write(ids, product_ids, versions, documents);
	END IF;
	RETURN coalesce(cardinality(ids), 0) + coalesce(cardinality(same), 0);
END
$$;

-- What is known of the supplier's SKUs once their entries are applied.
CREATE FUNCTION sync.apply_links(entry_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
BEGIN
	INSERT INTO sync.variant_source AS o (connection, supplier_sku, variant_id, staging_id)
	SELECT DISTINCT ON (l.connection, l.sku) l.connection, l.sku, l.variant_id, l.id
	FROM (SELECT s.connection, s.id, k.key AS sku, k.value::bigint AS variant_id, 1 AS rank
		  FROM sync.staging s CROSS JOIN LATERAL jsonb_each_text(s.links) k
		  WHERE s.id = ANY (entry_ids) AND s.state = 'applied' AND EXISTS (SELECT FROM sync.variant v WHERE v.id = k.value::bigint)
		  UNION ALL
		  SELECT s.connection, s.id, v.sku, v.id, 2
		  FROM sync.staging s JOIN sync.variant v ON v.product_id = s.product_id
		  WHERE s.id = ANY (entry_ids) AND s.state = 'applied'
			AND (s.kind = 'create' OR EXISTS (SELECT FROM sync.staging_field f
											  WHERE f.staging_id = s.id AND f.decision = 'approved' AND f.path = sync.variant_path(v.sku)))) l
	JOIN sync.connection c ON c.name = l.connection AND c.kind = 'etilize'
	-- The newest entry counts, and in it the variant that it made itself.
	ORDER BY l.connection, l.sku, l.id DESC, l.rank DESC
	ON CONFLICT (connection, supplier_sku) DO UPDATE
	SET variant_id = excluded.variant_id, staging_id = excluded.staging_id, confirmed_at = now()
	WHERE o.variant_id <> excluded.variant_id;
END
$$;

-- Applies entries: all together, or where one of them has a value that the catalogue refuses, one by one; that one fails, with why.
CREATE FUNCTION sync.apply_entries(entry_ids bigint[], OUT applied bigint, OUT failed bigint)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	id bigint;
	part record;
BEGIN
	failed := 0;
	BEGIN
		applied := sync.apply_creates(entry_ids) + sync.apply_updates(entry_ids);
		PERFORM sync.apply_links(entry_ids);
		PERFORM sync.shop_links_apply(entry_ids);
		PERFORM sync.shop_applied(entry_ids);
		RETURN;
	EXCEPTION WHEN data_exception OR integrity_constraint_violation OR cardinality_violation OR program_limit_exceeded THEN
		applied := 0;
		IF cardinality(entry_ids) = 1 AND SQLSTATE = '23505' THEN
			PERFORM sync.apply_send_back(entry_ids, ARRAY[format('%s; decide again', SQLERRM)]);
			RETURN;
		ELSIF cardinality(entry_ids) = 1 THEN
			failed := 1;
			UPDATE sync.staging s SET state = 'failed', error = format('%s (%s)', SQLERRM, SQLSTATE) WHERE s.id = entry_ids[1];
			RETURN;
		END IF;
	END;
	FOREACH id IN ARRAY entry_ids LOOP
		SELECT * INTO part FROM sync.apply_entries(ARRAY[id]);
		applied := applied + part.applied;
		failed := failed + part.failed;
	END LOOP;
END
$$;

CREATE FUNCTION sync.apply_run(run_id bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	run record;
	ids bigint[];
	back bigint[];
	reasons text[];
	gone bigint[];
	result record;
	rest boolean;
	failed bigint;
	sent_back bigint;
BEGIN
	SELECT r.id, r.connection, r.kind::text AS kind INTO STRICT run FROM sync.run r WHERE r.id = apply_run.run_id;
	IF run.kind = 'shopify_up' THEN
		RETURN sync.push_run(run.id);
	END IF;
	PERFORM sync.identity_catch_up();
	ids := sync.apply_take(run.id, greatest(sync.setting_value(run.connection, 'apply_batch')::integer, 1));
	SELECT array_agg(t.id ORDER BY t.id) FILTER (WHERE NOT t.gone), array_agg(t.reason ORDER BY t.id) FILTER (WHERE NOT t.gone),
		   array_agg(t.id) FILTER (WHERE t.gone)
	INTO back, reasons, gone
	FROM (SELECT DISTINCT ON (w.id) w.id, w.gone, w.reason
		  FROM (SELECT * FROM sync.apply_stale(ids) UNION ALL SELECT k.id, false, k.reason FROM sync.apply_locked(ids) k) w ORDER BY w.id, w.gone DESC) t;
	IF back IS NOT NULL THEN
		PERFORM sync.apply_send_back(back, reasons);
	END IF;
	UPDATE sync.staging s SET state = 'failed', error = format('product %s is no longer in the catalogue', s.product_id)
	WHERE s.id = ANY (gone);
	SELECT * INTO result FROM sync.apply_entries(ARRAY(SELECT i FROM unnest(ids) i WHERE i <> ALL (coalesce(back || gone, '{}'))
													   ORDER BY i));
	failed := result.failed + coalesce(cardinality(gone), 0);
	sent_back := cardinality(ids) - result.applied - failed;
	IF result.applied > 0 THEN
		PERFORM sync.catalogue_changed();
	END IF;
	PERFORM sync.notify_review(run.id, sent_back);
	rest := EXISTS (SELECT FROM sync.staging s WHERE s.run_id = run.id AND s.state = 'open' AND s.decision = 'approved');
	IF rest THEN
		-- What could not be locked is held by somebody: a moment later.
		PERFORM sync.job_enqueue('apply_batch', run.id,
			run_at => CASE WHEN cardinality(ids) > 0 THEN now() ELSE clock_timestamp() + interval '1 second' END);
	END IF;
	RETURN jsonb_build_object('done', cardinality(ids), 'applied', result.applied, 'failed', failed, 'stale', sent_back);
END
$$;

CREATE FUNCTION sync.work_apply_batch(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
	id bigint;
	counts jsonb := '{}'::jsonb;
BEGIN
	FOR id IN SELECT DISTINCT j.run_id FROM sync.job j WHERE j.id = ANY (job_ids) AND j.run_id IS NOT NULL ORDER BY j.run_id LOOP
		counts := sync.counts_add(counts, sync.apply_run(id));
	END LOOP;
	RETURN counts;
END
$$;
ALTER FUNCTION sync.work_apply_batch(bigint[]) OWNER TO sync_worker;

CREATE FUNCTION @extschema@.sync_apply(run_id bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	review record;
BEGIN
	IF NOT EXISTS (SELECT FROM sync.run r WHERE r.id = sync_apply.run_id) THEN
		RAISE EXCEPTION 'there is no run %', run_id USING ERRCODE = 'no_data_found';
	END IF;
	SELECT * INTO review FROM sync.run_review_counts(run_id);
	IF review.approved > 0 OR review.pending = 0 THEN
		PERFORM sync.job_enqueue('apply_batch', sync_apply.run_id);
	END IF;
	RETURN review.approved;
END
$$;
ALTER FUNCTION @extschema@.sync_apply(bigint) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_apply(bigint) TO sync_operator;
COMMENT ON FUNCTION @extschema@.sync_apply(bigint) IS
'Enqueues the applying of a run''s approved entries; needed only where the setting apply_on_approval is false, or after the extension was away. Returns how many entries are approved. Error P0002 when there is no such run.';

-- Edits by hand ------------------------------------------------------------------------------------------------------------------

-- Everybody but sync_worker edits the catalogue by hand: each statement makes a version of each product that it changes.  Loading
-- products and their variants before anything else has changed them does not.  Ordinary objects, which work without the extension.
CREATE FUNCTION sync.install_manual_versions() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $install$
BEGIN
	-- A product's own fields by path, from its row as jsonb.
	CREATE OR REPLACE FUNCTION sync.product_fields(product jsonb) RETURNS TABLE (path text, value jsonb)
	LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
		SELECT e.key, e.value FROM jsonb_each(product) e
		WHERE e.key IN ('handle', 'title', 'description', 'vendor', 'type', 'tags', 'images', 'status') AND e.value <> 'null'
		UNION ALL
		SELECT m.name || '.' || e.key, e.value
		FROM unnest(ARRAY['metafields', 'attributes']) m (name) CROSS JOIN LATERAL jsonb_each(product -> m.name) e
	$$;
	-- variants[SKU], as C's diff_path_format() writes it.
	CREATE OR REPLACE FUNCTION sync.variant_path(sku text) RETURNS text
	LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
		SELECT 'variants[' || CASE WHEN sku ~ '["\\\[\]\x01-\x1f]' THEN to_json(sku)::text ELSE sku END || ']'
	$$;
	CREATE OR REPLACE FUNCTION sync.variant_fields(variant jsonb) RETURNS TABLE (path text, value jsonb)
	LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
		SELECT sync.variant_path(variant ->> 'sku') || '.' || e.key,
			   CASE jsonb_typeof(e.value) WHEN 'number' THEN to_jsonb(trim_scale(e.value::numeric)) ELSE e.value END
		FROM jsonb_each(variant) e
		WHERE e.key IN ('barcode', 'mpn', 'price', 'compare_at_price', 'cost', 'currency', 'weight') AND e.value <> 'null'
		UNION ALL
		SELECT sync.variant_path(variant ->> 'sku') || '.' || m.name || '.' || e.key, e.value
		FROM unnest(ARRAY['options', 'attributes']) m (name) CROSS JOIN LATERAL jsonb_each(variant -> m.name) e
	$$;
	CREATE OR REPLACE FUNCTION sync.variant_document(variant jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
		SELECT coalesce((SELECT jsonb_object_agg(e.key, CASE jsonb_typeof(e.value) WHEN 'number' THEN to_jsonb(trim_scale(e.value::numeric)) ELSE e.value END)
						 FROM jsonb_each(variant) e
						 WHERE e.key IN ('barcode', 'mpn', 'price', 'compare_at_price', 'cost', 'currency', 'weight') AND e.value <> 'null'), '{}')
			   || jsonb_build_object('options', variant -> 'options', 'attributes', variant -> 'attributes')
	$$;

	-- Adds a version of each of these products; changes holds {"path": {"old":, "new":}}.
	CREATE OR REPLACE FUNCTION sync.manual_versions(product_ids bigint[], changes jsonb[]) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
	DECLARE
		who record;
		versions integer[];
		due bigint[];
		documents jsonb[];
	BEGIN
		SELECT d.decided_by, d.decided_how INTO who FROM sync.decision_by() d;
		PERFORM FROM sync.product p WHERE p.id = ANY (product_ids) ORDER BY p.id FOR NO KEY UPDATE;
		UPDATE sync.product p SET version = p.version + 1, updated_at = now() WHERE p.id = ANY (product_ids);
		versions := ARRAY(SELECT p.version FROM unnest(product_ids) WITH ORDINALITY AS c (id, no) JOIN sync.product p ON p.id = c.id ORDER BY c.no);
		due := ARRAY(SELECT c.id FROM unnest(product_ids, versions) AS c (id, version)
					 WHERE sync.version_is_snapshot(c.version, sync.version_snapshot_every()));
		-- Without the extension there is no document: the version is read from the snapshot after it, backwards.
		IF due <> '{}' AND to_regprocedure('sync.product_documents(bigint[])') IS NOT NULL THEN
			EXECUTE 'SELECT array_agg(d.document ORDER BY c.no) FROM unnest($1) WITH ORDINALITY AS c (id, no) '
				'LEFT JOIN sync.product_documents($2) d ON d.product_id = c.id' INTO documents USING product_ids, due;
		END IF;
		PERFORM sync.version_add(product_ids, versions, 'manual', documents, changes, who.decided_how, NULL, NULL,
								 array_fill(who.decided_by, ARRAY[cardinality(product_ids)]), NULL);
		IF to_regprocedure('sync.catalogue_changed()') IS NOT NULL THEN
			EXECUTE 'SELECT sync.catalogue_changed()';
		END IF;
	END
	$$;
	REVOKE ALL ON FUNCTION sync.manual_versions(bigint[], jsonb[]) FROM PUBLIC;

	CREATE OR REPLACE FUNCTION sync.product_stamp() RETURNS trigger
	LANGUAGE plpgsql SET search_path = '' AS $$
	BEGIN
		NEW.version := OLD.version;
		NEW.updated_at := now();
		RETURN NEW;
	END
	$$;

	-- gtin is read from barcode.  Without the extension it is left empty, and matching reads the barcode itself.
	CREATE OR REPLACE FUNCTION sync.variant_gtin() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
	BEGIN
		IF NEW.barcode IS DISTINCT FROM OLD.barcode AND NEW.gtin IS NOT DISTINCT FROM OLD.gtin THEN
			NEW.gtin := NULL;
			IF to_regprocedure('@extschema@.sync_gtin(text)') IS NOT NULL THEN
				EXECUTE 'SELECT @extschema@.sync_gtin($1)' INTO NEW.gtin USING NEW.barcode;
			END IF;
		END IF;
		RETURN NEW;
	END
	$$;

	CREATE OR REPLACE FUNCTION sync.product_edited() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
	BEGIN
		PERFORM sync.manual_versions(array_agg(c.id ORDER BY c.id), array_agg(c.changes ORDER BY c.id))
		FROM (SELECT n.id, jsonb_object_agg(f.path, f.change) AS changes
			  FROM new_product n JOIN old_product o ON o.id = n.id
			  CROSS JOIN LATERAL (
				  SELECT coalesce(a.path, b.path) AS path, jsonb_build_object('old', a.value, 'new', b.value) AS change
				  FROM sync.product_fields(to_jsonb(o)) a FULL JOIN sync.product_fields(to_jsonb(n)) b ON b.path = a.path
				  WHERE a.value IS DISTINCT FROM b.value) f
			  GROUP BY n.id) c
		HAVING count(*) > 0;
		RETURN NULL;
	END
	$$;

	CREATE OR REPLACE FUNCTION sync.variant_updated() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
	BEGIN
		-- A variant that got another SKU, or went to another product, is gone under its old name and new under the other.
		PERFORM sync.manual_versions(array_agg(c.product_id ORDER BY c.product_id), array_agg(c.changes ORDER BY c.product_id))
		FROM (SELECT f.product_id, jsonb_object_agg(f.path, jsonb_build_object('old', f.old, 'new', f.new)) AS changes
			  FROM (SELECT coalesce(a.product_id, b.product_id) AS product_id, coalesce(a.path, b.path) AS path, a.value AS old, b.value AS new
					FROM (SELECT o.product_id, g.path, g.value FROM old_variant o JOIN new_variant n USING (id, sku, product_id), sync.variant_fields(to_jsonb(o)) g) a
					FULL JOIN (SELECT n.product_id, g.path, g.value FROM new_variant n JOIN old_variant o USING (id, sku, product_id), sync.variant_fields(to_jsonb(n)) g) b
						ON b.product_id = a.product_id AND b.path = a.path
					WHERE a.value IS DISTINCT FROM b.value
					UNION ALL
					SELECT o.product_id, sync.variant_path(o.sku), sync.variant_document(to_jsonb(o)), NULL
					FROM old_variant o JOIN new_variant n ON n.id = o.id AND (n.sku, n.product_id) <> (o.sku, o.product_id)
					UNION ALL
					SELECT n.product_id, sync.variant_path(n.sku), NULL, sync.variant_document(to_jsonb(n))
					FROM new_variant n JOIN old_variant o ON n.id = o.id AND (n.sku, n.product_id) <> (o.sku, o.product_id)) f
			  GROUP BY f.product_id) c
		HAVING count(*) > 0;
		RETURN NULL;
	END
	$$;

	CREATE OR REPLACE FUNCTION sync.variant_inserted() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
	BEGIN
		PERFORM sync.manual_versions(array_agg(c.product_id ORDER BY c.product_id), array_agg(c.changes ORDER BY c.product_id))
		FROM (SELECT n.product_id, jsonb_object_agg(sync.variant_path(n.sku),
					 jsonb_build_object('old', NULL, 'new', sync.variant_document(to_jsonb(n)))) AS changes
			  FROM new_variant n JOIN sync.product p ON p.id = n.product_id AND p.version > 0
			  GROUP BY n.product_id) c
		HAVING count(*) > 0;
		RETURN NULL;
	END
	$$;

	CREATE OR REPLACE FUNCTION sync.variant_deleted() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
	BEGIN
		PERFORM sync.manual_versions(array_agg(c.product_id ORDER BY c.product_id), array_agg(c.changes ORDER BY c.product_id))
		FROM (SELECT o.product_id, jsonb_object_agg(sync.variant_path(o.sku),
					 jsonb_build_object('old', sync.variant_document(to_jsonb(o)), 'new', NULL)) AS changes
			  FROM old_variant o JOIN sync.product p ON p.id = o.product_id
			  GROUP BY o.product_id) c
		HAVING count(*) > 0;
		RETURN NULL;
	END
	$$;

	CREATE OR REPLACE TRIGGER product_1_stamp BEFORE UPDATE ON sync.product
		FOR EACH ROW WHEN (current_user <> 'sync_worker') EXECUTE FUNCTION sync.product_stamp();
	CREATE OR REPLACE TRIGGER product_2_edited AFTER UPDATE ON sync.product
		REFERENCING OLD TABLE AS old_product NEW TABLE AS new_product
		FOR EACH STATEMENT WHEN (current_user <> 'sync_worker') EXECUTE FUNCTION sync.product_edited();
	CREATE OR REPLACE TRIGGER variant_0_gtin BEFORE UPDATE OF barcode ON sync.variant
		FOR EACH ROW WHEN (current_user <> 'sync_worker') EXECUTE FUNCTION sync.variant_gtin();
	CREATE OR REPLACE TRIGGER variant_1_inserted AFTER INSERT ON sync.variant REFERENCING NEW TABLE AS new_variant
		FOR EACH STATEMENT WHEN (current_user <> 'sync_worker') EXECUTE FUNCTION sync.variant_inserted();
	CREATE OR REPLACE TRIGGER variant_2_updated AFTER UPDATE ON sync.variant
		REFERENCING OLD TABLE AS old_variant NEW TABLE AS new_variant
		FOR EACH STATEMENT WHEN (current_user <> 'sync_worker') EXECUTE FUNCTION sync.variant_updated();
	CREATE OR REPLACE TRIGGER variant_3_deleted AFTER DELETE ON sync.variant REFERENCING OLD TABLE AS old_variant
		FOR EACH STATEMENT WHEN (current_user <> 'sync_worker') EXECUTE FUNCTION sync.variant_deleted();
END
$install$;
