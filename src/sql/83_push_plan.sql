-- Which calls a push is made of: 250 levels of stock a call; many products in one request, each with mutations of its own; above some
-- hundred products a bulk mutation, which costs next to nothing.  The cheapest that does it is taken.

CREATE FUNCTION sync.install_part_83_push_plan() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('push_stock_batch', '250', 'count', 'Shopify: levels of stock in one call; 250 is Shopify''s limit.'),
		('push_products', '40', 'count', 'Shopify: most products that one request changes; what is asked for together is answered, or lost, together.'),
		('push_bulk_above', '300', 'count', 'Shopify: when at least so many products change in the same way, a bulk mutation does it, where that is cheaper.')
	ON CONFLICT (name) DO NOTHING;
	INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, run_state, description) VALUES
		('shopify_push_plan', false, 2, 1, 10, NULL, 'What waits to be sent to a shop, put together to calls'),
		('shopify_push', true, 2, 16, 8, NULL, 'One call that changes a shop, with the reading before it')
	ON CONFLICT (kind) DO NOTHING;
END
$$;

CREATE FUNCTION sync.push_plan_wanted(connection text) RETURNS SETOF bigint
LANGUAGE sql SET search_path = '' AS $$
	-- Products first: their calls wait for points, those of stock hardly do.
	SELECT sync.job_enqueue('shopify_push_plan', NULL, jsonb_build_object('connection', connection, 'part', p.part), connection || '/' || p.part)
	FROM (VALUES (1, 'edit'), (2, 'stock')) AS p (no, part) ORDER BY p.no
$$;

-- What a product's changes cost ----------------------------------------------------------------------------------------------------

