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
'Matches any two tables or views: for each incoming row its best existing row, where the confidence (0 to 1) is at least 0.3. columns maps the fields id, sku, gtin, brand, mpn, title, description, price and category to column names, for both tables ({"title": "name"}) or for one ({"incoming": {"title": "name"}, "existing": {}}); null leaves a field out; by default columns of those names are used, and the usual others (manufacturer or vendor for brand; modelno, part_number or model for mpn; barcode, upc or ean for gtin; name for title). The description serves where there is no title. The key "supplier" names whose reviews the confidences shall follow: a connection, or a name of yours for sync_match_review(). method: gtin, brand_mpn or sku where such a key is equal, else tokens. evidence: the score, what each piece added to it, and key_shared, contradicted or shared where that holds; shared: another incoming row has the better claim to the same existing row. Reads both tables with the caller''s rights. Example: SELECT * FROM sync_match(''feed'', ''catalogue'', ''{"mpn": "modelno"}'') WHERE confidence > 0.95. Errors: 42703 no such column, or none to match by; 22023 columns is wrong; 42809 not a table.';

CREATE FUNCTION sync.match_candidates(incoming regclass, existing regclass, columns jsonb DEFAULT '{}', candidates integer DEFAULT 5)
RETURNS TABLE (incoming_id text, existing_id text, place integer, score double precision, method text)
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'product_sync_match_candidates'
COST 100000 ROWS 5000;
COMMENT ON FUNCTION sync.match_candidates(regclass, regclass, jsonb, integer) IS
'What sync_match() has to choose from: the best candidates of each incoming row, before the rows are looked at together. place: 1 is the best; score: log odds that the two are the same. candidates: 1 to 24 of each row; there are fewer where fewer were compared in full. To see why something was not matched (not among the candidates, or a score too low), and how many of the true matches are found at all. Arguments, rights and errors otherwise as those of sync_match(). Example: SELECT * FROM sync.match_candidates(''feed'', ''catalogue'') WHERE incoming_id = ''42''.';

GRANT EXECUTE ON FUNCTION @extschema@.sync_gtin(text), @extschema@.sync_match(regclass, regclass, jsonb),
	sync.match_candidates(regclass, regclass, jsonb, integer) TO sync_viewer;

CREATE FUNCTION @extschema@.sync_match_one(item jsonb, candidates integer DEFAULT 5)
RETURNS TABLE (incoming_id text, existing_id text, confidence double precision, method text, evidence jsonb)
LANGUAGE c VOLATILE STRICT SECURITY DEFINER SET search_path = '' AS 'MODULE_PATHNAME', 'product_sync_match_one'
ROWS 5;
ALTER FUNCTION @extschema@.sync_match_one(jsonb, integer) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_match_one(jsonb, integer) TO sync_viewer;
COMMENT ON FUNCTION @extschema@.sync_match_one(jsonb, integer) IS
'The variants of the catalogue that an item may be, best first: existing_id is sync.variant.id. item: an object with any of id, sku, gtin, brand, mpn, title, description and price; candidates: 1 to 20. The first call builds an index file, later ones only map it; after a change of the catalogue they go on with it for product_sync.match_index_staleness, so that what is new is only found after that. Example: SELECT * FROM sync_match_one(''{"title": "Sony DSC-W150 camera black"}''). Errors: 22023 unknown key, wrong type, or candidates out of range; class 58 where the spool folder cannot be written.';

