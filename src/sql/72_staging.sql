-- Staging: what a run would change in the catalogue, one entry a product, for people to decide.

CREATE FUNCTION sync.install_part_72_staging() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $install$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('match_threshold', '0.5', 'share', 'Confidence from which a feed product is taken for one of the catalogue; below, it is staged as a new one.'),
		('auto_approve_threshold', '0.95', 'share', 'Updates with more confidence than this are approved by themselves; exactly this much is not enough.'),
		('auto_approve_creates', 'false', 'boolean', 'Whether new products and new variants may be approved by themselves too.'),
		('unknown_products', 'stage', '', 'What to do with products that the ERP does not know: stage (for a person to decide) or skip.'),
		('max_change_share', '0.3', 'share', 'A run that would update a larger share of the catalogue is held: nothing of it is approved by itself until sync_release().'),
		('max_change_minimum', '50', 'count', 'A run with at most this many updates is never held for its share.'),
		('match_learn_from_filters', 'true', '', 'Whether what a person decides by a filter counts as a review of each match. Set it to false where people approve by filter without looking.'),
		('match_audit_share', '0', 'share', 'Share of what could be approved by itself, but for confirmed links, that is left to a person all the same: so it is known how often it is right.'),
		('stage_batch_products', '1000', 'count', 'How many feed products one job stages.')
	ON CONFLICT (name) DO NOTHING;
	INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, description) VALUES
		('stage_batch', false, 3, 1, 5, 'A range of feed products: compared with the catalogue, differences staged.'),
		('stage_finish', false, 2, 1, 5, 'A run as a whole: double claims, the hold, approval by itself, the notification.')
	ON CONFLICT (kind) DO NOTHING;
	-- The publication belongs to who installs, not to sync_worker, in whose name the other parts are done.
	IF EXISTS (SELECT FROM pg_publication p WHERE p.pubname = 'supabase_realtime' AND NOT p.puballtables
			   AND pg_has_role(session_user, p.pubowner, 'USAGE')) AND pg_has_role(session_user, 'sync_worker', 'USAGE') THEN
		PERFORM set_config('role', 'none', true);
		PERFORM sync.publish_realtime();
		PERFORM set_config('role', 'sync_worker', true);
	END IF;
END
$install$;

-- What a dashboard may follow live through Supabase's Realtime.
CREATE FUNCTION sync.publish_realtime() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY ARRAY['run', 'run_phase', 'notification'] LOOP
		IF NOT EXISTS (SELECT FROM pg_publication_tables t
					   WHERE t.pubname = 'supabase_realtime' AND t.schemaname = 'sync' AND t.tablename = name) THEN
			EXECUTE format('ALTER PUBLICATION supabase_realtime ADD TABLE sync.%I', name);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION sync.publish_realtime() IS
'Adds sync.run, sync.run_phase and sync.notification to the publication supabase_realtime. sync_install() does it where it may; else the publication''s owner calls this.';

