-- The feed: its parser, its profiles, and the loading of a zip file into sync.feed_item.

CREATE FUNCTION @extschema@.sync_csv_parse(data bytea, options jsonb DEFAULT '{}')
RETURNS TABLE (line bigint, fields text[], error text)
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'product_sync_csv_parse';
GRANT EXECUTE ON FUNCTION @extschema@.sync_csv_parse(bytea, jsonb) TO sync_viewer;
COMMENT ON FUNCTION @extschema@.sync_csv_parse(bytea, jsonb) IS
'Parses CSV as a feed is parsed: one row a record with the line on which it starts, its fields, and for a bad record what is wrong with it. Options: delimiter (","), quote ("\"", "" for none), header (false; true: the first record gives no row, and records with another number of fields are errors), encoding (auto, utf-8, windows-1252), max_field (1048576 bytes), max_record (4194304 bytes). Errors: 22023 for an unknown or wrong option, 0A000 in a database whose encoding is not UTF8. Example: SELECT * FROM sync_csv_parse(''a,"b""c"'');';

CREATE FUNCTION sync.feed_claims(feed_file_id bigint) RETURNS bigint[]
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'product_sync_feed_claims';
COMMENT ON FUNCTION sync.feed_claims(bigint) IS 'Size and CRC of a feed''s CSV as the directory of its zip file gives them.';

CREATE FUNCTION sync.feed_hash(feed_file_id bigint) RETURNS bytea
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'product_sync_feed_hash';
COMMENT ON FUNCTION sync.feed_hash(bigint) IS 'SHA-256 of a feed''s CSV, with the whole zip file read and checked. Errors: 22Z01 to 22Z10.';

CREATE FUNCTION sync.feed_fill(feed_file_id bigint, target regclass, profile text, encoding text) RETURNS jsonb
LANGUAGE c VOLATILE STRICT SET search_path = '' AS 'MODULE_PATHNAME', 'product_sync_feed_fill';
COMMENT ON FUNCTION sync.feed_fill(bigint, regclass, text, text) IS
'Fills a table that the caller has just made like sync.feed_item from a feed''s zip file. Errors: 22Z01 to 22Z11 for a feed that cannot be read, 22023 for a header without SKU or an unknown profile.';

