-- Reading versions: a product as it was, what differs between two versions, where each value comes from.
--
-- A version's document is the snapshot before it with the changes since set one after another; where there is none before it (the first
-- versions were made while the extension was away, or before it kept them) it is the next snapshot, or the present catalogue, with the
-- changes taken back.  Version 0 is the product as it was loaded, before anything was recorded.

-- The document of a version; NULL where there was no product yet, or nothing is left to read it from.
CREATE FUNCTION sync.version_document(product_id bigint, version integer) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	base record;
	paths text[];
	new_values jsonb[];
BEGIN
	SELECT v.version, v.document INTO base FROM sync.product_version v
	WHERE v.product_id = version_document.product_id AND v.version <= version_document.version AND v.document IS NOT NULL
	ORDER BY v.version DESC LIMIT 1;
	IF FOUND THEN
		SELECT array_agg(c.key ORDER BY v.version, c.no), array_agg(sync.change_new(c.value) ORDER BY v.version, c.no) INTO paths, new_values
		FROM sync.product_version v CROSS JOIN LATERAL jsonb_each(v.changes) WITH ORDINALITY AS c (key, value, no)
		WHERE v.product_id = version_document.product_id AND v.version > base.version AND v.version <= version_document.version;
	ELSE
		IF version_document.version = 0 AND EXISTS (SELECT FROM sync.product_version v
				WHERE v.product_id = version_document.product_id AND v.version = 1 AND v.kind = 'create') THEN
			RETURN NULL;
		END IF;
		SELECT n.version, n.document INTO base
		FROM ((SELECT v.version, v.document FROM sync.product_version v
			   WHERE v.product_id = version_document.product_id AND v.version > version_document.version AND v.document IS NOT NULL
			   ORDER BY v.version LIMIT 1)
			  UNION ALL
			  SELECT d.version, d.document FROM sync.product_documents(ARRAY[version_document.product_id]) d) n
		ORDER BY n.version LIMIT 1;
		SELECT array_agg(c.key ORDER BY v.version DESC, c.no DESC), array_agg(sync.change_old(c.value) ORDER BY v.version DESC, c.no DESC)
		INTO paths, new_values
		FROM sync.product_version v CROSS JOIN LATERAL jsonb_each(v.changes) WITH ORDINALITY AS c (key, value, no)
		WHERE v.product_id = version_document.product_id AND v.version > version_document.version AND v.version <= base.version;
	END IF;
	RETURN CASE WHEN paths IS NULL THEN base.document ELSE sync.document_patch_all(base.document, paths, new_values) END;
END
$$;

-- All that differs between two documents, fields that only the old one has too.
CREATE FUNCTION sync.document_changes(old jsonb, new jsonb) RETURNS TABLE (path text, old_value jsonb, new_value jsonb)
LANGUAGE sql IMMUTABLE ROWS 5 SET search_path = '' AS $$
	SELECT DISTINCT ON (d.path COLLATE "C") d.path, d.old_value, d.new_value
	FROM (SELECT f.path, f.old_value, f.new_value, 1 AS rank FROM sync.document_diff(old, new) f
		  UNION ALL
		  SELECT b.path, b.new_value, b.old_value, 2 FROM sync.document_diff(new, old) b) d
	ORDER BY d.path COLLATE "C", d.rank
$$;

-- The number of a product's newest version, or the error that there is no such product.
CREATE FUNCTION sync.version_newest(product_id bigint) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	newest integer := (SELECT p.version FROM sync.product p WHERE p.id = version_newest.product_id);
BEGIN
	IF newest IS NULL THEN
		SELECT max(v.version) INTO newest FROM sync.product_version v WHERE v.product_id = version_newest.product_id;
	END IF;
	IF newest IS NULL THEN
		RAISE EXCEPTION 'there is no product %', coalesce(product_id::text, 'null')
			USING ERRCODE = 'no_data_found', HINT = 'sync.product lists them; versions of one that was deleted stay in sync.product_version.';
	END IF;
	RETURN newest;
END
$$;