-- Which mutation changes a field: product, metafields, images, variants, variant_create, variant_delete.
CREATE FUNCTION sync.push_root(path text, value jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN sync.is_variant_path(path) THEN CASE WHEN value IS NULL OR value = 'null' THEN 'variant_delete' ELSE 'variant_create' END
				WHEN path LIKE 'variants[%' THEN 'variants'
				WHEN path LIKE 'metafields.%' THEN 'metafields'
				WHEN path = 'images' THEN 'images' ELSE 'product' END
$$;

-- Points that a product's changes cost, when they are read before and then sent.  ids: how many nodes are read.  whole: it is read by itself,
-- with all its variants.  mutations: how many roots the request has.  bulk: which mutation alone would do, so that they can go in bulk; NULL
-- where there is none.
CREATE FUNCTION sync.push_cost(wanted jsonb, OUT reading numeric, OUT ids integer, OUT whole boolean, OUT sending numeric, OUT mutations integer,
	OUT bulk text)
LANGUAGE plpgsql IMMUTABLE SET search_path = '' AS $$
DECLARE
	f record;
BEGIN
	SELECT count(DISTINCT e.sku) FILTER (WHERE e.root = 'variants')::integer AS skus, count(*) FILTER (WHERE e.root = 'metafields')::integer AS metafields,
		   bool_or(e.root = 'product') AS product, bool_or(e.root = 'images') AS images, bool_or(e.root = 'variant_create') AS creates,
		   bool_or(e.root = 'variant_delete') AS deletes, bool_or(e.root <> 'variants') AS own,
		   bool_or(e.key LIKE 'attributes.%')::integer AS seo, bool_or(e.key ~ '\]\.(cost|weight)$')::integer + bool_or(e.key ~ '\]\.cost$')::integer AS item,
		   bool_or(e.key LIKE '%].options.%')::integer AS options
	INTO f
	FROM (SELECT w.key, sync.push_root(w.key, w.value) AS root, CASE WHEN w.key LIKE 'variants[%' THEN (sync.document_path(w.key))[2] END AS sku FROM jsonb_each(wanted) w) e;
	whole := f.skus > 50 OR f.images OR f.creates OR f.deletes;
	ids := CASE WHEN whole THEN 0 ELSE f.own::integer + f.skus END;
	-- Each node costs what any of them is asked for.
	reading := CASE WHEN whole THEN 1 + sync.shopify_list_cost(250, 3) + CASE WHEN f.images THEN sync.shopify_list_cost(250, 1) ELSE 0 END ELSE ids END
		* CASE WHEN whole THEN 1 ELSE 1 + f.seo + f.item + f.options + CASE WHEN f.metafields > 0 THEN sync.shopify_list_cost(f.metafields, 0) ELSE 0 END END;
	mutations := f.product::integer + ceil(f.skus / 250.0)::integer + 2 * ceil(f.metafields / 25.0)::integer + 3 * f.images::integer + f.creates::integer + f.deletes::integer;
	sending := 10 * mutations + f.seo + round(0.2 * f.skus) + f.item + f.options + 3 * f.creates::integer + 3 * f.images::integer;
	bulk := CASE WHEN whole THEN NULL WHEN NOT f.own THEN 'variants' WHEN f.skus = 0 AND f.metafields = 0 THEN 'product' END;
END
$$;
COMMENT ON FUNCTION sync.push_cost(jsonb) IS 'Points that it costs to read and to change these fields of one product ({"path": value}), how many nodes that reads and mutations it takes, and which mutation alone would do.';

-- A bulk mutation: where to upload, the start, and some looks at whether it is done.
CREATE FUNCTION sync.push_bulk_cost() RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT 30::numeric';

CREATE FUNCTION @extschema@.sync_plan_shopify_up(run_id bigint)
RETURNS TABLE (part text, method text, products bigint, items bigint, calls bigint, points numeric, expected interval)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	shop text;
	kind text;
	bucket sync.rate_limit;
	rate numeric;
	level numeric;
	spent numeric := 0;
BEGIN
	SELECT r.connection, r.kind INTO shop, kind FROM sync.run r WHERE r.id = sync_plan_shopify_up.run_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no run %', run_id USING ERRCODE = 'no_data_found';
	ELSIF kind <> 'shopify_up' THEN
		RAISE EXCEPTION 'run % sends nothing to a shop: it is of kind %', run_id, kind USING ERRCODE = 'object_not_in_prerequisite_state';
	END IF;
	SELECT * INTO bucket FROM sync.rate_limit l WHERE l.connection = shop;
	rate := coalesce(bucket.points_per_second, sync.setting_value(shop, 'points_per_second')::numeric);
	level := least(coalesce(bucket.points_maximum, 20 * rate), coalesce(bucket.points_available
		+ rate * extract(epoch FROM clock_timestamp() - bucket.points_at)::numeric, 20 * rate));
	FOR part, method, products, items, calls, points IN
		SELECT p.* FROM sync.push_plan_parts(shop, ARRAY(
			SELECT s.id FROM sync.staging s WHERE s.run_id = sync_plan_shopify_up.run_id AND s.state::text IN ('open', 'sending'))) p
		ORDER BY array_position(ARRAY['stock', 'edit', 'create'], p.part), p.method
	LOOP
		spent := spent + points;
		-- Requests go side by side; a bulk mutation takes its time at Shopify.
		expected := make_interval(secs => (greatest(0, spent - level) / rate + 1 + CASE method WHEN 'bulk' THEN 5 + products / 50.0 ELSE 0 END)::float8);
		RETURN NEXT;
	END LOOP;
END
$$;
ALTER FUNCTION @extschema@.sync_plan_shopify_up(bigint) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_plan_shopify_up(bigint) TO sync_viewer;
COMMENT ON FUNCTION @extschema@.sync_plan_shopify_up(bigint) IS
'What it will take to send what a run has staged, but for what was rejected: part (stock, edit, create), method (direct, bulk), products, items (levels or fields), calls, points of the shop''s bucket with the reading before, and the time until then by the bucket''s present level. Nothing is sent. Errors: P0002 no such run, 55000 a run of another kind. Example: SELECT * FROM sync_plan_shopify_up(sync_stage_shopify_up());';

-- The same for some entries; also how the calls are made.
CREATE FUNCTION sync.push_plan_parts(connection text, entry_ids bigint[])
RETURNS TABLE (part text, method text, products bigint, items bigint, calls bigint, points numeric)
LANGUAGE plpgsql STABLE ROWS 5 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	of_stock integer := least(greatest(sync.setting_value(push_plan_parts.connection, 'push_stock_batch')::integer, 1), 250);
	of_products integer := greatest(sync.setting_value(push_plan_parts.connection, 'push_products')::integer, 1);
BEGIN
	RETURN QUERY
	WITH field AS MATERIALIZED (
		SELECT s.id, s.product_id, f.path, f.new_value FROM sync.staging s JOIN sync.entry_fields(entry_ids) f ON f.staging_id = s.id AND f.decision <> 'rejected'
		WHERE s.id = ANY (entry_ids) AND s.kind = 'update'),
	edit AS MATERIALIZED (
		SELECT e.id, e.product_id, e.n, c.* FROM (
			SELECT f.id, f.product_id, count(*) AS n, jsonb_object_agg(f.path, f.new_value) AS wanted FROM field f
			WHERE f.path !~ '\]\.stock\[[0-9]+\]$' GROUP BY f.id, f.product_id) e CROSS JOIN LATERAL sync.push_cost(e.wanted) c)
	SELECT 'stock', 'direct', count(DISTINCT f.product_id), count(*), ceil(count(*) / of_stock::numeric)::bigint, ceil(count(*) / of_stock::numeric) * 10
	FROM field f WHERE f.path ~ '\]\.stock\[[0-9]+\]$' HAVING count(*) > 0
	UNION ALL
	SELECT 'edit', m.method, count(*), sum(e.n)::bigint,
		   CASE m.method WHEN 'bulk' THEN ceil(sum(e.reading) / 900)::bigint + 8
				-- A reading and a request for as many products as one may change, and as many as one may cost.
				ELSE (2 * ceil(greatest(count(*) / of_products::numeric, sum(e.sending) / 900)))::bigint END,
		   sum(e.reading) + CASE m.method WHEN 'bulk' THEN sync.push_bulk_cost() ELSE sum(e.sending) END
	FROM edit e
	JOIN (SELECT b.bulk, CASE WHEN sync.push_in_bulk(push_plan_parts.connection, b.bulk, count(*), sum(b.sending)) THEN 'bulk' ELSE 'direct' END AS method
		  FROM edit b GROUP BY b.bulk) m ON m.bulk IS NOT DISTINCT FROM e.bulk
	GROUP BY m.method, CASE m.method WHEN 'bulk' THEN e.bulk END
	UNION ALL
	SELECT 'create', 'direct', count(*), count(*), 3 * count(*), sum(22 + round(0.2 * (SELECT count(*) FROM jsonb_object_keys(s.document -> 'variants'))))
	FROM sync.staging s WHERE s.id = ANY (entry_ids) AND s.kind = 'create' AND s.decision <> 'rejected' HAVING count(*) > 0;
END
$$;

-- Whether so many products that one mutation alone changes go in bulk.
CREATE FUNCTION sync.push_in_bulk(connection text, mutation text, products bigint, sending numeric) RETURNS boolean
LANGUAGE sql STABLE SET search_path = '' AS $$
	SELECT mutation IS NOT NULL AND products >= greatest(sync.setting_value(connection, 'push_bulk_above')::bigint, 2) AND sending > sync.push_bulk_cost()
$$;

-- Calls ----------------------------------------------------------------------------------------------------------------------------

-- A call of these pushes, in this order, with the job that makes it.
CREATE FUNCTION sync.push_call_open(connection text, part text, method text, step text, push_ids bigint[], items integer, sending numeric, class integer) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call bigint;
BEGIN
	INSERT INTO sync.push_call (connection, part, method, step, items, sending)
	VALUES (push_call_open.connection, push_call_open.part, push_call_open.method, push_call_open.step, push_call_open.items, push_call_open.sending) RETURNING id INTO call;
	PERFORM sync.push_move(push_ids, 'checking', call);
	PERFORM sync.job_enqueue('shopify_push', NULL, jsonb_build_object('connection', push_call_open.connection, 'call', call), class => push_call_open.class);
	RETURN call;
END
$$;

-- A call has come to its end.
CREATE FUNCTION sync.push_call_finish(call_id bigint, error jsonb DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	shop text;
BEGIN
	UPDATE sync.push_call c SET finished_at = clock_timestamp(), error = push_call_finish.error WHERE c.id = push_call_finish.call_id
	RETURNING c.connection INTO shop;
	-- What waited for these products may go on.
	IF EXISTS (SELECT FROM sync.push p WHERE p.connection = shop AND p.state = 'queued') THEN
		PERFORM sync.push_plan_wanted(shop);
	END IF;
END
$$;

CREATE FUNCTION sync.work_shopify_push_plan(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
	target record;
	counts jsonb := '{}';
BEGIN
	FOR target IN
		SELECT DISTINCT c.name, j.payload ->> 'part' AS part FROM sync.job j JOIN sync.connection c ON c.name = j.payload ->> 'connection' AND c.enabled
		WHERE j.id = ANY (job_ids) ORDER BY 1, 2
	LOOP
		counts := sync.counts_add(counts, sync.push_plan(target.name, target.part));
	END LOOP;
	RETURN counts;
END
$$;
ALTER FUNCTION sync.work_shopify_push_plan(bigint[]) OWNER TO sync_worker;

-- Puts together to calls what waits and is not held up by something of the same product that is under way: a product's changes go in the order in
-- which they were approved.
CREATE FUNCTION sync.push_plan(connection text, part text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	of_stock integer := least(greatest(sync.setting_value(push_plan.connection, 'push_stock_batch')::integer, 1), 250);
	part_of record;
	calls integer := 0;
BEGIN
	-- One at a time for a shop, so that nothing is taken twice and no product is under way twice.
	PERFORM pg_advisory_xact_lock(hashtextextended('product_sync.push ' || push_plan.connection, 0));
	IF part = 'edit' THEN
		FOR part_of IN SELECT * FROM sync.push_plan_edits(push_plan.connection) LOOP
			PERFORM sync.push_call_open(push_plan.connection, part_of.part, part_of.method, CASE part_of.part WHEN 'edit' THEN 'check' ELSE 'find' END, part_of.ids, part_of.items, part_of.sending, part_of.class);
			calls := calls + 1;
		END LOOP;
	ELSE
		FOR part_of IN
			WITH waiting AS (
				SELECT DISTINCT ON (p.variant_id, p.location_id) p.id, p.class, CASE WHEN p.alone THEN p.id END AS alone FROM sync.push p
				WHERE p.connection = push_plan.connection AND p.state = 'queued' AND p.part = 'stock' AND p.due_at <= clock_timestamp()
				  -- As a set that is hashed once: there may be many on both sides.
				  AND (p.variant_id, p.location_id) NOT IN (SELECT o.variant_id, o.location_id FROM sync.push o
					   WHERE o.connection = push_plan.connection AND o.part = 'stock' AND o.ended_at IS NULL AND o.state <> 'queued')
				ORDER BY p.variant_id, p.location_id, p.id)
			SELECT array_agg(w.id ORDER BY w.class, w.id) AS ids, min(w.class) AS class
			FROM (SELECT u.id, u.class, u.alone, (row_number() OVER (PARTITION BY u.alone ORDER BY u.class, u.id) - 1) / of_stock AS no FROM waiting u) w
			GROUP BY w.alone, w.no ORDER BY w.alone NULLS FIRST, w.no
		LOOP
			PERFORM sync.push_call_open(push_plan.connection, 'stock', 'direct', 'send', part_of.ids, cardinality(part_of.ids), 10, part_of.class);
			calls := calls + 1;
		END LOOP;
	END IF;
	RETURN jsonb_build_object('calls', calls);
END
$$;

-- The calls that change or make products.
CREATE FUNCTION sync.push_plan_edits(connection text) RETURNS TABLE (part text, method text, ids bigint[], items integer, sending numeric, class integer)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	of_products integer := greatest(sync.setting_value(push_plan_edits.connection, 'push_products')::integer, 1);
	of_points numeric := sync.setting_value(push_plan_edits.connection, 'points_per_query')::numeric * 0.9;
BEGIN
	RETURN QUERY
	WITH waiting AS MATERIALIZED (
		SELECT DISTINCT ON (p.product_id) p.id, p.part, p.class, p.alone, p.wanted FROM sync.push p
		WHERE p.connection = push_plan_edits.connection AND p.state = 'queued' AND p.part <> 'stock' AND p.due_at <= clock_timestamp()
		  AND p.product_id NOT IN (SELECT o.product_id FROM sync.push o
								   WHERE o.connection = push_plan_edits.connection AND o.part <> 'stock' AND o.ended_at IS NULL AND o.state <> 'queued')
		ORDER BY p.product_id, p.id),
	edit AS MATERIALIZED (
		SELECT w.id, w.class, w.alone OR c.whole AS alone, (SELECT count(*)::integer FROM jsonb_object_keys(w.wanted)) AS n, c.reading, c.sending, c.bulk
		FROM waiting w CROSS JOIN LATERAL sync.push_cost(w.wanted) c WHERE w.part = 'edit'),
	bulk AS MATERIALIZED (
		SELECT e.bulk FROM edit e WHERE NOT e.alone GROUP BY e.bulk HAVING sync.push_in_bulk(push_plan_edits.connection, e.bulk, count(*), sum(e.sending))),
	direct AS (
		-- As many as fit: by number, and by what reading and sending them may cost.
		SELECT d.*, greatest((row_number() OVER w - 1) / of_products, floor((sum(d.sending) OVER w - d.sending) / of_points),
							 floor((sum(d.reading) OVER w - d.reading) / of_points)) AS no
		FROM edit d WHERE d.bulk IS NULL OR d.alone OR d.bulk NOT IN (SELECT b.bulk FROM bulk b)
		WINDOW w AS (PARTITION BY CASE WHEN d.alone THEN d.id END, d.bulk ORDER BY d.class, d.id))
	SELECT 'edit', 'bulk', array_agg(e.id ORDER BY e.class, e.id), sum(e.n)::integer, sync.push_bulk_cost(), min(e.class)::integer
	FROM (SELECT o.*, (row_number() OVER (PARTITION BY o.bulk ORDER BY o.class, o.id) - 1) / 10000 AS no FROM edit o) e
	WHERE NOT e.alone AND e.bulk IN (SELECT b.bulk FROM bulk b) GROUP BY e.bulk, e.no
	UNION ALL
	SELECT 'edit', 'direct', array_agg(d.id ORDER BY d.class, d.id), sum(d.n)::integer, sum(d.sending), min(d.class)::integer
	FROM direct d GROUP BY CASE WHEN d.alone THEN d.id END, d.bulk, d.no
	UNION ALL
	SELECT 'create', 'direct', ARRAY[w.id], 1, 11, w.class::integer FROM waiting w WHERE w.part = 'create'
	ORDER BY 6, 3;
END
$$;