-- Profiles and settings ------------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.install_part_40_feed() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('feed_profile', 'shopify_wide', '', 'The row of sync.feed_profile that says how the feed is read.'),
		('max_feed_shrink', '0.3', 'share', 'A feed with fewer products than the one before by more than this share is held as a whole.'),
		('max_reject_share', '0.5', 'share', 'A feed of whose records more than this share is rejected is held as a whole.')
	ON CONFLICT DO NOTHING;
	INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, description) VALUES
		('feed_load', false, 2, 1, 3, 'Reads a downloaded feed into sync.feed_item.')
	ON CONFLICT DO NOTHING;

	-- Rows that the user has deleted from a shipped profile stay deleted.
	INSERT INTO sync.feed_profile (name, description)
	VALUES ('shopify_wide', 'Wide CSV in the shape of a Shopify export: image rows follow their product, metafields are columns.')
	ON CONFLICT DO NOTHING;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	INSERT INTO sync.feed_profile_column (profile, header, target, transform, required, create_only)
	SELECT 'shopify_wide', c.header, c.target, c.transform, c.header = 'SKU', c.create_only
	FROM (VALUES
		('URL handle', 'product.handle', 'text', true),
		('Handle', 'product.handle', 'text', true),
		('Title', 'product.title', 'text', false),
		('Description', 'product.description', 'html', false),
		('Body (HTML)', 'product.description', 'html', false),
		('Vendor', 'product.vendor', 'text', false),
		('Type', 'product.type', 'text', false),
		('Tags', 'product.tags', 'list', false),
		('Published', 'product.attributes.published', 'boolean', true),
		('Published on online store', 'product.attributes.published', 'boolean', true),
		('Status', 'product.status', 'status', true),
		('Product category', 'product.attributes.product_category', 'text', false),
		('Gift card', 'product.attributes.gift_card', 'boolean', false),
		('SEO title', 'product.attributes.seo_title', 'text', false),
		('SEO description', 'product.attributes.seo_description', 'text', false),
		('Google Shopping / Google Product Category', 'product.attributes.google_product_category', 'text', false),
		('Google Shopping / Gender', 'product.attributes.google_gender', 'text', false),
		('Google Shopping / Age Group', 'product.attributes.google_age_group', 'text', false),
		('Google Shopping / AdWords Grouping', 'product.attributes.google_adwords_grouping', 'text', false),
		('Google Shopping / AdWords Labels', 'product.attributes.google_adwords_labels', 'text', false),
		('Google Shopping / Condition', 'product.attributes.google_condition', 'text', false),
		('Google Shopping / Custom Product', 'product.attributes.google_custom_product', 'boolean', false),
		('Google Shopping / Custom Label 0', 'product.attributes.google_custom_label_0', 'text', false),
		('Google Shopping / Custom Label 1', 'product.attributes.google_custom_label_1', 'text', false),
		('Google Shopping / Custom Label 2', 'product.attributes.google_custom_label_2', 'text', false),
		('Google Shopping / Custom Label 3', 'product.attributes.google_custom_label_3', 'text', false),
		('Google Shopping / Custom Label 4', 'product.attributes.google_custom_label_4', 'text', false),
		('Metafield: custom.*', 'product.metafields.custom.', 'text', false),
		('SKU', 'variant.sku', 'text', false),
		('Variant SKU', 'variant.sku', 'text', false),
		('Barcode', 'variant.barcode', 'gtin', false),
		('Variant Barcode', 'variant.barcode', 'gtin', false),
		('Google Shopping / MPN', 'variant.mpn', 'text', false),
		('Price', 'variant.price', 'number', false),
		('Variant Price', 'variant.price', 'number', false),
		('Compare-at price', 'variant.compare_at_price', 'number', false),
		('Compare at price', 'variant.compare_at_price', 'number', false),
		('Variant Compare At Price', 'variant.compare_at_price', 'number', false),
		('Cost per item', 'variant.cost', 'number', false),
		('Weight value (grams)', 'variant.weight', 'number', false),
		('Variant Grams', 'variant.weight', 'number', false),
		('Weight unit for display', 'variant.attributes.weight_unit', 'text', false),
		('Variant Weight Unit', 'variant.attributes.weight_unit', 'text', false),
		('Option1 name', 'variant.options.1.name', 'text', false),
		('Option1 value', 'variant.options.1.value', 'text', false),
		('Option2 name', 'variant.options.2.name', 'text', false),
		('Option2 value', 'variant.options.2.value', 'text', false),
		('Option3 name', 'variant.options.3.name', 'text', false),
		('Option3 value', 'variant.options.3.value', 'text', false),
		('Charge tax', 'variant.attributes.taxable', 'boolean', false),
		('Variant Taxable', 'variant.attributes.taxable', 'boolean', false),
		('Continue selling when out of stock', 'variant.attributes.inventory_policy', 'text', false),
		('Variant Inventory Policy', 'variant.attributes.inventory_policy', 'text', false),
		('Requires shipping', 'variant.attributes.requires_shipping', 'boolean', false),
		('Variant Requires Shipping', 'variant.attributes.requires_shipping', 'boolean', false),
		('Fulfillment service', 'variant.attributes.fulfillment_service', 'text', false),
		('Variant Fulfillment Service', 'variant.attributes.fulfillment_service', 'text', false),
		('Product image URL', 'image.src', 'url', false),
		('Image Src', 'image.src', 'url', false),
		('Image position', 'image.position', 'integer', false),
		('Image alt text', 'image.alt', 'text', false)
	) AS c (header, target, transform, create_only);
END
$$;

-- Loading --------------------------------------------------------------------------------------------------------------------------

-- An empty table like sync.feed_item, to become its partition of a file.  The CHECK saves ATTACH PARTITION from reading it.
CREATE FUNCTION sync.feed_partition_create(feed_file_id bigint) RETURNS regclass
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	name constant text := 'feed_item_' || feed_file_id;
	owner constant name := (SELECT pg_get_userbyid(c.relowner) FROM pg_class c WHERE c.oid = 'sync.feed_item'::regclass);
