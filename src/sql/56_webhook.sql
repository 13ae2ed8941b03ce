-- Webhooks of Shopify: verified, deduplicated, and turned into a refetch of what they are about.  They come through PostgREST, as the raw
-- bytes of the body, with the headers in request.headers.
--
-- A webhook is a hint.  Its body says how things were when it was put together, several may come in any order, late, twice or never, and
-- only the body is signed, not the headers.  So nothing of it is believed but that something about this product may have changed: the
-- product is read again, whatever the topic.  Even a deletion is: that it is gone is what the reading finds.
--
-- A refusal is an answer with its status, not an error: an error would undo the row that tells of it.

CREATE FUNCTION sync.webhook_signature_good(secret_ref text, body bytea, signature text) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'sync_webhook_signature_good';
COMMENT ON FUNCTION sync.webhook_signature_good(text, bytea, text) IS
'Whether the signature is the base64 HMAC-SHA256 of the body by the secret that the reference names, which nothing in SQL sees. Errors as of any secret: 42704 where it is missing.';

CREATE FUNCTION sync.webhook_body(body bytea, OUT readable boolean, OUT id bigint, OUT inventory_item_id bigint, OUT domain text)
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sync_webhook_body';
COMMENT ON FUNCTION sync.webhook_body(bytea) IS 'What the body of a webhook is about; readable is false where it is no JSON object.';

-- The topics that are known: what the webhook's number is of, and which fields Shopify is asked to send.
CREATE FUNCTION sync.webhook_topics() RETURNS TABLE (topic text, enum text, about text, fields text[])
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	VALUES
		('products/create', 'PRODUCTS_CREATE', 'product', ARRAY['id', 'updated_at']),
		('products/update', 'PRODUCTS_UPDATE', 'product', ARRAY['id', 'updated_at']),
		('products/delete', 'PRODUCTS_DELETE', 'product', NULL),
		('inventory_levels/update', 'INVENTORY_LEVELS_UPDATE', 'inventory', ARRAY['inventory_item_id', 'location_id', 'available', 'updated_at']),
		('inventory_items/update', 'INVENTORY_ITEMS_UPDATE', 'inventory', ARRAY['id', 'updated_at']),
		('bulk_operations/finish', 'BULK_OPERATIONS_FINISH', 'bulk', NULL),
		('app/uninstalled', 'APP_UNINSTALLED', 'app', NULL)
$$;
COMMENT ON FUNCTION sync.webhook_topics() IS
'The topics of Shopify''s webhooks that are known. Identical bodies within a short time are sent once, so updated_at is among the fields.';

CREATE FUNCTION sync.install_part_56_webhook() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('webhook_secret_ref', '', 'secret reference', 'Shopify: where the key is that signs webhooks, as file:NAME, vault:NAME or env:NAME; two with a comma while it is changed. Empty: secret_ref, where username is set.'),
		('webhook_max_bytes', '4194304', 'bytes', 'Largest body of a webhook that is looked at.'),
		('webhook_refused_per_minute', '60', 'count', 'How many refused or repeated webhooks a minute get a row each in sync.webhook_event; more are counted.'),
		('keep_webhook_events', '7 days', 'interval', 'How long rows of sync.webhook_event stay. A webhook that comes twice is known by them: at least a day.'),
		('shop_domain', '', '', 'Shopify: the shop''s myshopify.com domain, where base_url is another address.')
	ON CONFLICT (name) DO NOTHING;
END
$$;

-- What the request says of the webhook, from PostgREST's request.headers; NULLs where there is nothing of it.
CREATE FUNCTION sync.webhook_headers(OUT topic text, OUT signature text, OUT domain text, OUT webhook_id text, OUT event_id text,
	OUT triggered_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	triggered text;
BEGIN
	SELECT max(h.value) FILTER (WHERE h.name = 'x-shopify-topic'), max(h.value) FILTER (WHERE h.name = 'x-shopify-hmac-sha256'),
		   max(lower(h.value)) FILTER (WHERE h.name = 'x-shopify-shop-domain'), max(h.value) FILTER (WHERE h.name = 'x-shopify-webhook-id'),
		   max(h.value) FILTER (WHERE h.name = 'x-shopify-event-id'), max(h.value) FILTER (WHERE h.name = 'x-shopify-triggered-at')
	INTO topic, signature, domain, webhook_id, event_id, triggered
	FROM (SELECT lower(e.key) AS name, left(btrim(e.value), 255) AS value
		  FROM json_each_text(nullif(current_setting('request.headers', true), '')::json) e) h;
	IF triggered ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9:]+)$' THEN
		triggered_at := triggered::timestamptz;
	END IF;
