-- The shop's mirror: the one place that writes it, and the one that takes something for gone.
--
-- Answers come late, doubled and out of order, so a product is written only where what was seen is not older than what is there, by the
-- shop's own updatedAt, which has whole seconds: of two with one time the one that was asked for after the other had come counts, and where
-- they were under way together the product is asked for again.  What changed is marked as due for the merge.

-- Writes products as the shop has them, many in a statement, in the order of their numbers (two writers then never wait for each other in
-- a circle).  as_of: when the shop was asked, for a whole reading when it began.  Arrays are parallel; stocks: by inventory item and
-- location {"available", "updated_at"}.  Returns how many were written, of how many the content changed,
-- how many levels of stock did, and which products are to be asked for again.
CREATE FUNCTION sync.shopify_mirror_write(connection text, crawl_id bigint, as_of timestamptz, remote_ids bigint[], updated_at timestamptz[],
	documents jsonb[], variants jsonb[], stocks jsonb[], OUT written bigint, OUT changed bigint, OUT levels bigint, OUT unsure bigint[])
LANGUAGE plpgsql SET search_path = '' SET jit = off SET plan_cache_mode = 'force_custom_plan' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
	taken bigint[];
	late bigint[];
	calm bigint[];
	due_before bigint;
	items bigint[];
BEGIN
	SELECT count(*) INTO due_before FROM sync.shopify_product m
	WHERE m.connection = shopify_mirror_write.connection AND m.remote_id = ANY (remote_ids) AND m.merge_due;
	taken := sync.shopify_product_upsert(shopify_mirror_write.connection, shopify_mirror_write.crawl_id, as_of, remote_ids,
										 shopify_mirror_write.updated_at, documents, shopify_mirror_write.variants);
	written := cardinality(taken);
	late := ARRAY(SELECT i FROM unnest(remote_ids) i WHERE i <> ALL (taken));
	IF late <> '{}' THEN
		SELECT array_agg(m.remote_id) INTO unsure
		FROM unnest(remote_ids, shopify_mirror_write.updated_at, documents) AS i (id, at, document)
		JOIN sync.shopify_product m ON m.connection = shopify_mirror_write.connection AND m.remote_id = i.id AND m.remote_updated_at = i.at
		WHERE i.id = ANY (late) AND m.gone_since IS NULL AND m.document IS DISTINCT FROM i.document;
		-- It was there all the same.
		UPDATE sync.shopify_product m SET crawl_id = shopify_mirror_write.crawl_id
		WHERE shopify_mirror_write.crawl_id IS NOT NULL AND m.connection = shopify_mirror_write.connection
		  AND m.remote_id = ANY (late) AND m.gone_since IS NULL;
	END IF;
	-- A product whose stock is another is compared too, which compares its stock.
	items := sync.shopify_stock_write(shopify_mirror_write.connection, stocks);
	levels := cardinality(items);
	calm := ARRAY(SELECT m.remote_id FROM sync.shopify_product m
		WHERE m.connection = shopify_mirror_write.connection AND m.remote_id = ANY (remote_ids) AND NOT m.merge_due AND m.gone_since IS NULL);
	IF levels > 0 AND calm <> '{}' THEN
		calm := ARRAY(SELECT DISTINCT s.remote_id
			FROM unnest(remote_ids, stocks) AS s (remote_id, stock) CROSS JOIN LATERAL jsonb_object_keys(s.stock) k
			WHERE s.remote_id = ANY (calm) AND k::bigint = ANY (items));
		UPDATE sync.shopify_product m SET merge_due = true
		WHERE m.connection = shopify_mirror_write.connection AND m.remote_id = ANY (calm);
	END IF;
	SELECT count(*) - due_before INTO changed FROM sync.shopify_product m
	WHERE m.connection = shopify_mirror_write.connection AND m.remote_id = ANY (remote_ids) AND m.merge_due;
END
$$;
COMMENT ON FUNCTION sync.shopify_mirror_write(text, bigint, timestamptz, bigint[], timestamptz[], jsonb[], jsonb[], jsonb[]) IS
'The one place that writes products of a shop into the mirror, unless what is there is newer; marks what changed as merge_due.';

