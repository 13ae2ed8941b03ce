-- How much of the ERP's stock a shop may sell: rules as rows, for people to edit.
--
-- What is available in the ERP (on hand less reserved, of the store that is a location) stays as it is in sync.stock_level.erp.  The rule
-- that speaks of a variant at a location makes of it what the shop is offered, which is our side of the merge.  Of several rules the most
-- exact one counts: an exact SKU before a pattern, a pattern before none; then the one that asks more (location or store, vendor, product
-- type, shop); then the higher priority; of those that tie, the one that offers less.
--
-- The table and its triggers are ordinary objects; what they need of the extension they ask for by name.

CREATE FUNCTION sync.sellable(available numeric, safety_stock integer DEFAULT 0, minimum integer DEFAULT 0, maximum integer DEFAULT NULL,
							  below_zero boolean DEFAULT false) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT CASE
		WHEN available IS NULL OR available IN ('NaN', 'Infinity', '-Infinity') THEN NULL
		WHEN available < 0 THEN CASE WHEN below_zero THEN pg_catalog.floor(available) ELSE 0 END
		ELSE LEAST(GREATEST(pg_catalog.floor(available) - coalesce(safety_stock, 0), coalesce(minimum, 0), 0), maximum) END
$$;
COMMENT ON FUNCTION sync.sellable(numeric, integer, integer, integer, boolean) IS
'What a shop is offered of what is available in the ERP, in whole pieces: floor(available) - safety_stock, at least minimum (0), at most maximum (null: no limit), never below 0. Below 0 in the ERP: 0, whatever the minimum; with below_zero what is owed, floor(available). NULL for no number. No errors. Example: SELECT sync.sellable(12.7, 5, 0, 6);';
GRANT EXECUTE ON FUNCTION sync.sellable(numeric, integer, integer, integer, boolean) TO sync_viewer;

