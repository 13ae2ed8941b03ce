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
