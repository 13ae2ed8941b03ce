-- Speaking to Shopify's Admin API (GraphQL): requests, tokens, what an answer means, and the cost bucket.
--
-- Each kind of job asks through sync.shopify_schedule(), which holds back what may not be sent now: the shop is paused or its breaker open
-- (49_breaker.sql), the token is being fetched, or the bucket has not enough points (48_rate.sql).  Each answer goes through
-- sync.shopify_answer(), which takes down what it tells of the shop and says what becomes of the job; the table of errors is
-- sync.shopify_error_rules(), and nowhere else.

CREATE FUNCTION sync.install_part_52_shopify_client() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('api_version', '2026-10', '', 'Shopify: version of the Admin API; an answer of another version is told of.'),
		('points_per_second', '100', 'per second', 'Shopify: points that come back in a second, until the shop''s first answer tells.'),
		('points_per_query', '1000', 'count', 'Shopify: most points that one query may cost; a page asks for less where it would cost more.')
	ON CONFLICT (name) DO NOTHING;
	INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, backoff_base, backoff_cap, description) VALUES
		('shopify_token', true, 1, 4, 6, '1 second', '1 minute', 'Shopify''s client-credentials grant: a token, kept outside SQL')
	ON CONFLICT (kind) DO NOTHING;
END
$$;

-- What each sign in an answer means.  source: http (status), graphql (extensions.code of an error), user (code of a userErrors entry),
-- search (a warning about a search).  verdict: throttled and retry (later; only retry costs an attempt), shrink (ask for less),
-- refresh_token, paused (nothing more is sent until a person looks), partial (what came is not to be believed), fail.
CREATE FUNCTION sync.shopify_error_rules() RETURNS TABLE (source text, signal text, verdict text, meaning text, action text)
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	VALUES
		('http', '401', 'refresh_token', 'the token is not valid, or no longer', 'a new token is fetched, once; then the shop is paused'),
		('http', '402', 'paused', 'the shop is frozen: its bill is not paid', 'pay it, then sync_resume()'),
		('http', '403', 'paused', 'the app may not do this', 'give the app the scopes of docs/shopify.md, then sync_resume()'),
		('http', '423', 'paused', 'the shop is locked', 'ask Shopify, then sync_resume()'),
		('http', '430', 'paused', 'Shopify takes the requests for an attack', 'ask Shopify, then sync_resume()'),
		('http', '429', 'throttled', 'too many requests', 'it waits as long as the answer says'),
		('http', '408', 'retry', 'Shopify did not get the request in time', 'it is tried again'),
		('http', '5xx', 'retry', 'Shopify failed', 'it is tried again'),
		('http', '4xx', 'fail', 'Shopify refused the request', 'check base_url and api_version; else report it'),
		('http', '3xx', 'fail', 'the shop points elsewhere, which is not followed', 'set base_url to the shop''s myshopify.com address'),
		('graphql', 'THROTTLED', 'throttled', 'not enough points in the bucket', 'it waits for (asked - available) / restore rate'),
		('graphql', 'INTERNAL_SERVER_ERROR', 'retry', 'Shopify failed', 'it is tried again'),
		('graphql', 'SERVICE_UNAVAILABLE', 'retry', 'Shopify failed', 'it is tried again'),
		('graphql', 'TIMEOUT', 'retry', 'Shopify took too long', 'it is tried again'),
		('graphql', 'MAX_COST_EXCEEDED', 'shrink', 'the query costs more than any may', 'a smaller page is asked for'),
		('graphql', 'ACCESS_DENIED', 'partial', 'a scope is missing; what it covers came as null', 'give the app the scope, then sync_resume()'),
		('graphql', 'SHOP_INACTIVE', 'paused', 'the shop is not active', 'reopen it, then sync_resume()'),
		('graphql', 'other', 'fail', 'Shopify does not understand the query', 'check api_version; else report it'),
		('user', 'OPERATION_IN_PROGRESS', 'throttled', 'as many bulk operations run as may', 'it waits for one to end'),
		('user', 'LIMIT_REACHED', 'throttled', 'as many bulk operations run as may', 'it waits for one to end'),
		('user', 'IDEMPOTENCY_CONCURRENT_REQUEST', 'throttled', 'the same request is under way', 'it waits, with the same key'),
		('user', 'SERVICE_UNAVAILABLE', 'retry', 'Shopify failed', 'it is tried again'),
		('user', 'CHANGE_FROM_QUANTITY_STALE', 'stale', 'the stock moved meanwhile', 'it is read and decided again'),
		('user', 'other', 'fail', 'Shopify refuses the values', 'see the message'),
		('search', 'any', 'fail', 'a search filter was ignored, so the answer may be all there is', 'check api_version; else report it')
