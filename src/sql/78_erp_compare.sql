-- What the ERP says of the variants that the catalogue has: validated, its stock looked at, and the fields that it owns staged.
--
-- A variant's item is the one whose number is its SKU, without hyphens and in capitals.  sync.erp_value keeps what the ERP said last of each
-- field.  Only what the ERP itself has changed since is staged, so a price that was set here on purpose stays until the ERP moves; what was
-- there at the first comparison is for people, by erp_first.  From there on an entry goes the way of a feed's: refused values, locks,
-- approval, the hold of a whole run, versions.  A flag on it says why it is not approved by itself.
--
-- erp_value.staging_id is the entry that carries a value.  A value whose entry went without a decision (superseded when its run was cancelled,
-- or begun anew) is staged again.  One that may not be staged, since its field is locked, is not noted, and so is staged once it may be.
--
-- A job is some products with all their variants; jobs that are taken together are compared in one statement.

CREATE FUNCTION sync.install_part_78_erp_compare() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $install$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('erp_fields', 'price,cost', '', 'Xorosoft: fields that the ERP owns: of price, cost, barcode, mpn, vendor, title; empty: none.'),
		('erp_auto_approve', 'price,cost', '', 'Xorosoft: fields whose changes may be approved by themselves; empty: none.'),
		('erp_price_change_limit', '0.25', 'share', 'Xorosoft: a price or cost that changes by a larger share of what it was is for a person.'),
		('erp_currency', '', '', 'Xorosoft: currency of its prices and costs, such as CAD; variants in another one are not compared. Empty: the currency of each variant.'),
		('erp_first', 'stage', '', 'Xorosoft: what differs when a field is compared for the first time: stage (a person decides), apply (as later changes) or skip (it stays).'),
		('erp_import_lag', '0 seconds', 'interval', 'Xorosoft: how long a sale in a shop may take to reach the ERP. An older reading does not raise the shop''s stock.'),
		('erp_compare_batch', '500', 'count', 'Xorosoft: variants that one job compares, from 100 to 1000.')
	ON CONFLICT (name) DO NOTHING;
	INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, description) VALUES
		('erp_compare', false, 3, 20, 5, 'Variants of the catalogue against the ERP''s mirror: validation, low stock, fields that the ERP owns')
	ON CONFLICT (kind) DO NOTHING;
	IF to_regclass('sync.erp_value') IS NULL THEN
		CREATE TABLE sync.erp_value (
			id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
			connection text NOT NULL REFERENCES sync.connection ON UPDATE CASCADE ON DELETE CASCADE,
			variant_id bigint NOT NULL REFERENCES sync.variant ON DELETE CASCADE,
			field text NOT NULL,
			value jsonb NOT NULL,
			staging_id bigint,
			seen_at timestamptz NOT NULL DEFAULT now(),
			UNIQUE (variant_id, field, connection)
		) WITH (fillfactor = 90);
		CREATE TABLE sync.erp_finding (
			id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
			connection text NOT NULL REFERENCES sync.connection ON UPDATE CASCADE ON DELETE CASCADE,
			variant_id bigint NOT NULL REFERENCES sync.variant ON DELETE CASCADE,
			problems text[] NOT NULL CHECK (problems <> '{}'),
			item_number text,
			details jsonb NOT NULL DEFAULT '{}',
			run_id bigint,
			since timestamptz NOT NULL DEFAULT now(),
			UNIQUE (variant_id, connection)
		);
	END IF;
	GRANT DELETE ON sync.erp_value TO sync_admin;
	COMMENT ON TABLE sync.erp_value IS 'What the ERP said last of each field that it owns: only what it changes from there is staged. Delete a row to have the field compared as for the first time.';
	COMMENT ON COLUMN sync.erp_value.connection IS 'The ERP.';
	COMMENT ON COLUMN sync.erp_value.field IS 'price, cost, barcode, mpn; vendor and title, which are the product''s.';
	COMMENT ON COLUMN sync.erp_value.staging_id IS 'The entry of sync.staging that carries this value, until it is decided.';
	COMMENT ON COLUMN sync.erp_value.seen_at IS 'When the ERP was first seen to say this.';
	COMMENT ON TABLE sync.erp_finding IS 'Variants of the catalogue with whose item in the ERP something is wrong, as of the newest run. What is fine, or was never in the ERP, has no row.';
	COMMENT ON COLUMN sync.erp_finding.problems IS 'gone, inactive, ambiguous (two items that are sold have this number), gtin_differs; of a field, with its name in front: negative, not_a_number, too_large, other_currency.';
	COMMENT ON COLUMN sync.erp_finding.details IS 'The values of the ERP that are wrong.';
	COMMENT ON COLUMN sync.erp_finding.since IS 'When the problems came to be these.';
	CREATE OR REPLACE VIEW sync.erp_findings WITH (security_barrier) AS
	SELECT f.id, f.connection, v.sku, p.title, array_to_string(f.problems, ', ') AS problems, f.item_number, f.details, f.since, f.variant_id, v.product_id
	FROM sync.erp_finding f JOIN sync.variant v ON v.id = f.variant_id JOIN sync.product p ON p.id = v.product_id;
	COMMENT ON VIEW sync.erp_findings IS 'sync.erp_finding with SKU and title.';