BEGIN
	IF to_regclass(format('sync.%I', name)) IS NOT NULL THEN
		EXECUTE format('DROP TABLE sync.%I', name);
	END IF;
	EXECUTE format('CREATE TABLE sync.%I (LIKE sync.feed_item, CONSTRAINT feed_file_id_is CHECK (feed_file_id = %s))', name, feed_file_id);
	-- Whoever loads: the owner of the feed's table owns its partitions.
	IF owner <> current_user THEN
		EXECUTE format('ALTER TABLE sync.%I OWNER TO %I', name, owner);
	END IF;
	RETURN format('sync.%I', name)::regclass;
END
$$;
COMMENT ON FUNCTION sync.feed_partition_create(bigint) IS 'Makes an empty table for the rows of a feed file, in the place of an older one.';

-- A small sample is enough for the few columns that queries select by, and the jsonb ones are left out: reading them takes longer than
-- building an index.
CREATE FUNCTION sync.feed_partition_attach(feed_file_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET default_statistics_target = '20' AS $$
DECLARE
	name constant text := 'feed_item_' || feed_file_id;
BEGIN
	EXECUTE format('ALTER TABLE sync.%I ADD PRIMARY KEY (id)', name);
	EXECUTE format('CREATE INDEX ON sync.%I (product_no)', name);
	EXECUTE format('CREATE INDEX ON sync.%I (sku) WHERE sku IS NOT NULL', name);
	EXECUTE format('ALTER TABLE sync.feed_item ATTACH PARTITION sync.%I FOR VALUES IN (%s)', name, feed_file_id);
	EXECUTE format('ALTER TABLE sync.%I DROP CONSTRAINT feed_file_id_is', name);
	EXECUTE format('ANALYZE sync.%I (id, feed_file_id, line, product_no, kind, product_key, sku)', name);
END
$$;
COMMENT ON FUNCTION sync.feed_partition_attach(bigint) IS 'Gives a filled table of sync.feed_partition_create() its indexes and makes it a partition of sync.feed_item.';

-- A file whose newest run was cancelled has not been dealt with.
CREATE FUNCTION sync.feed_cancelled(feed_file_id bigint) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
	RETURN coalesce((SELECT r.state = 'cancelled' FROM sync.run r WHERE r.feed_file_id = feed_cancelled.feed_file_id ORDER BY r.id DESC LIMIT 1),
					false);
END
$$;
COMMENT ON FUNCTION sync.feed_cancelled(bigint) IS 'Whether the newest run of a feed file was cancelled, so that its content is still to be taken in.';

-- The feed with the same content that was loaded last, or NULL.  Size and CRC come from the zip's directory; only where they are the
-- same is the file read for its hash.
CREATE FUNCTION sync.feed_same_as(feed_file_id bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	before record;
	claims bigint[];
BEGIN
	SELECT f.id, f.sha256, f.member_size, f.member_crc INTO before
	FROM sync.feed_file f JOIN sync.feed_file this ON this.connection = f.connection
	WHERE this.id = feed_same_as.feed_file_id AND f.id < this.id AND f.state = 'loaded'
	ORDER BY f.id DESC LIMIT 1;
	IF before.id IS NULL OR sync.feed_cancelled(before.id) THEN
		RETURN NULL;
	END IF;
	claims := sync.feed_claims(feed_file_id);
	IF claims[1] = before.member_size AND claims[2] = before.member_crc AND sync.feed_hash(feed_file_id) = before.sha256 THEN
		RETURN before.id;
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync.feed_same_as(bigint) IS 'The newest earlier loaded file of the same connection, where its content is the same and its run was not cancelled; else NULL.';

-- Loads one file, unless that is done or its content is not new.
CREATE FUNCTION sync.feed_load(feed_file_id bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	file record;
	profile_name text;
	profile_encoding text;
	same bigint;
	outcome jsonb;
BEGIN
	SELECT f.id, f.connection, f.state, f.records, f.products, f.rejected INTO file
	FROM sync.feed_file f WHERE f.id = feed_load.feed_file_id FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no feed file %', feed_file_id USING ERRCODE = 'invalid_parameter_value';
	ELSIF file.state IN ('loaded', 'unchanged') THEN
		RETURN jsonb_build_object('done', coalesce(file.records, 0), 'records', coalesce(file.records, 0),
								  'products', coalesce(file.products, 0), 'rejected', coalesce(file.rejected, 0));
	END IF;

	same := sync.feed_same_as(file.id);
	IF same IS NOT NULL THEN
		UPDATE sync.feed_file f
		SET state = 'unchanged', sha256 = s.sha256, member = s.member, member_size = s.member_size, member_crc = s.member_crc,
			error = NULL, loaded_at = now()
		FROM sync.feed_file s WHERE f.id = file.id AND s.id = same;
		RETURN jsonb_build_object('done', 0, 'unchanged', 1);
	END IF;

	profile_name := sync.setting_value(file.connection, 'feed_profile');
	SELECT p.encoding INTO profile_encoding FROM sync.feed_profile p WHERE p.name = profile_name;
	outcome := '{"again": true}';
	WHILE (outcome ->> 'again')::boolean LOOP
		DELETE FROM sync.feed_reject r WHERE r.feed_file_id = file.id;
		outcome := sync.feed_fill(file.id, sync.feed_partition_create(file.id), profile_name, coalesce(profile_encoding, 'auto'));
		profile_encoding := outcome ->> 'encoding';
	END LOOP;
	PERFORM sync.feed_partition_attach(file.id);
	UPDATE sync.feed_file f
	SET state = 'loaded', sha256 = decode(outcome ->> 'sha256', 'hex'), member = outcome ->> 'member',
		member_size = (outcome ->> 'size')::bigint, member_crc = (outcome ->> 'crc')::bigint,
		records = (outcome ->> 'records')::bigint, products = (outcome ->> 'products')::bigint, rejected = (outcome ->> 'rejected')::bigint,
		header = ARRAY(SELECT h.name FROM jsonb_array_elements_text(outcome -> 'header') WITH ORDINALITY AS h (name, n) ORDER BY h.n),
		profile = profile_name, error = NULL, loaded_at = now()
	WHERE f.id = file.id;
	RETURN jsonb_build_object('done', outcome -> 'records', 'records', outcome -> 'records', 'products', outcome -> 'products',
							  'rejected', outcome -> 'rejected');
END
$$;
COMMENT ON FUNCTION sync.feed_load(bigint) IS
'Loads the zip file of a feed from the spool folder into a partition of sync.feed_item; what cannot be used goes to sync.feed_reject. Loading a file again gives the same rows. Errors: 22Z01 empty file, 22Z02 no zip or cut short, 22Z03 encrypted, 22Z04 damaged, 22Z05 too large, 22Z06 zip bomb, 22Z07 too many members, 22Z08 no CSV, 22Z09 unsafe name, 22Z10 unknown packing, 22Z11 unreadable header, 22023 header without SKU.';

CREATE FUNCTION sync.work_feed_load(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	job record;
	total jsonb := '{"done": 0}';
BEGIN
	FOR job IN
		SELECT (j.payload ->> 'feed_file_id')::bigint AS feed_file_id FROM sync.job j
		WHERE j.id = ANY (job_ids) ORDER BY j.id
	LOOP
		SELECT jsonb_object_agg(c.key, c.value) INTO total
		FROM (SELECT e.key, sum(e.value::bigint) AS value
			  FROM (SELECT * FROM jsonb_each_text(total) UNION ALL SELECT * FROM jsonb_each_text(sync.feed_load(job.feed_file_id))) e
			  GROUP BY e.key) c;
	END LOOP;
	RETURN total;
END
$$;
COMMENT ON FUNCTION sync.work_feed_load(bigint[]) IS 'Work of kind feed_load: loads the file of each job''s payload, feed_file_id.';

CREATE FUNCTION sync.failed_feed_load(job_id bigint, error jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	UPDATE sync.feed_file f
	SET state = 'failed', error = coalesce(failed_feed_load.error ->> 'message', failed_feed_load.error::text)
	FROM sync.job j
	WHERE j.id = failed_feed_load.job_id AND f.id = (j.payload ->> 'feed_file_id')::bigint AND f.state <> 'loaded';
END
$$;
COMMENT ON FUNCTION sync.failed_feed_load(bigint, jsonb) IS 'Notes on its file why a job of kind feed_load failed for good.';

-- Compared with the newest earlier file that was not itself held.
CREATE FUNCTION sync.feed_hold_reason(feed_file_id bigint) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	file record;
	before record;
	max_rejects numeric;
	max_shrink numeric;
	lost text[];
BEGIN
	SELECT * INTO file FROM sync.feed_file f WHERE f.id = feed_hold_reason.feed_file_id;
	IF file.state IS DISTINCT FROM 'loaded' THEN
		RETURN NULL;
	END IF;
	max_rejects := sync.setting_value(file.connection, 'max_reject_share')::numeric;
	max_shrink := sync.setting_value(file.connection, 'max_feed_shrink')::numeric;
	IF file.rejected > max_rejects * file.records THEN
		RETURN format('%s of %s records were rejected, more than the share of %s that max_reject_share allows',
					  file.rejected, file.records, max_rejects);
	END IF;
	SELECT * INTO before FROM sync.feed_file f
	WHERE f.connection = file.connection AND f.id < file.id AND f.state IN ('loaded', 'dropped') AND f.records IS NOT NULL
	  AND NOT EXISTS (SELECT FROM sync.run r WHERE r.feed_file_id = f.id AND r.state IN ('held', 'rejected'))
	ORDER BY f.id DESC LIMIT 1;
	IF before.id IS NULL THEN
		RETURN CASE WHEN file.products = 0 THEN 'the feed has no product' END;
	ELSIF before.products > 0 AND file.products < (1 - max_shrink) * before.products THEN
		RETURN format('the feed has %s products where the one before had %s, a loss of more than the share of %s that max_feed_shrink allows',
					  file.products, before.products, max_shrink);
	END IF;
	IF before.profile = file.profile THEN
		SELECT array_agg(m.header ORDER BY m.n) INTO lost
		FROM (SELECT h.header, h.n, sync.feed_target(file.profile, h.header) AS target
			  FROM unnest(before.header) WITH ORDINALITY AS h (header, n)) m
		WHERE m.target IS NOT NULL
		  AND NOT EXISTS (SELECT FROM unnest(file.header) AS n (header) WHERE sync.feed_target(file.profile, n.header) = m.target);
	END IF;
	IF lost IS NOT NULL THEN
		RETURN format('the feed''s header lost the column%s %s', CASE WHEN cardinality(lost) > 1 THEN 's' ELSE '' END,
					  (SELECT string_agg('"' || l.header || '"', ', ') FROM unnest(lost[1:10]) AS l (header)));
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync.feed_hold_reason(bigint) IS
'Why a loaded feed should not go on without a person''s look: too many records rejected (max_reject_share), too few products (max_feed_shrink), or a column gone that the profile uses. NULL where nothing is wrong.';

CREATE FUNCTION sync.feed_target(profile text, header text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	-- Compared as the loader does, in src/feed/profile.c.
	folded constant text := btrim(lower(translate(header, '"''', '') COLLATE "C"), E' \t');
	column_ record;
BEGIN
	SELECT c.target, c.header INTO column_
	FROM (SELECT c.id, c.target, btrim(lower(translate(c.header, '"''', '') COLLATE "C"), E' \t') AS header
		  FROM sync.feed_profile_column c WHERE c.profile = feed_target.profile) c
	WHERE c.header = folded OR (c.header LIKE '%*' AND left(folded, length(c.header) - 1) = left(c.header, -1)
								AND length(folded) >= length(c.header))
	ORDER BY c.header <> folded, c.id
	LIMIT 1;
	IF column_.header LIKE '%*' AND column_.header <> folded THEN
		RETURN column_.target || regexp_replace(substr(folded, length(column_.header)), '\s*\[[^[]*\]$', '');
	END IF;
	RETURN column_.target;
END
$$;
COMMENT ON FUNCTION sync.feed_target(text, text) IS 'The target that a profile gives a header, in lower case where it comes from a wildcard; NULL where it is not known.';
