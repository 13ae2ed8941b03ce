-- Documents into the catalogue: what approved feed entries, a shop's changes and rollbacks all come to in the end.

-- Products and variants may have been loaded with ids of their own: the next new ones come after them.
CREATE FUNCTION sync.identity_catch_up() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	PERFORM setval('sync.product_id_seq', p.id) FROM (SELECT max(id) AS id FROM sync.product) p, sync.product_id_seq q WHERE p.id >= q.last_value;
	PERFORM setval('sync.variant_id_seq', v.id) FROM (SELECT max(id) AS id FROM sync.variant) v, sync.variant_id_seq q WHERE v.id >= q.last_value;
END
$$;

-- The functions here that only write have no plan to choose.  Under force_custom_plan each row's foreign key would be checked by a query
-- that is planned anew, which takes longer than the row; so they say auto, whoever calls them.

-- Writes variants of documents, new or there already.  Parallel arrays; ids and stocks, which documents do not have, count for variants that
-- are new.  Fails with 23505 where a SKU is another product's.
CREATE FUNCTION sync.variants_write(product_ids bigint[], skus text[], variants jsonb[], ids bigint[] DEFAULT NULL, stocks numeric[] DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'auto' AS $$
DECLARE
	written bigint;
BEGIN
	INSERT INTO sync.variant AS o (id, product_id, sku, barcode, gtin, mpn, price, compare_at_price, cost, currency, weight, stock, options, attributes)
	SELECT coalesce(w.id, nextval('sync.variant_id_seq')), w.product_id, w.sku, w.v ->> 'barcode', @extschema@.sync_gtin(w.v ->> 'barcode'), w.v ->> 'mpn', (w.v ->> 'price')::numeric,
		   (w.v ->> 'compare_at_price')::numeric, (w.v ->> 'cost')::numeric, coalesce(w.v ->> 'currency', 'USD'), (w.v ->> 'weight')::numeric, w.stock,
		   coalesce(w.v -> 'options', '{}'), coalesce(w.v -> 'attributes', '{}')
	FROM unnest(product_ids, skus, variants, ids, stocks) AS w (product_id, sku, v, id, stock)
	ORDER BY w.product_id, w.sku
	ON CONFLICT (sku) DO UPDATE
	SET barcode = excluded.barcode, gtin = CASE WHEN o.barcode IS DISTINCT FROM excluded.barcode THEN excluded.gtin ELSE o.gtin END,
		mpn = excluded.mpn, price = excluded.price, compare_at_price = excluded.compare_at_price, cost = excluded.cost,
		currency = excluded.currency, weight = excluded.weight, options = excluded.options, attributes = excluded.attributes, updated_at = now()
	WHERE o.product_id = excluded.product_id;
	GET DIAGNOSTICS written = ROW_COUNT;
	IF written < cardinality(skus) THEN
		RAISE EXCEPTION 'another product has a variant of SKU %', (SELECT string_agg(v.sku, ', ' ORDER BY v.sku)
				FROM unnest(product_ids, skus) AS w (product_id, sku) JOIN sync.variant v ON v.sku = w.sku AND v.product_id <> w.product_id)
			USING ERRCODE = 'unique_violation';
	END IF;
END
$$;

-- New products, from documents, without their variants.  Fails with 23505 where a handle is another product's.
CREATE FUNCTION sync.products_insert(product_ids bigint[], documents jsonb[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'auto' AS $$
BEGIN
	INSERT INTO sync.product (id, handle, title, description, vendor, type, tags, images, status, metafields, attributes, version)
	SELECT e.product_id, e.d ->> 'handle', e.d ->> 'title', e.d ->> 'description', e.d ->> 'vendor', e.d ->> 'type',
		   ARRAY(SELECT jsonb_array_elements_text(coalesce(e.d -> 'tags', '[]'))), coalesce(e.d -> 'images', '[]'),
		   coalesce(e.d ->> 'status', 'draft')::sync.product_status, coalesce(e.d -> 'metafields', '{}'), coalesce(e.d -> 'attributes', '{}'), 1
	FROM unnest(product_ids, documents) AS e (product_id, d);
END
$$;

-- New products with their variants, from documents.  Fails with 23505 where a handle or a SKU is another product's.
CREATE FUNCTION sync.products_create(product_ids bigint[], documents jsonb[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	PERFORM sync.products_insert(product_ids, documents);
	PERFORM sync.variants_write(array_agg(e.product_id), array_agg(v.key), array_agg(v.value))
	FROM unnest(product_ids, documents) AS e (product_id, d) CROSS JOIN LATERAL jsonb_each(e.d -> 'variants') v;
END
$$;

-- Products as their documents say, and of their variants those that are named; one that its document no longer has is deleted.
CREATE FUNCTION sync.products_write(product_ids bigint[], versions integer[], documents jsonb[], variant_products bigint[], variant_skus text[])
RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
BEGIN
	-- Handles that change places: the one that has it lets go first.
	UPDATE sync.product p SET handle = NULL
	FROM unnest(product_ids, documents) AS e (product_id, d)
	WHERE p.id = e.product_id AND p.handle <> coalesce(e.d ->> 'handle', '') AND p.handle IN (SELECT d ->> 'handle' FROM unnest(documents) d);
	UPDATE sync.product p
	SET handle = e.d ->> 'handle', title = e.d ->> 'title', description = e.d ->> 'description', vendor = e.d ->> 'vendor',
		type = e.d ->> 'type', tags = ARRAY(SELECT jsonb_array_elements_text(coalesce(e.d -> 'tags', '[]'))),
		images = coalesce(e.d -> 'images', '[]'), status = coalesce(e.d ->> 'status', 'draft')::sync.product_status,
		metafields = coalesce(e.d -> 'metafields', '{}'), attributes = coalesce(e.d -> 'attributes', '{}'),
		version = e.version, updated_at = now()
	FROM unnest(product_ids, versions, documents) AS e (product_id, version, d)
	WHERE p.id = e.product_id;
	PERFORM sync.variants_write(array_agg(t.product_id), array_agg(t.sku), array_agg(t.variant))
	FROM (SELECT DISTINCT n.product_id, n.sku, e.d -> 'variants' -> n.sku AS variant
		  FROM unnest(variant_products, variant_skus) AS n (product_id, sku)
		  JOIN unnest(product_ids, documents) AS e (product_id, d) ON e.product_id = n.product_id
		  WHERE e.d -> 'variants' ? n.sku) t
	HAVING count(*) > 0;
	DELETE FROM sync.variant v
	USING unnest(variant_products, variant_skus) AS n (product_id, sku), unnest(product_ids, documents) AS e (product_id, d)
	WHERE v.product_id = n.product_id AND v.sku = n.sku AND e.product_id = n.product_id AND NOT (e.d -> 'variants') ? n.sku;
END
$$;
