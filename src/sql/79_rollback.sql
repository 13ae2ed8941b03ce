-- Rolling back: what a product was, or what it was before a run, is staged like any other change and applied when a person approves it.
--
-- A rollback is a run of kind rollback and of no connection.  It is staged at once and waits in manual_review; nothing of it is approved by
-- itself.  Its entries have the method rollback.  A field that somebody else changed after the run that is undone is staged as rejected
-- already (decided_how: kept), so that approving the entry leaves it as it is; a person who wants it undone all the same approves it.
--
-- What an entry undoes is in its evidence, by path the source of the value that goes, and that value.  Once the rollback is applied it
-- counts as a value that a person rejected: the next feed that brings it again does not stage it (sync.refused_fields()), until the feed's
-- value changes or the rollback is itself rolled back.  That goes for fields that were kept too.

CREATE FUNCTION sync.install_part_79_rollback() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	INSERT INTO sync.run_transition (from_state, to_state, meaning) VALUES
		('idle', 'staging_creation', 'a rollback, whose changes are known')
	ON CONFLICT DO NOTHING;
END
$$;

-- A field that is to be as it was.  kept: why it is left as it is, where somebody else changed it since.
CREATE TYPE sync.rollback_field AS (product_id bigint, path text, new_value jsonb, source text, undone jsonb, kept text);

-- A new run for entries; they are staged in the same transaction.
CREATE FUNCTION sync.rollback_begin(context jsonb) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	new_id bigint;
BEGIN
	INSERT INTO sync.run (kind, connection, active, context) VALUES ('rollback'::sync.run_kind, NULL, false, context) RETURNING id INTO new_id;
	INSERT INTO sync.run_phase (run_id, state, attempt) VALUES (new_id, 'idle', 1);
	PERFORM pg_notify('sync_run', json_build_object('run', new_id, 'kind', 'rollback', 'state', 'idle', 'at', clock_timestamp())::text);
	PERFORM sync.run_move(new_id, 'staging_creation');
	RETURN new_id;
END
$$;

