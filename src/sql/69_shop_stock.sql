-- Stock, location by location: the ERP's against the shop's, with what both last agreed on between them; and what is to be sent.
--
-- The ERP feeds our side: when its number of the store that is the location changes, that is our number from then on.  A location
-- without a store is the shop's own business, and we follow it.  What is available is what is on hand less what is reserved, never a sum
-- over locations; what is sellable of it is what sync.stock_rule says.
--
-- A reading of the ERP that is not newer than the last change in the shop may lack what was sold since: it lowers the shop's stock, but never
-- raises it.  Such a level waits as a conflict of the rule stale_snapshot, which the next newer reading ends.

-- What the ERP says of the variants of some products (NULL: of all of a shop), by location, with the numbers of the rule that counts.
CREATE FUNCTION sync.erp_stock(connection text, product_ids bigint[])
RETURNS TABLE (variant_id bigint, location_id bigint, available numeric, seen_at timestamptz, safety_stock integer, minimum integer, maximum integer)
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
BEGIN
	IF NOT EXISTS (SELECT FROM sync.shopify_location o WHERE o.connection = erp_stock.connection AND o.store <> '') THEN
		RETURN;
	END IF;
	RETURN QUERY
	WITH wanted AS MATERIALIZED (
		SELECT v.id, v.sku, sync.item_key(v.sku) AS key
		FROM sync.listing l JOIN sync.variant v ON v.id = l.variant_id
		WHERE l.connection = erp_stock.connection AND (product_ids IS NULL OR v.product_id = ANY (product_ids))),
	erp AS MATERIALIZED (
		SELECT c.name, sync.setting_value(c.name, 'erp_import_lag')::interval AS lag FROM sync.connection c WHERE c.kind = 'xorosoft' AND c.enabled),
	item AS MATERIALIZED (
		-- Two items whose numbers differ in hyphens only: the one that is sold, then the one that is written as here.
		SELECT DISTINCT ON (w.id, x.connection) w.id, x.connection, x.item_number, c.lag
		FROM wanted w JOIN sync.xorosoft_item x ON x.item_key = w.key AND x.gone_since IS NULL
		JOIN erp c ON c.name = x.connection
		ORDER BY w.id, x.connection, coalesce(x.active, true) DESC, x.item_number = w.sku DESC, x.id),
	level AS MATERIALIZED (
		SELECT i.id, o.remote_id, min(o.store) AS store, sum(coalesce(s.available, s.on_hand - coalesce(s.allocated, 0))) AS available,
			   min(s.seen_at - i.lag) AS seen_at
		FROM item i
		JOIN sync.xorosoft_stock s ON s.connection = i.connection AND s.item_number = i.item_number AND s.gone_since IS NULL
		JOIN sync.shopify_location o ON o.connection = erp_stock.connection AND o.store = s.store
		GROUP BY i.id, o.remote_id)
	SELECT l.id, l.remote_id, l.available, l.seen_at, r.safety_stock, r.minimum, r.maximum
	FROM level l
	LEFT JOIN (SELECT k.* FROM (SELECT array_agg(n.id) AS ids, array_agg(n.remote_id) AS locations, array_agg(n.store) AS stores,
									   array_agg(n.available) AS numbers FROM level n) a
			   CROSS JOIN LATERAL sync.stock_rules(erp_stock.connection, a.ids, a.locations, a.stores, a.numbers) k) r
		ON r.variant_id = l.id AND r.location_id = l.remote_id;
END
$$;

CREATE TYPE sync.merge_stock AS (variant_id bigint, product_id bigint, location_id bigint, path text, base numeric, local numeric, shop numeric,
	erp numeric, erp_seen_at timestamptz, shop_at timestamptz, tracked boolean, policy text, follows boolean,
	sellable numeric, erp_was numeric, fresh boolean, chosen boolean,
	outcome text, value numeric, rule text, reason text, conflict_id bigint);

-- The stock of some products (NULL: of all of a shop) that is not as it was agreed.
CREATE FUNCTION sync.stock_differing(connection text, product_ids bigint[]) RETURNS SETOF sync.merge_stock
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' SET jit = off AS $$
#variable_conflict use_column
DECLARE
	below_zero constant boolean := sync.setting_value(stock_differing.connection, 'push_negative')::boolean;
