-- Webhooks of Shopify: who sent them, what becomes of them, and that nothing comes of what is not from Shopify.
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT sync_install() IS NOT NULL;
-- What a refetch does is for another test: here it is a job that waits.
CREATE VIEW fetched AS SELECT payload ->> 'connection' AS connection, payload ->> 'remote_id' AS remote_id, class, payload ->> 'evidence' AS evidence
FROM sync.job WHERE kind = 'shopify_product' ORDER BY id;

-- The vectors that Shopify's and others' libraries are tested with; the keys are in the folder of secrets.
CREATE FUNCTION write_key(name text, key text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('COPY (SELECT %L) TO PROGRAM %L', key, format('umask 077; mkdir -p %1$s; cat > %1$s/%2$s',
		current_setting('data_directory') || '/product_sync/secrets', name));
END
$$;
SELECT write_key('regress-one', 'test_secret_key'), write_key('regress-two', 'hush');
SELECT sync.webhook_signature_good('file:regress-one', '{"foo": "bar"}', 'B23tXN681gZ0qIWNRrgtzBE9XSDo5yaUu6wfmhu3a7g=') AS shopify,
	sync.webhook_signature_good('file:regress-two', '"my secret message"', 'hMTq0K2x7oyOjoBwGYeTj5oxfnaVYXzbanUG9aajpKI=') AS go_shopify,
	sync.webhook_signature_good('file:regress-two', '"my secret message"', 'hMTq0K2x7oyOjoBwGYeTj5oxfnaVYXzbanUG9aajpKI') AS too_short,
	sync.webhook_signature_good('file:regress-two', '"my secret messagE"', 'hMTq0K2x7oyOjoBwGYeTj5oxfnaVYXzbanUG9aajpKI=') AS another_body,
	sync.webhook_signature_good('file:regress-one', '"my secret message"', 'hMTq0K2x7oyOjoBwGYeTj5oxfnaVYXzbanUG9aajpKI=') AS another_key,
	sync.webhook_signature_good('file:regress-two', NULL, 'x') AS nothing;
SELECT sync.webhook_signature_good('file:regress-none', '', '') \gset
SELECT * FROM sync.webhook_body('{"id": 12, "inventory_item_id": 13, "myshopify_domain": "a.myshopify.com"}');
SELECT * FROM sync.webhook_body('\xff00');

-- A webhook as PostgREST hands it over: post(body, changes of headers) signs it with the key of shop one.
INSERT INTO sync.connection (name, kind, base_url, username, secret_ref, settings) VALUES
	('one', 'shopify', 'https://one.myshopify.com/', 'client', 'file:regress-one', '{}'),
	('two', 'shopify', 'http://127.0.0.1:9/', NULL, 'file:regress-none', '{"shop_domain": "Two.myshopify.com", "webhook_secret_ref": "file:regress-one, file:regress-two"}'),
	('keyless', 'shopify', 'https://keyless.myshopify.com/', NULL, 'file:regress-one', '{}'),
	('lost', 'shopify', 'https://lost.myshopify.com/', 'client', 'file:regress-none', '{}'),
	('off', 'shopify', 'https://off.myshopify.com/', 'client', 'file:regress-one', '{}');
UPDATE sync.connection SET enabled = false WHERE name = 'off';
CREATE FUNCTION hmac_sha256(key bytea, body bytea) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
	inner_pad bytea := decode(repeat('36', 64), 'hex');
	outer_pad bytea := decode(repeat('5c', 64), 'hex');
BEGIN
	FOR i IN 0 .. length(key) - 1 LOOP
		inner_pad := set_byte(inner_pad, i, get_byte(inner_pad, i) # get_byte(key, i));
		outer_pad := set_byte(outer_pad, i, get_byte(outer_pad, i) # get_byte(key, i));
	END LOOP;
	RETURN sha256(outer_pad || sha256(inner_pad || body));
END
$$;
CREATE SEQUENCE webhook_no;
CREATE FUNCTION post(body bytea, headers jsonb DEFAULT '{}', key text DEFAULT 'test_secret_key') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer json;
BEGIN
	PERFORM set_config('request.headers', jsonb_strip_nulls(jsonb_build_object('x-shopify-topic', 'products/update', 'X-Shopify-Shop-Domain', 'one.myshopify.com',
		'x-shopify-hmac-sha256', encode(hmac_sha256(key::bytea, coalesce(body, '')), 'base64'), 'x-shopify-webhook-id', 'w-' || nextval('webhook_no'),
		'x-shopify-event-id', 'e-1', 'x-shopify-triggered-at', '2026-11-24T10:00:00.123456789Z', 'content-type', 'application/octet-stream') || headers)::text, false);
	PERFORM set_config('response.status', '', false);
	answer := sync_webhook_shopify(body);
	RETURN concat_ws(' ', nullif(current_setting('response.status'), ''), answer);
END
$$;
CREATE FUNCTION last_event() RETURNS text LANGUAGE sql AS
	$$ SELECT concat_ws(' | ', coalesce(connection, '-'), topic, domain, remote_id, body_bytes, outcome, reason) FROM sync.webhook_event ORDER BY id DESC LIMIT 1 $$;

-- What is taken.
SELECT post('{"id": 788032119674292922}');
SELECT last_event();
SELECT connection, webhook_id, event_id, triggered_at AT TIME ZONE 'UTC' FROM sync.webhook_event;
SELECT post('{"id": 1, "title": "x"}', '{"x-shopify-topic": "products/create"}'), post('{"id": 2}', '{"x-shopify-topic": "products/delete"}');
SELECT post('{"id": 3}', '{"X-Shopify-Shop-Domain": "TWO.myshopify.com"}', 'hush'), post('{"id": 4}', '{"X-Shopify-Shop-Domain": "two.myshopify.com"}');
SELECT post('{"admin_graphql_api_id": "gid://shopify/BulkOperation/5", "status": "completed"}', '{"x-shopify-topic": "bulk_operations/finish"}');
SELECT post('{"id": 5}', '{"x-shopify-triggered-at": "yesterday"}'), post('{"id": 6}', '{"x-shopify-triggered-at": null, "x-shopify-event-id": null}');
SELECT * FROM fetched;
SELECT outcome, count(*), count(triggered_at) FROM sync.webhook_event GROUP BY 1;
DELETE FROM sync.job;

-- Stock: by the product that has the inventory item.
WITH p AS (INSERT INTO sync.product (id, title) VALUES (990001, 'Binder') RETURNING id),
	v AS (INSERT INTO sync.variant (id, product_id, sku) SELECT 990002, id, 'WEBHOOK-1' FROM p RETURNING id),
	pl AS (INSERT INTO sync.product_listing (connection, product_id, remote_id) SELECT 'one', id, 700 FROM p RETURNING id)
INSERT INTO sync.listing (connection, product_listing_id, variant_id, remote_id, inventory_item_id) SELECT 'one', pl.id, v.id, 71, 72 FROM pl, v;
SELECT post('{"inventory_item_id": 72, "location_id": 1, "available": 4}', '{"x-shopify-topic": "inventory_levels/update"}');
SELECT post('{"id": 72, "sku": "HB-1"}', '{"x-shopify-topic": "inventory_items/update"}');
SELECT post('{"inventory_item_id": 73}', '{"x-shopify-topic": "inventory_levels/update"}');
SELECT last_event();
SELECT * FROM fetched;
DELETE FROM sync.job;

-- The app is gone: believed only of a body that names the shop, since the topic is not signed.
SELECT post('{"id": 9, "myshopify_domain": "one.myshopify.com"}', '{"x-shopify-topic": "app/uninstalled"}');
SELECT post('{"id": 9}', '{"x-shopify-topic": "app/uninstalled"}');
SELECT last_event();
SELECT post('{"id": 9, "myshopify_domain": "two.myshopify.com"}', '{"x-shopify-topic": "app/uninstalled"}');
SELECT connection, paused_reason FROM sync.breaker WHERE paused_reason IS NOT NULL;
SELECT message FROM sync.notification WHERE kind = 'shopify_paused';
DELETE FROM sync.job;

-- Twice: taken once.
SELECT post('{"id": 10}', '{"x-shopify-webhook-id": "again"}'), post('{"id": 10}', '{"x-shopify-webhook-id": "again"}');
SELECT last_event();
SELECT post('{"id": 11}', '{"x-shopify-webhook-id": "again", "X-Shopify-Shop-Domain": "two.myshopify.com"}');
SELECT * FROM fetched;
DELETE FROM sync.job;
CREATE TEMP TABLE before AS SELECT max(id) AS id FROM sync.webhook_event;

-- What is refused: a status, a word for anybody, the reason for us, and nothing more.
SELECT post('{"id": 20}', '{}', 'wrong key');
SELECT last_event();
SELECT post('{"id": 20}', '{"x-shopify-hmac-sha256": "x"}'), post('{"id": 20}', jsonb_build_object('x-shopify-hmac-sha256', repeat('A', 1000)));
SELECT post('{"id": 20}', '{"x-shopify-topic": "orders/create"}');
SELECT last_event();
SELECT post('{"id": 20}', '{"X-Shopify-Shop-Domain": "three.myshopify.com"}');
SELECT last_event();
SELECT post('{"id": 20}', '{"X-Shopify-Shop-Domain": "off.myshopify.com"}');
SELECT post('{"id": 20}', jsonb_build_object(h, NULL)) FROM unnest(ARRAY['x-shopify-topic', 'x-shopify-hmac-sha256', 'X-Shopify-Shop-Domain', 'x-shopify-webhook-id']) h;
SELECT post(NULL), post('');
SELECT last_event();
SELECT post('not json'), post('[1]'), post('{"id": "20"}'), post('{"id": 99999999999999999999}'), post('{"id": -1}'), post('\xff00fe'), post('{}');
SELECT last_event();
SELECT post('{"id": 21}', '{"X-Shopify-Shop-Domain": "keyless.myshopify.com"}'), post('{"id": 21}', '{"X-Shopify-Shop-Domain": "lost.myshopify.com"}');
SELECT post('{"id": 21}', '{"X-Shopify-Shop-Domain": "lost.myshopify.com"}');
SELECT regexp_replace(message, '"[^"]*/product_sync', '"...', 'g') FROM sync.notification WHERE kind = 'webhook_key' ORDER BY id;
-- Headers that are none.
SELECT set_config('request.headers', h, false) IS NOT NULL, sync_webhook_shopify('{"id": 20}') FROM unnest(ARRAY['', 'no json', '[]', '"x"', 'null']) h;
RESET request.headers;
SELECT sync_webhook_shopify('{"id": 20}');
-- Five megabytes of garbage.
SELECT post(convert_to(repeat('garbage! ', 600000), 'UTF8'));
SELECT last_event();
SELECT count(*) AS fetched FROM fetched;
SELECT outcome, count(*), sum(more) AS more FROM sync.webhook_event WHERE id > (SELECT id FROM before) GROUP BY 1;

-- A flood leaves so many rows, and a number.
UPDATE sync.setting SET value = '50' WHERE name = 'webhook_refused_per_minute';
SELECT count(post('{"id": 22}', '{}', 'wrong key')) FROM generate_series(1, 200);
SELECT count(*) AS rows, count(*) + sum(more) AS all FROM sync.webhook_event WHERE outcome IN ('refused', 'duplicate');
-- What is from Shopify is taken all the same.
SELECT post('{"id": 23}');
SELECT * FROM fetched;
UPDATE sync.setting SET value = '0' WHERE name = 'webhook_refused_per_minute';
SELECT post('{"id": 22}', '{}', 'wrong key');
UPDATE sync.setting SET value = '60' WHERE name = 'webhook_refused_per_minute';

-- As JSON, as Shopify sends it: the text is signed as it stands.
SELECT set_config('request.headers', jsonb_build_object('x-shopify-topic', 'products/update', 'x-shopify-shop-domain', 'one.myshopify.com', 'x-shopify-webhook-id', 'json',
	'x-shopify-hmac-sha256', encode(hmac_sha256('test_secret_key', convert_to(E' {"id":  24,\n"title": "\u00e9", "id": 24}', 'UTF8')), 'base64'))::text, false) IS NOT NULL;
SELECT sync_webhook_shopify_json(E' {"id":  24,\n"title": "\u00e9", "id": 24}');
SELECT sync_webhook_shopify_json(NULL);

-- Where the key is, not the key itself.
UPDATE sync.connection SET settings = '{"webhook_secret_ref": "shpss_the_key"}' WHERE name = 'one';
UPDATE sync.setting SET value = 'shpss_the_key' WHERE name = 'webhook_secret_ref';

-- Who may: nobody but operators, until it is granted.
CREATE ROLE regress_anon;
SET ROLE regress_anon;
SELECT sync_webhook_shopify('{}');
RESET ROLE;
GRANT EXECUTE ON FUNCTION sync_webhook_shopify(bytea) TO regress_anon;
SET ROLE regress_anon;
SELECT sync_webhook_shopify('{}');
SELECT sync.webhook_receive('{}');
SELECT sync.webhook_signature_good('file:regress-one', '', '');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION sync_webhook_shopify(bytea) FROM regress_anon;
DROP ROLE regress_anon;

-- Old rows go.
UPDATE sync.webhook_event SET received_at = now() - interval '8 days' WHERE remote_id = 23;
SELECT sync.housekeep_rows() > 0;
SELECT count(*) FROM sync.webhook_event WHERE remote_id = 23;
