-- The jobs that read a shop: a page of what changed, one product, deletions by events.

-- When a job's request was sent: what the answer tells may be as old as that.
CREATE FUNCTION sync.shopify_asked_at(payload jsonb) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = '' AS $$ SELECT coalesce((payload ->> 'asked')::timestamptz, clock_timestamp()) $$;

-- Pages --------------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.shopify_page_enqueue(crawl_id bigint) RETURNS void
LANGUAGE sql SET search_path = '' AS $$
	SELECT sync.job_enqueue('shopify_page', c.run_id, jsonb_build_object('connection', c.connection, 'crawl_id', c.id, 'page', c.pages))
	FROM sync.shopify_crawl c WHERE c.id = shopify_page_enqueue.crawl_id
$$;

CREATE FUNCTION sync.request_shopify_page(job_ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	target record;
	l record;
BEGIN
	FOR target IN
		SELECT j.id, c AS crawl
		FROM sync.job j JOIN sync.shopify_crawl c ON c.id = (j.payload ->> 'crawl_id')::bigint
		WHERE j.id = ANY (job_ids) AND c.finished_at IS NULL AND c.read_at IS NULL AND c.pages = (j.payload ->> 'page')::bigint
	LOOP
		l := sync.shopify_lengths((target.crawl).connection);
		RETURN QUERY SELECT s.job_id, s.request FROM sync.shopify_schedule((target.crawl).connection, ARRAY[target.id],
			ARRAY[sync.shopify_request((target.crawl).connection,
				'query($first: Int!, $after: String, $query: String!, $variants: Int!, $media: Int!, $metafields: Int!, $levels: Int!)'
				|| ' { products(first: $first, after: $after, query: $query, sortKey: UPDATED_AT) { nodes { ' || sync.shopify_product_fields(false)
				|| ' } pageInfo { hasNextPage endCursor } } }',
				jsonb_build_object('first', (target.crawl).page_size, 'after', (target.crawl).cursor,
					'query', 'updated_at:>=''' || sync.shopify_time_text((target.crawl).updated_since) || '''',
					'variants', l.variants, 'media', l.media, 'metafields', l.metafields, 'levels', l.levels))],
			ARRAY[sync.shopify_cost('page', (target.crawl).page_size, l.variants, l.media, l.metafields, l.levels)],
			ARRAY['products'], ARRAY[concat_ws('/', (target.crawl).page_size, l.variants, l.media, l.metafields, l.levels)]) s;
	END LOOP;
END
$$;

CREATE FUNCTION sync.response_shopify_page(job_ids bigint[], results jsonb[], bodies bytea[])
RETURNS TABLE (job_id bigint, outcome text, retry_in interval, error jsonb, counts jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	FOR i IN 1 .. cardinality(job_ids) LOOP
		RETURN QUERY SELECT job_ids[i], p.* FROM sync.shopify_page_response(job_ids[i], results[i], bodies[i]) p;
	END LOOP;
END
$$;

CREATE FUNCTION sync.shopify_page_response(job_id bigint, result jsonb, body bytea,
	OUT outcome text, OUT retry_in interval, OUT error jsonb, OUT counts jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	job record;
	crawl sync.shopify_crawl;
	answer record;
BEGIN
	SELECT j.payload, j.attempt INTO job FROM sync.job j WHERE j.id = shopify_page_response.job_id;
	answer := sync.shopify_answer(job.payload ->> 'connection', shopify_page_response.job_id, result, body);
	SELECT * INTO crawl FROM sync.shopify_crawl c WHERE c.id = (job.payload ->> 'crawl_id')::bigint FOR UPDATE;
	outcome := answer.outcome;
	retry_in := answer.retry_in;
	error := answer.error;
	counts := '{}';
	IF crawl.finished_at IS NOT NULL OR crawl.read_at IS NOT NULL OR crawl.pages <> (job.payload ->> 'page')::bigint THEN
		-- Somebody else read it: an earlier holder of this job's lease.
		outcome := 'done';
	ELSIF crawl.page_size > 1 AND (answer.verdict = 'shrink' OR (answer.verdict = 'retry' AND job.attempt >= 2)) THEN
		-- Too dear, or too much for Shopify to gather in its ten seconds.
		UPDATE sync.shopify_crawl c SET page_size = greatest(c.page_size / 2, 1) WHERE c.id = crawl.id;
		outcome := CASE answer.verdict WHEN 'shrink' THEN 'defer' ELSE answer.outcome END;
		retry_in := coalesce(retry_in, CASE answer.verdict WHEN 'shrink' THEN interval '0' END);
	ELSIF outcome = 'fail' THEN
		UPDATE sync.shopify_crawl c SET error = answer.error ->> 'message' WHERE c.id = crawl.id;
	ELSIF outcome IS NULL THEN
		SELECT t.outcome, t.error, t.counts INTO outcome, error, counts
		FROM sync.shopify_page_take(crawl.id, sync.shopify_asked_at(job.payload), answer.data -> 'products') t;
	END IF;
END
$$;

-- A page that is to be believed: into the mirror, and what follows from it.
CREATE FUNCTION sync.shopify_page_take(crawl_id bigint, asked_at timestamptz, page jsonb,
	OUT outcome text, OUT error jsonb, OUT counts jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	chain_limit constant bigint := 25000;
	written record;
	more boolean := coalesce((page #> '{pageInfo,hasNextPage}')::text = 'true', false);
	next_cursor text := page #>> '{pageInfo,endCursor}';
	restart timestamptz;
	crawl sync.shopify_crawl;
BEGIN
	SELECT * INTO crawl FROM sync.shopify_crawl c WHERE c.id = shopify_page_take.crawl_id;
	IF jsonb_typeof(page -> 'nodes') IS DISTINCT FROM 'array' OR (more AND (next_cursor IS NULL OR next_cursor = crawl.cursor)) THEN
		outcome := 'retry';
		error := jsonb_build_object('class', 'validation', 'message',
			CASE WHEN more THEN 'Shopify''s list of products does not go on: its cursor stays the same' ELSE 'Shopify''s answer has no list of products' END);
		RETURN;
	END IF;
	written := sync.shopify_nodes_write(crawl.connection, crawl.id, asked_at, page -> 'nodes');
	UPDATE sync.shopify_crawl c SET pages = c.pages + 1, products = c.products + written.seen, changed = c.changed + written.changed,
		rejected = c.rejected + written.rejected, first_reject = coalesce(c.first_reject, written.first_reject), unusable = c.unusable || written.unusable,
		newest = greatest(c.newest, written.newest), cursor = next_cursor, chain = c.chain + written.seen,
		wanted = ARRAY(SELECT DISTINCT w FROM unnest(c.wanted || written.cut) w), read_at = CASE WHEN NOT more THEN clock_timestamp() END
	WHERE c.id = crawl.id RETURNING c.* INTO crawl;
	PERFORM sync.shopify_fetch(crawl.connection, w, NULL, crawl.run_id, crawl.id, NULL) FROM unnest(written.cut) w;
	IF more AND crawl.chain >= chain_limit THEN
		-- The list ends here, though there is more: a new one from a while before its last change.
		restart := least(crawl.newest, clock_timestamp()) - sync.setting_value(crawl.connection, 'overlap')::interval;
		IF restart > crawl.updated_since THEN
			UPDATE sync.shopify_crawl c SET updated_since = restart, cursor = NULL, chain = 0 WHERE c.id = crawl.id;
		ELSE
			outcome := 'fail';
			error := jsonb_build_object('class', 'validation', 'message',
				format('more than %s products of "%s" changed within setting overlap', chain_limit, crawl.connection),
				'hint', 'SELECT sync_run_shopify_down(''full'') reads them all.');
			RETURN;
		END IF;
	END IF;
	IF more THEN
		PERFORM sync.shopify_page_enqueue(crawl.id);
	END IF;
	outcome := 'done';
	counts := jsonb_build_object('pages', 1, 'done', written.seen, 'products', written.seen, 'changed', written.changed, 'rejected', written.rejected);
END
$$;

-- One product --------------------------------------------------------------------------------------------------------------------

-- Enqueues the reading of one product.  Within a run's reading each has its own job, for which the run waits.
CREATE FUNCTION sync.shopify_fetch(connection text, remote_id bigint, class integer, run_id bigint, crawl_id bigint, evidence text) RETURNS bigint
LANGUAGE sql SET search_path = '' AS $$
	SELECT sync.job_enqueue('shopify_product', run_id, jsonb_strip_nulls(jsonb_build_object('connection', connection, 'remote_id', remote_id,
			'crawl_id', crawl_id, 'evidence', evidence)),
		connection || '/' || remote_id || coalesce('/' || run_id, ''), class => class)
$$;

CREATE FUNCTION sync.shopify_product_fetch(connection text, remote_id bigint, class integer DEFAULT 1, evidence text DEFAULT NULL) RETURNS bigint
LANGUAGE sql SET search_path = '' AS $$ SELECT sync.shopify_fetch(connection, remote_id, class, NULL, NULL, evidence) $$;
COMMENT ON FUNCTION sync.shopify_product_fetch(text, bigint, integer, text) IS
'Enqueues the reading of one product of a shop, by Shopify''s number of it, into the mirror and from there into a merge. class: urgency, 1 before 2 before 3. evidence: what says that it may be gone (webhook, event), kept where it is. Asking again while it waits is doing it once. Returns the job''s id.';

CREATE FUNCTION sync.request_shopify_product(job_ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	part record;
BEGIN
	FOR part IN
		SELECT t.connection, array_agg(t.id ORDER BY t.id) AS ids, array_agg(t.request ORDER BY t.id) AS requests, array_agg(t.cost ORDER BY t.id) AS costs,
			   array_fill('product'::text, ARRAY[count(*)::integer]) AS operations, array_agg(t.shape ORDER BY t.id) AS shapes
		FROM (SELECT j.id, j.payload ->> 'connection' AS connection, r.request, r.cost, r.shape
			  FROM sync.job j CROSS JOIN LATERAL sync.shopify_product_query(j.payload) r WHERE j.id = ANY (job_ids)) t
		GROUP BY t.connection ORDER BY t.connection
	LOOP
		RETURN QUERY SELECT s.job_id, s.request FROM sync.shopify_schedule(part.connection, part.ids, part.requests, part.costs,
			part.operations, part.shapes) s;
	END LOOP;
END
$$;

-- The query of one product: all its lists, or what of them is still missing ("after" in the payload: the cursors of those).
CREATE FUNCTION sync.shopify_product_query(payload jsonb, OUT request jsonb, OUT cost numeric, OUT shape text)
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	shop text := payload ->> 'connection';
	after jsonb := payload -> 'after';
	known integer;
	variants integer;
	l record := sync.shopify_lengths(shop);
	levels integer := coalesce((payload ->> 'levels')::integer, l.levels);
	shrink integer := coalesce((payload ->> 'shrink')::integer, 1);
BEGIN
	IF NOT EXISTS (SELECT FROM sync.connection c WHERE c.name = shop) THEN
		request := '{}';
		cost := 1;
		RETURN;
	END IF;
	SELECT count(*) INTO known FROM sync.shopify_product m CROSS JOIN LATERAL jsonb_object_keys(m.variants) k
	WHERE m.connection = shop AND m.remote_id = (payload ->> 'remote_id')::bigint;
	-- A product alone may show all its variants at once; the longer the list, the dearer.
	variants := greatest(coalesce((payload ->> 'variants')::integer, least(greatest(100, known * 2), 2048)) / shrink, 1);
	request := sync.shopify_request(shop,
		'query($id: ID!, $variants: Int!, $variantsAfter: String, $withVariants: Boolean!, $media: Int!, $mediaAfter: String, $withMedia: Boolean!,'
		|| ' $metafields: Int!, $metafieldsAfter: String, $withMetafields: Boolean!, $levels: Int!) { product(id: $id) { '
		|| sync.shopify_product_fields(true) || ' } }',
		jsonb_build_object('id', sync.shopify_gid('Product', (payload ->> 'remote_id')::bigint), 'levels', levels,
			'variants', variants, 'variantsAfter', after -> 'variants', 'withVariants', after IS NULL OR after ? 'variants',
			'media', greatest(250 / shrink, 1), 'mediaAfter', after -> 'media', 'withMedia', after IS NULL OR after ? 'media',
			'metafields', greatest(250 / shrink, 1), 'metafieldsAfter', after -> 'metafields', 'withMetafields', after IS NULL OR after ? 'metafields'));
	cost := sync.shopify_cost('product', 1, variants, greatest(250 / shrink, 1), greatest(250 / shrink, 1), levels);
	shape := concat_ws('/', variants, levels, shrink, (SELECT string_agg(k, '+' ORDER BY k) FROM jsonb_object_keys(after) k));
END
$$;

CREATE FUNCTION sync.response_shopify_product(job_ids bigint[], results jsonb[], bodies bytea[])
RETURNS TABLE (job_id bigint, outcome text, retry_in interval, error jsonb, counts jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	-- Of several shops, in one order.
	PERFORM FROM sync.rate_limit l
	WHERE l.connection IN (SELECT j.payload ->> 'connection' FROM sync.job j WHERE j.id = ANY (job_ids)) ORDER BY l.connection FOR UPDATE;
	FOR i IN 1 .. cardinality(job_ids) LOOP
		RETURN QUERY SELECT job_ids[i], p.* FROM sync.shopify_product_response(job_ids[i], results[i], bodies[i]) p;
	END LOOP;
END
$$;

CREATE FUNCTION sync.shopify_product_response(job_id bigint, result jsonb, body bytea,
	OUT outcome text, OUT retry_in interval, OUT error jsonb, OUT counts jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	job record;
	answer record;
	product jsonb;
	more jsonb;
	written record;
	due bigint;
BEGIN
	SELECT j.payload, j.run_id, j.payload ->> 'connection' AS connection, (j.payload ->> 'remote_id')::bigint AS remote_id INTO job
	FROM sync.job j WHERE j.id = shopify_product_response.job_id;
	answer := sync.shopify_answer(job.connection, shopify_product_response.job_id, result, body);
	outcome := answer.outcome;
	retry_in := answer.retry_in;
	error := answer.error;
	counts := '{}';
	IF answer.verdict = 'shrink' AND coalesce((job.payload ->> 'shrink')::integer, 1) < 256 THEN
		PERFORM sync.shopify_product_again(shopify_product_response.job_id,
			jsonb_build_object('shrink', coalesce((job.payload ->> 'shrink')::integer, 1) * 2));
		outcome := 'defer';
		retry_in := interval '0';
	END IF;
	IF outcome IS NOT NULL THEN
		RETURN;
	END IF;
	product := answer.data -> 'product';
	outcome := 'done';
	IF product = 'null' THEN
		due := sync.shopify_gone(job.connection, ARRAY[job.remote_id], coalesce(job.payload ->> 'evidence', 'lookup'));
		counts := jsonb_build_object('gone', due);
	ELSIF sync.shopify_number(product ->> 'id') IS DISTINCT FROM job.remote_id OR sync.shopify_time(product ->> 'updatedAt') IS NULL THEN
		outcome := 'retry';
		error := jsonb_build_object('class', 'validation', 'message', format('Shopify''s answer is not product %s', job.remote_id));
		RETURN;
	ELSE
		more := sync.shopify_product_more(job.payload, product);
		IF more IS NOT NULL THEN
			PERFORM sync.shopify_product_again(shopify_product_response.job_id, more);
			outcome := 'defer';
			retry_in := interval '0';
			RETURN;
		END IF;
		product := sync.shopify_product_join(job.payload -> 'product', product);
		written := sync.shopify_nodes_write(job.connection, (job.payload ->> 'crawl_id')::bigint, sync.shopify_asked_at(job.payload),
			jsonb_build_array(product));
		IF written.rejected > 0 AND job.payload ? 'crawl_id' THEN
			-- As if a page had shown it whole: the others do not wait for it.
			UPDATE sync.shopify_crawl c SET rejected = c.rejected + 1, first_reject = coalesce(c.first_reject, written.first_reject),
				unusable = c.unusable || job.remote_id
			WHERE c.id = (job.payload ->> 'crawl_id')::bigint;
		ELSIF written.rejected > 0 THEN
			outcome := 'fail';
			error := jsonb_build_object('class', 'validation', 'message', 'it cannot be used: ' || written.first_reject);
			RETURN;
		END IF;
		due := written.changed;
		counts := jsonb_build_object('fetched', 1, 'changed', due, 'rejected', written.rejected);
	END IF;
	IF job.payload ? 'crawl_id' THEN
		UPDATE sync.shopify_crawl c SET wanted = array_remove(c.wanted, job.remote_id), changed = c.changed + due
		WHERE c.id = (job.payload ->> 'crawl_id')::bigint;
	ELSIF due > 0 THEN
		PERFORM sync.shopify_merge_wanted(job.connection);
	END IF;
END
$$;

-- Puts into a job's payload how it goes on.
CREATE FUNCTION sync.shopify_product_again(job_id bigint, changes jsonb) RETURNS void
LANGUAGE sql SET search_path = '' AS $$
	UPDATE sync.job j SET payload = (j.payload - 'product' - 'after') || changes WHERE j.id = job_id
$$;

-- How the reading of a product has to go on after this answer, as changes of the job's payload; NULL where it is whole.  A product that
-- changed between two parts is read anew.
CREATE FUNCTION sync.shopify_product_more(payload jsonb, product jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	held jsonb := payload -> 'product';
	cursors jsonb;
BEGIN
	IF held IS NOT NULL AND held -> 'updatedAt' IS DISTINCT FROM product -> 'updatedAt' THEN
		RETURN '{}';
	ELSIF sync.shopify_levels_cut(product) AND coalesce((payload ->> 'levels')::integer, 1) < 250 THEN
		RETURN jsonb_build_object('levels', least(250, 4 * coalesce((payload ->> 'levels')::integer,
			(SELECT l.levels FROM sync.shopify_lengths(payload ->> 'connection') l))));
	END IF;
	SELECT jsonb_object_agg(n.name, product -> n.name #> '{pageInfo,endCursor}') INTO cursors
	FROM unnest(ARRAY['variants', 'media', 'metafields']) AS n (name)
	WHERE product -> n.name #>> '{pageInfo,hasNextPage}' = 'true' AND product -> n.name #>> '{pageInfo,endCursor}' IS NOT NULL;
	IF cursors IS NULL THEN
		RETURN NULL;
	END IF;
	RETURN jsonb_build_object('product', sync.shopify_product_join(held, product), 'after', cursors);
END
$$;

-- A product with the lists of another part of it behind its own.
CREATE FUNCTION sync.shopify_product_join(held jsonb, product jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT CASE WHEN held IS NULL THEN product ELSE product || (
		SELECT jsonb_object_agg(n.name, jsonb_build_object('nodes',
			coalesce(held -> n.name -> 'nodes', '[]') || coalesce(product -> n.name -> 'nodes', '[]')))
		FROM unnest(ARRAY['variants', 'media', 'metafields']) AS n (name)) END
$$;

-- A product that cannot be read is told of: nobody waits for it.
CREATE FUNCTION sync.failed_shopify_product(job_id bigint, error jsonb) RETURNS void
LANGUAGE sql SET search_path = '' AS $$
	SELECT sync.notify(j.run_id, 'warning', 'shopify_product', format('Product %s of "%s" could not be read: %s', j.payload ->> 'remote_id',
		j.payload ->> 'connection', error ->> 'message'), error || jsonb_build_object('connection', j.payload ->> 'connection'))
	FROM sync.job j WHERE j.id = job_id
$$;

-- Events -------------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.request_shopify_events(job_ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	target record;
BEGIN
	FOR target IN
		SELECT j.id, j.payload, c.connection, coalesce(sync.shopify_time(j.payload ->> 'since'), c.events_since) AS since
		FROM sync.job j JOIN sync.shopify_crawl c ON c.id = (j.payload ->> 'crawl_id')::bigint
		WHERE j.id = ANY (job_ids) AND c.finished_at IS NULL AND c.events_since IS NOT NULL
	LOOP
		RETURN QUERY SELECT s.job_id, s.request FROM sync.shopify_schedule(target.connection, ARRAY[target.id], ARRAY[sync.shopify_request(
			target.connection,
			'query($first: Int!, $after: String, $query: String!) { events(first: $first, after: $after, query: $query, sortKey: CREATED_AT)'
			|| ' { nodes { id createdAt ... on BasicEvent { subjectId subjectType action } } pageInfo { hasNextPage endCursor } } }',
			jsonb_build_object('first', 250, 'after', target.payload -> 'after', 'query', format('subject_type:PRODUCT action:destroy created_at:>=''%s''',
				sync.shopify_time_text(target.since - sync.setting_value(target.connection, 'overlap')::interval))))],
			ARRAY[sync.shopify_cost('events', 250)], ARRAY['events'], ARRAY['250']) s;
	END LOOP;
