-- Runs that take what the catalogue has and a shop does not: what differs is staged, approved by people or by itself, and then sent
-- (82_push.sql).
--
-- What differs is what sync.shop_outbox() lists: fields that only we changed since both sides agreed.  A product has up to two entries:
-- what may go without a person (push_approve), and the rest, so that a price does not wait for a title.

CREATE FUNCTION sync.install_part_81_push_run() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('push_approve', 'stock price compare_at_price cost', '', 'Shopify: fields whose changes are sent without a person, by name, apart by blanks; * is all, empty is none.'),
		('push_price_limit', '0.25', 'share', 'Shopify: a price that would change by a larger share waits for a person all the same.'),
		('push_creates', 'chosen', '', 'Shopify: products that the shop does not have: chosen (those named in sync_stage_shopify_up), all (that are active and in no shop) or never.'),
		('push_after_changes', 'true', 'boolean', 'Shopify: whether what the ERP or a merge changed is sent at once, not only by the clock.'),
		('push_debounce', '2 seconds', 'interval', 'Shopify: how long changes are gathered before they are staged for the shop.'),
		('push_full_every', '1 day', 'interval', 'Shopify: all products are compared, not only changed ones, when the last time is longer ago.'),
		('push_batch_products', '2000', 'count', 'Shopify: how many products one job compares with the shop.')
	ON CONFLICT (name) DO NOTHING;
	INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, run_state, description) VALUES
		('shopify_up_start', false, 2, 16, 10, NULL, 'Starts a run that sends what changed here to a shop'),
		('shopify_up_stage', false, 2, 1, 5, NULL, 'A range of products against a shop: what is to be sent, staged')
	ON CONFLICT (kind) DO NOTHING;
	INSERT INTO sync.run_transition (from_state, to_state, meaning) VALUES
		('idle', 'staging_creation', 'a run that compares the catalogue with a shop')
	ON CONFLICT DO NOTHING;
	COMMENT ON COLUMN sync.staging.flags IS 'unknown_to_erp, inactive_in_erp, shared_match, split_match, link_contradicted, new_variant, sku_taken, stale, audit, gone_in_shop, changed_since, variant_removed, price_zero, price_jump, foreign_currency, oversold: what a reviewer should look at.';
END
$$;

-- Starting -----------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.push_start(connection text, trigger text, context jsonb) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	shop text := coalesce(connection, sync.connection_of('shopify'));
BEGIN
	PERFORM sync.paused_check(shop);
	RETURN sync.run_start('shopify_up', shop, trigger, context);
END
$$;