-- The index of the catalogue --------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.install_part_60_match() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $install$
BEGIN
	IF to_regclass('sync.catalogue_version_seq') IS NULL THEN
		-- From the clock, so that tables that were dropped and made again do not meet the index files of the old ones.
		EXECUTE format('CREATE SEQUENCE sync.catalogue_version_seq AS bigint START WITH %s',
			(extract(epoch FROM clock_timestamp()) * 1000)::bigint);
	END IF;
	COMMENT ON SEQUENCE sync.catalogue_version_seq IS 'Moves with each change of the catalogue, so that a match index knows whether it is the newest.';
	IF to_regclass('sync.brand_alias') IS NULL THEN
		CREATE TABLE sync.brand_alias (
			alias text PRIMARY KEY CHECK (alias ~ '[[:alnum:]]'),
			brand text NOT NULL CHECK (brand ~ '[[:alnum:]]'),
			note text
		);
	END IF;
	COMMENT ON TABLE sync.brand_alias IS 'Other names of brands, for matching: the alias is taken for the brand. Case, spaces, punctuation and the endings of companies do not matter. At most 10000. To do without a shipped row, set its brand to the alias itself; a row that was deleted comes back with sync_install().';
	COMMENT ON COLUMN sync.brand_alias.alias IS 'A name that is met, for example Hewlett-Packard.';
	COMMENT ON COLUMN sync.brand_alias.brand IS 'The brand that it is, for example HP; may be an alias itself.';
	COMMENT ON COLUMN sync.brand_alias.note IS 'For people.';
	INSERT INTO sync.brand_alias (alias, brand, note)
	SELECT s.alias, s.brand, 'shipped' FROM sync.brand_alias_shipped() s
	ON CONFLICT (alias) DO NOTHING;
	CREATE OR REPLACE FUNCTION sync.brand_alias_changed() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
	BEGIN
		-- While the extension is away nothing is matched, and sync_install() moves the version.
		IF to_regprocedure('sync.catalogue_changed()') IS NOT NULL THEN
			EXECUTE 'SELECT sync.catalogue_changed()';
		END IF;
		RETURN NULL;
	END
	$$;
	CREATE OR REPLACE TRIGGER brand_alias_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON sync.brand_alias
		FOR EACH STATEMENT EXECUTE FUNCTION sync.brand_alias_changed();
	GRANT INSERT, UPDATE, DELETE ON sync.brand_alias TO sync_admin;
END
$install$;

CREATE FUNCTION sync.brand_alias_shipped() RETURNS TABLE (alias text, brand text)
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'product_sync_brand_alias_shipped'
ROWS 100;
COMMENT ON FUNCTION sync.brand_alias_shipped() IS 'The rows that sync_install() puts into sync.brand_alias; matching uses them itself where there is no such table.';

CREATE FUNCTION sync.catalogue_lock() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT 5786931804122';

CREATE FUNCTION sync.catalogue_version() RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	RETURN (SELECT CASE WHEN s.is_called THEN s.last_value + 1 ELSE s.last_value END FROM sync.catalogue_version_seq s);
END
$$;
COMMENT ON FUNCTION sync.catalogue_version() IS 'Number of the catalogue''s present state; see sync.catalogue_changed().';

-- A sequence moves at once, the change is seen at commit.  So a writer holds a lock in between, and an index that was read while one
-- was held is not taken for the newest.
CREATE FUNCTION sync.catalogue_changed() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	PERFORM pg_advisory_xact_lock_shared(sync.catalogue_lock());
	PERFORM nextval('sync.catalogue_version_seq');
END
$$;
COMMENT ON FUNCTION sync.catalogue_changed() IS 'To be called by every transaction that changes products or variants, once is enough: what was built of the catalogue is outdated when it commits.';

-- The whole catalogue is read, in one go: compiling the query and beginning early would only cost time.
CREATE FUNCTION sync.match_index_build(version bigint) RETURNS bigint
LANGUAGE c STRICT SET jit = off SET cursor_tuple_fraction = 1 AS 'MODULE_PATHNAME', 'product_sync_match_index_build';

CREATE FUNCTION sync.match_index_refresh() RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	version bigint;
	settled boolean;
BEGIN
	version := sync.catalogue_version();
	-- Nobody who has moved the version is still to commit: what the next statement sees is all of it.
	settled := NOT EXISTS (
		SELECT FROM pg_locks l
		WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.classid::bigint << 32 | l.objid::bigint = sync.catalogue_lock()
		  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()));
	PERFORM sync.match_index_build(version);
	IF NOT (settled AND current_setting('transaction_isolation') = 'read committed')
		AND current_setting('transaction_read_only') = 'off' THEN
		PERFORM nextval('sync.catalogue_version_seq');
	END IF;
	RETURN version;
END
$$;
COMMENT ON FUNCTION sync.match_index_refresh() IS 'Builds the match index of the present catalogue unless it is there, and returns its version.';
