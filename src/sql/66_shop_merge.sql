-- The merge: what was seen in a shop against the catalogue, field by field, with what both sides last agreed on between them.
--
-- A field that only the shop changed is taken over, one that only we changed waits to be sent, one that both changed goes to the
-- decision tree (sync.decide_field), which takes one of them or hands it to a person.  Agreement is by value, never by a clock: our own
-- write that comes back equals the base, so it is nothing.  Resolving to our value means that the base becomes the shop's present one:
-- then only we differ from it, and the push sends ours.
--
-- A batch is one transaction over some products of the mirror.  It takes its locks (mirror, product, variant) without waiting; what
-- somebody holds is put off for a second.  All that it changes in the catalogue has its row in sync.staging, approved by product_sync.

CREATE FUNCTION sync.install_part_66_shop_merge() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('shop_changes', 'apply', '', 'Changes that only the shop made: apply (at once, as a version) or stage (a person decides).'),
		('shop_creates', 'apply', '', 'Products of the shop that the catalogue does not have: apply (created at once), stage (a person decides) or skip.'),
		('merge_batch_products', '1000', 'count', 'How many products of the shop one job compares with the catalogue.'),
		('oscillation_window', '1 day', 'interval', 'A field whose value goes from A to B and back twice within this time is frozen; 0 never freezes.')
	ON CONFLICT (name) DO NOTHING;
	INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, run_state, description) VALUES
		('shopify_merge', false, 2, 1, 10, 'staging_creation', 'Products of a shop against the catalogue and the base: applied, handed to people, or agreed'),
		('shopify_stock_merge', false, 2, 1, 10, NULL, 'Stock of a whole shop against the ERP''s: after a reading of either')
	ON CONFLICT (kind) DO NOTHING;
	INSERT INTO sync.run_transition (from_state, to_state, meaning) VALUES
		('staging_creation', 'held', 'the shop changed too much at once: a person must look')
	ON CONFLICT DO NOTHING;
END
$$;

-- A product of the mirror beside its product here.  base null: never agreed.  The documents have our SKUs.
CREATE TYPE sync.merge_product AS (mirror_id bigint, remote_id bigint, listing_id bigint, product_id bigint, version integer, gone text,
	base jsonb, base_local jsonb, local jsonb, shop jsonb, skus jsonb, info jsonb);
-- A field that differs from what was agreed, and what becomes of it.
CREATE TYPE sync.merge_field AS (product_id bigint, path text, base_value jsonb, local_value jsonb, shop_value jsonb, status text,
	outcome text, value jsonb, rule text, reason text, conflict_id bigint, facts jsonb);

-- Enqueues the comparing of all that is due.  A run that would change too much of the catalogue is held: then it returns why.
CREATE FUNCTION sync.shopify_merge_begin(run_id bigint) RETURNS text
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	run sync.run;
	hold text;
	size integer;
	part record;
	due bigint := 0;
BEGIN
	SELECT * INTO STRICT run FROM sync.run r WHERE r.id = shopify_merge_begin.run_id;
	IF NOT run.hold_override THEN
		hold := sync.shop_hold_reason(run.connection);
	END IF;
	IF hold IS NOT NULL THEN
		RETURN hold;
	END IF;
	PERFORM sync.shop_sent_due(run.connection);
	-- Choices that no merge was started for, such as those made while the extension was away, or that could not be carried out yet.
	PERFORM sync.conflicts_due(run.connection);
	ANALYZE sync.shopify_product (connection, merge_due);
	size := greatest(sync.setting_value(run.connection, 'merge_batch_products')::integer, 1);
	FOR part IN
		SELECT min(d.id) AS from_id, max(d.id) AS to_id, count(*) AS n
		FROM (SELECT m.id, (row_number() OVER (ORDER BY m.id) - 1) / size AS part
			  FROM sync.shopify_product m WHERE m.connection = run.connection AND m.merge_due) d
		GROUP BY d.part ORDER BY d.part
	LOOP
		PERFORM sync.job_enqueue('shopify_merge', run.id, jsonb_build_object('from', part.from_id, 'to', part.to_id));
		due := due + part.n;
	END LOOP;
	-- Products whose stock changed in the shop are due like others, and the ERP's changes are compared when it was read.  All stock is compared
	-- where more may have changed, what a location's store is, if the ERP has or had a say in any of it.
	IF (run.context ->> 'mode' = 'full' OR EXISTS (SELECT FROM sync.shopify_crawl c WHERE c.id = (run.context ->> 'crawl_id')::bigint AND c.mode = 'full'))
		AND (EXISTS (SELECT FROM sync.shopify_location o WHERE o.connection = run.connection AND o.store <> '')
			 OR EXISTS (SELECT FROM sync.stock_level n WHERE n.connection = run.connection AND n.erp IS NOT NULL)) THEN
		PERFORM sync.job_enqueue('shopify_stock_merge', run.id);
	END IF;
	UPDATE sync.run_phase p SET total = due, unit = 'products'
	WHERE p.id = (SELECT max(o.id) FROM sync.run_phase o WHERE o.run_id = shopify_merge_begin.run_id AND o.ended_at IS NULL);
	RETURN NULL;
