-- Shopify's client without a network: what answers mean, what queries cost, when requests may go, tokens and pauses.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install();
\set SHOW_CONTEXT never
INSERT INTO sync.connection (name, kind, base_url, secret_ref) VALUES ('shop', 'shopify', 'https://shop.example/', 'file:shop');
INSERT INTO sync.connection (name, kind, base_url, username, secret_ref) VALUES ('granted', 'shopify', 'https://granted.example', 'client-1', 'file:granted');

-- The table of errors, as docs/shopify.md has it.
SELECT * FROM sync.shopify_error_rules();

-- Requests: a permanent token, and one that the grant gave.
SELECT sync.shopify_request('shop', '{ shop { id } }');
SELECT r ->> 'url', r ->> 'secret_ref', r ->> 'body' FROM sync.shopify_request('granted', 'query($n: Int) { shop { id } }', '{"n": 1}') r;

-- What answers mean.
CREATE TABLE answers (no serial, result jsonb DEFAULT '{"ok": true, "status": 200}', body text);
INSERT INTO answers (result, body) VALUES
	('{"ok": true, "status": 200}', '{"data": {"shop": {"id": "gid://shopify/Shop/1"}}, "extensions": {"cost": {"requestedQueryCost": 3}}}'),
	('{"ok": true, "status": 200}', '{"errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}], "extensions": {"cost": {"requestedQueryCost": 507, "actualQueryCost": null, "throttleStatus": {"maximumAvailable": 1000, "currentlyAvailable": 493, "restoreRate": 50}}}}'),
	('{"ok": false, "status": 429, "class": "api_limit", "retry_after": 2}', '{"errors": "Exceeded 2 calls per second"}'),
	('{"ok": true, "status": 200}', '{"data": null, "errors": [{"message": "Internal error. Looks like something went wrong on our end.", "extensions": {"code": "INTERNAL_SERVER_ERROR", "requestId": "abc-1"}}]}'),
	('{"ok": true, "status": 200}', '{"errors": [{"message": "Query cost is 1200, which exceeds the single query max cost limit (1000).", "extensions": {"code": "MAX_COST_EXCEEDED", "cost": 1200, "maxCost": 1000}}]}'),
	('{"ok": true, "status": 200}', '{"data": {"product": {"id": "gid://shopify/Product/1", "variants": null}}, "errors": [{"message": "Access denied for inventoryItem field.", "path": ["product", "variants"], "extensions": {"code": "ACCESS_DENIED", "requiredAccess": "`read_inventory` access scope."}}]}'),
	('{"ok": true, "status": 200}', '{"errors": [{"message": "Field ''nope'' doesn''t exist on type ''Product''", "extensions": {"code": "undefinedField"}}]}'),
	('{"ok": true, "status": 200}', '{"errors": [{"message": "nobody knows"}]}'),
	('{"ok": true, "status": 200}', '{"data": {"products": {"nodes": []}}, "extensions": {"search": [{"path": ["products"], "query": "updatedat:>1", "warnings": [{"field": "updatedat", "message": "Invalid search field for this query.", "code": "invalid_field"}]}]}}'),
	('{"ok": true, "status": 200}', '{"data": {"products": {"nodes": []}}, "extensions": {"search": [{"path": ["products"], "query": "updated_at:>1", "parsed": {}}]}}'),
	('{"ok": false, "status": 401, "class": "permanent", "message": "the server wants a valid login"}', '{"errors": "[API] Invalid API key or access token (unrecognized login or wrong password)"}'),
	('{"ok": false, "status": 402, "class": "permanent"}', '{"errors": "Unavailable Shop"}'),
	('{"ok": false, "status": 403, "class": "permanent"}', ''),
	('{"ok": false, "status": 423, "class": "permanent"}', '<html>locked</html>'),
	('{"ok": false, "status": 430, "class": "permanent"}', NULL),
	('{"ok": false, "status": 404, "class": "permanent", "message": "there is nothing at this address"}', '{"errors": "Not Found"}'),
	('{"ok": false, "status": 301, "class": "permanent"}', ''),
	('{"ok": false, "status": 503, "class": "api_limit", "retry_after": 3}', ''),
	('{"ok": false, "status": 540, "class": "network"}', ''),
	('{"ok": false, "class": "network", "curl_code": 28, "message": "the server took too long"}', NULL),
	('{"ok": false, "class": "permanent", "curl_code": 60, "message": "the server''s certificate is not trusted"}', NULL),
	('{"ok": true, "status": 200}', '<html>Sign in</html>'),
	('{"ok": true, "status": 200}', '[]'),
	('{"ok": true, "status": 200}', '{"data": {"a": "NUL \u0000, half \ud83d, other half \ude00, whole \ud83d\ude00, meant \\u0000"}}'),
	('{"ok": true, "status": 200}', '{"data": {"a": 1}, "errors": [{"message": "x", "extensions": {"code": "THROTTLED"}}, {"message": "y", "extensions": {"code": "ACCESS_DENIED"}, "path": ["a"]}]}');
