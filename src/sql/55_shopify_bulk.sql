-- The whole shop by a bulk operation: start, wait, download, load, put together.
--
-- Shopify writes all products with their variants, stock, media and metafields into one file, a JSON line an object, in which children
-- name their parent.  The lines go to a table, and several jobs put products together from them, each a range of products: it takes its
-- lines away in the transaction that writes the mirror, so what is still there is what is still to be done.  The table is unlogged; after a
-- crash the file is loaded again.  A result is a snapshot only if the operation says COMPLETED and all that it counted was loaded: what a
-- failed one left behind (partialDataUrl) is never looked at.

CREATE FUNCTION sync.install_part_55_shopify_bulk() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('bulk_max_bytes', '17179869184', 'bytes', 'Shopify: largest result of a bulk operation that is downloaded.'),
		('bulk_batch_products', '2000', 'count', 'Shopify: products that one job puts together from a bulk operation''s result.')
	ON CONFLICT (name) DO NOTHING;
	INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, run_state, description) VALUES
		('shopify_bulk_start', true, 2, 4, 6, 'downloading', 'Starts a bulk operation that reads the whole shop'),
		('shopify_bulk_poll', true, 2, 4, 12, 'downloading', 'Looks whether a bulk operation is done'),
		('shopify_bulk_get', true, 2, 4, 6, 'downloading', 'Downloads a bulk operation''s result into the spool folder'),
		('shopify_bulk_load', false, 2, 1, 3, 'downloading', 'A bulk operation''s result into sync.shopify_bulk_line'),
		('shopify_bulk_assemble', false, 2, 1, 5, 'downloading', 'A range of a bulk operation''s products into the mirror')
	ON CONFLICT (kind) DO NOTHING;
END
$$;