END
$$;

-- Why a run is to be held whole, or NULL: it would change a larger share of the linked products than max_change_share allows.  What was
-- never agreed on is a first load, and no change.
CREATE FUNCTION sync.shop_hold_reason(connection text) RETURNS text
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	minimum bigint := sync.setting_value(shop_hold_reason.connection, 'max_change_minimum')::bigint;
	share numeric := sync.setting_value(shop_hold_reason.connection, 'max_change_share')::numeric;
	linked bigint := (SELECT count(*) FROM sync.product_listing l WHERE l.connection = shop_hold_reason.connection AND l.merged_at IS NOT NULL);
	ids bigint[];
	changed bigint;
BEGIN
	SELECT array_agg(m.id) INTO ids
	FROM sync.shopify_product m JOIN sync.product_listing l ON l.connection = m.connection AND l.remote_id = m.remote_id
	WHERE m.connection = shop_hold_reason.connection AND m.merge_due AND l.merged_at IS NOT NULL;
	-- The cheap bound first: most rows that are due did change.
	IF cardinality(ids) > minimum AND cardinality(ids) > share * linked THEN
		SELECT count(*) INTO changed FROM sync.merge_products(shop_hold_reason.connection, ids) p
		WHERE p.gone IS NOT NULL
		   OR EXISTS (SELECT FROM sync.document_merge(p.base, p.base_local, p.local, p.shop) d WHERE d.status IN ('shop', 'both'));
		IF changed > minimum AND changed > share * linked THEN
			RETURN format('%s of %s products changed in the shop, more than the share of %s that max_change_share allows', changed, linked, share);
		END IF;
	END IF;
	RETURN NULL;
END
$$;

-- Products of the mirror with all that they are compared with.
CREATE FUNCTION sync.merge_products(connection text, mirror_ids bigint[]) RETURNS SETOF sync.merge_product
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
	product_ids bigint[];
	listing_ids bigint[];
