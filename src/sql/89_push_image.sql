-- Images of a product that the shop has: those that are gone here are taken off it, new ones are added, others keep their place in Shopify's
-- storage.  Shopify fetches an image on its own time and gives it an address of its own, so the call goes on (steps settle and reorder) until it
-- has them all; only then is it known what both sides agree on: the shop's addresses there, ours here.

-- Which of the shop's media each wanted image is (NULL: a new one), and which are to go.  base and base_local: the images at the last agreement,
-- the shop's and ours, side by side.
CREATE FUNCTION sync.push_image_plan(wanted jsonb, base jsonb, base_local jsonb, media jsonb, OUT places jsonb, OUT remove jsonb)
LANGUAGE plpgsql IMMUTABLE SET search_path = '' AS $$
DECLARE
	image record;
	address text;
	found text;
	used text[] := '{}';
	paired boolean := jsonb_array_length(coalesce(base_local, '[]')) = jsonb_array_length(coalesce(base, '[]'));
BEGIN
	places := '[]';
	FOR image IN SELECT i.no, i.value ->> 'src' AS src, i.value -> 'alt' AS alt FROM jsonb_array_elements(coalesce(nullif(wanted, 'null'), '[]')) WITH ORDINALITY AS i (value, no) ORDER BY 1 LOOP
		address := NULL;
		IF paired THEN
			SELECT b.value ->> 'src' INTO address
			FROM jsonb_array_elements(base_local) WITH ORDINALITY AS l (value, no) JOIN jsonb_array_elements(base) WITH ORDINALITY AS b (value, no) ON b.no = l.no
			WHERE split_part(l.value ->> 'src', '?', 1) = split_part(image.src, '?', 1) LIMIT 1;
		END IF;
		SELECT m ->> 'id' INTO found FROM jsonb_array_elements(coalesce(media, '[]')) m
		WHERE split_part(m ->> 'src', '?', 1) IN (split_part(address, '?', 1), split_part(image.src, '?', 1)) AND m ->> 'id' <> ALL (used) LIMIT 1;
		used := used || array_remove(ARRAY[found], NULL);
		places := places || jsonb_build_array(jsonb_build_object('id', found, 'src', image.src, 'alt', coalesce(image.alt, 'null')));
	END LOOP;
	SELECT coalesce(jsonb_agg(m -> 'id'), '[]') INTO remove FROM jsonb_array_elements(coalesce(media, '[]')) m
	WHERE m ->> 'kind' = 'IMAGE' AND m ->> 'id' <> ALL (used);
END
$$;

-- The mutations that change a product's images, for push_mutations().
CREATE FUNCTION sync.push_image_mutations(push_id bigint, seen jsonb) RETURNS TABLE (place integer, chunk integer, root text, type text, input jsonb, paths text[])
LANGUAGE plpgsql STABLE ROWS 2 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	push sync.push := (SELECT p FROM sync.push p WHERE p.id = push_id);
	listing sync.product_listing := (SELECT l FROM sync.product_listing l WHERE l.connection = push.connection AND l.product_id = push.product_id);
	gid text := sync.shopify_gid('Product', push.remote_id);
	plan record;
	files jsonb;
	added jsonb;
BEGIN
	IF NOT push.wanted ? 'images' THEN
		RETURN;
	END IF;
	plan := sync.push_image_plan(push.wanted -> 'images', listing.base -> 'images', coalesce(listing.base_local -> 'images', listing.base -> 'images'), seen -> 'media');
	SELECT jsonb_agg(f.file) INTO files FROM (
		SELECT jsonb_build_object('id', r, 'referencesToRemove', jsonb_build_array(gid)) AS file FROM jsonb_array_elements(plan.remove) r
		UNION ALL
		SELECT jsonb_build_object('id', p -> 'id', 'alt', coalesce(nullif(p -> 'alt', 'null'), '""')) FROM jsonb_array_elements(plan.places) p
		JOIN jsonb_array_elements(seen -> 'media') m ON m -> 'id' = p -> 'id' WHERE coalesce(m ->> 'alt', '') <> coalesce(p ->> 'alt', '')) f;
	SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('originalSource', p -> 'src', 'alt', p -> 'alt', 'mediaContentType', 'IMAGE')) ORDER BY o.no) INTO added
	FROM jsonb_array_elements(plan.places) WITH ORDINALITY AS o (value, no) CROSS JOIN LATERAL (SELECT o.value AS p) u WHERE p -> 'id' = 'null';
	IF files IS NOT NULL THEN
		RETURN QUERY SELECT 7, 0, 'fileUpdate(files: $%1$s) { files { id } userErrors { field message code } }', '[FileUpdateInput!]!', files, ARRAY['images'];
	END IF;
	IF added IS NOT NULL THEN
		RETURN QUERY SELECT 8, 0, 'productUpdate(product: {id: ' || to_json(gid)::text || '}, media: $%1$s) { product { id } userErrors { field message } }', '[CreateMediaInput!]!', added,
			ARRAY['images'];
	END IF;
END
$$;

