-- New products for a shop: looked for by their handle (step find), made whole by productSet, whose lists are complete here (create), read back
-- with what Shopify made of them (read), and published (publish).
--
-- productSet has no idempotency key: when its answer is lost, the product that has the handle and our SKUs is it.

CREATE FUNCTION sync.install_part_88_push_create() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('push_publish_to', 'Online Store', '', 'Shopify: sales channels on which a new active product is published, apart by commas; empty is none.')
	ON CONFLICT (name) DO NOTHING;
END
$$;

-- A product's document as ProductSetInput takes it.
CREATE FUNCTION sync.push_set_input(document jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = '' AS $$
DECLARE
	input jsonb;
	options text[] := ARRAY(SELECT DISTINCT o FROM jsonb_each(document -> 'variants') v CROSS JOIN LATERAL jsonb_object_keys(coalesce(nullif(v.value -> 'options', 'null'), '{}')) o ORDER BY 1);
	product jsonb := (SELECT jsonb_object_agg(e.key, e.value) FROM jsonb_each(document) e
					  WHERE e.key IN ('handle', 'title', 'description', 'vendor', 'type', 'status', 'tags') AND e.value NOT IN ('null', '""', '[]'));
BEGIN
	input := sync.push_product_input(product || coalesce((SELECT jsonb_object_agg('attributes.' || e.key, e.value) FROM jsonb_each(document -> 'attributes') e
		WHERE e.key IN ('seo_title', 'seo_description') AND e.value <> 'null'), '{}'));
	IF document -> 'metafields' <> '{}' THEN
		input := input || jsonb_build_object('metafields', (
			SELECT jsonb_agg(jsonb_build_object('namespace', split_part(e.key, '.', 1), 'key', substr(e.key, length(split_part(e.key, '.', 1)) + 2), 'type', m.its_type, 'value', m.content) ORDER BY e.key)
			FROM jsonb_each(document -> 'metafields') e CROSS JOIN LATERAL sync.push_metafield(e.value, NULL) m WHERE e.value NOT IN ('null', '""')));
	END IF;
	IF jsonb_array_length(coalesce(nullif(document -> 'images', 'null'), '[]')) > 0 THEN
		input := input || jsonb_build_object('files', (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('originalSource', i.value -> 'src', 'alt', i.value -> 'alt', 'contentType', 'IMAGE')) ORDER BY i.no)
			FROM jsonb_array_elements(document -> 'images') WITH ORDINALITY AS i (value, no)));
	END IF;
	IF options = '{}' THEN
		options := ARRAY['Title'];
	END IF;
	RETURN input || jsonb_build_object(
		'productOptions', (SELECT jsonb_agg(jsonb_build_object('name', o.name, 'position', o.no, 'values', (
				SELECT jsonb_agg(DISTINCT jsonb_build_object('name', coalesce(v.value -> 'options' ->> o.name, 'Default Title'))) FROM jsonb_each(document -> 'variants') v)) ORDER BY o.no)
			FROM unnest(options) WITH ORDINALITY AS o (name, no)),
		'variants', (SELECT jsonb_agg(sync.push_variant_input(sync.push_variant_fields(v.value - 'options') || jsonb_build_object('tracked', true))
				|| jsonb_build_object('sku', v.key, 'position', v.no, 'optionValues', (
					SELECT jsonb_agg(jsonb_build_object('optionName', o, 'name', coalesce(v.value -> 'options' ->> o, 'Default Title'))) FROM unnest(options) o)) ORDER BY v.no)
			FROM (SELECT e.key, e.value, row_number() OVER (ORDER BY e.key) AS no FROM jsonb_each(document -> 'variants') e) v));
END
$$;
COMMENT ON FUNCTION sync.push_set_input(jsonb) IS 'A product''s document as Shopify''s ProductSetInput, for a product that is new: all its lists are there, since productSet deletes what a list leaves out.';

CREATE FUNCTION sync.push_create_request(call_id bigint, OUT request jsonb, OUT cost numeric, OUT body jsonb)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	push sync.push := (SELECT p FROM sync.push p WHERE p.call_id = call.id AND p.ended_at IS NULL);
	document jsonb := push.wanted -> 'document';
	foreign_variant record;
	query record;
