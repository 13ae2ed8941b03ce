-- A shop's products as documents, and a product's two sides: what the catalogue and the shop do not agree on.

CREATE FUNCTION sync.document_merge(base jsonb, base_local jsonb, local jsonb, shop jsonb, OUT path text, OUT base_value jsonb, OUT local_value jsonb,
	OUT shop_value jsonb, OUT status text) RETURNS SETOF record
LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 3 COST 50 AS 'MODULE_PATHNAME', 'ps_document_merge';
COMMENT ON FUNCTION sync.document_merge(jsonb, jsonb, jsonb, jsonb) IS
'The fields that a shop knows and on which local (the catalogue''s document) and shop (the shop''s) do not agree. base is what the shop had when both last agreed, NULL where they never did; base_local is ours where the agreed value is another text. All documents have our SKUs. status: shop, local (only that side changed), both (both did, or nothing was agreed), converged (both have the same, the base does not), drift (neither changed, and they differ). A variant that not both have is one row, variants[SKU], with its whole value. No rows where local or shop is NULL. Errors: 22023 when one is not shaped like a product document.';

CREATE FUNCTION sync.value_equal(field text, a jsonb, b jsonb) RETURNS boolean
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'ps_value_equal';
COMMENT ON FUNCTION sync.value_equal(text, jsonb, jsonb) IS
'Whether two values of a field are the same for a merge: description as HTML, tags as a set, images by address without its query, prices to 4 digits, weight to 0.01 g. field is a path or a field''s bare name. NULL, null, "", [] and {} are the same: no value.';

CREATE FUNCTION sync.shopify_document(product jsonb, variant_nodes jsonb[], media jsonb[], metafields jsonb[], currency text DEFAULT NULL,
	OUT document jsonb, OUT variants jsonb, OUT stock jsonb, OUT error text) RETURNS record
LANGUAGE c IMMUTABLE PARALLEL SAFE COST 100 AS 'MODULE_PATHNAME', 'ps_shopify_document';
COMMENT ON FUNCTION sync.shopify_document(jsonb, jsonb[], jsonb[], jsonb[], text) IS
'A product of Shopify''s GraphQL API in the shape of sync.shopify_product: its document, with variants by their numbers and weights in grams; what else is known of the variants; and stock, {"ITEM": {"LOCATION": {"available", "updated_at"}}} with all levels of each item that is in it. variant_nodes may have a bulk operation''s InventoryLevel lines among the variants. currency is the shop''s. Where a node is not as it should be, error says which field and value, and the others are NULL; nothing is raised.';

CREATE FUNCTION sync.shopify_id(gid text, kind text) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ps_shopify_id';
COMMENT ON FUNCTION sync.shopify_id(text, text) IS 'The number in gid://shopify/KIND/NUMBER. Errors: 22023 when it is another kind''s, or no gid.';

CREATE FUNCTION sync.shopify_bulk_load(crawl_id bigint, file text, OUT lines bigint, OUT products bigint, OUT variants bigint, OUT rejected bigint,
	OUT bytes bigint, OUT truncated boolean, OUT first_reject text) RETURNS record
LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'sync_shopify_bulk_load';
COMMENT ON FUNCTION sync.shopify_bulk_load(bigint, text) IS
'Puts the result of a bulk operation, a file in the spool folder with a JSON object a line, into sync.shopify_bulk_line. Lines that are no objects with a gid, or that belong to no product before them, are rejected; first_reject says which line was the first and why. kind is product, variant, item, level, metafield, media or other. truncated: the file ends within a line, so it is not all there. Errors: 58P01 when there is no such file, 42602 when that is no name of one.';