CREATE FUNCTION sync.install_part_58_stock_rule() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $install$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('push_negative', 'false', 'boolean', 'Shopify: whether stock below 0 in the ERP is below 0 in the shop too, of variants that the shop sells beyond their stock; else it is 0.')
	ON CONFLICT (name) DO NOTHING;

	IF to_regclass('sync.stock_rule') IS NULL THEN
		CREATE TABLE sync.stock_rule (
			id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
			name text NOT NULL UNIQUE CHECK (name <> ''),
			connection text REFERENCES sync.connection ON UPDATE CASCADE ON DELETE CASCADE,
			location_id bigint,
			store text CHECK (store <> ''),
			vendor text CHECK (vendor <> ''),
			product_type text CHECK (product_type <> ''),
			sku text CHECK (sku <> ''),
			safety_stock integer NOT NULL DEFAULT 0 CHECK (safety_stock >= 0),
			minimum integer NOT NULL DEFAULT 0 CHECK (minimum >= 0),
			maximum integer CHECK (maximum >= 0),
			priority integer NOT NULL DEFAULT 0,
			enabled boolean NOT NULL DEFAULT true,
			note text,
			updated_by text,
			updated_at timestamptz NOT NULL DEFAULT now(),
			CHECK (minimum <= maximum),
			CHECK (location_id IS NULL OR store IS NULL)
		);
	END IF;
	COMMENT ON TABLE sync.stock_rule IS 'How much of the ERP''s stock a shop is offered: what is kept back, the least and the most. The most exact rule counts, then the higher priority, then the one that offers less. sync.stock_offer shows what they make of it.';
	COMMENT ON COLUMN sync.stock_rule.connection IS 'Only for this shop; null: for all.';
	COMMENT ON COLUMN sync.stock_rule.location_id IS 'Only at this location of the shop: remote_id of sync.shopify_location. Give this or store, not both.';
	COMMENT ON COLUMN sync.stock_rule.store IS 'Only for stock of this store of the ERP, in whichever shop.';
	COMMENT ON COLUMN sync.stock_rule.vendor IS 'Only for products of this vendor, whatever the case of its letters; null: of all.';
	COMMENT ON COLUMN sync.stock_rule.product_type IS 'Only for products of this type, whatever the case of its letters; null: of all.';
	COMMENT ON COLUMN sync.stock_rule.sku IS 'Only for variants with such a SKU: a pattern of LIKE, in which % stands for anything, _ for one character, and \ takes a % or _ as it is.';
	COMMENT ON COLUMN sync.stock_rule.safety_stock IS 'Pieces that are kept back from the shop.';
	COMMENT ON COLUMN sync.stock_rule.minimum IS 'The shop is never offered fewer than this, even where the ERP has none; only what the ERP owes (below 0) is offered as 0.';
	COMMENT ON COLUMN sync.stock_rule.maximum IS 'The shop is never offered more than this; null: no limit.';
	COMMENT ON COLUMN sync.stock_rule.priority IS 'Among equally exact rules the highest counts.';

	IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = 'sync.stock_level'::regclass AND a.attname = 'sellable') THEN
		ALTER TABLE sync.stock_level ADD COLUMN sellable numeric, ADD COLUMN pushed_at timestamptz, ADD COLUMN chosen boolean NOT NULL DEFAULT false;
	END IF;
	COMMENT ON COLUMN sync.stock_level.chosen IS 'A person chose local, in a conflict: it is sent whenever the ERP was read.';
	COMMENT ON COLUMN sync.stock_level.erp_seen_at IS 'When the ERP was read, less erp_import_lag: what was sold before that is in erp.';
	COMMENT ON COLUMN sync.stock_level.sellable IS 'What sync.stock_rule made of erp when both were compared last.';
	COMMENT ON COLUMN sync.stock_level.pushed_at IS 'When the shop''s level was changed by our own push, by the shop''s clock.';
	COMMENT ON COLUMN sync.stock_level.local IS 'What we hold to be sellable: what sync.stock_rule makes of the ERP''s, or what a merge or a person decided since.';

	CREATE OR REPLACE FUNCTION sync.stock_rule_guard() RETURNS trigger
	LANGUAGE plpgsql SET search_path = '' AS $$
	DECLARE
		known text;
	BEGIN
		-- A text that is only spaces is an empty field of a table editor.
		NEW.connection := nullif(btrim(NEW.connection), '');
		NEW.store := nullif(btrim(NEW.store), '');
		NEW.vendor := nullif(btrim(NEW.vendor), '');
		NEW.product_type := nullif(btrim(NEW.product_type), '');
		NEW.sku := nullif(btrim(NEW.sku), '');
		IF length(NEW.name) > 60 OR length(NEW.sku) > 200 THEN
			RAISE EXCEPTION 'stock rule "%" is too long', left(NEW.name, 60)
				USING ERRCODE = 'invalid_parameter_value', HINT = 'A name has up to 60 characters, a SKU up to 200.';
		ELSIF NEW.safety_stock NOT BETWEEN 0 AND 1000000 OR NEW.minimum NOT BETWEEN 0 AND 1000000 OR NEW.maximum NOT BETWEEN 0 AND 1000000 THEN
			RAISE EXCEPTION 'stock rule "%" has a number that cannot be: safety_stock %, minimum %, maximum %', NEW.name, NEW.safety_stock, NEW.minimum,
				coalesce(NEW.maximum::text, 'null')
				USING ERRCODE = 'invalid_parameter_value', HINT = 'Each is a whole number from 0 to 1000000; maximum may be null.';
		ELSIF NEW.minimum > NEW.maximum THEN
			RAISE EXCEPTION 'stock rule "%" has a minimum of % above its maximum of %', NEW.name, NEW.minimum, NEW.maximum
				USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave maximum null for no limit.';
		ELSIF NEW.location_id IS NOT NULL AND NEW.store IS NOT NULL THEN
			RAISE EXCEPTION 'stock rule "%" has both location_id and store', NEW.name
				USING ERRCODE = 'invalid_parameter_value', HINT = 'Give the location of the shop, or the store of the ERP.';
		ELSIF NEW.sku ~ '(^|[^\\])(\\\\)*\\$' THEN
			RAISE EXCEPTION 'stock rule "%" has a SKU pattern that ends in a single \: %', NEW.name, NEW.sku
				USING ERRCODE = 'invalid_parameter_value', HINT = 'Write \\ for a backslash, \% for a percent sign.';
		ELSIF NEW.connection IS NOT NULL
			  AND NOT EXISTS (SELECT FROM sync.connection c WHERE c.name = NEW.connection AND c.kind = 'shopify') THEN
			RAISE EXCEPTION 'stock rule "%" is for "%", which is no shop', NEW.name, NEW.connection
				USING ERRCODE = 'invalid_parameter_value', HINT = 'connection is the name of a connection of kind shopify, or null for all shops.';
		ELSIF NEW.location_id IS NOT NULL AND NOT EXISTS (SELECT FROM sync.shopify_location l
				WHERE l.remote_id = NEW.location_id AND l.connection = coalesce(NEW.connection, l.connection)) THEN
			SELECT string_agg(format('%s (%s)', l.remote_id, l.name), ', ' ORDER BY l.name) INTO known
			FROM sync.shopify_location l WHERE l.connection = coalesce(NEW.connection, l.connection);
			RAISE EXCEPTION 'stock rule "%" is for location %, which no shop has', NEW.name, NEW.location_id
				USING ERRCODE = 'invalid_parameter_value', HINT = coalesce('The locations are ' || known || '.', 'No location is known yet: read the shop first.');
		ELSIF NEW.store IS NOT NULL AND NOT EXISTS (SELECT FROM sync.xorosoft_stock s WHERE s.store = NEW.store)
			  AND NOT EXISTS (SELECT FROM sync.shopify_location l WHERE l.store = NEW.store) THEN
			SELECT string_agg(DISTINCT s.store, ', ') INTO known FROM sync.xorosoft_stock s;
			RAISE EXCEPTION 'stock rule "%" is for store "%", which the ERP does not have', NEW.name, NEW.store
				USING ERRCODE = 'invalid_parameter_value', HINT = coalesce('The stores are ' || known || '.', 'No store is known yet: read the ERP first.');
		END IF;
		NEW.updated_at := now();
		IF current_user = 'sync_worker' THEN
			NEW.updated_by := 'product_sync';
		ELSE
			SELECT d.decided_by INTO NEW.updated_by FROM sync.decision_by() d;
		END IF;
		RETURN NEW;
	END
	$$;
	-- Each shop compares its stock anew, once however many rules were edited.
	CREATE OR REPLACE FUNCTION sync.stock_rule_edited() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
	BEGIN
		IF to_regprocedure('sync.shops_compare_stock()') IS NOT NULL THEN
			EXECUTE 'SELECT sync.shops_compare_stock()';
		END IF;
		RETURN NULL;
	END
	$$;
	REVOKE ALL ON FUNCTION sync.stock_rule_guard(), sync.stock_rule_edited() FROM PUBLIC;
	CREATE OR REPLACE TRIGGER stock_rule_1_guard BEFORE INSERT OR UPDATE ON sync.stock_rule
		FOR EACH ROW EXECUTE FUNCTION sync.stock_rule_guard();
	CREATE OR REPLACE TRIGGER stock_rule_2_edited AFTER INSERT OR UPDATE OR DELETE ON sync.stock_rule
		FOR EACH STATEMENT EXECUTE FUNCTION sync.stock_rule_edited();
	GRANT INSERT, UPDATE, DELETE ON sync.stock_rule TO sync_admin;

	CREATE OR REPLACE VIEW sync.stock_offer WITH (security_barrier) AS
	SELECT n.id, n.connection, v.sku, p.title AS product, coalesce(o.name, n.location_id::text) AS location, o.store, n.erp AS in_erp, n.sellable,
		   n.local AS offered, s.available AS in_shop, n.erp_seen_at, c.rule AS waits_for, c.reason, n.variant_id, n.location_id
	FROM sync.stock_level n
	JOIN sync.variant v ON v.id = n.variant_id
	JOIN sync.product p ON p.id = v.product_id
	JOIN sync.listing l ON l.connection = n.connection AND l.variant_id = n.variant_id
	LEFT JOIN sync.shopify_location o ON o.connection = n.connection AND o.remote_id = n.location_id
	LEFT JOIN sync.shopify_stock s ON s.connection = n.connection AND s.inventory_item_id = l.inventory_item_id AND s.location_id = n.location_id
	LEFT JOIN sync.conflict c ON c.connection = n.connection AND c.variant_id = n.variant_id AND c.location_id = n.location_id
		AND c.product_id = v.product_id AND c.state = 'open';
	COMMENT ON VIEW sync.stock_offer IS 'Stock of each variant at each location of each shop: what the ERP has, what the rules make of it, what we hold to be sellable, what the shop has, and what it waits for.';
	COMMENT ON COLUMN sync.stock_offer.waits_for IS 'The rule of the open conflict of this level: stale_snapshot waits for a newer reading of the ERP, others for a person.';
