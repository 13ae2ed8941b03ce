-- Xorosoft, the ERP: its items and stock are mirrored by paging, and a feed is validated against the mirror.
--
-- A crawl reads pages 1 to TotalPages, several at a time within the rate limit, each page one job.  A page's answer is written in one
-- transaction with the note that it was read, so a page counts once however often it is asked for.  Only when every page was read is
-- the crawl complete: only then is anything concluded from what was not seen, and only then does the watermark move.
--
-- Validation compares the feed with the mirror in batches, locally.  What the mirror does not know is asked for one by one, up to a
-- limit, since the ERP has no call that validates many numbers at once.

CREATE FUNCTION sync.xorosoft_envelope(body bytea, OUT status text, OUT message text, OUT page integer, OUT total_pages integer,
	OUT row_count integer)
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_xorosoft_envelope';
COMMENT ON FUNCTION sync.xorosoft_envelope(bytea) IS
'What kind of answer of Xorosoft a body is: ok, refused (Result false), server_error ({"Message": ...} alone), not_envelope, not_json.';

CREATE FUNCTION sync.xorosoft_items(body bytea)
RETURNS TABLE (row_no integer, xorosoft_id text, item_number text, base_part_number text, title text, upc text, barcode text,
	gtin text, brand text, mpn text, active boolean, sellable boolean, unit_price numeric, unit_cost numeric,
	modified_at timestamptz, details jsonb, error text, page_status text, total_pages integer)
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_xorosoft_items';
COMMENT ON FUNCTION sync.xorosoft_items(bytea) IS 'The items in an answer of Xorosoft; error says why a row cannot be used. page_status and total_pages are those of the whole answer.';

CREATE FUNCTION sync.xorosoft_stock_rows(body bytea)
RETURNS TABLE (row_no integer, item_number text, store text, on_hand numeric, available numeric, allocated numeric,
	on_order numeric, error text, page_status text, total_pages integer)
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_xorosoft_stock_rows';
COMMENT ON FUNCTION sync.xorosoft_stock_rows(bytea) IS 'The stock rows in an answer of Xorosoft; error says why a row cannot be used. page_status and total_pages are those of the whole answer.';

