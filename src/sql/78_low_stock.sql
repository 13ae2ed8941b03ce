-- Low stock: which variants the ERP has few of, told of once each time that they fall; and the run that a sale of such a one starts.
--
-- A variant is low while what is available of it, in the stores that are locations of a shop (in all stores where none is), is at or below
-- its threshold: the item's ReOrderPointQty where the ERP gives one above 0, else low_stock_threshold.  A row of zero counts, no row is
-- not known.  A row of sync.low_stock is one such time: it ends when the stock is above the threshold again, and only then can the next
-- begin.  All of it is set-based: sync.work_erp_compare() brings the rows of its variants.

CREATE FUNCTION sync.install_part_78_low_stock() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $install$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('low_stock_threshold', '10', 'count', 'Xorosoft: a variant of which no more than this is available is low, where its item has no ReOrderPointQty of its own.'),
		('low_stock_run', 'true', 'boolean', 'Xorosoft: whether a shop''s stock that falls to the threshold or below starts a run, so that the ERP''s number is fresh.'),
		('low_stock_run_every', '5 minutes', 'interval', 'Xorosoft: least time between two runs that low stock starts.'),
		('low_stock_single', '5', 'count', 'Xorosoft: up to so many variants that fell low in a run have a notification each; more are gathered in one.')
	ON CONFLICT (name) DO NOTHING;
	INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, description) VALUES
		('low_stock_run', false, 1, 1, 5, 'Starts a Xorosoft run since a shop sold a variant down to little')
	ON CONFLICT (kind) DO NOTHING;
	IF to_regclass('sync.low_stock') IS NULL THEN
		CREATE TABLE sync.low_stock (
			id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
			connection text NOT NULL REFERENCES sync.connection ON UPDATE CASCADE ON DELETE CASCADE,
			variant_id bigint NOT NULL REFERENCES sync.variant ON DELETE CASCADE,
			since timestamptz NOT NULL DEFAULT now(),
			available numeric NOT NULL,
			threshold numeric NOT NULL,
			notified_at timestamptz,
			cleared_at timestamptz
		);
		CREATE UNIQUE INDEX low_stock_open_idx ON sync.low_stock (variant_id, connection) WHERE cleared_at IS NULL;
		CREATE INDEX low_stock_untold_idx ON sync.low_stock (connection) WHERE notified_at IS NULL;
	END IF;
	COMMENT ON TABLE sync.low_stock IS 'Each time that a variant was low in the ERP. Rows without cleared_at are low now.';
	COMMENT ON COLUMN sync.low_stock.connection IS 'The ERP.';
	COMMENT ON COLUMN sync.low_stock.since IS 'When a run first saw it at or below the threshold.';
	COMMENT ON COLUMN sync.low_stock.available IS 'On hand less reserved, as the newest run saw it, in the stores that are locations of a shop, or in all where none is.';
	COMMENT ON COLUMN sync.low_stock.threshold IS 'The item''s ReOrderPointQty, or low_stock_threshold.';
	COMMENT ON COLUMN sync.low_stock.notified_at IS 'When people were told; once for each row.';
	COMMENT ON COLUMN sync.low_stock.cleared_at IS 'When it was seen above the threshold again, or the ERP no longer sold it.';
END
$install$;

-- The stores whose stock shops sell; NULL where no location is mapped.
CREATE FUNCTION sync.sold_stores() RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
	RETURN (SELECT array_agg(DISTINCT o.store) FROM sync.shopify_location o JOIN sync.connection c ON c.name = o.connection AND c.enabled
			WHERE o.store <> '');
END
$$;