-- The version that is meant, or the error that the product has none of this number.
CREATE FUNCTION sync.version_require(product_id bigint, version integer) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	newest constant integer := sync.version_newest(product_id);
BEGIN
	IF version IS NULL THEN
		RAISE EXCEPTION 'the version of product % must not be null', product_id USING ERRCODE = 'null_value_not_allowed';
	ELSIF version NOT BETWEEN 0 AND newest THEN
		RAISE EXCEPTION 'product % has no version %', product_id, version
			USING ERRCODE = 'no_data_found', HINT = format('Its newest is %s; 0 is what was there before the first.', newest);
	END IF;
END
$$;

CREATE FUNCTION @extschema@.sync_as_of(product_id bigint, at timestamptz DEFAULT clock_timestamp()) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	wanted integer;
BEGIN
	IF at IS NULL THEN
		RAISE EXCEPTION 'the time must not be null' USING ERRCODE = 'null_value_not_allowed', HINT = 'Leave it out for now.';
	END IF;
	SELECT v.version INTO wanted FROM sync.product_version v
	WHERE v.product_id = sync_as_of.product_id AND v.created_at <= at ORDER BY v.version DESC LIMIT 1;
	IF NOT FOUND THEN
		PERFORM sync.version_newest(sync_as_of.product_id);
		IF NOT EXISTS (SELECT FROM sync.product p WHERE p.id = sync_as_of.product_id AND p.created_at <= at) THEN
			RETURN NULL;
		END IF;
		wanted := 0;
	END IF;
	RETURN sync.version_document(sync_as_of.product_id, wanted);
END
$$;

CREATE FUNCTION @extschema@.sync_diff(product_id bigint, from_version integer, to_version integer DEFAULT NULL)
RETURNS TABLE (path text, old_value jsonb, new_value jsonb)
LANGUAGE plpgsql STABLE ROWS 5 SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	until constant integer := coalesce(to_version, sync.version_newest(sync_diff.product_id));
BEGIN
	PERFORM sync.version_require(sync_diff.product_id, from_version);
	PERFORM sync.version_require(sync_diff.product_id, until);
	RETURN QUERY SELECT * FROM sync.document_changes(coalesce(sync.version_document(sync_diff.product_id, from_version), '{}'),
													 coalesce(sync.version_document(sync_diff.product_id, until), '{}'));
END
$$;

-- Which variant a path is of, and whether it is the variant as a whole.  Both NULL for a field of the product.
CREATE FUNCTION sync.path_sku(path text, OUT sku text, OUT whole boolean)
LANGUAGE sql IMMUTABLE AS $$
	SELECT k.keys[2], cardinality(k.keys) = 2
	FROM (SELECT CASE WHEN starts_with(path, 'variants[') THEN sync.document_path(path) END AS keys) k
$$;

-- The newest change of each path of these products that was ever changed.
CREATE FUNCTION sync.newest_changes(product_ids bigint[])
RETURNS TABLE (product_id bigint, path text, version integer, info jsonb)
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT DISTINCT ON (v.product_id, c.key) v.product_id, c.key, v.version, sync.change_info(c.value)
	FROM sync.product_version v CROSS JOIN LATERAL jsonb_each(v.changes) c
	WHERE v.product_id = ANY (product_ids)
	ORDER BY v.product_id, c.key, v.version DESC;
END
$$;

-- Where these fields of a product come from: the newest version that changed the field, or the whole variant that it is within; for one
-- that none changed, the version that made the product.  No row for what was loaded before the first version.
CREATE FUNCTION sync.field_origins(product_id bigint, paths text[]) RETURNS TABLE (path text, version integer, info jsonb)
LANGUAGE plpgsql STABLE ROWS 30 SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH newest AS MATERIALIZED (
		SELECT n.path, n.version, n.info, k.sku, k.whole
		FROM sync.newest_changes(ARRAY[field_origins.product_id]) n CROSS JOIN LATERAL sync.path_sku(n.path) k)
	SELECT DISTINCT ON (o.path) o.path, o.version, o.info
	FROM (SELECT w.path, n.version, n.info FROM unnest(paths) w (path) JOIN newest n ON n.path = w.path
		  UNION ALL
		  SELECT w.path, n.version, n.info FROM unnest(paths) w (path) CROSS JOIN LATERAL sync.path_sku(w.path) k JOIN newest n ON n.sku = k.sku AND n.whole
		  UNION ALL
		  SELECT w.path, v.version, '{}' FROM unnest(paths) w (path)
		  JOIN sync.product_version v ON v.product_id = field_origins.product_id AND v.version = 1 AND v.kind = 'create') o
	ORDER BY o.path, o.version DESC;