BEGIN
	SELECT array_agg(l.product_id), array_agg(l.id) INTO product_ids, listing_ids
	FROM sync.shopify_product m JOIN sync.product_listing l ON l.connection = m.connection AND l.remote_id = m.remote_id
	WHERE m.id = ANY (mirror_ids);
	RETURN QUERY
	WITH mirror AS MATERIALIZED (
		SELECT m.id, m.remote_id, m.document, m.variants, CASE WHEN m.gone_since IS NOT NULL THEN coalesce(m.gone_evidence, 'gone') END AS gone
		FROM sync.shopify_product m WHERE m.id = ANY (mirror_ids)),
	listed AS MATERIALIZED (
		SELECT i.product_listing_id, jsonb_object_agg(v.sku, i.base) AS base,
			   jsonb_object_agg(v.sku, i.base_local) FILTER (WHERE i.base_local <> '{}') AS base_local,
			   jsonb_object_agg(i.remote_id, v.sku) AS skus
		FROM sync.listing i JOIN sync.variant v ON v.id = i.variant_id
		WHERE i.product_listing_id = ANY (listing_ids)
		GROUP BY i.product_listing_id)
	SELECT m.id, m.remote_id, l.id, l.product_id, d.version, m.gone,
		   CASE WHEN l.merged_at IS NOT NULL THEN l.base || jsonb_build_object('variants', CASE l.base_gone WHEN '{}' THEN '{}' ELSE (
				SELECT jsonb_object_agg(g.key, g.value -> 'base') FROM jsonb_each(l.base_gone) g) END || coalesce(i.base, '{}')) END,
		   l.base_local || jsonb_build_object('variants', coalesce(i.base_local, '{}')),
		   d.document, jsonb_set(m.document, '{variants}', k.variants), k.skus, m.variants
	FROM mirror m
	LEFT JOIN sync.product_listing l ON l.connection = merge_products.connection AND l.remote_id = m.remote_id
	LEFT JOIN listed i ON i.product_listing_id = l.id
	LEFT JOIN sync.product_documents(product_ids) d ON d.product_id = l.product_id
	CROSS JOIN LATERAL (
		-- A variant has the SKU of the one that it is linked to; else its own, where it has one that no other of the product has.  One that
		-- was deleted and made again with its SKU is the same one.
		SELECT coalesce(jsonb_object_agg(n.sku, n.value - 'sku'), '{}') AS variants, coalesce(jsonb_object_agg(n.key, n.sku), '{}') AS skus
		FROM (SELECT e.key, e.value,
					 coalesce(i.skus ->> e.key,
							  CASE WHEN o.own <> '' AND count(*) OVER (PARTITION BY o.own) = 1
									AND NOT EXISTS (SELECT FROM jsonb_each_text(i.skus) s WHERE s.value = o.own AND m.document -> 'variants' ? s.key)
								   THEN o.own ELSE 'shopify-' || e.key END) AS sku
			  FROM jsonb_each(coalesce(m.document -> 'variants', '{}')) e
			  CROSS JOIN LATERAL (SELECT btrim(coalesce(e.value ->> 'sku', '')) AS own) o) n) k;
END
$$;