BEGIN
	-- Looked up row by row along its indexes: statistics of tables that are being filled mislead the planner, and cost more than they save.
	RETURN QUERY
	WITH erp AS MATERIALIZED (SELECT * FROM sync.erp_stock(stock_differing.connection, product_ids))
	SELECT v.id, v.product_id, s.location_id, sync.stock_path(v.sku, s.location_id), n.base,
		   CASE WHEN f.fresh THEN f.sellable ELSE n.local END,
		   -- A change that was our own push is not one that the ERP has to know of.
		   s.available::numeric, e.available, e.seen_at, CASE WHEN n.pushed_at = s.remote_updated_at THEN NULL ELSE coalesce(s.remote_updated_at, s.seen_at) END,
		   (l.info ->> 'tracked')::boolean, l.info ->> 'policy', coalesce(o.store, '') = '',
		   f.sellable, n.erp, f.fresh, coalesce(n.chosen AND NOT f.fresh, false),
		   NULL::text, NULL::numeric, NULL::text, NULL::text, NULL::bigint
	FROM (SELECT w.id, w.product_id, w.sku FROM sync.variant w WHERE product_ids IS NULL OR w.product_id = ANY (product_ids) OFFSET 0) v
	CROSS JOIN LATERAL (
		SELECT i.inventory_item_id,
			   (SELECT m.variants -> i.remote_id::text FROM sync.product_listing p
				JOIN sync.shopify_product m ON m.connection = p.connection AND m.remote_id = p.remote_id
				WHERE p.id = i.product_listing_id) AS info
		FROM sync.listing i WHERE i.connection = stock_differing.connection AND i.variant_id = v.id LIMIT 1) l
	CROSS JOIN LATERAL (
		SELECT q.location_id, q.available, q.remote_updated_at, q.seen_at FROM sync.shopify_stock q
		WHERE q.connection = stock_differing.connection AND q.inventory_item_id = l.inventory_item_id OFFSET 0) s
	LEFT JOIN LATERAL (
		-- Of what was sent without an answer: that it is there is agreed; that the level is another since then is not.
		SELECT q.id, CASE WHEN q.sent IS NULL THEN q.base WHEN q.sent = s.available THEN q.sent
						  WHEN s.remote_updated_at > q.sent_seen THEN NULL ELSE q.base END AS base, q.local, q.erp,
			   q.sent = s.available AS answered, coalesce(q.sellable, floor(q.erp)) AS sellable, q.pushed_at, q.chosen
		FROM sync.stock_level q
		WHERE q.connection = stock_differing.connection AND q.variant_id = v.id AND q.location_id = s.location_id LIMIT 1) n ON true
	LEFT JOIN sync.shopify_location o ON o.connection = stock_differing.connection AND o.remote_id = s.location_id
	LEFT JOIN erp e ON e.variant_id = v.id AND e.location_id = s.location_id
	CROSS JOIN LATERAL (
		SELECT r.sellable, r.sellable IS NOT NULL AND (e.available IS DISTINCT FROM n.erp OR r.sellable IS DISTINCT FROM n.sellable) AS fresh
		FROM (SELECT sync.sellable(e.available, e.safety_stock, e.minimum, e.maximum, below_zero AND l.info ->> 'policy' = 'continue') AS sellable) r) f
	WHERE (n.id IS NULL OR n.answered OR n.base IS DISTINCT FROM s.available OR n.local IS DISTINCT FROM n.base OR f.fresh)
	  -- What is on its way to the shop is compared when that is known to have come to its end.
	  AND (v.id, s.location_id) NOT IN (SELECT p.variant_id, p.location_id FROM sync.push p
		   WHERE p.connection = stock_differing.connection AND p.part = 'stock' AND p.ended_at IS NULL AND p.state IN ('sent', 'retry'));
END
$$;