CREATE FUNCTION sync.item_key(item_number text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT NULLIF(pg_catalog.upper(pg_catalog.replace(pg_catalog.btrim(item_number), '-', '')), '') $$;
COMMENT ON FUNCTION sync.item_key(text) IS 'How item numbers are compared: without hyphens, in capitals; NULL where nothing is left.';

CREATE FUNCTION sync.uri_component(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
	SELECT coalesce(string_agg(CASE WHEN b.byte BETWEEN 48 AND 57 OR b.byte BETWEEN 65 AND 90 OR b.byte BETWEEN 97 AND 122
										 OR b.byte IN (45, 46, 95, 126)
									THEN chr(b.byte) ELSE '%' || upper(lpad(to_hex(b.byte), 2, '0')) END, '' ORDER BY b.no), '')
	FROM (SELECT i AS no, get_byte(convert_to(value, 'UTF8'), i) AS byte
		  FROM generate_series(0, octet_length(convert_to(value, 'UTF8')) - 1) i) b
$$;
COMMENT ON FUNCTION sync.uri_component(text) IS 'Percent-encoded for use in the query of a URL (RFC 3986).';

CREATE FUNCTION sync.install_part_50_xorosoft() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('page_size', '100', 'count', 'Xorosoft: rows asked for in a page; the ERP gives no more than 100.'),
		('requests_per_second', '2', 'per second', 'Requests to a system that may start in a second.'),
		('request_timeout', '90 seconds', 'interval', 'Longest time that one request may take.'),
		('item_path', 'product/item/getitem', '', 'Xorosoft: path of the list of items, below the connection''s address.'),
		('stock_path', 'inventory/getinventorybyitem', '', 'Xorosoft: path of the list of stock by item and store.'),
		('lookup_path', 'product/item/getitem', '', 'Xorosoft: path of the look-up of one item.'),
		('lookup_parameter', 'item_number', '', 'Xorosoft: parameter that holds the number in a look-up.'),
		('mirror_max_age', '1 hour', 'interval', 'A run reads the ERP''s changes again when the last complete reading is older.'),
		('mirror_full_every', '1 day', 'interval', 'All items are read, not only changed ones, when the last full reading is older.'),
		('mirror_shrink_limit', '0.2', 'share', 'When a full reading misses more than this share of the mirror, nothing is marked as gone.'),
		('overlap', '15 minutes', 'interval', 'How far before the last change that was seen the next reading of changes begins.'),
		('empty_page_retries', '3', 'count', 'How often an empty page is asked for again before it is believed.'),
		('validation_batch', '100', 'count', 'Products of a feed in one validation job.'),
		('number_metafields', 'custom.CWS_A,custom.CWS_Catalog,custom.SPRC', '',
			'Metafields of the feed that may hold the ERP''s item number, tried in this order after the SKU.'),
		('lookup_misses', 'auto', '', 'Look up single items that the mirror does not know: auto (up to lookup_limit), always, never.'),
		('lookup_limit', '500', 'count', 'Most single look-ups in a run.'),
		('lookup_ttl', '1 day', 'interval', 'An item that was looked up and not found is not asked for again within this time.'),
		('validate_with', '', '', 'Feed: the Xorosoft connection that validates it; empty takes the only enabled one.')
	ON CONFLICT (name) DO NOTHING;
	INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, run_state, description) VALUES
		('xorosoft_page', true, 2, 4, 6, 'xorosoft_validation', 'One page of the ERP''s items into the mirror'),
		('xorosoft_stock_page', true, 2, 4, 6, 'xorosoft_validation', 'One page of the ERP''s stock into the mirror'),
		('xorosoft_validate', false, 3, 64, 5, 'xorosoft_validation', 'A batch of feed products against the mirror'),
		('xorosoft_lookup', true, 3, 200, 5, 'xorosoft_validation', 'One item that the mirror does not know')
	ON CONFLICT (kind) DO NOTHING;
END
$$;

-- Asking and understanding -------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.xorosoft_request(connection text, path text, query jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	target record;
BEGIN
	SELECT c.base_url, c.username, c.secret_ref INTO target FROM sync.connection c WHERE c.name = xorosoft_request.connection;
	RETURN jsonb_strip_nulls(jsonb_build_object(
		'op', 'http', 'method', 'GET',
		'url', rtrim(target.base_url, '/') || '/' || path || coalesce(
			(SELECT '?' || string_agg(q.key || '=' || sync.uri_component(q.value), '&' ORDER BY q.key) FROM jsonb_each_text(query) q
			 WHERE q.value IS NOT NULL), ''),
		'headers', jsonb_build_object('Accept', 'application/json'),
		'username', target.username, 'secret_ref', target.secret_ref,
		'connect_timeout_ms', 15000,
		'timeout_ms', round(extract(epoch FROM sync.setting_value(connection, 'request_timeout')::interval) * 1000),
		'max_bytes', 8 * 1024 * 1024));
END
$$;

-- What an answer means, whichever call it is to: verdict is rows, empty (nothing, and the ERP is content), refused (nothing, and
-- Result is false: throttled or truly nothing), absent (404), throttled, retry or fail.
CREATE FUNCTION sync.xorosoft_verdict(result jsonb, body bytea, OUT verdict text, OUT total_pages integer, OUT row_count integer,
	OUT error jsonb)
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	envelope record;
	status integer := (result ->> 'status')::integer;
BEGIN
	SELECT * INTO envelope FROM sync.xorosoft_envelope(body);
	total_pages := envelope.total_pages;
	row_count := coalesce(envelope.row_count, 0);
	IF (result ->> 'ok')::boolean AND coalesce(status, 200) < 400 THEN
		verdict := CASE WHEN envelope.status = 'ok' AND row_count > 0 THEN 'rows'
						WHEN envelope.status = 'ok' THEN 'empty'
						WHEN envelope.status = 'refused' AND row_count = 0 THEN 'refused'
						ELSE 'retry' END;
	ELSE
		verdict := CASE result ->> 'class' WHEN 'api_limit' THEN 'throttled'
										   WHEN 'permanent' THEN CASE status WHEN 404 THEN 'absent' ELSE 'fail' END
										   ELSE 'retry' END;
	END IF;
	IF verdict IN ('rows', 'empty') THEN
		RETURN;
	END IF;
	error := jsonb_strip_nulls(jsonb_build_object(
		'class', CASE WHEN verdict IN ('throttled', 'refused') THEN 'api_limit' WHEN (result ->> 'ok')::boolean THEN 'validation'
					  WHEN result ->> 'class' = 'permanent' THEN 'validation' ELSE coalesce(result ->> 'class', 'unknown') END,
		'message', CASE
			WHEN (result ->> 'ok')::boolean THEN format('Xorosoft''s answer cannot be used (%s)', envelope.status)
			ELSE coalesce(result ->> 'message', 'the request to Xorosoft failed') END,
		'detail', CASE WHEN octet_length(body) > 0 THEN envelope.message END,
		'status', status,
		'hint', CASE
			WHEN status IN (401, 403) THEN 'Check the connection''s username and secret_ref: they are the key and secret of the private app.'
			WHEN status = 404 THEN 'Check the connection''s base_url and the settings item_path, stock_path and lookup_path.'
			WHEN envelope.status = 'server_error' THEN 'Xorosoft answers alike for a passing fault, a wrong path, and a key without permission for the module.'
			WHEN envelope.status = 'not_json' AND (result ->> 'ok')::boolean THEN 'A page in place of data may be a redirect to a login, or a proxy.' END));
END
$$;

-- What an answer says of the ERP, for sync.breaker_told().  An answer that cannot be understood says nothing: a wrong path looks like that too.
CREATE FUNCTION sync.xorosoft_sign(verdict text, result jsonb) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT CASE WHEN verdict = 'throttled' THEN NULL WHEN (result ->> 'status')::integer IN (401, 403) THEN 'login'
				WHEN verdict = 'retry' THEN CASE WHEN NOT (result ->> 'ok')::boolean THEN 'down' END
				WHEN verdict <> 'fail' OR result ? 'status' THEN 'up' END
$$;

CREATE FUNCTION sync.xorosoft_connection(feed_connection text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	wanted text := nullif(sync.setting_value(feed_connection, 'validate_with'), '');
	names text[];
BEGIN
	SELECT array_agg(c.name ORDER BY c.name) INTO names FROM sync.connection c
	WHERE c.kind = 'xorosoft' AND c.enabled AND c.name = coalesce(wanted, c.name);
	IF wanted IS NOT NULL AND names IS NULL THEN
		RAISE EXCEPTION 'connection "%", which shall validate feed "%", is no enabled Xorosoft connection', wanted, feed_connection
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Enable it in sync.connection, or change the feed''s setting validate_with.';
	ELSIF cardinality(names) > 1 THEN
		RAISE EXCEPTION 'there are % enabled Xorosoft connections: %', cardinality(names), array_to_string(names, ', ')
			USING ERRCODE = 'ambiguous_parameter', HINT = format('Name one in the setting validate_with of connection "%s".', feed_connection);
	END IF;
	RETURN names[1];
END
$$;
COMMENT ON FUNCTION sync.xorosoft_connection(text) IS
'The Xorosoft connection that validates a feed, NULL where there is none. Errors: 22023 when validate_with names no enabled one, 42P08 when there are several and none is named.';

-- The mirror -------------------------------------------------------------------------------------------------------------------

-- Writes the items of some answers, as far as these are good ones.  Of several rows with one number the last change wins; unchanged rows are not written, but a
-- full crawl marks each row that it saw.
CREATE FUNCTION sync.xorosoft_items_write(connection text, crawl_id bigint, is_full boolean, bodies bytea[],
	OUT row_count bigint, OUT total_pages integer, OUT written bigint, OUT rejected bigint, OUT first_reject text, OUT newest timestamptz)
LANGUAGE plpgsql SET search_path = '' SET jit = off AS $$
BEGIN
	WITH answer AS MATERIALIZED (
		SELECT b.no, i.* FROM unnest(bodies) WITH ORDINALITY AS b (body, no), sync.xorosoft_items(b.body) i WHERE i.page_status = 'ok'
	), item AS (
		SELECT DISTINCT ON (a.item_number) a.* FROM answer a WHERE a.error IS NULL
		ORDER BY a.item_number, a.modified_at DESC NULLS LAST, a.no DESC, a.row_no DESC
	), upsert AS (
		INSERT INTO sync.xorosoft_item AS x (connection, xorosoft_id, item_number, item_key, base_part_number, base_key, title, upc, gtin,
			brand, mpn, active, sellable, unit_price, unit_cost, modified_at, details, crawl_id)
		SELECT xorosoft_items_write.connection, i.xorosoft_id, i.item_number, coalesce(sync.item_key(i.item_number), i.item_number),
			i.base_part_number, sync.item_key(i.base_part_number), i.title, coalesce(i.upc, i.barcode),
			coalesce(@extschema@.sync_gtin(i.gtin), @extschema@.sync_gtin(i.upc), @extschema@.sync_gtin(i.barcode)),
			i.brand, i.mpn, i.active, i.sellable, i.unit_price, i.unit_cost, i.modified_at, i.details, xorosoft_items_write.crawl_id
		FROM item i ORDER BY i.item_number
		ON CONFLICT ON CONSTRAINT xorosoft_item_connection_item_number_key DO UPDATE SET
			xorosoft_id = excluded.xorosoft_id, item_key = excluded.item_key, base_part_number = excluded.base_part_number,
			base_key = excluded.base_key, title = excluded.title, upc = excluded.upc, gtin = excluded.gtin, brand = excluded.brand,
			mpn = excluded.mpn, active = excluded.active, sellable = excluded.sellable, unit_price = excluded.unit_price,
			unit_cost = excluded.unit_cost, modified_at = excluded.modified_at, details = excluded.details,
			crawl_id = coalesce(excluded.crawl_id, x.crawl_id), seen_at = now(), gone_since = NULL
		WHERE (x.gone_since IS NOT NULL OR (is_full AND x.crawl_id IS DISTINCT FROM excluded.crawl_id)
			OR (x.xorosoft_id, x.item_key, x.base_part_number, x.base_key, x.title, x.upc, x.gtin, x.brand, x.mpn, x.active, x.sellable,
				x.unit_price, x.unit_cost, x.modified_at, x.details)
			IS DISTINCT FROM (excluded.xorosoft_id, excluded.item_key, excluded.base_part_number, excluded.base_key, excluded.title,
				excluded.upc, excluded.gtin, excluded.brand, excluded.mpn, excluded.active, excluded.sellable, excluded.unit_price,
				excluded.unit_cost, excluded.modified_at, excluded.details))
			-- Of two rows with one number on different pages of a crawl, too, the last change wins.
			AND NOT coalesce(x.crawl_id = excluded.crawl_id AND excluded.modified_at < x.modified_at, false)
		RETURNING 1
	)
	SELECT count(*), max(a.total_pages), (SELECT count(*) FROM upsert), count(*) FILTER (WHERE a.error IS NOT NULL),
		(SELECT format('row %s: %s', r.row_no, r.error) FROM answer r WHERE r.error IS NOT NULL ORDER BY r.no, r.row_no LIMIT 1),
		-- A date in the future would stop every later reading of changes; zones lie within a day.
		max(a.modified_at) FILTER (WHERE a.modified_at < now() + interval '1 day')
	INTO row_count, total_pages, written, rejected, first_reject, newest FROM answer a;
END
$$;

-- The same for stock.  Two rows of one item and store in one answer are added up.
CREATE FUNCTION sync.xorosoft_stock_write(connection text, crawl_id bigint, bodies bytea[],
	OUT row_count bigint, OUT total_pages integer, OUT written bigint, OUT rejected bigint, OUT first_reject text)
LANGUAGE plpgsql SET search_path = '' SET jit = off AS $$
BEGIN
	WITH answer AS MATERIALIZED (
		SELECT b.no, s.* FROM unnest(bodies) WITH ORDINALITY AS b (body, no), sync.xorosoft_stock_rows(b.body) s WHERE s.page_status = 'ok'
	), stock AS (
		SELECT a.item_number, a.store, sum(a.on_hand) AS on_hand, sum(a.available) AS available, sum(a.allocated) AS allocated,
			sum(a.on_order) AS on_order
		FROM answer a WHERE a.error IS NULL GROUP BY a.item_number, a.store
	), upsert AS (
		INSERT INTO sync.xorosoft_stock AS x (connection, item_number, store, on_hand, available, allocated, on_order, crawl_id)
		SELECT xorosoft_stock_write.connection, s.item_number, s.store, s.on_hand, s.available, s.allocated, s.on_order,
			xorosoft_stock_write.crawl_id
		FROM stock s ORDER BY s.item_number, s.store
		ON CONFLICT ON CONSTRAINT xorosoft_stock_connection_item_number_store_key DO UPDATE SET
			on_hand = excluded.on_hand, available = excluded.available, allocated = excluded.allocated, on_order = excluded.on_order,
			crawl_id = excluded.crawl_id, seen_at = now(), gone_since = NULL
		WHERE (x.on_hand, x.available, x.allocated, x.on_order, x.crawl_id, x.gone_since) IS DISTINCT FROM
			(excluded.on_hand, excluded.available, excluded.allocated, excluded.on_order, excluded.crawl_id, NULL)
		RETURNING 1
	)
	SELECT count(*), max(a.total_pages), (SELECT count(*) FROM upsert), count(*) FILTER (WHERE a.error IS NOT NULL),
		(SELECT format('row %s: %s', r.row_no, r.error) FROM answer r WHERE r.error IS NOT NULL ORDER BY r.no, r.row_no LIMIT 1)
	INTO row_count, total_pages, written, rejected, first_reject FROM answer a;
END
$$;

-- Crawls -----------------------------------------------------------------------------------------------------------------------

-- Makes sure that the mirror is no older than max_age: true where it is so already.  Else this run reads it, or goes on where an
-- earlier reading stopped, or waits for the run that is reading it now.
CREATE FUNCTION sync.xorosoft_crawl_ensure(connection text, run_id bigint, what text, max_age interval) RETURNS boolean
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	job_kind constant text := CASE what WHEN 'items' THEN 'xorosoft_page' ELSE 'xorosoft_stock_page' END;
	resume_within constant interval := sync.setting_value(connection, 'mirror_max_age');
	crawl record;
	last record;
	last_full timestamptz;
	id bigint;
BEGIN
	PERFORM pg_advisory_xact_lock(hashtextextended('product_sync.crawl ' || what || ' ' || connection, 0));
	SELECT c.finished_at, c.watermark INTO last FROM sync.xorosoft_crawl c
	WHERE c.connection = xorosoft_crawl_ensure.connection AND c.what = xorosoft_crawl_ensure.what AND c.complete
	ORDER BY c.id DESC LIMIT 1;
	IF last.finished_at > clock_timestamp() - max_age THEN
		RETURN true;
	END IF;

	SELECT c.* INTO crawl FROM sync.xorosoft_crawl c
	WHERE c.connection = xorosoft_crawl_ensure.connection AND c.what = xorosoft_crawl_ensure.what AND c.finished_at IS NULL
	ORDER BY c.id DESC LIMIT 1 FOR UPDATE;
	IF FOUND AND sync.xorosoft_crawl_runs(crawl.id, job_kind, xorosoft_crawl_ensure.run_id) THEN
		PERFORM sync.job_enqueue(job_kind, xorosoft_crawl_ensure.run_id, jsonb_build_object('crawl_id', crawl.id, 'wait', true));
		RETURN false;
	ELSIF FOUND AND crawl.started_at > clock_timestamp() - resume_within THEN
		UPDATE sync.xorosoft_crawl c SET run_id = xorosoft_crawl_ensure.run_id, next_page = 1 WHERE c.id = crawl.id;
		UPDATE sync.run_phase p SET done = p.done + (SELECT coalesce(sum(upper(r) - lower(r)), 0) FROM unnest(crawl.pages) r)
		FROM sync.run r WHERE r.id = xorosoft_crawl_ensure.run_id AND r.kind = 'xorosoft' AND p.run_id = r.id AND p.ended_at IS NULL;
		PERFORM sync.xorosoft_crawl_continue(crawl.id);
		RETURN false;
	END IF;

	UPDATE sync.xorosoft_crawl c SET finished_at = clock_timestamp(), error = coalesce(c.error, 'given up: not finished in time')
	WHERE c.connection = xorosoft_crawl_ensure.connection AND c.what = xorosoft_crawl_ensure.what AND c.finished_at IS NULL;
	SELECT max(c.finished_at) INTO last_full FROM sync.xorosoft_crawl c
	WHERE c.connection = xorosoft_crawl_ensure.connection AND c.what = xorosoft_crawl_ensure.what AND c.complete AND c.mode = 'full';
	INSERT INTO sync.xorosoft_crawl (connection, run_id, what, mode, updated_since)
	SELECT xorosoft_crawl_ensure.connection, xorosoft_crawl_ensure.run_id, xorosoft_crawl_ensure.what,
		CASE WHEN d.delta THEN 'delta' ELSE 'full' END,
		CASE WHEN d.delta THEN last.watermark - sync.setting_value(xorosoft_crawl_ensure.connection, 'overlap')::interval END
	FROM (SELECT xorosoft_crawl_ensure.what = 'items' AND last.watermark IS NOT NULL AND last_full > clock_timestamp()
			- sync.setting_value(xorosoft_crawl_ensure.connection, 'mirror_full_every')::interval IS TRUE AS delta) d
	RETURNING xorosoft_crawl.id INTO id;
	PERFORM sync.xorosoft_crawl_continue(id);
	RETURN false;
END
$$;
COMMENT ON FUNCTION sync.xorosoft_crawl_ensure(text, bigint, text, interval) IS
'Makes sure that the mirror of items or stock is no older than max_age: true where it is; else enqueues in the run what brings it up to date.';

-- Whether another run has pages of a crawl in the queue.
CREATE FUNCTION sync.xorosoft_crawl_runs(crawl_id bigint, job_kind text, but_run bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	RETURN EXISTS (SELECT FROM sync.job j
				   WHERE j.kind = job_kind AND j.run_id IS DISTINCT FROM but_run AND j.payload ? 'page'
					 AND (j.payload ->> 'crawl_id')::bigint = xorosoft_crawl_runs.crawl_id);
END
$$;

-- Enqueues the next pages of a crawl: as many as may be under way at a time while the number of pages is known, else one.
CREATE FUNCTION sync.xorosoft_crawl_continue(crawl_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	ahead constant integer := 16;
	crawl sync.xorosoft_crawl;
	job_kind text;
	waiting integer[];
	page integer;
BEGIN
	SELECT * INTO crawl FROM sync.xorosoft_crawl c WHERE c.id = xorosoft_crawl_continue.crawl_id FOR UPDATE;
	job_kind := CASE crawl.what WHEN 'items' THEN 'xorosoft_page' ELSE 'xorosoft_stock_page' END;
	page := crawl.next_page;
	SELECT coalesce(array_agg((j.payload ->> 'page')::integer), '{}') INTO waiting FROM sync.job j
	WHERE j.kind = job_kind AND j.payload ? 'page' AND (j.payload ->> 'crawl_id')::bigint = crawl.id;
	WHILE cardinality(waiting) < ahead AND page <= coalesce(crawl.total_pages, page) LOOP
		IF NOT crawl.pages @> page AND NOT page = ANY (waiting) THEN
			PERFORM sync.job_enqueue(job_kind, crawl.run_id, jsonb_build_object('crawl_id', crawl.id, 'page', page),
									 format('%s/%s', crawl.id, page));
			waiting := waiting || page;
			page := page + 1;
			-- Whether there is a page after this one is not known.
			EXIT WHEN crawl.total_pages IS NULL;
		ELSE
			EXIT WHEN crawl.total_pages IS NULL AND page = ANY (waiting);
			page := page + 1;
		END IF;
	END LOOP;
	UPDATE sync.xorosoft_crawl c SET next_page = page WHERE c.id = crawl.id;
END
$$;

-- Ends a crawl all of whose pages were read: the watermark moves, and what a full one did not see is marked as gone.
CREATE FUNCTION sync.xorosoft_crawl_finish(crawl_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	crawl sync.xorosoft_crawl;
	missing bigint;
	known bigint;
BEGIN
	UPDATE sync.xorosoft_crawl c SET complete = true, finished_at = clock_timestamp(), error = NULL,
		watermark = CASE c.what WHEN 'items' THEN greatest(c.newest - (clock_timestamp() - c.started_at), CASE c.mode WHEN 'delta' THEN
			(SELECT p.watermark FROM sync.xorosoft_crawl p WHERE p.connection = c.connection AND p.what = 'items' AND p.complete
			 ORDER BY p.id DESC LIMIT 1) END) END
	WHERE c.id = xorosoft_crawl_finish.crawl_id RETURNING c.* INTO crawl;
	IF crawl.rejected > 0 THEN
		PERFORM sync.notify(crawl.run_id, 'warning', 'xorosoft_rejects',
							format('%s rows of Xorosoft could not be used; the first: %s', crawl.rejected, crawl.first_reject),
							jsonb_build_object('connection', crawl.connection, 'crawl_id', crawl.id));
	END IF;
	IF crawl.what = 'stock' THEN
		PERFORM sync.shops_compare_stock();
	END IF;
	IF crawl.mode <> 'full' OR crawl.gaps THEN
		RETURN;
	END IF;

	-- A row that was written since the crawl began is there, whatever the lists say: a look-up found it.
	EXECUTE format($sql$SELECT count(*) FILTER (WHERE x.crawl_id IS DISTINCT FROM $2 AND x.seen_at < $3), count(*)
					   FROM sync.%I x WHERE x.connection = $1 AND x.gone_since IS NULL$sql$, 'xorosoft_' || trim(TRAILING 's' FROM crawl.what))
		INTO missing, known USING crawl.connection, crawl.id, crawl.started_at;
	IF missing > known * sync.setting_value(crawl.connection, 'mirror_shrink_limit')::numeric THEN
		PERFORM sync.notify(crawl.run_id, 'warning', 'xorosoft_shrunk',
			format('Xorosoft no longer lists %s of %s rows of %s; none was marked as gone. A key that lost a permission looks like this.',
				   missing, known, crawl.what),
			jsonb_build_object('connection', crawl.connection, 'crawl_id', crawl.id, 'missing', missing, 'known', known));
		RETURN;
	END IF;
	EXECUTE format($sql$UPDATE sync.%I x SET gone_since = now()
					   WHERE x.connection = $1 AND x.gone_since IS NULL AND x.crawl_id IS DISTINCT FROM $2 AND x.seen_at < $3$sql$,
				   'xorosoft_' || trim(TRAILING 's' FROM crawl.what))
		USING crawl.connection, crawl.id, crawl.started_at;
END
$$;

-- Pages ------------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.request_xorosoft_page(job_ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE sql SET search_path = '' AS $$ SELECT * FROM sync.xorosoft_page_requests(job_ids) $$;

CREATE FUNCTION sync.request_xorosoft_stock_page(job_ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE sql SET search_path = '' AS $$ SELECT * FROM sync.xorosoft_page_requests(job_ids) $$;

-- A job either asks for a page, or waits for a crawl of another run ("wait" in its payload).
CREATE FUNCTION sync.xorosoft_page_requests(job_ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	part record;
	waiter record;
BEGIN
	-- The connection's limits are locked before runs are, as where answers are handled.
	FOR part IN
		SELECT c.connection, array_agg(j.id ORDER BY j.id) AS ids, array_agg(
			sync.xorosoft_request(c.connection, sync.setting_value(c.connection, CASE c.what WHEN 'items' THEN 'item_path' ELSE 'stock_path' END),
				jsonb_build_object('page', j.payload -> 'page', 'per_page', sync.setting_value(c.connection, 'page_size'),
					'updated_at_min', to_char(c.updated_since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS')))
			ORDER BY j.id) AS requests
		FROM sync.job j JOIN sync.xorosoft_crawl c ON c.id = (j.payload ->> 'crawl_id')::bigint
		WHERE j.id = ANY (job_ids) AND j.payload ? 'page' AND c.finished_at IS NULL AND NOT c.pages @> (j.payload ->> 'page')::integer
		GROUP BY c.connection ORDER BY c.connection
	LOOP
		RETURN QUERY SELECT s.job_id, s.request FROM sync.rate_schedule(part.connection, part.ids, part.requests) s;
	END LOOP;

	FOR waiter IN
		SELECT j.id, j.run_id, j.kind, c.id AS crawl_id, c.connection, c.what, c.complete, c.finished_at, r.kind AS run_kind
		FROM sync.job j JOIN sync.xorosoft_crawl c ON c.id = (j.payload ->> 'crawl_id')::bigint LEFT JOIN sync.run r ON r.id = j.run_id
		WHERE j.id = ANY (job_ids) AND j.payload ? 'wait'
	LOOP
		job_id := waiter.id;
		request := NULL;
		IF waiter.finished_at IS NULL AND sync.xorosoft_crawl_runs(waiter.crawl_id, waiter.kind, waiter.run_id) THEN
			request := '{"op": "defer", "retry_in": 5}';
		ELSIF waiter.complete OR sync.xorosoft_crawl_ensure(waiter.connection, waiter.run_id, waiter.what, '0') THEN
			PERFORM sync.validation_enqueue(waiter.run_id) WHERE waiter.run_kind = 'etilize' AND waiter.what = 'items';
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;

CREATE FUNCTION sync.response_xorosoft_page(job_ids bigint[], results jsonb[], bodies bytea[])
RETURNS TABLE (job_id bigint, outcome text, retry_in interval, error jsonb, counts jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	FOR i IN 1 .. cardinality(job_ids) LOOP
		RETURN QUERY SELECT job_ids[i], p.* FROM sync.xorosoft_page_response(job_ids[i], results[i], bodies[i]) p;
	END LOOP;
END
$$;

CREATE FUNCTION sync.response_xorosoft_stock_page(job_ids bigint[], results jsonb[], bodies bytea[])
RETURNS TABLE (job_id bigint, outcome text, retry_in interval, error jsonb, counts jsonb)
LANGUAGE sql SET search_path = '' AS $$ SELECT * FROM sync.response_xorosoft_page(job_ids, results, bodies) $$;

-- One page's answer: what becomes of the job, and the page into the mirror where the answer is to be believed.
CREATE FUNCTION sync.xorosoft_page_response(job_id bigint, result jsonb, body bytea,
	OUT outcome text, OUT retry_in interval, OUT error jsonb, OUT counts jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	job record;
	crawl sync.xorosoft_crawl;
	answer record;
	written record;
	page integer;
	total integer;
	retries integer;
	tries integer;
	wait interval;
BEGIN
	SELECT j.payload, j.attempt INTO job FROM sync.job j WHERE j.id = xorosoft_page_response.job_id;
	SELECT * INTO crawl FROM sync.xorosoft_crawl c WHERE c.id = (job.payload ->> 'crawl_id')::bigint;
	page := (job.payload ->> 'page')::integer;
	counts := '{}';
	IF crawl.finished_at IS NOT NULL OR crawl.pages @> page OR crawl.id IS NULL THEN
		outcome := 'done';
		RETURN;
	END IF;
	SELECT * INTO answer FROM sync.xorosoft_verdict(result, body);
	wait := sync.breaker_told(crawl.connection, xorosoft_page_response.job_id, sync.xorosoft_sign(answer.verdict, result), answer.error);
	-- Rows speak for themselves; only what has none needs to be understood.
	written := sync.xorosoft_page_write(crawl.id, CASE WHEN (result ->> 'ok')::boolean THEN body END);
	IF written.row_count > 0 THEN
		outcome := 'done';
		counts := sync.xorosoft_page_take(crawl.id, page, written);
		RETURN;
	END IF;
	error := answer.error;
	total := coalesce(answer.total_pages, crawl.total_pages);
	retries := sync.setting_value(crawl.connection, 'empty_page_retries');
	tries := coalesce((job.payload ->> 'empty')::integer, 0);

	IF answer.verdict = 'throttled' THEN
		outcome := 'defer';
		retry_in := sync.xorosoft_back_off(crawl.connection, xorosoft_page_response.job_id, job.payload, result);
	ELSIF answer.verdict = 'retry' THEN
		outcome := CASE WHEN wait IS NULL THEN 'retry' ELSE 'defer' END;
		retry_in := wait;
	ELSIF answer.verdict IN ('fail', 'absent') THEN
		outcome := 'fail';
		UPDATE sync.xorosoft_crawl c SET error = answer.error ->> 'message' WHERE c.id = crawl.id;
	ELSIF answer.verdict IN ('empty', 'refused') AND NOT (answer.verdict = 'empty' AND answer.total_pages = 0 AND crawl.mode = 'delta') THEN
		-- Result false without rows means throttled as often as it means nothing there, and pages come up empty under load.
		IF tries < retries THEN
			outcome := 'defer';
			retry_in := make_interval(secs => 2 ^ tries);
			UPDATE sync.job j SET payload = j.payload || jsonb_build_object('empty', tries + 1) WHERE j.id = xorosoft_page_response.job_id;
			IF answer.verdict = 'refused' THEN
				PERFORM sync.rate_pause(crawl.connection, 2 ^ tries);
			END IF;
		ELSIF answer.verdict = 'refused' AND page <= total THEN
			outcome := 'retry';
			error := error || jsonb_build_object('message', format('Xorosoft refuses page %s of %s', page, total));
		ELSIF page = 1 AND crawl.mode = 'full' THEN
			outcome := 'retry';
			error := jsonb_build_object('class', 'validation', 'message', format('Xorosoft lists no %s at all', crawl.what), 'hint',
				'A key without permission for the module sees an empty list. Disable the connection if there is nothing to mirror.');
		END IF;
	END IF;
	IF outcome IS NOT NULL THEN
		RETURN;
	END IF;

	outcome := 'done';
	error := NULL;
	written.total_pages := answer.total_pages;
	counts := sync.xorosoft_page_take(crawl.id, page, written);
END
$$;

-- The rows of a good answer into the mirror, those of items or of stock; no rows from any other answer.
CREATE FUNCTION sync.xorosoft_page_write(crawl_id bigint, body bytea) RETURNS record
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	crawl record;
	written record;
BEGIN
	SELECT c.connection, c.what, c.mode INTO crawl FROM sync.xorosoft_crawl c WHERE c.id = xorosoft_page_write.crawl_id;
	IF crawl.what = 'items' THEN
		SELECT w.row_count, w.total_pages, w.written, w.rejected, w.first_reject, w.newest INTO written
		FROM sync.xorosoft_items_write(crawl.connection, crawl_id, crawl.mode = 'full', ARRAY[body]) w;
	ELSE
		SELECT w.row_count, w.total_pages, w.written, w.rejected, w.first_reject, NULL::timestamptz AS newest INTO written
		FROM sync.xorosoft_stock_write(crawl.connection, crawl_id, ARRAY[body]) w;
	END IF;
	RETURN written;
END
$$;

-- A page was read and is believed: notes it, and does what follows from it: more pages, or the end of the crawl.  Returns counts.
CREATE FUNCTION sync.xorosoft_page_take(crawl_id bigint, page integer, written record) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	crawl sync.xorosoft_crawl;
	read_now sync.xorosoft_crawl;
	full_page integer;
	total integer := written.total_pages;
	run_kind text;
	counts jsonb;
BEGIN
	-- Locked from here: pages are read side by side, but enter the crawl one after the other.
	SELECT * INTO crawl FROM sync.xorosoft_crawl c WHERE c.id = xorosoft_page_take.crawl_id FOR UPDATE;
	IF crawl.finished_at IS NOT NULL THEN
		RETURN '{}';
	END IF;
	full_page := least(100, sync.setting_value(crawl.connection, 'page_size')::integer);
	IF total = 0 AND written.row_count > 0 THEN
		total := NULL;
	END IF;
	-- Without TotalPages the last page is the one that is not full.
	IF coalesce(total, crawl.total_pages) IS NULL AND written.row_count < full_page THEN
		total := page;
	END IF;
	UPDATE sync.xorosoft_crawl c SET pages = c.pages + int4multirange(int4range(page, page + 1)),
		total_pages = coalesce(total, c.total_pages), items = c.items + written.row_count, rejected = c.rejected + written.rejected,
		first_reject = coalesce(c.first_reject, format('page %s, ', page) || written.first_reject),
		newest = greatest(c.newest, written.newest), gaps = c.gaps OR coalesce(written.row_count = 0 AND page < coalesce(total, c.total_pages), false)
	WHERE c.id = crawl.id RETURNING c.* INTO read_now;
	counts := jsonb_build_object('pages', 1, 'rows', written.row_count, 'changed', written.written, 'rejected', written.rejected);

	SELECT r.kind INTO run_kind FROM sync.run r WHERE r.id = read_now.run_id;
	IF run_kind = 'xorosoft' THEN
		counts := counts || '{"done": 1}';
		PERFORM FROM sync.run r WHERE r.id = read_now.run_id FOR NO KEY UPDATE;
		UPDATE sync.run_phase p SET total = (SELECT sum(coalesce(c.total_pages, c.next_page)) FROM sync.xorosoft_crawl c
											 WHERE c.run_id = read_now.run_id AND (c.finished_at IS NULL OR c.complete))
		WHERE p.run_id = read_now.run_id AND p.ended_at IS NULL
		  AND (p.total IS NULL OR crawl.total_pages IS DISTINCT FROM read_now.total_pages);
	END IF;
	IF read_now.pages @> int4range(1, read_now.total_pages + 1) THEN
		PERFORM sync.xorosoft_crawl_finish(crawl.id);
		PERFORM sync.validation_enqueue(read_now.run_id) WHERE run_kind = 'etilize' AND crawl.what = 'items';
	ELSE
		PERFORM sync.xorosoft_crawl_continue(crawl.id);
	END IF;
	RETURN counts;
END
$$;

-- Throttled: nothing more is sent to the connection for a while, longer each time that this job meets it.
CREATE FUNCTION sync.xorosoft_back_off(connection text, job_id bigint, payload jsonb, result jsonb) RETURNS interval
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	times integer := coalesce((payload ->> 'throttled')::integer, 0);
	seconds float8 := greatest((result ->> 'retry_after')::float8, least(60, 2 ^ least(times, 6)));
BEGIN
	UPDATE sync.job j SET payload = j.payload || jsonb_build_object('throttled', times + 1) WHERE j.id = xorosoft_back_off.job_id;
	PERFORM sync.rate_pause(connection, seconds);
	RETURN make_interval(secs => seconds * (1 + random() / 4));
END
$$;

-- A page that cannot be had ends the reading, not what was read: the next run goes on from there.
CREATE FUNCTION sync.failed_xorosoft_page(job_id bigint, error jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	UPDATE sync.xorosoft_crawl c SET error = failed_xorosoft_page.error ->> 'message'
	FROM sync.job j WHERE j.id = job_id AND c.id = (j.payload ->> 'crawl_id')::bigint AND c.finished_at IS NULL;
END
$$;

CREATE FUNCTION sync.failed_xorosoft_stock_page(job_id bigint, error jsonb) RETURNS void
LANGUAGE sql SET search_path = '' AS $$ SELECT sync.failed_xorosoft_page(job_id, error) $$;