$$;
COMMENT ON FUNCTION sync.shopify_error_rules() IS
'What each sign of an error in an answer of Shopify means, and what is done: source (http status, graphql code, userErrors code, search warning), signal, verdict, meaning, action.';

-- Requests -----------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.shopify_request(connection text, query text, variables jsonb DEFAULT '{}') RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	shop sync.connection;
BEGIN
	SELECT * INTO STRICT shop FROM sync.connection c WHERE c.name = shopify_request.connection;
	RETURN jsonb_build_object(
		'op', 'http', 'method', 'POST',
		'url', rtrim(shop.base_url, '/') || '/admin/api/' || sync.uri_component(sync.setting_value(shop.name, 'api_version')) || '/graphql.json',
		'headers', jsonb_build_object('Content-Type', 'application/json', 'Accept', 'application/json'),
		'secret_header', 'X-Shopify-Access-Token',
		'secret_ref', CASE WHEN shop.username IS NULL THEN shop.secret_ref ELSE 'token:' || shop.name END,
		'body', jsonb_build_object('query', query, 'variables', coalesce(variables, '{}'))::text,
		'want_headers', '["x-shopify-api-version", "x-request-id"]'::jsonb,
		'connect_timeout_ms', 15000,
		'timeout_ms', sync.interval_ms(sync.setting_value(shop.name, 'request_timeout')::interval),
		'max_bytes', 64 * 1024 * 1024);
END
$$;
COMMENT ON FUNCTION sync.shopify_request(text, text, jsonb) IS 'The request of a GraphQL query to a shop, for sync.shopify_schedule().';

