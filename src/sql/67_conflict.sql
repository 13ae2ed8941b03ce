-- Conflicts as a queue for people, and fields that are locked.
--
-- A merge hands what nobody but a person can decide to conflict_open().  People set choice in sync.conflict, in a table editor, by SQL or
-- through sync_resolve(); the next merge carries it out, if both values are still those that the person saw.  As with approval, the
-- triggers are ordinary objects that work while the extension is away, and hold for everybody but sync_worker.
--
--		open		choice set -> resolved; the values moved on -> superseded; both sides agree -> converged
--		resolved	choice taken back -> open; carried out -> applied; the values moved on -> superseded
--
-- Whoever decides waits for nobody: rows of the mirror that a merge holds at that moment are marked by the job that is enqueued
-- (sync.conflicts_due), so that people and merges cannot deadlock.

CREATE FUNCTION sync.install_part_67_conflict() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $install$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('keep_conflicts', '1 year', 'interval', 'How long conflicts that are over stay in sync.conflict.'),
		('keep_decisions', '180 days', 'interval', 'How long sync.decision_log goes back, and with it what sync_simulate_rule() can replay.')
	ON CONFLICT (name) DO NOTHING;

	-- What is wrong with a value for a field, or NULL.  What the catalogue would refuse must be refused here, where the person is.
	CREATE OR REPLACE FUNCTION sync.field_value_problem(path text, value jsonb) RETURNS text
	LANGUAGE plpgsql IMMUTABLE SET search_path = '' AS $$
	DECLARE
		name text := CASE WHEN path LIKE 'variants[%' THEN substring(path FROM '^variants\[.*\]\.([a-z_]+)') ELSE substring(path FROM '^[a-z_]+') END;
		type text := jsonb_typeof(value);
		number numeric := CASE WHEN jsonb_typeof(value) = 'number' THEN value::numeric END;
	BEGIN
		IF value IS NULL THEN
			RETURN 'custom_value is not set';
		ELSIF name IS NULL THEN
			RETURN 'a whole variant can only be taken from one side';
		ELSIF type = 'null' AND name IN ('description', 'vendor', 'type', 'tags', 'images', 'metafields', 'attributes', 'barcode', 'mpn',
										 'compare_at_price', 'cost', 'weight', 'handle') THEN
			RETURN NULL;	-- emptied
		ELSIF name = 'stock' THEN
			RETURN CASE WHEN number IS NULL OR number <> trunc(number) OR number NOT BETWEEN 0 AND 1000000000
						THEN 'it must be a whole number from 0 to 1000000000' END;
		ELSIF name IN ('price', 'compare_at_price', 'cost', 'weight') THEN
			RETURN CASE WHEN number IS NULL OR number < 0 OR number >= 10000000000 OR number <> round(number, 4)
						THEN 'it must be a number of at least 0, with at most 10 digits before and 4 after the point' END;
		ELSIF name = 'status' THEN
			RETURN CASE WHEN value NOT IN ('"active"', '"draft"', '"archived"') THEN 'it must be "active", "draft" or "archived"' END;
		ELSIF name = 'tags' THEN
			RETURN CASE WHEN type <> 'array' OR jsonb_path_exists(value, 'strict $[*] ? (@.type() != "string")') THEN 'it must be a list of texts' END;
		ELSIF name = 'images' THEN
			RETURN CASE WHEN type <> 'array' OR jsonb_path_exists(value, 'strict $[*] ? (@.type() != "object")')
						  OR (SELECT count(*) FROM jsonb_array_elements(value) e WHERE coalesce(e ->> 'src', '') = '') > 0
						THEN 'it must be a list of objects with src' END;
		ELSIF name = 'metafields' THEN
			RETURN NULL;
		ELSIF type <> 'string' OR name IN ('title', 'currency') AND btrim(value #>> '{}') = '' THEN
			RETURN 'it must be a text';
		ELSIF name = 'currency' AND value #>> '{}' !~ '^[A-Z]{3}$' THEN
			RETURN 'it must be a code of three capital letters';
		END IF;
		RETURN NULL;
	END
	$$;
	REVOKE ALL ON FUNCTION sync.field_value_problem(text, jsonb) FROM PUBLIC;
	GRANT EXECUTE ON FUNCTION sync.field_value_problem(text, jsonb) TO sync_viewer;

	CREATE OR REPLACE FUNCTION sync.conflict_protect() RETURNS trigger
	LANGUAGE plpgsql SET search_path = '' AS $$
	DECLARE
		name text;
	BEGIN
		SELECT o.key INTO name
		FROM jsonb_each(to_jsonb(OLD)) o JOIN jsonb_each(to_jsonb(NEW)) n ON n.key = o.key
		WHERE n.value IS DISTINCT FROM o.value AND o.key NOT IN ('choice', 'custom_value', 'note')
		ORDER BY o.key LIMIT 1;
		IF name IS NOT NULL THEN
			RAISE EXCEPTION 'column "%" of conflict % cannot be edited', name, OLD.id
				USING ERRCODE = 'check_violation', HINT = 'Only choice, custom_value and note are for people to set.';
		END IF;
		RETURN NEW;
	END
	$$;

	CREATE OR REPLACE FUNCTION sync.conflict_decide() RETURNS trigger
	LANGUAGE plpgsql SET search_path = '' AS $$
	DECLARE
		problem text;
	BEGIN
		IF (NEW.choice, NEW.custom_value) IS NOT DISTINCT FROM (OLD.choice, OLD.custom_value) THEN
			RETURN NEW;
		ELSIF OLD.state NOT IN ('open', 'resolved') THEN
			RAISE EXCEPTION 'conflict % is % and cannot be decided any more', OLD.id, OLD.state
				USING ERRCODE = 'object_not_in_prerequisite_state',
					  HINT = CASE OLD.state
						  WHEN 'applied' THEN 'It was carried out already; a change back is a change of its own.'
						  WHEN 'converged' THEN 'Both sides came to agree.'
						  ELSE 'The values have changed since; decide the newest conflict of this field, if there is one.' END;
		END IF;
		IF NEW.choice IS NULL THEN
			NEW.state := 'open';
			NEW.decided_by := NULL;
			NEW.decided_how := NULL;
			NEW.decided_at := NULL;
			RETURN NEW;
		ELSIF NEW.choice = 'custom' THEN
			problem := sync.field_value_problem(NEW.path, NEW.custom_value);
			IF problem IS NOT NULL THEN
				RAISE EXCEPTION 'conflict % cannot be resolved with the value %: %', OLD.id, coalesce(left(NEW.custom_value::text, 200), 'null'), problem
					USING ERRCODE = 'invalid_parameter_value', HINT = format('The field is %s; set custom_value together with choice, as JSON.', OLD.path);
			END IF;
		ELSE
			NEW.custom_value := NULL;
		END IF;
		NEW.state := 'resolved';
		SELECT d.decided_by, d.decided_how, now() INTO NEW.decided_by, NEW.decided_how, NEW.decided_at FROM sync.decision_by() d;
		RETURN NEW;
	END
	$$;

	-- What was resolved is compared again at once, and so carried out.  A field that swung was frozen until a person decides.
	CREATE OR REPLACE FUNCTION sync.conflict_decided() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
	DECLARE
		ids bigint[];
		shop text;
	BEGIN
		SELECT array_agg(n.id) INTO ids
		FROM new_conflict n JOIN old_conflict o ON o.id = n.id
		WHERE n.state = 'resolved' AND (o.state, o.choice, o.custom_value) IS DISTINCT FROM (n.state, n.choice, n.custom_value);
		IF ids IS NULL THEN
			RETURN NULL;
		END IF;
		DELETE FROM sync.field_lock l
		WHERE l.id IN (SELECT k.id FROM sync.conflict c JOIN sync.field_lock k ON k.product_id = c.product_id AND k.path = c.path
					   WHERE c.id = ANY (ids) AND k.kind = 'freeze' FOR UPDATE OF k SKIP LOCKED);
		UPDATE sync.shopify_product m SET merge_due = true
		WHERE m.id IN (SELECT w.id
					   FROM sync.conflict c
					   JOIN sync.product_listing l ON l.connection = c.connection AND l.product_id = c.product_id
					   JOIN sync.shopify_product w ON w.connection = l.connection AND w.remote_id = l.remote_id
					   WHERE c.id = ANY (ids) AND NOT w.merge_due ORDER BY w.id FOR UPDATE OF w SKIP LOCKED);
		-- While the extension is away, choices are kept; the first merge after that finds them.
		IF to_regprocedure('sync.conflicts_wake(text)') IS NOT NULL THEN
			FOR shop IN SELECT DISTINCT c.connection FROM sync.conflict c WHERE c.id = ANY (ids) ORDER BY 1 LOOP
				EXECUTE 'SELECT sync.conflicts_wake($1)' USING shop;
			END LOOP;
		END IF;
		RETURN NULL;
	END
	$$;

	CREATE OR REPLACE TRIGGER conflict_1_protect
		BEFORE UPDATE OF id, connection, product_id, variant_id, location_id, title, sku, path, field, local_value, shopify_value, base_value,
			rule, reason, state, decided_by, decided_how, decided_at, run_id, created_at, closed_at ON sync.conflict
		FOR EACH ROW WHEN (current_user <> 'sync_worker') EXECUTE FUNCTION sync.conflict_protect();
	CREATE OR REPLACE TRIGGER conflict_2_decide
		BEFORE UPDATE OF choice, custom_value ON sync.conflict
		FOR EACH ROW WHEN (current_user <> 'sync_worker') EXECUTE FUNCTION sync.conflict_decide();
	CREATE OR REPLACE TRIGGER conflict_3_decided
		AFTER UPDATE ON sync.conflict REFERENCING OLD TABLE AS old_conflict NEW TABLE AS new_conflict
		FOR EACH STATEMENT WHEN (current_user <> 'sync_worker') EXECUTE FUNCTION sync.conflict_decided();

	-- A path that nothing has would be a lock that holds nothing.
	CREATE OR REPLACE FUNCTION sync.field_lock_guard() RETURNS trigger
	LANGUAGE plpgsql SET search_path = '' AS $$
	DECLARE
		good constant text := '(handle|title|description|vendor|type|tags|images|status|metafields(\..+)?|attributes(\..+)?'
			'|variants\[("([^"\\]|\\.)*"|[^]"[]+)\](\.(barcode|mpn|price|compare_at_price|cost|currency|weight|options(\..+)?|attributes(\..+)?|stock(\[[0-9*]+\])?))?)';
		-- What ends in a * may be cut short anywhere.
		shortened constant text := '^(\*|metafields\*|attributes\*|variants\*|variants\[[^]]*\*|variants\[("([^"\\]|\\.)*"|[^]"[]+)\]\.[a-z_]*\*)$';
	BEGIN
		IF length(NEW.path) > 1000 OR NOT (NEW.path ~ ('^' || good || '$') OR NEW.path ~ shortened) THEN
			RAISE EXCEPTION 'no field has the path "%"', left(NEW.path, 200)
				USING ERRCODE = 'invalid_parameter_value',
					  HINT = 'For example title, metafields.*, variants[*].price, variants[CWS-1042].stock[*], or * for the whole product.';
		END IF;
		IF current_user <> 'sync_worker' THEN
			SELECT d.decided_by INTO NEW.created_by FROM sync.decision_by() d;
			IF TG_OP = 'UPDATE' AND NEW.kind = 'freeze' AND OLD.kind = 'lock' OR TG_OP = 'INSERT' AND NEW.kind = 'freeze' THEN
				RAISE EXCEPTION 'only product_sync freezes a field' USING ERRCODE = 'invalid_parameter_value', HINT = 'Use the kind lock.';
			END IF;
		END IF;
		RETURN NEW;
	END
	$$;
	CREATE OR REPLACE TRIGGER field_lock_1_guard BEFORE INSERT OR UPDATE ON sync.field_lock
		FOR EACH ROW EXECUTE FUNCTION sync.field_lock_guard();
	PERFORM sync.install_conflict_view();
END
$install$;

CREATE FUNCTION sync.install_conflict_view() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $install$
BEGIN
	-- The values as people read them: texts without quotes, lists and objects as JSON.
	CREATE OR REPLACE VIEW sync.conflicts WITH (security_barrier) AS
	SELECT c.id, c.connection, c.state::text AS state, coalesce(p.title, c.title) AS product, coalesce(v.sku, c.sku) AS sku,
		   CASE WHEN c.location_id IS NOT NULL THEN 'stock at ' || coalesce(o.name, 'location ' || c.location_id)
				WHEN c.path ~ '^variants\[.*\]$' THEN 'whole variant'
				ELSE replace(regexp_replace(regexp_replace(c.path, '^variants\[.*\]\.', ''), '^(metafields|attributes|options)\.', ''), '_', ' ') END AS label,
		   c.local_value #>> '{}' AS local, c.shopify_value #>> '{}' AS shopify, c.base_value #>> '{}' AS base,
		   n.shopify - n.local AS difference, round(100 * (n.shopify - n.local) / nullif(abs(n.local), 0), 2) AS percent,
		   c.rule, c.reason, date_trunc('second', now() - c.created_at) AS age, c.choice::text AS choice, c.custom_value #>> '{}' AS custom,
		   c.note, c.decided_by, c.decided_at, c.field, c.path, p.vendor, c.product_id, c.variant_id, c.location_id, c.run_id,
		   l.remote_id AS shopify_product_id, i.remote_id AS shopify_variant_id,
		   rtrim(k.base_url, '/') || '/admin/products/' || l.remote_id AS shopify_url, c.created_at, c.closed_at
	FROM sync.conflict c
	LEFT JOIN sync.product p ON p.id = c.product_id
	LEFT JOIN sync.variant v ON v.id = c.variant_id
	LEFT JOIN sync.connection k ON k.name = c.connection
	LEFT JOIN sync.product_listing l ON l.connection = c.connection AND l.product_id = c.product_id
	LEFT JOIN sync.listing i ON i.connection = c.connection AND i.variant_id = c.variant_id
	LEFT JOIN sync.shopify_location o ON o.connection = c.connection AND o.remote_id = c.location_id
	CROSS JOIN LATERAL (
		SELECT CASE WHEN jsonb_typeof(c.local_value) = 'number' THEN c.local_value::numeric END AS local,
			   CASE WHEN jsonb_typeof(c.shopify_value) = 'number' THEN c.shopify_value::numeric END AS shopify) n;
	COMMENT ON VIEW sync.conflicts IS 'Conflicts for people to read: the catalogue''s value, the shop''s and the one that both last agreed on side by side. Decide in sync.conflict, or with sync_resolve(id, ...).';
	COMMENT ON COLUMN sync.conflicts.difference IS 'The shop''s number less the catalogue''s, where both are numbers.';
	COMMENT ON COLUMN sync.conflicts.percent IS 'The difference in percent of the catalogue''s number.';
	COMMENT ON COLUMN sync.conflicts.label IS 'The field, in words; path has it in full.';
END
$install$;

-- A person decided: the shop's merge is started, once the debounce has passed.  Without a key, so that nobody waits for another who
-- decides; what the first of several jobs did leaves the others nothing to do.
CREATE FUNCTION sync.conflicts_wake(connection text) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	IF EXISTS (SELECT FROM sync.job_kind k WHERE k.kind = 'shopify_merge_start') THEN
		PERFORM sync.job_enqueue('shopify_merge_start', NULL, jsonb_build_object('connection', connection), NULL,
			now() + sync.setting_value(connection, 'webhook_debounce')::interval);
	END IF;
END
$$;

-- Products with a choice that waits to be carried out are due, whoever held their row when it was made.
CREATE FUNCTION sync.conflicts_due(connection text) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	product_ids bigint[] := ARRAY(SELECT DISTINCT c.product_id FROM sync.conflict c WHERE c.connection = conflicts_due.connection AND c.state = 'resolved');
BEGIN
	UPDATE sync.shopify_product m SET merge_due = true
	WHERE m.id IN (SELECT w.id
				   FROM sync.product_listing l JOIN sync.shopify_product w ON w.connection = l.connection AND w.remote_id = l.remote_id
				   WHERE l.connection = conflicts_due.connection AND l.product_id = ANY (product_ids) AND NOT w.merge_due
				   ORDER BY w.id FOR UPDATE OF w SKIP LOCKED);
END
$$;

-- Opening and closing --------------------------------------------------------------------------------------------------------------

CREATE TYPE sync.conflict_row AS (product_id bigint, variant_id bigint, location_id bigint, path text, field text, local_value jsonb,
	shopify_value jsonb, base_value jsonb, rule text, reason text);

-- Whether a conflict says the same as a merge found now.
CREATE FUNCTION sync.conflict_same(path text, old_value jsonb, new_value jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
	SELECT nullif(old_value, 'null') IS NOT DISTINCT FROM nullif(new_value, 'null')
		OR CASE WHEN path LIKE '%.stock[%]' THEN false ELSE sync.value_equal(path, old_value, new_value) END
$$;

CREATE FUNCTION sync.conflict_open(run_id bigint, connection text, rows sync.conflict_row[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	product_ids bigint[] := ARRAY(SELECT DISTINCT r.product_id FROM unnest(rows) r);
	present sync.conflict[];
	same bigint[];
	moved bigint[];
	opened bigint;
BEGIN
	-- Array by array: the planner knows nothing of how many rows there are.
	present := ARRAY(SELECT c FROM sync.conflict c
					 WHERE c.connection = conflict_open.connection AND c.product_id = ANY (product_ids) AND c.state IN ('open', 'resolved'));
	SELECT array_agg(c.id) FILTER (WHERE c.alike), array_agg(c.id) FILTER (WHERE NOT c.alike) INTO same, moved
	FROM (SELECT p.id, sync.conflict_same(p.path, p.local_value, r.local_value) AND sync.conflict_same(p.path, p.shopify_value, r.shopify_value)
					   AND sync.conflict_same(p.path, p.base_value, r.base_value) AS alike
		  FROM unnest(present) p JOIN (SELECT DISTINCT ON (w.product_id, w.path) w.* FROM unnest(rows) w ORDER BY w.product_id, w.path) r
			ON r.product_id = p.product_id AND r.path = p.path) c;
	UPDATE sync.conflict c SET state = 'superseded', closed_at = now() WHERE c.id = ANY (moved);
	-- The same values, but perhaps another reason why a person is asked: a lock, a rule that was edited.
	UPDATE sync.conflict c SET rule = r.rule, reason = r.reason
	FROM unnest(rows) r
	WHERE c.id = ANY (same) AND c.state = 'open' AND r.product_id = c.product_id AND r.path = c.path AND (c.rule, c.reason) IS DISTINCT FROM (r.rule, r.reason);
	INSERT INTO sync.conflict (connection, product_id, variant_id, location_id, title, sku, path, field, local_value, shopify_value, base_value,
							   rule, reason, run_id)
	SELECT conflict_open.connection, r.product_id, r.variant_id, r.location_id, p.title, v.sku, r.path, r.field, r.local_value, r.shopify_value,
		   r.base_value, r.rule, r.reason, conflict_open.run_id
	FROM (SELECT DISTINCT ON (w.product_id, w.path) w.* FROM unnest(rows) w ORDER BY w.product_id, w.path) r
	LEFT JOIN sync.product p ON p.id = r.product_id
	LEFT JOIN sync.variant v ON v.id = r.variant_id
	WHERE NOT EXISTS (SELECT FROM unnest(present) o WHERE o.id = ANY (same) AND o.product_id = r.product_id AND o.path = r.path)
	ORDER BY r.product_id, r.path;
	GET DIAGNOSTICS opened = ROW_COUNT;
	IF opened > 0 AND conflict_open.run_id IS NULL AND EXISTS (SELECT FROM unnest(rows) r WHERE r.rule <> 'stale_snapshot') THEN
		PERFORM sync.conflict_notify(NULL, conflict_open.connection, opened);
	END IF;
	RETURN jsonb_build_object('opened', opened, 'same', coalesce(cardinality(same), 0), 'superseded', coalesce(cardinality(moved), 0));
END
$$;
COMMENT ON FUNCTION sync.conflict_open(bigint, text, sync.conflict_row[]) IS
'Hands fields to people: one that is open with the same values is left alone, one with others is superseded. Returns the counts opened, same and superseded. Without a run people are told at once; else sync.conflicts_notify() tells them when the run has compared everything.';

CREATE FUNCTION sync.conflict_notify(run_id bigint, connection text, opened bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	waiting bigint := (SELECT count(*) FROM sync.conflict c WHERE c.connection = conflict_notify.connection AND c.state = 'open');
BEGIN
	PERFORM sync.notify(run_id, 'info', 'conflicts_open',
		format('%s with shop "%s"; %s in all wait for a person. SELECT * FROM sync.conflicts WHERE state = ''open'';',
			   CASE opened WHEN 1 THEN '1 new conflict' ELSE opened || ' new conflicts' END, connection, waiting),
		jsonb_build_object('connection', connection, 'opened', opened, 'open', waiting));
END
$$;

-- The one notification of a run, once all is compared.
CREATE FUNCTION sync.conflicts_notify(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	shop text := (SELECT r.connection FROM sync.run r WHERE r.id = conflicts_notify.run_id);
	-- What waits for a newer reading of the ERP is no work for anybody.
	opened bigint := (SELECT count(*) FROM sync.conflict c
					  WHERE c.connection = shop AND c.state = 'open' AND c.run_id = conflicts_notify.run_id AND c.rule <> 'stale_snapshot');
BEGIN
	IF opened > 0 THEN
		PERFORM sync.conflict_notify(run_id, shop, opened);
	END IF;
END
$$;

-- Decisions by call ------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION @extschema@.sync_resolve(conflict_id bigint, choice text, value jsonb DEFAULT NULL, note text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
	IF sync_resolve.choice NOT IN ('local', 'shopify', 'custom') THEN
		RAISE EXCEPTION 'a conflict cannot be resolved with "%"', left(sync_resolve.choice, 200) USING ERRCODE = 'invalid_parameter_value',
			HINT = 'The choice is local, shopify, custom (with value), or null to take it back.';
	ELSIF value IS NOT NULL AND sync_resolve.choice IS DISTINCT FROM 'custom' THEN
		RAISE EXCEPTION 'a value goes with the choice custom only, not with %', coalesce(sync_resolve.choice, 'null')
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	UPDATE sync.conflict c
	SET choice = sync_resolve.choice::sync.conflict_choice, custom_value = sync_resolve.value, note = coalesce(sync_resolve.note, c.note)
	WHERE c.id = conflict_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no conflict %', coalesce(conflict_id::text, 'null') USING ERRCODE = 'no_data_found';
	END IF;
END
$$;
GRANT EXECUTE ON FUNCTION @extschema@.sync_resolve(bigint, text, jsonb, text) TO sync_approver;
COMMENT ON FUNCTION @extschema@.sync_resolve(bigint, text, jsonb, text) IS
'Decides a conflict, the same as setting choice in sync.conflict. choice: local (the catalogue''s value, which is then sent to the shop), shopify, custom (value, as JSON of the field''s type), or null to take a choice back that was not carried out yet. The next merge, which is started by this, carries it out; if a value has changed meanwhile, a new conflict is opened instead. Errors: P0002 no such conflict, 22023 no such choice or a value that does not fit the field, 55000 it is over. Example: SELECT sync_resolve(7, ''custom'', ''12.50'', ''as agreed'').';

-- A filter's keys as conditions on sync.conflict c.
CREATE FUNCTION sync.conflict_condition(filter jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	item record;
	wanted text;
	moment timestamptz;
	condition text := 'true';
	-- As a share of the catalogue's number; no number is neither near nor far.
	difference constant text := '(CASE WHEN jsonb_typeof(c.local_value) = ''number'' AND jsonb_typeof(c.shopify_value) = ''number'' THEN'
		' abs(c.shopify_value::numeric - c.local_value::numeric) / nullif(abs(c.local_value::numeric), 0) END %s %L::numeric)';
BEGIN
	IF jsonb_typeof(filter) IS DISTINCT FROM 'object' OR filter = '{}' THEN
		RAISE EXCEPTION 'the filter must be an object with at least one key' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'For example {"field": "price", "max_difference": 0.1}.';
	END IF;
	FOR item IN SELECT e.key, e.value, e.value #>> '{}' AS text FROM jsonb_each(filter) e LOOP
		wanted := CASE WHEN item.key IN ('run_id', 'product_id', 'min_difference', 'max_difference') THEN 'number'
					   WHEN item.key IN ('connection', 'field', 'path', 'rule', 'vendor', 'sku', 'created_before') THEN 'string' END;
		IF wanted IS NULL THEN
			RAISE EXCEPTION 'the filter has an unknown key "%"', item.key USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Known keys are connection, field, path, rule, vendor, product_id, sku, min_difference, max_difference, created_before and run_id.';
		ELSIF jsonb_typeof(item.value) <> wanted THEN
			RAISE EXCEPTION 'the filter''s "%" must be of type %, not %', item.key, wanted, jsonb_typeof(item.value)
				USING ERRCODE = 'invalid_parameter_value';
		ELSIF item.key IN ('run_id', 'product_id') AND item.text !~ '^[0-9]{1,18}$' THEN
			RAISE EXCEPTION 'the filter''s "%" must be a whole number, not %', item.key, left(item.text, 200) USING ERRCODE = 'invalid_parameter_value';
		ELSIF item.key = 'created_before' THEN
			BEGIN
				moment := item.text::timestamptz;
			EXCEPTION WHEN data_exception THEN
				RAISE EXCEPTION 'the filter''s "created_before" must be a time, not "%"', left(item.text, 200)
					USING ERRCODE = 'invalid_parameter_value', HINT = 'For example "2026-11-24 08:00+00".';
			END;
		END IF;
		condition := condition || ' AND ' || CASE item.key
			WHEN 'connection' THEN format('c.connection = %L', item.text)
			WHEN 'field' THEN format('c.field = %L', item.text)
			WHEN 'rule' THEN format('c.rule = %L', item.text)
			WHEN 'path' THEN format('c.path LIKE %L', sync.path_pattern(item.text))
			WHEN 'sku' THEN format('c.sku LIKE %L', item.text)
			WHEN 'vendor' THEN format('(SELECT p.vendor FROM sync.product p WHERE p.id = c.product_id) = %L', item.text)
			WHEN 'product_id' THEN format('c.product_id = %L::bigint', item.text)
			WHEN 'run_id' THEN format('c.run_id = %L::bigint', item.text)
			WHEN 'min_difference' THEN format(difference, '>=', item.text)
			WHEN 'max_difference' THEN format(difference, '<=', item.text)
			WHEN 'created_before' THEN format('c.created_at < %L::timestamptz', moment) END;
	END LOOP;
	RETURN condition;
END
$$;

CREATE FUNCTION @extschema@.sync_resolve_where(filter jsonb, choice text, note text DEFAULT NULL, dry_run boolean DEFAULT false) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	ids bigint[];
BEGIN
	IF sync_resolve_where.choice IS NULL OR sync_resolve_where.choice NOT IN ('local', 'shopify') THEN
		RAISE EXCEPTION 'conflicts cannot be resolved together with "%"', coalesce(left(sync_resolve_where.choice, 200), 'null')
			USING ERRCODE = 'invalid_parameter_value', HINT = 'The choice is local or shopify; a value of your own goes with one conflict: sync_resolve().';
	ELSIF dry_run IS NULL THEN
		RAISE EXCEPTION 'dry_run must be true or false, not null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	EXECUTE 'SELECT array_agg(c.id) FROM sync.conflict c WHERE c.state = ''open'' AND ' || sync.conflict_condition(filter) INTO ids;
	IF ids IS NULL OR dry_run THEN
		RETURN coalesce(cardinality(ids), 0);
	END IF;
	-- In the order of ids, so that two who decide much at a time wait for each other and do not deadlock.
	ids := ARRAY(SELECT c.id FROM sync.conflict c WHERE c.id = ANY (ids) AND c.state = 'open' ORDER BY c.id FOR UPDATE);
	PERFORM set_config('sync.decided_by_filter', 'true', true);
	UPDATE sync.conflict c
	SET choice = sync_resolve_where.choice::sync.conflict_choice, note = coalesce(sync_resolve_where.note, c.note)
	WHERE c.id = ANY (ids);
	PERFORM set_config('sync.decided_by_filter', '', true);
	RETURN coalesce(cardinality(ids), 0);
END
$$;
GRANT EXECUTE ON FUNCTION @extschema@.sync_resolve_where(jsonb, text, text, boolean), sync.conflict_condition(jsonb) TO sync_approver;
COMMENT ON FUNCTION @extschema@.sync_resolve_where(jsonb, text, text, boolean) IS
'Decides all open conflicts that a filter selects: local or shopify. Returns how many; dry_run only counts. Keys, all of which must hold: connection, field (price, inventory, description, other ...), path (* stands for anything, as in variants[*].price), rule, vendor, product_id, sku (LIKE pattern), min_difference and max_difference (share of the catalogue''s number, 0.1 is 10 %), created_before (time), run_id. Errors: 22023 unknown key, wrong type or choice, 22004 dry_run is null. Example: SELECT sync_resolve_where(''{"field": "price", "vendor": "Avery", "max_difference": 0.1}'', ''shopify'', dry_run => true).';