SELECT a.no, v.verdict, v.wait, v.data, v.error ->> 'class' AS class, v.error ->> 'message' AS message, v.error ->> 'detail' AS detail
FROM answers a, sync.shopify_verdict('shop', a.result, convert_to(a.body, 'UTF8')) v ORDER BY a.no;
SELECT verdict FROM sync.shopify_verdict('shop', '{"ok": true, "status": 200}', '\xff7b7d');
SELECT verdict FROM sync.shopify_verdict('shop', '{"ok": true, "status": 200}', convert_to(repeat('[', 1000000), 'UTF8'));
SELECT u.* FROM (VALUES ('{"userErrors": []}'), ('{"userErrors": [{"code": "OPERATION_IN_PROGRESS", "message": "A bulk query operation for this app and shop is already in progress: gid://shopify/BulkOperation/1."}]}'),
	('{"userErrors": [{"code": "LIMIT_REACHED", "message": "m"}, {"code": "INVALID", "message": "no"}]}'), ('{"userErrors": [{"message": "old style"}]}'), ('null')) v (payload),
	sync.shopify_user_error(v.payload::jsonb) u;

-- What queries cost: below a thousand points, whatever is asked for.
SELECT round(sync.shopify_cost('page', 100, 20, 20, 25, 1)) AS page_of_100, round(sync.shopify_cost('page', 250, 20, 20, 25, 50)) AS page_of_250,
	   round(sync.shopify_cost('product', 1, 2048, 250, 250, 10)) AS product, sync.shopify_list_cost(250, 0) AS ids_only;
SELECT sync.shopify_page_size('shop');
INSERT INTO sync.shopify_location (connection, remote_id, name) SELECT 'shop', n, 'Place ' || n FROM generate_series(1, 40) n;
SELECT sync.shopify_page_size('shop'), l.*, sync.shopify_cost('page', sync.shopify_page_size('shop'), l.variants, l.media, l.metafields, l.levels) < 1000 AS affordable
FROM sync.shopify_lengths('shop') l;

-- Points are reserved when a request gets its time; what they do not reach for waits.
SELECT sync.job_enqueue('shopify_product', NULL, '{"connection": "shop", "remote_id": 1}') FROM generate_series(1, 6);
CREATE FUNCTION schedule(shop text, cost numeric) RETURNS TABLE (no bigint, op text, wait numeric) LANGUAGE sql AS $$
	SELECT row_number() OVER (ORDER BY s.job_id), coalesce(s.request ->> 'op', 'send'),
		round(coalesce((s.request ->> 'retry_in')::numeric, extract(epoch FROM (s.request ->> 'start_at')::timestamptz - clock_timestamp())), 0)
	FROM sync.shopify_schedule(shop, (SELECT array_agg(id ORDER BY id) FROM sync.job WHERE payload ->> 'connection' = shop), array_fill('{}'::jsonb, ARRAY[6]), array_fill(cost, ARRAY[6])) s
	ORDER BY 1
$$;
SELECT * FROM schedule('shop', 600);
SELECT round(points_available, -2) AS available, points_maximum, points_per_second FROM sync.rate_limit;
-- An answer tells the true level; what others have under way is taken off.
UPDATE sync.job SET lease_owner = 1 WHERE id = (SELECT max(id) - 3 FROM sync.job);
SELECT sync.shopify_bucket_told('shop', (SELECT min(id) FROM sync.job), '{"requestedQueryCost": 600, "throttleStatus": {"maximumAvailable": 4000, "currentlyAvailable": 3900, "restoreRate": 200}}');
SELECT points_available, points_maximum, points_per_second FROM sync.rate_limit;
SELECT sync.shopify_bucket_told('shop', 1, NULL), sync.shopify_bucket_told('shop', 1, '{"throttleStatus": {"restoreRate": 0}}');
UPDATE sync.job SET lease_owner = NULL;

