-- What a shop has and the catalogue cannot: a handle or a SKU that another product here has, a number that fits no column.  Each goes to a
-- person, by itself: written with the others it would fail them all, and each next run again.

-- The fields, with those that could not be written handed to a person.  A person's choice waits until it can be carried out.
CREATE FUNCTION sync.merge_clashes(fields sync.merge_field[]) RETURNS sync.merge_field[]
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	numbers constant text[] := '{price,compare_at_price,cost,weight}';
	clashing jsonb;
BEGIN
	-- Once more after each that stays: it keeps a handle that another of these was to have.
	LOOP
		WITH wanted AS MATERIALIZED (
			SELECT f.product_id, f.path, nullif(f.value, 'null') AS value, sync.document_path(f.path) AS parts
			FROM unnest(fields) f
			WHERE f.outcome IN ('use_shopify', 'use_lower', 'apply_rule') AND (f.path = 'handle' OR starts_with(f.path, 'variants['))
			  AND NOT sync.value_equal(f.path, f.value, f.local_value)),
		handle AS MATERIALIZED (
			SELECT w.product_id, w.path, w.value #>> '{}' AS handle,
				   row_number() OVER (PARTITION BY w.value ORDER BY w.product_id) AS place
			FROM wanted w WHERE w.path = 'handle'),
		variant AS MATERIALIZED (
			SELECT w.product_id, w.path, w.value, w.parts[2] AS sku, row_number() OVER (PARTITION BY w.parts[2] ORDER BY w.product_id) AS place
			FROM wanted w WHERE cardinality(w.parts) = 2 AND jsonb_typeof(w.value) = 'object'),
		clash AS (
			SELECT h.product_id, h.path, 'handle_taken' AS rule, format('product %s here has the handle "%s"', p.id, left(h.handle, 200)) AS reason
			FROM handle h JOIN sync.product p ON p.handle = h.handle AND p.id <> h.product_id
			WHERE p.id NOT IN (SELECT o.product_id FROM handle o)
			UNION ALL
			SELECT h.product_id, h.path, 'handle_taken', format('another product of the shop has the handle "%s" too', left(h.handle, 200))
			FROM handle h WHERE h.place > 1 AND h.handle <> ''
			UNION ALL
			SELECT n.product_id, n.path, 'sku_taken', format('product %s here has the SKU "%s"', v.product_id, left(n.sku, 200))
			FROM variant n JOIN sync.variant v ON v.sku = n.sku AND v.product_id <> n.product_id
			UNION ALL
			SELECT n.product_id, n.path, 'sku_taken', format('another product of the shop has the SKU "%s" too', left(n.sku, 200))
			FROM variant n WHERE n.place > 1
			UNION ALL
			SELECT w.product_id, w.path, 'value_unfit', format('%s of %s is no number from 0 to 9999999999', e.name, left(e.value::text, 200))
			FROM wanted w
			CROSS JOIN LATERAL (SELECT w.parts[3] AS name, w.value WHERE cardinality(w.parts) = 3
								UNION ALL SELECT k, w.value -> k FROM unnest(numbers) k WHERE cardinality(w.parts) = 2) e
			WHERE e.name = ANY (numbers) AND jsonb_typeof(e.value) = 'number'
			  AND NOT (CASE WHEN jsonb_typeof(e.value) = 'number' THEN e.value::numeric END BETWEEN 0 AND 9999999999))
		SELECT jsonb_object_agg(c.product_id || ' ' || c.path, jsonb_build_array(c.rule, c.reason)) INTO clashing FROM clash c;
		EXIT WHEN clashing IS NULL;
		fields := ARRAY(
			SELECT CASE WHEN c.why IS NULL THEN f
						ELSE ROW(f.product_id, f.path, f.base_value, f.local_value, f.shop_value, f.status, 'manual', NULL, c.why ->> 0, c.why ->> 1,
								 NULL, f.facts)::sync.merge_field END
			FROM unnest(fields) f CROSS JOIN LATERAL (SELECT clashing -> (f.product_id || ' ' || f.path) AS why) c);
	END LOOP;
	RETURN fields;
END
$$;

-- Entries that would create a product of the shop as it was are out of date once it is another, is gone, or is linked.
CREATE FUNCTION sync.shop_supersede_creates(connection text, products sync.merge_product[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	open_ids bigint[] := ARRAY(SELECT s.id FROM sync.staging s
		WHERE s.connection = shop_supersede_creates.connection AND s.kind = 'create' AND s.state = 'open' AND s.decision = 'pending'
		  AND s.method = 'shop');
BEGIN
	UPDATE sync.staging s SET state = 'superseded'
	FROM unnest(products) p
	WHERE s.id = ANY (open_ids) AND s.evidence ->> 'remote_id' = p.remote_id::text
	  AND (p.gone IS NOT NULL OR s.document IS DISTINCT FROM p.shop
		   OR EXISTS (SELECT FROM sync.product_listing l WHERE l.connection = shop_supersede_creates.connection AND l.remote_id = p.remote_id));
END
$$;