BEGIN
	IF push.id IS NULL THEN
		RETURN;
	END IF;
	CASE call.step
		WHEN 'find' THEN
			IF push.state = 'checking' AND document IS DISTINCT FROM (SELECT d.document FROM sync.product_documents(ARRAY[push.product_id]) d) THEN
				PERFORM sync.push_end(ARRAY[push.id], 'stale', sync.push_words(push.id) || ': it changed here after it was approved');
				RETURN;
			END IF;
			SELECT v.key, v.value ->> 'currency' AS currency, s.currency AS shop INTO foreign_variant
			FROM jsonb_each(document -> 'variants') v JOIN sync.shopify_shop s ON s.connection = call.connection AND s.currency <> v.value ->> 'currency' ORDER BY 1 LIMIT 1;
			IF FOUND THEN
				PERFORM sync.push_end(ARRAY[push.id], 'failed', format('%s: %s is in %s, but the shop sells in %s; set the amounts and currency of the variants, or reject this',
					sync.push_words(push.id), foreign_variant.key, foreign_variant.currency, foreign_variant.shop), '{"class": "validation"}');
				RETURN;
			END IF;
			request := sync.shopify_request(call.connection,
				'query($identifier: ProductIdentifierInput!) { productByIdentifier(identifier: $identifier) { id handle title variants(first: 250) { nodes { id sku } } } }',
				jsonb_build_object('identifier', jsonb_build_object('handle', document -> 'handle')));
			cost := 2 + sync.shopify_list_cost(250, 0);
		WHEN 'create' THEN
			request := sync.shopify_request(call.connection,
				'mutation($input: ProductSetInput!) { productSet(input: $input, synchronous: true) { product { id } userErrors { field message code } } }',
				jsonb_build_object('input', sync.push_set_input(document))) || '{"once": true}';
			cost := 11 + (SELECT round(0.2 * count(*)) FROM jsonb_object_keys(document -> 'variants'))
				+ round(0.4 * (SELECT count(*) FROM jsonb_object_keys(document -> 'metafields')) + 1.9 * jsonb_array_length(coalesce(nullif(document -> 'images', 'null'), '[]')));
			body := coalesce(call.request, '{}');
		WHEN 'read' THEN
			query := sync.shopify_product_query(jsonb_build_object('connection', call.connection, 'remote_id', push.remote_id, 'variants',
				(SELECT least(count(*) + 1, 2048) FROM jsonb_object_keys(document -> 'variants'))));
			request := query.request;
			cost := query.cost;
		ELSE
			request := sync.shopify_request(call.connection,
				'mutation($id: ID!, $input: [PublicationInput!]!) { publishablePublish(id: $id, input: $input) { userErrors { field message } } }',
				jsonb_build_object('id', sync.shopify_gid('Product', push.remote_id), 'input', (
					SELECT jsonb_agg(jsonb_build_object('publicationId', sync.shopify_gid('Publication', n::bigint))) FROM jsonb_array_elements_text(call.request -> 'publications') n)));
			cost := 10;
	END CASE;
END
$$;

CREATE FUNCTION sync.push_create_response(call_id bigint, data jsonb, OUT outcome text, OUT retry_in interval, OUT error jsonb)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	push sync.push := (SELECT p FROM sync.push p WHERE p.call_id = call.id AND p.ended_at IS NULL);
	found jsonb;
	result record;
	remote bigint;
	channels jsonb;
