-- Reading a shop: its changes by pages, single products, deletions by its events, all into the mirror.  The whole shop is read by a bulk
-- operation (55_shopify_bulk.sql).
--
-- A crawl reads pages in the order of updatedAt, one after the other by cursor: the next page's job is enqueued in the transaction that
-- wrote the page, so a reading that was cut off goes on at its cursor.  The watermark moves when all of it was read, also the products
-- that a page cut short; the next reading begins a while before it, since Shopify's search runs behind and several products share a second.
-- That something is gone is believed only if a look-up of it says so, or a whole reading without an error.

CREATE FUNCTION sync.install_part_54_shopify_pull() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('shopify_page_size', '100', 'count', 'Shopify: products asked for in a page, at most 250; fewer where that would cost too many points.'),
		('shopify_full_every', '7 days', 'interval', 'Shopify: the whole shop is read, not only what changed, when the last time is longer ago.'),
		('shopify_bulk_above', '10000', 'count', 'Shopify: when more products than this changed, the whole shop is read by a bulk operation instead.'),
		('shopify_resume_within', '12 hours', 'interval', 'Shopify: a reading that was cut off goes on where it stopped, unless it began longer ago.'),
		('webhook_debounce', '2 seconds', 'interval', 'How long products that webhooks told of are gathered before they are compared with the catalogue.')
	ON CONFLICT (name) DO NOTHING;
	INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, run_state, description) VALUES
		('shopify_shop', true, 2, 4, 6, 'downloading', 'A shop''s currency and locations, and how much changed in it'),
		('shopify_page', true, 2, 4, 8, 'downloading', 'A page of a shop''s changed products into the mirror'),
		('shopify_events', true, 2, 4, 6, 'downloading', 'Deletions that a shop''s events tell of, each looked up'),
		('shopify_product', true, 2, 32, 8, NULL, 'One product of a shop into the mirror'),
		('shopify_merge_start', false, 2, 16, 10, NULL, 'Starts a run that compares what webhooks brought with the catalogue')
	ON CONFLICT (kind) DO NOTHING;
	INSERT INTO sync.run_transition (from_state, to_state, meaning) VALUES
		('idle', 'downloading', 'a run that reads a shop'),
		('downloading', 'matching', 'the shop was read')
	ON CONFLICT DO NOTHING;
END
$$;