-- The threshold of an item: its reorder point, which the ERP writes as a number or a text, where it is one above 0.
CREATE FUNCTION sync.reorder_point(details jsonb, threshold numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT CASE WHEN details ->> 'ReOrderPointQty' ~ '^ *\+?[0-9]{1,12}(\.[0-9]{1,12})? *$' AND (details ->> 'ReOrderPointQty')::numeric > 0
				THEN (details ->> 'ReOrderPointQty')::numeric ELSE threshold END
$$;
COMMENT ON FUNCTION sync.reorder_point(jsonb, numeric) IS 'From which stock on an item is low: its ReOrderPointQty where the ERP gives one above 0, else the threshold.';

-- Brings sync.low_stock up to date for these variants, each with its item, whether it is sold, and that item's details.  Returns counts.
CREATE FUNCTION sync.low_stock_compare(connection text, variant_ids bigint[], item_numbers text[], sold boolean[], details jsonb[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' SET jit = off AS $$
#variable_conflict use_column
DECLARE
	stores constant text[] := sync.sold_stores();
	limit_of_all constant numeric := sync.setting_value(low_stock_compare.connection, 'low_stock_threshold')::numeric;
	known bigint[];
	numbers numeric[];
	thresholds numeric[];
	fell bigint;
	rose bigint;
BEGIN
	-- Of what is not sold any more nothing is low, whether there is a row of its stock or not.
	UPDATE sync.low_stock k SET cleared_at = now()
	FROM unnest(variant_ids, sold) AS w (id, sold)
	WHERE NOT w.sold AND k.variant_id = w.id AND k.connection = low_stock_compare.connection AND k.cleared_at IS NULL;
	SELECT array_agg(l.id), array_agg(l.available), array_agg(l.threshold) INTO known, numbers, thresholds
	FROM (SELECT w.id, sum(coalesce(s.available, s.on_hand - coalesce(s.allocated, 0))) AS available,
				 sync.reorder_point(w.details, limit_of_all) AS threshold
		  FROM unnest(variant_ids, item_numbers, sold, details) AS w (id, item_number, sold, details)
		  JOIN sync.xorosoft_stock s ON s.connection = low_stock_compare.connection AND s.item_number = w.item_number AND s.gone_since IS NULL
			AND (stores IS NULL OR s.store = ANY (stores))
		  WHERE w.sold
		  GROUP BY w.id, w.details) l;
	UPDATE sync.low_stock k SET cleared_at = now(), available = n.available
	FROM unnest(known, numbers, thresholds) AS n (id, available, threshold)
	WHERE k.variant_id = n.id AND k.connection = low_stock_compare.connection AND k.cleared_at IS NULL AND n.available > n.threshold;
	GET DIAGNOSTICS rose = ROW_COUNT;
	WITH low AS (
		INSERT INTO sync.low_stock AS k (connection, variant_id, available, threshold)
		SELECT low_stock_compare.connection, n.id, n.available, n.threshold
		FROM unnest(known, numbers, thresholds) AS n (id, available, threshold) WHERE n.available <= n.threshold
		ORDER BY n.id
		ON CONFLICT (variant_id, connection) WHERE cleared_at IS NULL DO UPDATE SET available = excluded.available, threshold = excluded.threshold
		WHERE (k.available, k.threshold) IS DISTINCT FROM (excluded.available, excluded.threshold)
		RETURNING k.xmax = 0 AS new)
	SELECT count(*) FILTER (WHERE l.new) INTO fell FROM low l;
	RETURN jsonb_build_object('low_stock', fell, 'stock_again', rose);
END
$$;

-- Tells of what fell low and was not told of yet: a variant each, or all in one where they are many.
CREATE FUNCTION sync.low_stock_notify(run_id bigint, connection text) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	single constant bigint := sync.setting_value(low_stock_notify.connection, 'low_stock_single')::bigint;
	ids bigint[];
	low record;
	words text;
	details jsonb;
BEGIN
	WITH told AS (
		UPDATE sync.low_stock k SET notified_at = now()
		WHERE k.connection = low_stock_notify.connection AND k.notified_at IS NULL AND k.cleared_at IS NULL
		RETURNING k.id)
	SELECT array_agg(t.id) INTO ids FROM told t;
	IF cardinality(ids) <= single THEN
		FOR low IN
			SELECT k.*, v.sku, p.title FROM sync.low_stock k JOIN sync.variant v ON v.id = k.variant_id JOIN sync.product p ON p.id = v.product_id
			WHERE k.id = ANY (ids) ORDER BY v.sku
		LOOP
			PERFORM sync.notify(run_id, 'warning', 'low_stock',
				format('Low stock: %s of %s (%s), no more than %s.', trim_scale(low.available), low.sku, low.title, trim_scale(low.threshold)),
				jsonb_build_object('connection', connection, 'variants', 1, 'variant_id', low.variant_id, 'sku', low.sku, 'available', low.available,
								   'threshold', low.threshold));
		END LOOP;
	ELSIF ids IS NOT NULL THEN
		SELECT string_agg(format('%s of %s', trim_scale(o.available), o.sku), ', ' ORDER BY o.n) FILTER (WHERE o.n <= 5),
			   jsonb_agg(jsonb_build_object('sku', o.sku, 'variant_id', o.variant_id, 'available', o.available, 'threshold', o.threshold) ORDER BY o.n)
				   FILTER (WHERE o.n <= 100)
		INTO words, details
		FROM (SELECT row_number() OVER (ORDER BY k.available, v.sku) AS n, k.*, v.sku
			  FROM sync.low_stock k JOIN sync.variant v ON v.id = k.variant_id WHERE k.id = ANY (ids)) o;
		PERFORM sync.notify(run_id, 'warning', 'low_stock',
			format('Low stock of %s variants: %s%s. SELECT * FROM sync.low_stock WHERE cleared_at IS NULL;', cardinality(ids), words,
				   CASE WHEN cardinality(ids) > 5 THEN ' and so on' ELSE '' END),
			jsonb_build_object('connection', connection, 'variants', cardinality(ids), 'first', details));
	END IF;
	RETURN coalesce(cardinality(ids), 0);
END
$$;

-- A shop's stock of these variants fell.  Where one is low now, by the shop's own number, the ERP is read again: at once, and then no more
-- often than low_stock_run_every.
CREATE FUNCTION sync.low_stock_sold(connection text, variant_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	erp text;
	mapped constant boolean := EXISTS (SELECT FROM sync.shopify_location o WHERE o.connection = low_stock_sold.connection AND o.store <> '');
BEGIN
	FOR erp IN
		SELECT DISTINCT x.connection
		FROM (SELECT v.id, sync.item_key(v.sku) AS key, sum(s.available) AS available
			  FROM sync.variant v
			  JOIN sync.listing l ON l.variant_id = v.id AND l.connection = low_stock_sold.connection
			  JOIN sync.shopify_stock s ON s.connection = l.connection AND s.inventory_item_id = l.inventory_item_id
			  LEFT JOIN sync.shopify_location o ON o.connection = s.connection AND o.remote_id = s.location_id
			  WHERE v.id = ANY (variant_ids) AND (NOT mapped OR o.store <> '')
			  GROUP BY v.id) w
		JOIN sync.xorosoft_item x ON x.item_key = w.key AND x.gone_since IS NULL
		JOIN sync.connection c ON c.name = x.connection AND c.enabled
		WHERE sync.setting_value(x.connection, 'low_stock_run')::boolean
		  AND w.available <= sync.reorder_point(x.details, sync.setting_value(x.connection, 'low_stock_threshold')::numeric)
		ORDER BY 1
	LOOP
		PERFORM sync.low_stock_run_wanted(erp);
	END LOOP;
END
$$;

-- Enqueues the start of a run, once however often it is wished.
CREATE FUNCTION sync.low_stock_run_wanted(connection text, not_before timestamptz DEFAULT '-infinity') RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	last timestamptz := (SELECT max(r.created_at) FROM sync.run r WHERE r.connection = low_stock_run_wanted.connection AND r.trigger = 'low_stock');
BEGIN
	PERFORM sync.job_enqueue('low_stock_run', NULL, jsonb_build_object('connection', connection), connection,
		greatest(clock_timestamp(), not_before, last + sync.setting_value(connection, 'low_stock_run_every')::interval));
END
$$;

CREATE FUNCTION sync.work_low_stock_run(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
	name text;
BEGIN
	FOR name IN
		SELECT DISTINCT c.name FROM sync.job j
		JOIN sync.connection c ON c.name = j.payload ->> 'connection' AND c.kind = 'xorosoft' AND c.enabled
		WHERE j.id = ANY (job_ids) ORDER BY 1
	LOOP
		IF EXISTS (SELECT FROM sync.run r WHERE r.connection = name AND r.active) THEN
			-- It may have read the stock before the sale: another one, when that is over.
			PERFORM sync.low_stock_run_wanted(name, clock_timestamp() + interval '30 seconds');
		ELSE
			PERFORM sync.run_start('xorosoft', name, 'low_stock');
		END IF;
	END LOOP;
	RETURN '{}';
END
$$;
ALTER FUNCTION sync.work_low_stock_run(bigint[]) OWNER TO sync_worker;