-- What a full reading has to do next.
CREATE FUNCTION sync.shopify_bulk_continue(crawl_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	crawl sync.shopify_crawl;
	payload jsonb;
BEGIN
	SELECT * INTO crawl FROM sync.shopify_crawl c WHERE c.id = shopify_bulk_continue.crawl_id;
	payload := jsonb_build_object('connection', crawl.connection, 'crawl_id', crawl.id);
	IF crawl.bulk_id IS NULL THEN
		PERFORM sync.job_enqueue('shopify_bulk_start', crawl.run_id, payload);
	ELSIF crawl.file IS NULL OR sync.spool_size(crawl.file) IS DISTINCT FROM crawl.file_bytes THEN
		PERFORM sync.job_enqueue('shopify_bulk_poll', crawl.run_id, payload, run_at => clock_timestamp() + interval '0.1 seconds');
	ELSIF crawl.read_at IS NULL THEN
		PERFORM sync.job_enqueue('shopify_bulk_load', crawl.run_id, payload);
	ELSE
		PERFORM sync.shopify_bulk_ranges(crawl.id);
	END IF;
END
$$;

-- Not all was put together: the lines were lost by a crash, or the result was.  Then once more from the file; NULL where that is under way.
CREATE FUNCTION sync.shopify_bulk_reload(crawl_id bigint) RETURNS text
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	crawl sync.shopify_crawl;
BEGIN
	SELECT * INTO crawl FROM sync.shopify_crawl c WHERE c.id = shopify_bulk_reload.crawl_id;
	IF crawl.loads >= 3 THEN
		UPDATE sync.shopify_crawl c SET finished_at = clock_timestamp(), error = 'given up' WHERE c.id = crawl.id;
		RETURN coalesce(crawl.error, format('the bulk operation of "%s" gave %s of %s products', crawl.connection, crawl.products, crawl.expected));
	END IF;
	UPDATE sync.shopify_crawl c SET read_at = NULL, loads = c.loads + 1 WHERE c.id = crawl.id;
	PERFORM sync.shopify_bulk_continue(crawl.id);
	RETURN NULL;
END
$$;

-- Start --------------------------------------------------------------------------------------------------------------------------

-- At most five lists, two deep below the first.
CREATE FUNCTION sync.shopify_bulk_query() RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT '{ products { edges { node { id handle title descriptionHtml vendor productType tags status updatedAt seo { title description }'
		|| ' media { edges { node { id alt mediaContentType ... on MediaImage { image { url } } } } }'
		|| ' metafields { edges { node { id namespace key type value } } }'
		|| ' variants { edges { node { id sku barcode price compareAtPrice position inventoryPolicy selectedOptions { name value }'
		|| ' inventoryItem { id tracked unitCost { amount currencyCode } measurement { weight { unit value } }'
		|| ' inventoryLevels { edges { node { id location { id } quantities(names: ["available"]) { name quantity updatedAt } } } } } } } } } } } }'
$$;

CREATE FUNCTION sync.request_shopify_bulk_start(job_ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	target record;
BEGIN
	FOR target IN
		SELECT j.id, c.connection, j.attempt > 1 AND NOT j.payload ? 'looked' AS look
		FROM sync.job j JOIN sync.shopify_crawl c ON c.id = (j.payload ->> 'crawl_id')::bigint
		WHERE j.id = ANY (job_ids) AND c.finished_at IS NULL AND c.bulk_id IS NULL
	LOOP
		-- One that was started, though its answer was lost, is not started again: few may run at a time.
		RETURN QUERY SELECT s.job_id, s.request FROM sync.shopify_schedule(target.connection, ARRAY[target.id], ARRAY[CASE WHEN target.look
			THEN sync.shopify_request(target.connection,
				'{ bulkOperations(first: 10, sortKey: CREATED_AT, reverse: true) { nodes { id status createdAt query } } }')
			ELSE sync.shopify_request(target.connection, 'mutation($query: String!) { bulkOperationRunQuery(query: $query, groupObjects: false)'
				|| ' { bulkOperation { id status createdAt } userErrors { code field message } } }',
				jsonb_build_object('query', sync.shopify_bulk_query())) END], ARRAY[sync.shopify_cost('bulk')]) s;
	END LOOP;
END
$$;

CREATE FUNCTION sync.response_shopify_bulk_start(job_ids bigint[], results jsonb[], bodies bytea[])
RETURNS TABLE (job_id bigint, outcome text, retry_in interval, error jsonb, counts jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	crawl sync.shopify_crawl;
	answer record;
	refused record;
	operation jsonb;
BEGIN
	FOR i IN 1 .. cardinality(job_ids) LOOP
		job_id := job_ids[i];
		SELECT c.* INTO crawl FROM sync.job j JOIN sync.shopify_crawl c ON c.id = (j.payload ->> 'crawl_id')::bigint WHERE j.id = job_ids[i];
		answer := sync.shopify_answer(crawl.connection, job_ids[i], results[i], bodies[i]);
		outcome := answer.outcome;
		retry_in := answer.retry_in;
		error := answer.error;
		counts := '{}';
		IF outcome IS NULL THEN
			operation := CASE WHEN answer.data ? 'bulkOperations' THEN sync.shopify_bulk_lost(crawl.id, answer.data -> 'bulkOperations')
							  ELSE answer.data #> '{bulkOperationRunQuery,bulkOperation}' END;
			SELECT u.verdict, u.error INTO refused FROM sync.shopify_user_error(answer.data -> 'bulkOperationRunQuery') u;
			IF FOUND AND refused.verdict IS NOT NULL THEN
				-- As many run as may: our own of an earlier run, or another app's.
				outcome := CASE refused.verdict WHEN 'throttled' THEN 'defer' WHEN 'retry' THEN 'retry' ELSE 'fail' END;
				retry_in := CASE refused.verdict WHEN 'throttled' THEN make_interval(secs => 5 + 5 * random()) END;
				error := refused.error;
			ELSIF answer.data ? 'bulkOperations' AND operation IS NULL THEN
				outcome := 'defer';
				retry_in := interval '0';
				UPDATE sync.job j SET payload = j.payload || '{"looked": true}' WHERE j.id = job_ids[i];
			ELSIF sync.shopify_number(operation ->> 'id') IS NULL THEN
				outcome := 'retry';
				error := '{"class": "validation", "message": "Shopify did not say which bulk operation it started"}';
			ELSE
				outcome := 'done';
				-- What changes after this moment is read by the next delta.
				UPDATE sync.shopify_crawl c SET bulk_id = sync.shopify_number(operation ->> 'id'), file = NULL, read_at = NULL,
					newest = coalesce(sync.shopify_time(operation ->> 'createdAt'), c.started_at)
				WHERE c.id = crawl.id;
				PERFORM sync.shopify_bulk_continue(crawl.id);
			END IF;
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;

-- The operation that a reading started without learning its number, among the shop's newest; NULL where there is none.
CREATE FUNCTION sync.shopify_bulk_lost(crawl_id bigint, list jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
	SELECT n FROM unnest(sync.shopify_list(list)) n JOIN sync.shopify_crawl c ON c.id = shopify_bulk_lost.crawl_id
	WHERE regexp_replace(n ->> 'query', '\s', '', 'g') = regexp_replace(sync.shopify_bulk_query(), '\s', '', 'g')
	  AND n ->> 'status' IN ('CREATED', 'RUNNING', 'COMPLETED') AND sync.shopify_time(n ->> 'createdAt') >= date_trunc('second', c.started_at)
	  AND NOT EXISTS (SELECT FROM sync.shopify_crawl o WHERE o.connection = c.connection AND o.bulk_id = sync.shopify_number(n ->> 'id'))
	ORDER BY n ->> 'createdAt' DESC LIMIT 1
$$;

-- Wait ---------------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.request_shopify_bulk_poll(job_ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	target record;
BEGIN
	FOR target IN
		SELECT j.id, c.connection, c.bulk_id FROM sync.job j JOIN sync.shopify_crawl c ON c.id = (j.payload ->> 'crawl_id')::bigint
		WHERE j.id = ANY (job_ids) AND c.finished_at IS NULL AND c.bulk_id IS NOT NULL
	LOOP
		RETURN QUERY SELECT s.job_id, s.request FROM sync.shopify_schedule(target.connection, ARRAY[target.id], ARRAY[sync.shopify_request(
			target.connection,
			'query($id: ID!) { bulkOperation(id: $id) { id status errorCode objectCount rootObjectCount fileSize url createdAt completedAt } }',
			jsonb_build_object('id', sync.shopify_gid('BulkOperation', target.bulk_id)))], ARRAY[1]) s;
	END LOOP;
END
$$;

CREATE FUNCTION sync.response_shopify_bulk_poll(job_ids bigint[], results jsonb[], bodies bytea[])
RETURNS TABLE (job_id bigint, outcome text, retry_in interval, error jsonb, counts jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	crawl sync.shopify_crawl;
	answer record;
	looks integer;
BEGIN
	FOR i IN 1 .. cardinality(job_ids) LOOP
		job_id := job_ids[i];
		SELECT c.* INTO crawl FROM sync.job j JOIN sync.shopify_crawl c ON c.id = (j.payload ->> 'crawl_id')::bigint WHERE j.id = job_ids[i];
		answer := sync.shopify_answer(crawl.connection, job_ids[i], results[i], bodies[i]);
		outcome := answer.outcome;
		retry_in := answer.retry_in;
		error := answer.error;
		counts := '{}';
		IF outcome IS NULL AND answer.data #>> '{bulkOperation,status}' IN ('CREATED', 'RUNNING', 'CANCELING') THEN
			-- Soon at first, since small shops are done at once; then every half minute.
			UPDATE sync.job j SET payload = j.payload || jsonb_build_object('looks', coalesce((j.payload ->> 'looks')::integer, 0) + 1)
			WHERE j.id = job_ids[i] RETURNING (j.payload ->> 'looks')::integer INTO looks;
			outcome := 'defer';
			retry_in := make_interval(secs => least(30, 0.25 * 1.2 ^ least(looks, 30)));
			UPDATE sync.run_phase p SET message = format('Shopify has gathered %s objects', answer.data #>> '{bulkOperation,objectCount}')
			WHERE p.run_id = crawl.run_id AND p.ended_at IS NULL;
		ELSIF outcome IS NULL THEN
			SELECT e.outcome, e.error INTO outcome, error FROM sync.shopify_bulk_ended(crawl.id, answer.data -> 'bulkOperation') e;
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;

-- A bulk operation that is over: its result is fetched, or another one is started in its place.
CREATE FUNCTION sync.shopify_bulk_ended(crawl_id bigint, operation jsonb, OUT outcome text, OUT error jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	objects bigint := CASE WHEN operation ->> 'objectCount' ~ '^[0-9]{1,15}$' THEN (operation ->> 'objectCount')::bigint END;
	roots bigint := CASE WHEN operation ->> 'rootObjectCount' ~ '^[0-9]{1,15}$' THEN (operation ->> 'rootObjectCount')::bigint END;
	address text := operation ->> 'url';
	crawl sync.shopify_crawl;
	base text;
BEGIN
	SELECT * INTO crawl FROM sync.shopify_crawl c WHERE c.id = shopify_bulk_ended.crawl_id;
	base := (SELECT c.base_url FROM sync.connection c WHERE c.name = crawl.connection);
	outcome := 'done';
	IF operation ->> 'status' = 'COMPLETED' AND roots IS NOT NULL AND objects IS NOT NULL AND (address IS NOT NULL OR objects = 0) THEN
		UPDATE sync.shopify_crawl c SET expected = roots, products = 0, rejected = 0, unusable = '{}', read_at = CASE WHEN address IS NULL THEN clock_timestamp() END
		WHERE c.id = crawl.id;
		UPDATE sync.run_phase p SET total = roots, done = 0, message = NULL WHERE p.run_id = crawl.run_id AND p.ended_at IS NULL;
		IF address IS NULL THEN
			RETURN;
		ELSIF address !~ '^https?://[^/@[:space:]]+/' OR (base LIKE 'https:%' AND address LIKE 'http:%') THEN
			outcome := 'fail';
			error := '{"class": "validation", "message": "the address of the bulk operation''s result is not one that is used"}';
			RETURN;
		END IF;
		-- The address is signed: it is in the job that uses it, and goes with it.
		PERFORM sync.job_enqueue('shopify_bulk_get', crawl.run_id, jsonb_strip_nulls(jsonb_build_object('connection', crawl.connection,
			'crawl_id', crawl.id, 'url', address, 'objects', objects, 'size', operation -> 'fileSize')));
		RETURN;
	END IF;
	error := jsonb_strip_nulls(jsonb_build_object('class', 'network', 'message', format('the bulk operation of "%s" ended as %s', crawl.connection,
		concat_ws(', ', coalesce(operation ->> 'status', 'unknown'), operation ->> 'errorCode')), 'bulk_id', crawl.bulk_id));
	IF operation ->> 'errorCode' = 'ACCESS_DENIED' THEN
		PERFORM sync.shopify_pause(crawl.connection, (error ->> 'message') || ': the app lacks a scope, see docs/shopify.md', error);
	END IF;
	UPDATE sync.shopify_crawl c SET bulk_id = NULL, file = NULL, loads = c.loads + 1, error = shopify_bulk_ended.error ->> 'message'
	WHERE c.id = crawl.id;
	IF crawl.loads >= 2 THEN
		outcome := 'fail';
		UPDATE sync.shopify_crawl c SET finished_at = clock_timestamp() WHERE c.id = crawl.id;
	ELSE
		PERFORM sync.shopify_bulk_continue(crawl.id);
		error := NULL;
	END IF;
END
$$;

-- Download -----------------------------------------------------------------------------------------------------------------------

-- From another host: no token goes there, and it has a breaker of its own.
CREATE FUNCTION sync.request_shopify_bulk_get(job_ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	target record;
	gate record;
BEGIN
	FOR target IN
		SELECT j.id, j.payload, c.id AS crawl_id, c.connection FROM sync.job j JOIN sync.shopify_crawl c ON c.id = (j.payload ->> 'crawl_id')::bigint
		WHERE j.id = ANY (job_ids) AND c.finished_at IS NULL AND j.payload ? 'url' ORDER BY c.connection, j.id
	LOOP
		gate := sync.breaker_gate(target.connection, ARRAY[target.id], 'files');
		job_id := target.id;
		request := CASE WHEN gate.allowed = '{}' THEN jsonb_build_object('op', 'defer', 'retry_in', extract(epoch FROM gate.wait))
			ELSE jsonb_build_object('op', 'http', 'method', 'GET', 'url', target.payload ->> 'url', 'file', format('shopify-%s.jsonl', target.crawl_id),
				'max_bytes', sync.setting_value(target.connection, 'bulk_max_bytes')::bigint, 'connect_timeout_ms', 15000,
				'timeout_ms', 6 * 3600 * 1000, 'low_speed_seconds', 60) END;
		RETURN NEXT;
	END LOOP;
END
$$;

CREATE FUNCTION sync.response_shopify_bulk_get(job_ids bigint[], results jsonb[], bodies bytea[])
RETURNS TABLE (job_id bigint, outcome text, retry_in interval, error jsonb, counts jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	job record;
	name text;
	bytes bigint;
	wait interval;
BEGIN
	FOR i IN 1 .. cardinality(job_ids) LOOP
		job_id := job_ids[i];
		SELECT j.payload, j.run_id, (j.payload ->> 'crawl_id')::bigint AS crawl_id, j.payload ->> 'connection' AS connection INTO job
		FROM sync.job j WHERE j.id = job_ids[i];
		wait := sync.breaker_told(job.connection, job_id, CASE WHEN (results[i] ->> 'ok')::boolean OR results[i] ->> 'status' ~ '^4' THEN 'up'
			WHEN results[i] ->> 'class' = 'network' AND coalesce((results[i] ->> 'bytes')::bigint, 0) = 0 THEN 'down' END,
			jsonb_build_object('class', 'network', 'message', results[i] ->> 'message'), 'files');
		name := format('shopify-%s.jsonl', job.crawl_id);
		outcome := 'done';
		retry_in := NULL;
		error := NULL;
		counts := '{}';
		IF (results[i] ->> 'ok')::boolean THEN
			bytes := sync.spool_size(name);
			IF bytes::text = coalesce(job.payload ->> 'size', bytes::text) THEN
				UPDATE sync.shopify_crawl c SET file = name, file_bytes = bytes WHERE c.id = job.crawl_id;
				PERFORM sync.job_enqueue('shopify_bulk_load', job.run_id, job.payload - 'url' - 'size');
				counts := jsonb_build_object('bytes', bytes);
			ELSE
				outcome := 'retry';
				error := jsonb_build_object('class', 'network', 'message',
					format('the bulk operation''s result has %s bytes, not %s', bytes, job.payload ->> 'size'));
			END IF;
		ELSIF results[i] ->> 'class' = 'permanent' AND results[i] ->> 'status' ~ '^4' THEN
			-- The address is good for some days only; another look gives a new one.
			UPDATE sync.shopify_crawl c SET file = NULL, loads = c.loads + 1 WHERE c.id = job.crawl_id AND c.loads < 3;
			IF FOUND THEN
				PERFORM sync.shopify_bulk_continue(job.crawl_id);
			ELSE
				outcome := 'fail';
			END IF;
		ELSE
			outcome := CASE results[i] ->> 'class' WHEN 'permanent' THEN 'fail' WHEN 'api_limit' THEN 'defer' ELSE 'retry' END;
			retry_in := make_interval(secs => coalesce((results[i] ->> 'retry_after')::float8, CASE outcome WHEN 'defer' THEN 5 END));
		END IF;
		IF outcome <> 'done' AND error IS NULL THEN
			error := jsonb_build_object('class', coalesce(results[i] ->> 'class', 'network'), 'message',
				'the bulk operation''s result could not be downloaded: ' || coalesce(results[i] ->> 'message', 'no reason given'));
		END IF;
		IF outcome = 'retry' AND wait IS NOT NULL THEN
			outcome := 'defer';
			retry_in := greatest(wait, retry_in);
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;

-- Load and put together ------------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.work_shopify_bulk_load(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
	job record;
	loaded record;
BEGIN
	FOR job IN
		SELECT j.payload, c.* FROM sync.job j JOIN sync.shopify_crawl c ON c.id = (j.payload ->> 'crawl_id')::bigint
		WHERE j.id = ANY (job_ids) AND c.finished_at IS NULL AND c.read_at IS NULL
	LOOP
		DELETE FROM sync.shopify_bulk_line l WHERE l.crawl_id = job.id;
		SELECT * INTO loaded FROM sync.shopify_bulk_load(job.id, job.file) l;
		IF loaded.truncated OR loaded.products + loaded.rejected < job.expected OR loaded.lines < coalesce((job.payload ->> 'objects')::bigint, 0) THEN
			-- Not all of it is here: once more from Shopify.
			DELETE FROM sync.shopify_bulk_line l WHERE l.crawl_id = job.id;
			UPDATE sync.shopify_crawl c SET file = NULL, loads = c.loads + 1,
				error = format('%s of the bulk operation holds %s objects and %s products, not %s and %s',
				job.file, loaded.lines, loaded.products, job.payload ->> 'objects', job.expected)
			WHERE c.id = job.id;
			PERFORM sync.shopify_bulk_continue(job.id) WHERE job.loads < 2;
			CONTINUE;
		END IF;
		UPDATE sync.shopify_crawl c SET read_at = clock_timestamp(), expected = loaded.products, products = 0, rejected = loaded.rejected,
			first_reject = loaded.first_reject, unusable = '{}'
		WHERE c.id = job.id;
		PERFORM sync.shopify_bulk_ranges(job.id);
	END LOOP;
	RETURN '{}';
END
$$;
ALTER FUNCTION sync.work_shopify_bulk_load(bigint[]) OWNER TO sync_worker;

-- Enqueues the putting together of all products whose lines are there.
CREATE FUNCTION sync.shopify_bulk_ranges(crawl_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	crawl sync.shopify_crawl;
	size integer;
BEGIN
	SELECT * INTO crawl FROM sync.shopify_crawl c WHERE c.id = shopify_bulk_ranges.crawl_id;
	size := greatest(sync.setting_value(crawl.connection, 'bulk_batch_products')::integer, 1);
	ANALYZE sync.shopify_bulk_line;
	PERFORM sync.job_enqueue('shopify_bulk_assemble', crawl.run_id, jsonb_build_object('connection', crawl.connection, 'crawl_id', crawl.id,
			'from', r.from_id, 'to', r.to_id))
	FROM (SELECT min(o.owner_id) AS from_id, max(o.owner_id) AS to_id
		  FROM (SELECT l.owner_id, (row_number() OVER (ORDER BY l.owner_id) - 1) / size AS part
				-- Each has a line of its own: what belongs to none was rejected.
				FROM sync.shopify_bulk_line l WHERE l.crawl_id = crawl.id AND l.kind = 'product') o
		  GROUP BY o.part ORDER BY o.part) r;
END
$$;

CREATE FUNCTION sync.work_shopify_bulk_assemble(job_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET jit = off AS $$
DECLARE
	job record;
	counts jsonb := '{}';
BEGIN
	FOR job IN
		SELECT c.id AS crawl_id, (j.payload ->> 'from')::bigint AS from_id, (j.payload ->> 'to')::bigint AS to_id
		FROM sync.job j JOIN sync.shopify_crawl c ON c.id = (j.payload ->> 'crawl_id')::bigint
		WHERE j.id = ANY (job_ids) AND c.finished_at IS NULL ORDER BY j.id
	LOOP
		counts := sync.counts_add(counts, sync.shopify_bulk_range(job.crawl_id, job.from_id, job.to_id));
	END LOOP;
	RETURN counts;
END
$$;
ALTER FUNCTION sync.work_shopify_bulk_assemble(bigint[]) OWNER TO sync_worker;

-- A range of products from their lines into the mirror.
CREATE FUNCTION sync.shopify_bulk_range(crawl_id bigint, from_id bigint, to_id bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET jit = off SET plan_cache_mode = 'force_custom_plan' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
	crawl sync.shopify_crawl;
	part record;
	written record;
	currency text;
BEGIN
	SELECT * INTO crawl FROM sync.shopify_crawl c WHERE c.id = shopify_bulk_range.crawl_id;
	currency := (SELECT s.currency FROM sync.shopify_shop s WHERE s.connection = crawl.connection);
	WITH line AS (
		DELETE FROM sync.shopify_bulk_line l WHERE l.crawl_id = crawl.id AND l.owner_id BETWEEN from_id AND to_id
		RETURNING l.owner_id, l.line, l.kind, l.node),
	owner AS MATERIALIZED (
		SELECT l.owner_id, (array_agg(l.node) FILTER (WHERE l.kind = 'product'))[1] AS node,
			   array_agg(l.node ORDER BY l.line) FILTER (WHERE l.kind IN ('variant', 'level')) AS variants,
			   array_agg(l.node ORDER BY l.line) FILTER (WHERE l.kind = 'media') AS media,
			   array_agg(l.node ORDER BY l.line) FILTER (WHERE l.kind = 'metafield') AS metafields
		FROM line l GROUP BY l.owner_id),
	product AS MATERIALIZED (
		SELECT o.owner_id AS id, sync.shopify_time(o.node ->> 'updatedAt') AS at, d.document, d.variants, d.stock,
			   CASE WHEN sync.shopify_time(o.node ->> 'updatedAt') IS NULL THEN format('product %s has no time', o.owner_id) ELSE d.error END AS error
		FROM owner o CROSS JOIN LATERAL sync.shopify_document(o.node, coalesce(o.variants, '{}'), coalesce(o.media, '{}'),
			coalesce(o.metafields, '{}'), currency) d)
	SELECT count(*) AS n, count(p.error) AS rejected, min(p.error) AS first_reject, array_agg(p.id) FILTER (WHERE p.error IS NULL) AS ids,
		   array_agg(p.at) FILTER (WHERE p.error IS NULL) AS at, array_agg(p.document) FILTER (WHERE p.error IS NULL) AS documents,
		   array_agg(p.variants) FILTER (WHERE p.error IS NULL) AS variants, array_agg(p.stock) FILTER (WHERE p.error IS NULL) AS stocks,
		   array_agg(p.id) FILTER (WHERE p.error IS NOT NULL) AS unusable
	INTO part FROM product p;
	IF part.n = 0 THEN
		RETURN '{}';
	END IF;
	written := sync.shopify_mirror_write(crawl.connection, crawl.id, crawl.started_at, coalesce(part.ids, '{}'), part.at, part.documents,
										 part.variants, part.stocks);
	PERFORM sync.shopify_product_fetch(crawl.connection, u) FROM unnest(written.unsure) u;
	PERFORM sync.analyze_grown();
	UPDATE sync.shopify_crawl c SET products = c.products + part.n, changed = c.changed + written.changed, rejected = c.rejected + part.rejected,
		first_reject = coalesce(c.first_reject, part.first_reject), unusable = c.unusable || coalesce(part.unusable, '{}')
	WHERE c.id = crawl.id;
	RETURN jsonb_build_object('done', part.n, 'products', part.n, 'changed', written.changed, 'rejected', part.rejected);
END
$$;