-- A job's answer: throttled costs no attempt, and of one that says nothing the wait grows.
CREATE FUNCTION answer(shop text, result jsonb, body text) RETURNS TABLE (outcome text, wait integer, message text, verdict text) LANGUAGE sql AS $$
	SELECT a.outcome, floor(2 ^ floor(log(2, extract(epoch FROM a.retry_in))))::integer, a.error ->> 'message', a.verdict
	FROM sync.shopify_answer(shop, (SELECT min(id) FROM sync.job WHERE payload ->> 'connection' = shop), result, convert_to(body, 'UTF8')) a
$$;
SELECT a.* FROM answers n, answer('shop', n.result, n.body) a WHERE n.no IN (2, 3, 4, 5, 7) ORDER BY n.no;
SELECT n, a.* FROM generate_series(1, 4) n, answer('shop', '{"ok": true, "status": 200}', '{"errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}]}' || repeat(' ', n)) a;
-- Another version is told of once.
SELECT n, a.verdict FROM generate_series(1, 3) n, answer('shop', '{"ok": true, "status": 200, "headers": {"x-shopify-api-version": "2027-01"}}', '{"data": {}}' || repeat(' ', n)) a;
SELECT kind, message FROM sync.notification;
SELECT api_version FROM sync.shopify_shop WHERE connection = 'shop';

-- A scope that is missing pauses the shop, with its name; nothing is sent until somebody looks.
SELECT a.* FROM answers n, answer('shop', n.result, n.body) a WHERE n.no = 6;
SELECT sync.paused('shop');
SELECT DISTINCT op, wait BETWEEN 300 AND 600 AS minutes FROM schedule('shop', 1);
SELECT sync_run_shopify_down('auto', 'shop');
SELECT sync_resume('shop');
SELECT sync_shopify_resume('shop');
SELECT sync_resume('none');
UPDATE sync.rate_limit SET paused_until = NULL;
SELECT DISTINCT op FROM schedule('shop', 1);

-- The grant: jobs wait while a token is fetched, and a 401 has it renewed once.
SELECT sync.job_enqueue('shopify_product', NULL, '{"connection": "granted", "remote_id": 1}');
SELECT * FROM sync.shopify_gate('granted', '{1, 2}');
SELECT instead FROM sync.shopify_gate('granted', '{1, 2}');
SELECT count(*) FROM sync.job WHERE kind = 'shopify_token';
SELECT r.request FROM sync.request_shopify_token((SELECT array_agg(id) FROM sync.job WHERE kind = 'shopify_token')) r;
CREATE FUNCTION token(result jsonb, body text) RETURNS TABLE (outcome text, message text) LANGUAGE sql AS $$
	SELECT r.outcome, r.error ->> 'message' FROM sync.response_shopify_token((SELECT array_agg(id) FROM sync.job WHERE kind = 'shopify_token'), ARRAY[result], ARRAY[convert_to(body, 'UTF8')]) r
$$;
SELECT * FROM token('{"ok": false, "class": "network", "message": "no connection"}', NULL);
SELECT * FROM token('{"ok": true, "status": 200, "kept": false, "message": "the answer has no \"access_token\""}', '{"scope": ""}');
SELECT * FROM token('{"ok": true, "status": 200, "kept": true}', '{"scope": "read_products,write_inventory", "expires_in": 86399}');
SELECT scopes, token_expires_at - now() > interval '23 hours' AS expires, token_renew_at < token_expires_at - interval '4 hours' AS renewed_early FROM sync.shopify_shop WHERE connection = 'granted';
SELECT a.outcome, a.verdict FROM answers n, answer('granted', n.result, n.body) a WHERE n.no = 11;
SELECT token_expires_at FROM sync.shopify_shop WHERE connection = 'granted';
SELECT a.outcome, a.verdict FROM answers n, answer('granted', n.result, n.body) a WHERE n.no = 11;
SELECT sync.paused('granted');
SELECT sync_resume('granted');
SELECT * FROM token('{"ok": false, "status": 400, "class": "permanent"}', '{"error": "invalid_client", "error_description": "Client authentication failed"}');
SELECT kind, message FROM sync.notification ORDER BY id;