END
$install$;

-- A list of fields in a setting, checked.
CREATE FUNCTION sync.erp_field_list(connection text, name text) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	fields text[] := array_remove(regexp_split_to_array(btrim(sync.setting_value(connection, name)), '\s*,\s*'), '');
	unknown text := (SELECT min(f) FROM unnest(fields) f WHERE f NOT IN ('price', 'cost', 'barcode', 'mpn', 'vendor', 'title'));
BEGIN
	IF unknown IS NOT NULL THEN
		RAISE EXCEPTION 'setting "%" of connection "%" has an unknown field "%"', name, connection, unknown
			USING ERRCODE = 'invalid_parameter_value', HINT = 'The fields are price, cost, barcode, mpn, vendor and title, with commas between.';
	END IF;
	RETURN coalesce(fields, '{}');
END
$$;
COMMENT ON FUNCTION sync.erp_field_list(text, text) IS 'The fields that a setting of the ERP lists. Error 22023 for a field that there is not.';

CREATE FUNCTION sync.erp_currency(connection text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	currency text := nullif(btrim(sync.setting_value(connection, 'erp_currency')), '');
BEGIN
	IF currency !~ '^[A-Z]{3}$' THEN
		RAISE EXCEPTION 'setting "erp_currency" of connection "%" cannot be "%"', connection, currency
			USING ERRCODE = 'invalid_parameter_value', HINT = 'It is a code of three capital letters such as CAD, or empty.';
	END IF;
	RETURN currency;
END
$$;

CREATE FUNCTION sync.erp_first(connection text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	policy text := sync.setting_value(connection, 'erp_first');
BEGIN
	IF policy NOT IN ('stage', 'apply', 'skip') THEN
		RAISE EXCEPTION 'setting "erp_first" of connection "%" cannot be "%"', connection, policy
			USING ERRCODE = 'invalid_parameter_value', HINT = 'It is one of stage, apply, skip.';
	END IF;
	RETURN policy;
END
$$;

-- The ERP was read by a run: enqueues the comparing.  What was not read whole is not compared.
CREATE FUNCTION sync.erp_begin(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	erp text := (SELECT r.connection FROM sync.run r WHERE r.id = run_id);
	size integer := least(greatest(sync.setting_value(erp, 'erp_compare_batch')::bigint, 100), 1000);
	part record;
	variants bigint := 0;
	hint text;
BEGIN
	-- A setting that cannot be ends the run here, with a word of it, and not job by job.
	BEGIN
		PERFORM sync.erp_field_list(erp, 'erp_fields'), sync.erp_field_list(erp, 'erp_auto_approve'), sync.erp_currency(erp), sync.erp_first(erp);
	EXCEPTION WHEN invalid_parameter_value THEN
		GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
		PERFORM sync.run_fail(run_id, jsonb_build_object('class', 'validation', 'message', SQLERRM, 'hint', hint), false);
		RETURN;
	END;
	IF (SELECT c.complete FROM sync.xorosoft_crawl c WHERE c.connection = erp AND c.what = 'items' ORDER BY c.id DESC LIMIT 1) IS NOT TRUE
	   OR (SELECT c.complete FROM sync.xorosoft_crawl c WHERE c.connection = erp AND c.what = 'stock' ORDER BY c.id DESC LIMIT 1) IS NOT TRUE THEN
		PERFORM sync.run_move(run_id, 'complete', 'the ERP was not read to its end: nothing is compared');
		RETURN;
	END IF;
	PERFORM sync.run_move(run_id, 'staging_creation');
	ANALYZE sync.xorosoft_item (connection, item_key, item_number), sync.xorosoft_stock (connection, item_number);
	FOR part IN
		SELECT coalesce(lag(max(n.product_id)) OVER (ORDER BY n.part) + 1, min(n.product_id)) AS from_id, max(n.product_id) AS to_id, sum(n.variants) AS variants,
			   row_number() OVER (ORDER BY n.part) AS no
		FROM (SELECT v.product_id, count(*) AS variants, (sum(count(*)) OVER (ORDER BY v.product_id) - 1)::bigint / size AS part
			  FROM sync.variant v GROUP BY v.product_id) n
		GROUP BY n.part ORDER BY n.part
	LOOP
		PERFORM sync.job_enqueue('erp_compare', run_id, jsonb_build_object('from', part.from_id, 'to', part.to_id, 'no', part.no));
		variants := variants + part.variants;
	END LOOP;
	UPDATE sync.run_phase p SET total = variants, unit = 'variants'
	WHERE p.id = (SELECT max(o.id) FROM sync.run_phase o WHERE o.run_id = erp_begin.run_id AND o.ended_at IS NULL);
END
$$;
COMMENT ON FUNCTION sync.erp_begin(bigint) IS 'Moves a run that has read the ERP on: to staging_creation, with jobs that compare all variants, or to complete where something was not read to its end.';

-- A variant beside its item, and a field of it.
CREATE TYPE sync.erp_item AS (variant_id bigint, product_id bigint, sku text, gtin text, barcode text, mpn text, price numeric, cost numeric, currency text,
	vendor text, title text, siblings bigint, item_number text, live boolean, sold boolean, ambiguous boolean, erp_gtin text, erp_barcode text,
	erp_mpn text, erp_price numeric, erp_cost numeric, erp_vendor text, erp_title text, details jsonb);
CREATE TYPE sync.erp_field AS (variant_id bigint, product_id bigint, sku text, item_number text, title text, path text, field text, value jsonb, present jsonb,
	differs boolean, problem text, moved boolean, first boolean, staged bigint, carried boolean, flags text[]);

-- The variants of some products that have an item.  Two items whose numbers differ in hyphens only: the one that is sold, then the one
-- that is written as here; if neither says, it is ambiguous.
CREATE FUNCTION sync.erp_items(connection text, from_id bigint, to_id bigint) RETURNS SETOF sync.erp_item
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' SET jit = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH wanted AS MATERIALIZED (
		SELECT v.id, v.product_id, v.sku, v.gtin, v.barcode, v.mpn, v.price, v.cost, v.currency, sync.item_key(v.sku) AS key,
			   count(*) OVER (PARTITION BY v.product_id) AS siblings
		FROM sync.variant v WHERE v.product_id BETWEEN from_id AND to_id)
	SELECT DISTINCT ON (c.id) c.id, c.product_id, c.sku, c.gtin, c.barcode, c.mpn, c.price, c.cost, c.currency, p.vendor, p.title, c.siblings,
		   c.item_number, c.live, c.sold, c.rivals > 1 AND c.item_number <> c.sku, c.erp_gtin, c.upc, c.erp_mpn, c.unit_price, c.unit_cost, c.brand, c.erp_title,
		   c.details
	FROM (SELECT w.*, x.id AS item_id, x.item_number, x.gtin AS erp_gtin, x.upc, x.mpn AS erp_mpn, x.unit_price, x.unit_cost, x.brand, x.title AS erp_title,
				 x.details, x.gone_since IS NULL AS live, s.sold, count(*) FILTER (WHERE s.sold AND x.gone_since IS NULL) OVER (PARTITION BY w.id) AS rivals
		  FROM wanted w
		  JOIN sync.xorosoft_item x ON x.connection = erp_items.connection AND x.item_key = w.key
		  CROSS JOIN LATERAL (SELECT coalesce(x.active, true) AND coalesce(x.sellable, true) AS sold) s) c
	JOIN sync.product p ON p.id = c.product_id
	ORDER BY c.id, c.live DESC, c.sold DESC, c.item_number = c.sku DESC, c.item_id;
END
$$;

-- The fields of these items that the ERP changed, or that cannot be used, or that an entry carries which is not decided yet.
CREATE FUNCTION sync.erp_fields(connection text, items sync.erp_item[]) RETURNS SETOF sync.erp_field
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' SET jit = off AS $$
#variable_conflict use_column
DECLARE
	owned constant text[] := sync.erp_field_list(erp_fields.connection, 'erp_fields');
	automatic constant text[] := sync.erp_field_list(erp_fields.connection, 'erp_auto_approve');
	change_limit constant numeric := sync.setting_value(erp_fields.connection, 'erp_price_change_limit')::numeric;
	money constant text := sync.erp_currency(erp_fields.connection);
	policy constant text := sync.erp_first(erp_fields.connection);
BEGIN
	RETURN QUERY
	WITH field AS (
		SELECT i.*, f.name, f.number, f.text, f.was, f.had
		FROM (SELECT o.*, min(o.erp_vendor) OVER p AS one_vendor, min(o.erp_title) OVER p AS one_title,
					 -- What is the product's counts only where all its variants have an item, and these say the same.
					 count(o.erp_vendor) OVER p = o.siblings AND min(o.erp_vendor) OVER p = max(o.erp_vendor) OVER p AS same_vendor,
					 count(o.erp_title) OVER p = o.siblings AND min(o.erp_title) OVER p = max(o.erp_title) OVER p AS same_title
			  FROM (SELECT e.variant_id, e.product_id, e.sku, e.gtin, e.barcode, e.mpn, e.price, e.cost, e.currency, e.vendor, e.title, e.siblings, e.item_number,
						   e.sold, e.erp_gtin, e.erp_barcode, e.erp_mpn, e.erp_price, e.erp_cost, CASE WHEN 'vendor' = ANY (owned) THEN e.erp_vendor END AS erp_vendor,
						   CASE WHEN 'title' = ANY (owned) THEN e.erp_title END AS erp_title
					FROM unnest(items) e WHERE e.live AND NOT e.ambiguous) o
			  WINDOW p AS (PARTITION BY o.product_id)) i
		CROSS JOIN LATERAL (VALUES
			('price', i.erp_price, NULL, i.price, NULL),
			-- No cost is what the ERP writes as 0.
			('cost', CASE WHEN i.erp_cost <> 0 OR i.cost IS NOT NULL THEN i.erp_cost END, NULL, i.cost, NULL),
			('barcode', NULL, i.erp_barcode, NULL, i.barcode),
			('mpn', NULL, i.erp_mpn, NULL, i.mpn),
			('vendor', NULL, CASE WHEN i.same_vendor THEN i.one_vendor END, NULL, i.vendor),
			('title', NULL, CASE WHEN i.same_title THEN i.one_title END, NULL, i.title)) AS f (name, number, text, was, had)
		WHERE f.name = ANY (owned) AND (f.number IS NOT NULL OR btrim(f.text) <> '')),
	judged AS (
		SELECT f.*, v.value, v.present,
			   CASE WHEN f.number IS NULL THEN NULL
					WHEN f.number IN ('NaN', 'Infinity', '-Infinity') THEN 'not_a_number'
					WHEN f.number < 0 THEN 'negative'
					WHEN round(f.number, 4) >= 10000000000 THEN 'too_large'
					WHEN f.currency <> money THEN 'other_currency' END AS problem,
			   v.value IS DISTINCT FROM v.present
			   AND NOT (f.name = 'barcode' AND coalesce(@extschema@.sync_gtin(f.text) = f.gtin, false)) AS differs
		FROM field f
		CROSS JOIN LATERAL (SELECT CASE WHEN f.number IS NULL THEN to_jsonb(btrim(f.text)) ELSE to_jsonb(trim_scale(round(f.number, 4))) END AS value,
								   CASE WHEN f.number IS NULL THEN to_jsonb(f.had) ELSE to_jsonb(trim_scale(f.was)) END AS present) v),
	known AS (
		SELECT j.*, e.id IS NULL AS first, e.staging_id, s.state = 'open' AND s.decision = 'pending' AS carried,
			   -- What people have had before them since the first comparison, and did not decide, stays theirs.
			   e.id IS NULL OR s.state IN ('open', 'superseded') AND s.decision = 'pending' AND s.flags @> '{first_comparison}' AS early,
			   e.id IS NULL OR e.value <> j.value
			   OR e.staging_id IS NOT NULL AND (s.id IS NULL OR s.state = 'superseded') AS moved
		FROM judged j
		LEFT JOIN sync.erp_value e ON e.variant_id = j.variant_id AND e.field = j.name AND e.connection = erp_fields.connection
		LEFT JOIN sync.staging s ON s.id = e.staging_id),
	offered AS (
		SELECT k.*, max(k.number) FILTER (WHERE k.name = 'price' AND k.offer) OVER v AS new_price,
			   max(k.number) FILTER (WHERE k.name = 'cost' AND k.offer) OVER v AS new_cost
		FROM (SELECT o.*, o.differs AND o.problem IS NULL AND (o.moved OR o.carried) AS offer FROM known o
			  WHERE o.moved OR o.problem IS NOT NULL OR o.staging_id IS NOT NULL) k
		WINDOW v AS (PARTITION BY k.variant_id))
	SELECT o.variant_id, o.product_id, o.sku, o.item_number, o.title,
		   CASE WHEN o.name IN ('vendor', 'title') THEN o.name ELSE sync.variant_path(o.sku) || '.' || o.name END, o.name, o.value, o.present, o.differs, o.problem, o.moved, o.first, o.staging_id,
		   coalesce(o.carried, false),
		   array_remove(ARRAY[
			   CASE WHEN o.early AND o.present IS NOT NULL AND policy = 'stage' THEN 'first_comparison' END,
			   CASE WHEN o.name <> ALL (automatic) THEN 'not_automatic' END,
			   CASE WHEN abs(o.number - o.was) > change_limit * o.was THEN 'large_change' END,
			   CASE WHEN o.name = 'price' AND o.number = 0 THEN 'zero_price' END,
			   CASE WHEN o.name IN ('price', 'cost') AND coalesce(o.new_price, o.price) < coalesce(o.new_cost, o.cost, nullif(o.erp_cost, 'NaN')) THEN 'below_cost' END,
			   CASE WHEN NOT o.sold THEN 'inactive_in_erp' END,
			   CASE WHEN o.gtin <> o.erp_gtin THEN 'gtin_differs' END], NULL)
	FROM offered o;
END
$$;

-- Why an entry of the ERP is not approved by itself, for its reason.
CREATE FUNCTION sync.erp_flag_words(flags text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT coalesce('; ' || string_agg(CASE f
		WHEN 'first_comparison' THEN 'compared with the ERP for the first time'
		WHEN 'not_automatic' THEN 'a field that erp_auto_approve does not list'
		WHEN 'large_change' THEN 'a price or cost changes by more than erp_price_change_limit'
		WHEN 'zero_price' THEN 'a price would be 0'
		WHEN 'below_cost' THEN 'a price would be below the cost'
		WHEN 'gtin_differs' THEN 'its GTIN in the ERP is another one' END, '; ' ORDER BY f), '')
	FROM unnest(flags) f
	WHERE f IN ('first_comparison', 'not_automatic', 'large_change', 'zero_price', 'below_cost', 'gtin_differs')
$$;

-- What is wrong with these items, into sync.erp_finding.  Returns how many of each problem.
CREATE FUNCTION sync.erp_findings_write(run_id bigint, connection text, from_id bigint, to_id bigint, items sync.erp_item[], fields sync.erp_field[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' SET jit = off AS $$
#variable_conflict use_column
DECLARE
	counts jsonb;
BEGIN
	WITH wrong AS MATERIALIZED (
		SELECT w.variant_id, array_agg(w.problem ORDER BY w.problem) AS problems, min(w.item_number) AS item_number,
			   coalesce(jsonb_object_agg(w.key, w.value) FILTER (WHERE w.key IS NOT NULL), '{}') AS details
		FROM (SELECT i.variant_id, i.item_number, p.problem, p.key, p.value
			  FROM unnest(items) i
			  CROSS JOIN LATERAL (VALUES
				  (CASE WHEN NOT i.live THEN 'gone' WHEN i.ambiguous THEN 'ambiguous' WHEN NOT i.sold THEN 'inactive' END, NULL, NULL::jsonb),
				  (CASE WHEN i.live AND i.gtin <> i.erp_gtin THEN 'gtin_differs' END, 'gtin', to_jsonb(i.erp_gtin))) AS p (problem, key, value)
			  WHERE p.problem IS NOT NULL
			  UNION ALL
			  SELECT f.variant_id, f.item_number, f.field || '_' || f.problem, f.field, f.value FROM unnest(fields) f WHERE f.problem IS NOT NULL) w
		GROUP BY w.variant_id),
	fine AS (
		DELETE FROM sync.erp_finding k USING sync.variant v
		WHERE v.product_id BETWEEN from_id AND to_id AND k.variant_id = v.id AND k.connection = erp_findings_write.connection
		  AND NOT EXISTS (SELECT FROM wrong w WHERE w.variant_id = v.id)),
	found AS (
		INSERT INTO sync.erp_finding AS k (connection, variant_id, problems, item_number, details, run_id)
		SELECT erp_findings_write.connection, w.variant_id, w.problems, w.item_number, w.details, erp_findings_write.run_id FROM wrong w ORDER BY w.variant_id
		ON CONFLICT (variant_id, connection) DO UPDATE
		SET problems = excluded.problems, item_number = excluded.item_number, details = excluded.details, run_id = excluded.run_id,
			since = CASE WHEN k.problems = excluded.problems THEN k.since ELSE now() END
		WHERE (k.problems, k.item_number, k.details) IS DISTINCT FROM (excluded.problems, excluded.item_number, excluded.details))
	SELECT jsonb_object_agg(n.problem, n.n) INTO counts
	FROM (SELECT regexp_replace(p.problem, '^(price|cost)_', '') AS problem, count(*) AS n FROM wrong w CROSS JOIN LATERAL unnest(w.problems) AS p (problem) GROUP BY 1) n;
	RETURN coalesce(counts, '{}');
END
$$;

-- Stages what differs in these fields: one entry a product.  jobs: the numbers and ranges of the jobs, for the entries' numbers.
CREATE FUNCTION sync.erp_stage(run_id bigint, connection text, fields sync.erp_field[], jobs jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' SET jit = off AS $$
#variable_conflict use_column
DECLARE
	policy constant text := sync.erp_first(erp_stage.connection);
	touched bigint[];
	offered sync.erp_field[];
	products sync.staged[];
	locks text[];
	updates record;
BEGIN
	-- What an earlier attempt of this run staged and nobody decided is staged anew; what was decided is left.
	touched := ARRAY(SELECT DISTINCT f.product_id FROM unnest(fields) f WHERE f.moved AND f.problem IS NULL
					 EXCEPT SELECT s.product_id FROM sync.staging s WHERE s.run_id = erp_stage.run_id AND s.product_id = ANY (
						 ARRAY(SELECT f.product_id FROM unnest(fields) f)));
	IF touched = '{}' THEN
		PERFORM sync.erp_values_write(erp_stage.run_id, erp_stage.connection, fields, touched, '{}');
		RETURN '{}';
	END IF;
	offered := ARRAY(SELECT f FROM unnest(fields) f
					 WHERE f.product_id = ANY (touched) AND f.problem IS NULL AND f.differs AND (f.moved OR f.carried)
					   AND NOT (f.first AND f.present IS NOT NULL AND policy = 'skip'));
	products := ARRAY(
		SELECT ROW(j.no * 2000 + row_number() OVER (PARTITION BY j.no ORDER BY d.product_id), NULL, d.sku, d.title, d.document, d.product_id, 1, 'erp',
				   jsonb_build_object('items', d.items), '{}', d.flags, NULL, 1)::sync.staged
		FROM (SELECT o.product_id, min(o.sku) AS sku, min(o.title) AS title, jsonb_object_agg(o.sku, o.item_number) AS items,
					 coalesce(jsonb_object_agg(o.field, o.value) FILTER (WHERE o.path = o.field), '{}') || jsonb_build_object('variants', v.variants) AS document,
					 v.flags
			  FROM unnest(offered) o
			  JOIN (SELECT w.product_id, coalesce(jsonb_object_agg(w.sku, w.own) FILTER (WHERE w.own IS NOT NULL), '{}') AS variants,
						   ARRAY(SELECT DISTINCT g FROM unnest(string_to_array(string_agg(w.flags, ' '), ' ')) g WHERE g <> '' ORDER BY g) AS flags
					FROM (SELECT f.product_id, f.sku, jsonb_object_agg(f.field, f.value) FILTER (WHERE f.path <> f.field) AS own,
								 string_agg(array_to_string(f.flags, ' '), ' ') AS flags
						  FROM unnest(offered) f GROUP BY f.product_id, f.sku) w
					GROUP BY w.product_id) v ON v.product_id = o.product_id
			  GROUP BY o.product_id, v.variants, v.flags) d
		JOIN jsonb_to_recordset(jobs) AS j (no integer, "from" bigint, "to" bigint) ON d.product_id BETWEEN j."from" AND j."to");
	PERFORM sync.stage_supersede(erp_stage.run_id, erp_stage.connection,
		ARRAY(SELECT ROW(NULL, NULL, NULL, NULL, NULL, t, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::sync.staged FROM unnest(touched) t));
	SELECT * INTO updates FROM sync.stage_updates(erp_stage.run_id, erp_stage.connection, products, '{}');
	UPDATE sync.staging s SET reason = s.reason || sync.erp_flag_words(s.flags)
	WHERE s.run_id = erp_stage.run_id AND s.product_id = ANY (touched) AND s.flags <> '{}' AND s.state = 'open';
	SELECT coalesce(array_agg(l.product_id || ' ' || l.pattern), '{}') INTO locks FROM sync.locked(touched) l;
	PERFORM sync.erp_values_write(erp_stage.run_id, erp_stage.connection, fields, touched, locks);
	RETURN jsonb_build_object('updated', coalesce(updates.updated, 0), 'fields', coalesce(updates.fields, 0), 'suppressed', coalesce(updates.suppressed, 0))
		|| CASE WHEN updates.locked > 0 THEN jsonb_build_object('locked', updates.locked) ELSE '{}' END;
END
$$;

-- Notes what the ERP said, with the entry that carries it.  Of a locked field that differs, and of what cannot be used, nothing is noted.
CREATE FUNCTION sync.erp_values_write(run_id bigint, connection text, fields sync.erp_field[], touched bigint[], locks text[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' SET jit = off AS $$
#variable_conflict use_column
BEGIN
	INSERT INTO sync.erp_value AS e (connection, variant_id, field, value, staging_id)
	SELECT erp_values_write.connection, f.variant_id, f.field, f.value, s.id
	FROM unnest(fields) f
	LEFT JOIN (SELECT o.id, o.product_id, n.path
			   FROM sync.staging o JOIN sync.staging_field n ON n.staging_id = o.id
			   WHERE o.run_id = erp_values_write.run_id AND o.product_id = ANY (touched) AND o.state = 'open') s
		ON s.product_id = f.product_id AND s.path = f.path
	WHERE f.product_id = ANY (touched) AND f.problem IS NULL AND (f.moved OR f.carried)
	  AND NOT (f.differs AND locks <> '{}' AND f.product_id || ' ' || f.path LIKE ANY (locks))
	ORDER BY f.variant_id, f.field
	ON CONFLICT (variant_id, field, connection) DO UPDATE
	SET value = excluded.value, staging_id = excluded.staging_id, seen_at = CASE WHEN e.value = excluded.value THEN e.seen_at ELSE now() END;
	-- What was decided needs its entry no more.
	UPDATE sync.erp_value e SET staging_id = NULL
	FROM unnest(fields) f JOIN sync.staging s ON s.id = f.staged AND s.state NOT IN ('open', 'superseded')
	WHERE e.variant_id = f.variant_id AND e.field = f.field AND e.connection = erp_values_write.connection AND e.staging_id = f.staged AND NOT f.moved;
END
$$;

CREATE FUNCTION sync.erp_compare_range(run_id bigint, connection text, from_id bigint, to_id bigint, jobs jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' SET jit = off AS $$
#variable_conflict use_column
DECLARE
	items sync.erp_item[];
	fields sync.erp_field[];
	counts jsonb;
BEGIN
	DELETE FROM sync.staging s
	WHERE s.run_id = erp_compare_range.run_id AND s.product_id BETWEEN from_id AND to_id AND s.state = 'open' AND s.decision = 'pending'
	  AND NOT EXISTS (SELECT FROM sync.staging_field f WHERE f.staging_id = s.id AND f.decision <> 'pending');
	items := ARRAY(SELECT i FROM sync.erp_items(erp_compare_range.connection, from_id, to_id) i);
	fields := ARRAY(SELECT f FROM sync.erp_fields(erp_compare_range.connection, items) f);
	counts := sync.erp_findings_write(erp_compare_range.run_id, erp_compare_range.connection, from_id, to_id, items, fields);
	counts := sync.counts_add(counts, sync.low_stock_compare(erp_compare_range.connection, array_agg(i.variant_id), array_agg(i.item_number),
			array_agg(i.live AND i.sold), array_agg(i.details)))
		FROM unnest(items) i WHERE NOT i.ambiguous;
	counts := sync.counts_add(counts, sync.erp_stage(erp_compare_range.run_id, erp_compare_range.connection, fields, jobs));
	RETURN counts || jsonb_build_object('compared', cardinality(items), 'rejected_values', (SELECT count(*) FROM unnest(fields) f WHERE f.problem IS NOT NULL),
		'done', (SELECT count(*) FROM sync.variant v WHERE v.product_id BETWEEN from_id AND to_id));
END
$$;
COMMENT ON FUNCTION sync.erp_compare_range(bigint, text, bigint, bigint, jsonb) IS
'Compares the variants of the products with these ids with the ERP''s mirror: findings, low stock, staged fields. Returns counts; doing it again in the same run replaces what nobody has decided.';

CREATE FUNCTION sync.work_erp_compare(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
	part record;
	counts jsonb := '{}';
BEGIN
	-- Jobs that follow one another are one range.
	FOR part IN
		SELECT k.run_id, k.connection, k.jobs, lower(m.range) AS from_id, upper(m.range) - 1 AS to_id
		FROM (SELECT j.run_id, r.connection, jsonb_agg(j.payload) AS jobs,
					 range_agg(int8range((j.payload ->> 'from')::bigint, (j.payload ->> 'to')::bigint, '[]')) AS ranges
			  FROM sync.job j JOIN sync.run r ON r.id = j.run_id WHERE j.id = ANY (job_ids) GROUP BY j.run_id, r.connection) k
		CROSS JOIN LATERAL unnest(k.ranges) AS m (range)
		ORDER BY 1, 4
	LOOP
		counts := sync.counts_add(counts, sync.erp_compare_range(part.run_id, part.connection, part.from_id, part.to_id, part.jobs));
	END LOOP;
	RETURN counts;
END
$$;
ALTER FUNCTION sync.work_erp_compare(bigint[]) OWNER TO sync_worker;
