-- The subscriptions that make a shop send its webhooks: made where they are missing, put right where they point elsewhere, and looked at
-- again each day, since Shopify removes a subscription whose webhooks failed for four hours.
--
-- A job of kind shopify_webhooks either lists what the shop has (step list) or makes one right (step set).  Only subscriptions that we made,
-- or that point to our address, are touched: others may be somebody else's of the same app.

CREATE FUNCTION sync.install_part_57_webhook_subscription() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('webhook_url', '', '', 'Shopify: the address at which the shop''s webhooks arrive, with https. Empty: none are asked for.'),
		('webhook_verify_every', '1 day', 'interval', 'Shopify: how often it is verified that the shop still has its webhook subscriptions.')
	ON CONFLICT (name) DO NOTHING;
	INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, description) VALUES
		('shopify_webhooks', true, 3, 8, 6, 'A shop''s webhook subscriptions: listed, made, put right')
	ON CONFLICT (kind) DO NOTHING;
END
$$;

-- What a connection is set to: NULL where it wants no webhooks.
CREATE FUNCTION sync.webhook_url(connection text) RETURNS text
LANGUAGE sql STABLE SET search_path = '' AS $$ SELECT nullif(btrim(sync.setting_value(connection, 'webhook_url')), '') $$;

-- Looks at the subscriptions of the shops that are due, or of one at once.  Returns how many.
CREATE FUNCTION sync.webhooks_look(only_connection text, due_only boolean) RETURNS integer
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	shop text;
	looks integer := 0;
BEGIN
	FOR shop IN
		SELECT c.name FROM sync.connection c
		WHERE c.kind = 'shopify' AND c.enabled AND c.name = coalesce(only_connection, c.name) AND sync.webhook_url(c.name) IS NOT NULL
		  AND NOT (due_only AND (SELECT count(*) FROM sync.webhook_subscription s JOIN sync.webhook_topics() t ON t.topic = s.topic
								 WHERE s.connection = c.name AND s.uri = sync.webhook_url(c.name)
								   AND s.verified_at > now() - sync.setting_value(c.name, 'webhook_verify_every')::interval)
						   = (SELECT count(*) FROM sync.webhook_topics()))
		ORDER BY c.name
	LOOP
		PERFORM sync.job_enqueue('shopify_webhooks', NULL, jsonb_build_object('connection', shop, 'step', 'list'), shop);
		looks := looks + 1;
	END LOOP;
	RETURN looks;
END
$$;