-- A shop that fails: five failures in a row, and its jobs wait without cost; the fetching of a token is a probe as good as any.
SELECT n, a.outcome, a.wait >= 30 AS long FROM generate_series(1, 6) n, answer('shop', '{"ok": false, "status": 502, "class": "network", "message": "POST: status 502"}', repeat(' ', n)) a;
SELECT state, failures, last_error ->> 'message' AS last FROM sync.breaker WHERE endpoint = 'shop';
SELECT DISTINCT op FROM schedule('shop', 1);
UPDATE sync.breaker SET retry_at = now();
SELECT op, count(*) FROM schedule('shop', 1) GROUP BY op ORDER BY op;
SELECT a.outcome FROM answer('shop', '{"ok": true, "status": 200}', '{"data": {}}') a;
SELECT state FROM sync.breaker WHERE endpoint = 'shop';
-- A page in place of data is tried again, but says nothing of the shop; a refusal says that it is there.
SELECT n, a.outcome FROM generate_series(1, 6) n, answer('shop', '{"ok": true, "status": 200}', '<html>' || repeat(' ', n)) a WHERE n IN (1, 6);
SELECT state, failures FROM sync.breaker WHERE endpoint = 'shop';
SELECT sync_resume('granted') IS NOT NULL;
SELECT count(sync.breaker_told('granted', 0, 'down')) FROM generate_series(1, 5);
SELECT allowed, instead ->> 'op' AS op, (instead ->> 'retry_in')::float8 > 25 AS long FROM sync.shopify_gate('granted', '{1}');
UPDATE sync.shopify_shop SET token_expires_at = NULL, token_renew_at = NULL;
UPDATE sync.breaker SET retry_at = now();
SELECT * FROM sync.shopify_gate('granted', '{1}');
SELECT r.request ->> 'op' AS op FROM sync.request_shopify_token((SELECT array_agg(id) FROM sync.job WHERE kind = 'shopify_token')) r;
SELECT state, probe_job = (SELECT min(id) FROM sync.job WHERE kind = 'shopify_token') AS token FROM sync.breaker WHERE endpoint = 'granted';
SELECT allowed, instead ->> 'op' AS op, (instead ->> 'retry_in')::float8 > 25 AS long FROM sync.shopify_gate('granted', '{1}');
SELECT * FROM token('{"ok": true, "status": 200, "kept": true}', '{"scope": "read_products", "expires_in": 86399}');
SELECT state FROM sync.breaker WHERE endpoint = 'granted';

-- What requests cost is remembered by operation and shape, for a while.
UPDATE sync.rate_limit SET points_available = 2000, points_at = clock_timestamp(), paused_until = NULL, saving_until = NULL, others_per_second = 0;
SELECT sync.cost_expected('shop', 'products', '100/20', 281);
SELECT s.request ? 'start_at' AS sent
FROM (SELECT min(id) AS id FROM sync.job WHERE payload ->> 'connection' = 'shop') m, sync.shopify_schedule('shop', ARRAY[m.id], '{"{}"}', '{281}', '{products}', '{100/20}') s;
SELECT payload ->> 'operation' AS operation, payload ->> 'shape' AS shape, payload ->> 'points' AS points FROM sync.job WHERE id = (SELECT min(id) FROM sync.job WHERE payload ->> 'connection' = 'shop');
SELECT a.outcome FROM answer('shop', '{"ok": true, "status": 200}', '{"data": {}, "extensions": {"cost": {"requestedQueryCost": 305, "actualQueryCost": 12, "throttleStatus": {"maximumAvailable": 2000, "currentlyAvailable": 1900, "restoreRate": 100}}}}') a;
SELECT sync.cost_expected('shop', 'products', '100/20', 281), sync.cost_expected('shop', 'products', '50/20', 281), sync.cost_expected('granted', 'products', '100/20', 281);
SELECT sync.cost_told('shop', 'products', '100/20', 300), sync.cost_told('shop', NULL, 'x', 1), sync.cost_told('shop', 'x', 'y', NULL);
SELECT operation, shape, cost FROM sync.shopify_cost_seen;
UPDATE sync.shopify_cost_seen SET seen_at = now() - interval '25 hours';
SELECT sync.cost_expected('shop', 'products', '100/20', 281);