-- The run has all its entries: it waits for people.
CREATE FUNCTION sync.rollback_ready(run_id bigint, counts jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	products constant bigint := rollback_ready.counts ->> 'products';
BEGIN
	UPDATE sync.run_phase p SET done = products, total = products, unit = 'products', counts = rollback_ready.counts
	WHERE p.run_id = rollback_ready.run_id AND p.ended_at IS NULL;
	UPDATE sync.run r SET counts = rollback_ready.counts WHERE r.id = rollback_ready.run_id;
	PERFORM sync.run_move(rollback_ready.run_id, 'review_pending');
	PERFORM sync.run_leave_review_pending(rollback_ready.run_id);
	PERFORM sync.notify_review(rollback_ready.run_id, (rollback_ready.counts ->> 'staged')::bigint);
END
$$;

-- Stages fields, one entry a product.  A product of which nothing differs, or all is kept, has an entry that is rejected already: it says
-- so, and what it undoes counts.
CREATE FUNCTION sync.rollback_stage(run_id bigint, fields sync.rollback_field[], words text, OUT staged bigint, OUT kept bigint)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
BEGIN
	WITH wanted AS MATERIALIZED (
		SELECT f.product_id, f.path, v.old_value, v.new_value, v.old_value IS DISTINCT FROM v.new_value AND NOT g.gone AS differs, g.gone,
			   f.source, f.undone, f.kept, d.version, d.document
		FROM unnest(fields) f
		JOIN sync.product_documents(ARRAY(SELECT DISTINCT f.product_id FROM unnest(fields) f)) d ON d.product_id = f.product_id
		CROSS JOIN LATERAL (SELECT sync.document_get(d.document, f.path) AS old_value, nullif(f.new_value, 'null') AS new_value OFFSET 0) v
		-- A field of a variant that was renamed or deleted since: nobody could apply it.
		CROSS JOIN LATERAL (
			SELECT k.sku IS NOT NULL AND NOT k.whole AND NOT d.document -> 'variants' ? k.sku AS gone FROM sync.path_sku(f.path) k) g),
	product AS MATERIALIZED (
		SELECT w.product_id, min(w.version) AS version, (array_agg(w.document))[1] AS document,
			   array_agg(sync.path_label(w.path, true) ORDER BY w.path COLLATE "C") FILTER (WHERE w.differs AND w.kept IS NULL) AS labels,
			   count(*) FILTER (WHERE (w.differs OR w.gone) AND w.kept IS NOT NULL) AS n_kept,
			   bool_or(w.old_value IS NOT NULL AND w.kept IS NULL AND w.new_value IS NULL AND k.whole) AS removes,
			   jsonb_object_agg(w.path, jsonb_build_object('source', w.source, 'value', w.undone)) AS undoes
		FROM wanted w CROSS JOIN LATERAL sync.path_sku(w.path) k GROUP BY w.product_id),
	entry AS (
		INSERT INTO sync.staging (run_id, kind, title, sku, reason, confidence, method, evidence, flags, product_id, base_version, decision, state,
								  decided_by, decided_at, decided_how)
		SELECT rollback_stage.run_id, 'update', p.document ->> 'title', (SELECT min(k) FROM jsonb_object_keys(p.document -> 'variants') k),
			   words || ': ' || coalesce(sync.change_words(p.labels), 'nothing is left to undo')
			   || CASE WHEN p.n_kept > 0 THEN format('; %s changed since and kept', p.n_kept) ELSE '' END
			   || CASE WHEN p.removes THEN '; deletes a variant' ELSE '' END,
			   1, 'rollback', jsonb_build_object('undoes', p.undoes),
			   CASE WHEN p.n_kept > 0 THEN ARRAY['changed_since'] ELSE '{}' END || CASE WHEN p.removes THEN ARRAY['variant_removed'] ELSE '{}' END,
			   p.product_id, p.version, CASE WHEN p.labels IS NULL THEN 'rejected' ELSE 'pending' END::sync.decision,
			   CASE WHEN p.labels IS NULL THEN 'rejected' ELSE 'open' END::sync.staging_state,
			   CASE WHEN p.labels IS NULL THEN 'product_sync' END, CASE WHEN p.labels IS NULL THEN now() END, CASE WHEN p.labels IS NULL THEN 'kept' END
		FROM product p
		ORDER BY p.product_id
		RETURNING id, product_id, decision),
	field AS (
		INSERT INTO sync.staging_field (staging_id, path, old_value, new_value, base_version, decision, note, decided_by, decided_at, decided_how)
		SELECT e.id, w.path, w.old_value, w.new_value, w.version, CASE WHEN w.kept IS NULL THEN 'pending' ELSE 'rejected' END::sync.decision, w.kept,
			   CASE WHEN w.kept IS NOT NULL THEN 'product_sync' END, CASE WHEN w.kept IS NOT NULL THEN now() END, CASE WHEN w.kept IS NOT NULL THEN 'kept' END
		FROM entry e JOIN wanted w ON w.product_id = e.product_id AND w.differs
		ORDER BY e.id, w.path COLLATE "C")
	SELECT count(*) FILTER (WHERE e.decision = 'pending'), (SELECT count(*) FROM product p WHERE p.n_kept > 0) INTO staged, kept FROM entry e;
END
$$;

-- What a feed said where a version has this value: what it is known by when it comes again.
CREATE FUNCTION sync.staged_value(staging_id bigint, path text, value jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
	RETURN coalesce((SELECT f.new_value FROM sync.staging_field f
					 WHERE f.staging_id = staged_value.staging_id AND f.path = staged_value.path), nullif(value, 'null'));
END
$$;

-- One product ----------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION @extschema@.sync_rollback(product_id bigint, version integer, fields text[] DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	product constant bigint := sync_rollback.product_id;
	present jsonb;
	target jsonb;
	wanted sync.rollback_field[];
	run bigint;
	older bigint[];
	entry bigint;
BEGIN
	-- Of two at the same time the second sees the first, and takes its place.
	PERFORM FROM sync.product p WHERE p.id = product FOR NO KEY UPDATE;
	PERFORM sync.version_require(product, sync_rollback.version);
	present := sync.product_document(product);
	target := sync.version_document(product, sync_rollback.version);
	IF present IS NULL THEN
		RAISE EXCEPTION 'product % is no longer in the catalogue', product
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'sync_as_of() still shows what it was.';
	ELSIF target IS NULL THEN
		RAISE EXCEPTION 'product % did not exist before its version 1', product
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'To take it out of the catalogue, set its status to archived.';
	ELSIF fields = '{}' OR array_ndims(fields) > 1 OR array_position(fields, NULL) IS NOT NULL THEN
		RAISE EXCEPTION 'fields must be a list of paths' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'For example ARRAY[''title'', ''variants[*].price'']; leave it out for all.';
	END IF;
	SELECT array_agg(ROW(product, c.path, c.new_value, o.source, o.undone, NULL)::sync.rollback_field) INTO wanted
	FROM (SELECT d.path, d.new_value FROM sync.document_changes(present, target) d
		  WHERE fields IS NULL OR d.path LIKE ANY (ARRAY(SELECT sync.path_pattern(f) FROM unnest(fields) f))) c
	LEFT JOIN LATERAL (
		SELECT coalesce(f.info ->> 'source', v.source) AS source,
			   sync.staged_value(v.id, c.path, sync.document_get(present, c.path)) AS undone
		FROM sync.field_origins(product, ARRAY[c.path]) f
		JOIN sync.product_version v ON v.product_id = product AND v.version = f.version) o ON true;
	IF wanted IS NULL THEN
		RAISE NOTICE 'nothing of product % that was asked for differs from its version %: nothing is staged', product, sync_rollback.version;
		RETURN NULL;
	END IF;
	-- The newest wish for a product counts.
	WITH old AS (
		UPDATE sync.staging s SET state = 'superseded'
		WHERE s.product_id = product AND s.method = 'rollback' AND s.state = 'open' AND s.decision = 'pending'
		  AND s.run_id IN (SELECT r.id FROM sync.run r WHERE r.context ? 'product' AND r.kind::text = 'rollback')
		RETURNING s.run_id)
	SELECT array_agg(o.run_id) INTO older FROM old o;
	run := sync.rollback_begin(jsonb_build_object('product', product, 'version', sync_rollback.version));
	PERFORM sync.rollback_stage(run, wanted, format('back to version %s', sync_rollback.version));
	PERFORM sync.rollback_ready(run, '{"products": 1, "staged": 1}');
	PERFORM sync.run_settle(o) FROM unnest(older) o;
	SELECT s.id INTO entry FROM sync.staging s WHERE s.run_id = run;
	RETURN entry;
END
$$;

-- A whole run ----------------------------------------------------------------------------------------------------------------------

-- What undoing a run means for these products.  A product that the run made is archived; of the others each field that the run changed gets
-- its value from before, but for those that somebody else has changed since.
CREATE FUNCTION sync.rollback_fields(run_id bigint, product_ids bigint[]) RETURNS sync.rollback_field[]
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	result sync.rollback_field[];
BEGIN
	WITH own AS MATERIALIZED (
		SELECT v.product_id, v.version, v.kind, v.source, v.id AS staging_id, v.changes
		FROM sync.product_version v WHERE v.product_id = ANY (product_ids) AND v.run_id = rollback_fields.run_id),
	made AS MATERIALIZED (SELECT o.product_id, o.version, o.source FROM own o WHERE o.kind = 'create'),
	change AS MATERIALIZED (
		SELECT t.*, k.sku, k.whole
		FROM (SELECT o.product_id, c.key AS path, max(o.version) AS version,
					 (array_agg(sync.change_old(c.value) ORDER BY o.version))[1] AS before,
					 (array_agg(sync.change_new(c.value) ORDER BY o.version DESC))[1] AS after,
					 (array_agg(coalesce(sync.change_info(c.value) ->> 'source', o.source) ORDER BY o.version DESC))[1] AS source,
					 (array_agg(o.staging_id ORDER BY o.version DESC))[1] AS staging_id
			  FROM own o CROSS JOIN LATERAL jsonb_each(o.changes) c
			  WHERE o.product_id NOT IN (SELECT m.product_id FROM made m)
			  GROUP BY o.product_id, c.key) t
		CROSS JOIN LATERAL sync.path_sku(t.path) k),
	later AS MATERIALIZED (
		SELECT v.product_id, v.version, v.kind, coalesce(i.info ->> 'by', i.info ->> 'approved_by', v.approved_by, 'product_sync') AS actor, v.source,
			   c.key AS path, sync.change_new(c.value) AS after, k.sku, k.whole
		FROM (SELECT o.product_id, min(o.version) AS version FROM own o GROUP BY o.product_id) f
		JOIN sync.product_version v ON v.product_id = f.product_id AND v.version > f.version AND v.run_id IS DISTINCT FROM rollback_fields.run_id
		CROSS JOIN LATERAL jsonb_each(v.changes) c
		CROSS JOIN LATERAL (SELECT sync.change_info(c.value) AS info) i
		CROSS JOIN LATERAL sync.path_sku(c.key) k),
	-- The newest change since of the same field, of the variant that it is within, or within the variant that it is.
	since AS (
		SELECT DISTINCT ON (c.product_id, c.path) c.product_id, c.path, l.version, l.kind, l.actor, l.source, l.path = c.path AND l.after = c.after AS same
		FROM change c
		JOIN later l ON l.product_id = c.product_id AND l.version > c.version AND (l.path = c.path OR l.sku = c.sku AND (l.whole OR c.whole))
		ORDER BY c.product_id, c.path, l.version DESC)
	SELECT array_agg(f) INTO result
	FROM (SELECT ROW(c.product_id, c.path, c.before, c.source, sync.staged_value(c.staging_id, c.path, c.after),
					 -- Where another rollback brought this run's value back, it is this run's again.
					 CASE WHEN s.version IS NOT NULL AND NOT (s.kind = 'rollback' AND s.same)
						  THEN format('changed since, in version %s by %s (%s)', s.version, s.actor, s.source) END)::sync.rollback_field AS f
		  FROM change c LEFT JOIN since s ON s.product_id = c.product_id AND s.path = c.path
		  UNION ALL
		  SELECT ROW(m.product_id, 'status', '"archived"', m.source, to_jsonb(p.status), NULL)::sync.rollback_field
		  FROM made m JOIN sync.product p ON p.id = m.product_id) t;
	RETURN coalesce(result, '{}');
END
$$;

CREATE FUNCTION @extschema@.sync_rollback_run(run_id bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	undone record;
	other bigint;
	ids bigint[];
	run bigint;
	from_no integer := 1;
	part record;
	staged bigint := 0;
	kept bigint := 0;
BEGIN
	PERFORM sync.run_lock(sync_rollback_run.run_id);
	SELECT r.id, r.state, r.active OR r.state = 'syncing' OR EXISTS (SELECT FROM sync.job j WHERE j.run_id = r.id) AS busy INTO undone
	FROM sync.run r WHERE r.id = sync_rollback_run.run_id;
	IF undone.busy THEN
		RAISE EXCEPTION 'run % is still at work: it is %', undone.id, undone.state
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = format('Wait for it with sync_wait(%1$s), or stop it with sync_cancel(%1$s).', undone.id);
	END IF;
	SELECT r.id INTO other FROM sync.run r
	WHERE r.kind::text = 'rollback' AND (r.context ->> 'undoes_run')::bigint = undone.id
	  AND EXISTS (SELECT FROM sync.staging s WHERE s.run_id = r.id AND s.state = 'open') ORDER BY r.id DESC LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'run % is being undone already, by run %', undone.id, other
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format('Decide its entries, or drop it with sync_cancel(%s).', other);
	END IF;
	ids := ARRAY(SELECT DISTINCT v.product_id FROM sync.product_version v WHERE v.run_id = undone.id ORDER BY v.product_id);
	IF ids = '{}' THEN
		RAISE EXCEPTION 'run % changed no product', undone.id
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'What it staged and nobody approved can be rejected: sync_reject_where().';
	END IF;
	run := sync.rollback_begin(jsonb_build_object('undoes_run', undone.id));
	WHILE from_no <= cardinality(ids) LOOP
		SELECT * INTO part FROM sync.rollback_stage(run, sync.rollback_fields(undone.id, ids[from_no : from_no + 999]), format('undoes run %s', undone.id));
		staged := staged + part.staged;
		kept := kept + part.kept;
		from_no := from_no + 1000;
	END LOOP;
	PERFORM sync.rollback_ready(run, jsonb_build_object('products', cardinality(ids), 'staged', staged, 'changed_since', kept));
	IF kept > 0 THEN
		RAISE NOTICE '% of % products have fields that were changed again since run %: these are kept', kept, cardinality(ids), undone.id
			USING HINT = format('SELECT * FROM sync.staging WHERE run_id = %s AND ''changed_since'' = ANY (flags);', run);
	END IF;
	RETURN run;
END
$$;

ALTER FUNCTION @extschema@.sync_rollback(bigint, integer, text[]) OWNER TO sync_worker;
ALTER FUNCTION @extschema@.sync_rollback_run(bigint) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_rollback(bigint, integer, text[]), @extschema@.sync_rollback_run(bigint) TO sync_operator;
COMMENT ON FUNCTION @extschema@.sync_rollback(bigint, integer, text[]) IS
'Stages a product to be again as it was with a version (0: before its first), or only those fields; * stands for anything, as in variants[*].price. Variants that came since are deleted, those that went come back. Returns the id of the staging entry, which waits for a decision in a run of its own: SELECT sync_approve(ARRAY[id]); NULL with a notice where nothing differs. Once applied, the values that it undid are not staged again until their feed changes them. Errors: P0002 no such product or version, 55000 the product is deleted or did not exist then, 22004 and 22023 version or fields is null or empty.';
COMMENT ON FUNCTION @extschema@.sync_rollback_run(bigint) IS
'Undoes a run: stages, for each product that it changed, the values from before, and for each that it made the status archived. Fields that somebody else changed since are staged as rejected already, with a note who, and their entries flagged changed_since: approving the entry leaves them as they are. Returns the id of the new run, which waits in manual_review: SELECT * FROM sync_approve_where(jsonb_build_object(''run_id'', id)). Once applied, the values that it undid are not staged again until their feed changes them. Errors: P0002 no such run; 55000 it is still at work, changed nothing, or is being undone already.';
