-- Linking: which product of the catalogue is one of the shop, so that a first load doubles nothing.
--
-- Only products of the mirror that are due and linked to none are looked at.  First those whose SKUs are all of one product here, in one
-- statement for the whole shop; then the matcher, range by range, and at the end what the ranges found together: of several that claim
-- one product only the best is linked.  What the matcher is not sure of is a staging entry, flagged link_uncertain, without fields:
-- approving it makes the link, rejecting it says that it is another product (shopify_product.rejected_links).  As long as such an entry is
-- open, the merge neither creates nor compares the product (sync.shop_links_pending).  The rest is new, which is the merge's business.
--
-- A link that was just made has never been agreed on: product_listing.merged_at is null.

CREATE FUNCTION sync.install_part_65_shop_link() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $install$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('shop_link_threshold', '0.99', 'share', 'Confidence above which a product of a shop is linked by its words alone; with a key that is the same, auto_approve_threshold. Below, a person is asked.')
	ON CONFLICT (name) DO NOTHING;
	INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, run_state, description) VALUES
		('shopify_match', false, 3, 1, 5, 'matching', 'Products of a shop that are linked to none of the catalogue: by SKU, then by the matcher')
	ON CONFLICT (kind) DO NOTHING;
	IF to_regclass('sync.staging_link_idx') IS NULL THEN
		CREATE INDEX staging_link_idx ON sync.staging (connection, state) WHERE flags @> '{link_uncertain}';
	END IF;

	-- A link was rejected: another candidate is looked for, or the product is created.
	CREATE OR REPLACE FUNCTION sync.staging_link_rejected() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
	DECLARE
		shop text;
	BEGIN
		IF to_regprocedure('sync.conflicts_wake(text)') IS NOT NULL THEN
			FOR shop IN
				SELECT DISTINCT n.connection FROM new_entry n JOIN old_entry o ON o.id = n.id
				WHERE n.flags @> '{link_uncertain}' AND n.state = 'rejected' AND o.state <> 'rejected' ORDER BY 1
			LOOP
				EXECUTE 'SELECT sync.conflicts_wake($1)' USING shop;
			END LOOP;
		END IF;
		RETURN NULL;
	END
	$$;
	CREATE OR REPLACE TRIGGER staging_4_link_rejected
		AFTER UPDATE ON sync.staging REFERENCING OLD TABLE AS old_entry NEW TABLE AS new_entry
		FOR EACH STATEMENT WHEN (current_user <> 'sync_worker') EXECUTE FUNCTION sync.staging_link_rejected();
END
$install$;

CREATE FUNCTION sync.match_mirror(mirror_ids bigint[], version bigint, slope real, "offset" real)
RETURNS TABLE (remote_id bigint, number integer, variant_id bigint, confidence double precision, method text, evidence jsonb)
LANGUAGE c VOLATILE STRICT ROWS 2000 AS 'MODULE_PATHNAME', 'product_sync_match_mirror';
COMMENT ON FUNCTION sync.match_mirror(bigint[], bigint, real, real) IS
'The best match of each variant of these products of a shop''s mirror: Shopify''s number of the variant, the place of its product among mirror_ids, and the variant of the catalogue. version: of the index, or 0.';

-- What the matcher found of a variant.  number: that of its product within the run.
CREATE TYPE sync.link_match AS (mirror_id bigint, remote_variant bigint, number integer, variant_id bigint, product_id bigint,
	confidence double precision, method text, evidence jsonb);

-- What waits for a person, and what people said ------------------------------------------------------------------------------------------