CREATE FUNCTION @extschema@.sync_webhooks_ensure(connection text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
	looks integer;
BEGIN
	looks := sync.webhooks_look(connection, false);
	IF looks = 0 AND connection IS NOT NULL THEN
		RAISE EXCEPTION '"%" is no enabled Shopify connection with setting webhook_url', connection
			USING ERRCODE = 'no_data_found',
				  HINT = format($h$UPDATE sync.connection SET settings = settings || '{"webhook_url": "https://..."}' WHERE name = %L;$h$, connection);
	END IF;
	RETURN looks;
END
$$;
ALTER FUNCTION @extschema@.sync_webhooks_ensure(text) OWNER TO sync_worker;
GRANT EXECUTE ON FUNCTION @extschema@.sync_webhooks_ensure(text) TO sync_operator;
COMMENT ON FUNCTION @extschema@.sync_webhooks_ensure(text) IS
'Has the webhook subscriptions of a shop made or put right, now; without a name those of all shops that have setting webhook_url. Returns how many shops are looked at; sync.webhook_subscription tells what came of it. Error P0002 when the named one is no enabled Shopify connection with webhook_url.';

-- Asking -------------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.webhook_subscription_request(payload jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	shop constant text := payload ->> 'connection';
	fields constant text := ' { webhookSubscription { id topic uri } userErrors { field message } } }';
	wanted jsonb;
BEGIN
	IF payload ->> 'step' = 'list' THEN
		RETURN sync.shopify_request(shop, 'query { webhookSubscriptions(first: 250) { nodes { id topic uri } } }', '{}');
	END IF;
	SELECT jsonb_strip_nulls(jsonb_build_object('uri', sync.webhook_url(shop), 'format', 'JSON', 'includeFields', to_jsonb(t.fields))) INTO wanted
	FROM sync.webhook_topics() t WHERE t.enum = payload ->> 'topic';
	IF payload ? 'remote_id' THEN
		RETURN sync.shopify_request(shop, 'mutation($id: ID!, $wanted: WebhookSubscriptionInput!) { webhookSubscriptionUpdate(id: $id, webhookSubscription: $wanted)' || fields,
			jsonb_build_object('id', 'gid://shopify/WebhookSubscription/' || (payload ->> 'remote_id'), 'wanted', wanted));
	END IF;
	RETURN sync.shopify_request(shop, 'mutation($topic: WebhookSubscriptionTopic!, $wanted: WebhookSubscriptionInput!) { webhookSubscriptionCreate(topic: $topic, webhookSubscription: $wanted)' || fields,
		jsonb_build_object('topic', payload ->> 'topic', 'wanted', wanted));
END
$$;

-- A job whose shop wants no webhooks any more gives no request, and so is done.
CREATE FUNCTION sync.request_shopify_webhooks(job_ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	shop record;
BEGIN
	FOR shop IN
		SELECT c.name, array_agg(j.id ORDER BY j.id) AS ids, array_agg(sync.webhook_subscription_request(j.payload) ORDER BY j.id) AS requests,
			   array_agg(CASE j.payload ->> 'step' WHEN 'list' THEN sync.shopify_list_cost(250, 0) ELSE 11 END ORDER BY j.id) AS costs
		FROM sync.job j JOIN sync.connection c ON c.name = j.payload ->> 'connection'
		WHERE j.id = ANY (job_ids) AND c.enabled AND c.kind = 'shopify' AND sync.webhook_url(c.name) IS NOT NULL
		GROUP BY c.name ORDER BY c.name
	LOOP
		RETURN QUERY SELECT s.job_id, s.request FROM sync.shopify_schedule(shop.name, shop.ids, shop.requests, shop.costs) s;
	END LOOP;
END
$$;

-- Answers ------------------------------------------------------------------------------------------------------------------------

-- One topic's row; a new error is told.
CREATE FUNCTION sync.webhook_subscription_write(connection text, topic text, remote_id bigint, uri text, error text) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	before text;
BEGIN
	SELECT s.error INTO before FROM sync.webhook_subscription s WHERE s.connection = $1 AND s.topic = $2;
	INSERT INTO sync.webhook_subscription AS s (connection, topic, remote_id, uri, verified_at, error)
	VALUES ($1, $2, $3, $4, CASE WHEN $5 IS NULL THEN now() END, $5)
	ON CONFLICT (connection, topic) DO UPDATE SET remote_id = coalesce(excluded.remote_id, s.remote_id), uri = excluded.uri,
		verified_at = coalesce(excluded.verified_at, s.verified_at), error = excluded.error;
	IF $5 IS NOT NULL AND before IS DISTINCT FROM $5 THEN
		PERFORM sync.notify(NULL, 'warning', 'webhook_subscription', format('Shop "%s" has no webhook for %s: %s', $1, $2, $5),
			jsonb_build_object('connection', $1, 'topic', $2, 'hint',
				'What webhooks do not tell is found by the next reading. The app needs the scopes of the topic; webhook_url must be an https address that Shopify reaches.'));
	END IF;
END
$$;

-- What the shop has against what it should have: right ones are noted, the rest gets a job each.
CREATE FUNCTION sync.webhook_subscriptions_compare(connection text, nodes jsonb, again boolean) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	wanted_uri constant text := sync.webhook_url($1);
	item record;
	lost text[] := '{}';
	set_jobs integer := 0;
BEGIN
	FOR item IN
		SELECT t.topic, t.enum, own.remote_id AS right_id, mine.remote_id AS mine_id, s.uri = wanted_uri AND s.verified_at IS NOT NULL AS was_right
		FROM sync.webhook_topics() t
		LEFT JOIN sync.webhook_subscription s ON s.connection = $1 AND s.topic = t.topic
		LEFT JOIN LATERAL (SELECT sync.shopify_number(n.value ->> 'id') AS remote_id FROM jsonb_array_elements(nodes) n
						   WHERE n.value ->> 'topic' = t.enum AND n.value ->> 'uri' = wanted_uri ORDER BY 1 LIMIT 1) own ON true
		LEFT JOIN LATERAL (SELECT s.remote_id FROM jsonb_array_elements(nodes) n
						   WHERE n.value ->> 'topic' = t.enum AND sync.shopify_number(n.value ->> 'id') = s.remote_id LIMIT 1) mine ON true
	LOOP
		IF item.right_id IS NOT NULL THEN
			PERFORM sync.webhook_subscription_write($1, item.topic, item.right_id, wanted_uri, NULL);
			CONTINUE;
		END IF;
		IF item.was_right THEN
			lost := lost || item.topic;
		END IF;
		PERFORM sync.job_enqueue('shopify_webhooks', NULL, jsonb_strip_nulls(jsonb_build_object('connection', $1, 'step', 'set', 'topic', item.enum,
			'remote_id', item.mine_id, 'again', CASE WHEN again THEN true END)), $1 || '/' || item.enum);
		set_jobs := set_jobs + 1;
	END LOOP;
	IF cardinality(lost) > 0 THEN
		PERFORM sync.notify(NULL, 'warning', 'webhook_missing',
			format('Shop "%s" had lost its webhooks for %s; they are made anew', $1, array_to_string(lost, ', ')),
			jsonb_build_object('connection', $1, 'topics', to_jsonb(lost), 'hint',
				'Shopify removes a subscription whose webhooks failed for four hours: see that webhook_url can be reached. SELECT sync_run_shopify_down() reads what was missed.'));
	END IF;
	RETURN jsonb_build_object('verified', (SELECT count(*) FROM sync.webhook_topics()) - set_jobs, 'wrong', set_jobs);
END
$$;

-- One subscription was made or changed, or Shopify says why not.
CREATE FUNCTION sync.webhook_subscription_answer(payload jsonb, data jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	shop constant text := payload ->> 'connection';
	topic constant text := (SELECT t.topic FROM sync.webhook_topics() t WHERE t.enum = payload ->> 'topic');
	made jsonb := coalesce(data -> 'webhookSubscriptionCreate', data -> 'webhookSubscriptionUpdate');
	problem text := (SELECT string_agg(left(e.value ->> 'message', 300), '; ')
					 FROM jsonb_array_elements(CASE WHEN jsonb_typeof(made -> 'userErrors') = 'array' THEN made -> 'userErrors' ELSE '[]' END) e);
BEGIN
	IF problem ~* 'already been taken' AND NOT payload ? 'again' THEN
		-- It is there: a request before this one made it, whose answer was lost.
		PERFORM sync.job_enqueue('shopify_webhooks', NULL, jsonb_build_object('connection', shop, 'step', 'list', 'again', true), shop,
			now() + interval '2 seconds');
		RETURN '{}';
	ELSIF problem IS NULL AND sync.shopify_number(made #>> '{webhookSubscription,id}') IS NULL THEN
		problem := 'the answer has no subscription in it';
	END IF;
	PERFORM sync.webhook_subscription_write(shop, topic, sync.shopify_number(made #>> '{webhookSubscription,id}'), sync.webhook_url(shop), problem);
	RETURN jsonb_build_object(CASE WHEN problem IS NULL THEN 'made' ELSE 'refused' END, 1);
END
$$;

CREATE FUNCTION sync.response_shopify_webhooks(job_ids bigint[], results jsonb[], bodies bytea[])
RETURNS TABLE (job_id bigint, outcome text, retry_in interval, error jsonb, counts jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	answer record;
	payload jsonb;
	nodes jsonb;
BEGIN
	FOR i IN 1 .. cardinality(job_ids) LOOP
		job_id := job_ids[i];
		SELECT j.payload INTO payload FROM sync.job j WHERE j.id = job_ids[i];
		answer := sync.shopify_answer(payload ->> 'connection', job_id, results[i], bodies[i]);
		outcome := coalesce(answer.outcome, 'done');
		retry_in := answer.retry_in;
		error := answer.error;
		counts := '{}';
		nodes := answer.data #> '{webhookSubscriptions,nodes}';
		IF outcome = 'done' AND sync.webhook_url(payload ->> 'connection') IS NOT NULL THEN
			IF payload ->> 'step' = 'set' THEN
				counts := sync.webhook_subscription_answer(payload, answer.data);
			ELSIF jsonb_typeof(nodes) = 'array' THEN
				counts := sync.webhook_subscriptions_compare(payload ->> 'connection', nodes, payload ? 'again');
			ELSE
				outcome := 'retry';
				error := '{"class": "validation", "message": "Shopify''s answer has no list of webhook subscriptions"}';
			END IF;
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;

-- It could not be found out, or not be put right: told, and tried again by the clock.
CREATE FUNCTION sync.failed_shopify_webhooks(job_id bigint, error jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	payload jsonb := (SELECT j.payload FROM sync.job j WHERE j.id = job_id);
	shop text := (SELECT c.name FROM sync.connection c WHERE c.name = payload ->> 'connection');
BEGIN
	IF shop IS NOT NULL AND sync.webhook_url(shop) IS NOT NULL THEN
		PERFORM sync.webhook_subscription_write(shop, t.topic, NULL, sync.webhook_url(shop), left(coalesce(error ->> 'message', 'unknown'), 500))
		FROM sync.webhook_topics() t WHERE payload ->> 'step' = 'set' AND t.enum = payload ->> 'topic';
		IF payload ->> 'step' = 'list' THEN
			PERFORM sync.notify(NULL, 'warning', 'webhook_subscription', format('The webhooks of shop "%s" could not be verified: %s', shop, error ->> 'message'),
				jsonb_build_object('connection', shop));
		END IF;
	END IF;
END
$$;