EXCEPTION WHEN data_exception OR invalid_parameter_value OR statement_too_complex THEN
	-- The rest is kept where only the time is no time.
	NULL;
END
$$;

-- Takes down what became of a webhook.  False where it was there before.  What is refused or repeated may come in floods: so many rows a
-- minute, and a number on one of them for the rest.  Where others are at that row, another one is taken: nobody waits here.
CREATE FUNCTION sync.webhook_note(outcome text, reason text, connection text, head record, remote_id bigint, body_bytes bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	flood constant boolean := webhook_note.outcome IN ('refused', 'duplicate');
	most integer;
	full_id bigint;
BEGIN
	IF flood THEN
		most := least(sync.setting_value(webhook_note.connection, 'webhook_refused_per_minute')::bigint, 100000);
		IF most <= (SELECT count(*) FROM (SELECT FROM sync.webhook_event e
										  WHERE e.outcome IN ('refused', 'duplicate') AND e.received_at > clock_timestamp() - interval '1 minute'
										  LIMIT most) few) THEN
			SELECT e.id INTO full_id FROM sync.webhook_event e
			WHERE e.outcome IN ('refused', 'duplicate') AND e.received_at > clock_timestamp() - interval '1 minute'
			ORDER BY e.received_at DESC LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
			UPDATE sync.webhook_event e SET more = e.more + 1 WHERE e.id = full_id;
			RETURN true;
		END IF;
	END IF;
	INSERT INTO sync.webhook_event (connection, webhook_id, event_id, topic, domain, remote_id, triggered_at, body_bytes, outcome, reason)
	VALUES (webhook_note.connection, head.webhook_id, head.event_id, head.topic, head.domain, webhook_note.remote_id, head.triggered_at,
			webhook_note.body_bytes, webhook_note.outcome, left(webhook_note.reason, 500))
	ON CONFLICT (connection, webhook_id) WHERE outcome IN ('enqueued', 'ignored') DO NOTHING;
	RETURN FOUND;
END
$$;

-- The answer to a webhook that is not taken.  What it says is for anybody; the reason is for us.
CREATE FUNCTION sync.webhook_refuse(status integer, message text, reason text, connection text, head record, body_bytes bigint) RETURNS json
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	PERFORM sync.webhook_note('refused', reason, connection, head, NULL, body_bytes);
	PERFORM set_config('response.status', status::text, true);
	RETURN json_build_object('error', message);
END
$$;

-- The connection that a webhook is for: of the shop's domain, and with the key that signed it.  reason says why there is none, broken that
-- it is our own fault.
CREATE FUNCTION sync.webhook_connection(domain text, body bytea, signature text, OUT connection text, OUT reason text, OUT broken boolean)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	shop record;
	key text;
BEGIN
	reason := 'no enabled connection is of this shop';
	broken := false;
	FOR shop IN
		SELECT c.name, coalesce(nullif(sync.setting_value(c.name, 'webhook_secret_ref'), ''),
								CASE WHEN c.username IS NOT NULL THEN c.secret_ref END) AS keys
		FROM sync.connection c LEFT JOIN sync.shopify_shop s ON s.connection = c.name
		WHERE c.kind = 'shopify' AND c.enabled
		  AND webhook_connection.domain IN (lower(substring(c.base_url FROM '^https?://([^/:]+)')), lower(c.settings ->> 'shop_domain'), lower(s.domain))
		ORDER BY c.name
	LOOP
		connection := shop.name;
		reason := 'the signature is not right';
		IF shop.keys IS NULL THEN
			reason := 'the connection has no key for webhooks: set webhook_secret_ref';
			broken := true;
			CONTINUE;
		END IF;
		FOREACH key IN ARRAY string_to_array(shop.keys, ',') LOOP
			BEGIN
				IF sync.webhook_signature_good(btrim(key), body, signature) THEN
					reason := NULL;
					broken := false;
					RETURN;
				END IF;
			EXCEPTION WHEN undefined_object OR insufficient_privilege OR invalid_parameter_value OR wrong_object_type OR invalid_name
				OR io_error OR undefined_file OR program_limit_exceeded THEN
				reason := 'the key for webhooks cannot be read: ' || SQLERRM;
				broken := true;
			END;
		END LOOP;
	END LOOP;
END
$$;

-- Somebody must put a key right; told once a day.
CREATE FUNCTION sync.webhook_tell_broken(connection text, reason text) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM sync.notification n
				   WHERE n.kind = 'webhook_key' AND n.created_at > now() - interval '1 day' AND n.details ->> 'connection' = connection) THEN
		PERFORM sync.notify(NULL, 'error', 'webhook_key', format('Webhooks of "%s" are refused: %s', connection, reason),
			jsonb_build_object('connection', connection));
	END IF;
