-- Product documents: a product as jsonb, from the catalogue and from the feed, and what differs between two.

CREATE FUNCTION sync.document_diff(old jsonb, new jsonb, OUT path text, OUT old_value jsonb, OUT new_value jsonb) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 3 COST 20 AS 'MODULE_PATHNAME', 'ps_document_diff';
COMMENT ON FUNCTION sync.document_diff(jsonb, jsonb) IS
'The fields at which the document new differs from old, by path. What new does not mention is left alone; numbers compare by value, tags as a set, images as a list, texts exactly. Errors: 22023 when one is not shaped like a product document.';

CREATE FUNCTION sync.document_path(path text) RETURNS text[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ps_document_path';
COMMENT ON FUNCTION sync.document_path(text) IS 'The keys that a path stands for: {variants,CWS-1042,price}. Errors: 22023 when it is no path.';

CREATE FUNCTION sync.document_get(document jsonb, path text) RETURNS jsonb
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ps_document_get';
COMMENT ON FUNCTION sync.document_get(jsonb, text) IS 'The value at a path; NULL where there is none. Errors: 22023 when it is no path.';

CREATE FUNCTION sync.document_patch(document jsonb, path text, value jsonb) RETURNS jsonb
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'ps_document_patch';
COMMENT ON FUNCTION sync.document_patch(jsonb, text, jsonb) IS
'The document with this value at this path; a null takes the field out. Errors: 22023 when it is no path or no document.';

CREATE FUNCTION sync.document_patch_all(document jsonb, paths text[], new_values jsonb[]) RETURNS jsonb
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ps_document_patch_all';
COMMENT ON FUNCTION sync.document_patch_all(jsonb, text[], jsonb[]) IS 'The document with each value set at the path beside it, in their order.';

-- The catalogue's side -----------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.product_documents(product_ids bigint[], OUT product_id bigint, OUT version integer, OUT document jsonb)
RETURNS SETOF record
LANGUAGE plpgsql STABLE STRICT ROWS 1000 SET search_path = '' AS $$
BEGIN
	RETURN QUERY
	SELECT p.id, p.version,
		   jsonb_strip_nulls(jsonb_build_object('handle', p.handle, 'title', p.title, 'description', p.description, 'vendor', p.vendor,
												'type', p.type, 'status', p.status))
		   || jsonb_build_object('tags', to_jsonb(p.tags), 'images', p.images, 'metafields', p.metafields, 'attributes', p.attributes,
								 'variants', coalesce(v.variants, '{}'))
	FROM sync.product p
	LEFT JOIN (
		SELECT i.product_id,
			   jsonb_object_agg(i.sku,
				   jsonb_strip_nulls(jsonb_build_object('barcode', i.barcode, 'mpn', i.mpn, 'price', i.price,
														'compare_at_price', i.compare_at_price, 'cost', i.cost,
														'currency', i.currency, 'weight', i.weight))
				   || jsonb_build_object('options', i.options, 'attributes', i.attributes)) AS variants
		FROM sync.variant i
		WHERE i.product_id = ANY (product_ids)
		GROUP BY i.product_id
	) v ON v.product_id = p.id
	WHERE p.id = ANY (product_ids);
END
$$;
COMMENT ON FUNCTION sync.product_documents(bigint[]) IS 'Products of the catalogue as documents, with their versions; ids without a product give no row.';

CREATE FUNCTION sync.product_document(product_id bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE STRICT SET search_path = '' AS $$
BEGIN
	RETURN (SELECT d.document FROM sync.product_documents(ARRAY[product_id]) d);
END
$$;
COMMENT ON FUNCTION sync.product_document(bigint) IS 'A product of the catalogue as a document; NULL where there is none of this id.';
