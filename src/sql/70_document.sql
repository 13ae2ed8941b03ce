-- Product documents: a product as jsonb, from the catalogue and from the feed, and what differs between two.

CREATE FUNCTION sync.document_diff(old jsonb, new jsonb, OUT path text, OUT old_value jsonb, OUT new_value jsonb) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 3 COST 20 AS 'MODULE_PATHNAME', 'ps_document_diff';
COMMENT ON FUNCTION sync.document_diff(jsonb, jsonb) IS
'The fields at which the document new differs from old, by path. What new does not mention is left alone; numbers compare by value, tags as a set, images as a list, texts exactly. Errors: 22023 when one is not shaped like a product document.';

CREATE FUNCTION sync.document_path(path text) RETURNS text[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ps_document_path';
COMMENT ON FUNCTION sync.document_path(text) IS 'The keys that a path stands for: {variants,CWS-1042,price}. Errors: 22023 when it is no path.';

CREATE FUNCTION sync.path_label(path text, with_sku boolean) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ps_path_label';
COMMENT ON FUNCTION sync.path_label(text, boolean) IS 'Where a path leads, in a few words: price, or with_sku price of CWS-1042.';

CREATE FUNCTION sync.stock_path(sku text, location_id bigint) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ps_stock_path';
COMMENT ON FUNCTION sync.stock_path(text, bigint) IS 'How the stock of a variant at a location of a shop is named: variants[CWS-1042].stock[7].';

CREATE FUNCTION sync.path_target(path text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ps_path_target';
COMMENT ON FUNCTION sync.path_target(text) IS 'The target in a feed''s profile that sets what a path leads to: product.title, variant.price, variant.options.Color, image.src.';

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

-- A path, or a pattern of paths in which * stands for anything, as a LIKE pattern.
CREATE FUNCTION sync.path_pattern(path text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT replace(replace(replace(replace(path, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%')
$$;

-- The catalogue's side -----------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.document_from_rows(product record, variants anyarray) RETURNS jsonb
LANGUAGE c STABLE PARALLEL SAFE COST 20 AS 'MODULE_PATHNAME', 'ps_document_from_rows';
COMMENT ON FUNCTION sync.document_from_rows(record, anyarray) IS
'A product as a document, from a row of sync.product and an array of rows of sync.variant, NULL: none. NULL without a product. Errors: 42804, 42703 where a table is not as sync_install() made it.';

CREATE FUNCTION sync.product_documents(product_ids bigint[], OUT product_id bigint, OUT version integer, OUT document jsonb)
RETURNS SETOF record
LANGUAGE plpgsql STABLE STRICT ROWS 1000 SET search_path = '' AS $$
BEGIN
	RETURN QUERY
	SELECT p.id, p.version, sync.document_from_rows(p, v.variants)
	FROM sync.product p
	LEFT JOIN (
		SELECT i.product_id, array_agg(i) AS variants FROM sync.variant i WHERE i.product_id = ANY (product_ids) GROUP BY i.product_id
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

-- The feed's side ----------------------------------------------------------------------------------------------------------------

-- The images of a product's rows, in the order of their positions, then of the rows; each address once.
CREATE FUNCTION sync.feed_images(images jsonb[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
	SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('src', g.src, 'alt', g.alt)) ORDER BY g.position, g.row_no)
	FROM (SELECT DISTINCT ON (i.image ->> 'src') i.image ->> 'src' AS src, i.image -> 'alt' AS alt, i.row_no,
				 CASE jsonb_typeof(i.image -> 'position') WHEN 'number' THEN (i.image ->> 'position')::numeric END AS position
		  FROM unnest(images) WITH ORDINALITY AS i (image, row_no)
		  WHERE i.image ->> 'src' <> ''
		  ORDER BY 1, 4, i.row_no) g
$$;

CREATE FUNCTION sync.feed_documents(feed_file_id bigint, from_no integer, to_no integer)
RETURNS TABLE (product_no integer, feed_item_id bigint, line bigint, product_key text, sku text, title text, document jsonb)
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT g.product_no, g.feed_item_id, g.line, g.product_key, g.skus[1], g.product ->> 'title',
		   coalesce(g.product, '{}')
		   || CASE WHEN g.images IS NULL THEN '{}' WHEN cardinality(g.images) = 1 AND g.images[1] ? 'src' THEN jsonb_build_object('images', jsonb_build_array(g.images[1] - 'position'))
				ELSE jsonb_build_object('images', sync.feed_images(g.images)) END
		   || CASE WHEN g.variants IS NULL THEN '{}' ELSE jsonb_build_object('variants', g.variants) END
	FROM (
		SELECT r.product_no, min(r.id) AS feed_item_id, min(r.line) AS line, min(r.product_key) AS product_key,
			   array_agg(r.sku) FILTER (WHERE r.variant IS NOT NULL AND r.sku <> '') AS skus,
			   (array_agg(r.product) FILTER (WHERE r.product IS NOT NULL))[1] AS product,
			   array_agg(r.image) FILTER (WHERE r.image IS NOT NULL) AS images,
			   jsonb_object_agg(r.sku, r.variant - 'sku') FILTER (WHERE r.variant IS NOT NULL AND r.sku <> '') AS variants
		FROM (SELECT i.id, i.line, i.product_no, i.product_key, i.sku, i.product, i.variant, i.image
			  FROM sync.feed_item i
			  WHERE i.feed_file_id = feed_documents.feed_file_id AND i.product_no BETWEEN from_no AND to_no
			  ORDER BY i.product_no, i.id) r
		GROUP BY r.product_no
	) g;
END
$$;
COMMENT ON FUNCTION sync.feed_documents(bigint, integer, integer) IS
'The products of a feed file with these numbers, each with the document that its rows make, its first row, and its first SKU. Product fields come from the first row that has any; of rows with the same SKU the last one counts.';
