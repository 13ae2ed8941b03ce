-- Versions of products: one row for each accepted change, small, since a catalogue has many of them.
--
-- A row holds what changed, by path [before, after], with a third element where something is the field's own: {"rule":, "conflict":, "by":}.
-- Whose change it was is said once, in the columns; approved_by is empty where nobody had to approve it.  Rows of before step 3 have objects
-- {"old":, "new":, "source":, "approved_by": ...}; sync.change_old(), change_new() and change_info() read both, sync.product_change shows a row
-- a field.
--
-- The whole document is kept on version 1 and on every version_snapshot_every-th, so that a version is read from the snapshot before it and
-- a few changes.  sync.version_add() is the one place that writes versions: an ordinary object, since edits by hand make them while the
-- extension is away.

CREATE FUNCTION sync.install_part_75_version() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $install$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('version_snapshot_every', '20', 'count', 'Every how many versions of a product its whole document is kept; fewer make sync_as_of() faster and the history larger.')
	ON CONFLICT (name) DO NOTHING;

	-- Whether this version keeps the whole document.
	CREATE OR REPLACE FUNCTION sync.version_is_snapshot(version integer, every integer) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT version = 1 OR version % greatest(every, 1) = 0 $$;
	CREATE OR REPLACE FUNCTION sync.version_snapshot_every() RETURNS integer
	LANGUAGE sql STABLE SET search_path = '' AS $$
		SELECT coalesce((SELECT least(s.value::bigint, 1000000)::integer FROM sync.setting s WHERE s.name = 'version_snapshot_every'), 20)
	$$;

	CREATE OR REPLACE FUNCTION sync.change_old(change jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT CASE jsonb_typeof(change) WHEN 'array' THEN change -> 0 ELSE change -> 'old' END $$;
	CREATE OR REPLACE FUNCTION sync.change_new(change jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT CASE jsonb_typeof(change) WHEN 'array' THEN change -> 1 ELSE change -> 'new' END $$;
	CREATE OR REPLACE FUNCTION sync.change_info(change jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT CASE jsonb_typeof(change) WHEN 'array' THEN change -> 2 ELSE change END $$;
	REVOKE ALL ON FUNCTION sync.version_is_snapshot(integer, integer), sync.version_snapshot_every(), sync.change_old(jsonb), sync.change_new(jsonb),
		sync.change_info(jsonb) FROM PUBLIC;
	GRANT EXECUTE ON FUNCTION sync.change_old(jsonb), sync.change_new(jsonb), sync.change_info(jsonb) TO sync_viewer;
	COMMENT ON FUNCTION sync.change_old(jsonb) IS 'The value before, of one field of sync.product_version.changes.';
	COMMENT ON FUNCTION sync.change_new(jsonb) IS 'The value after, of one field of sync.product_version.changes.';
	COMMENT ON FUNCTION sync.change_info(jsonb) IS 'What is the field''s own, of one field of sync.product_version.changes: rule, conflict, by.';
	CREATE OR REPLACE VIEW sync.product_change WITH (security_barrier) AS
	SELECT v.product_id, v.version, c.key AS path, nullif(sync.change_old(c.value), 'null') AS old_value,
		   nullif(sync.change_new(c.value), 'null') AS new_value, v.kind, coalesce(i.info ->> 'source', v.source) AS source,
		   coalesce(i.info ->> 'by', i.info ->> 'approved_by', v.approved_by, 'product_sync') AS actor, v.created_at AS at, v.run_id,
		   CASE WHEN v.id > 0 THEN v.id END AS staging_id,
		   i.info ->> 'rule' AS rule, (i.info ->> 'conflict')::bigint AS conflict_id
	FROM sync.product_version v
	CROSS JOIN LATERAL jsonb_each(v.changes) c
	CROSS JOIN LATERAL (SELECT sync.change_info(c.value) AS info) i;
	COMMENT ON VIEW sync.product_change IS 'Each field that each version of a product changed: from which value to which, from where, by whom, decided by which rule or conflict. What a new product began with is in the document of its version 1.';

	-- Adds versions, one for each element of the arrays.  A time of approval that is null is the version's own.  The version's time is the
	-- clock's and not the transaction's: whoever calls holds the product's lock, so a later version never has an earlier time.
	CREATE OR REPLACE FUNCTION sync.version_add(product_ids bigint[], versions integer[], kind text, documents jsonb[], changes jsonb[],
			source text, run_id bigint, staging_ids bigint[], actors text[], approved timestamptz[]) RETURNS void
	LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
	DECLARE
		every constant integer := sync.version_snapshot_every();
	BEGIN
		INSERT INTO sync.product_version (id, product_id, version, kind, document, changes, source, run_id, approved_by, approved_at, created_at)
		SELECT coalesce(a.staging_id, nextval('sync.product_version_id_seq')), a.product_id, a.version, version_add.kind,
			   CASE WHEN sync.version_is_snapshot(a.version, every) THEN a.document END,
			   coalesce(c.packed, '{}'), version_add.source, version_add.run_id, nullif(a.actor, 'product_sync'),
			   CASE WHEN a.actor <> 'product_sync' THEN a.approved_at END, clock_timestamp()
		FROM unnest(product_ids, versions, documents, changes, staging_ids, actors, approved)
			AS a (product_id, version, document, change, staging_id, actor, approved_at)
		-- {"old":, "new":, ...} as it is kept.
		CROSS JOIN LATERAL (
			SELECT jsonb_object_agg(e.key, jsonb_build_array(e.value -> 'old', e.value -> 'new')
										   || CASE WHEN r.rest = '{}' THEN '[]' ELSE jsonb_build_array(r.rest) END) AS packed
			FROM jsonb_each(a.change) e CROSS JOIN LATERAL (SELECT e.value - '{old,new}'::text[] AS rest) r) c;
	END
	$$;
	REVOKE ALL ON FUNCTION sync.version_add(bigint[], integer[], text, jsonb[], jsonb[], text, bigint, bigint[], text[], timestamptz[]) FROM PUBLIC;
END
$install$;

-- What a version of these changes is to hold.  A value that the catalogue completes (a new product or variant: its currency, its empty
-- lists) is read back from it, so that what is read from versions is what was there.
CREATE FUNCTION sync.version_prepare(product_ids bigint[], kind text, documents jsonb[], changes jsonb[], OUT whole jsonb[], OUT fields jsonb[])
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
DECLARE
	affected bigint[];
BEGIN
	whole := documents;
	fields := changes;
	affected := ARRAY(SELECT c.id FROM unnest(product_ids, changes) AS c (id, change)
					  WHERE kind = 'create' OR EXISTS (SELECT FROM jsonb_object_keys(c.change) k WHERE k LIKE 'variants[%]'));
	IF affected = '{}' THEN
		RETURN;
	END IF;
	SELECT array_agg(coalesce(d.document, c.document) ORDER BY c.no),
		   array_agg(CASE WHEN d.document IS NULL THEN c.change
						  ELSE (SELECT jsonb_object_agg(e.key,
									   CASE WHEN e.key LIKE 'variants[%]' AND e.value -> 'new' <> 'null' AND sync.document_get(d.document, e.key) IS NOT NULL
											THEN jsonb_set(e.value, '{new}', sync.document_get(d.document, e.key)) ELSE e.value END)
								FROM jsonb_each(c.change) e) END ORDER BY c.no)
	INTO whole, fields
	FROM unnest(product_ids, documents, changes) WITH ORDINALITY AS c (id, document, change, no)
	LEFT JOIN sync.product_documents(affected) d ON d.product_id = c.id;
END
$$;

CREATE FUNCTION sync.version_write(product_ids bigint[], versions integer[], kind text, documents jsonb[], changes jsonb[], source text,
								   run_id bigint, staging_ids bigint[], actor text) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	PERFORM sync.version_add(product_ids, versions, kind, p.whole, p.fields, source, run_id, staging_ids,
							 array_fill(actor, ARRAY[cardinality(product_ids)]), NULL)
	FROM sync.version_prepare(product_ids, kind, documents, changes) p;
END
$$;
COMMENT ON FUNCTION sync.version_write(bigint[], integer[], text, jsonb[], jsonb[], text, bigint, bigint[], text) IS
'Adds versions of products that the caller has locked and changed. documents: each product as it is after the change, kept only where a snapshot is due; changes: by path {"old":, "new":}, with "rule" and "conflict" where a rule or a person''s choice made the value; staging_ids may be null.';