-- The body of an answer as JSON; NULL where it is none.  What jsonb cannot hold (NUL, half of a surrogate pair) becomes U+FFFD.
CREATE FUNCTION sync.shopify_json(body bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = '' AS $$
DECLARE
	content text;
BEGIN
	content := convert_from(body, 'UTF8');
	BEGIN
		RETURN content::jsonb;
	EXCEPTION WHEN data_exception OR syntax_error OR statement_too_complex THEN
		IF content !~* '\\u(0000|d[89a-f])' THEN
			RETURN NULL;
		END IF;
	END;
	-- Of several backslashes in a row, two and two are one that is meant.
	content := regexp_replace(content, '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g');
	content := regexp_replace(content, '(?<!\\)((?:\\\\)*)\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])', '\1\\ufffd', 'g');
	content := regexp_replace(content, '(?<!\\u[dD][89abAB][0-9a-fA-F]{2})(?<!\\)((?:\\\\)*)\\u[dD][c-fC-F][0-9a-fA-F]{2}', '\1\\ufffd', 'g');
	RETURN content::jsonb;
EXCEPTION WHEN data_exception OR syntax_error OR statement_too_complex OR untranslatable_character OR character_not_in_repertoire THEN
	RETURN NULL;
END
$$;

-- What an answer means, by the table of errors; nothing is written.  verdict ok: data is to be believed.  wait: for throttled.  cost:
-- extensions.cost.  Of several errors the gravest counts.
CREATE FUNCTION sync.shopify_verdict(connection text, result jsonb, body bytea, OUT verdict text, OUT data jsonb, OUT error jsonb,
	OUT wait interval, OUT cost jsonb)
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	status integer := (result ->> 'status')::integer;
	answer jsonb := sync.shopify_json(body);
	found record;
	scopes text;
BEGIN
	answer := CASE WHEN jsonb_typeof(answer) = 'object' THEN answer ELSE '{}' END;
	cost := CASE WHEN jsonb_typeof(answer #> '{extensions,cost}') = 'object' THEN answer #> '{extensions,cost}' END;
	SELECT s.* INTO found FROM sync.shopify_signals(result, answer) s
	ORDER BY array_position(ARRAY['paused', 'refresh_token', 'partial', 'fail', 'shrink', 'throttled', 'retry'], s.verdict), s.signal LIMIT 1;
	verdict := coalesce(found.verdict, 'ok');
	IF verdict = 'ok' THEN
		data := answer -> 'data';
		RETURN;
	END IF;
	IF verdict = 'throttled' THEN
		wait := make_interval(secs => greatest((result ->> 'retry_after')::float8, sync.shopify_cost_wait(cost), 0.1));
	ELSIF found.signal = 'ACCESS_DENIED' THEN
		SELECT string_agg(DISTINCT coalesce(e.value #>> '{extensions,requiredAccess}', e.value #>> '{path}'), '; ') INTO scopes
		FROM jsonb_array_elements(answer -> 'errors') e;
	END IF;
	error := jsonb_strip_nulls(jsonb_build_object(
		'class', CASE verdict WHEN 'retry' THEN 'network' WHEN 'throttled' THEN 'api_limit' ELSE 'validation' END,
		'message', concat_ws(': ', 'Shopify' || coalesce(' answers ' || found.signal, ''), found.meaning, left(found.message, 1000)),
		'detail', scopes, 'hint', found.action, 'status', status, 'signal', found.signal,
		'request_id', coalesce(answer #>> '{errors,0,extensions,requestId}', result #>> '{headers,x-request-id}')));
END
$$;
COMMENT ON FUNCTION sync.shopify_verdict(text, jsonb, bytea) IS
'What an answer of Shopify means: ok, throttled, retry, shrink, refresh_token, paused, partial or fail, by sync.shopify_error_rules().';

-- The signs of an error in an answer, each with its rule.
CREATE FUNCTION sync.shopify_signals(result jsonb, answer jsonb)
RETURNS TABLE (source text, signal text, verdict text, meaning text, action text, message text)
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	status integer := (result ->> 'status')::integer;
	data_usable boolean := coalesce(jsonb_typeof(answer -> 'data') = 'object', false);
	error_list jsonb := CASE jsonb_typeof(answer -> 'errors') WHEN 'array' THEN answer -> 'errors'
		WHEN 'null' THEN '[]' WHEN 'string' THEN jsonb_build_array(jsonb_build_object('message', answer -> 'errors'))
		WHEN 'object' THEN jsonb_build_array(answer -> 'errors') ELSE '[]' END;
BEGIN
	IF status >= 300 THEN
		RETURN QUERY
			SELECT r.source, status::text, r.verdict, r.meaning, r.action, coalesce(error_list #>> '{0,message}', result ->> 'message')
			FROM sync.shopify_error_rules() r
			WHERE r.source = 'http' AND r.signal IN (status::text, left(status::text, 1) || 'xx')
			ORDER BY r.signal = status::text DESC LIMIT 1;
		RETURN;
	ELSIF NOT coalesce((result ->> 'ok')::boolean, false) THEN
		RETURN QUERY SELECT 'transport', NULL, CASE result ->> 'class' WHEN 'permanent' THEN 'fail' WHEN 'api_limit' THEN 'throttled' ELSE 'retry' END,
			'the request failed', NULL, result ->> 'message';
		RETURN;
	END IF;
	RETURN QUERY
		SELECT 'graphql', c.code, r.verdict, r.meaning, r.action, e.value ->> 'message'
		FROM jsonb_array_elements(error_list) e
		CROSS JOIN LATERAL (SELECT coalesce(e.value #>> '{extensions,code}', 'an error without a code') AS code) c
		CROSS JOIN LATERAL (
			SELECT o.* FROM sync.shopify_error_rules() o WHERE o.source = 'graphql' AND o.signal IN (c.code, 'other')
			ORDER BY o.signal = c.code DESC LIMIT 1) r;
	-- A filter that Shopify does not know is ignored: then a question for what changed is answered with the whole shop.
	RETURN QUERY
		SELECT 'search', 'a search warning', r.verdict, r.meaning, r.action, s.value ->> 'warnings'
		FROM jsonb_array_elements(CASE WHEN jsonb_typeof(answer #> '{extensions,search}') = 'array' THEN answer #> '{extensions,search}' ELSE '[]' END) s,
			sync.shopify_error_rules() r
		WHERE r.source = 'search' AND jsonb_typeof(s.value -> 'warnings') = 'array' AND s.value -> 'warnings' <> '[]';
	IF error_list = '[]' AND NOT data_usable THEN
		RETURN QUERY SELECT 'graphql', NULL, 'retry', 'its answer cannot be used', NULL,
			'a page in place of data may be a proxy, or a redirect to a login';
	END IF;
END
$$;

-- The gravest of the userErrors of a mutation's payload; no row where there are none.
CREATE FUNCTION sync.shopify_user_error(payload jsonb, OUT verdict text, OUT error jsonb)
LANGUAGE sql STABLE SET search_path = '' AS $$
	SELECT r.verdict, jsonb_strip_nulls(jsonb_build_object('class', CASE r.verdict WHEN 'fail' THEN 'validation' ELSE 'api_limit' END,
		'message', concat_ws(': ', 'Shopify', r.meaning, left(e.value ->> 'message', 1000)), 'hint', r.action, 'signal', e.value ->> 'code'))
	FROM jsonb_array_elements(CASE WHEN jsonb_typeof(payload -> 'userErrors') = 'array' THEN payload -> 'userErrors' ELSE '[]' END) e
	CROSS JOIN LATERAL (
		SELECT o.* FROM sync.shopify_error_rules() o WHERE o.source = 'user' AND o.signal IN (coalesce(e.value ->> 'code', 'other'), 'other')
		ORDER BY o.signal = 'other' LIMIT 1) r
	ORDER BY r.verdict <> 'fail' LIMIT 1
$$;

-- Cost ---------------------------------------------------------------------------------------------------------------------------

-- A list of "first" nodes, each with children that cost so much.  The formula was fitted to thousands of recorded answers: a list grows
-- with the logarithm of its length.  It is for the first request only; then the cost that Shopify tells counts.
CREATE FUNCTION sync.shopify_list_cost(first integer, children numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT 2 + greatest(1, floor(2 * ln(greatest(first, 1)::numeric))) * (1 + children)
$$;

-- What a query that we ship is expected to cost.  what: page (of products), product, shop, events, bulk.
CREATE FUNCTION sync.shopify_cost(what text, page integer DEFAULT 1, variants integer DEFAULT 1, media integer DEFAULT 1,
	metafields integer DEFAULT 1, levels integer DEFAULT 1) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE SET search_path = '' AS $$
DECLARE
	-- Objects cost 1: of a level location and quantities, of a variant options, item and its cost, of a medium its image, of a product seo.
	of_level numeric := 2;
	of_variant numeric := 3 + sync.shopify_list_cost(levels, of_level);
	of_product numeric := 1 + sync.shopify_list_cost(variants, of_variant) + sync.shopify_list_cost(media, 1)
		+ sync.shopify_list_cost(metafields, 0);
BEGIN
	RETURN CASE what
		WHEN 'page' THEN sync.shopify_list_cost(page, of_product)
		WHEN 'product' THEN 1 + of_product
		WHEN 'shop' THEN 1 + sync.shopify_list_cost(page, 0) + 2 + 10
		WHEN 'events' THEN sync.shopify_list_cost(page, 0)
		WHEN 'bulk' THEN 10
		ELSE 1 END;
END
$$;
COMMENT ON FUNCTION sync.shopify_cost(text, integer, integer, integer, integer, integer) IS
'Points that a query is expected to cost: what is page, product, shop, events or bulk; page, variants, media, metafields and levels are the lengths of its lists.';

-- Seconds until the bucket has what a query asked for; NULL where the answer does not tell.
CREATE FUNCTION sync.shopify_cost_wait(cost jsonb) RETURNS float8
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT greatest((cost ->> 'requestedQueryCost')::float8 - (cost #>> '{throttleStatus,currentlyAvailable}')::float8, 0)
		/ nullif((cost #>> '{throttleStatus,restoreRate}')::float8, 0)
$$;

-- Takes over what an answer tells of the bucket.  Who handles an answer locks the bucket before anything else, so that no two wait for each
-- other.
CREATE FUNCTION sync.shopify_bucket_told(connection text, job_id bigint, cost jsonb) RETURNS void
LANGUAGE sql SET search_path = '' AS $$
	SELECT sync.points_told(connection, job_id, (cost #>> '{throttleStatus,currentlyAvailable}')::numeric,
		(cost #>> '{throttleStatus,maximumAvailable}')::numeric, (cost #>> '{throttleStatus,restoreRate}')::numeric,
		(cost ->> 'actualQueryCost')::numeric)
$$;

-- Requests with their start times; what may not be sent now is put back.  Jobs have their connection in the payload.  costs: what each may
-- cost; operations and shapes: by what sync.cost_expected() knows requests like it, where it shall.
CREATE FUNCTION sync.shopify_schedule(connection text, job_ids bigint[], requests jsonb[], costs numeric[], operations text[] DEFAULT NULL,
	shapes text[] DEFAULT NULL)
RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	gate record;
BEGIN
	PERFORM sync.points_bucket(shopify_schedule.connection, NULL);
	gate := sync.shopify_gate(shopify_schedule.connection, job_ids);
	IF operations IS NOT NULL THEN
		UPDATE sync.job j SET payload = j.payload || jsonb_build_object('operation', a.operation, 'shape', a.shape)
		FROM unnest(job_ids, operations, shapes) AS a (id, operation, shape)
		WHERE j.id = a.id AND j.id = ANY (gate.allowed) AND (j.payload ->> 'operation', j.payload ->> 'shape') IS DISTINCT FROM (a.operation, a.shape);
		costs := ARRAY(SELECT sync.cost_expected(shopify_schedule.connection, a.operation, a.shape, a.cost)
					   FROM unnest(operations, shapes, costs) WITH ORDINALITY AS a (operation, shape, cost, no) ORDER BY a.no);
	END IF;
	RETURN QUERY
		SELECT a.id, CASE WHEN a.id <> ALL (gate.allowed) THEN gate.instead
			WHEN r.start_in IS NULL THEN jsonb_build_object('op', 'defer', 'retry_in', r.retry_in)
			ELSE a.request || jsonb_build_object('start_at', clock_timestamp() + make_interval(secs => r.start_in)) END
		FROM unnest(job_ids, requests) AS a (id, request)
		LEFT JOIN sync.points_reserve(shopify_schedule.connection, gate.allowed, ARRAY(
			SELECT c.cost FROM unnest(job_ids, costs) WITH ORDINALITY AS c (id, cost, no) WHERE c.id = ANY (gate.allowed)
			ORDER BY array_position(gate.allowed, c.id))) r ON r.job_id = a.id;
END
$$;
COMMENT ON FUNCTION sync.shopify_schedule(text, bigint[], jsonb[], numeric[], text[], text[]) IS
'Requests to a shop with their start times: points are reserved in the bucket. What has to wait (paused shop, open breaker, token, points) is put back without cost. costs: points that each may cost; with operations and shapes what requests of the same name and shape cost last counts instead. Each job must have "connection" in its payload.';

-- Tokens and pauses --------------------------------------------------------------------------------------------------------------

-- Which of these jobs may be sent to a shop now, and what becomes of the others: instead is a request that puts a job back or ends it.
CREATE FUNCTION sync.shopify_gate(connection text, job_ids bigint[], OUT allowed bigint[], OUT instead jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	target sync.connection;
	shop sync.shopify_shop;
	usable boolean;
	gate record;
BEGIN
	allowed := '{}';
	SELECT * INTO target FROM sync.connection c WHERE c.name = shopify_gate.connection;
	IF NOT coalesce(target.enabled, false) OR target.kind <> 'shopify' THEN
		instead := jsonb_build_object('op', 'fail', 'error', jsonb_build_object('class', 'validation',
			'message', format('connection "%s" is no enabled Shopify connection', shopify_gate.connection)));
		RETURN;
	END IF;
	INSERT INTO sync.shopify_shop (connection) VALUES (shopify_gate.connection) ON CONFLICT DO NOTHING;
	SELECT * INTO shop FROM sync.shopify_shop s WHERE s.connection = shopify_gate.connection;
	-- It is kept outside the database: one that came from another server, or whose connection has another name now, has none.
	usable := target.username IS NULL OR (coalesce(shop.token_expires_at > clock_timestamp()
		+ least(interval '10 seconds', (shop.token_expires_at - shop.token_renew_at) / 2), false) AND sync.token_present(shopify_gate.connection));
	-- What needs a token first is not sent now, and so is no probe: the fetching of the token is one.
	gate := sync.breaker_gate(shopify_gate.connection, CASE WHEN usable THEN job_ids ELSE '{}' END);
	IF gate.wait IS NOT NULL THEN
		allowed := gate.allowed;
		instead := jsonb_build_object('op', 'defer', 'retry_in', extract(epoch FROM gate.wait));
		PERFORM sync.breaker_hold(shopify_gate.connection, job_ids) WHERE NOT usable;
		RETURN;
	END IF;
	IF target.username IS NOT NULL AND (NOT usable OR shop.token_renew_at <= clock_timestamp()) THEN
		PERFORM sync.job_enqueue('shopify_token', NULL, jsonb_build_object('connection', shopify_gate.connection), shopify_gate.connection)
		WHERE NOT EXISTS (SELECT FROM sync.job j WHERE j.kind = 'shopify_token' AND j.payload ->> 'connection' = shopify_gate.connection);
	END IF;
	IF usable THEN
		allowed := job_ids;
	ELSE
		instead := '{"op": "defer", "retry_in": 0.5}';
	END IF;
END
$$;

-- Stops all requests to a shop until sync_resume(), and tells people.
CREATE FUNCTION sync.shopify_pause(connection text, reason text, error jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	IF sync.pause(connection, reason, NULL) THEN
		PERFORM sync.notify(NULL, 'error', 'shopify_paused', format('Nothing is sent to "%s" any more: %s', connection, reason),
			coalesce(error, '{}') || jsonb_build_object('connection', connection, 'resume', format('SELECT sync_resume(%L)', connection)));
	END IF;
END
$$;

-- Answers ------------------------------------------------------------------------------------------------------------------------

-- Retired versions are answered by another one: what it means by the same words is not known.
CREATE FUNCTION sync.shopify_version_told(connection text, result jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	told text := left(result #>> '{headers,x-shopify-api-version}', 40);
	wanted text := sync.setting_value(connection, 'api_version');
BEGIN
	UPDATE sync.shopify_shop s SET api_version = told
	WHERE s.connection = shopify_version_told.connection AND told IS NOT NULL AND s.api_version IS DISTINCT FROM told;
	IF FOUND AND told <> wanted THEN
		PERFORM sync.notify(NULL, 'warning', 'shopify_version',
			format('Shop "%s" answers with version %s of its API, not %s', connection, told, wanted),
			jsonb_build_object('connection', connection, 'wanted', wanted, 'answered', told, 'hint',
				'Shopify retires a version after a year: upgrade product_sync, or set api_version to one that the shop supports.'));
	END IF;
END
$$;

-- An answer to a job: what becomes of the job, unless its data is to be believed (then outcome is NULL).  Takes down the bucket's level and
-- the version, has a token renewed, pauses the shop.  A verdict shrink ends the job where the caller cannot ask for less.
CREATE FUNCTION sync.shopify_answer(connection text, job_id bigint, result jsonb, body bytea,
	OUT outcome text, OUT retry_in interval, OUT error jsonb, OUT data jsonb, OUT verdict text, OUT cost jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	answer record;
	payload jsonb := (SELECT j.payload FROM sync.job j WHERE j.id = shopify_answer.job_id);
	times integer := coalesce((payload ->> 'throttled')::integer, 0);
	permanent boolean := (SELECT c.username IS NULL FROM sync.connection c WHERE c.name = shopify_answer.connection);
	wait interval;
BEGIN
	answer := sync.shopify_verdict(connection, result, body);
	verdict := answer.verdict;
	data := answer.data;
	error := answer.error;
	cost := answer.cost;
	PERFORM sync.shopify_bucket_told(connection, shopify_answer.job_id, cost);
	PERFORM sync.cost_told(connection, payload ->> 'operation', payload ->> 'shape', (cost ->> 'requestedQueryCost')::numeric);
	-- A page in place of data says nothing: it may be a proxy's.
	wait := sync.breaker_told(connection, shopify_answer.job_id, CASE WHEN verdict NOT IN ('retry', 'throttled', 'fail') THEN 'up'
		WHEN verdict = 'retry' AND (error ? 'signal' OR NOT coalesce((result ->> 'ok')::boolean, false)) THEN 'down'
		WHEN verdict = 'fail' AND result ? 'status' THEN 'up' END, error);
	PERFORM sync.shopify_version_told(connection, result);
	CASE
		WHEN verdict = 'ok' THEN
			UPDATE sync.job j SET payload = j.payload - 'refreshed' - 'throttled'
			WHERE j.id = shopify_answer.job_id AND j.payload ?| ARRAY['refreshed', 'throttled'];
		WHEN verdict = 'throttled' THEN
			outcome := 'defer';
			-- Where the answer does not say for how long, longer each time.
			retry_in := (1 + random() / 10) * CASE WHEN cost IS NOT NULL OR result ? 'retry_after' THEN answer.wait
				ELSE make_interval(secs => least(60, 2 ^ least(times, 6))) END;
			UPDATE sync.job j SET payload = j.payload || jsonb_build_object('throttled', times + 1) WHERE j.id = shopify_answer.job_id;
			IF (result ->> 'status')::integer = 429 THEN
				PERFORM sync.rate_pause(connection, extract(epoch FROM retry_in)::float8);
			END IF;
		WHEN verdict = 'refresh_token' AND NOT permanent AND NOT payload ? 'refreshed' THEN
			outcome := 'defer';
			retry_in := interval '0.5 seconds';
			UPDATE sync.job j SET payload = j.payload || '{"refreshed": true}' WHERE j.id = shopify_answer.job_id;
			UPDATE sync.shopify_shop s SET token_expires_at = NULL, token_renew_at = NULL WHERE s.connection = shopify_answer.connection;
		WHEN verdict IN ('paused', 'partial', 'refresh_token') THEN
			outcome := 'defer';
			retry_in := interval '1 minute';
			PERFORM sync.shopify_pause(connection, concat_ws(' - ', error ->> 'message', error ->> 'detail'), error);
			PERFORM sync.breaker_hold(connection, ARRAY[shopify_answer.job_id]);
		WHEN verdict = 'retry' THEN
			outcome := CASE WHEN wait IS NULL THEN 'retry' ELSE 'defer' END;
			retry_in := greatest(wait, make_interval(secs => (result ->> 'retry_after')::float8));
		ELSE
			outcome := 'fail';
	END CASE;
END
$$;
COMMENT ON FUNCTION sync.shopify_answer(text, bigint, jsonb, bytea) IS
'What becomes of a job after its answer: outcome is NULL where data is to be believed, else defer, retry or fail with error.';

-- The client-credentials grant ---------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.request_shopify_token(job_ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	target record;
	gate record;
BEGIN
	FOR target IN
		SELECT j.id, c.name FROM sync.job j
		JOIN sync.connection c ON c.name = j.payload ->> 'connection' AND c.enabled AND c.username IS NOT NULL
		-- While the shop is paused, none is wanted.
		WHERE j.id = ANY (job_ids) AND sync.paused(c.name) IS NULL ORDER BY c.name, j.id
	LOOP
		gate := sync.breaker_gate(target.name, ARRAY[target.id]);
		job_id := target.id;
		request := CASE WHEN gate.wait IS NOT NULL AND gate.allowed = '{}'
			THEN jsonb_build_object('op', 'defer', 'retry_in', extract(epoch FROM gate.wait)) ELSE sync.shopify_token_request(target.name) END;
		RETURN NEXT;
	END LOOP;
END
$$;

CREATE FUNCTION sync.shopify_token_request(connection text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
	SELECT jsonb_build_object(
		'op', 'http', 'method', 'POST', 'url', rtrim(c.base_url, '/') || '/admin/oauth/access_token',
		'headers', jsonb_build_object('Content-Type', 'application/x-www-form-urlencoded', 'Accept', 'application/json'),
		'body', 'grant_type=client_credentials&client_id=' || sync.uri_component(c.username),
		'form_secret', 'client_secret', 'secret_ref', c.secret_ref,
		'keep_secret', jsonb_build_object('name', c.name, 'field', 'access_token'),
		'connect_timeout_ms', 15000, 'timeout_ms', 30000, 'max_bytes', 65536)
	FROM sync.connection c WHERE c.name = shopify_token_request.connection
$$;

CREATE FUNCTION sync.response_shopify_token(job_ids bigint[], results jsonb[], bodies bytea[])
RETURNS TABLE (job_id bigint, outcome text, retry_in interval, error jsonb, counts jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	shop text;
	answer jsonb;
	status integer;
	life float8;
	failure jsonb;
	wait interval;
BEGIN
	-- Of several shops, in one order.
	PERFORM FROM sync.rate_limit l
	WHERE l.connection IN (SELECT j.payload ->> 'connection' FROM sync.job j WHERE j.id = ANY (job_ids)) ORDER BY l.connection FOR UPDATE;
	FOR i IN 1 .. cardinality(job_ids) LOOP
		job_id := job_ids[i];
		SELECT j.payload ->> 'connection' INTO shop FROM sync.job j WHERE j.id = job_ids[i];
		answer := sync.shopify_json(bodies[i]);
		status := (results[i] ->> 'status')::integer;
		failure := jsonb_build_object('class', 'network', 'status', status,
			'message', 'no token could be had from Shopify: ' || coalesce(results[i] ->> 'message', 'the answer holds none'));
		wait := sync.breaker_told(shop, job_id, CASE WHEN (results[i] ->> 'kept')::boolean OR status BETWEEN 400 AND 499 AND status <> 429 THEN 'up'
			WHEN results[i] ->> 'class' = 'network' OR status >= 500 THEN 'down' END, failure);
		outcome := 'done';
		retry_in := NULL;
		error := NULL;
		IF (results[i] ->> 'kept')::boolean THEN
			life := CASE WHEN answer ->> 'expires_in' ~ '^[0-9]{1,9}$' THEN (answer ->> 'expires_in')::float8 ELSE 86400 END;
			UPDATE sync.shopify_shop s SET token_expires_at = clock_timestamp() + make_interval(secs => life),
				token_renew_at = clock_timestamp() + make_interval(secs => life * 0.8),
				scopes = coalesce(string_to_array(nullif(replace(answer ->> 'scope', ' ', ''), ''), ','), s.scopes)
			WHERE s.connection = shop;
			UPDATE sync.job j SET run_at = clock_timestamp()
			WHERE j.id IN (SELECT w.id FROM sync.job w WHERE w.kind LIKE 'shopify%' AND w.payload ->> 'connection' = shop AND w.lease_owner IS NULL
						   AND w.run_at < clock_timestamp() + interval '2 seconds' FOR UPDATE SKIP LOCKED);
		ELSIF status BETWEEN 400 AND 499 AND status NOT IN (408, 425, 429) THEN
			error := jsonb_strip_nulls(jsonb_build_object('class', 'validation', 'status', status, 'detail', left(answer ->> 'error_description', 500),
				'message', format('Shopify gives no token (%s%s)', status, ': ' || left(answer ->> 'error', 200)),
				'hint', 'username must be the app''s client id and secret_ref its client secret; '
					'the app must be installed, and belong to the shop''s organization.'));
			PERFORM sync.shopify_pause(shop, error ->> 'message', error);
		ELSE
			outcome := CASE WHEN status = 429 OR wait IS NOT NULL THEN 'defer' ELSE 'retry' END;
			retry_in := greatest(wait, make_interval(secs => greatest((results[i] ->> 'retry_after')::float8, CASE status WHEN 429 THEN 2 END)));
			error := failure;
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;

-- No token could be had, time and again: what waits for it fails, and may be tried again later.
CREATE FUNCTION sync.failed_shopify_token(job_id bigint, error jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	shop text := (SELECT j.payload ->> 'connection' FROM sync.job j WHERE j.id = job_id);
BEGIN
	PERFORM sync.run_fail(r.id, error, true) FROM sync.run r
	WHERE r.connection = shop AND r.active
	  AND EXISTS (SELECT FROM sync.job j JOIN sync.job_kind k ON k.kind = j.kind WHERE j.run_id = r.id AND k.network);
END
$$;
