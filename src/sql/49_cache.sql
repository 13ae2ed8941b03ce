-- What is remembered of a shop so that it need not be asked each time: its locations (sync.shopify_location), its publications, and what
-- requests of each shape cost.  Each has an age, cache_max_age; what is older is read again before it is relied on.  What the shop itself
-- shows to be wrong is dropped at once by sync.cache_wrong(), and read again: a location or publication that is gone, a product whose
-- inventory item is.  All of it is read by job shopify_shop, in a run or by itself.

CREATE FUNCTION sync.install_part_49_cache() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	IF to_regclass('sync.shopify_publication') IS NULL THEN
		CREATE TABLE sync.shopify_publication (
			id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
			connection text NOT NULL REFERENCES sync.connection ON UPDATE CASCADE ON DELETE CASCADE,
			remote_id bigint NOT NULL,
			name text NOT NULL,
			seen_at timestamptz NOT NULL DEFAULT now(),
			UNIQUE (connection, remote_id)
		);
		CREATE TABLE sync.shopify_cost_seen (
			id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
			connection text NOT NULL REFERENCES sync.connection ON UPDATE CASCADE ON DELETE CASCADE,
			operation text NOT NULL,
			shape text NOT NULL,
			cost numeric NOT NULL CHECK (cost >= 0),
			seen_at timestamptz NOT NULL DEFAULT now(),
			UNIQUE (connection, operation, shape)
		) WITH (fillfactor = 80);
	END IF;
	COMMENT ON TABLE sync.shopify_publication IS 'The shop''s publications: the sales channels on which a product may be published. Read with scope read_publications only.';
	COMMENT ON TABLE sync.shopify_cost_seen IS 'What requests cost: the points that Shopify asked for the last one of each operation and shape.';
	COMMENT ON COLUMN sync.shopify_cost_seen.shape IS 'What the cost depends on, such as the lengths of its lists.';
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('cache_max_age', '1 day', 'interval', 'Shopify: locations, publications and costs of requests that were seen longer ago are read again before they are relied on.')
	ON CONFLICT (name) DO NOTHING;
END
$$;

-- Costs --------------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.cost_expected(connection text, operation text, shape text, fallback numeric) RETURNS numeric
LANGUAGE sql STABLE SET search_path = '' AS $$
	SELECT coalesce((
		SELECT s.cost FROM sync.shopify_cost_seen s
		WHERE s.connection = cost_expected.connection AND s.operation = cost_expected.operation AND s.shape = cost_expected.shape
		  AND s.seen_at > now() - sync.setting_value(cost_expected.connection, 'cache_max_age')::interval), fallback)
$$;
COMMENT ON FUNCTION sync.cost_expected(text, text, text, numeric) IS
'Points that a request is expected to cost: what the last one of this operation and shape did, if that is no older than cache_max_age; else fallback.';

-- A row that says so already is written again only when a quarter of its time is over.
CREATE FUNCTION sync.cost_told(connection text, operation text, shape text, cost numeric) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
	IF operation IS NULL OR shape IS NULL OR cost IS NULL OR cost < 0 THEN
		RETURN;
	END IF;
	INSERT INTO sync.shopify_cost_seen AS s (connection, operation, shape, cost)
	VALUES (cost_told.connection, cost_told.operation, cost_told.shape, cost_told.cost)
	ON CONFLICT (connection, operation, shape) DO UPDATE SET cost = excluded.cost, seen_at = now()
	WHERE s.cost <> excluded.cost OR s.seen_at < now() - sync.setting_value(cost_told.connection, 'cache_max_age')::interval / 4;
END
$$;
COMMENT ON FUNCTION sync.cost_told(text, text, text, numeric) IS
'Remembers what a request of an operation and shape cost, for sync.cost_expected(). Nothing where one of them is NULL.';

-- Age and error ------------------------------------------------------------------------------------------------------------------