-- A batch ------------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.work_shopify_merge(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
	job record;
	counts jsonb := '{}';
BEGIN
	FOR job IN
		SELECT j.run_id, r.connection, (j.payload ->> 'from')::bigint AS from_id, (j.payload ->> 'to')::bigint AS to_id
		FROM sync.job j JOIN sync.run r ON r.id = j.run_id WHERE j.id = ANY (job_ids) ORDER BY j.id
	LOOP
		counts := sync.counts_add(counts, sync.shop_merge_range(job.run_id, job.connection, job.from_id, job.to_id));
	END LOOP;
	RETURN counts;
END
$$;
ALTER FUNCTION sync.work_shopify_merge(bigint[]) OWNER TO sync_worker;

-- Locks the rows of the mirror that are due in a range, with the products and variants that they are linked to.  What somebody holds is
-- put off.
CREATE FUNCTION sync.shop_merge_take(connection text, from_id bigint, to_id bigint, OUT ids bigint[], OUT busy bigint)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
	due bigint;
	product_ids bigint[];
	held bigint[];
BEGIN
	SELECT array_agg(m.id) INTO ids
	FROM (SELECT w.id FROM sync.shopify_product w
		  WHERE w.connection = shop_merge_take.connection AND w.id BETWEEN from_id AND to_id AND w.merge_due
		  ORDER BY w.id FOR UPDATE SKIP LOCKED) m;
	SELECT count(*) INTO due FROM sync.shopify_product w
	WHERE w.connection = shop_merge_take.connection AND w.id BETWEEN from_id AND to_id AND w.merge_due;
	SELECT array_agg(l.product_id) INTO product_ids
	FROM sync.shopify_product m JOIN sync.product_listing l ON l.connection = m.connection AND l.remote_id = m.remote_id
	WHERE m.id = ANY (ids);
	IF product_ids IS NOT NULL THEN
		WITH product AS (SELECT p.id FROM sync.product p WHERE p.id = ANY (product_ids) ORDER BY p.id FOR NO KEY UPDATE SKIP LOCKED),
		variant AS (SELECT v.id FROM sync.variant v WHERE v.product_id = ANY (product_ids) ORDER BY v.id FOR NO KEY UPDATE SKIP LOCKED)
		SELECT array_agg(p.id) INTO held
		FROM sync.product p
		WHERE p.id = ANY (product_ids)
		  AND (p.id NOT IN (SELECT t.id FROM product t)
			   OR EXISTS (SELECT FROM sync.variant v WHERE v.product_id = p.id AND v.id NOT IN (SELECT t.id FROM variant t)));
		-- Somebody is deciding a conflict of it at this moment.
		WITH conflict AS (
			SELECT c.id FROM sync.conflict c
			WHERE c.connection = shop_merge_take.connection AND c.product_id = ANY (product_ids) AND c.state IN ('open', 'resolved')
			ORDER BY c.id FOR NO KEY UPDATE SKIP LOCKED)
		SELECT held || array_agg(DISTINCT c.product_id) INTO held
		FROM sync.conflict c
		WHERE c.connection = shop_merge_take.connection AND c.product_id = ANY (product_ids) AND c.state IN ('open', 'resolved')
		  AND c.id NOT IN (SELECT t.id FROM conflict t);
		IF held IS NOT NULL THEN
			SELECT array_agg(m.id) INTO ids
			FROM sync.shopify_product m LEFT JOIN sync.product_listing l ON l.connection = m.connection AND l.remote_id = m.remote_id
			WHERE m.id = ANY (ids) AND (l.product_id IS NULL OR l.product_id <> ALL (held));
		END IF;
	END IF;
	ids := coalesce(ids, '{}');
	busy := due - cardinality(ids);
END
$$;

CREATE FUNCTION sync.shop_merge_range(run_id bigint, connection text, from_id bigint, to_id bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	taken record;
	products sync.merge_product[];
	linked sync.merge_product[];
	fields sync.merge_field[];
	late bigint[];
	counts jsonb;
BEGIN
	SELECT * INTO taken FROM sync.shop_merge_take(shop_merge_range.connection, from_id, to_id);
	IF taken.busy > 0 THEN
		PERFORM sync.job_enqueue('shopify_merge', shop_merge_range.run_id, jsonb_build_object('from', from_id, 'to', to_id),
			run_at => clock_timestamp() + interval '1 second');
	END IF;
	counts := jsonb_build_object('done', cardinality(taken.ids));
	IF taken.ids = '{}' THEN
		RETURN counts;
	END IF;
	SELECT array_agg(p ORDER BY p.mirror_id) INTO products FROM sync.merge_products(shop_merge_range.connection, taken.ids) p;
	linked := ARRAY(SELECT p FROM unnest(products) p WHERE p.product_id IS NOT NULL AND p.gone IS NULL);

	counts := sync.counts_add(counts, sync.shop_merge_gone(shop_merge_range.run_id, shop_merge_range.connection,
		ARRAY(SELECT p FROM unnest(products) p WHERE p.gone IS NOT NULL AND p.product_id IS NOT NULL)));
	counts := sync.counts_add(counts, sync.shop_create(shop_merge_range.run_id, shop_merge_range.connection,
		ARRAY(SELECT p FROM unnest(products) p WHERE p.product_id IS NULL AND p.gone IS NULL)));
	PERFORM sync.shop_supersede_creates(shop_merge_range.connection, products);
	IF linked <> '{}' THEN
		linked := sync.shop_echoes(shop_merge_range.connection, linked);
		fields := sync.merge_fields(shop_merge_range.run_id, shop_merge_range.connection, linked);
		counts := sync.counts_add(counts, sync.shop_merge_settle(shop_merge_range.run_id, shop_merge_range.connection, linked, fields));
		counts := sync.counts_add(counts, sync.shop_stock_merge(shop_merge_range.run_id, shop_merge_range.connection,
			ARRAY(SELECT p.product_id FROM unnest(linked) p)));
	END IF;
	-- What was linked only now, to a product that nobody has locked, is compared by a job that locks it.
	late := ARRAY(SELECT p.mirror_id FROM unnest(products) p
		JOIN sync.product_listing l ON l.connection = shop_merge_range.connection AND l.remote_id = p.remote_id AND l.merged_at IS NULL
		WHERE p.product_id IS NULL);
	PERFORM sync.job_enqueue('shopify_merge', shop_merge_range.run_id, jsonb_build_object('from', from_id, 'to', to_id)) WHERE late <> '{}';
	-- One whose link waits for a person is due again once that is decided.
	UPDATE sync.shopify_product m SET merge_due = false WHERE m.id = ANY (taken.ids) AND m.id <> ALL (late);
	PERFORM sync.analyze_grown();
	RETURN counts;
END
$$;

-- Statistics of the tables that a first load fills from nothing: autovacuum would come too late, and the planner thinks of ten pages.
-- A table that another worker analyses is left to it.
CREATE FUNCTION sync.analyze_grown() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	grown record;
BEGIN
	FOR grown IN
		SELECT t.name, t.columns
		FROM (VALUES ('product', 'id, handle'), ('variant', 'id, product_id, sku'), ('product_listing', 'id, connection, product_id, remote_id'),
					 ('listing', 'id, connection, product_listing_id, variant_id, remote_id, inventory_item_id'),
					 ('stock_level', 'connection, variant_id, location_id'), ('product_version', 'product_id, version'),
					 ('staging', 'run_id, connection, kind, decision, state, sku, product_id'),
					 ('staging_field', 'staging_id, decision'), ('shopify_product', 'id, connection, remote_id, merge_due, gone_since'),
					 ('shopify_stock', 'id, connection, inventory_item_id, location_id')) AS t (name, columns)
		JOIN pg_class c ON c.oid = to_regclass('sync.' || t.name)
		WHERE pg_relation_size(c.oid) / current_setting('block_size')::bigint > 2 * greatest(c.relpages, 0) + 50
	LOOP
		EXECUTE format('ANALYZE (SKIP_LOCKED) sync.%I (%s)', grown.name, grown.columns);
	END LOOP;
END
$$;

-- Which fields differ from what was agreed, and what is to become of each: outcome converged, local (waits to be sent), use_shopify,
-- use_local, use_lower, apply_rule, equal, manual or refused.
CREATE FUNCTION sync.merge_fields(run_id bigint, connection text, products sync.merge_product[]) RETURNS sync.merge_field[]
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	rules jsonb := sync.decision_rules(merge_fields.connection);
	product_ids bigint[] := ARRAY(SELECT p.product_id FROM unnest(products) p);
	fields sync.merge_field[];
BEGIN
	WITH doubt AS MATERIALIZED (SELECT t.product_id, t.path FROM sync.shop_in_doubt(product_ids, merge_fields.connection) t),
	-- What is on its way to the shop is compared when that is known to have come to its end.
	flight AS MATERIALIZED (
		SELECT w.product_id, k AS path FROM sync.push w CROSS JOIN LATERAL jsonb_object_keys(w.wanted) k
		WHERE w.connection = merge_fields.connection AND w.product_id = ANY (product_ids) AND w.part = 'edit' AND w.ended_at IS NULL AND w.state IN ('sent', 'retry')),
	differing AS MATERIALIZED (
		SELECT p.product_id, p.facts, d.path, d.base_value, d.local_value, d.shop_value,
			   CASE WHEN d.status <> 'converged' AND (p.product_id, d.path) IN (SELECT t.product_id, t.path FROM doubt t) THEN 'both' ELSE d.status END AS status,
			   -- A price beside which one side has a struck-out one is on sale there.
			   CASE WHEN d.status = 'both' AND d.path LIKE 'variants[%].price' THEN jsonb_strip_nulls(jsonb_build_object(
				   'local_compare_at', p.local -> 'variants' -> (sync.document_path(d.path))[2] -> 'compare_at_price',
				   'shopify_compare_at', p.shop -> 'variants' -> (sync.document_path(d.path))[2] -> 'compare_at_price')) END AS sale
		FROM (SELECT u.*, jsonb_strip_nulls(jsonb_build_object('vendor', u.local -> 'vendor', 'type', u.local -> 'type',
						 'local_currency', jsonb_path_query_first(u.local, '$.variants.*.currency'),
						 'shopify_currency', jsonb_path_query_first(u.shop, '$.variants.*.currency'))) AS facts
			  FROM unnest(products) u) p
		CROSS JOIN LATERAL sync.document_merge(p.base, p.base_local, p.local, p.shop) d
		WHERE (p.product_id, d.path) NOT IN (SELECT f.product_id, f.path FROM flight f)),
	person AS MATERIALIZED (
		SELECT c.id, c.product_id, c.path, c.state, c.local_value, c.shopify_value, c.choice, c.custom_value
		FROM sync.conflict c
		WHERE c.connection = merge_fields.connection AND c.product_id = ANY (product_ids) AND c.state = 'resolved' AND c.location_id IS NULL),
	lock AS MATERIALIZED (SELECT l.product_id, l.pattern, l.kind FROM sync.locked(product_ids) l),
	refused AS MATERIALIZED (
		SELECT r.product_id, r.path, r.new_value FROM sync.refused_fields(merge_fields.connection, product_ids, merge_fields.run_id + 1) r),
	decided AS (
		SELECT d.*,
			   CASE
				   WHEN d.status IN ('converged', 'local') THEN d.status
				   WHEN c.id IS NOT NULL THEN CASE c.choice WHEN 'shopify' THEN 'use_shopify' WHEN 'local' THEN 'use_local' ELSE 'apply_rule' END
				   WHEN l.kind IS NOT NULL THEN 'manual'
				   WHEN d.status = 'shop' AND d.shop_value IS NULL AND d.path LIKE 'variants[%]' AND cardinality(sync.document_path(d.path)) = 2 THEN 'gone'
				   WHEN d.status = 'shop' AND r.path IS NOT NULL THEN 'refused'
				   -- A price may be one that nobody can mean: the tree looks at it, whoever changed it.
				   WHEN d.status = 'shop' AND sync.field_class(d.path) <> 'price' THEN 'use_shopify'
				   WHEN d.status = 'drift' THEN 'manual'
			   END AS outcome,
			   CASE WHEN c.choice = 'custom' THEN c.custom_value WHEN c.choice = 'local' THEN d.local_value ELSE d.shop_value END AS value,
			   CASE WHEN c.id IS NOT NULL THEN 'person' WHEN l.kind = 'lock' THEN 'locked' WHEN l.kind = 'freeze' THEN 'oscillation'
					WHEN d.status = 'drift' THEN 'drift' WHEN d.status = 'shop' THEN 'only_shopify_changed' END AS rule,
			   CASE WHEN c.id IS NOT NULL THEN format('a person chose %s', c.choice)
					WHEN l.kind = 'lock' THEN 'the field is locked here and changed in the shop'
					WHEN l.kind = 'freeze' THEN 'the value went back and forth, so the field is frozen'
					WHEN d.status = 'drift' THEN 'neither side changed it since they were last compared, and they differ'
					WHEN d.status = 'shop' THEN 'only the shop changed it' END AS reason,
			   c.id AS conflict_id
		FROM differing d
		LEFT JOIN person c ON c.product_id = d.product_id AND c.path = d.path
			AND sync.value_equal(d.path, c.local_value, d.local_value) AND sync.value_equal(d.path, c.shopify_value, d.shop_value)
		LEFT JOIN LATERAL (SELECT o.kind FROM lock o WHERE o.product_id = d.product_id AND d.path LIKE o.pattern ORDER BY o.kind LIMIT 1) l ON true
		LEFT JOIN refused r ON r.product_id = d.product_id AND r.path = d.path AND r.new_value IS NOT DISTINCT FROM d.shop_value)
	SELECT array_agg(ROW(d.product_id, d.path, d.base_value, d.local_value, d.shop_value, d.status, coalesce(d.outcome, t.outcome),
						 CASE WHEN d.outcome IS NULL THEN t.value ELSE d.value END,
						 CASE WHEN d.outcome IS NULL AND t.outcome = 'manual' THEN t.rule ELSE coalesce(d.rule, t.rule) END,
						 CASE WHEN d.outcome IS NULL AND t.outcome = 'manual' THEN t.reason ELSE coalesce(d.reason, t.reason) END, d.conflict_id, t.facts)::sync.merge_field)
	INTO fields
	FROM decided d
	-- Only where nothing else has decided: the tree and what it wants to know are not free.
	LEFT JOIN LATERAL (
		SELECT k.outcome, k.value, k.rule, k.reason, f.facts
		FROM (SELECT sync.merge_facts(d.product_id, d.path, d.base_value, d.shop_value, d.facts || coalesce(d.sale, '{}')) AS facts
			  WHERE d.outcome IS NULL OFFSET 0) f
		CROSS JOIN LATERAL (
			SELECT m.* FROM sync.decide_merge(d.path, d.base_value, d.local_value, d.shop_value, rules, f.facts) m WHERE d.status = 'shop'
			UNION ALL
			SELECT m.* FROM sync.decide_field(d.path, d.base_value, d.local_value, d.shop_value, rules, f.facts) m WHERE d.status <> 'shop') k) t ON true;
	fields := sync.merge_clashes(sync.merge_freeze(merge_fields.run_id, merge_fields.connection, coalesce(fields, '{}')));
	PERFORM sync.merge_log(merge_fields.run_id, merge_fields.connection, fields);
	RETURN fields;
END
$$;

-- What the decision tree wants to know of a field beside its three values: who changed ours last, and what was approved.
CREATE FUNCTION sync.merge_facts(product_id bigint, path text, base_value jsonb, shop_value jsonb, facts jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	class text := sync.field_class(path);
	last record;
BEGIN
	facts := facts || jsonb_build_object('was_set', base_value IS NOT NULL);
	IF class = 'price' THEN
		RETURN facts || coalesce(jsonb_build_object('approved_price', sync.approved_value(product_id, path)), '{}');
	END IF;
	SELECT v.kind, c.kind AS connection_kind INTO last
	FROM sync.product_version v LEFT JOIN sync.connection c ON c.name = v.source
	WHERE v.product_id = merge_facts.product_id AND (v.changes ? merge_facts.path OR v.version = 1)
	ORDER BY v.version DESC LIMIT 1;
	RETURN facts || jsonb_build_object('etilize_updated', coalesce(last.connection_kind = 'etilize', false))
		-- A shop's value that is not the agreed one was edited there: it was not us.
		|| CASE class WHEN 'description' THEN jsonb_build_object('manual_edit', coalesce(last.kind IN ('manual', 'rollback'), false)
							  OR base_value IS NOT NULL AND NOT sync.value_equal(path, base_value, shop_value)) ELSE '{}' END;
END
$$;

-- The newest value of a field that was not taken by a rule of its own: set or approved by a person, sent by a feed, or changed in the
-- shop alone; else the first.  NULL where there is none.
CREATE FUNCTION sync.approved_value(product_id bigint, path text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	value jsonb;
BEGIN
	SELECT sync.change_new(v.changes -> approved_value.path) INTO value
	FROM sync.product_version v
	WHERE v.product_id = approved_value.product_id AND v.changes ? approved_value.path
	  AND coalesce(sync.change_info(v.changes -> approved_value.path) ->> 'rule', 'person') = 'person'
	ORDER BY v.version DESC LIMIT 1;
	IF NOT FOUND THEN
		SELECT coalesce(sync.change_old(v.changes -> approved_value.path), sync.document_get(v.document, approved_value.path)) INTO value
		FROM sync.product_version v
		WHERE v.product_id = approved_value.product_id AND (v.changes ? approved_value.path OR v.version = 1)
		ORDER BY v.version LIMIT 1;
	END IF;
	RETURN nullif(value, 'null');
END
$$;
COMMENT ON FUNCTION sync.approved_value(bigint, text) IS 'The newest value of a field that no rule of the decision tree took, else the first that it had: what small automatic steps are added up against.';

-- A field that would go A, B, A, B, A within the window is frozen instead: something on each side puts its own value back.
CREATE FUNCTION sync.merge_freeze(run_id bigint, connection text, fields sync.merge_field[]) RETURNS sync.merge_field[]
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	span interval := sync.setting_value(merge_freeze.connection, 'oscillation_window')::interval;
	swinging record;
	frozen text[] := '{}';
BEGIN
	FOR swinging IN
		SELECT f.product_id, f.path, f.local_value, f.value
		FROM unnest(fields) f
		WHERE f.outcome IN ('use_shopify', 'use_lower', 'apply_rule') AND f.conflict_id IS NULL AND span > interval '0'
		  AND (SELECT count(*) = 3 AND bool_and(CASE WHEN h.n % 2 = 1
						   THEN sync.value_equal(f.path, h.old, f.value) AND sync.value_equal(f.path, h.new, f.local_value)
						   ELSE sync.value_equal(f.path, h.old, f.local_value) AND sync.value_equal(f.path, h.new, f.value) END)
			   FROM (SELECT row_number() OVER (ORDER BY v.version DESC) AS n,
							nullif(sync.change_old(v.changes -> f.path), 'null') AS old, nullif(sync.change_new(v.changes -> f.path), 'null') AS new
					 FROM sync.product_version v
					 WHERE v.product_id = f.product_id AND v.changes ? f.path AND v.created_at > now() - span
					 ORDER BY v.version DESC LIMIT 3) h)
	LOOP
		INSERT INTO sync.field_lock (product_id, path, kind, reason, created_by)
		VALUES (swinging.product_id, swinging.path, 'freeze', format('went from %s to %s and back twice', swinging.value, swinging.local_value), 'product_sync')
		ON CONFLICT DO NOTHING;
		frozen := frozen || (swinging.product_id || ' ' || swinging.path);
		PERFORM sync.notify(merge_freeze.run_id, 'warning', 'field_frozen',
			format('%s of product %s goes back and forth between %s and %s; it is frozen until a person decides.', swinging.path,
				   swinging.product_id, left(swinging.local_value::text, 200), left(swinging.value::text, 200)),
			jsonb_build_object('connection', merge_freeze.connection, 'product_id', swinging.product_id, 'path', swinging.path));
	END LOOP;
	IF frozen = '{}' THEN
		RETURN fields;
	END IF;
	RETURN ARRAY(
		SELECT CASE WHEN f.product_id || ' ' || f.path = ANY (frozen) AND f.conflict_id IS NULL
					THEN ROW(f.product_id, f.path, f.base_value, f.local_value, f.shop_value, f.status, 'manual', NULL, 'oscillation',
							 format('went from %s to %s and back twice', f.value, f.local_value), NULL, f.facts)::sync.merge_field
					ELSE f END
		FROM unnest(fields) f);
END
$$;

-- Decisions of the tree, for people and for sync_simulate_rule(); a conflict that is open already with these values was logged before.
CREATE FUNCTION sync.merge_log(run_id bigint, connection text, fields sync.merge_field[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
BEGIN
	INSERT INTO sync.decision_log (connection, product_id, path, field, base_value, local_value, shopify_value, context, outcome, value, rule,
								   reason, run_id)
	SELECT merge_log.connection, f.product_id, f.path, sync.field_class(f.path), f.base_value, f.local_value, f.shop_value,
		   coalesce(f.facts, '{}'),
		   f.outcome, f.value, f.rule, f.reason, merge_log.run_id
	FROM unnest(fields) f
	WHERE (f.status IN ('both', 'drift') OR f.facts IS NOT NULL AND f.outcome = 'manual')
	  AND NOT EXISTS (SELECT FROM sync.conflict c
					  WHERE c.connection = merge_log.connection AND c.product_id = f.product_id AND c.path = f.path
						AND c.state = 'open' AND f.outcome = 'manual'
						AND sync.value_equal(f.path, c.local_value, f.local_value) AND sync.value_equal(f.path, c.shopify_value, f.shop_value));
END
$$;