BEGIN
	outcome := 'defer';
	retry_in := interval '0';
	CASE call.step
		WHEN 'find' THEN
			found := nullif(data -> 'productByIdentifier', 'null');
			IF found IS NULL THEN
				UPDATE sync.push_call c SET step = 'create' WHERE c.id = call.id;
			ELSIF (SELECT count(*) FROM jsonb_array_elements(found #> '{variants,nodes}') v WHERE push.wanted #> '{document,variants}' ? (v ->> 'sku')) > 0 THEN
				remote := sync.shopify_number(found ->> 'id');
				IF call.sent_at IS NULL THEN
					-- It was there all the time: nothing of it was agreed on.
					outcome := 'done';
					PERFORM sync.push_end(ARRAY[push.id], 'failed', format('%s: the shop has it already, as "%s": it is read and linked, then what differs is offered',
						sync.push_words(push.id), left(found ->> 'title', 200)), '{"class": "validation"}');
					PERFORM sync.shopify_product_fetch(call.connection, remote);
					PERFORM sync.push_call_finish(call.id);
					RETURN;
				END IF;
				-- Made by us, and the answer was lost.
				UPDATE sync.push p SET remote_id = remote WHERE p.id = push.id;
				UPDATE sync.push_call c SET step = 'read' WHERE c.id = call.id;
			ELSE
				outcome := 'done';
				PERFORM sync.push_end(ARRAY[push.id], 'failed', format('%s: the shop has another product with the handle "%s", "%s"; change the handle here, or link the two',
					sync.push_words(push.id), found ->> 'handle', left(found ->> 'title', 200)), '{"class": "validation"}');
				PERFORM sync.push_call_finish(call.id);
			END IF;
		WHEN 'create' THEN
			result := sync.push_payload(data -> 'productSet');
			IF result.good THEN
				UPDATE sync.push p SET remote_id = sync.shopify_number(data #>> '{productSet,product,id}') WHERE p.id = push.id;
				UPDATE sync.push_call c SET step = 'read' WHERE c.id = call.id;
			ELSIF result.verdict <> 'fail' THEN
				-- It may have been made all the same.
				PERFORM sync.push_move(ARRAY[push.id], 'retry', call.id, result.message);
				UPDATE sync.push_call c SET step = 'find' WHERE c.id = call.id;
				outcome := 'retry';
				retry_in := NULL;
				error := jsonb_build_object('class', 'api_limit', 'message', result.message);
			ELSE
				outcome := 'done';
				PERFORM sync.push_end(ARRAY[push.id], 'failed', format('%s: Shopify refuses it: %s', sync.push_words(push.id), result.message),
					jsonb_build_object('class', 'validation', 'signal', result.code));
				PERFORM sync.push_call_finish(call.id);
			END IF;
		WHEN 'read' THEN
			IF nullif(data -> 'product', 'null') IS NULL THEN
				outcome := 'retry';
				error := jsonb_build_object('class', 'validation', 'message', 'the product that was just made cannot be read');
			ELSIF sync.push_media_wait(call.id, data -> 'product') THEN
				retry_in := interval '2 seconds';
			ELSE
				PERFORM sync.push_created(push.id, data -> 'product');
				channels := sync.push_channels(call.connection, push.wanted #>> '{document,status}');
				IF channels = '[]' THEN
					PERFORM sync.push_end(ARRAY[push.id], 'synced');
					PERFORM sync.push_call_finish(call.id);
					outcome := 'done';
				ELSE
					UPDATE sync.push_call c SET step = 'publish', request = coalesce(c.request, '{}') || jsonb_build_object('publications', channels) WHERE c.id = call.id;
				END IF;
			END IF;
		ELSE
			result := sync.push_payload(data -> 'publishablePublish');
			IF NOT result.good THEN
				-- The product is there: that it cannot be bought yet is for a person.
				PERFORM sync.notify(push.run_id, 'warning', 'push_not_published', format('%s is in shop "%s", but was not published: %s', sync.push_words(push.id), call.connection, result.message),
					jsonb_build_object('connection', call.connection, 'product_id', push.product_id));
			END IF;
			PERFORM sync.push_end(ARRAY[push.id], 'synced');
			PERFORM sync.push_call_finish(call.id);
			outcome := 'done';
	END CASE;
END
$$;

-- Whether images of a product are still being worked on at Shopify, which is waited for some minutes.
CREATE FUNCTION sync.push_media_wait(call_id bigint, product jsonb) RETURNS boolean
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	waited integer;
BEGIN
	IF NOT EXISTS (SELECT FROM unnest(sync.shopify_list(product -> 'media')) m WHERE m ->> 'mediaContentType' = 'IMAGE' AND m #>> '{image,url}' IS NULL
				   AND m ->> 'status' IS DISTINCT FROM 'FAILED') THEN
		RETURN false;
	END IF;
	UPDATE sync.push_call c SET request = coalesce(c.request, '{}') || jsonb_build_object('waited', coalesce((c.request ->> 'waited')::integer, 0) + 1)
	WHERE c.id = call_id RETURNING (c.request ->> 'waited')::integer INTO waited;
	RETURN waited < 90;
END
$$;

-- A product that was made in the shop: into the mirror, linked, and agreed on as Shopify has it.
CREATE FUNCTION sync.push_created(push_id bigint, product jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	push sync.push := (SELECT p FROM sync.push p WHERE p.id = push_id);
	mirror bigint;
	products sync.merge_product[];
BEGIN
	PERFORM sync.shopify_nodes_write(push.connection, NULL, clock_timestamp(), jsonb_build_array(product));
	SELECT m.id INTO mirror FROM sync.shopify_product m WHERE m.connection = push.connection AND m.remote_id = push.remote_id;
	INSERT INTO sync.product_listing (connection, product_id, remote_id) VALUES (push.connection, push.product_id, push.remote_id)
	ON CONFLICT DO NOTHING;
	products := ARRAY(SELECT p FROM sync.merge_products(push.connection, ARRAY[mirror]) p WHERE p.product_id = push.product_id);
	IF products = '{}' THEN
		-- A reading linked it to something else in the meantime: that stands.
		RETURN;
	END IF;
	PERFORM sync.shop_listings(push.connection, products);
	-- All that is there was given by us: where Shopify writes it otherwise, ours stands beside it.
	UPDATE sync.product_listing l SET merged_at = now(), base = p.shop - 'variants', base_local = coalesce(d.ours, '{}') - 'variants'
	FROM unnest(products) p
	LEFT JOIN LATERAL (
		SELECT sync.document_patch_all('{"variants": {}}', array_agg(f.path), array_agg(f.local_value)) AS ours
		FROM sync.document_merge(NULL, NULL, p.local, p.shop) f WHERE f.status <> 'converged' AND f.path NOT LIKE 'variants[%') d ON true
	WHERE l.id = p.listing_id;
	UPDATE sync.listing i SET base = coalesce(p.shop -> 'variants' -> v.sku, '{}'), base_local = coalesce(d.ours -> 'variants' -> v.sku, '{}')
	FROM unnest(products) p
	LEFT JOIN LATERAL (
		SELECT sync.document_patch_all(jsonb_build_object('variants', (SELECT jsonb_object_agg(k, '{}'::jsonb) FROM jsonb_object_keys(p.shop -> 'variants') k)),
			array_agg(f.path), array_agg(f.local_value)) AS ours
		FROM sync.document_merge(NULL, NULL, p.local, p.shop) f WHERE f.status <> 'converged' AND f.path LIKE 'variants[%].%') d ON true
	JOIN sync.variant v ON v.product_id = p.product_id
	WHERE i.connection = push.connection AND i.variant_id = v.id;
	PERFORM sync.shop_stock_merge(push.run_id, push.connection, ARRAY[push.product_id]);
	UPDATE sync.shopify_product m SET merge_due = false WHERE m.id = mirror;
END
$$;

-- The sales channels on which a new product is published, as numbers of publications.
CREATE FUNCTION sync.push_channels(connection text, status text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	names text[] := ARRAY(SELECT lower(btrim(n)) FROM unnest(string_to_array(sync.setting_value(connection, 'push_publish_to'), ',')) n WHERE btrim(n) <> '');
	found jsonb;
BEGIN
	IF names = '{}' OR status IS DISTINCT FROM 'active' THEN
		RETURN '[]';
	END IF;
	SELECT coalesce(jsonb_agg(p.remote_id ORDER BY p.remote_id), '[]') INTO found
	FROM sync.shopify_publication p WHERE p.connection = push_channels.connection AND lower(p.name) = ANY (names);
	RETURN found;
END
$$;