-- The writing of products alone: returns the numbers of those that were written.  (plan_cache_mode: a foreign key's check is planned anew
-- for each row where every plan is to be a custom one, and that takes longer than the row.)
CREATE FUNCTION sync.shopify_product_upsert(connection text, crawl_id bigint, as_of timestamptz, remote_ids bigint[], updated_at timestamptz[],
	documents jsonb[], variants jsonb[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = '' SET jit = off SET plan_cache_mode = 'auto' AS $$
#variable_conflict use_column
DECLARE
	taken bigint[];
BEGIN
	WITH incoming AS (
		SELECT DISTINCT ON (i.id) i.id, i.at, i.document, i.variants
		FROM unnest(remote_ids, shopify_product_upsert.updated_at, documents, shopify_product_upsert.variants)
			WITH ORDINALITY AS i (id, at, document, variants, no)
		ORDER BY i.id, i.at DESC, i.no DESC
	), upsert AS (
		INSERT INTO sync.shopify_product AS m (connection, remote_id, handle, document, variants, remote_updated_at, crawl_id)
		SELECT shopify_product_upsert.connection, i.id, i.document ->> 'handle', i.document, i.variants, i.at, shopify_product_upsert.crawl_id
		FROM incoming i ORDER BY i.id
		ON CONFLICT (connection, remote_id) DO UPDATE SET
			handle = excluded.handle, document = excluded.document, variants = excluded.variants,
			remote_updated_at = excluded.remote_updated_at, seen_at = now(), crawl_id = coalesce(excluded.crawl_id, m.crawl_id),
			merge_due = m.merge_due OR m.gone_since IS NOT NULL OR m.document IS DISTINCT FROM excluded.document
				OR m.variants IS DISTINCT FROM excluded.variants,
			gone_since = NULL, gone_evidence = NULL
		WHERE (excluded.remote_updated_at > m.remote_updated_at OR (excluded.remote_updated_at = m.remote_updated_at AND m.seen_at <= as_of))
		  -- What was gone after this was read is not back.
		  AND (m.gone_since IS NULL OR m.gone_since < as_of)
		RETURNING m.remote_id)
	SELECT coalesce(array_agg(u.remote_id), '{}') INTO taken FROM upsert u;
	RETURN taken;
END
$$;

-- Levels of stock: {"ITEM": {"LOCATION": {"available": n, "updated_at": time}}}.  Each has all the levels of its items.  Returns the items
-- whose stock is other than before.
CREATE FUNCTION sync.shopify_stock_write(connection text, stocks jsonb[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = '' SET jit = off SET plan_cache_mode = 'force_custom_plan' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
	all_items bigint[] := ARRAY(SELECT k::bigint FROM unnest(stocks) s CROSS JOIN LATERAL jsonb_object_keys(s) k);
	level record;
	before record;
	items bigint[];
BEGIN
	SELECT array_agg(l.item) AS items, array_agg(l.location) AS locations, array_agg(l.available) AS available, array_agg(l.at) AS at INTO level
	FROM (SELECT DISTINCT ON (o.item, o.location) o.*
		  FROM (SELECT i.key::bigint AS item, l.key::bigint AS location, (l.value ->> 'available')::integer AS available,
					   (l.value ->> 'updated_at')::timestamptz AS at
				FROM unnest(stocks) s CROSS JOIN LATERAL jsonb_each(s) i CROSS JOIN LATERAL jsonb_each(i.value) l) o
		  ORDER BY o.item, o.location, o.at DESC NULLS LAST) l;
	SELECT array_agg(x.id) AS ids, array_agg(x.inventory_item_id) AS items, array_agg(x.location_id) AS locations, array_agg(x.available) AS available INTO before
	FROM sync.shopify_stock x WHERE x.connection = shopify_stock_write.connection AND x.inventory_item_id = ANY (all_items);
	WITH gone AS (
		DELETE FROM sync.shopify_stock x
		WHERE x.id IN (SELECT b.id FROM unnest(before.ids, before.items, before.locations) AS b (id, item, location)
					   WHERE (b.item, b.location) NOT IN (SELECT l.item, l.location FROM unnest(level.items, level.locations) AS l (item, location)))
		RETURNING x.inventory_item_id)
	SELECT coalesce(array_agg(DISTINCT o.item), '{}') INTO items
	FROM (SELECT w.item
		  FROM sync.shopify_stock_upsert(shopify_stock_write.connection, level.items, level.locations, level.available, level.at) w
		  LEFT JOIN unnest(before.items, before.locations, before.available) AS b (item, location, available)
			ON b.item = w.item AND b.location = w.location
		  WHERE b.item IS NULL OR b.available IS DISTINCT FROM w.available
		  UNION ALL SELECT g.inventory_item_id FROM gone g) o;
	RETURN items;
END
$$;

-- The writing alone, for the reason that shopify_product_upsert() has: returns the levels that were written.
CREATE FUNCTION sync.shopify_stock_upsert(connection text, items bigint[], locations bigint[], amounts integer[], times timestamptz[])
RETURNS TABLE (item bigint, location bigint, available integer)
LANGUAGE plpgsql ROWS 1000 SET search_path = '' SET jit = off SET plan_cache_mode = 'auto' AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	INSERT INTO sync.shopify_stock AS x (connection, inventory_item_id, location_id, available, remote_updated_at)
	SELECT shopify_stock_upsert.connection, l.item, l.location, l.available, l.at
	FROM unnest(items, locations, amounts, times) AS l (item, location, available, at)
	ON CONFLICT (connection, inventory_item_id, location_id) DO UPDATE SET
		available = excluded.available, remote_updated_at = excluded.remote_updated_at, seen_at = now()
	WHERE coalesce(excluded.remote_updated_at >= x.remote_updated_at, true)
	  AND (excluded.available, excluded.remote_updated_at) IS DISTINCT FROM (x.available, x.remote_updated_at)
	RETURNING x.inventory_item_id, x.location_id, x.available;
END
$$;

-- Product nodes of a query, whole, into the mirror.  cut: those whose lists go on, which are not written but to be read by themselves.
-- What cannot be used is counted and told of.
CREATE FUNCTION sync.shopify_nodes_write(connection text, crawl_id bigint, as_of timestamptz, nodes jsonb,
	OUT seen bigint, OUT written bigint, OUT changed bigint, OUT rejected bigint, OUT first_reject text, OUT newest timestamptz, OUT cut bigint[],
	OUT levels bigint, OUT unusable bigint[])
LANGUAGE plpgsql SET search_path = '' SET jit = off AS $$
#variable_conflict use_column
DECLARE
	part record;
	mirror record;
	currency text := (SELECT s.currency FROM sync.shopify_shop s WHERE s.connection = shopify_nodes_write.connection);
BEGIN
	WITH node AS MATERIALIZED (
		SELECT n.no, n.value AS product, sync.shopify_number(n.value ->> 'id') AS id, sync.shopify_time(n.value ->> 'updatedAt') AS at,
			   sync.shopify_is_cut(n.value) AS is_cut
		FROM jsonb_array_elements(nodes) WITH ORDINALITY AS e (value, no)
		CROSS JOIN LATERAL (SELECT e.no, CASE WHEN jsonb_typeof(e.value) = 'object' THEN e.value ELSE jsonb_build_object('value', e.value) END AS value) n),
	made AS MATERIALIZED (
		SELECT n.*, d.document, d.variants, d.stock,
			   CASE WHEN n.id IS NULL OR n.at IS NULL THEN 'no product: ' || left(n.product::text, 200) ELSE d.error END AS error
		FROM node n LEFT JOIN LATERAL sync.shopify_document(n.product - 'variants' - 'media' - 'metafields',
			sync.shopify_list(n.product -> 'variants'), sync.shopify_list(n.product -> 'media'), sync.shopify_list(n.product -> 'metafields'),
			currency) d ON n.id IS NOT NULL AND n.at IS NOT NULL AND NOT n.is_cut)
	SELECT count(*) AS seen, array_agg(m.id) FILTER (WHERE m.document IS NOT NULL) AS ids,
		   array_agg(m.at) FILTER (WHERE m.document IS NOT NULL) AS at,
		   array_agg(m.document) FILTER (WHERE m.document IS NOT NULL) AS documents,
		   array_agg(m.variants) FILTER (WHERE m.document IS NOT NULL) AS variants,
		   array_agg(m.stock) FILTER (WHERE m.document IS NOT NULL) AS stocks,
		   max(m.at) FILTER (WHERE m.id IS NOT NULL) AS newest, count(*) FILTER (WHERE m.error IS NOT NULL) AS rejected,
		   (array_agg(m.error ORDER BY m.no) FILTER (WHERE m.error IS NOT NULL))[1] AS first_reject,
		   array_agg(m.id) FILTER (WHERE m.error IS NOT NULL AND m.id IS NOT NULL) AS unusable,
		   array_agg(DISTINCT m.id) FILTER (WHERE m.is_cut AND m.error IS NULL) AS cut
	INTO part FROM made m;
	seen := part.seen;
	rejected := part.rejected;
	first_reject := part.first_reject;
	newest := part.newest;
	unusable := coalesce(part.unusable, '{}');
	cut := coalesce(part.cut, '{}');
	mirror := sync.shopify_mirror_write(shopify_nodes_write.connection, shopify_nodes_write.crawl_id, as_of, coalesce(part.ids, '{}'), part.at,
										part.documents, part.variants, part.stocks);
	written := mirror.written;
	changed := mirror.changed;
	levels := mirror.levels;
	PERFORM sync.shopify_product_fetch(shopify_nodes_write.connection, u) FROM unnest(mirror.unsure) u;
END
$$;

-- The nodes of a list, an empty array where it has none.
CREATE FUNCTION sync.shopify_list(list jsonb) RETURNS jsonb[]
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT coalesce(array_agg(e.value), '{}')
	FROM jsonb_array_elements(CASE WHEN jsonb_typeof(list -> 'nodes') = 'array' THEN list -> 'nodes' ELSE '[]' END) e
$$;

-- Whether a list of a product, or one of its variants' stock, goes on after what is here.
CREATE FUNCTION sync.shopify_is_cut(product jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT coalesce(product #>> '{variants,pageInfo,hasNextPage}' = 'true', false) OR coalesce(product #>> '{media,pageInfo,hasNextPage}' = 'true', false)
		OR coalesce(product #>> '{metafields,pageInfo,hasNextPage}' = 'true', false) OR sync.shopify_levels_cut(product)
$$;

CREATE FUNCTION sync.shopify_levels_cut(product jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT coalesce(product @? '$.variants.nodes[*].inventoryItem.inventoryLevels.pageInfo.hasNextPage ? (@ == true)', false)
$$;

-- Takes products for gone, as some evidence says; returns how many were not known to be.
CREATE FUNCTION sync.shopify_gone(connection text, remote_ids bigint[], evidence text) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	n bigint;
BEGIN
	UPDATE sync.shopify_product m SET gone_since = clock_timestamp(), gone_evidence = evidence, merge_due = true
	WHERE m.id IN (SELECT w.id FROM sync.shopify_product w
				   WHERE w.connection = shopify_gone.connection AND w.remote_id = ANY (shopify_gone.remote_ids) AND w.gone_since IS NULL
				   ORDER BY w.remote_id FOR UPDATE);
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END
$$;

-- What a complete reading of the whole shop did not see is gone, unless that is too much to be believed.
CREATE FUNCTION sync.shopify_full_gone(crawl_id bigint, run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	crawl sync.shopify_crawl;
	missing bigint[];
	known bigint;
	why text;
BEGIN
	SELECT * INTO crawl FROM sync.shopify_crawl c WHERE c.id = shopify_full_gone.crawl_id;
	-- A row that was written since the reading began is there, whatever the reading says; so is one that the reading saw and could not use.
	SELECT array_agg(m.remote_id) FILTER (WHERE m.crawl_id IS DISTINCT FROM crawl.id AND m.seen_at < crawl.started_at
											AND m.remote_id <> ALL (crawl.unusable)), count(*)
	INTO missing, known FROM sync.shopify_product m WHERE m.connection = crawl.connection AND m.gone_since IS NULL;
	IF missing IS NULL THEN
		RETURN;
	END IF;
	why := CASE WHEN crawl.rejected > cardinality(crawl.unusable)
				THEN format('%s lines of the reading could not be used, which may be theirs', crawl.rejected - cardinality(crawl.unusable))
					 || coalesce('; the first: ' || crawl.first_reject, '')
				WHEN crawl.products <> crawl.expected THEN format('%s of %s products were read', crawl.products, crawl.expected)
				WHEN cardinality(missing) > greatest(1, known * sync.setting_value(crawl.connection, 'mirror_shrink_limit')::numeric)
				THEN 'that is more than mirror_shrink_limit allows; an app that lost a permission looks like this' END;
	IF why IS NULL THEN
		PERFORM sync.shopify_gone(crawl.connection, missing, 'full_read');
	ELSE
		PERFORM sync.notify(run_id, 'warning', 'shopify_shrunk', format('Shop "%s" no longer lists %s of %s products; none was taken for gone: %s',
			crawl.connection, cardinality(missing), known, why),
			jsonb_build_object('connection', crawl.connection, 'crawl_id', crawl.id, 'missing', cardinality(missing), 'known', known));
	END IF;
END
$$;
