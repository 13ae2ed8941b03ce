-- Stock: inventorySetQuantities with up to 250 levels, each compared by the shop with what we believe it to be (changeFromQuantity), under an
-- idempotency key.
--
-- The call's variables and key are committed before it goes out and sent again as they are when no answer comes, for as long as Shopify
-- remembers keys; so it happens once.  One level that is not as it was makes Shopify refuse them all: it is taken out and decided anew,
-- and the others go again under another key.

CREATE FUNCTION sync.push_stock_request(call_id bigint, OUT request jsonb, OUT cost numeric, OUT body jsonb)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	remembered constant interval := '20 hours';
	moved bigint[];
	gone bigint[];
	ids bigint[];
BEGIN
	IF call.sent_at < clock_timestamp() - remembered THEN
		-- What Shopify made of it then cannot be asked for under its key any more: the shop is read.
		PERFORM sync.push_end(sync.push_open(call.id), 'stale', 'no answer came for a day; the shop is read again');
		RETURN;
	END IF;
	body := call.request;
	IF body IS NULL THEN
		SELECT array_agg(p.id) FILTER (WHERE l.id IS NULL OR l.inventory_item_id IS NULL OR o.id IS NULL),
			   array_agg(p.id) FILTER (WHERE l.id IS NOT NULL AND NOT p.wanted @> jsonb_build_object(sync.json_key(p.wanted), to_jsonb(n.local)))
		INTO gone, moved
		FROM sync.push p
		LEFT JOIN sync.listing l ON l.connection = p.connection AND l.variant_id = p.variant_id
		LEFT JOIN sync.shopify_location o ON o.connection = p.connection AND o.remote_id = p.location_id AND o.active
		LEFT JOIN sync.stock_level n ON n.connection = p.connection AND n.variant_id = p.variant_id AND n.location_id = p.location_id
		WHERE p.call_id = call.id AND p.ended_at IS NULL;
		PERFORM sync.push_end(ARRAY[i], 'failed', sync.push_words(i) || ': the variant, or its location, is no longer in the shop; it is read again, decide there',
			'{"class": "validation"}') FROM unnest(gone) i;
		PERFORM sync.push_end(moved, CASE WHEN EXISTS (SELECT FROM sync.push p WHERE p.id = ANY (moved) AND p.state = 'retry') THEN 'stale' ELSE 'cancelled' END,
			'changed here before it was sent');
		ids := sync.push_open(call.id);
		IF ids = '{}' THEN
			RETURN;
		END IF;
		SELECT jsonb_build_object('key', call.key, 'input', jsonb_build_object('name', 'available', 'reason', 'correction',
				'referenceDocumentUri', 'gid://product-sync/Call/' || call.id,
				'quantities', jsonb_agg(jsonb_build_object('inventoryItemId', sync.shopify_gid('InventoryItem', l.inventory_item_id),
					'locationId', sync.shopify_gid('Location', p.location_id), 'quantity', (w.value #>> '{}')::numeric::integer,
					'changeFromQuantity', (p.expected -> w.key #>> '{}')::numeric::integer) ORDER BY u.no)))
		INTO body
		FROM unnest(ids) WITH ORDINALITY AS u (id, no) JOIN sync.push p ON p.id = u.id CROSS JOIN LATERAL jsonb_each(p.wanted) w
		JOIN sync.listing l ON l.connection = p.connection AND l.variant_id = p.variant_id;
		UPDATE sync.push p SET place = u.no FROM unnest(ids) WITH ORDINALITY AS u (id, no) WHERE p.id = u.id AND p.place IS DISTINCT FROM u.no;
	END IF;
	request := sync.shopify_request(call.connection,
		'mutation($input: InventorySetQuantitiesInput!, $key: String!) { inventorySetQuantities(input: $input) @idempotent(key: $key)'
		|| ' { inventoryAdjustmentGroup { createdAt } userErrors { field message code } } }', body);
	cost := 10;
END
$$;

CREATE FUNCTION sync.push_stock_response(call_id bigint, data jsonb, OUT outcome text, OUT retry_in interval, OUT error jsonb)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	payload jsonb := data -> 'inventorySetQuantities';
	ids bigint[] := sync.push_open(call.id);
	mistakes jsonb := CASE WHEN jsonb_typeof(payload -> 'userErrors') = 'array' THEN payload -> 'userErrors' ELSE '[]' END;
	found record;
BEGIN
	outcome := 'done';
	IF mistakes = '[]' THEN
		PERFORM sync.push_stock_agreed(ids, sync.shopify_time(payload #>> '{inventoryAdjustmentGroup,createdAt}'));
		PERFORM sync.push_end(ids, 'synced');
		PERFORM sync.push_call_finish(call.id);
		RETURN;
	END IF;
	found := sync.shopify_user_error(payload);
	IF found.error ->> 'signal' = 'IDEMPOTENCY_CONCURRENT_REQUEST' OR found.verdict <> 'fail' AND found.error ->> 'signal' <> 'CHANGE_FROM_QUANTITY_STALE'
	   AND found.error ->> 'signal' NOT LIKE 'IDEMPOTENCY%' THEN
		-- The same again, later: under the same key it happens once.
		PERFORM sync.push_move(ids, 'retry', call.id, found.error ->> 'message', found.error);
		outcome := 'retry';
		error := found.error;
		RETURN;
	END IF;
	-- Nothing was set.  Levels that the errors name end, each with its own; the others go again under another key.
	PERFORM sync.push_stock_refused(call.id, mistakes);
	ids := sync.push_open(call.id);
	PERFORM sync.push_forget(ids);
	PERFORM sync.push_move(ids, 'retry', call.id, 'its call was refused for another level in it', found.error) WHERE ids <> '{}';
	UPDATE sync.push_call c SET request = NULL, sent_at = NULL, key = gen_random_uuid() WHERE c.id = call.id;
	IF ids = '{}' THEN
		PERFORM sync.push_call_finish(call.id, found.error);
	ELSIF cardinality(ids) < call.items OR found.error ->> 'signal' LIKE 'IDEMPOTENCY%' THEN
		UPDATE sync.push_call c SET items = cardinality(ids) WHERE c.id = call.id;
		outcome := CASE WHEN found.error ->> 'signal' LIKE 'IDEMPOTENCY%' THEN 'retry' ELSE 'defer' END;
		retry_in := CASE outcome WHEN 'defer' THEN interval '0' END;
		error := CASE outcome WHEN 'retry' THEN found.error END;
	ELSE
		-- An error of none of the levels.
		outcome := 'fail';
		error := found.error;
	END IF;
END
$$;

-- What the errors of a refused call say of single levels.
CREATE FUNCTION sync.push_stock_refused(call_id bigint, mistakes jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	bad record;
BEGIN
	FOR bad IN
		SELECT p.id, p.variant_id, p.location_id, p.remote_id, p.connection, e.code, e.message, w.value AS wanted, p.expected -> w.key AS expected
		FROM (SELECT DISTINCT ON (m.value #>> '{field,2}') (m.value #>> '{field,2}')::integer AS no, m.value ->> 'code' AS code, m.value ->> 'message' AS message
			  FROM jsonb_array_elements(mistakes) m WHERE m.value #>> '{field,2}' ~ '^[0-9]{1,4}$'
			  ORDER BY m.value #>> '{field,2}', m.value ->> 'code' <> 'CHANGE_FROM_QUANTITY_STALE') e
		JOIN sync.push p ON p.call_id = push_stock_refused.call_id AND p.ended_at IS NULL AND p.place = e.no + 1
		CROSS JOIN LATERAL jsonb_each_text(p.wanted) w
		ORDER BY p.id
	LOOP
		IF bad.code = 'CHANGE_FROM_QUANTITY_STALE' THEN
			PERFORM sync.push_end(ARRAY[bad.id], 'stale', format('%s: the shop no longer has %s, so %s was not set; it is read and decided again',
				sync.push_words(bad.id), bad.expected, bad.wanted), jsonb_build_object('signal', bad.code));
		ELSE
			-- A remembered number that proved wrong is forgotten.
			PERFORM sync.cache_wrong(bad.connection, 'location', bad.location_id) WHERE bad.code = 'INVALID_LOCATION';
			PERFORM sync.push_end(ARRAY[bad.id], 'failed', format('%s: Shopify refuses it: %s %s', sync.push_words(bad.id), bad.message,
				CASE bad.code WHEN 'INVALID_LOCATION' THEN 'Stock the item at that location in Shopify, or map another store in sync.shopify_location.'
					WHEN 'INVALID_INVENTORY_ITEM' THEN 'The variant is gone; it is read again.'
					WHEN 'INVALID_QUANTITY_NEGATIVE' THEN 'Correct the stock in the ERP.'
					ELSE 'Correct it and approve it again.' END), jsonb_build_object('class', 'validation', 'signal', bad.code));
		END IF;
	END LOOP;
END
$$;

-- The shop has these levels now, since then by its own clock: they are the base, and what the mirror shows.
CREATE FUNCTION sync.push_stock_agreed(push_ids bigint[], at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
BEGIN
	UPDATE sync.shopify_stock s SET available = w.value::numeric::integer, seen_at = now(), remote_updated_at = greatest(s.remote_updated_at, push_stock_agreed.at)
	FROM sync.push p CROSS JOIN LATERAL jsonb_each_text(p.wanted) w
	JOIN sync.listing l ON l.connection = p.connection AND l.variant_id = p.variant_id
	WHERE p.id = ANY (push_ids) AND s.connection = l.connection AND s.inventory_item_id = l.inventory_item_id AND s.location_id = p.location_id
	  -- An answer that is repeated is of then: somebody may have changed the level since, and that was seen.
	  AND coalesce(s.remote_updated_at <= push_stock_agreed.at, true);
	UPDATE sync.stock_level n SET base = w.value::numeric, sent = NULL, sent_seen = NULL, agreed_at = now(), pushed_at = coalesce(push_stock_agreed.at, n.pushed_at)
	FROM sync.push p CROSS JOIN LATERAL jsonb_each_text(p.wanted) w
	-- Without the note a reading of the shop has settled it, and perhaps decided more.  What that saw since is compared now.
	WHERE p.id = ANY (push_ids) AND n.connection = p.connection AND n.variant_id = p.variant_id AND n.location_id = p.location_id AND n.sent IS NOT NULL;
	PERFORM sync.push_compare_again(p.connection, array_agg(DISTINCT p.remote_id))
	FROM sync.push p CROSS JOIN LATERAL jsonb_each_text(p.wanted) w
	JOIN sync.listing l ON l.connection = p.connection AND l.variant_id = p.variant_id
	JOIN sync.shopify_stock s ON s.connection = l.connection AND s.inventory_item_id = l.inventory_item_id AND s.location_id = p.location_id
	WHERE p.id = ANY (push_ids) AND s.available IS DISTINCT FROM w.value::numeric::integer GROUP BY p.connection;
END
$$;