-- The run ------------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION @extschema@.sync_run_shopify_down(mode text DEFAULT 'auto', connection text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
	shop text;
BEGIN
	IF mode IS NULL OR mode NOT IN ('auto', 'delta', 'full') THEN
		RAISE EXCEPTION 'there is no mode "%"', mode
			USING ERRCODE = 'invalid_parameter_value', HINT = 'The modes are auto, delta and full.';
	END IF;
	shop := coalesce(connection, sync.connection_of('shopify'));
	PERFORM sync.paused_check(shop);
	RETURN sync.run_start('shopify_down', shop, 'manual', jsonb_build_object('mode', mode));
END
$$;
ALTER FUNCTION @extschema@.sync_run_shopify_down(text, text) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_run_shopify_down(text, text) TO sync_operator;
COMMENT ON FUNCTION @extschema@.sync_run_shopify_down(text, text) IS
'Starts a run that reads a shop and merges what changed into the catalogue: read, link, merge, review. mode: delta (what changed since the last reading), full (the whole shop, by a bulk operation) or auto (whichever is due). connection: which shop, when there is more than one. Returns the run''s id at once, or that of the run that is active. Errors: 22023 another mode, 55000 no enabled connection, or it is paused, 42P08 more than one and none named.';

-- What follows when a run of kind shopify_down leaves a phase.
CREATE FUNCTION sync.shopify_leave_idle(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	run sync.run;
BEGIN
	SELECT * INTO run FROM sync.run r WHERE r.id = run_id;
	PERFORM sync.run_move(run_id, 'downloading');
	IF run.context ->> 'mode' IS DISTINCT FROM 'pending' THEN
		PERFORM sync.job_enqueue('shopify_shop', run_id, jsonb_build_object('connection', run.connection));
	END IF;
END
$$;

CREATE FUNCTION sync.shopify_leave_downloading(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	run sync.run;
	message text;
BEGIN
	SELECT * INTO run FROM sync.run r WHERE r.id = run_id;
	IF run.context ->> 'mode' IS DISTINCT FROM 'pending' THEN
		message := sync.shopify_crawl_end((run.context ->> 'crawl_id')::bigint, run_id);
		IF EXISTS (SELECT FROM sync.job j WHERE j.run_id = shopify_leave_downloading.run_id) THEN
			RETURN;
		ELSIF message IS NOT NULL THEN
			PERFORM sync.run_fail(run_id, jsonb_build_object('class', 'network', 'message', message), true);
			RETURN;
		END IF;
	END IF;
	IF (run.context ->> 'crawl_id') IN (SELECT c.id::text FROM sync.shopify_crawl c WHERE c.changed > 1000) THEN
		ANALYZE sync.shopify_product (connection, remote_id, merge_due);
	END IF;
	PERFORM sync.run_move(run_id, 'matching');
	PERFORM sync.shopify_match_begin(run_id);
END
$$;

-- The merge of what is due; a run that would change too much is held before that.
CREATE FUNCTION sync.shopify_leave_matching(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	hold text;
	older bigint;
	told boolean := false;
BEGIN
	IF NOT sync.shopify_match_leave(run_id) THEN
		RETURN;
	END IF;
	PERFORM sync.run_move(run_id, 'staging_creation');
	hold := sync.shopify_merge_begin(run_id);
	IF hold IS NULL THEN
		RETURN;
	END IF;
	-- What was read is in the mirror: let through, the run merges it without reading again.
	UPDATE sync.run r SET held_reason = hold, context = r.context || '{"mode": "pending"}' WHERE r.id = run_id;
	PERFORM sync.run_move(run_id, 'held', hold);
	FOR older IN
		SELECT o.id FROM sync.run o JOIN sync.run r ON r.connection = o.connection AND r.id = run_id
		WHERE o.kind = 'shopify_down' AND o.state = 'held' AND o.id < run_id
	LOOP
		PERFORM sync.run_move(older, 'cancelled', format('run %s is held in its place', run_id));
		told := true;
	END LOOP;
	IF NOT told THEN
		PERFORM sync.notify(run_id, 'warning', 'run_held',
			format('Run %s is held: %s. SELECT sync_retry(%s) lets it through, sync_cancel(%s) does not.', run_id, hold, run_id, run_id));
	END IF;
END
$$;

-- Merging without reading --------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.shopify_merge_wanted(connection text) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	PERFORM sync.job_enqueue('shopify_merge_start', NULL, jsonb_build_object('connection', connection), connection,
		now() + sync.setting_value(connection, 'webhook_debounce')::interval);
END
$$;
COMMENT ON FUNCTION sync.shopify_merge_wanted(text) IS
'Something in the mirror of a shop is due: a run merges it, once setting webhook_debounce has passed and no other run of the shop is active.';

CREATE FUNCTION sync.work_shopify_merge_start(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	shop text;
	wait interval;
BEGIN
	FOR shop IN
		SELECT DISTINCT c.name FROM sync.job j JOIN sync.connection c ON c.name = j.payload ->> 'connection' AND c.enabled
		WHERE j.id = ANY (job_ids)
	LOOP
		PERFORM sync.conflicts_due(shop);
		PERFORM sync.link_rejections(shop);
		CONTINUE WHEN NOT EXISTS (SELECT FROM sync.shopify_product m WHERE m.connection = shop AND m.merge_due);
		IF EXISTS (SELECT FROM sync.run r WHERE r.connection = shop AND r.kind = 'shopify_down' AND r.active) THEN
			-- It may be past its merge.
			wait := greatest(sync.setting_value(shop, 'webhook_debounce')::interval, interval '1 second');
			PERFORM sync.job_enqueue('shopify_merge_start', NULL, jsonb_build_object('connection', shop), shop, clock_timestamp() + wait);
		ELSE
			PERFORM sync.run_start('shopify_down', shop, 'webhook', '{"mode": "pending"}');
		END IF;
	END LOOP;
	RETURN '{}';
END
$$;

-- Queries ------------------------------------------------------------------------------------------------------------------------

-- The fields of a product that are mirrored, for a query with variables; paged: its lists go on after cursors.
CREATE FUNCTION sync.shopify_product_fields(paged boolean) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT 'id handle title descriptionHtml vendor productType tags status updatedAt seo { title description }'
		|| ' media(first: $media' || CASE WHEN paged THEN ', after: $mediaAfter) @include(if: $withMedia)' ELSE ')' END
		|| ' { nodes { id alt mediaContentType ... on MediaImage { image { url } } } pageInfo { hasNextPage endCursor } }'
		|| ' metafields(first: $metafields' || CASE WHEN paged THEN ', after: $metafieldsAfter) @include(if: $withMetafields)' ELSE ')' END
		|| ' { nodes { id namespace key type value } pageInfo { hasNextPage endCursor } }'
		|| ' variants(first: $variants' || CASE WHEN paged THEN ', after: $variantsAfter) @include(if: $withVariants)' ELSE ')' END
		|| ' { nodes { id sku barcode price compareAtPrice position inventoryPolicy selectedOptions { name value }'
		|| ' inventoryItem { id tracked unitCost { amount currencyCode } measurement { weight { unit value } }'
		|| ' inventoryLevels(first: $levels) { nodes { id location { id } quantities(names: ["available"]) { name quantity updatedAt } }'
		|| ' pageInfo { hasNextPage } } } } pageInfo { hasNextPage endCursor } }'
$$;

CREATE FUNCTION sync.shopify_time_text(at timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$ SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') $$;

CREATE FUNCTION sync.shopify_gid(what text, number bigint) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$ SELECT 'gid://shopify/' || what || '/' || number $$;

-- The number of a gid; NULL where it is none.
CREATE FUNCTION sync.shopify_number(gid text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS
$$ SELECT substring(gid FROM '^gid://shopify/[A-Za-z]+/([0-9]{1,18})(?:\?.*)?$')::bigint $$;

-- A time of Shopify's; NULL where it is none.
CREATE FUNCTION sync.shopify_time(value text) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE SET search_path = '' AS $$
BEGIN
	IF value ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:?[0-9]{2})$' THEN
		RETURN value::timestamptz;
	END IF;
	RETURN NULL;
EXCEPTION WHEN data_exception THEN
	RETURN NULL;
END
$$;

-- How long the lists of a product are in a page: most products fit, what is cut short is read by itself.
CREATE FUNCTION sync.shopify_lengths(connection text, OUT variants integer, OUT media integer, OUT metafields integer, OUT levels integer)
LANGUAGE sql STABLE SET search_path = '' AS $$
	SELECT 20, 20, 25, least(count(*) + 1, 50)::integer
	FROM sync.shopify_location l WHERE l.connection = shopify_lengths.connection AND l.active
$$;

-- The shop -----------------------------------------------------------------------------------------------------------------------

-- In a run, which then begins its reading, or by itself (49_cache.sql).
CREATE FUNCTION sync.request_shopify_shop(job_ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	target record;
	plan record;
	delta boolean;
	scopes text[];
	publications boolean;
BEGIN
	FOR target IN
		SELECT j.id, j.run_id, j.payload, j.payload ->> 'connection' AS connection FROM sync.job j
		JOIN sync.connection c ON c.name = j.payload ->> 'connection' WHERE j.id = ANY (job_ids) ORDER BY c.name, j.id
	LOOP
		plan := sync.shopify_crawl_plan(target.run_id);
		delta := coalesce(target.run_id IS NOT NULL AND plan.mode = 'delta' AND plan.crawl_id IS NULL, false);
		SELECT s.scopes INTO scopes FROM sync.shopify_shop s WHERE s.connection = target.connection;
		-- Where the scopes are not known yet, it is tried, and once more without.
		publications := coalesce((target.payload ->> 'publications')::boolean, scopes && '{read_publications, write_publications}', true);
		RETURN QUERY SELECT s.job_id, s.request FROM sync.shopify_schedule(target.connection, ARRAY[target.id], ARRAY[sync.shopify_request(
			target.connection,
			'query($delta: Boolean!, $query: String, $publications: Boolean!) { shop { id currencyCode myshopifyDomain }'
			|| ' currentAppInstallation { accessScopes { handle } }'
			|| ' locations(first: 250, includeInactive: true, includeLegacy: true) { nodes { id name isActive } pageInfo { hasNextPage } }'
			|| ' publications(first: 250) @include(if: $publications) { nodes { id name } pageInfo { hasNextPage } }'
			|| ' productsCount(query: $query, limit: null) @include(if: $delta) { count precision } }',
			jsonb_build_object('delta', delta, 'publications', publications,
				'query', 'updated_at:>=''' || sync.shopify_time_text(plan.updated_since) || ''''))],
			ARRAY[sync.shopify_cost('shop', 250) + CASE WHEN publications THEN sync.shopify_list_cost(250, 0) ELSE 0 END],
			ARRAY['shop'], ARRAY[concat_ws('/', CASE WHEN delta THEN 'delta' END, CASE WHEN publications THEN 'publications' END)]) s;
	END LOOP;
END
$$;

-- Whether all that an answer complains of is that the app may not see this field: a scope that the reading can do without.
CREATE FUNCTION sync.shopify_denied(body bytea, field text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT coalesce((SELECT bool_and(e.value #>> '{extensions,code}' = 'ACCESS_DENIED' AND coalesce(e.value #>> '{path,0}' = field, false))
					 FROM jsonb_array_elements(CASE WHEN jsonb_typeof(a.answer -> 'errors') = 'array' THEN a.answer -> 'errors' ELSE '[]' END) e), false)
	FROM (SELECT sync.shopify_json(body) AS answer) a
$$;

CREATE FUNCTION sync.response_shopify_shop(job_ids bigint[], results jsonb[], bodies bytea[])
RETURNS TABLE (job_id bigint, outcome text, retry_in interval, error jsonb, counts jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	job record;
	answer record;
	missing text;
BEGIN
	-- Of several shops, in one order.
	PERFORM FROM sync.rate_limit l
	WHERE l.connection IN (SELECT j.payload ->> 'connection' FROM sync.job j WHERE j.id = ANY (job_ids)) ORDER BY l.connection FOR UPDATE;
	FOR i IN 1 .. cardinality(job_ids) LOOP
		job_id := job_ids[i];
		SELECT j.run_id, j.payload ->> 'connection' AS connection INTO job FROM sync.job j WHERE j.id = job_ids[i];
		counts := '{}';
		IF sync.shopify_denied(bodies[i], 'publications') THEN
			PERFORM sync.shopify_bucket_told(job.connection, job_id, sync.shopify_json(bodies[i]) #> '{extensions,cost}');
			PERFORM sync.breaker_told(job.connection, job_id, 'up');
			UPDATE sync.job j SET payload = j.payload || '{"publications": false}' WHERE j.id = job_ids[i];
			outcome := 'defer';
			retry_in := interval '0';
			error := NULL;
			RETURN NEXT;
			CONTINUE;
		END IF;
		answer := sync.shopify_answer(job.connection, job_ids[i], results[i], bodies[i]);
		outcome := answer.outcome;
		retry_in := answer.retry_in;
		error := answer.error;
		IF outcome IS NULL THEN
			missing := sync.shopify_shop_write(job.connection, answer.data);
			IF missing IS NULL THEN
				outcome := 'done';
				PERFORM sync.shopify_crawl_begin(job.run_id, CASE WHEN answer.data #>> '{productsCount,count}' ~ '^[0-9]{1,12}$'
															   THEN (answer.data #>> '{productsCount,count}')::bigint END)
				WHERE job.run_id IS NOT NULL;
			ELSE
				outcome := 'defer';
				retry_in := interval '1 minute';
				error := jsonb_build_object('class', 'validation', 'message', 'the app lacks the scope ' || missing,
					'hint', 'Give the app the scopes of docs/shopify.md, then sync_resume().');
				PERFORM sync.shopify_pause(job.connection, error ->> 'message', error);
			END IF;
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;

-- What is known of the shop as a whole; returns the scopes that are missing for reading it, or NULL.
CREATE FUNCTION sync.shopify_shop_write(connection text, data jsonb) RETURNS text
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	granted text[];
	places jsonb := CASE WHEN jsonb_typeof(data #> '{locations,nodes}') = 'array' THEN data #> '{locations,nodes}' ELSE '[]' END;
	channels jsonb := CASE WHEN jsonb_typeof(data #> '{publications,nodes}') = 'array' THEN data #> '{publications,nodes}' END;
BEGIN
	SELECT array_agg(s.value ->> 'handle' ORDER BY s.value ->> 'handle') INTO granted
	FROM jsonb_array_elements(CASE WHEN jsonb_typeof(data #> '{currentAppInstallation,accessScopes}') = 'array'
								   THEN data #> '{currentAppInstallation,accessScopes}' ELSE '[]' END) s;
	UPDATE sync.shopify_shop s SET shop_id = coalesce(sync.shopify_number(data #>> '{shop,id}'), s.shop_id),
		domain = coalesce(data #>> '{shop,myshopifyDomain}', s.domain),
		currency = coalesce(substring(data #>> '{shop,currencyCode}' FROM '^[A-Z]{3}$'), s.currency),
		scopes = coalesce(granted, s.scopes), checked_at = clock_timestamp()
	WHERE s.connection = shopify_shop_write.connection;
	INSERT INTO sync.shopify_location AS l (connection, remote_id, name, active)
	SELECT DISTINCT ON (p.id) shopify_shop_write.connection, p.id, coalesce(p.place ->> 'name', ''),
		   coalesce(p.place ->> 'isActive' <> 'false', true)
	FROM (SELECT sync.shopify_number(e.value ->> 'id') AS id, e.value AS place FROM jsonb_array_elements(places) e) p
	WHERE p.id IS NOT NULL ORDER BY p.id
	ON CONFLICT (connection, remote_id) DO UPDATE SET name = excluded.name, active = excluded.active, seen_at = now();
	IF NOT coalesce((data #> '{locations,pageInfo,hasNextPage}')::boolean, true) THEN
		UPDATE sync.shopify_location l SET active = false
		WHERE l.connection = shopify_shop_write.connection AND l.active AND l.seen_at < now();
	END IF;
	IF channels IS NOT NULL THEN
		INSERT INTO sync.shopify_publication AS p (connection, remote_id, name)
		SELECT DISTINCT ON (c.id) shopify_shop_write.connection, c.id, coalesce(c.channel ->> 'name', '')
		FROM (SELECT sync.shopify_number(e.value ->> 'id') AS id, e.value AS channel FROM jsonb_array_elements(channels) e) c
		WHERE c.id IS NOT NULL ORDER BY c.id
		ON CONFLICT (connection, remote_id) DO UPDATE SET name = excluded.name, seen_at = now();
	END IF;
	-- What is no longer listed is gone; without the scope nothing is known of them any more.
	DELETE FROM sync.shopify_publication p
	WHERE p.connection = shopify_shop_write.connection AND p.seen_at < now()
	  AND (channels IS NULL OR NOT coalesce((data #> '{publications,pageInfo,hasNextPage}')::boolean, true));
	RETURN (SELECT string_agg('read_' || n.what, ', ' ORDER BY n.what)
			FROM unnest(ARRAY['inventory', 'locations', 'products']) AS n (what)
			WHERE granted IS NOT NULL AND NOT granted && ARRAY['read_' || n.what, 'write_' || n.what]);
END
$$;

-- Crawls -------------------------------------------------------------------------------------------------------------------------

-- What a run is to read: the reading to go on with, or the mode and beginning of a new one.
CREATE FUNCTION sync.shopify_crawl_plan(run_id bigint, OUT crawl_id bigint, OUT mode text, OUT updated_since timestamptz,
	OUT events_since timestamptz)
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	run sync.run;
	asked text;
	last record;
	last_full timestamptz;
BEGIN
	SELECT * INTO run FROM sync.run r WHERE r.id = shopify_crawl_plan.run_id;
	asked := coalesce(run.context ->> 'mode', 'auto');
	SELECT c.id, c.mode, c.updated_since INTO crawl_id, mode, updated_since FROM sync.shopify_crawl c
	WHERE c.connection = run.connection AND c.finished_at IS NULL AND asked IN ('auto', c.mode)
	  AND c.started_at > clock_timestamp() - sync.setting_value(run.connection, 'shopify_resume_within')::interval
	ORDER BY c.id DESC LIMIT 1;
	IF FOUND THEN
		RETURN;
	END IF;
	SELECT c.watermark, c.events_since INTO last FROM sync.shopify_crawl c
	WHERE c.connection = run.connection AND c.complete AND c.watermark IS NOT NULL ORDER BY c.id DESC LIMIT 1;
	SELECT max(c.finished_at) INTO last_full FROM sync.shopify_crawl c WHERE c.connection = run.connection AND c.complete AND c.mode = 'full';
	mode := CASE WHEN last.watermark IS NULL OR asked = 'full' THEN 'full'
				 WHEN asked = 'delta' THEN 'delta'
				 WHEN last_full > clock_timestamp() - sync.setting_value(run.connection, 'shopify_full_every')::interval THEN 'delta'
				 ELSE 'full' END;
	IF mode = 'delta' THEN
		updated_since := last.watermark - sync.setting_value(run.connection, 'overlap')::interval;
		events_since := coalesce(last.events_since, last.watermark);
	END IF;
END
$$;

-- Begins a run's reading, or goes on with one that was cut off.  changed: how many products a new delta would read, where that is known.
CREATE FUNCTION sync.shopify_crawl_begin(run_id bigint, changed bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	run sync.run;
	plan record;
	crawl sync.shopify_crawl;
BEGIN
	SELECT * INTO run FROM sync.run r WHERE r.id = shopify_crawl_begin.run_id;
	plan := sync.shopify_crawl_plan(run_id);
	IF plan.crawl_id IS NOT NULL THEN
		UPDATE sync.shopify_crawl c SET run_id = run.id, error = NULL WHERE c.id = plan.crawl_id RETURNING c.* INTO crawl;
	ELSE
		UPDATE sync.shopify_crawl c SET finished_at = clock_timestamp(), error = coalesce(c.error, 'given up: not finished in time')
		WHERE c.connection = run.connection AND c.finished_at IS NULL;
		IF plan.mode = 'delta' AND coalesce(run.context ->> 'mode', 'auto') = 'auto'
		   AND changed > sync.setting_value(run.connection, 'shopify_bulk_above')::bigint THEN
			plan.mode := 'full';
			plan.updated_since := NULL;
		END IF;
		INSERT INTO sync.shopify_crawl (connection, run_id, mode, updated_since, events_since, page_size)
		VALUES (run.connection, run.id, plan.mode, plan.updated_since, plan.events_since, sync.shopify_page_size(run.connection))
		RETURNING * INTO crawl;
	END IF;
	PERFORM sync.run_context_set(run.id, jsonb_build_object('crawl_id', crawl.id));
	UPDATE sync.run_phase p SET unit = 'products', total = CASE WHEN crawl.mode = 'delta' THEN changed END
	WHERE p.run_id = run.id AND p.ended_at IS NULL;
	PERFORM sync.shopify_fetch(run.connection, w, NULL, run.id, crawl.id, NULL) FROM unnest(crawl.wanted) w;
	IF crawl.mode = 'full' THEN
		PERFORM sync.shopify_bulk_continue(crawl.id);
	ELSE
		IF crawl.read_at IS NULL THEN
			PERFORM sync.shopify_page_enqueue(crawl.id);
		END IF;
		PERFORM sync.job_enqueue('shopify_events', run.id, jsonb_build_object('connection', run.connection, 'crawl_id', crawl.id));
	END IF;
END
$$;

-- The longest page that costs no more than a query may.
CREATE FUNCTION sync.shopify_page_size(connection text) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	size integer := greatest(1, least(250, sync.setting_value(connection, 'shopify_page_size')::integer));
	most numeric := sync.setting_value(connection, 'points_per_query')::numeric;
	l record := sync.shopify_lengths(connection);
BEGIN
	WHILE size > 1 AND sync.shopify_cost('page', size, l.variants, l.media, l.metafields, l.levels) > most LOOP
		size := greatest(size * 3 / 4, 1);
	END LOOP;
	RETURN size;
END
$$;

-- Ends the reading of a run when all of it is there: then the watermark moves, and what a whole reading did not see is gone.  Returns why
-- it is not all there, or NULL; what is missing and can be had is enqueued.
CREATE FUNCTION sync.shopify_crawl_end(crawl_id bigint, run_id bigint) RETURNS text
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	crawl sync.shopify_crawl;
	previous timestamptz;
BEGIN
	SELECT * INTO crawl FROM sync.shopify_crawl c WHERE c.id = shopify_crawl_end.crawl_id FOR UPDATE;
	IF crawl.id IS NULL THEN
		RETURN 'the reading of the shop did not begin';
	ELSIF crawl.complete THEN
		RETURN NULL;
	ELSIF crawl.wanted <> '{}' THEN
		RETURN format('%s products could not be read', cardinality(crawl.wanted));
	ELSIF crawl.read_at IS NULL OR (crawl.mode = 'full' AND crawl.products < crawl.expected) THEN
		RETURN CASE WHEN crawl.mode = 'full' THEN sync.shopify_bulk_reload(crawl.id) ELSE 'the reading of the shop was cut off' END;
	END IF;
	SELECT c.watermark INTO previous FROM sync.shopify_crawl c
	WHERE c.connection = crawl.connection AND c.complete AND crawl.mode = 'delta' ORDER BY c.id DESC LIMIT 1;
	-- A date of the future would stop every later reading of changes.
	UPDATE sync.shopify_crawl c SET complete = true, finished_at = clock_timestamp(), error = NULL,
		watermark = greatest(previous, least(c.newest, c.started_at)), events_since = coalesce(c.events_since, c.newest)
	WHERE c.id = crawl.id;
	IF crawl.rejected > 0 THEN
		PERFORM sync.notify(run_id, 'warning', 'shopify_rejects',
			format('%s products of "%s" could not be used; the first: %s', crawl.rejected, crawl.connection, crawl.first_reject),
			jsonb_build_object('connection', crawl.connection, 'crawl_id', crawl.id, 'products', crawl.unusable[1:100], 'hint',
				'They stay here as they were. Correct them in the shop, which has them read again; where nothing is wrong there, report it.'));
	END IF;
	IF crawl.mode = 'full' THEN
		PERFORM sync.shopify_full_gone(crawl.id, run_id);
		PERFORM sync.spool_remove(crawl.file);
	END IF;
	RETURN NULL;
END
$$;