-- Rows of the mirror whose link a person has to decide.  One that was just applied still counts: who reads this may have looked for the
-- link a moment before it was there.
CREATE FUNCTION sync.shop_links_pending(connection text, mirror_ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	remote_ids bigint[] := ARRAY(
		SELECT DISTINCT (s.evidence ->> 'remote_id')::bigint FROM sync.staging s
		WHERE s.connection = shop_links_pending.connection AND s.flags @> '{link_uncertain}'
		  AND (s.state IN ('open', 'failed') OR s.state = 'applied' AND s.applied_at > now() - interval '10 minutes'));
BEGIN
	IF remote_ids = '{}' THEN
		RETURN '{}';
	END IF;
	RETURN ARRAY(SELECT m.id FROM sync.shopify_product m WHERE m.id = ANY (mirror_ids) AND m.remote_id = ANY (remote_ids));
END
$$;

-- Links that people rejected are remembered in the mirror, and their products are due again.
CREATE FUNCTION sync.link_rejections(connection text) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
BEGIN
	UPDATE sync.shopify_product m SET rejected_links = m.rejected_links || r.product_ids, merge_due = true
	FROM (SELECT w.id, array_agg(DISTINCT s.product_id) AS product_ids
		  FROM sync.staging s
		  JOIN sync.shopify_product w ON w.connection = s.connection AND w.remote_id = (s.evidence ->> 'remote_id')::bigint
		  WHERE s.connection = link_rejections.connection AND s.flags @> '{link_uncertain}' AND s.state = 'rejected'
			AND s.product_id <> ALL (w.rejected_links)
		  GROUP BY w.id) r
	WHERE m.id = r.id;
END
$$;

-- Making links ---------------------------------------------------------------------------------------------------------------------------

-- Products of the catalogue that another product of the shop is linked to, unless that one is gone there.
CREATE FUNCTION sync.link_taken(connection text, product_ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
BEGIN
	RETURN ARRAY(
		SELECT l.product_id FROM sync.product_listing l
		WHERE l.connection = link_taken.connection AND l.product_id = ANY (product_ids)
		  AND NOT EXISTS (SELECT FROM sync.shopify_product m
						  WHERE m.connection = l.connection AND m.remote_id = l.remote_id AND m.gone_since IS NOT NULL));
END
$$;

-- Which variant is which, of products that are one: by SKU, else GTIN, else options, else because there is one on each side.  What is not
-- found is a new variant.
CREATE FUNCTION sync.link_pairs(connection text, mirror_ids bigint[], product_ids bigint[])
RETURNS TABLE (mirror_id bigint, remote_variant bigint, variant_id bigint, inventory_item bigint)
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' SET jit = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH link AS MATERIALIZED (SELECT w.mirror_id, w.product_id FROM unnest(mirror_ids, product_ids) AS w (mirror_id, product_id)),
	theirs AS MATERIALIZED (
		SELECT l.mirror_id, l.product_id, e.key::bigint AS remote_variant, nullif(btrim(e.value ->> 'sku'), '') AS sku,
			   @extschema@.sync_gtin(left(e.value ->> 'barcode', 64)) AS gtin, lower((e.value -> 'options')::text) AS options,
			   count(*) OVER (PARTITION BY l.mirror_id) AS n, (m.variants -> e.key ->> 'inventory_item')::bigint AS inventory_item
		FROM link l JOIN sync.shopify_product m ON m.id = l.mirror_id
		CROSS JOIN LATERAL jsonb_each(CASE WHEN jsonb_typeof(m.document -> 'variants') = 'object' THEN m.document -> 'variants' END) e
		WHERE e.key ~ '^[0-9]{1,18}$'),
	ours AS MATERIALIZED (
		SELECT v.product_id, v.id, v.sku, coalesce(v.gtin, @extschema@.sync_gtin(left(v.barcode, 64))) AS gtin, lower(v.options::text) AS options,
			   count(*) OVER (PARTITION BY v.product_id) AS n
		FROM sync.variant v WHERE v.product_id IN (SELECT l.product_id FROM link l)),
	ranked AS (
		SELECT t.mirror_id, t.remote_variant, t.inventory_item, o.id, CASE
				WHEN t.sku = o.sku THEN 1
				WHEN t.gtin = o.gtin THEN 2
				WHEN t.options = o.options AND t.options <> '{}' AND (t.gtin <> o.gtin) IS NOT TRUE THEN 3
				WHEN t.n = 1 AND o.n = 1 THEN 4 END AS rank
		FROM theirs t JOIN ours o ON o.product_id = t.product_id),
	best AS (
		SELECT r.*, row_number() OVER (PARTITION BY r.mirror_id, r.remote_variant ORDER BY r.rank, r.id) AS of_theirs,
			   row_number() OVER (PARTITION BY r.id ORDER BY r.rank, r.remote_variant) AS of_ours
		FROM ranked r WHERE r.rank IS NOT NULL)
	SELECT b.mirror_id, b.remote_variant, b.id, b.inventory_item FROM best b WHERE b.of_theirs = 1 AND b.of_ours = 1;
END
$$;

-- Links these products of the mirror to those of the catalogue, and their variants.  One that somebody else linked meanwhile is left out.
CREATE FUNCTION sync.link_make(connection text, mirror_ids bigint[], product_ids bigint[], linked_by text[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' SET jit = off AS $$
#variable_conflict use_column
DECLARE
	wanted record;
	made bigint[];
	made_products bigint[];
	listings bigint[];
BEGIN
	-- What is gone from the shop makes way for what has come in its place.
	DELETE FROM sync.product_listing l
	USING sync.shopify_product m
	WHERE l.connection = link_make.connection AND l.product_id = ANY (product_ids)
	  AND m.connection = l.connection AND m.remote_id = l.remote_id AND m.gone_since IS NOT NULL;
	SELECT array_agg(w.product_id ORDER BY w.product_id) AS product_ids, array_agg(m.remote_id ORDER BY w.product_id) AS remote_ids,
		   array_agg(w.linked_by ORDER BY w.product_id) AS linked_by
	INTO wanted
	FROM unnest(mirror_ids, product_ids, link_make.linked_by) AS w (mirror_id, product_id, linked_by)
	JOIN sync.shopify_product m ON m.id = w.mirror_id;
	SELECT array_agg(m.id ORDER BY m.id), array_agg(l.product_id ORDER BY m.id), array_agg(l.id ORDER BY m.id) INTO made, made_products, listings
	FROM sync.link_products(link_make.connection, wanted.product_ids, wanted.remote_ids, wanted.linked_by) l
	JOIN sync.shopify_product m ON m.connection = link_make.connection AND m.remote_id = l.remote_id;
	IF made IS NULL THEN
		RETURN '{}';
	END IF;
	PERFORM sync.link_variants(link_make.connection, array_agg(l.id ORDER BY p.variant_id), array_agg(p.variant_id ORDER BY p.variant_id),
							   array_agg(p.remote_variant ORDER BY p.variant_id), array_agg(p.inventory_item ORDER BY p.variant_id))
	FROM sync.link_pairs(link_make.connection, made, made_products) p
	JOIN unnest(made, listings) AS l (mirror_id, id) ON l.mirror_id = p.mirror_id;
	UPDATE sync.shopify_product m SET merge_due = true
	WHERE m.id = ANY (made) AND NOT m.merge_due;
	RETURN made;
END
$$;

-- The writing alone, without a plan that could be a bad one: see 71_product_write.sql.  What is linked already is left out.
CREATE FUNCTION sync.link_products(connection text, product_ids bigint[], remote_ids bigint[], linked_by text[])
RETURNS TABLE (id bigint, product_id bigint, remote_id bigint)
LANGUAGE plpgsql ROWS 1000 SET search_path = '' SET plan_cache_mode = 'auto' AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	INSERT INTO sync.product_listing AS l (connection, product_id, remote_id, linked_by)
	SELECT link_products.connection, w.product_id, w.remote_id, w.linked_by
	FROM unnest(product_ids, remote_ids, link_products.linked_by) AS w (product_id, remote_id, linked_by)
	ON CONFLICT DO NOTHING
	RETURNING l.id, l.product_id, l.remote_id;
END
$$;

CREATE FUNCTION sync.link_variants(connection text, listing_ids bigint[], variant_ids bigint[], remote_ids bigint[], items bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'auto' AS $$
BEGIN
	INSERT INTO sync.listing (connection, product_listing_id, variant_id, remote_id, inventory_item_id)
	SELECT link_variants.connection, w.listing_id, w.variant_id, w.remote_id, w.item
	FROM unnest(listing_ids, variant_ids, remote_ids, items) AS w (listing_id, variant_id, remote_id, item)
	ON CONFLICT DO NOTHING;
END
$$;

-- Products of a shop that are linked to none and wait for no person, and are due where all are asked for.
CREATE FUNCTION sync.link_unlinked(connection text, remote_ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	ids bigint[] := ARRAY(
		SELECT m.id FROM sync.shopify_product m
		WHERE m.connection = link_unlinked.connection AND m.gone_since IS NULL
		  AND CASE WHEN remote_ids IS NULL THEN m.merge_due ELSE m.remote_id = ANY (remote_ids) END
		  AND NOT EXISTS (SELECT FROM sync.product_listing l WHERE l.connection = m.connection AND l.remote_id = m.remote_id)
		ORDER BY m.id);
	pending bigint[] := sync.shop_links_pending(connection, ids);
BEGIN
	RETURN CASE WHEN pending = '{}' THEN ids ELSE ARRAY(SELECT i FROM unnest(ids) i WHERE i <> ALL (pending) ORDER BY i) END;
END
$$;

-- Links those whose SKUs say what they are: most of them are SKUs of one product here, none of another's, no barcode contradicts them, and
-- either one of them is long enough not to be chance or the titles are the same.
CREATE FUNCTION sync.link_exact(connection text, mirror_ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' SET work_mem = '16MB' SET jit = off AS $$
#variable_conflict use_column
DECLARE
	part constant integer := 5000;
	chosen bigint[];
	product_ids bigint[];
	taken bigint[];
	linked bigint[] := '{}';
BEGIN
	WITH theirs AS MATERIALIZED (
		SELECT m.id, m.document ->> 'title' AS title, m.document ->> 'status' AS status, m.rejected_links, nullif(btrim(e.value ->> 'sku'), '') AS sku,
			   nullif(btrim(e.value ->> 'barcode'), '') AS barcode
		FROM sync.shopify_product m
		CROSS JOIN LATERAL jsonb_each(CASE WHEN jsonb_typeof(m.document -> 'variants') = 'object' THEN m.document -> 'variants' END) e
		WHERE m.id = ANY (mirror_ids)),
	claim AS (
		SELECT t.id, min(v.product_id) AS product_id, count(DISTINCT v.id) AS hits, max(length(v.sku)) AS longest, min(t.title) AS title,
			   min(t.status) AS status, min(t.rejected_links) AS rejected
		FROM theirs t LEFT JOIN sync.variant v ON v.sku = t.sku
		GROUP BY t.id
		HAVING min(v.product_id) = max(v.product_id) AND count(DISTINCT v.id) * 2 > count(*)
		   AND NOT coalesce(bool_or(CASE WHEN t.barcode <> v.barcode THEN
				coalesce(@extschema@.sync_gtin(left(t.barcode, 64)) <> coalesce(v.gtin, @extschema@.sync_gtin(left(v.barcode, 64))), true) END), false))
	SELECT array_agg(b.id), array_agg(b.product_id) INTO chosen, product_ids
	FROM (SELECT DISTINCT ON (c.product_id) c.id, c.product_id
		  FROM (SELECT o.*, lower(o.title) = lower((SELECT p.title FROM sync.product p WHERE p.id = o.product_id)) AS same_title FROM claim o) c
		  WHERE c.product_id <> ALL (c.rejected) AND (c.longest >= 4 OR c.same_title)
		  ORDER BY c.product_id, c.hits DESC, c.same_title DESC NULLS LAST, c.status = 'active' DESC NULLS LAST, c.id) b;
	IF chosen IS NULL THEN
		RETURN '{}';
	END IF;
	taken := sync.link_taken(connection, product_ids);
	IF taken <> '{}' THEN
		SELECT array_agg(w.id), array_agg(w.product_id) INTO chosen, product_ids
		FROM unnest(chosen, product_ids) AS w (id, product_id) WHERE w.product_id <> ALL (taken);
	END IF;
	-- In parts: a whole shop at once would be held in memory.
	FOR start IN 1 .. coalesce(cardinality(chosen), 0) BY part LOOP
		linked := linked || sync.link_make(connection, chosen[start : start + part - 1], product_ids[start : start + part - 1],
			array_fill('product_sync'::text, ARRAY[least(part, cardinality(chosen) - start + 1)]));
	END LOOP;
	RETURN linked;
END
$$;

-- What the matcher says of the variants of some products, as far as it can be a link.  A product that is linked already only counts when
-- it is surely the same: then the shop has it twice.
CREATE FUNCTION sync.link_matches(connection text, mirror_ids bigint[], version bigint, first_number integer) RETURNS sync.link_match[]
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	least_confidence double precision := sync.setting_value(link_matches.connection, 'match_threshold')::double precision;
	sure double precision := sync.setting_value(link_matches.connection, 'auto_approve_threshold')::double precision;
	curve record;
	found sync.link_match[];
	taken bigint[];
BEGIN
	SELECT * INTO curve FROM sync.match_curve(link_matches.connection);
	found := ARRAY(
		SELECT ROW(mirror_ids[f.number], f.remote_id, first_number + f.number - 1, f.variant_id, v.product_id, f.confidence, f.method, f.evidence)::sync.link_match
		FROM sync.match_mirror(mirror_ids, version, curve.slope, curve."offset") f
		JOIN sync.variant v ON v.id = f.variant_id
		WHERE f.confidence >= least_confidence);
	taken := sync.link_taken(connection, ARRAY(SELECT DISTINCT f.product_id FROM unnest(found) f));
	RETURN ARRAY(
		SELECT f FROM unnest(found) f JOIN sync.shopify_product m ON m.id = f.mirror_id
		WHERE f.product_id <> ALL (m.rejected_links) AND (f.confidence > sure OR f.product_id <> ALL (taken)));
END
$$;

-- Links what was found, and stages what a person has to decide; run_id may be NULL, then nothing is staged.
CREATE FUNCTION sync.link_settle(run_id bigint, connection text, matches sync.link_match[], OUT linked bigint, OUT uncertain bigint)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' SET work_mem = '64MB' SET jit = off AS $$
#variable_conflict use_column
DECLARE
	sure double precision := sync.setting_value(link_settle.connection, 'auto_approve_threshold')::double precision;
	-- A wrong link mixes two products, so words alone must say more.
	sure_by_words double precision := sync.setting_value(link_settle.connection, 'shop_link_threshold')::double precision;
	taken bigint[] := sync.link_taken(connection, ARRAY(SELECT DISTINCT f.product_id FROM unnest(matches) f));
	chosen jsonb[];
	made bigint[];
BEGIN
	-- One candidate a product of the shop: the one that most of its variants are of, then the surest.
	WITH candidate AS (
		SELECT f.mirror_id, f.product_id, min(f.number) AS number, count(*) AS hits, max(f.confidence) AS confidence,
			   count(*) OVER (PARTITION BY f.mirror_id) AS candidates,
			   (array_agg(f.method ORDER BY f.confidence DESC, f.remote_variant))[1] AS method,
			   (array_agg(f.evidence ORDER BY f.confidence DESC, f.remote_variant))[1] AS evidence,
			   jsonb_object_agg(f.remote_variant, f.variant_id) AS links
		FROM unnest(matches) f GROUP BY f.mirror_id, f.product_id),
	best AS (
		SELECT DISTINCT ON (c.mirror_id) c.*, CASE WHEN c.candidates > 1 THEN ARRAY['split_match'] ELSE '{}' END
			   || CASE WHEN c.hits * 2 < (SELECT count(*) FROM sync.shopify_product m, jsonb_object_keys(m.document -> 'variants') k WHERE m.id = c.mirror_id)
					   THEN ARRAY['part_match'] ELSE '{}' END AS flags
		FROM candidate c ORDER BY c.mirror_id, c.hits DESC, c.confidence DESC, c.product_id),
	placed AS (
		SELECT b.*, b.flags = '{}' AND b.confidence > CASE b.method WHEN 'tokens' THEN sure_by_words ELSE sure END AND b.product_id <> ALL (taken) AS good,
			   row_number() OVER (PARTITION BY b.product_id ORDER BY b.flags = '{}' DESC, b.confidence DESC, b.hits DESC, b.mirror_id) AS place,
			   count(*) OVER (PARTITION BY b.product_id) AS claims
		FROM best b)
	SELECT array_agg(to_jsonb(p)) INTO chosen FROM placed p;
	made := sync.link_make(connection, array_agg((c ->> 'mirror_id')::bigint), array_agg((c ->> 'product_id')::bigint), array_agg('product_sync'::text))
	FROM unnest(chosen) c WHERE (c ->> 'good')::boolean AND (c ->> 'place')::integer = 1 HAVING count(*) > 0;
	made := coalesce(made, '{}');
	linked := cardinality(made);
	taken := taken || ARRAY(SELECT (c ->> 'product_id')::bigint FROM unnest(chosen) c WHERE (c ->> 'mirror_id')::bigint = ANY (made));
	uncertain := sync.link_stage(run_id, connection, taken, ARRAY(SELECT c FROM unnest(chosen) c WHERE (c ->> 'mirror_id')::bigint <> ALL (made)));
END
$$;

CREATE FUNCTION sync.link_stage(run_id bigint, connection text, taken bigint[], chosen jsonb[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	staged bigint;
BEGIN
	IF chosen = '{}' OR link_stage.run_id IS NULL THEN
		RETURN cardinality(chosen);
	END IF;
	INSERT INTO sync.staging (run_id, connection, kind, title, sku, reason, confidence, method, evidence, flags, product_id, base_version, product_no, links)
	SELECT link_stage.run_id, link_stage.connection, 'update', m.document ->> 'title',
		   (SELECT min(nullif(btrim(v.value ->> 'sku'), '')) FROM jsonb_each(m.document -> 'variants') v),
		   format('is this product of the shop "%s" of the catalogue? %s', left(p.title, 200), sync.match_words(c.method, c.confidence, NULL))
		   || coalesce('; ' || (SELECT string_agg(CASE n WHEN 'link_taken' THEN 'another product of the shop is linked to it'
				WHEN 'shared_match' THEN 'another product of the shop may be it too' WHEN 'split_match' THEN 'its variants belong to different products here'
				WHEN 'part_match' THEN 'only some of its variants are like it' END, '; ') FROM unnest(f.flags) n), ''),
		   c.confidence, c.method, coalesce(c.evidence, '{}') || jsonb_build_object('remote_id', m.remote_id), ARRAY['link_uncertain'] || f.flags,
		   c.product_id, p.version, c.number, c.links
	FROM unnest(chosen) o
	CROSS JOIN LATERAL jsonb_to_record(o) AS c (mirror_id bigint, product_id bigint, number integer, confidence double precision, method text,
		evidence jsonb, links jsonb, flags text[], claims bigint)
	JOIN sync.shopify_product m ON m.id = c.mirror_id
	JOIN sync.product p ON p.id = c.product_id
	CROSS JOIN LATERAL (SELECT CASE WHEN c.product_id = ANY (taken) THEN ARRAY['link_taken'] WHEN c.claims > 1 THEN ARRAY['shared_match'] ELSE '{}' END
							   || c.flags AS flags) f
	ORDER BY c.number;
	GET DIAGNOSTICS staged = ROW_COUNT;
	PERFORM sync.notify(run_id, 'info', 'links_uncertain',
		format('%s of shop "%s" may be of the catalogue already; approve the entry where it is, reject it where it is another product.',
			   CASE staged WHEN 1 THEN '1 product' ELSE staged || ' products' END, connection),
		jsonb_build_object('connection', connection, 'entries', staged));
	RETURN staged;
END
$$;

-- All at once, for some products: exact, matcher, settled.
CREATE FUNCTION sync.shopify_link(connection text, remote_ids bigint[], run_id bigint DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	ids bigint[] := sync.link_unlinked(connection, remote_ids);
	total bigint := cardinality(ids);
	exact bigint[] := '{}';
	settled record;
	first_number integer := (SELECT coalesce(max(s.product_no), 0) + 1 FROM sync.staging s WHERE s.run_id = shopify_link.run_id);
BEGIN
	IF total > 0 AND EXISTS (SELECT FROM sync.variant) THEN
		exact := sync.link_exact(connection, ids);
		ids := ARRAY(SELECT i FROM unnest(ids) i WHERE i <> ALL (exact) ORDER BY i);
		IF ids <> '{}' THEN
			SELECT * INTO settled FROM sync.link_settle(run_id, connection,
				sync.link_matches(connection, ids, sync.match_index_refresh(), first_number));
			RETURN jsonb_build_object('linked', cardinality(exact) + settled.linked, 'uncertain', settled.uncertain,
				'new', total - cardinality(exact) - settled.linked - settled.uncertain);
		END IF;
	END IF;
	RETURN jsonb_build_object('linked', cardinality(exact), 'uncertain', 0, 'new', total - cardinality(exact));
END
$$;
COMMENT ON FUNCTION sync.shopify_link(text, bigint[], bigint) IS
'Links products of a shop''s mirror, by Shopify''s numbers (NULL: all that are due), that are linked to none to those of the catalogue. Returns counts: linked, uncertain (staged in the run for a person; without one only counted) and new.';

-- A run --------------------------------------------------------------------------------------------------------------------------------

-- Starts the linking of what a run brought, where there is anything to link.
CREATE FUNCTION sync.shopify_match_begin(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	shop text := (SELECT r.connection FROM sync.run r WHERE r.id = shopify_match_begin.run_id);
BEGIN
	PERFORM sync.link_rejections(shop);
	-- A question about what is gone, or was linked otherwise, is none any more.
	UPDATE sync.staging s SET state = 'superseded'
	FROM sync.shopify_product m
	WHERE s.connection = shop AND s.flags @> '{link_uncertain}' AND s.state = 'open' AND s.decision = 'pending'
	  AND m.connection = shop AND m.remote_id = (s.evidence ->> 'remote_id')::bigint
	  AND (m.gone_since IS NOT NULL OR EXISTS (SELECT FROM sync.product_listing l WHERE l.connection = shop AND l.remote_id = m.remote_id));
	UPDATE sync.run r SET context = r.context - 'links' WHERE r.id = shopify_match_begin.run_id;
	IF EXISTS (SELECT FROM sync.variant) AND sync.link_unlinked(shop, NULL) <> '{}' THEN
		PERFORM sync.job_enqueue('shopify_match', run_id, '{"step": "exact"}');
	END IF;
END
$$;

-- By SKU, for all; then ranges of the rest.
CREATE FUNCTION sync.link_begin(run_id bigint, connection text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	size integer := greatest(sync.setting_value(link_begin.connection, 'match_range_products')::integer, 1);
	ids bigint[] := sync.link_unlinked(connection, NULL);
	exact bigint[] := sync.link_exact(connection, ids);
	first_number integer;
	n integer;
BEGIN
	DELETE FROM sync.match_result m WHERE m.run_id = link_begin.run_id;
	UPDATE sync.run_phase p SET total = cardinality(ids), unit = 'products'
	WHERE p.id = (SELECT max(o.id) FROM sync.run_phase o WHERE o.run_id = link_begin.run_id AND o.ended_at IS NULL);
	IF exact <> '{}' THEN
		ANALYZE sync.product_listing (connection, product_id, remote_id);
		ANALYZE sync.listing (connection, product_listing_id, variant_id, remote_id);
		ids := ARRAY(SELECT w.id FROM unnest(ids) AS w (id) LEFT JOIN unnest(exact) AS e (id) ON e.id = w.id WHERE e.id IS NULL ORDER BY 1);
	END IF;
	IF ids <> '{}' THEN
		first_number := (SELECT coalesce(max(s.product_no), 0) + 1 FROM sync.staging s WHERE s.run_id = link_begin.run_id);
		UPDATE sync.run r SET context = r.context || jsonb_build_object('links', 'matching', 'match_index', sync.match_index_refresh())
		WHERE r.id = link_begin.run_id;
		FOR n IN SELECT generate_series(1, cardinality(ids), size) LOOP
			PERFORM sync.job_enqueue('shopify_match', run_id, jsonb_build_object('from', ids[n],
				'to', ids[least(n + size - 1, cardinality(ids))], 'number', first_number + n - 1));
		END LOOP;
	END IF;
	RETURN jsonb_build_object('done', cardinality(exact), 'linked', cardinality(exact));
END
$$;

CREATE FUNCTION sync.link_range(run_id bigint, connection text, from_id bigint, to_id bigint, first_number integer) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	ids bigint[] := ARRAY(SELECT m.id FROM sync.shopify_product m
		WHERE m.id BETWEEN from_id AND to_id AND m.connection = link_range.connection AND m.gone_since IS NULL AND m.merge_due
		  AND NOT EXISTS (SELECT FROM sync.product_listing l WHERE l.connection = m.connection AND l.remote_id = m.remote_id)
		ORDER BY m.id);
	version bigint := (SELECT (r.context ->> 'match_index')::bigint FROM sync.run r WHERE r.id = link_range.run_id);
	last_number integer := first_number + greatest(sync.setting_value(connection, 'match_range_products')::integer, 1) - 1;
	found bigint;
BEGIN
	ids := ARRAY(SELECT i FROM unnest(ids) i WHERE i <> ALL (sync.shop_links_pending(connection, ids)) ORDER BY i);
	-- Products that came since the ranges were made wait for the next run.
	ids := ids[1:last_number - first_number + 1];
	DELETE FROM sync.match_result m WHERE m.run_id = link_range.run_id AND m.product_no BETWEEN first_number AND last_number;
	INSERT INTO sync.match_result (run_id, feed_item_id, product_no, variant_id, product_id, confidence, method, evidence)
	SELECT link_range.run_id, f.remote_variant, f.number, f.variant_id, f.product_id, f.confidence, f.method,
		   f.evidence || jsonb_build_object('mirror_id', f.mirror_id)
	FROM unnest(sync.link_matches(connection, ids, version, first_number)) f;
	GET DIAGNOSTICS found = ROW_COUNT;
	RETURN jsonb_build_object('done', cardinality(ids), 'matched', found);
END
$$;

CREATE FUNCTION sync.link_finish(run_id bigint, connection text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	settled record;
BEGIN
	SELECT s.* INTO settled FROM sync.link_settle(link_finish.run_id, link_finish.connection, ARRAY(
		SELECT ROW(m.id, r.feed_item_id, r.product_no, r.variant_id, r.product_id, r.confidence, r.method, r.evidence - 'mirror_id')::sync.link_match
		FROM sync.match_result r
		JOIN sync.shopify_product m ON m.id = (r.evidence ->> 'mirror_id')::bigint
		WHERE r.run_id = link_finish.run_id AND m.gone_since IS NULL
		  AND NOT EXISTS (SELECT FROM sync.product_listing l WHERE l.connection = m.connection AND l.remote_id = m.remote_id))) s;
	UPDATE sync.run r SET context = r.context || '{"links": "settled"}' WHERE r.id = link_finish.run_id;
	RETURN jsonb_build_object('linked', settled.linked, 'uncertain', settled.uncertain);
END
$$;

CREATE FUNCTION sync.work_shopify_match(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
	job record;
	counts jsonb := '{}';
BEGIN
	FOR job IN
		SELECT j.run_id, r.connection, j.payload FROM sync.job j JOIN sync.run r ON r.id = j.run_id WHERE j.id = ANY (job_ids) ORDER BY j.id
	LOOP
		counts := sync.counts_add(counts, CASE job.payload ->> 'step'
			WHEN 'exact' THEN sync.link_begin(job.run_id, job.connection)
			WHEN 'settle' THEN sync.link_finish(job.run_id, job.connection)
			ELSE sync.link_range(job.run_id, job.connection, (job.payload ->> 'from')::bigint, (job.payload ->> 'to')::bigint,
								 (job.payload ->> 'number')::integer) END);
	END LOOP;
	RETURN counts;
END
$$;
ALTER FUNCTION sync.work_shopify_match(bigint[]) OWNER TO sync_worker;

-- When all ranges are matched: first what they found together, then what comes after.  True when the run may go on.
CREATE FUNCTION sync.shopify_match_leave(run_id bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	IF (SELECT r.context ->> 'links' FROM sync.run r WHERE r.id = run_id) = 'matching' THEN
		ANALYZE sync.match_result (run_id, feed_item_id, product_no, variant_id, product_id, confidence);
		PERFORM sync.job_enqueue('shopify_match', run_id, '{"step": "settle"}', run_id || ' settle');
		RETURN false;
	END IF;
	RETURN true;
END
$$;

-- Entries by which people approved a link were applied: it is made now, if it still can be.
CREATE FUNCTION sync.shop_links_apply(entry_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
DECLARE
	link record;
	ids bigint[];
BEGIN
	FOR link IN
		SELECT s.id, s.connection, s.product_id, s.evidence ->> 'remote_id' AS remote_id, s.decided_by, m.id AS mirror_id, m.gone_since,
			   (SELECT l.product_id FROM sync.product_listing l WHERE l.connection = s.connection AND l.remote_id = m.remote_id) AS linked_to
		FROM sync.staging s
		LEFT JOIN sync.shopify_product m ON m.connection = s.connection AND m.remote_id = (s.evidence ->> 'remote_id')::bigint
		WHERE s.id = ANY (entry_ids) AND s.flags @> '{link_uncertain}' AND s.state = 'applied'
		ORDER BY s.id
	LOOP
		IF link.linked_to = link.product_id THEN
			CONTINUE;
		ELSIF link.mirror_id IS NULL OR link.gone_since IS NOT NULL THEN
			RAISE EXCEPTION 'product % is no longer in shop "%"', link.remote_id, link.connection USING ERRCODE = 'integrity_constraint_violation';
		ELSIF link.linked_to IS NOT NULL THEN
			RAISE EXCEPTION 'product % of shop "%" is linked to product % already', link.remote_id, link.connection, link.linked_to
				USING ERRCODE = 'integrity_constraint_violation';
		END IF;
		ids := sync.link_make(link.connection, ARRAY[link.mirror_id], ARRAY[link.product_id], ARRAY[link.decided_by]);
		IF ids = '{}' THEN
			RAISE EXCEPTION 'product % is linked to another product of shop "%" already; archive one of the two there, or reject this', link.product_id, link.connection
				USING ERRCODE = 'integrity_constraint_violation';
		END IF;
		UPDATE sync.shopify_product m SET rejected_links = array_remove(m.rejected_links, link.product_id)
		WHERE m.id = link.mirror_id AND link.product_id = ANY (m.rejected_links);
	END LOOP;
END
$$;