END
$$;

CREATE FUNCTION @extschema@.sync_blame(product_id bigint)
RETURNS TABLE (path text, value jsonb, version integer, source text, actor text, at timestamptz, run_id bigint, staging_id bigint, rule text,
			   conflict_id bigint)
LANGUAGE plpgsql STABLE ROWS 30 SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	present jsonb;
	paths text[];
	present_values jsonb[];
BEGIN
	present := sync.version_document(sync_blame.product_id, sync.version_newest(sync_blame.product_id));
	present := coalesce(sync.product_document(sync_blame.product_id), present, '{}');
	-- Against variants without anything in them, so that each of their fields is one.
	SELECT array_agg(f.path), array_agg(f.new_value) INTO paths, present_values
	FROM sync.document_diff(jsonb_build_object('variants', (SELECT coalesce(jsonb_object_agg(k, '{}'::jsonb), '{}')
															FROM jsonb_object_keys(coalesce(present -> 'variants', '{}')) k)), present) f;
	RETURN QUERY
	SELECT f.path, f.value, coalesce(o.version, 0), coalesce(o.info ->> 'source', v.source),
		   coalesce(o.info ->> 'by', o.info ->> 'approved_by', v.approved_by, CASE WHEN o.version > 0 THEN 'product_sync' END),
		   coalesce((o.info ->> 'at')::timestamptz, v.created_at, p.created_at), v.run_id, CASE WHEN v.id > 0 THEN v.id END, o.info ->> 'rule',
		   (o.info ->> 'conflict')::bigint
	FROM unnest(paths, present_values) AS f (path, value)
	LEFT JOIN sync.field_origins(sync_blame.product_id, paths) o ON o.path = f.path
	LEFT JOIN sync.product_version v ON v.product_id = sync_blame.product_id AND v.version = o.version
	LEFT JOIN sync.product p ON p.id = sync_blame.product_id
	ORDER BY f.path COLLATE "C";
END
$$;

ALTER FUNCTION @extschema@.sync_as_of(bigint, timestamptz) OWNER TO sync_worker;
ALTER FUNCTION @extschema@.sync_diff(bigint, integer, integer) OWNER TO sync_worker;
ALTER FUNCTION @extschema@.sync_blame(bigint) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_as_of(bigint, timestamptz), @extschema@.sync_diff(bigint, integer, integer),
	@extschema@.sync_blame(bigint) TO sync_viewer;
COMMENT ON FUNCTION @extschema@.sync_as_of(bigint, timestamptz) IS
'A product of the catalogue as it was at a time, as a document (docs/architecture.md, section 5); NULL before it existed. Of a deleted one, the newest that is known. Before its first version a product that was loaded by hand is as that version found it. Example: SELECT sync_as_of(7, now() - interval ''1 day'') -> ''title''. Errors: P0002 no such product, 22004 the time is null.';
COMMENT ON FUNCTION @extschema@.sync_diff(bigint, integer, integer) IS
'The fields that differ between two versions of a product: path, value in from_version, value in to_version (null where it has none). to_version null: the newest. Version 0 is what was there before the first; from may be the later one. Example: SELECT * FROM sync_diff(7, 3). Errors: P0002 no such product or version, 22004 from_version is null.';
COMMENT ON FUNCTION @extschema@.sync_blame(bigint) IS
'Where each value of a product comes from, one row a field that has one: the version that set it, source (the connection; of an edit by hand how it was made; rollback), actor who approved or made it (product_sync: by itself), at when, run and staging entry, and the rule or the conflict that decided it. Version 0, without a source: loaded before the first version. Errors: P0002 no such product.';