END
$install$;

-- The rule that counts for each of these levels.  Arrays of the same length: variants of one shop, with the location and its store.
CREATE FUNCTION sync.stock_rules(connection text, variant_ids bigint[], location_ids bigint[], stores text[], available numeric[])
RETURNS TABLE (variant_id bigint, location_id bigint, safety_stock integer, minimum integer, maximum integer)
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' SET jit = off AS $$
#variable_conflict use_column
BEGIN
	IF NOT EXISTS (SELECT FROM sync.stock_rule r WHERE r.enabled AND coalesce(r.connection, stock_rules.connection) = stock_rules.connection) THEN
		RETURN;
	END IF;
	RETURN QUERY
	WITH rule AS MATERIALIZED (
		SELECT r.*, CASE WHEN r.sku IS NULL THEN 0 WHEN r.sku ~ '(^|[^\\])(\\\\)*[%_]' THEN 1 ELSE 2 END AS sku_rank,
			   num_nonnulls(r.connection, r.location_id, r.store, r.vendor, r.product_type) AS conditions
		FROM sync.stock_rule r WHERE r.enabled AND coalesce(r.connection, stock_rules.connection) = stock_rules.connection)
	SELECT w.variant_id, w.location_id, k.safety_stock, k.minimum, k.maximum
	FROM unnest(variant_ids, location_ids, stores, available) AS w (variant_id, location_id, store, available)
	JOIN sync.variant v ON v.id = w.variant_id
	JOIN sync.product p ON p.id = v.product_id
	CROSS JOIN LATERAL (
		SELECT r.safety_stock, r.minimum, r.maximum FROM rule r
		WHERE (r.location_id IS NULL OR r.location_id = w.location_id) AND (r.store IS NULL OR r.store = w.store)
		  AND (r.vendor IS NULL OR lower(r.vendor) = lower(p.vendor)) AND (r.product_type IS NULL OR lower(r.product_type) = lower(p.type))
		  AND (r.sku IS NULL OR v.sku = r.sku OR v.sku LIKE r.sku)
		ORDER BY CASE WHEN v.sku = r.sku THEN 2 ELSE r.sku_rank END DESC, r.conditions DESC, r.priority DESC, sync.sellable(w.available, r.safety_stock, r.minimum, r.maximum), r.id
		LIMIT 1) k;
END
$$;
COMMENT ON FUNCTION sync.stock_rules(text, bigint[], bigint[], text[], numeric[]) IS 'The row of sync.stock_rule that counts for each of these levels of a shop; none where no rule speaks of it.';