CREATE FUNCTION sync.shop_stock_merge(run_id bigint, connection text, product_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	rules jsonb;
	differing sync.merge_stock[];
	held sync.merge_stock[];
	free bigint[];
	levels sync.merge_stock[];
	counts jsonb;
BEGIN
	-- One merge of a connection's stock at a time, so that a level is never decided twice.
	PERFORM pg_advisory_xact_lock(hashtextextended('product_sync.stock ' || shop_stock_merge.connection, 0));
	differing := ARRAY(SELECT d FROM sync.stock_differing(shop_stock_merge.connection, product_ids) d);
	IF product_ids IS NULL THEN
		-- Who holds a variant may wait for the lock above, or merge another shop's stock of it: that one is compared a second later.
		free := ARRAY(SELECT v.id FROM sync.variant v WHERE v.id IN (SELECT d.variant_id FROM unnest(differing) d)
					  ORDER BY v.id FOR NO KEY UPDATE SKIP LOCKED);
		held := ARRAY(SELECT d FROM unnest(differing) d WHERE d.variant_id <> ALL (free));
		IF held <> '{}' THEN
			differing := ARRAY(SELECT d FROM unnest(differing) d WHERE d.variant_id = ANY (free));
			PERFORM sync.job_enqueue('shopify_stock_merge', shop_stock_merge.run_id, jsonb_build_object('connection', shop_stock_merge.connection),
				concat_ws('/', shop_stock_merge.connection, shop_stock_merge.run_id), clock_timestamp() + interval '1 second');
		END IF;
	END IF;
	IF differing = '{}' THEN
		RETURN '{}';
	END IF;
	rules := sync.decision_rules(shop_stock_merge.connection);
	SELECT array_agg(ROW(d.variant_id, d.product_id, d.location_id, d.path, d.base, d.local, d.shop, d.erp, d.erp_seen_at, d.shop_at, d.tracked,
			d.policy, d.follows, d.sellable, d.erp_was, d.fresh, d.chosen, CASE WHEN h.late THEN 'manual' ELSE w.outcome END,
			CASE WHEN NOT h.late THEN w.value END, CASE WHEN h.late THEN 'stale_snapshot' ELSE w.rule END,
			CASE WHEN h.late THEN format('the ERP''s %s would raise the shop''s %s, but it is of before the shop''s last change: it waits for a newer reading',
				trim_scale(d.erp), trim_scale(d.shop)) ELSE w.reason END, c.id)::sync.merge_stock)
	INTO levels
	FROM unnest(differing) d
	LEFT JOIN sync.conflict c ON c.connection = shop_stock_merge.connection AND c.product_id = d.product_id AND c.path = d.path
		AND c.state = 'resolved' AND (c.local_value #>> '{}')::numeric IS NOT DISTINCT FROM d.local
		AND (c.shopify_value #>> '{}')::numeric IS NOT DISTINCT FROM d.shop
	CROSS JOIN LATERAL (SELECT
		CASE WHEN c.id IS NOT NULL THEN CASE c.choice WHEN 'shopify' THEN 'use_shopify' WHEN 'local' THEN 'use_local' ELSE 'apply_rule' END
			 WHEN d.local IS NOT DISTINCT FROM d.shop THEN 'converged'
			 WHEN d.local IS NULL OR d.follows THEN 'use_shopify'
			 WHEN d.shop IS NULL OR d.tracked IS FALSE THEN 'skip'
			 WHEN d.base IS NOT NULL AND d.local = d.base AND d.shop >= 0 THEN 'use_shopify'
			 WHEN d.base IS NOT NULL AND d.shop = d.base THEN 'local' END AS outcome,
		CASE WHEN c.choice = 'custom' THEN (c.custom_value #>> '{}')::numeric WHEN c.choice = 'local' THEN d.local ELSE d.shop END AS value,
		CASE WHEN c.id IS NOT NULL THEN 'person' WHEN d.follows THEN 'no_store' ELSE 'only_one_changed' END AS rule,
		'' AS reason) o
	LEFT JOIN LATERAL (SELECT o.outcome, o.value, o.rule, o.reason WHERE o.outcome IS NOT NULL) k ON true
	LEFT JOIN LATERAL (
		SELECT u.outcome, u.value, u.rule, u.reason
		FROM (SELECT WHERE o.outcome IS NULL OFFSET 0) undecided
		CROSS JOIN LATERAL sync.decide_field(d.path, to_jsonb(d.base), to_jsonb(d.local), to_jsonb(d.shop), rules, jsonb_strip_nulls(jsonb_build_object(
			'erp_seen_at', d.erp_seen_at, 'shopify_changed_at', d.shop_at, 'tracked', d.tracked, 'policy', d.policy, 'now', now()))) u) t ON true
	CROSS JOIN LATERAL (SELECT coalesce(k.outcome, t.outcome) AS outcome, coalesce(k.value, (t.value #>> '{}')::numeric) AS value,
							   coalesce(k.rule, t.rule) AS rule, coalesce(k.reason, t.reason) AS reason) w
	-- Whether the ERP's number would raise the shop's and may be older than a sale.  What a person chose is his.
	CROSS JOIN LATERAL (SELECT coalesce(w.outcome IN ('local', 'use_local', 'use_lower', 'apply_rule') AND w.rule <> 'person' AND NOT d.chosen
			AND d.local = d.sellable AND d.erp_seen_at <= d.shop_at
			AND CASE w.outcome WHEN 'local' THEN d.local ELSE w.value END > d.shop, false) AS late) h;
	PERFORM sync.stock_write(shop_stock_merge.connection, levels);
	counts := sync.stock_conflicts(shop_stock_merge.run_id, shop_stock_merge.connection, levels);
	PERFORM sync.stock_notify(shop_stock_merge.run_id, shop_stock_merge.connection, levels);
	PERFORM sync.shop_up_wanted(shop_stock_merge.connection) WHERE EXISTS (
		SELECT FROM unnest(levels) s WHERE s.outcome IN ('local', 'use_local')
			OR s.outcome IN ('use_lower', 'apply_rule') AND s.value IS DISTINCT FROM s.shop);
	RETURN counts || jsonb_build_object('stock', (SELECT count(*) FROM unnest(levels) s WHERE s.outcome <> 'local'));
END
$$;
COMMENT ON FUNCTION sync.shop_stock_merge(bigint, text, bigint[]) IS
'Compares the stock of these products, or of all, with the shop''s; returns counts. Decisions are logged, disagreements for people become conflicts.';

-- The first stock of products that were made from the shop: the shop's, where the ERP has no say in it.  Variants beside Shopify's numbers of
-- their inventory items.
CREATE FUNCTION sync.stock_begin(run_id bigint, connection text, product_ids bigint[], variant_ids bigint[], items bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
	level record;
BEGIN
	IF EXISTS (SELECT FROM sync.shopify_location o WHERE o.connection = stock_begin.connection AND o.store <> '') THEN
		PERFORM sync.shop_stock_merge(stock_begin.run_id, stock_begin.connection, product_ids);
		RETURN;
	END IF;
	SELECT array_agg(v.id ORDER BY v.id, q.location_id) AS variants, array_agg(q.location_id ORDER BY v.id, q.location_id) AS locations,
		   array_agg(q.available ORDER BY v.id, q.location_id) AS available
	INTO level
	FROM unnest(variant_ids, items) AS v (id, item)
	JOIN sync.shopify_stock q ON q.connection = stock_begin.connection AND q.inventory_item_id = v.item
	WHERE q.inventory_item_id = ANY (items);
	PERFORM sync.stock_levels_insert(stock_begin.connection, level.variants, level.locations, level.available);
END
$$;

-- First levels, on which both sides agree.
CREATE FUNCTION sync.stock_levels_insert(connection text, variant_ids bigint[], locations bigint[], available integer[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'auto' AS $$
#variable_conflict use_column
BEGIN
	INSERT INTO sync.stock_level (connection, variant_id, location_id, local, base, agreed_at)
	SELECT stock_levels_insert.connection, l.variant_id, l.location_id, l.available, l.available, now()
	FROM unnest(variant_ids, locations, stock_levels_insert.available) AS l (variant_id, location_id, available);
END
$$;

-- Levels as they were decided.  Resolving to our number makes the shop's the base: then only ours differs, and is sent.
CREATE FUNCTION sync.stock_write(connection text, levels sync.merge_stock[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'auto' AS $$
#variable_conflict use_column
BEGIN
	INSERT INTO sync.stock_level AS n (connection, variant_id, location_id, erp, sellable, erp_seen_at, chosen, local, base, agreed_at)
	SELECT stock_write.connection, s.variant_id, s.location_id, s.erp, s.sellable, s.erp_seen_at,
		   s.rule = 'person' OR s.chosen AND s.outcome IN ('local', 'manual'),
		   CASE WHEN s.outcome IN ('use_shopify', 'use_lower', 'apply_rule') THEN coalesce(s.value, s.shop) ELSE s.local END,
		   CASE WHEN s.outcome IN ('manual', 'local', 'skip') THEN s.base ELSE s.shop END,
		   CASE WHEN s.outcome NOT IN ('manual', 'local', 'skip') THEN now() END
	FROM unnest(levels) s
	ORDER BY s.variant_id, s.location_id
	ON CONFLICT (connection, variant_id, location_id) DO UPDATE
	SET erp = coalesce(excluded.erp, n.erp), sellable = coalesce(excluded.sellable, n.sellable),
		erp_seen_at = coalesce(excluded.erp_seen_at, n.erp_seen_at), chosen = excluded.chosen, local = excluded.local,
		base = excluded.base, agreed_at = coalesce(excluded.agreed_at, n.agreed_at),
		sent = CASE WHEN excluded.base IS NULL OR excluded.base IS NOT DISTINCT FROM n.base AND excluded.agreed_at IS NULL THEN n.sent END
	WHERE (n.erp, n.sellable, n.chosen, n.local, n.base) IS DISTINCT FROM
		  (coalesce(excluded.erp, n.erp), coalesce(excluded.sellable, n.sellable), excluded.chosen, excluded.local, excluded.base) OR n.sent IS NOT NULL;
	PERFORM sync.stock_sum(stock_write.connection, ARRAY(SELECT DISTINCT s.variant_id FROM unnest(levels) s));
END
$$;

-- What the catalogue shows is what can be sold in all.
CREATE FUNCTION sync.stock_sum(connection text, variant_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
	UPDATE sync.variant v SET stock = t.stock
	FROM (SELECT n.variant_id, sum(n.local) AS stock FROM sync.stock_level n
		  WHERE n.variant_id = ANY (variant_ids) AND n.connection = stock_sum.connection
		  GROUP BY n.variant_id) t
	WHERE v.id = t.variant_id AND v.stock IS DISTINCT FROM t.stock;
END
$$;

CREATE FUNCTION sync.stock_conflicts(run_id bigint, connection text, levels sync.merge_stock[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	manual sync.merge_stock[] := ARRAY(SELECT s FROM unnest(levels) s WHERE s.outcome = 'manual');
	opened jsonb := '{}';
BEGIN
	INSERT INTO sync.decision_log (connection, product_id, variant_id, path, field, base_value, local_value, shopify_value, context, outcome,
								   value, rule, reason, run_id)
	SELECT stock_conflicts.connection, s.product_id, s.variant_id, s.path, 'inventory', to_jsonb(s.base), to_jsonb(s.local), to_jsonb(s.shop),
		   jsonb_strip_nulls(jsonb_build_object('erp_seen_at', s.erp_seen_at, 'shopify_changed_at', s.shop_at, 'tracked', s.tracked, 'policy', s.policy)),
		   s.outcome, to_jsonb(s.value), s.rule, s.reason, stock_conflicts.run_id
	FROM unnest(levels) s
	WHERE s.outcome NOT IN ('converged', 'local', 'skip') AND s.rule NOT IN ('only_one_changed', 'no_store')
	  AND NOT EXISTS (SELECT FROM sync.conflict c
					  WHERE c.connection = stock_conflicts.connection AND c.product_id = s.product_id AND c.path = s.path AND c.state = 'open'
						AND s.outcome = 'manual' AND (c.local_value #>> '{}')::numeric IS NOT DISTINCT FROM s.local
						AND (c.shopify_value #>> '{}')::numeric IS NOT DISTINCT FROM s.shop);
	UPDATE sync.conflict c SET state = 'applied', closed_at = now() FROM unnest(levels) s WHERE c.id = s.conflict_id;
	UPDATE sync.conflict c
	SET state = CASE s.outcome WHEN 'converged' THEN 'converged' ELSE 'superseded' END::sync.conflict_state, closed_at = now()
	FROM unnest(levels) s
	WHERE c.connection = stock_conflicts.connection AND c.product_id = s.product_id AND c.path = s.path AND c.state IN ('open', 'resolved')
	  AND s.outcome <> 'manual';
	IF manual <> '{}' THEN
		opened := sync.conflict_open(stock_conflicts.run_id, stock_conflicts.connection,
			ARRAY(SELECT ROW(m.product_id, m.variant_id, m.location_id, m.path, 'inventory', to_jsonb(m.local), to_jsonb(m.shop), to_jsonb(m.base),
							 m.rule, m.reason)::sync.conflict_row FROM unnest(manual) m));
	END IF;
	RETURN jsonb_build_object('conflicts', coalesce((opened ->> 'opened')::bigint, 0));
END
$$;

-- What follows from levels for people and the ERP: what it owes is told of, once until it owes nothing; what was sold in the shop down to
-- little has the ERP read again.
CREATE FUNCTION sync.stock_notify(run_id bigint, connection text, levels sync.merge_stock[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	owed bigint;
	words text;
	details jsonb;
	sold bigint[] := ARRAY(SELECT DISTINCT s.variant_id FROM unnest(levels) s WHERE s.shop < s.base);
BEGIN
	SELECT count(*), string_agg(o.words, ', ' ORDER BY o.n) FILTER (WHERE o.n <= 5), jsonb_agg(o.detail ORDER BY o.n) FILTER (WHERE o.n <= 100)
	INTO owed, words, details
	FROM (SELECT row_number() OVER (ORDER BY s.erp, v.sku) AS n, format('%s of %s', trim_scale(-s.erp), v.sku) AS words,
				 jsonb_build_object('sku', v.sku, 'variant_id', v.id, 'location_id', s.location_id, 'erp', s.erp) AS detail
		  FROM unnest(levels) s JOIN sync.variant v ON v.id = s.variant_id
		  WHERE s.erp < 0 AND NOT s.follows AND coalesce(s.erp_was, 0) >= 0) o;
	IF owed > 0 THEN
		PERFORM sync.notify(run_id, 'warning', 'oversold',
			format('The ERP owes %s%s: shop "%s" is offered none.', words, CASE WHEN owed > 5 THEN format(' and %s more', owed - 5) ELSE '' END, connection),
			jsonb_build_object('connection', connection, 'levels', owed, 'first', details));
	END IF;
	IF sold <> '{}' THEN
		PERFORM sync.low_stock_sold(stock_notify.connection, sold);
	END IF;
END
$$;

CREATE FUNCTION sync.work_shopify_stock_merge(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
	job record;
	counts jsonb := '{}';
BEGIN
	FOR job IN
		SELECT j.run_id, coalesce(j.payload ->> 'connection', r.connection) AS connection
		FROM sync.job j LEFT JOIN sync.run r ON r.id = j.run_id WHERE j.id = ANY (job_ids) ORDER BY j.id
	LOOP
		counts := sync.counts_add(counts, sync.shop_stock_merge(job.run_id, job.connection, NULL));
	END LOOP;
	RETURN counts;
END
$$;
ALTER FUNCTION sync.work_shopify_stock_merge(bigint[]) OWNER TO sync_worker;

-- The ERP's stock was read: each shop compares its own.
CREATE FUNCTION sync.shops_compare_stock() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	PERFORM sync.job_enqueue('shopify_stock_merge', NULL, jsonb_build_object('connection', c.name), c.name)
	FROM sync.connection c
	WHERE c.kind = 'shopify' AND c.enabled AND EXISTS (SELECT FROM sync.shopify_location o WHERE o.connection = c.name AND o.store <> '');
END
$$;

-- What is to be sent ---------------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.shop_outbox(connection text, product_ids bigint[] DEFAULT NULL)
RETURNS TABLE (product_id bigint, remote_id bigint, path text, shopify_value jsonb, local_value jsonb, variant_id bigint, location_id bigint)
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	mirror_ids bigint[] := ARRAY(SELECT m.id FROM sync.shopify_product m
		JOIN sync.product_listing l ON l.connection = m.connection AND l.remote_id = m.remote_id AND l.merged_at IS NOT NULL
		WHERE m.connection = shop_outbox.connection AND m.gone_since IS NULL AND (product_ids IS NULL OR l.product_id = ANY (product_ids)));
BEGIN
	RETURN QUERY
	SELECT p.product_id, p.remote_id, d.path, d.shop_value, d.local_value, NULL::bigint, NULL::bigint
	FROM sync.merge_products(shop_outbox.connection, mirror_ids) p
	CROSS JOIN LATERAL sync.document_merge(p.base, p.base_local, p.local, p.shop) d
	WHERE d.status = 'local'
	  AND NOT EXISTS (SELECT FROM sync.conflict c WHERE c.connection = shop_outbox.connection AND c.product_id = p.product_id
					  AND c.path = d.path AND c.state IN ('open', 'resolved'))
	  AND NOT EXISTS (SELECT FROM sync.field_lock k WHERE k.product_id = p.product_id AND k.kind = 'freeze'
					  AND d.path LIKE sync.path_pattern(k.path))
	  AND NOT EXISTS (SELECT FROM sync.product_listing l WHERE l.id = p.listing_id AND l.sent ? d.path)
	UNION ALL
	SELECT v.product_id, l.remote_id, sync.stock_path(v.sku, n.location_id), to_jsonb(n.base), to_jsonb(n.local), v.id, n.location_id
	FROM sync.stock_level n
	JOIN sync.variant v ON v.id = n.variant_id
	JOIN sync.listing l ON l.connection = n.connection AND l.variant_id = n.variant_id
	JOIN sync.product_listing p ON p.id = l.product_listing_id
	JOIN sync.shopify_product m ON m.connection = p.connection AND m.remote_id = p.remote_id AND m.gone_since IS NULL
		-- A variant that the shop no longer has is for a person; its last stock is still in the mirror.
		AND m.variants ? l.remote_id::text
	JOIN sync.shopify_stock s ON s.connection = n.connection AND s.inventory_item_id = l.inventory_item_id AND s.location_id = n.location_id
	WHERE n.connection = shop_outbox.connection AND (product_ids IS NULL OR v.product_id = ANY (product_ids))
	  AND n.local IS DISTINCT FROM n.base AND s.available IS NOT DISTINCT FROM n.base AND n.base IS NOT NULL
	  AND NOT EXISTS (SELECT FROM sync.conflict c WHERE c.connection = n.connection AND c.product_id = v.product_id
					  AND c.path = sync.stock_path(v.sku, n.location_id) AND c.state IN ('open', 'resolved'));
END
$$;
COMMENT ON FUNCTION sync.shop_outbox(text, bigint[]) IS
'What only we changed since both sides agreed, of these products or all: what a push is to send. Fields that wait for a person or are frozen are left out.';

-- A push went through: what the shop answered is the new base, and what the mirror shows.  document: the product as the shop returned it,
-- in the mirror's shape; paths: what was sent.  Stock has shop_pushed_stock().
CREATE FUNCTION sync.shop_pushed(connection text, remote_id bigint, document jsonb, paths text[], updated_at timestamptz DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	products sync.merge_product[];
BEGIN
	-- Compared once more: what somebody else changed meanwhile came back with it.
	UPDATE sync.shopify_product m SET document = shop_pushed.document, seen_at = clock_timestamp(), merge_due = true,
		remote_updated_at = greatest(m.remote_updated_at, shop_pushed.updated_at)
	WHERE m.connection = shop_pushed.connection AND m.remote_id = shop_pushed.remote_id;
	products := ARRAY(SELECT p FROM sync.merge_products(shop_pushed.connection, ARRAY(SELECT m.id FROM sync.shopify_product m
		WHERE m.connection = shop_pushed.connection AND m.remote_id = shop_pushed.remote_id)) p);
	PERFORM sync.base_write(shop_pushed.connection, products,
		ARRAY(SELECT ROW(p.product_id, o, NULL, sync.document_get(p.local, o), sync.document_get(p.shop, o), 'local', 'converged', NULL, NULL, NULL, NULL, NULL)::sync.merge_field
			  FROM unnest(products) p, unnest(paths) o));
END
$$;
COMMENT ON FUNCTION sync.shop_pushed(text, bigint, jsonb, text[], timestamptz) IS 'Writes what a shop answered to a push, with its updatedAt, as the new base of the fields that were sent, so that their echo is nothing and an older reading does not undo it.';

CREATE FUNCTION sync.shop_pushed_stock(connection text, variant_id bigint, location_id bigint, available integer, updated_at timestamptz DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
	UPDATE sync.shopify_stock s SET available = shop_pushed_stock.available, seen_at = now(),
		remote_updated_at = greatest(s.remote_updated_at, shop_pushed_stock.updated_at)
	FROM sync.listing l
	WHERE l.connection = shop_pushed_stock.connection AND l.variant_id = shop_pushed_stock.variant_id
	  AND s.connection = l.connection AND s.inventory_item_id = l.inventory_item_id AND s.location_id = shop_pushed_stock.location_id;
	UPDATE sync.stock_level n SET base = shop_pushed_stock.available, sent = NULL, agreed_at = now(),
		pushed_at = coalesce(shop_pushed_stock.updated_at, n.pushed_at)
	WHERE n.connection = shop_pushed_stock.connection AND n.variant_id = shop_pushed_stock.variant_id AND n.location_id = shop_pushed_stock.location_id;
END
$$;
COMMENT ON FUNCTION sync.shop_pushed_stock(text, bigint, bigint, integer, timestamptz) IS 'Writes what the shop has after a push of stock as the new base; updated_at: when, by the shop''s clock, so that an older reading does not undo it.';