END
$$;

CREATE FUNCTION sync.response_shopify_events(job_ids bigint[], results jsonb[], bodies bytea[])
RETURNS TABLE (job_id bigint, outcome text, retry_in interval, error jsonb, counts jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	job record;
	answer record;
	list jsonb;
	ids bigint[];
	newest timestamptz;
BEGIN
	FOR i IN 1 .. cardinality(job_ids) LOOP
		job_id := job_ids[i];
		SELECT j.payload, j.run_id, j.payload ->> 'connection' AS connection, (j.payload ->> 'crawl_id')::bigint AS crawl_id,
			   (SELECT c.events_since FROM sync.shopify_crawl c WHERE c.id = (j.payload ->> 'crawl_id')::bigint) AS since INTO job
		FROM sync.job j WHERE j.id = job_ids[i];
		answer := sync.shopify_answer(job.connection, job_ids[i], results[i], bodies[i]);
		outcome := answer.outcome;
		retry_in := answer.retry_in;
		error := answer.error;
		counts := '{}';
		IF outcome IS NULL THEN
			list := answer.data -> 'events';
			SELECT array_agg(DISTINCT m.remote_id), max(e.at) INTO ids, newest
			FROM (SELECT sync.shopify_number(v.value ->> 'subjectId') AS id, sync.shopify_time(v.value ->> 'createdAt') AS at, v.value
				  FROM jsonb_array_elements(CASE WHEN jsonb_typeof(list -> 'nodes') = 'array' THEN list -> 'nodes' ELSE '[]' END) v) e
			LEFT JOIN sync.shopify_product m ON m.connection = job.connection AND m.remote_id = e.id AND m.gone_since IS NULL
				AND e.value ->> 'subjectId' LIKE 'gid://shopify/Product/%';
			ids := array_remove(coalesce(ids, '{}'), NULL);
			UPDATE sync.shopify_crawl c SET wanted = ARRAY(SELECT DISTINCT w FROM unnest(c.wanted || ids) w),
				events_since = greatest(c.events_since, least(newest, clock_timestamp()))
			WHERE c.id = job.crawl_id;
			-- An event is a hint: a look-up decides.
			PERFORM sync.shopify_fetch(job.connection, w, NULL, job.run_id, job.crawl_id, 'event') FROM unnest(ids) w;
			outcome := 'done';
			IF list #>> '{pageInfo,hasNextPage}' = 'true' AND list #> '{pageInfo,endCursor}' IS DISTINCT FROM job.payload -> 'after' THEN
				outcome := 'defer';
				retry_in := interval '0';
				-- The same question for each page, though the events that were seen move on.
				UPDATE sync.job j SET payload = j.payload || jsonb_build_object('after', list #> '{pageInfo,endCursor}',
					'since', coalesce(j.payload ->> 'since', sync.shopify_time_text(job.since)))
				WHERE j.id = job_ids[i];
			END IF;
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;