CREATE FUNCTION @extschema@.sync_run_shopify_up(connection text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
	RETURN sync.push_start(connection, 'manual', '{}');
END
$$;
ALTER FUNCTION @extschema@.sync_run_shopify_up(text) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_run_shopify_up(text) TO sync_operator;
COMMENT ON FUNCTION @extschema@.sync_run_shopify_up(text) IS
'Starts a run that sends to a shop what changed here: compare, stage, approve, send. What the setting push_approve names goes by itself, the rest waits for people in sync.staging. connection: which shop, when there is more than one. Returns the run''s id at once, or that of the run that is active. SELECT * FROM sync_plan_shopify_up(id) says what it will take. Errors: 55000 no enabled connection, or the shop is paused, 42725 more than one and none named.';

CREATE FUNCTION @extschema@.sync_stage_shopify_up(product_ids bigint[] DEFAULT NULL, fields text[] DEFAULT NULL, connection text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
	missing bigint;
	strange text;
BEGIN
	SELECT i INTO missing FROM unnest(product_ids) i WHERE NOT EXISTS (SELECT FROM sync.product p WHERE p.id = i) LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'there is no product %', coalesce(missing::text, 'null') USING ERRCODE = 'no_data_found';
	END IF;
	SELECT f INTO strange FROM unnest(fields) f WHERE f IS NULL OR f = '' LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'a field''s name is %', CASE WHEN strange IS NULL THEN 'null' ELSE 'empty' END USING ERRCODE = 'invalid_parameter_value',
			HINT = 'For example ARRAY[''price'', ''title'', ''metafields.custom.*''].';
	END IF;
	RETURN sync.push_start(connection, 'manual', jsonb_strip_nulls(jsonb_build_object('chosen', true, 'products', to_jsonb(product_ids),
		'fields', to_jsonb(fields))));
END
$$;
ALTER FUNCTION @extschema@.sync_stage_shopify_up(bigint[], text[], text) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_stage_shopify_up(bigint[], text[], text) TO sync_operator;
COMMENT ON FUNCTION @extschema@.sync_stage_shopify_up(bigint[], text[], text) IS
'Stages what these products, or all, have that the shop does not: a run of its own, whose id comes back at once. fields: only these, by name (price, title, stock), or by path with * (metafields.custom.*, variants[CWS-1042].price). Products named here that the shop does not have are staged to be created in it. Where nothing differs the run says so. Errors: P0002 no such product, 22023 an empty field, 55000 no enabled connection, or the shop is paused, 42725 more than one and none named. Example: SELECT sync_stage_shopify_up(ARRAY[7, 8], ARRAY[''price'']).';

-- Something changed that a shop should have: a run is started once the debounce has passed, and again if one is under way.
CREATE FUNCTION sync.shop_up_wanted(connection text) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	IF sync.setting_value(connection, 'push_after_changes')::boolean THEN
		PERFORM sync.job_enqueue('shopify_up_start', NULL, jsonb_build_object('connection', connection), connection,
			now() + sync.setting_value(connection, 'push_debounce')::interval);
	END IF;
END
$$;
COMMENT ON FUNCTION sync.shop_up_wanted(text) IS 'Starts a run that sends what changed to a shop, shortly, unless push_after_changes is false. Asking often is asking once.';

CREATE FUNCTION sync.work_shopify_up_start(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
	shop text;
BEGIN
	FOR shop IN
		SELECT DISTINCT c.name FROM sync.job j JOIN sync.connection c ON c.name = j.payload ->> 'connection' AND c.enabled AND c.kind = 'shopify'
		WHERE j.id = ANY (job_ids) ORDER BY 1
	LOOP
		IF EXISTS (SELECT FROM sync.run r WHERE r.connection = shop AND r.kind::text = 'shopify_up' AND r.active AND NOT r.context ?| ARRAY['chosen', 'sending']) THEN
			-- What it has compared already may be what changed since.
			PERFORM sync.job_enqueue('shopify_up_start', NULL, jsonb_build_object('connection', shop), shop, clock_timestamp() + interval '2 seconds');
		ELSIF sync.paused(shop) IS NULL THEN
			PERFORM sync.run_start('shopify_up', shop, 'changes', '{}');
		END IF;
	END LOOP;
	RETURN '{}';
END
$$;
ALTER FUNCTION sync.work_shopify_up_start(bigint[]) OWNER TO sync_worker;

-- The products that a run compares: those that it was given; else those that changed since the last run of the kind began, or all.
CREATE FUNCTION sync.push_candidates(run_id bigint, OUT ids bigint[], OUT complete boolean)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	run sync.run;
	since timestamptz;
BEGIN
	SELECT * INTO STRICT run FROM sync.run r WHERE r.id = push_candidates.run_id;
	complete := false;
	IF run.context ? 'products' THEN
		ids := ARRAY(SELECT DISTINCT e::bigint FROM jsonb_array_elements_text(run.context -> 'products') e);
		RETURN;
	END IF;
	SELECT max(r.created_at) INTO since FROM sync.run r
	WHERE r.connection = run.connection AND r.kind = run.kind AND r.id < run.id AND NOT r.context ? 'chosen' AND r.context ? 'compared'
	  AND EXISTS (SELECT FROM sync.run f WHERE f.connection = run.connection AND f.kind = run.kind AND f.id < run.id AND f.context ? 'complete'
				  AND f.created_at > now() - sync.setting_value(run.connection, 'push_full_every')::interval);
	IF since IS NULL OR run.context ? 'chosen' THEN
		complete := true;
		ids := ARRAY(SELECT l.product_id FROM sync.product_listing l WHERE l.connection = run.connection AND l.merged_at IS NOT NULL);
		RETURN;
	END IF;
	-- A while before, since what a transaction wrote is dated by when it began.
	since := since - interval '5 minutes';
	ids := ARRAY(
		SELECT l.product_id FROM sync.product_listing l JOIN sync.product p ON p.id = l.product_id
		WHERE l.connection = run.connection AND l.merged_at IS NOT NULL AND (p.updated_at >= since OR l.merged_at >= since)
		UNION
		SELECT v.product_id FROM sync.stock_level n JOIN sync.variant v ON v.id = n.variant_id
		WHERE n.connection = run.connection AND n.local IS DISTINCT FROM n.base
		UNION
		-- What waits for a person may have moved on, and what failed is offered again.
		SELECT s.product_id FROM sync.staging s
		WHERE s.connection = run.connection AND s.method = 'push' AND s.state = 'open' AND s.decision = 'pending' AND s.product_id IS NOT NULL);
END
$$;

CREATE FUNCTION sync.push_leave_idle(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	run sync.run;
	candidates record;
	size integer;
	part bigint[];
	phase bigint;
BEGIN
	SELECT * INTO STRICT run FROM sync.run r WHERE r.id = push_leave_idle.run_id;
	candidates := sync.push_candidates(run.id);
	candidates.ids := candidates.ids || sync.push_new_products(run.id);
	phase := sync.run_move(run.id, 'staging_creation');
	size := greatest(sync.setting_value(run.connection, 'push_batch_products')::integer, 1);
	FOR part IN
		SELECT array_agg(i.id ORDER BY i.id) FROM (SELECT c.id, (row_number() OVER (ORDER BY c.id) - 1) / size AS no FROM (SELECT DISTINCT u AS id FROM unnest(candidates.ids) u) c) i
		GROUP BY i.no ORDER BY i.no
	LOOP
		PERFORM sync.job_enqueue('shopify_up_stage', run.id, jsonb_build_object('products', to_jsonb(part)));
	END LOOP;
	UPDATE sync.run r SET context = r.context || jsonb_build_object('compared', cardinality(candidates.ids))
		|| CASE WHEN candidates.complete AND NOT r.context ? 'fields' THEN '{"complete": true}' ELSE '{}' END::jsonb
	WHERE r.id = run.id;
	UPDATE sync.run_phase p SET total = cardinality(candidates.ids), unit = 'products' WHERE p.id = phase;
END
$$;

-- Products for a shop that does not have them: those that a person named, or all that are active, as push_creates says.
CREATE FUNCTION sync.push_new_products(run_id bigint) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	run sync.run;
BEGIN
	SELECT * INTO STRICT run FROM sync.run r WHERE r.id = push_new_products.run_id;
	IF run.context ? 'products' OR run.context ? 'fields' OR sync.setting_value(run.connection, 'push_creates') <> 'all' THEN
		RETURN '{}';
	END IF;
	RETURN ARRAY(SELECT p.id FROM sync.product p
				 WHERE p.status = 'active' AND NOT EXISTS (SELECT FROM sync.product_listing l WHERE l.connection = run.connection AND l.product_id = p.id));
END
$$;

-- Staging ------------------------------------------------------------------------------------------------------------------------

-- Whether a path is that of a whole variant.
CREATE FUNCTION sync.is_variant_path(path text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	-- An option's name may end with a bracket too.
	SELECT CASE WHEN path ~ '\]\.stock\[[0-9]+\]$' THEN false WHEN path LIKE 'variants[%]' THEN cardinality(sync.document_path(path)) = 2 ELSE false END
$$;

-- Whether a field is one of those that names or patterns select: by its bare name (price, title, stock), or by a path in which * stands for
-- anything.
CREATE FUNCTION sync.field_named(path text, names text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT EXISTS (SELECT FROM unnest(names) n WHERE n = '*' OR path LIKE sync.path_pattern(n) OR n = CASE
		WHEN path ~ '\]\.stock\[[0-9]+\]$' THEN 'stock' WHEN sync.is_variant_path(path) THEN 'variants'
		WHEN path LIKE 'variants[%' THEN split_part(sync.path_target(path), '.', 2) ELSE split_part(path, '.', 1) END)
$$;
COMMENT ON FUNCTION sync.field_named(text, text[]) IS 'Whether a field is selected by these names (price, title, stock, variants for whole ones) or patterns of paths.';

CREATE TYPE sync.push_field AS (product_id bigint, remote_id bigint, path text, shop_value jsonb, local_value jsonb, variant_id bigint,
	location_id bigint, flags text[], by_itself boolean);

-- What is to be staged of these products: the outbox without what is under way, was refused, or was not asked for.
CREATE FUNCTION sync.push_fields(run_id bigint, connection text, product_ids bigint[], fields text[]) RETURNS SETOF sync.push_field
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	shop_currency text := (SELECT s.currency FROM sync.shopify_shop s WHERE s.connection = push_fields.connection);
	by_itself text[] := string_to_array(sync.setting_value(push_fields.connection, 'push_approve'), ' ');
	jump numeric := sync.setting_value(push_fields.connection, 'push_price_limit')::numeric;
BEGIN
	RETURN QUERY
	WITH outbox AS MATERIALIZED (
		SELECT o.* FROM sync.shop_outbox(push_fields.connection, push_fields.product_ids) o
		-- A shop has one currency: an amount in another is flagged, it cannot be sent.
		WHERE o.path !~ '\]\.currency$' AND (push_fields.fields IS NULL OR sync.field_named(o.path, push_fields.fields))),
	flight AS MATERIALIZED (
		SELECT p.product_id, k.key AS path FROM sync.push p CROSS JOIN LATERAL jsonb_object_keys(p.wanted) AS k (key)
		WHERE p.connection = push_fields.connection AND p.ended_at IS NULL AND p.product_id = ANY (push_fields.product_ids)),
	-- One that a person said yes to and that is not sent yet: it stays with its run.
	approved AS MATERIALIZED (
		SELECT s.product_id, f.path, f.new_value FROM sync.staging s JOIN sync.staging_field f ON f.staging_id = s.id AND f.decision = 'approved'
		WHERE s.connection = push_fields.connection AND s.method = 'push' AND s.state = 'open' AND s.decision = 'approved'
		  AND s.product_id = ANY (push_fields.product_ids)),
	refused AS MATERIALIZED (
		SELECT r.* FROM sync.refused_fields(push_fields.connection, push_fields.product_ids, push_fields.run_id) r)
	SELECT o.product_id, o.remote_id, o.path, o.shopify_value, o.local_value, o.variant_id, o.location_id, f.flags,
		   f.flags = '{}' AND sync.field_named(o.path, by_itself)
	FROM outbox o
	CROSS JOIN LATERAL (
		SELECT array_remove(ARRAY[
			CASE WHEN o.path ~ '\.(price|compare_at_price)$' AND jsonb_typeof(o.local_value) = 'number' AND o.local_value::numeric = 0 THEN 'price_zero' END,
			CASE WHEN o.path ~ '\.price$' AND jsonb_typeof(o.local_value) = 'number' AND jsonb_typeof(o.shopify_value) = 'number'
					AND abs(o.local_value::numeric - o.shopify_value::numeric) > jump * abs(o.shopify_value::numeric) THEN 'price_jump' END,
			CASE WHEN o.path ~ '\.(price|compare_at_price|cost)$' AND v.currency <> shop_currency THEN 'foreign_currency' END,
			CASE WHEN o.location_id IS NOT NULL AND o.local_value::numeric < 0 THEN 'oversold' END,
			CASE WHEN sync.is_variant_path(o.path) AND o.local_value IS NULL THEN 'variant_removed' WHEN sync.is_variant_path(o.path) THEN 'new_variant' END], NULL) AS flags
		FROM (SELECT 1) one LEFT JOIN sync.variant v ON o.path LIKE 'variants[%' AND v.sku = (sync.document_path(
			CASE WHEN o.location_id IS NULL THEN o.path ELSE substring(o.path FROM '^(.*)\.stock\[') END))[2]) f
	WHERE NOT EXISTS (SELECT FROM flight u WHERE u.product_id = o.product_id AND u.path = o.path)
	  AND NOT EXISTS (SELECT FROM approved a WHERE a.product_id = o.product_id AND a.path = o.path AND a.new_value IS NOT DISTINCT FROM o.local_value)
	  AND NOT EXISTS (SELECT FROM refused r WHERE r.product_id = o.product_id AND r.path = o.path
					  AND r.new_value IS NOT DISTINCT FROM nullif(o.local_value, 'null'));
END
$$;

CREATE FUNCTION sync.work_shopify_up_stage(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
	job record;
	counts jsonb := '{}';
BEGIN
	FOR job IN
		SELECT j.run_id, r.connection, r.context, ARRAY(SELECT e::bigint FROM jsonb_array_elements_text(j.payload -> 'products') e) AS products
		FROM sync.job j JOIN sync.run r ON r.id = j.run_id WHERE j.id = ANY (job_ids) ORDER BY j.id
	LOOP
		counts := sync.counts_add(counts, sync.push_stage(job.run_id, job.connection, job.products,
			CASE WHEN job.context ? 'fields' THEN ARRAY(SELECT jsonb_array_elements_text(job.context -> 'fields')) END));
	END LOOP;
	RETURN counts;
END
$$;
ALTER FUNCTION sync.work_shopify_up_stage(bigint[]) OWNER TO sync_worker;

CREATE FUNCTION sync.push_stage(run_id bigint, connection text, product_ids bigint[], fields text[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	differing sync.push_field[];
	cancelled bigint;
	kept bigint[];
	staged record;
	created bigint;
BEGIN
	cancelled := sync.push_overtaken(push_stage.connection, push_stage.product_ids);
	differing := ARRAY(SELECT f FROM sync.push_fields(push_stage.run_id, push_stage.connection, push_stage.product_ids, push_stage.fields) f);
	-- What waits for a person as it would be staged now stays as it is, so that nobody's list changes while he reads it.
	kept := ARRAY(
		SELECT s.id FROM sync.staging s
		JOIN (SELECT d.product_id, d.by_itself, jsonb_object_agg(d.path, jsonb_build_array(d.shop_value, d.local_value)) AS fields
			  FROM unnest(differing) d GROUP BY d.product_id, d.by_itself) g ON g.product_id = s.product_id
		WHERE s.product_id = ANY (push_stage.product_ids) AND s.connection = push_stage.connection AND s.method = 'push' AND s.state = 'open'
		  AND s.decision = 'pending' AND (s.evidence ->> 'by_itself')::boolean = g.by_itself
		  AND (SELECT jsonb_object_agg(f.path, jsonb_build_array(f.old_value, f.new_value)) FROM sync.staging_field f WHERE f.staging_id = s.id) = g.fields);
	UPDATE sync.staging s SET state = 'superseded'
	WHERE s.product_id = ANY (push_stage.product_ids) AND s.connection = push_stage.connection AND s.method = 'push' AND s.state = 'open'
	  AND s.decision = 'pending' AND s.kind = 'update' AND s.id <> ALL (kept)
	  AND (push_stage.fields IS NULL OR NOT EXISTS (SELECT FROM sync.staging_field f WHERE f.staging_id = s.id AND NOT sync.field_named(f.path, push_stage.fields)));
	WITH entry AS (
		INSERT INTO sync.staging (run_id, connection, kind, title, sku, reason, confidence, method, evidence, flags, product_id, base_version)
		SELECT push_stage.run_id, push_stage.connection, 'update', p.title, (SELECT min(v.sku) FROM sync.variant v WHERE v.product_id = p.id),
			   sync.change_words(g.labels) || ' from the shop' || sync.flag_words(g.flags), 1, 'push',
			   jsonb_build_object('remote_id', g.remote_id, 'by_itself', g.by_itself), g.flags, g.product_id, p.version
		FROM (SELECT d.product_id, d.by_itself, min(d.remote_id) AS remote_id,
					 array_agg(CASE WHEN d.location_id IS NOT NULL THEN 'stock' ELSE sync.path_label(d.path, true) END ORDER BY d.path) AS labels,
					 ARRAY(SELECT DISTINCT o FROM unnest(array_agg(d.flags[1]) || array_agg(d.flags[2]) || array_agg(d.flags[3])) o WHERE o IS NOT NULL ORDER BY 1) AS flags
			  FROM unnest(differing) d GROUP BY d.product_id, d.by_itself) g
		JOIN sync.product p ON p.id = g.product_id
		WHERE NOT EXISTS (SELECT FROM sync.staging k WHERE k.id = ANY (kept) AND k.product_id = g.product_id AND (k.evidence ->> 'by_itself')::boolean = g.by_itself)
		ORDER BY g.product_id, g.by_itself DESC
		RETURNING id, product_id, (evidence ->> 'by_itself')::boolean AS by_itself, base_version),
	field AS (
		SELECT e.id, d.path, nullif(d.shop_value, 'null') AS old_value, nullif(d.local_value, 'null') AS new_value, e.base_version
		FROM entry e JOIN unnest(differing) d ON d.product_id = e.product_id AND d.by_itself = e.by_itself
		ORDER BY e.id, d.path)
	SELECT (SELECT count(*) FROM entry) AS entries, array_agg(f.id) AS ids, array_agg(f.path) AS paths, array_agg(f.old_value) AS old_values,
		   array_agg(f.new_value) AS new_values, array_agg(f.base_version) AS versions
	INTO staged FROM field f;
	PERFORM sync.staging_fields_insert(staged.ids, staged.paths, staged.old_values, staged.new_values, staged.versions);
	created := sync.push_stage_creates(push_stage.run_id, push_stage.connection, push_stage.product_ids, push_stage.fields);
	RETURN jsonb_build_object('done', cardinality(push_stage.product_ids), 'updated', staged.entries, 'created', created, 'fields', cardinality(differing),
		'overtaken', cancelled);
END
$$;

-- Products of these that the shop does not have, staged to be created there; not those that may be one of the shop's under another name.
CREATE FUNCTION sync.push_stage_creates(run_id bigint, connection text, product_ids bigint[], fields text[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	created bigint;
BEGIN
	IF fields IS NOT NULL OR sync.setting_value(push_stage_creates.connection, 'push_creates') = 'never' THEN
		RETURN 0;
	END IF;
	INSERT INTO sync.staging (run_id, connection, kind, title, sku, reason, confidence, method, evidence, flags, product_id, base_version, document)
	SELECT push_stage_creates.run_id, push_stage_creates.connection, 'create', d.document ->> 'title',
		   (SELECT min(k) FROM jsonb_object_keys(d.document -> 'variants') k), 'new for the shop', 1, 'push', '{}', '{}', d.product_id, d.version, d.document
	FROM sync.product_documents(push_stage_creates.product_ids) d
	WHERE d.document -> 'variants' <> '{}'
	  AND NOT EXISTS (SELECT FROM sync.product_listing l WHERE l.connection = push_stage_creates.connection AND l.product_id = d.product_id)
	  AND NOT EXISTS (SELECT FROM sync.staging s
					  WHERE s.connection = push_stage_creates.connection AND s.product_id = d.product_id
						AND (s.state::text IN ('open', 'sending') AND (s.flags @> '{link_uncertain}' OR s.method = 'push' AND s.kind = 'create')
							 OR s.state::text = 'sending' AND s.kind = 'create'
							 OR s.state = 'rejected' AND s.method = 'push' AND s.kind = 'create' AND s.document = d.document))
	ORDER BY d.product_id;
	GET DIAGNOSTICS created = ROW_COUNT;
	RETURN created;
END
$$;

-- Approval by itself -------------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.push_auto_approve(run_id bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	approved bigint;
BEGIN
	WITH entry AS (
		UPDATE sync.staging s
		SET decision = 'approved', decided_by = 'product_sync', decided_at = now(), decided_how = 'auto',
			reason = s.reason || '; approved by itself: push_approve names its fields'
		WHERE s.run_id = push_auto_approve.run_id AND s.state = 'open' AND s.decision = 'pending' AND s.evidence @> '{"by_itself": true}'
		  AND s.flags = '{}'
		  AND NOT EXISTS (SELECT FROM sync.staging_field f WHERE f.staging_id = s.id AND f.decision <> 'pending')
		RETURNING s.id),
	field AS (
		UPDATE sync.staging_field f
		SET decision = 'approved', decided_by = 'product_sync', decided_at = now(), decided_how = 'auto'
		FROM entry e WHERE f.staging_id = e.id)
	SELECT count(*) INTO approved FROM entry;
	RETURN approved;
END
$$;
COMMENT ON FUNCTION sync.push_auto_approve(bigint) IS 'Approves what a run for a shop may send without a person; returns how many entries.';