-- Splits the feed's products into jobs.
CREATE FUNCTION sync.staging_begin(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	run record;
	size integer;
	products integer;
	from_no integer;
BEGIN
	SELECT r.connection, r.feed_file_id INTO STRICT run FROM sync.run r WHERE r.id = staging_begin.run_id;
	size := greatest(sync.setting_value(run.connection, 'stage_batch_products')::integer, 1);
	SELECT coalesce(max(i.product_no), 0) INTO products FROM sync.feed_item i WHERE i.feed_file_id = run.feed_file_id;
	FOR from_no IN SELECT generate_series(1, products, size) LOOP
		PERFORM sync.job_enqueue('stage_batch', staging_begin.run_id,
			jsonb_build_object('from', from_no, 'to', least(from_no + size - 1, products)));
	END LOOP;
	UPDATE sync.run_phase p SET total = products, unit = 'products'
	WHERE p.id = (SELECT max(o.id) FROM sync.run_phase o WHERE o.run_id = staging_begin.run_id AND o.ended_at IS NULL);
END
$$;

-- Which fields differ, the first three by name.
CREATE FUNCTION sync.change_words(labels text[]) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE cardinality(labels)
		WHEN 1 THEN labels[1] || ' differs'
		WHEN 2 THEN labels[1] || ' and ' || labels[2] || ' differ'
		WHEN 3 THEN labels[1] || ', ' || labels[2] || ' and ' || labels[3] || ' differ'
		ELSE labels[1] || ', ' || labels[2] || ', ' || labels[3] || ' and ' || (cardinality(labels) - 3) || ' more fields differ' END
$$;

-- Small enough to become part of the query that calls it, which functions with settings of their own do not.
CREATE FUNCTION sync.match_words(method text, confidence double precision, gtin text) RETURNS text
LANGUAGE sql STABLE AS $$
	SELECT format('matched by %s (%s)',
		CASE method WHEN 'gtin' THEN coalesce('GTIN ' || gtin, 'GTIN') WHEN 'brand_mpn' THEN 'brand and part number'
			WHEN 'sku' THEN 'SKU' WHEN 'link' THEN 'a link that was confirmed before' WHEN 'tokens' THEN 'title and other words' WHEN 'erp' THEN 'the ERP''s item number'
			ELSE replace(method, '_', ' ') END,
		trim_scale(trunc(confidence::numeric, 3)))
$$;

-- The targets of a feed's profile that are set on new products only, as LIKE patterns for sync.path_target().
CREATE FUNCTION sync.create_only_targets(feed_file_id bigint) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
	RETURN (
		SELECT coalesce(array_agg(DISTINCT CASE WHEN c.target LIKE 'variant.options.%' THEN 'variant.options.%'
									   ELSE sync.path_pattern(c.target) || CASE WHEN c.header LIKE '%*' THEN '%' ELSE '' END END), '{}')
		FROM sync.feed_file f JOIN sync.feed_profile_column c ON c.profile = f.profile
		WHERE f.id = create_only_targets.feed_file_id AND c.create_only);
END
$$;

-- A feed product's match: which catalogue product its variants are, with what confidence.  One row a product that matched at all.
CREATE FUNCTION sync.staged_matches(run_id bigint, feed_file_id bigint, from_no integer, to_no integer, threshold double precision)
RETURNS TABLE (product_no integer, product_id bigint, confidence double precision, method text, evidence jsonb, links jsonb, own_skus jsonb,
			   foreign_skus text[], flags text[], gtin text, best double precision)
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH item AS MATERIALIZED (
		SELECT i.id, i.sku FROM sync.feed_item i
		WHERE i.feed_file_id = staged_matches.feed_file_id AND i.product_no BETWEEN from_no AND to_no AND i.variant IS NOT NULL),
	found AS MATERIALIZED (
		SELECT DISTINCT ON (m.feed_item_id) m.product_no, i.sku AS feed_sku, v.id AS variant_id, v.product_id, v.sku AS own_sku, v.gtin,
			   m.confidence, m.method, m.evidence
		FROM sync.match_result m
		JOIN item i ON i.id = m.feed_item_id
		JOIN sync.variant v ON v.id = m.variant_id
		WHERE m.run_id = staged_matches.run_id AND m.product_no BETWEEN from_no AND to_no
		ORDER BY m.feed_item_id, m.confidence DESC, m.id),
	-- The product that most variants are of, then the one that is surest.
	chosen AS (
		SELECT DISTINCT ON (t.product_no) t.product_no, t.product_id, t.lowest, t.products
		FROM (SELECT f.product_no, f.product_id, count(*) AS variants, max(f.confidence) AS highest, min(f.confidence) AS lowest,
					 count(*) OVER (PARTITION BY f.product_no) AS products
			  FROM found f WHERE f.confidence >= threshold
			  GROUP BY f.product_no, f.product_id) t
		ORDER BY t.product_no, t.variants DESC, t.highest DESC, t.product_id)
	SELECT f.product_no, min(c.product_id), coalesce(min(c.lowest), max(f.confidence)),
		   (array_agg(f.method ORDER BY f.confidence DESC, f.feed_sku))[1],
		   (array_agg(f.evidence ORDER BY f.confidence DESC, f.feed_sku))[1],
		   coalesce(jsonb_object_agg(f.feed_sku, f.variant_id) FILTER (WHERE f.product_id = c.product_id AND f.confidence >= threshold), '{}'),
		   jsonb_object_agg(f.feed_sku, f.own_sku) FILTER (WHERE f.product_id = c.product_id AND f.confidence >= threshold),
		   array_agg(f.feed_sku) FILTER (WHERE f.product_id <> c.product_id AND f.confidence >= threshold),
		   CASE WHEN min(c.products) > 1 THEN ARRAY['split_match'] ELSE '{}' END
		   || CASE WHEN count(f.variant_id) FILTER (WHERE f.product_id = c.product_id)
						> count(DISTINCT f.variant_id) FILTER (WHERE f.product_id = c.product_id) THEN ARRAY['shared_match'] ELSE '{}' END
		   || CASE WHEN bool_or(f.method = 'link' AND f.evidence ? 'contradicted' AND f.product_id = c.product_id)
				   THEN ARRAY['link_contradicted'] ELSE '{}' END,
		   (array_agg(f.gtin ORDER BY f.confidence DESC, f.feed_sku))[1], max(f.confidence)
	FROM found f LEFT JOIN chosen c ON c.product_no = f.product_no
	GROUP BY f.product_no;
END
$$;

-- A feed's document with the SKUs that the catalogue uses for its variants; where two are the same variant, the later one counts.
CREATE FUNCTION sync.document_rekey(document jsonb, own_skus jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT CASE
		WHEN own_skus IS NULL OR NOT EXISTS (SELECT FROM jsonb_each_text(own_skus) o WHERE o.key <> o.value) THEN document
		ELSE jsonb_set(document, '{variants}', (SELECT jsonb_object_agg(coalesce(own_skus ->> v.key, v.key), v.value ORDER BY v.key)
												FROM jsonb_each(document -> 'variants') v)) END
$$;

-- The feed products of a range that are to be compared.  What the ERP does not know is left out or flagged, variants have our SKUs, and
-- those that are of another product than the rest are left out.
CREATE FUNCTION sync.staged_products(run_id bigint, from_no integer, to_no integer, threshold double precision, unknown text)
RETURNS TABLE (product_no integer, feed_item_id bigint, sku text, title text, document jsonb, product_id bigint, confidence double precision,
			   method text, evidence jsonb, links jsonb, flags text[], gtin text, best double precision)
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	file bigint := (SELECT r.feed_file_id FROM sync.run r WHERE r.id = run_id);
	items bigint[];
BEGIN
	SELECT array_agg(i.id) INTO items
	FROM sync.feed_item i WHERE i.feed_file_id = file AND i.product_no BETWEEN from_no AND to_no AND i.variant IS NOT NULL;
	RETURN QUERY
	WITH doc AS MATERIALIZED (SELECT * FROM sync.feed_documents(file, from_no, to_no)),
	match AS MATERIALIZED (SELECT * FROM sync.staged_matches(staged_products.run_id, file, from_no, to_no, threshold)),
	erp AS MATERIALIZED (
		SELECT v.product_no, array_agg(v.sku) FILTER (WHERE v.status = 'unknown') AS unknown_skus,
			   array_remove(ARRAY[max(CASE v.status WHEN 'unknown' THEN 'unknown_to_erp' END),
								  max(CASE v.status WHEN 'inactive' THEN 'inactive_in_erp' END)], NULL) AS flags
		FROM sync.validation v
		WHERE v.run_id = staged_products.run_id AND v.feed_item_id = ANY (items)
		GROUP BY v.product_no)
	SELECT d.product_no, d.feed_item_id, d.sku, d.title, sync.document_rekey(k.document, m.own_skus), m.product_id,
		   m.confidence, m.method, m.evidence, coalesce(m.links, '{}'),
		   coalesce(m.flags, '{}') || CASE WHEN unknown = 'skip' THEN array_remove(e.flags, 'unknown_to_erp') ELSE e.flags END,
		   m.gtin, m.best
	FROM doc d
	LEFT JOIN match m ON m.product_no = d.product_no
	LEFT JOIN erp e ON e.product_no = d.product_no
	CROSS JOIN LATERAL (SELECT CASE WHEN unknown = 'skip' THEN e.unknown_skus END || m.foreign_skus AS without) w
	CROSS JOIN LATERAL (SELECT CASE WHEN w.without IS NULL THEN d.document
									ELSE jsonb_set(d.document, '{variants}', (d.document -> 'variants') - w.without) END AS document) k
	WHERE k.document -> 'variants' <> '{}';
END
$$;

CREATE TYPE sync.staged AS (product_no integer, feed_item_id bigint, sku text, title text, document jsonb, product_id bigint,
	confidence double precision, method text, evidence jsonb, links jsonb, flags text[], gtin text, best double precision);

-- What earlier runs said about these products and nobody decided is out of date, whether this run finds a difference or not.
CREATE FUNCTION sync.stage_supersede(run_id bigint, connection text, products sync.staged[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	skus text[] := ARRAY(SELECT p.sku FROM unnest(products) p WHERE p.sku IS NOT NULL);
	ids bigint[] := ARRAY(SELECT p.product_id FROM unnest(products) p WHERE p.product_id IS NOT NULL);
BEGIN
	UPDATE sync.staging s SET state = 'superseded'
	WHERE s.product_id = ANY (ids) AND s.connection = stage_supersede.connection AND s.run_id < stage_supersede.run_id
	  AND s.state = 'open' AND s.decision = 'pending';
	UPDATE sync.staging s SET state = 'superseded'
	WHERE s.connection = stage_supersede.connection AND s.sku = ANY (skus) AND s.kind = 'create' AND s.run_id < stage_supersede.run_id
	  AND s.state = 'open' AND s.decision = 'pending';
END
$$;

-- Which SKUs of these documents the catalogue has, under whatever product.
CREATE FUNCTION sync.skus_present(documents jsonb[]) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
DECLARE
	skus text[] := ARRAY(SELECT jsonb_object_keys(d -> 'variants') FROM unnest(documents) d);
BEGIN
	RETURN ARRAY(SELECT v.sku FROM sync.variant v WHERE v.sku = ANY (skus));
END
$$;

-- New products of a batch.  One that a person rejected as it stands is not staged again.
CREATE FUNCTION sync.stage_creates(run_id bigint, connection text, products sync.staged[], OUT created bigint, OUT suppressed bigint)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	skus text[] := (SELECT array_agg(p.sku) FROM unnest(products) p WHERE p.product_id IS NULL);
	refused integer[];
	taken text[] := sync.skus_present((SELECT array_agg(p.document) FROM unnest(products) p WHERE p.product_id IS NULL));
BEGIN
	created := 0;
	suppressed := 0;
	IF skus IS NULL THEN
		RETURN;
	END IF;
	SELECT coalesce(array_agg(p.product_no), '{}') INTO refused
	FROM (SELECT DISTINCT ON (s.sku) s.sku, s.decision, s.document FROM sync.staging s
		  WHERE s.connection = stage_creates.connection AND s.sku = ANY (skus) AND s.kind = 'create' AND s.run_id < stage_creates.run_id
			AND s.decision <> 'pending'
		  ORDER BY s.sku, s.id DESC) o
	JOIN unnest(products) p ON p.sku = o.sku AND p.product_id IS NULL AND p.document = o.document
	WHERE o.decision = 'rejected';

	INSERT INTO sync.staging (run_id, connection, kind, title, sku, reason, confidence, method, evidence, flags, product_no, feed_item_id,
							  document)
	SELECT stage_creates.run_id, stage_creates.connection, 'create', p.title, p.sku,
		   'new: nothing in the catalogue is like it'
		   || CASE WHEN p.best IS NULL THEN '' ELSE format(' (best %s)', trunc(p.best::numeric, 2)) END || sync.flag_words(n.flags),
		   1 - coalesce(p.best, 0), coalesce(p.method, 'none'), coalesce(p.evidence, '{}'), n.flags, p.product_no, p.feed_item_id, p.document
	FROM unnest(products) p
	CROSS JOIN LATERAL (SELECT p.flags || CASE WHEN p.evidence ? 'shared' THEN ARRAY['shared_match'] END
									|| CASE WHEN p.document -> 'variants' ?| taken THEN ARRAY['sku_taken'] END AS flags) n
	WHERE p.product_id IS NULL AND p.product_no <> ALL (refused)
	ORDER BY p.product_no;
	GET DIAGNOSTICS created = ROW_COUNT;
	suppressed := cardinality(refused);
END
$$;

CREATE FUNCTION sync.flag_words(flags text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT coalesce('; ' || string_agg(CASE f
		WHEN 'unknown_to_erp' THEN 'the ERP does not know it'
		WHEN 'inactive_in_erp' THEN 'the ERP no longer sells it'
		WHEN 'shared_match' THEN 'another product of the feed claims the same one'
		WHEN 'split_match' THEN 'its variants belong to different products here'
		WHEN 'link_contradicted' THEN 'it was confirmed to be this one before, but the GTIN is another now'
		WHEN 'new_variant' THEN 'it has a variant that is not here yet'
		WHEN 'sku_taken' THEN 'a SKU of it is another product''s here'
		WHEN 'price_zero' THEN 'a price would be 0'
		WHEN 'price_jump' THEN 'a price changes by more than push_price_limit'
		WHEN 'foreign_currency' THEN 'an amount is in another currency than the shop''s'
		WHEN 'oversold' THEN 'its stock is below 0'
		WHEN 'variant_removed' THEN 'a variant would be deleted in the shop' END, '; '), '')
	FROM unnest(flags) f
	WHERE f IN ('unknown_to_erp', 'inactive_in_erp', 'shared_match', 'split_match', 'link_contradicted', 'new_variant', 'sku_taken', 'price_zero',
				'price_jump', 'foreign_currency', 'oversold', 'variant_removed')
$$;

-- Updates of a batch: one entry a product, one row a field.
CREATE FUNCTION sync.stage_updates(run_id bigint, connection text, products sync.staged[], create_only text[],
								   OUT updated bigint, OUT unchanged bigint, OUT suppressed bigint, OUT locked bigint, OUT fields bigint)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	ids bigint[] := (SELECT array_agg(DISTINCT p.product_id) FROM unnest(products) p WHERE p.product_id IS NOT NULL);
	staged record;
	quiet integer[];
	locks text[];
	taken text[] := sync.skus_present((SELECT array_agg(p.document) FROM unnest(products) p WHERE p.product_id IS NOT NULL));
BEGIN
	IF ids IS NULL THEN
		SELECT 0, 0, 0, 0, 0 INTO updated, unchanged, suppressed, locked, fields;
		RETURN;
	END IF;
	SELECT coalesce(array_agg(l.product_id || ' ' || l.pattern), '{}') INTO locks FROM sync.locked(ids) l;
	WITH base AS MATERIALIZED (
		SELECT p.*, c.version, c.document AS present
		FROM unnest(products) p JOIN sync.product_documents(ids) c ON c.product_id = p.product_id),
	differs AS MATERIALIZED (
		SELECT b.product_no, b.version, f.path, f.old_value, f.new_value, f.n,
			   (SELECT count(*) FROM jsonb_object_keys(b.document -> 'variants')) AS variants,
			   r.path IS NOT NULL AS refused,
			   locks <> '{}' AND b.product_id || ' ' || f.path LIKE ANY (locks) AS locked
		FROM base b
		CROSS JOIN LATERAL sync.document_diff(b.present, b.document) WITH ORDINALITY AS f (path, old_value, new_value, n)
		LEFT JOIN sync.refused_fields(stage_updates.connection, ids, stage_updates.run_id) r
			ON r.product_id = b.product_id AND r.path = f.path AND r.new_value IS NOT DISTINCT FROM f.new_value
		WHERE NOT sync.path_target(f.path) LIKE ANY (create_only)),
	change AS MATERIALIZED (
		SELECT d.product_no, array_agg(sync.path_label(d.path, d.variants > 1) ORDER BY d.n) AS labels,
			   array_agg((sync.document_path(d.path))[2])
				   FILTER (WHERE d.path LIKE 'variants[%]' AND d.old_value IS NULL AND cardinality(sync.document_path(d.path)) = 2) AS new_skus
		FROM differs d WHERE NOT d.refused AND NOT d.locked
		GROUP BY d.product_no),
	entry AS (
		INSERT INTO sync.staging (run_id, connection, kind, title, sku, reason, confidence, method, evidence, flags, product_id, base_version,
								  product_no, feed_item_id, links)
		SELECT stage_updates.run_id, stage_updates.connection, 'update', coalesce(b.present ->> 'title', b.title), b.sku,
			   sync.change_words(c.labels) || '; ' || sync.match_words(b.method, b.confidence, b.gtin)
			   || CASE WHEN n.flags = '{}' THEN '' ELSE sync.flag_words(n.flags) END,
			   b.confidence, b.method, coalesce(b.evidence, '{}'), n.flags, b.product_id, b.version, b.product_no, b.feed_item_id, b.links
		FROM base b
		JOIN change c ON c.product_no = b.product_no
		CROSS JOIN LATERAL (SELECT b.flags || CASE WHEN c.new_skus IS NOT NULL THEN ARRAY['new_variant'] END
									|| CASE WHEN c.new_skus && taken THEN ARRAY['sku_taken'] END AS flags) n
		ORDER BY b.product_no
		RETURNING id, product_no),
	field AS (
		SELECT array_agg(o.id) AS ids, array_agg(o.path) AS paths, array_agg(o.old_value) AS old_values, array_agg(o.new_value) AS new_values,
			   array_agg(o.version) AS versions
		FROM (SELECT e.id, d.path, d.old_value, d.new_value, d.version
			  FROM differs d JOIN entry e ON e.product_no = d.product_no
			  WHERE NOT d.refused AND NOT d.locked
			  ORDER BY e.id, d.path) o)
	SELECT (SELECT count(*) FROM entry) AS entries, f.*, (SELECT count(*) FROM differs d WHERE d.refused AND NOT d.locked) AS refused,
		   (SELECT count(*) FROM differs d WHERE d.locked) AS locked,
		   (SELECT array_agg(b.product_no) FROM base b WHERE b.product_no NOT IN (SELECT c.product_no FROM change c)) AS quiet
	INTO staged FROM field f;
	PERFORM sync.staging_fields_insert(staged.ids, staged.paths, staged.old_values, staged.new_values, staged.versions);
	updated := staged.entries;
	fields := coalesce(cardinality(staged.ids), 0);
	suppressed := staged.refused;
	locked := staged.locked;
	quiet := staged.quiet;
	unchanged := coalesce(cardinality(quiet), 0);
	PERFORM sync.remember_links(stage_updates.connection, NULL,
		(SELECT array_agg(p.links) FROM unnest(products) p
		 WHERE p.product_no = ANY (quiet) AND NOT p.flags && ARRAY['split_match', 'shared_match', 'unknown_to_erp']
		   AND p.confidence > sync.setting_value(stage_updates.connection, 'auto_approve_threshold')::double precision));
END
$$;

-- The fields of some entries, found along the index: statistics of decisions are old when thousands were just approved, and mislead the planner.
CREATE FUNCTION sync.entry_fields(entry_ids bigint[]) RETURNS TABLE (staging_id bigint, path text, old_value jsonb, new_value jsonb, decision text)
LANGUAGE plpgsql STABLE ROWS 2000 SET search_path = '' SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT f.* FROM unnest(entry_ids) e (id)
	CROSS JOIN LATERAL (SELECT o.staging_id, o.path, o.old_value, o.new_value, o.decision::text FROM sync.staging_field o WHERE o.staging_id = e.id OFFSET 0) f;
END
$$;

-- Fields of new entries, from parallel arrays.  It only writes: see 71_product_write.sql.
CREATE FUNCTION sync.staging_fields_insert(staging_ids bigint[], paths text[], old_values jsonb[], new_values jsonb[], base_versions integer[])
RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'auto' AS $$
BEGIN
	INSERT INTO sync.staging_field (staging_id, path, old_value, new_value, base_version)
	SELECT f.* FROM unnest(staging_ids, paths, old_values, new_values, base_versions) AS f (staging_id, path, old_value, new_value, base_version);
END
$$;

-- From now on these supplier SKUs are known to be these variants.
CREATE FUNCTION sync.remember_links(connection text, staging_id bigint, links jsonb[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
	INSERT INTO sync.variant_source AS o (connection, supplier_sku, variant_id, staging_id)
	SELECT DISTINCT ON (l.key) remember_links.connection, l.key, l.value::bigint, remember_links.staging_id
	FROM unnest(links) a CROSS JOIN LATERAL jsonb_each_text(a) l
	WHERE EXISTS (SELECT FROM sync.variant v WHERE v.id = l.value::bigint)
	ORDER BY l.key
	ON CONFLICT (connection, supplier_sku) DO UPDATE
	SET variant_id = excluded.variant_id, staging_id = excluded.staging_id, confirmed_at = now()
	WHERE o.variant_id <> excluded.variant_id;
END
$$;

-- Stages the feed products of a range.  Doing it again replaces what nobody has decided yet and leaves the rest.
CREATE FUNCTION sync.stage_range(run_id bigint, from_no integer, to_no integer) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	run record;
	products sync.staged[];
	present bigint[];
	done integer[];
	creates record;
	updates record;
BEGIN
	SELECT r.connection, r.feed_file_id INTO STRICT run FROM sync.run r WHERE r.id = stage_range.run_id;
	SELECT array_agg(s.id) INTO present FROM sync.staging s WHERE s.run_id = stage_range.run_id AND s.product_no BETWEEN from_no AND to_no;
	DELETE FROM sync.staging s
	WHERE s.id = ANY (present) AND s.state = 'open' AND s.decision = 'pending' AND s.match_correct IS NULL
	  AND NOT EXISTS (SELECT FROM sync.staging_field f WHERE f.staging_id = s.id AND f.decision <> 'pending');
	SELECT coalesce(array_agg(s.product_no), '{}') INTO done FROM sync.staging s WHERE s.id = ANY (present);

	SELECT coalesce(array_agg(ROW(p.*)::sync.staged ORDER BY p.product_no), '{}') INTO products
	FROM sync.staged_products(stage_range.run_id, from_no, to_no,
		sync.setting_value(run.connection, 'match_threshold')::double precision, sync.setting_value(run.connection, 'unknown_products')) p
	WHERE p.product_no <> ALL (done);
	PERFORM sync.stage_supersede(stage_range.run_id, run.connection, products);
	SELECT * INTO creates FROM sync.stage_creates(stage_range.run_id, run.connection, products);
	SELECT * INTO updates FROM sync.stage_updates(stage_range.run_id, run.connection, products, sync.create_only_targets(run.feed_file_id));
	RETURN jsonb_build_object('done', to_no - from_no + 1, 'created', creates.created, 'updated', updates.updated,
		'unchanged', updates.unchanged, 'suppressed', creates.suppressed + updates.suppressed, 'fields', updates.fields,
		'skipped', to_no - from_no + 1 - cardinality(products) - cardinality(done))
		|| CASE WHEN updates.locked > 0 THEN jsonb_build_object('locked', updates.locked) ELSE '{}' END;
END
$$;

CREATE FUNCTION sync.work_stage_batch(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
	job record;
	counts jsonb := '{}'::jsonb;
BEGIN
	FOR job IN SELECT j.run_id, j.payload FROM sync.job j WHERE j.id = ANY (job_ids) ORDER BY j.id LOOP
		counts := sync.counts_add(counts,
			sync.stage_range(job.run_id, (job.payload ->> 'from')::integer, (job.payload ->> 'to')::integer));
	END LOOP;
	RETURN counts;
END
$$;
ALTER FUNCTION sync.work_stage_batch(bigint[]) OWNER TO sync_worker;

-- The run as a whole ---------------------------------------------------------------------------------------------------------------

-- Two products of the feed that claim one of the catalogue: a person must say which it is.  sync.match_settle() weighs rows that claim one
-- variant; here they may be different variants of the product.
CREATE FUNCTION sync.flag_shared_matches(run_id bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	flagged bigint;
	threshold double precision := (SELECT sync.setting_value(r.connection, 'match_threshold')::double precision FROM sync.run r WHERE r.id = run_id);
BEGIN
	UPDATE sync.staging s
	SET flags = array_append(s.flags, 'shared_match'), reason = s.reason || sync.flag_words(ARRAY['shared_match'])
	WHERE s.run_id = flag_shared_matches.run_id AND s.state = 'open' AND NOT s.flags @> ARRAY['shared_match']
	  AND s.product_id IN (SELECT m.product_id FROM sync.match_result m
						   WHERE m.run_id = flag_shared_matches.run_id AND m.confidence >= threshold
						   GROUP BY m.product_id
						   HAVING min(m.product_no) <> max(m.product_no));
	GET DIAGNOSTICS flagged = ROW_COUNT;
	RETURN flagged;
END
$$;

-- Why a run is to be held whole, or NULL.
CREATE FUNCTION sync.mass_change_reason(run_id bigint, connection text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	-- Stock changes all the time, and what a person picked he has counted.
	updates bigint := (SELECT count(DISTINCT s.product_id) FROM sync.staging s WHERE s.run_id = mass_change_reason.run_id AND s.kind = 'update'
					   AND NOT EXISTS (SELECT FROM sync.run r WHERE r.id = s.run_id AND r.context ? 'chosen')
					   AND (s.method <> 'push' OR EXISTS (SELECT FROM sync.staging_field f WHERE f.staging_id = s.id AND f.path !~ '\]\.stock\[[0-9]+\]$')));
	size bigint := (SELECT count(*) FROM sync.product);
	most numeric := sync.setting_value(mass_change_reason.connection, 'max_change_share')::numeric;
BEGIN
	IF updates > sync.setting_value(mass_change_reason.connection, 'max_change_minimum')::bigint AND updates > most * size THEN
		RETURN format('it would change %s of %s products, more than the share of %s that max_change_share allows', updates, size, most);
	END IF;
	RETURN NULL;
END
$$;

-- Approves what needs no person.  Returns how many entries.
CREATE FUNCTION sync.auto_approve(run_id bigint, connection text) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	threshold double precision := sync.setting_value(auto_approve.connection, 'auto_approve_threshold')::double precision;
	creates boolean := sync.setting_value(auto_approve.connection, 'auto_approve_creates')::boolean;
	audited double precision := sync.setting_value(auto_approve.connection, 'match_audit_share')::double precision;
	approved bigint;
BEGIN
	IF (SELECT r.kind::text = 'shopify_up' FROM sync.run r WHERE r.id = auto_approve.run_id) THEN
		RETURN sync.push_auto_approve(auto_approve.run_id);
	END IF;
	-- The same ones, however often this is done.
	UPDATE sync.staging s
	SET flags = array_append(s.flags, 'audit'), reason = s.reason || '; left to a person as a sample'
	WHERE audited > 0 AND s.run_id = auto_approve.run_id AND s.state = 'open' AND s.decision = 'pending' AND s.confidence > threshold
	  AND s.kind = 'update' AND s.method NOT IN ('link', 'erp') AND s.flags = '{}'
	  AND ('x' || left(md5(s.run_id || ':' || s.sku), 8))::bit(32)::bigint::double precision / 4294967296 < audited;
	WITH entry AS (
		UPDATE sync.staging s
		SET decision = 'approved', decided_by = 'product_sync', decided_at = now(), decided_how = 'auto',
			reason = s.reason || format('; approved by itself: confidence %s is above %s', trunc(s.confidence::numeric, 3), threshold)
		WHERE s.run_id = auto_approve.run_id AND s.state = 'open' AND s.decision = 'pending' AND s.confidence > threshold
		  AND (creates OR s.kind = 'update') AND s.match_correct IS DISTINCT FROM (s.kind = 'create')
		  AND s.flags <@ CASE WHEN creates THEN ARRAY['new_variant'] ELSE '{}'::text[] END
		  AND NOT EXISTS (SELECT FROM sync.staging_field f WHERE f.staging_id = s.id AND f.decision <> 'pending')
		RETURNING s.id),
	field AS (
		UPDATE sync.staging_field f
		SET decision = 'approved', decided_by = 'product_sync', decided_at = now(), decided_how = 'auto'
		FROM entry e WHERE f.staging_id = e.id)
	SELECT count(*) INTO approved FROM entry;
	RETURN approved;
END
$$;

CREATE FUNCTION sync.finish_staging(run_id bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	run sync.run;
	hold text;
	approved bigint := 0;
	review record;
BEGIN
	SELECT * INTO STRICT run FROM sync.run r WHERE r.id = finish_staging.run_id FOR NO KEY UPDATE;
	PERFORM sync.flag_shared_matches(run.id);
	IF NOT run.hold_override THEN
		hold := sync.mass_change_reason(run.id, run.connection);
	END IF;
	IF hold IS NOT NULL THEN
		PERFORM sync.notify(run.id, 'warning', 'run_held',
			format('Run %s of %s is held: %s. Nothing of it is approved by itself; look at its entries, then SELECT sync_release(%s).',
				   run.id, run.connection, hold, run.id));
	ELSE
		approved := sync.auto_approve(run.id, run.connection);
	END IF;
	SELECT * INTO review FROM sync.run_review_counts(run.id);
	UPDATE sync.run r
	SET held_reason = hold, context = r.context || jsonb_build_object('auto', approved, 'pending', review.pending)
	WHERE r.id = run.id;
	PERFORM sync.notify_review(run.id, review.pending);
	RETURN jsonb_build_object('done', 1, 'auto_approved', approved);
END
$$;

-- Says that entries wait for a decision: a row in sync.notification, and channel sync_review.
CREATE FUNCTION sync.notify_review(run_id bigint, pending bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	details jsonb;
BEGIN
	IF pending > 0 THEN
		SELECT jsonb_build_object('run', notify_review.run_id, 'pending', notify_review.pending,
								  'creates', count(*) FILTER (WHERE s.kind = 'create'), 'updates', count(*) FILTER (WHERE s.kind = 'update'))
		INTO details
		FROM sync.staging s WHERE s.run_id = notify_review.run_id AND s.state = 'open' AND s.decision = 'pending';
		PERFORM sync.notify(run_id, 'info', 'review_pending', format('%s entries of run %s wait for a decision.', pending, run_id), details);
		PERFORM pg_notify('sync_review', details::text);
	END IF;
END
$$;

CREATE FUNCTION sync.work_stage_finish(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
	id bigint;
	counts jsonb := '{}'::jsonb;
BEGIN
	FOR id IN SELECT DISTINCT j.run_id FROM sync.job j WHERE j.id = ANY (job_ids) LOOP
		counts := sync.counts_add(counts, sync.finish_staging(id));
	END LOOP;
	RETURN counts;
END
$$;
ALTER FUNCTION sync.work_stage_finish(bigint[]) OWNER TO sync_worker;

CREATE FUNCTION @extschema@.sync_release(run_id bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	run sync.run;
	approved bigint;
BEGIN
	PERFORM sync.run_lock(run_id);
	SELECT * INTO run FROM sync.run r WHERE r.id = sync_release.run_id;
	IF run.held_reason IS NULL OR run.state NOT IN ('review_pending', 'manual_review', 'syncing') THEN
		RAISE EXCEPTION 'run % is not held for what it would change', run_id
			USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = format('Its state is %s.', run.state),
				  HINT = 'A run that was held before it staged anything goes on with sync_retry().';
	END IF;
	UPDATE sync.run r SET held_reason = NULL, hold_override = true WHERE r.id = run.id;
	approved := sync.auto_approve(run.id, run.connection);
	IF approved > 0 THEN
		PERFORM sync.job_enqueue('apply_batch', run.id);
	END IF;
	RETURN approved;
END
$$;
ALTER FUNCTION @extschema@.sync_release(bigint) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_release(bigint) TO sync_operator;
COMMENT ON FUNCTION @extschema@.sync_release(bigint) IS
'Lets a run go on that is held because it would change too much of the catalogue: what is sure enough is approved by itself and applied, the rest stays for people. Returns how many entries were approved. Errors: P0002 no such run, 55000 not held.';