-- Has the shop read again, once however often it is asked.
CREATE FUNCTION sync.cache_refresh(connection text) RETURNS void
LANGUAGE sql SET search_path = '' AS $$
	SELECT sync.job_enqueue('shopify_shop', NULL, jsonb_build_object('connection', connection), connection)
$$;

CREATE FUNCTION sync.cache_fresh(connection text) RETURNS boolean
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	fresh boolean;
BEGIN
	fresh := EXISTS (SELECT FROM sync.shopify_shop s
					 WHERE s.connection = cache_fresh.connection
					   AND s.checked_at > clock_timestamp() - sync.setting_value(cache_fresh.connection, 'cache_max_age')::interval);
	IF NOT fresh THEN
		PERFORM sync.cache_refresh(connection);
	END IF;
	RETURN fresh;
END
$$;
COMMENT ON FUNCTION sync.cache_fresh(text) IS
'Whether what is remembered of a shop (locations, publications) is no older than cache_max_age; where it is, its reading is enqueued.';

CREATE FUNCTION sync.cache_wrong(connection text, what text, remote_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
	CASE what
		WHEN 'location' THEN
			-- Its row stays, with the store that it is.
			UPDATE sync.shopify_location l SET active = false
			WHERE l.connection = cache_wrong.connection AND l.remote_id = cache_wrong.remote_id AND l.active;
			PERFORM sync.cache_refresh(connection);
		WHEN 'publication' THEN
			DELETE FROM sync.shopify_publication p WHERE p.connection = cache_wrong.connection AND p.remote_id = cache_wrong.remote_id;
			PERFORM sync.cache_refresh(connection);
		WHEN 'inventory_item' THEN
			-- The mirror is what was seen: reading the product again puts it right, and finds it gone where it is.
			PERFORM sync.shopify_product_fetch(cache_wrong.connection, m.remote_id, 2)
			FROM sync.shopify_product m
			WHERE m.connection = cache_wrong.connection AND m.gone_since IS NULL
			  AND m.variants @? format('$.*.inventory_item ? (@ == %s)', cache_wrong.remote_id)::jsonpath;
		ELSE
			RAISE EXCEPTION 'nothing called "%" is remembered of a shop', what
				USING ERRCODE = 'invalid_parameter_value', HINT = 'It is location, publication or inventory_item.';
	END CASE;
END
$$;
COMMENT ON FUNCTION sync.cache_wrong(text, text, bigint) IS
'Drops what was remembered of a shop and proved wrong, and has it read again. what: location, publication, inventory_item; remote_id: Shopify''s number of it. Error 22023 for another what.';

CREATE FUNCTION @extschema@.sync_cache_clear(connection text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	costs bigint;
	publications bigint;
BEGIN
	PERFORM sync.connection_known(connection);
	DELETE FROM sync.shopify_cost_seen s WHERE s.connection = sync_cache_clear.connection;
	GET DIAGNOSTICS costs = ROW_COUNT;
	DELETE FROM sync.shopify_publication p WHERE p.connection = sync_cache_clear.connection;
	GET DIAGNOSTICS publications = ROW_COUNT;
	UPDATE sync.shopify_shop s SET checked_at = NULL WHERE s.connection = sync_cache_clear.connection;
	PERFORM sync.cache_refresh(c.name) FROM sync.connection c WHERE c.name = sync_cache_clear.connection AND c.kind = 'shopify' AND c.enabled;
	RETURN format('%s costs and %s publications forgotten', costs, publications);
END
$$;
ALTER FUNCTION @extschema@.sync_cache_clear(text) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_cache_clear(text) TO sync_operator;
COMMENT ON FUNCTION @extschema@.sync_cache_clear(text) IS
'Forgets what is remembered of a shop (publications, costs of requests) and has it and the locations read again; which store a location is stays. Returns what was forgotten. Error P0002 when there is no such connection. Example: SELECT sync_cache_clear(''shop'');';
