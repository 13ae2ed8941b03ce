-- Matching: which product of ours is an incoming one.

CREATE FUNCTION @extschema@.sync_gtin(code text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'product_sync_gtin';
COMMENT ON FUNCTION @extschema@.sync_gtin(text) IS
'The GTIN-14 of a UPC-A, UPC-E, EAN-8, EAN-13 or GTIN-14: fourteen digits, or NULL where the code is none. Spaces and hyphens do not matter. NULL for a wrong check digit, one digit repeated, and numbers that are only valid within a company or region (prefixes 02, 04, 20-29) or are coupons. A GTIN-14 with an indicator digit 1-8 is a case pack: another item than the single piece. Example: SELECT sync_gtin(''0-36000-29145-2'') gives 00036000291452. No errors.';

CREATE FUNCTION @extschema@.sync_match(incoming regclass, existing regclass, columns jsonb DEFAULT '{}')
RETURNS TABLE (incoming_id text, existing_id text, confidence double precision, method text, evidence jsonb)
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'product_sync_match'
COST 100000 ROWS 1000;
COMMENT ON FUNCTION @extschema@.sync_match(regclass, regclass, jsonb) IS
'Matches any two tables or views: for each incoming row its best existing row, where the confidence (0 to 1) is at least 0.3. columns maps the fields id, sku, gtin, brand, mpn, title, description, price and category to column names, for both tables ({"title": "name"}) or for one ({"incoming": {"title": "name"}, "existing": {}}); null leaves a field out; by default columns of those names are used, and the usual others (manufacturer or vendor for brand; modelno, part_number or model for mpn; barcode, upc or ean for gtin; name for title). The description serves where there is no title. method: gtin, brand_mpn or sku where such a key is equal, else tokens. evidence: the score, what each piece added to it, and key_shared, contradicted or shared where that holds; shared: another incoming row has the better claim to the same existing row. Reads both tables with the caller''s rights. Example: SELECT * FROM sync_match(''feed'', ''catalogue'', ''{"mpn": "modelno"}'') WHERE confidence > 0.95. Errors: 42703 no such column, or none to match by; 22023 columns is wrong; 42809 not a table.';