END
$$;

-- The product that an inventory item belongs to.  Only linked ones: the stock of others is not compared.
CREATE FUNCTION sync.webhook_product_of_item(connection text, inventory_item_id bigint) RETURNS bigint
LANGUAGE sql STABLE SET search_path = '' AS $$
	SELECT p.remote_id FROM sync.listing l JOIN sync.product_listing p ON p.id = l.product_listing_id
	WHERE l.connection = $1 AND l.inventory_item_id = $2
	ORDER BY p.id LIMIT 1
$$;

-- A bulk operation ended: whoever waits for it looks now.  Returns whether anybody does.
CREATE FUNCTION sync.webhook_bulk_finished(connection text) RETURNS boolean
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	UPDATE sync.job j SET run_at = now()
	WHERE j.id IN (SELECT w.id FROM sync.job w
				   WHERE w.kind = 'shopify_bulk_poll' AND w.payload ->> 'connection' = webhook_bulk_finished.connection
					 AND w.lease_owner IS NULL AND w.run_at > now()
				   FOR UPDATE SKIP LOCKED);
	IF FOUND THEN
		PERFORM sync.wake();
	END IF;
	RETURN FOUND;
END
$$;

-- A webhook that is what it says to be: what follows from it, once.
CREATE FUNCTION sync.webhook_take(connection text, head record, body bytea, about text) RETURNS json
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	content record;
	remote_id bigint;
	useful boolean;
	reason text;
BEGIN
	SELECT * INTO content FROM sync.webhook_body(body);
	IF NOT content.readable OR (about IN ('product', 'inventory') AND coalesce(content.id, content.inventory_item_id) IS NULL) THEN
		RETURN sync.webhook_refuse(400, 'the body cannot be read', 'the signature is right, but the body is no JSON object with a number in it',
			connection, head, octet_length(body));
	END IF;
	CASE about
		WHEN 'product' THEN
			remote_id := content.id;
			useful := remote_id IS NOT NULL;
		WHEN 'inventory' THEN
			remote_id := sync.webhook_product_of_item(connection, coalesce(content.inventory_item_id, content.id));
			useful := remote_id IS NOT NULL;
			reason := CASE WHEN NOT useful THEN format('no linked product has inventory item %s', coalesce(content.inventory_item_id, content.id)) END;
		WHEN 'bulk' THEN
			remote_id := content.id;
			useful := true;
		WHEN 'app' THEN
			-- The topic is not signed.  So that no other body can be passed off as this one, the shop must name itself in it.
			useful := lower(content.domain) = head.domain;
			reason := CASE WHEN useful IS NOT TRUE THEN 'the body is not of this shop' END;
	END CASE;
	useful := coalesce(useful, false);
	IF NOT sync.webhook_note(CASE WHEN useful THEN 'enqueued' ELSE 'ignored' END, reason, connection, head, remote_id, octet_length(body)) THEN
		PERFORM sync.webhook_note('duplicate', NULL, connection, head, remote_id, octet_length(body));
		RETURN json_build_object('result', 'duplicate');
	END IF;
	IF useful THEN
		CASE about
			WHEN 'bulk' THEN
				PERFORM sync.webhook_bulk_finished(connection);
			WHEN 'app' THEN
				PERFORM sync.shopify_pause(connection, 'the app was removed from the shop; install it again, then sync_resume()', NULL);
			ELSE
				PERFORM sync.shopify_product_fetch(connection, remote_id, 1, CASE head.topic WHEN 'products/delete' THEN 'webhook' END);
		END CASE;
	END IF;
	RETURN json_build_object('result', CASE WHEN useful THEN 'enqueued' ELSE 'ignored' END);