-- Publications are asked for where the app may see them; a scope that it lacks for them alone stops nothing.
SELECT sync.shopify_denied(convert_to(b, 'UTF8'), 'publications') FROM (VALUES ('{"data": null, "errors": [{"path": ["publications"], "extensions": {"code": "ACCESS_DENIED"}}]}'),
	('{"errors": [{"path": ["publications"], "extensions": {"code": "ACCESS_DENIED"}}, {"path": ["locations"], "extensions": {"code": "ACCESS_DENIED"}}]}'), ('{"data": {}}'), ('{"errors": [{"message": "x"}]}'), ('<html>')) v (b);
DELETE FROM sync.job;
DELETE FROM sync.shopify_location;
CREATE FUNCTION shop_answer(body text) RETURNS text LANGUAGE sql AS $$
	SELECT r.outcome FROM sync.response_shopify_shop((SELECT array_agg(id) FROM sync.job WHERE kind = 'shopify_shop'), '{"{\"ok\": true, \"status\": 200}"}', ARRAY[convert_to(body, 'UTF8')]) r
$$;
CREATE FUNCTION asks() RETURNS TABLE (publications text) LANGUAGE sql AS $$ SELECT (r.request ->> 'body')::jsonb #>> '{variables,publications}' FROM sync.request_shopify_shop((SELECT array_agg(id) FROM sync.job WHERE kind = 'shopify_shop')) r $$;
SELECT sync.cache_fresh('shop');
SELECT kind, key, run_id, payload FROM sync.job;
UPDATE sync.shopify_shop SET scopes = '{read_products}' WHERE connection = 'shop';
SELECT * FROM asks();
UPDATE sync.shopify_shop SET scopes = NULL WHERE connection = 'shop';
SELECT * FROM asks();
SELECT shop_answer('{"data": null, "errors": [{"message": "Access denied for publications field.", "path": ["publications"], "extensions": {"code": "ACCESS_DENIED"}}]}');
SELECT * FROM asks();
SELECT sync.paused('shop');
SELECT shop_answer('{"data": {"shop": {"id": "gid://shopify/Shop/1", "currencyCode": "USD"}, "currentAppInstallation": {"accessScopes": [{"handle": "read_products"}, {"handle": "read_inventory"}, {"handle": "read_locations"}, {"handle": "read_publications"}]}, "locations": {"nodes": [{"id": "gid://shopify/Location/7", "name": "Toronto", "isActive": true}], "pageInfo": {"hasNextPage": false}}, "publications": {"nodes": [{"id": "gid://shopify/Publication/11", "name": "Online Store"}, {"id": "gid://shopify/Publication/12", "name": "POS"}], "pageInfo": {"hasNextPage": false}}}}');
SELECT remote_id, name FROM sync.shopify_publication ORDER BY 1;
SELECT sync.cache_fresh('shop');
-- What proves wrong is dropped, and read again.
DELETE FROM sync.job;
UPDATE sync.shopify_location SET store = 'Main';
INSERT INTO sync.shopify_product (connection, remote_id, document, variants, remote_updated_at) VALUES ('shop', 5, '{}', '{"51": {"sku": "A", "inventory_item": 511}, "52": {"sku": "B", "inventory_item": 512}}', now());
SELECT sync.cache_wrong('shop', 'location', 7), sync.cache_wrong('shop', 'publication', 12), sync.cache_wrong('shop', 'inventory_item', 512), sync.cache_wrong('shop', 'inventory_item', 1);
SELECT sync.cache_wrong('shop', 'weather', 1);
SELECT remote_id, active, store FROM sync.shopify_location;
SELECT remote_id FROM sync.shopify_publication;
SELECT kind, key FROM sync.job ORDER BY id;
SELECT sync_cache_clear('shop');
SELECT sync_cache_clear('nothing');
SELECT count(*) FROM sync.shopify_publication;
SELECT sync.cache_fresh('shop');
DELETE FROM sync.job;

-- Runs.
SELECT sync_run_shopify_down('sometimes');
SELECT sync_run_shopify_down();
UPDATE sync.connection SET enabled = false WHERE name = 'granted';
SELECT sync_run_shopify_down();
SELECT context FROM sync.run;
SELECT * FROM sync.shopify_gate('granted', '{1}');
DROP EXTENSION product_sync;
DROP SCHEMA sync CASCADE;
DROP TABLE answers;
DROP FUNCTION schedule, answer, token, shop_answer, asks;