-- The steps after the mutations: look until Shopify has all images, put them in order.
CREATE FUNCTION sync.push_image_request(call_id bigint, OUT request jsonb, OUT cost numeric, OUT body jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	gid text := (SELECT sync.shopify_gid('Product', p.remote_id) FROM sync.push p WHERE p.call_id = call.id AND p.ended_at IS NULL);
BEGIN
	IF gid IS NULL THEN
		RETURN;
	ELSIF call.step = 'settle' THEN
		request := sync.shopify_request(call.connection, format('query($id: ID!) { product(id: $id) { %s } }', (sync.push_selection(ARRAY['images'], false)).product),
			jsonb_build_object('id', gid));
		cost := 1 + sync.shopify_list_cost(250, 1);
	ELSE
		request := sync.shopify_request(call.connection,
			'mutation($id: ID!, $moves: [MoveInput!]!) { productReorderMedia(id: $id, moves: $moves) { job { id } mediaUserErrors { field message code } } }',
			jsonb_build_object('id', gid, 'moves', call.request -> 'moves'));
		cost := 11;
	END IF;
END
$$;

CREATE FUNCTION sync.push_image_response(call_id bigint, data jsonb, OUT outcome text, OUT retry_in interval, OUT error jsonb)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	push sync.push := (SELECT p FROM sync.push p WHERE p.call_id = call.id AND p.ended_at IS NULL);
	product jsonb := data -> 'product';
	before jsonb := coalesce(call.request -> 'seen' -> push.id::text -> 'media', '[]');
	listing sync.product_listing;
	wanted text[];
	present text[];
	fresh text[];
	shown jsonb;
	there jsonb;
	missing text;
BEGIN
	outcome := 'defer';
	retry_in := interval '0';
	IF call.step = 'reorder' THEN
		-- Done in the background: what came of it is looked at, and whatever that is stands.
		UPDATE sync.push_call c SET step = 'settle' WHERE c.id = call.id;
		retry_in := interval '1 second';
		RETURN;
	ELSIF jsonb_typeof(product) IS DISTINCT FROM 'object' THEN
		PERFORM sync.push_end(ARRAY[push.id], 'failed', sync.push_words(push.id) || ': the product is no longer in the shop', '{"class": "validation"}');
		PERFORM sync.push_call_finish(call.id);
		outcome := 'done';
		RETURN;
	ELSIF sync.push_media_wait(call.id, product) THEN
		retry_in := interval '2 seconds';
		RETURN;
	END IF;
	SELECT l.* INTO listing FROM sync.product_listing l WHERE l.connection = push.connection AND l.product_id = push.product_id;
	present := ARRAY(SELECT m ->> 'id' FROM unnest(sync.shopify_list(product -> 'media')) m WHERE m ->> 'mediaContentType' = 'IMAGE');
	-- New ones stand at the end, in the order in which they were added.
	fresh := ARRAY(SELECT f FROM unnest(present) WITH ORDINALITY AS f (f, n) WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(before) b WHERE b ->> 'id' = f) ORDER BY n);
	SELECT array_agg(coalesce(o.id, fresh[o.number]) ORDER BY o.no) INTO wanted
	FROM (SELECT p.value ->> 'id' AS id, p.no, count(*) FILTER (WHERE p.value -> 'id' = 'null') OVER (ORDER BY p.no) AS number
		  FROM sync.push_image_plan(push.wanted -> 'images', listing.base -> 'images', coalesce(listing.base_local -> 'images', listing.base -> 'images'), before) i
		  CROSS JOIN LATERAL jsonb_array_elements(i.places) WITH ORDINALITY AS p (value, no)) o;
	-- Those that Shopify could not fetch: all but they are agreed on, so that they are offered again.
	SELECT coalesce(jsonb_agg(i.value ORDER BY i.no) FILTER (WHERE f.id IS NULL), '[]'), string_agg(i.value ->> 'src', ', ' ORDER BY i.no) FILTER (WHERE f.id IS NOT NULL)
	INTO there, missing
	FROM jsonb_array_elements(coalesce(nullif(push.wanted -> 'images', 'null'), '[]')) WITH ORDINALITY AS i (value, no)
	LEFT JOIN (SELECT m ->> 'id' AS id FROM unnest(sync.shopify_list(product -> 'media')) m WHERE m ->> 'status' = 'FAILED') f ON f.id = wanted[i.no];
	wanted := array_remove(wanted, NULL);
	IF present IS DISTINCT FROM wanted AND cardinality(wanted) = cardinality(present) AND NOT call.request ? 'moves' THEN
		UPDATE sync.push_call c SET step = 'reorder', request = c.request || jsonb_build_object('moves', (
			SELECT jsonb_agg(jsonb_build_object('id', w, 'newPosition', (n - 1)::text) ORDER BY n) FROM unnest(wanted) WITH ORDINALITY AS u (w, n)))
		WHERE c.id = call.id;
		RETURN;
	END IF;
	shown := (sync.push_document(call.connection, product, '{}')).document -> 'images';
	UPDATE sync.push p SET wanted = p.wanted || jsonb_build_object('images', there) WHERE p.id = push.id AND missing IS NOT NULL;
	PERFORM sync.push_agreed(call.id, ARRAY[push.id], jsonb_build_object(push.id, jsonb_build_array(jsonb_build_object('images', shown, 'product', product - 'media'))), ARRAY['images']);
	IF missing IS NULL THEN
		PERFORM sync.push_end(ARRAY[push.id], 'synced');
	ELSE
		UPDATE sync.push p SET wanted = push.wanted WHERE p.id = push.id;
		PERFORM sync.push_end(ARRAY[push.id], 'failed', format('%s: Shopify could not fetch %s; correct the address here, then approve it again',
			sync.push_words(push.id), missing), '{"class": "validation"}');
	END IF;
	PERFORM sync.push_call_finish(call.id);
	outcome := 'done';
END
$$;