END
$$;

-- From the cheapest check to the dearest: what is not from Shopify costs little.
CREATE FUNCTION sync.webhook_receive(body bytea) RETURNS json
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	head record;
	bytes constant bigint := coalesce(octet_length(body), 0);
	sender record;
	topic_about text;
BEGIN
	SELECT * INTO head FROM sync.webhook_headers();
	IF bytes > sync.setting_value(NULL, 'webhook_max_bytes')::bigint THEN
		RETURN sync.webhook_refuse(413, 'the body is too large', 'more than webhook_max_bytes', NULL, head, bytes);
	ELSIF body IS NULL OR coalesce(head.topic, '') = '' OR coalesce(head.signature, '') = '' OR coalesce(head.domain, '') = ''
		OR coalesce(head.webhook_id, '') = '' THEN
		RETURN sync.webhook_refuse(400, 'this is no webhook of Shopify', 'the body, or one of the headers Topic, Hmac-Sha256, Shop-Domain, Webhook-Id, is missing',
			NULL, head, bytes);
	END IF;
	SELECT * INTO sender FROM sync.webhook_connection(head.domain, body, head.signature);
	IF sender.broken THEN
		PERFORM sync.webhook_tell_broken(sender.connection, sender.reason);
		RETURN sync.webhook_refuse(503, 'try again later', sender.reason, sender.connection, head, bytes);
	ELSIF sender.reason IS NOT NULL THEN
		RETURN sync.webhook_refuse(401, 'the signature is not right', sender.reason, sender.connection, head, bytes);
	END IF;
	SELECT t.about INTO topic_about FROM sync.webhook_topics() t WHERE t.topic = head.topic;
	IF topic_about IS NULL THEN
		RETURN sync.webhook_refuse(404, 'nobody wants this topic', 'the topic is not known', sender.connection, head, bytes);
	END IF;
	RETURN sync.webhook_take(sender.connection, head, body, topic_about);
END
$$;

CREATE FUNCTION @extschema@.sync_webhook_shopify(bytea) RETURNS json
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = '' AS 'SELECT sync.webhook_receive($1)';
ALTER FUNCTION @extschema@.sync_webhook_shopify(bytea) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_webhook_shopify(bytea) TO sync_operator;
COMMENT ON FUNCTION @extschema@.sync_webhook_shopify(bytea) IS
'Takes a webhook of Shopify: the raw bytes of its body, the headers in the setting request.headers, as PostgREST calls a function with one unnamed bytea argument (Content-Type: application/octet-stream). Verifies the signature, and has the product read again that it is about. Returns {"result": "enqueued" | "duplicate" | "ignored"}, or {"error": ...} with response.status 400 (no webhook, or unreadable), 401 (signature or shop), 404 (topic), 413 (more than webhook_max_bytes) or 503 (the key cannot be read). sync.webhook_event has a row of each. Raises no error for what a webhook holds.';

CREATE FUNCTION @extschema@.sync_webhook_shopify_json(json) RETURNS json
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = '' AS $$ SELECT sync.webhook_receive(convert_to($1::text, 'UTF8')) $$;
ALTER FUNCTION @extschema@.sync_webhook_shopify_json(json) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_webhook_shopify_json(json) TO sync_operator;
COMMENT ON FUNCTION @extschema@.sync_webhook_shopify_json(json) IS
'The same as sync_webhook_shopify(bytea), for webhooks as Shopify sends them, with Content-Type: application/json: type json keeps the text as it came, so the signature holds. What is no JSON is refused by PostgREST before it gets here.';
