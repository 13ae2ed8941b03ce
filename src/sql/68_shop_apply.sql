-- What a merge decided, carried out: values into the catalogue as versions, agreements into the base, the rest to people.

-- The catalogue's documents are written here; see 76_apply.sql for products_write().
CREATE FUNCTION sync.shop_merge_settle(run_id bigint, connection text, products sync.merge_product[], fields sync.merge_field[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	staged boolean := sync.setting_value(shop_merge_settle.connection, 'shop_changes') = 'stage';
	product_ids bigint[] := ARRAY(SELECT p.product_id FROM unnest(products) p);
	changes sync.merge_field[];
	waiting sync.merge_field[];
	counts jsonb;
BEGIN
	-- A decision whose value is ours already changes nothing here.
	changes := ARRAY(SELECT f FROM unnest(fields) f
					 WHERE f.outcome IN ('use_shopify', 'use_lower', 'apply_rule') AND NOT sync.value_equal(f.path, f.value, f.local_value)
					   AND (f.conflict_id IS NOT NULL OR NOT staged));
	waiting := ARRAY(SELECT f FROM unnest(fields) f
					 WHERE f.outcome = 'gone'
						OR f.outcome IN ('use_shopify', 'use_lower', 'apply_rule') AND NOT sync.value_equal(f.path, f.value, f.local_value)
						   AND staged AND f.conflict_id IS NULL);
	PERFORM sync.shop_supersede(shop_merge_settle.run_id, shop_merge_settle.connection, product_ids);
	PERFORM sync.shop_apply(shop_merge_settle.run_id, shop_merge_settle.connection, products, changes);
	PERFORM sync.shop_stage(shop_merge_settle.run_id, shop_merge_settle.connection, products, waiting);
	PERFORM sync.shop_listings(shop_merge_settle.connection, products);
	PERFORM sync.base_write(shop_merge_settle.connection, products,
		ARRAY(SELECT f FROM unnest(fields) f
			  WHERE f.outcome IN ('converged', 'use_shopify', 'use_local', 'use_lower', 'apply_rule', 'equal')
				AND NOT EXISTS (SELECT FROM unnest(waiting) w WHERE w.product_id = f.product_id AND w.path = f.path)));
	counts := sync.shop_conflicts(shop_merge_settle.run_id, shop_merge_settle.connection, product_ids, fields);
	RETURN counts || jsonb_build_object('changed', (SELECT count(DISTINCT f.product_id) FROM unnest(changes) f), 'fields', cardinality(changes),
		'staged', cardinality(waiting), 'agreed', (SELECT count(*) FROM unnest(fields) f WHERE f.outcome = 'converged'),
		'to_send', (SELECT count(*) FROM unnest(fields) f WHERE f.outcome IN ('local', 'use_local')));
END
$$;

-- Changes into the catalogue: a version and an applied entry a product.
CREATE FUNCTION sync.shop_apply(run_id bigint, connection text, products sync.merge_product[], changes sync.merge_field[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	ids bigint[];
	versions integer[];
	documents jsonb[];
	entry_ids bigint[];
	change_sets jsonb[];
BEGIN
	IF changes = '{}' THEN
		RETURN;
	END IF;
	SELECT array_agg(c.product_id ORDER BY c.product_id), array_agg(c.version ORDER BY c.product_id),
		   array_agg(c.document ORDER BY c.product_id), array_agg(c.changes ORDER BY c.product_id)
	INTO ids, versions, documents, change_sets
	FROM (SELECT p.product_id, p.version + 1 AS version, sync.document_patch_all(p.local, f.paths, f.new_values) AS document, f.changes
		  FROM unnest(products) p
		  JOIN (SELECT c.product_id, array_agg(c.path ORDER BY c.path) AS paths, array_agg(nullif(c.value, 'null') ORDER BY c.path) AS new_values,
					   jsonb_object_agg(c.path, jsonb_strip_nulls(jsonb_build_object('old', c.local_value, 'new', c.value, 'conflict', c.conflict_id,
						   'rule', nullif(c.rule, 'only_shopify_changed'), 'by', o.decided_by))) AS changes
				FROM unnest(changes) c LEFT JOIN sync.conflict o ON o.id = c.conflict_id
				GROUP BY c.product_id) f ON f.product_id = p.product_id) c;
	PERFORM sync.products_write(ids, versions, documents,
		ARRAY(SELECT c.product_id FROM unnest(changes) c WHERE starts_with(c.path, 'variants[')),
		ARRAY(SELECT (sync.document_path(c.path))[2] FROM unnest(changes) c WHERE starts_with(c.path, 'variants[')));

	WITH entry AS (
		INSERT INTO sync.staging (run_id, connection, kind, decision, state, title, sku, reason, confidence, method, product_id, base_version,
								  decided_by, decided_at, decided_how, applied_version, applied_at)
		SELECT shop_apply.run_id, shop_apply.connection, 'update', 'approved', 'applied', e.document ->> 'title',
			   (SELECT min(k) FROM jsonb_object_keys(e.document -> 'variants') k), r.reason, 1, 'shop', e.product_id, e.version - 1,
			   'product_sync', now(), 'auto', e.version, now()
		FROM unnest(ids, versions, documents) AS e (product_id, version, document)
		JOIN (SELECT c.product_id, sync.change_words(array_agg(sync.path_label(c.path, false) ORDER BY c.path))
					 || CASE WHEN bool_or(c.status <> 'shop') THEN '; decided by a rule or a person' ELSE '; only the shop changed it' END AS reason
			  FROM unnest(changes) c GROUP BY c.product_id) r ON r.product_id = e.product_id
		ORDER BY e.product_id
		RETURNING id, product_id, base_version),
	field AS (
		INSERT INTO sync.staging_field (staging_id, path, old_value, new_value, base_version, decision, note, decided_by, decided_at, decided_how)
		SELECT e.id, c.path, c.local_value, c.value, e.base_version, 'approved', c.reason, coalesce(o.decided_by, 'product_sync'),
			   coalesce(o.decided_at, now()), coalesce(o.decided_how, 'auto')
		FROM entry e JOIN unnest(changes) c ON c.product_id = e.product_id LEFT JOIN sync.conflict o ON o.id = c.conflict_id
		ORDER BY e.id, c.path)
	SELECT array_agg(e.id ORDER BY e.product_id) INTO entry_ids FROM entry e;
	PERFORM sync.version_write(ids, versions, 'update', documents, change_sets, shop_apply.connection, shop_apply.run_id, entry_ids, 'product_sync');
	PERFORM sync.catalogue_changed();
END
$$;

-- Changes for people to decide: an entry a product, a row a field.
CREATE FUNCTION sync.shop_stage(run_id bigint, connection text, products sync.merge_product[], changes sync.merge_field[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
BEGIN
	IF changes = '{}' THEN
		RETURN;
	END IF;
	WITH entry AS (
		INSERT INTO sync.staging (run_id, connection, kind, title, sku, reason, confidence, method, flags, product_id, base_version)
		SELECT shop_stage.run_id, shop_stage.connection, 'update', p.local ->> 'title', (SELECT min(k) FROM jsonb_object_keys(p.local -> 'variants') k),
			   concat_ws('; ', sync.change_words(c.labels) || ' in the shop', c.gone_labels || ' no longer in the shop'), 1, 'shop',
			   CASE WHEN c.gone_labels IS NOT NULL THEN ARRAY['gone_in_shop'] ELSE '{}' END, p.product_id, p.version
		FROM unnest(products) p
		JOIN (SELECT f.product_id, array_agg(sync.path_label(f.path, true) ORDER BY f.path) FILTER (WHERE f.outcome <> 'gone') AS labels,
					 string_agg(sync.path_label(f.path, true), ', ' ORDER BY f.path) FILTER (WHERE f.outcome = 'gone') AS gone_labels
			  FROM unnest(changes) f GROUP BY f.product_id) c ON c.product_id = p.product_id
		ORDER BY p.product_id
		RETURNING id, product_id, base_version)
	INSERT INTO sync.staging_field (staging_id, path, old_value, new_value, base_version)
	SELECT e.id, c.path, c.local_value, c.value, e.base_version
	FROM entry e JOIN unnest(changes) c ON c.product_id = e.product_id
	ORDER BY e.id, c.path;
END
$$;

-- What earlier merges left to people about these products is out of date: they are compared anew.
CREATE FUNCTION sync.shop_supersede(run_id bigint, connection text, product_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
BEGIN
	UPDATE sync.staging s SET state = 'superseded'
	WHERE s.product_id = ANY (product_ids) AND s.connection = shop_supersede.connection AND s.state = 'open' AND s.decision = 'pending'
	  AND s.method = 'shop';
END
$$;

-- A variant of the shop that has come, or was made again, is linked to the one here that has its SKU.
CREATE FUNCTION sync.shop_listings(connection text, products sync.merge_product[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
BEGIN
	WITH pair AS MATERIALIZED (
		SELECT p.listing_id, v.id AS variant_id, e.key::bigint AS remote_id, (p.info -> e.key ->> 'inventory_item')::bigint AS inventory_item_id
		FROM unnest(products) p CROSS JOIN LATERAL jsonb_each_text(p.skus) e
		JOIN sync.variant v ON v.sku = e.value AND v.product_id = p.product_id)
	INSERT INTO sync.listing AS l (connection, product_listing_id, variant_id, remote_id, inventory_item_id)
	SELECT shop_listings.connection, r.listing_id, r.variant_id, r.remote_id, r.inventory_item_id
	FROM pair r
	WHERE NOT EXISTS (SELECT FROM sync.listing o WHERE o.connection = shop_listings.connection AND o.variant_id = r.variant_id
					  AND o.remote_id = r.remote_id AND o.inventory_item_id IS NOT DISTINCT FROM r.inventory_item_id)
	  -- One that is another variant's by number moves only when a person says so.
	  AND NOT EXISTS (SELECT FROM sync.listing o WHERE o.connection = shop_listings.connection AND o.remote_id = r.remote_id
					  AND o.variant_id <> r.variant_id)
	ORDER BY r.variant_id
	ON CONFLICT (connection, variant_id) DO UPDATE SET remote_id = excluded.remote_id, inventory_item_id = excluded.inventory_item_id,
		product_listing_id = excluded.product_listing_id;
END
$$;

-- Both sides agree on these fields from now on: the base is the shop's value, and ours beside it where the two are not the same text.
CREATE FUNCTION sync.base_write(connection text, products sync.merge_product[], agreed sync.merge_field[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	bases sync.merge_product[];
BEGIN
	SELECT array_agg(ROW(p.mirror_id, p.remote_id, p.listing_id, p.product_id, p.version, NULL,
			sync.document_patch_all(coalesce(p.base, '{"variants": {}}'), a.paths, a.shop_values),
			sync.document_patch_all(p.base_local, a.paths, a.local_values), NULL, NULL, NULL, NULL)::sync.merge_product)
	INTO bases
	FROM unnest(products) p
	JOIN (SELECT f.product_id, array_agg(f.path ORDER BY f.path) AS paths, array_agg(nullif(f.shop_value, 'null') ORDER BY f.path) AS shop_values,
				 array_agg(CASE WHEN n.local IS DISTINCT FROM f.shop_value THEN n.local END ORDER BY f.path) AS local_values
		  FROM unnest(agreed) f
		  CROSS JOIN LATERAL (
			  -- Resolved to our own value: only the shop's is agreed, so that ours is seen to differ, and is sent.
			  SELECT CASE WHEN f.outcome = 'use_local' OR f.outcome IN ('use_lower', 'apply_rule') AND NOT sync.value_equal(f.path, f.value, f.shop_value)
						  THEN f.shop_value WHEN f.outcome IN ('converged', 'equal') THEN f.local_value ELSE f.value END AS local) n
		  GROUP BY f.product_id) a ON a.product_id = p.product_id;
	UPDATE sync.listing l
	SET base = coalesce(b.base -> 'variants' -> v.sku, '{}'), base_local = coalesce(b.base_local -> 'variants' -> v.sku, '{}')
	FROM unnest(bases) b JOIN sync.variant v ON v.product_id = b.product_id
	WHERE l.connection = base_write.connection AND l.variant_id = v.id
	  AND (l.base, l.base_local) IS DISTINCT FROM
		  (coalesce(b.base -> 'variants' -> v.sku, '{}'), coalesce(b.base_local -> 'variants' -> v.sku, '{}'));
	UPDATE sync.product_listing l
	SET base = b.base - 'variants', base_local = b.base_local - 'variants', merged_at = now(),
		base_gone = CASE l.base_gone WHEN '{}' THEN '{}' ELSE (SELECT coalesce(jsonb_object_agg(g.key, g.value), '{}') FROM jsonb_each(l.base_gone) g
			WHERE b.base -> 'variants' ? g.key AND NOT EXISTS (SELECT FROM sync.variant v WHERE v.product_id = l.product_id AND v.sku = g.key)) END,
		sent = CASE l.sent WHEN '{}' THEN '{}' ELSE l.sent - ARRAY(SELECT f.path FROM unnest(agreed) f WHERE f.product_id = b.product_id) END
	FROM unnest(bases) b WHERE l.id = b.listing_id;
	UPDATE sync.product_listing l SET merged_at = now()
	WHERE l.merged_at IS NULL AND l.id = ANY (ARRAY(SELECT p.listing_id FROM unnest(products) p));
END
$$;

-- What people have to decide, and which of their conflicts are over.
CREATE FUNCTION sync.shop_conflicts(run_id bigint, connection text, product_ids bigint[], fields sync.merge_field[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	manual sync.merge_field[] := ARRAY(SELECT f FROM unnest(fields) f WHERE f.outcome = 'manual');
	opened jsonb := '{}';
BEGIN
	UPDATE sync.conflict c SET state = 'applied', closed_at = now()
	FROM unnest(fields) f WHERE c.id = f.conflict_id;
	UPDATE sync.conflict c
	SET state = CASE WHEN EXISTS (SELECT FROM unnest(fields) f WHERE f.product_id = c.product_id AND f.path = c.path AND f.outcome <> 'converged')
					 THEN 'superseded' ELSE 'converged' END::sync.conflict_state,
		closed_at = now()
	WHERE c.connection = shop_conflicts.connection AND c.product_id = ANY (product_ids) AND c.state IN ('open', 'resolved')
	  AND c.location_id IS NULL
	  AND NOT EXISTS (SELECT FROM unnest(manual) m WHERE m.product_id = c.product_id AND m.path = c.path);
	IF manual <> '{}' THEN
		opened := sync.conflict_open(shop_conflicts.run_id, shop_conflicts.connection,
			ARRAY(SELECT ROW(m.product_id, v.id, NULL, m.path, sync.field_class(m.path), m.local_value, m.shop_value, m.base_value, m.rule,
							 m.reason)::sync.conflict_row
				  FROM unnest(manual) m
				  LEFT JOIN sync.variant v ON starts_with(m.path, 'variants[') AND v.product_id = m.product_id AND v.sku = (sync.document_path(m.path))[2]));
	END IF;
	RETURN jsonb_build_object('conflicts', coalesce((opened ->> 'opened')::bigint, 0));
END
$$;

-- Gone ---------------------------------------------------------------------------------------------------------------------------

-- Products that the shop no longer has: archiving them is staged, for a person; nothing is deleted.
CREATE FUNCTION sync.shop_merge_gone(run_id bigint, connection text, products sync.merge_product[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	staged bigint := 0;
BEGIN
	IF products = '{}' THEN
		RETURN '{}';
	END IF;
	WITH entry AS (
		INSERT INTO sync.staging (run_id, connection, kind, title, sku, reason, confidence, method, evidence, flags, product_id, base_version)
		SELECT shop_merge_gone.run_id, shop_merge_gone.connection, 'update', p.local ->> 'title',
			   (SELECT min(k) FROM jsonb_object_keys(p.local -> 'variants') k),
			   format('no longer in the shop (%s)', replace(p.gone, '_', ' ')) || CASE WHEN c.changed THEN '; it was changed here meanwhile' ELSE '' END,
			   1, 'shop', jsonb_build_object('gone', p.gone),
			   ARRAY['gone_in_shop'] || CASE WHEN c.changed THEN ARRAY['changed_since'] ELSE '{}' END, p.product_id, p.version
		FROM unnest(products) p
		CROSS JOIN LATERAL (
			SELECT EXISTS (SELECT FROM sync.document_merge(p.base, p.base_local, p.local, p.base) d WHERE d.status = 'local') AS changed) c
		WHERE p.local ->> 'status' IS DISTINCT FROM 'archived'
		  AND NOT EXISTS (SELECT FROM sync.staging s
						  WHERE s.product_id = p.product_id AND s.connection = shop_merge_gone.connection AND s.flags @> ARRAY['gone_in_shop']
							AND (s.state = 'open' OR s.state = 'rejected' AND s.decided_at > (
								SELECT m.gone_since FROM sync.shopify_product m WHERE m.id = p.mirror_id)))
		ORDER BY p.product_id
		RETURNING id, product_id, base_version),
	field AS (
		INSERT INTO sync.staging_field (staging_id, path, old_value, new_value, base_version)
		SELECT e.id, 'status', p.local -> 'status', '"archived"', e.base_version
		FROM entry e JOIN unnest(products) p ON p.product_id = e.product_id)
	SELECT count(*) INTO staged FROM entry;
	RETURN jsonb_build_object('gone', cardinality(products), 'staged', staged);
END
$$;

-- New ----------------------------------------------------------------------------------------------------------------------------

-- Products of the shop that the catalogue does not have: created, linked and agreed on, or staged where a SKU is another product's.
CREATE FUNCTION sync.shop_create(run_id bigint, connection text, products sync.merge_product[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	policy text := sync.setting_value(shop_create.connection, 'shop_creates');
	mirror_ids bigint[] := ARRAY(SELECT p.mirror_id FROM unnest(products) p);
	taken text[];
	fresh sync.merge_product[];
	doubtful sync.merge_product[];
	linked bigint[];
	part jsonb;
	counts jsonb := '{}';
	product sync.merge_product;
BEGIN
	products := ARRAY(SELECT p FROM unnest(products) p
					  WHERE p.mirror_id NOT IN (SELECT w FROM unnest(sync.shop_links_pending(shop_create.connection, mirror_ids)) w)
						AND p.shop -> 'variants' <> '{}');
	IF products = '{}' OR policy = 'skip' THEN
		RETURN '{}';
	END IF;
	taken := sync.skus_present(ARRAY(SELECT p.shop FROM unnest(products) p))
		|| ARRAY(SELECT k FROM unnest(products) p, jsonb_object_keys(p.shop -> 'variants') k GROUP BY k HAVING count(*) > 1);
	fresh := ARRAY(SELECT p FROM unnest(products) p WHERE policy = 'apply' AND NOT p.shop -> 'variants' ?| taken);
	doubtful := ARRAY(SELECT p FROM unnest(products) p WHERE policy <> 'apply' OR p.shop -> 'variants' ?| taken);
	IF fresh <> '{}' THEN
		BEGIN
			PERFORM sync.shop_create_now(shop_create.run_id, shop_create.connection, fresh);
			counts := jsonb_build_object('created', cardinality(fresh));
		EXCEPTION WHEN unique_violation OR cardinality_violation OR data_exception OR check_violation OR not_null_violation OR program_limit_exceeded THEN
			-- One of them cannot be: each by itself, and that one to a person.
			IF cardinality(fresh) = 1 THEN
				doubtful := doubtful || fresh;
				taken := sync.skus_present(ARRAY(SELECT p.shop FROM unnest(fresh) p));
			ELSE
				FOREACH product IN ARRAY fresh LOOP
					part := sync.shop_create(shop_create.run_id, shop_create.connection, ARRAY[product]);
					counts := sync.counts_add(counts, part);
				END LOOP;
			END IF;
		END;
	END IF;
	-- Another shop or a feed may have brought the product since this run looked for it: then it is that one.
	linked := sync.link_exact(shop_create.connection, ARRAY(SELECT p.mirror_id FROM unnest(doubtful) p WHERE p.shop -> 'variants' ?| taken));
	doubtful := ARRAY(SELECT p FROM unnest(doubtful) p WHERE p.mirror_id <> ALL (linked));
	RETURN sync.counts_add(counts, jsonb_build_object('linked', cardinality(linked),
		'staged', sync.shop_stage_creates(shop_create.run_id, shop_create.connection, doubtful, taken)));
END
$$;

CREATE FUNCTION sync.shop_stage_creates(run_id bigint, connection text, products sync.merge_product[], taken text[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	staged bigint;
BEGIN
	INSERT INTO sync.staging (run_id, connection, kind, title, sku, reason, confidence, method, evidence, flags, document)
	SELECT shop_stage_creates.run_id, shop_stage_creates.connection, 'create', p.shop ->> 'title', k.sku,
		   'new in the shop' || sync.flag_words(f.flags), 1, 'shop', jsonb_build_object('remote_id', p.remote_id), f.flags, p.shop
	FROM unnest(products) p
	CROSS JOIN LATERAL (SELECT CASE WHEN p.shop -> 'variants' ?| taken THEN ARRAY['sku_taken'] ELSE '{}' END AS flags) f
	CROSS JOIN LATERAL (SELECT min(o) AS sku FROM jsonb_object_keys(p.shop -> 'variants') o) k
	-- What a person has before him, or refused as it stands, is not staged again.
	WHERE NOT EXISTS (SELECT FROM sync.staging s
					  WHERE s.connection = shop_stage_creates.connection AND s.sku = k.sku AND s.kind = 'create' AND s.state IN ('open', 'rejected')
						AND s.evidence ->> 'remote_id' = p.remote_id::text AND s.document = p.shop)
	ORDER BY p.mirror_id;
	GET DIAGNOSTICS staged = ROW_COUNT;
	RETURN staged;
END
$$;

-- What is to be written of new products: each with its id, in the order of products, and each variant with its id, Shopify's numbers of it and
-- what the shop has in stock of it in all.  A handle that is taken gets the product's id behind it.
CREATE FUNCTION sync.shop_create_rows(connection text, products sync.merge_product[], OUT ids bigint[], OUT documents jsonb[],
	OUT variant_ids bigint[], OUT variant_products bigint[], OUT skus text[], OUT variants jsonb[], OUT remote_ids bigint[], OUT items bigint[],
	OUT stocks numeric[])
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
	handles text[];
	taken text[];
	others text[];
BEGIN
	handles := ARRAY(SELECT p.shop ->> 'handle' FROM unnest(products) p);
	taken := ARRAY(SELECT p.handle FROM sync.product p WHERE p.handle = ANY (handles));
	SELECT array_agg(n.id ORDER BY n.no), array_agg(n.other ORDER BY n.no) INTO ids, others
	FROM (SELECT h.no, h.id, CASE WHEN h.handle = ANY (taken) OR h.handle IS NOT NULL AND row_number() OVER (PARTITION BY h.handle ORDER BY h.no) > 1
								  THEN h.handle || '-' || h.id END AS other
		  FROM (SELECT u.no, u.handle, nextval('sync.product_id_seq') AS id FROM unnest(handles) WITH ORDINALITY AS u (handle, no)) h) n;
	documents := ARRAY(SELECT CASE WHEN o.other IS NULL THEN p.shop ELSE jsonb_set(p.shop, '{handle}', to_jsonb(o.other)) END
					   FROM (SELECT row_number() OVER () AS no, u.shop FROM unnest(products) u) p
					   JOIN unnest(others) WITH ORDINALITY AS o (other, no) ON o.no = p.no ORDER BY p.no);
	SELECT array_agg(nextval('sync.variant_id_seq')), array_agg(i.id), array_agg(k.value), array_agg(p.shop -> 'variants' -> k.value),
		   array_agg(k.key::bigint), array_agg((p.info -> k.key ->> 'inventory_item')::bigint)
	INTO variant_ids, variant_products, skus, variants, remote_ids, items
	FROM (SELECT row_number() OVER () AS no, u.skus, u.shop, u.info FROM unnest(products) u) p
	JOIN unnest(ids) WITH ORDINALITY AS i (id, no) ON i.no = p.no
	CROSS JOIN LATERAL jsonb_each_text(p.skus) k;
	SELECT array_agg(s.available ORDER BY i.no) INTO stocks
	FROM unnest(items) WITH ORDINALITY AS i (id, no)
	LEFT JOIN (SELECT q.inventory_item_id, sum(q.available) AS available FROM sync.shopify_stock q
			   WHERE q.connection = shop_create_rows.connection AND q.inventory_item_id = ANY (items)
			   GROUP BY q.inventory_item_id) s ON s.inventory_item_id = i.id;
END
$$;

-- Products of the shop into the catalogue, which does not have them: with their listings, an applied entry and a version each.
CREATE FUNCTION sync.shop_create_now(run_id bigint, connection text, products sync.merge_product[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'auto' AS $$
#variable_conflict use_column
DECLARE
	new record;
	entry_ids bigint[];
BEGIN
	PERFORM sync.identity_catch_up();
	new := sync.shop_create_rows(shop_create_now.connection, products);
	PERFORM sync.products_insert(new.ids, new.documents);
	PERFORM sync.variants_write(new.variant_products, new.skus, new.variants, new.variant_ids, new.stocks);
	WITH listing AS (
		INSERT INTO sync.product_listing (connection, product_id, remote_id, base, base_local, merged_at)
		SELECT shop_create_now.connection, i.id, p.remote_id, p.shop - 'variants',
			   CASE WHEN i.document -> 'handle' IS DISTINCT FROM p.shop -> 'handle' THEN jsonb_build_object('handle', i.document -> 'handle') ELSE '{}' END, now()
		FROM unnest(new.ids, new.documents) WITH ORDINALITY AS i (id, document, no)
		JOIN (SELECT row_number() OVER () AS no, u.remote_id, u.shop FROM unnest(products) u) p ON p.no = i.no
		RETURNING id, product_id)
	INSERT INTO sync.listing (connection, product_listing_id, variant_id, remote_id, inventory_item_id, base)
	SELECT shop_create_now.connection, l.id, v.id, v.remote_id, v.item, v.base
	FROM unnest(new.variant_ids, new.variant_products, new.remote_ids, new.items, new.variants) AS v (id, product_id, remote_id, item, base)
	JOIN listing l ON l.product_id = v.product_id;
	WITH entry AS (
		INSERT INTO sync.staging (run_id, connection, kind, decision, state, title, sku, reason, confidence, method, product_id, decided_by,
								  decided_at, decided_how, applied_version, applied_at)
		SELECT shop_create_now.run_id, shop_create_now.connection, 'create', 'approved', 'applied', e.document ->> 'title',
			   (SELECT min(k) FROM jsonb_object_keys(e.document -> 'variants') k), 'new in the shop', 1, 'shop', e.id, 'product_sync', now(), 'auto', 1, now()
		FROM unnest(new.ids, new.documents) WITH ORDINALITY AS e (id, document, no) ORDER BY e.no
		RETURNING id, product_id)
	SELECT array_agg(e.id ORDER BY e.product_id) INTO entry_ids FROM entry e;
	PERFORM sync.version_write(new.ids, array_fill(1, ARRAY[cardinality(new.ids)]), 'create', new.documents,
		array_fill('{}'::jsonb, ARRAY[cardinality(new.ids)]), shop_create_now.connection, shop_create_now.run_id, entry_ids, 'product_sync');
	PERFORM sync.stock_begin(shop_create_now.run_id, shop_create_now.connection, new.ids, new.variant_ids, new.items);
	PERFORM sync.catalogue_changed();
END
$$;

-- Entries of a shop were applied: its products are compared once more, and so found to agree.
CREATE FUNCTION sync.shop_applied(entry_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	shop text;
BEGIN
	FOR shop IN
		SELECT DISTINCT s.connection FROM sync.staging s JOIN sync.connection c ON c.name = s.connection AND c.kind = 'shopify'
		WHERE s.id = ANY (entry_ids) AND s.state = 'applied'
	LOOP
		UPDATE sync.shopify_product m SET merge_due = true
		FROM sync.staging s
		WHERE s.id = ANY (entry_ids) AND s.connection = shop AND s.state = 'applied' AND m.connection = shop
		  AND m.remote_id = coalesce((SELECT l.remote_id FROM sync.product_listing l WHERE l.connection = shop AND l.product_id = s.product_id),
									 (s.evidence ->> 'remote_id')::bigint);
		PERFORM sync.shopify_merge_wanted(shop);
	END LOOP;
END
$$;

-- A product that people have a conflict of was changed by a feed or by hand: it is compared again, so that they see what holds now.  And the shops
-- that have it shall hear of it.
CREATE FUNCTION sync.install_part_68_version_written() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $install$
BEGIN
	-- A variant that is deleted here stays in the base of the shops that have it, so that it is missed there and not taken for a new one of theirs.
	CREATE OR REPLACE FUNCTION sync.variant_gone() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
	BEGIN
		UPDATE sync.product_listing l
		SET base_gone = l.base_gone || jsonb_build_object(OLD.sku, jsonb_build_object('remote', i.remote_id, 'base', i.base))
		FROM sync.listing i WHERE i.variant_id = OLD.id AND l.id = i.product_listing_id AND l.merged_at IS NOT NULL;
		RETURN OLD;
	END
	$$;
	CREATE OR REPLACE TRIGGER variant_4_gone BEFORE DELETE ON sync.variant FOR EACH ROW EXECUTE FUNCTION sync.variant_gone();
	CREATE OR REPLACE FUNCTION sync.version_written() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
	DECLARE
		shop text;
	BEGIN
		IF to_regprocedure('sync.shop_up_wanted(text)') IS NOT NULL THEN
			FOR shop IN
				SELECT c.name FROM sync.connection c
				WHERE c.kind = 'shopify' AND c.enabled AND EXISTS (
					SELECT FROM new_version n JOIN sync.product_listing l ON l.product_id = n.product_id
					WHERE l.connection = c.name AND l.merged_at IS NOT NULL AND l.connection IS DISTINCT FROM n.source)
			LOOP
				EXECUTE 'SELECT sync.shop_up_wanted($1)' USING shop;
			END LOOP;
		END IF;
		FOR shop IN
			SELECT DISTINCT c.connection FROM new_version n
			JOIN sync.conflict c ON c.product_id = n.product_id AND c.state IN ('open', 'resolved') AND c.connection IS DISTINCT FROM n.source
		LOOP
			UPDATE sync.shopify_product m SET merge_due = true
			FROM sync.product_listing l
			WHERE l.connection = shop AND l.product_id IN (SELECT n.product_id FROM new_version n) AND m.connection = shop
			  AND m.remote_id = l.remote_id AND NOT m.merge_due;
			IF to_regprocedure('sync.shopify_merge_wanted(text)') IS NOT NULL THEN
				EXECUTE 'SELECT sync.shopify_merge_wanted($1)' USING shop;
			END IF;
		END LOOP;
		RETURN NULL;
	END
	$$;
	CREATE OR REPLACE TRIGGER product_version_1_written AFTER INSERT ON sync.product_version REFERENCING NEW TABLE AS new_version
		FOR EACH STATEMENT EXECUTE FUNCTION sync.version_written();
END
$install$;

-- What a run that leaves nothing to decide has done.  A shop's changes are carried out as they are compared.
CREATE FUNCTION sync.run_words(run_id bigint) RETURNS text
LANGUAGE sql STABLE SET search_path = '' AS $$
	SELECT coalesce(string_agg(format('%s %s', r.counts ->> w.key, w.words), ', ' ORDER BY w.n), 'nothing differs')
	FROM sync.run r
	CROSS JOIN (VALUES (1, 'created', 'created'), (2, 'linked', 'linked'), (3, 'changed', 'changed'), (4, 'conflicts', 'conflicts for people'),
					   (5, 'stock', 'levels of stock agreed')) AS w (n, key, words)
	WHERE r.id = run_words.run_id AND r.kind = 'shopify_down' AND (r.counts ->> w.key)::numeric > 0
$$;
