-- Locks on fields: what a person locked, or a merge froze, is overwritten by nothing but a person's own decision on a conflict of it.

CREATE FUNCTION @extschema@.sync_lock(product_id bigint, path text DEFAULT '*', reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
	IF NOT EXISTS (SELECT FROM sync.product p WHERE p.id = sync_lock.product_id) THEN
		RAISE EXCEPTION 'there is no product %', coalesce(sync_lock.product_id::text, 'null') USING ERRCODE = 'no_data_found';
	END IF;
	INSERT INTO sync.field_lock AS l (product_id, path, reason)
	VALUES (sync_lock.product_id, coalesce(sync_lock.path, '*'), sync_lock.reason)
	ON CONFLICT (product_id, path) DO UPDATE SET kind = 'lock', reason = coalesce(excluded.reason, l.reason);
END
$$;
COMMENT ON FUNCTION @extschema@.sync_lock(bigint, text, text) IS
'Locks a field of a product, or by default all of it: feeds do not stage it, and what a shop changes in it becomes a conflict. path: a path, in which * stands for anything (title, variants[*].price, variants[CWS-1042].stock[*]); reason: for people. Editing it by hand remains possible. A lock that is there stays. Errors: P0002 no such product, 22023 no such path. Example: SELECT sync_lock(7, ''description'', ''written by hand'').';

CREATE FUNCTION @extschema@.sync_unlock(product_id bigint, path text DEFAULT '*') RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	n bigint;
BEGIN
	DELETE FROM sync.field_lock l WHERE l.product_id = sync_unlock.product_id AND l.path LIKE sync.path_pattern(sync_unlock.path);
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END
$$;
COMMENT ON FUNCTION @extschema@.sync_unlock(bigint, text) IS
'Takes away locks and freezes of a product: by default all, else those whose path is this one; * in it stands for anything. Returns how many there were. No errors. Example: SELECT sync_unlock(7, ''description'').';
GRANT EXECUTE ON FUNCTION @extschema@.sync_lock(bigint, text, text), @extschema@.sync_unlock(bigint, text) TO sync_approver;

CREATE FUNCTION sync.locked(product_ids bigint[]) RETURNS TABLE (product_id bigint, pattern text, kind text)
LANGUAGE plpgsql STABLE ROWS 10 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY SELECT l.product_id, sync.path_pattern(l.path), l.kind FROM sync.field_lock l WHERE l.product_id = ANY (product_ids);
END
$$;
COMMENT ON FUNCTION sync.locked(bigint[]) IS 'The locks and freezes of these products, paths as patterns for LIKE.';

-- Entries with an approved field that was locked after it was staged, with why they cannot be applied.
CREATE FUNCTION sync.apply_locked(entry_ids bigint[]) RETURNS TABLE (id bigint, reason text)
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	product_ids bigint[] := ARRAY(SELECT s.product_id FROM sync.staging s WHERE s.id = ANY (entry_ids) AND s.kind = 'update');
	locks text[];
BEGIN
	SELECT array_agg(l.product_id::text || ' ' || l.pattern) INTO locks FROM sync.locked(product_ids) l;
	IF locks IS NULL THEN
		RETURN;
	END IF;
	RETURN QUERY
	SELECT s.id, format('%s locked here; reject it, or let go with sync_unlock(%s) and decide again',
		string_agg(f.path, ', ' ORDER BY f.path) || CASE count(*) WHEN 1 THEN ' is' ELSE ' are' END, s.product_id)
	FROM sync.staging s JOIN sync.staging_field f ON f.staging_id = s.id AND f.decision = 'approved'
	WHERE s.id = ANY (entry_ids) AND s.kind = 'update' AND s.product_id::text || ' ' || f.path LIKE ANY (locks)
	GROUP BY s.id;
END
$$;
