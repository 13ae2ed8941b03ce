-- What was sent to a shop and never answered: it may be there, or not, or have been there until somebody in the shop changed it.
--
-- A push notes what it sends before it does (shop_pushing), in a transaction of its own, and an answer takes the note away (shop_pushed,
-- shop_not_pushed).  A note that stays is settled by the next merge that has read the product since:
--   * the shop has what was sent: it is our own echo, and agreed on with what we had then, whatever we have by now;
--   * the shop has not touched the product for a minute before and not since (its updatedAt): it was never sent;
--   * neither: somebody may have changed it on top of ours, also back to what it was; both sides changed then.
-- Without the note, a person here who goes back to the old value would see the echo of the one that he took back win over him, and a person
-- in the shop who does so would be overwritten by it a second time.

-- Before a push.  updated_at: the shop's of the product, as it was read just before.
CREATE FUNCTION sync.shop_pushing(connection text, remote_id bigint, paths text[], updated_at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
	UPDATE sync.product_listing l SET sent = l.sent || s.sent
	FROM (SELECT o.id, jsonb_object_agg(p.path, jsonb_build_object('value', sync.document_get(d.document, p.path), 'seen', shop_pushing.updated_at,
				'at', clock_timestamp())) AS sent
		  FROM sync.product_listing o CROSS JOIN LATERAL sync.product_documents(ARRAY[o.product_id]) d CROSS JOIN unnest(paths) AS p (path)
		  WHERE o.connection = shop_pushing.connection AND o.remote_id = shop_pushing.remote_id
		  GROUP BY o.id) s
	WHERE l.id = s.id;
END
$$;
COMMENT ON FUNCTION sync.shop_pushing(text, bigint, text[], timestamptz) IS
'Before a push: notes what of a product is about to be sent, and the shop''s updatedAt of it, so that it is known again when the answer is lost. shop_pushed() or shop_not_pushed() ends that.';

CREATE FUNCTION sync.shop_not_pushed(connection text, remote_id bigint, paths text[]) RETURNS void
LANGUAGE sql SET search_path = '' AS $$
	UPDATE sync.product_listing l SET sent = l.sent - paths WHERE l.connection = shop_not_pushed.connection AND l.remote_id = shop_not_pushed.remote_id
$$;
COMMENT ON FUNCTION sync.shop_not_pushed(text, bigint, text[]) IS 'The shop refused a push, or it never left: what shop_pushing() noted is forgotten.';

-- The same for stock, whose levels can be compared as they are set: it is noted what is sent, and which the shop's newest level was.
CREATE FUNCTION sync.shop_pushing_stock(connection text, variant_id bigint, location_id bigint) RETURNS void
LANGUAGE sql SET search_path = '' AS $$
	UPDATE sync.stock_level n SET sent = n.local, sent_seen = (
		SELECT s.remote_updated_at FROM sync.listing l JOIN sync.shopify_stock s ON s.connection = l.connection AND s.inventory_item_id = l.inventory_item_id
		WHERE l.connection = n.connection AND l.variant_id = n.variant_id AND s.location_id = n.location_id)
	WHERE n.connection = shop_pushing_stock.connection AND n.variant_id = shop_pushing_stock.variant_id AND n.location_id = shop_pushing_stock.location_id
$$;
COMMENT ON FUNCTION sync.shop_pushing_stock(text, bigint, bigint) IS
'Before a push of stock: notes what is sent, so that it is known again when the answer is lost. shop_pushed_stock() ends that.';

-- Products of which something was sent and that were read since are compared again, whether they look changed or not.
CREATE FUNCTION sync.shop_sent_due(connection text) RETURNS void
LANGUAGE sql SET search_path = '' AS $$
	UPDATE sync.shopify_product m SET merge_due = true
	FROM sync.product_listing l
	WHERE l.connection = shop_sent_due.connection AND l.sent <> '{}' AND m.connection = l.connection AND m.remote_id = l.remote_id AND NOT m.merge_due
	  AND m.gone_since IS NULL AND EXISTS (SELECT FROM jsonb_each(l.sent) s WHERE (s.value ->> 'at')::timestamptz < m.seen_at)
$$;

-- Settles the notes of these products, as far as the mirror tells; returns the products as they are to be compared after that.
CREATE FUNCTION sync.shop_echoes(connection text, products sync.merge_product[]) RETURNS sync.merge_product[]
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	waiting bigint[];
BEGIN
	SELECT array_agg(l.id) INTO waiting FROM sync.product_listing l
	WHERE l.id = ANY (ARRAY(SELECT p.listing_id FROM unnest(products) p)) AND l.sent <> '{}';
	IF waiting IS NULL THEN
		RETURN products;
	END IF;
	PERFORM sync.base_write(shop_echoes.connection, products, ARRAY(
		SELECT ROW(p.product_id, s.key, NULL, nullif(s.value -> 'value', 'null'), v.shop, 'local', 'equal', NULL, NULL, NULL, NULL, NULL)::sync.merge_field
		FROM unnest(products) p JOIN sync.product_listing l ON l.id = p.listing_id CROSS JOIN LATERAL jsonb_each(l.sent) s
		CROSS JOIN LATERAL (SELECT sync.document_get(p.shop, s.key) AS shop) v
		WHERE l.id = ANY (waiting) AND sync.value_equal(s.key, s.value -> 'value', v.shop)));
	UPDATE sync.product_listing l SET sent = l.sent - ARRAY(
		SELECT s.key FROM jsonb_each(l.sent) s
		-- Shopify tells whole seconds: that the time has not moved says nothing of what was changed within moments.
		WHERE m.seen_at > (s.value ->> 'at')::timestamptz AND m.remote_updated_at <= (s.value ->> 'seen')::timestamptz
		  AND (s.value ->> 'at')::timestamptz - (s.value ->> 'seen')::timestamptz > interval '1 minute')
	FROM sync.shopify_product m
	WHERE l.id = ANY (waiting) AND m.connection = l.connection AND m.remote_id = l.remote_id;
	RETURN ARRAY(SELECT p FROM sync.merge_products(shop_echoes.connection, ARRAY(SELECT o.mirror_id FROM unnest(products) o)) p);
END
$$;

-- The fields of products of which it is not known whether the shop had ours meanwhile.
CREATE FUNCTION sync.shop_in_doubt(product_ids bigint[], connection text) RETURNS TABLE (product_id bigint, path text)
LANGUAGE sql STABLE ROWS 10 SET search_path = '' AS $$
	SELECT l.product_id, s.key
	FROM sync.product_listing l
	JOIN sync.shopify_product m ON m.connection = l.connection AND m.remote_id = l.remote_id
	CROSS JOIN LATERAL jsonb_each(l.sent) s
	WHERE l.connection = shop_in_doubt.connection AND l.product_id = ANY (product_ids) AND l.sent <> '{}'
	  AND m.seen_at > (s.value ->> 'at')::timestamptz
$$;
