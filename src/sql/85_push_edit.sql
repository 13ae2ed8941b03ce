-- Fields of products: read what the shop has of them (step check), then change them (step send) by mutations of just these fields, of many
-- products in one request.  Shopify does not compare as it does for stock, so what is not as it was when the change was approved is not
-- sent; what is there already counts as done, which is also how a request whose answer was lost is settled.

-- The fields of a call's pushes that are under way, with Shopify's numbers.  remote_path: as the mirror has it, variants by their numbers.
CREATE FUNCTION sync.push_rows(call_id bigint, push_ids bigint[] DEFAULT NULL)
RETURNS TABLE (push_id bigint, place integer, product_id bigint, remote_id bigint, path text, root text, sku text, remote_variant bigint,
	remote_path text, wanted jsonb, expected jsonb)
LANGUAGE sql STABLE ROWS 100 SET search_path = '' AS $$
	SELECT p.id, p.place, p.product_id, p.remote_id, w.key, r.root, k.sku, n.remote_id,
		   CASE WHEN k.sku IS NULL THEN w.key ELSE 'variants[' || coalesce(n.remote_id::text, 'none') || ']' || coalesce('.' || k.rest, '') END,
		   nullif(w.value, 'null'), nullif(p.expected -> w.key, 'null')
	FROM sync.push p CROSS JOIN LATERAL jsonb_each(p.wanted) w
	CROSS JOIN LATERAL (SELECT sync.push_root(w.key, w.value) AS root) r
	CROSS JOIN LATERAL (SELECT CASE WHEN w.key LIKE 'variants[%' THEN d.keys[2] END AS sku, array_to_string(d.keys[3:], '.') AS rest
						FROM (SELECT sync.document_path(w.key) AS keys) d) u (sku, rest)
	CROSS JOIN LATERAL (SELECT u.sku, nullif(u.rest, '') AS rest) k
	LEFT JOIN sync.variant v ON v.sku = k.sku AND v.product_id = p.product_id
	LEFT JOIN sync.listing l ON l.connection = p.connection AND l.variant_id = v.id
	CROSS JOIN LATERAL (SELECT coalesce(l.remote_id, CASE WHEN r.root = 'variant_delete' THEN (
		SELECT (o.base_gone -> k.sku ->> 'remote')::bigint FROM sync.product_listing o WHERE o.connection = p.connection AND o.product_id = p.product_id) END) AS remote_id) n
	WHERE p.call_id = push_rows.call_id AND p.part = 'edit' AND p.ended_at IS NULL AND (push_ids IS NULL OR p.id = ANY (push_ids))
$$;

-- The selections of a product and of a variant that read these fields.
CREATE FUNCTION sync.push_selection(paths text[], whole boolean, OUT product text, OUT variant text)
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	WITH f AS (SELECT DISTINCT p AS path, split_part(sync.path_target(p), '.', 2) AS name FROM unnest(paths) p)
	SELECT 'id updatedAt' || coalesce(string_agg(DISTINCT CASE f.path WHEN 'handle' THEN ' handle' WHEN 'title' THEN ' title' WHEN 'description' THEN ' descriptionHtml'
				WHEN 'vendor' THEN ' vendor' WHEN 'type' THEN ' productType' WHEN 'tags' THEN ' tags' WHEN 'status' THEN ' status'
				WHEN 'images' THEN ' media(first: 250) { nodes { id alt status mediaContentType ... on MediaImage { image { url } } } }' END, ''), '')
			|| CASE WHEN bool_or(f.path LIKE 'attributes.%') THEN ' seo { title description }' ELSE '' END
			|| coalesce(' metafields(first: ' || nullif(count(*) FILTER (WHERE f.path LIKE 'metafields.%'), 0) || ', keys: ' || jsonb_agg(substr(f.path, 12) ORDER BY f.path)
				FILTER (WHERE f.path LIKE 'metafields.%')::text || ') { nodes { namespace key type value compareDigest } }', ''),
		   'id' || CASE WHEN whole OR bool_or(sync.is_variant_path(f.path)) THEN ' sku price compareAtPrice barcode selectedOptions { name value } inventoryItem { id unitCost { amount currencyCode } measurement { weight { unit value } } }'
			ELSE coalesce(string_agg(DISTINCT CASE WHEN f.path NOT LIKE 'variants[%' THEN NULL WHEN f.name = 'price' THEN ' price' WHEN f.name = 'compare_at_price' THEN ' compareAtPrice'
					WHEN f.name = 'barcode' THEN ' barcode' WHEN f.name = 'options' THEN ' selectedOptions { name value }' END, ''), '')
				|| CASE WHEN bool_or(f.path LIKE 'variants[%' AND f.name IN ('cost', 'weight')) THEN ' inventoryItem { id'
					|| CASE WHEN bool_or(f.path LIKE 'variants[%' AND f.name = 'cost') THEN ' unitCost { amount currencyCode }' ELSE '' END
					|| CASE WHEN bool_or(f.path LIKE 'variants[%' AND f.name = 'weight') THEN ' measurement { weight { unit value } }' ELSE '' END || ' }' ELSE '' END END
	FROM f
$$;

-- Reading before writing -------------------------------------------------------------------------------------------------------------------

-- The next reading of a call: of as many of its pushes that were not read yet as one query may ask for.  Those are marked as read by the answer.
CREATE FUNCTION sync.push_check_request(call_id bigint, OUT request jsonb, OUT cost numeric, OUT body jsonb)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	-- What Shopify found too dear is asked for in smaller pieces.
	shrink integer := coalesce((call.request ->> 'shrink')::integer, 1);
	most numeric := sync.setting_value(call.connection, 'points_per_query')::numeric * 0.9 / shrink;
	part record;
	chosen record;
BEGIN
	SELECT array_agg(t.id ORDER BY t.place) AS ids, max(t.points) AS reading, bool_or(t.whole) AS whole, max(t.place) AS place INTO part
	FROM (SELECT p.id, p.place, c.whole, CASE WHEN c.whole THEN c.reading ELSE sum(c.ids) OVER w * max(c.reading / greatest(c.ids, 1)) OVER w END AS points,
				 sum(c.ids) OVER w AS nodes, row_number() OVER w AS no
		  -- Each has a node at least.
		  FROM (SELECT o.* FROM sync.push o WHERE o.call_id = call.id AND o.ended_at IS NULL AND o.place > coalesce((call.request ->> 'read')::integer, 0)
				ORDER BY o.place LIMIT 250) p CROSS JOIN LATERAL sync.push_cost(p.wanted) c
		  WINDOW w AS (ORDER BY p.place)) t
	WHERE t.no = 1 OR (t.points <= most AND t.nodes <= 250 / shrink AND NOT t.whole);
	IF part.ids IS NULL THEN
		RETURN;
	END IF;
	chosen := sync.push_selection(ARRAY(SELECT DISTINCT r.path FROM sync.push_rows(call.id, part.ids) r), part.whole);
	IF part.whole THEN
		request := sync.shopify_request(call.connection, format('query($id: ID!) { product(id: $id) { %s variants(first: 2048) { nodes { %s } pageInfo { hasNextPage } } } }',
			chosen.product, chosen.variant), jsonb_build_object('id', (SELECT sync.shopify_gid('Product', p.remote_id) FROM sync.push p WHERE p.id = part.ids[1])));
	ELSE
		request := sync.shopify_request(call.connection, format('query($ids: [ID!]!) { nodes(ids: $ids) { ... on Product { %s } ... on ProductVariant { %s } } }',
			chosen.product, chosen.variant), jsonb_build_object('ids', (
				SELECT jsonb_agg(DISTINCT CASE r.root WHEN 'variants' THEN sync.shopify_gid('ProductVariant', coalesce(r.remote_variant, 0)) ELSE sync.shopify_gid('Product', r.remote_id) END)
				FROM sync.push_rows(call.id, part.ids) r)));
	END IF;
	cost := part.reading;
	-- Which pushes this asks for stays with the call: the answer comes to whoever holds its job then.
	UPDATE sync.push_call c SET request = coalesce(c.request, '{}') || jsonb_build_object('reading', to_jsonb(part.ids), 'up_to', part.place) WHERE c.id = call.id;
END
$$;

-- A product as far as it was read, in the mirror's shape.
CREATE FUNCTION sync.push_document(connection text, product jsonb, variants jsonb[], OUT document jsonb, OUT error text)
LANGUAGE sql STABLE SET search_path = '' AS $$
	SELECT d.document, d.error FROM sync.shopify_document(product - 'variants' - 'media' - 'metafields', variants, sync.shopify_list(product -> 'media'),
		sync.shopify_list(product -> 'metafields'), (SELECT s.currency FROM sync.shopify_shop s WHERE s.connection = push_document.connection)) d
$$;

CREATE FUNCTION sync.push_check_response(call_id bigint, data jsonb, OUT outcome text, OUT retry_in interval, OUT error jsonb)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	ids bigint[] := ARRAY(SELECT e::bigint FROM jsonb_array_elements_text(call.request -> 'reading') e);
	nodes jsonb := CASE WHEN data ? 'product' THEN jsonb_build_array(data -> 'product') || coalesce(nullif(data #> '{product,variants,nodes}', 'null'), '[]') ELSE data -> 'nodes' END;
	verdicts record;
	more boolean;
BEGIN
	IF jsonb_typeof(nodes) IS DISTINCT FROM 'array' THEN
		outcome := 'retry';
		error := jsonb_build_object('class', 'validation', 'message', 'Shopify''s answer has no list of nodes');
		RETURN;
	END IF;
	SELECT array_agg(v.push_id) FILTER (WHERE v.verdict = 'there') AS there, array_agg(v.push_id) FILTER (WHERE v.verdict = 'gone') AS gone,
		   array_agg(v.push_id) FILTER (WHERE v.verdict = 'stale') AS stale, jsonb_object_agg(v.push_id, v.message) FILTER (WHERE v.message IS NOT NULL) AS words,
		   jsonb_object_agg(v.push_id, v.seen) FILTER (WHERE v.seen IS NOT NULL) AS seen
	INTO verdicts FROM sync.push_check(call.id, ids, nodes) v;
	PERFORM sync.push_agreed(call.id, verdicts.there, NULL);
	PERFORM sync.push_end(verdicts.there, 'synced', 'the shop has it already');
	PERFORM sync.push_end(ARRAY[i], 'failed', sync.push_words(i) || ': ' || (verdicts.words ->> i::text), '{"class": "validation"}') FROM unnest(verdicts.gone) i;
	PERFORM sync.push_end(ARRAY[i], 'stale', sync.push_words(i) || ': ' || (verdicts.words ->> i::text)) FROM unnest(verdicts.stale) i;
	UPDATE sync.push_call c SET request = c.request - 'reading' - 'up_to' || jsonb_build_object('read', c.request -> 'up_to')
		|| CASE WHEN verdicts.seen IS NULL THEN '{}' ELSE jsonb_build_object('seen', coalesce(c.request -> 'seen', '{}') || verdicts.seen) END
	WHERE c.id = call.id RETURNING c.request INTO call.request;
	more := EXISTS (SELECT FROM sync.push p WHERE p.call_id = call.id AND p.ended_at IS NULL AND p.place > (call.request ->> 'read')::integer);
	outcome := 'defer';
	retry_in := interval '0';
	IF sync.push_open(call.id) = '{}' THEN
		PERFORM sync.push_call_finish(call.id);
		outcome := 'done';
	ELSIF NOT more THEN
		UPDATE sync.push_call c SET step = CASE c.method WHEN 'bulk' THEN 'target' ELSE 'send' END, checked_at = clock_timestamp(), request = c.request - 'read' WHERE c.id = call.id;
	END IF;
END
$$;

-- What the shop has of these pushes.  verdict: send, there (it has all that is wanted), stale (it has something else than was expected), gone.
-- seen: what the sending has to know of what was read.
CREATE FUNCTION sync.push_check(call_id bigint, push_ids bigint[], nodes jsonb) RETURNS TABLE (push_id bigint, verdict text, message text, seen jsonb)
LANGUAGE plpgsql STABLE ROWS 100 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
BEGIN
	RETURN QUERY
	WITH node AS MATERIALIZED (
		SELECT e.value ->> 'id' AS gid, e.value FROM jsonb_array_elements(nodes) e WHERE jsonb_typeof(e.value) = 'object'),
	field AS MATERIALIZED (SELECT * FROM sync.push_rows(call.id, push_ids)),
	product AS MATERIALIZED (
		SELECT o.push_id, o.product, d.document, d.error, o.missing
		FROM (SELECT f.push_id, n.value AS product, bool_or(f.root <> 'variants') AND n.value IS NULL AS missing,
					 ARRAY(SELECT w.value FROM node w WHERE w.gid LIKE 'gid://shopify/ProductVariant/%' AND (n.value ? 'variants' OR w.gid IN (
						SELECT sync.shopify_gid('ProductVariant', g.remote_variant) FROM field g WHERE g.push_id = f.push_id AND g.remote_variant IS NOT NULL))) AS variants, f.remote_id
			  FROM field f LEFT JOIN node n ON n.gid = sync.shopify_gid('Product', f.remote_id)
			  GROUP BY f.push_id, f.remote_id, n.value) o
		CROSS JOIN LATERAL sync.push_document(call.connection, coalesce(o.product, jsonb_build_object('id', sync.shopify_gid('Product', o.remote_id))), o.variants) d),
	compared AS MATERIALIZED (
		SELECT f.push_id, f.path, f.root, f.wanted, f.expected, p.product, p.error, p.missing, s.shop,
			   f.root = 'variants' AND (f.remote_variant IS NULL OR NOT p.document -> 'variants' ? f.remote_variant::text) AS variant_gone,
			   CASE f.root WHEN 'variant_create' THEN s.shop IS NOT NULL WHEN 'variant_delete' THEN s.shop IS NULL ELSE sync.value_equal(f.path, s.shop, f.wanted) END AS there,
			   -- What a merchant still works on is not deleted.
			   CASE f.root WHEN 'variant_create' THEN true
				   WHEN 'variant_delete' THEN NOT EXISTS (SELECT FROM unnest(ARRAY['price', 'compare_at_price', 'barcode', 'cost', 'options']) k
														  WHERE nullif(s.shop -> k, 'null') IS DISTINCT FROM nullif(f.expected -> k, 'null'))
				   ELSE sync.value_equal(f.path, s.shop, f.expected) END AS as_expected
		FROM field f JOIN product p ON p.push_id = f.push_id
		CROSS JOIN LATERAL (SELECT CASE f.root
			WHEN 'variant_create' THEN (SELECT v.value FROM jsonb_each(p.document -> 'variants') v WHERE v.value ->> 'sku' = f.sku LIMIT 1)
			WHEN 'variant_delete' THEN p.document -> 'variants' -> f.remote_variant::text
			ELSE sync.document_get(p.document, f.remote_path) END AS shop) s)
	SELECT c.push_id,
		   CASE WHEN bool_or(c.missing OR c.variant_gone OR c.error IS NOT NULL) THEN 'gone'
				WHEN bool_and(c.there) THEN 'there'
				WHEN bool_or(NOT c.there AND NOT c.as_expected) THEN 'stale'
				ELSE 'send' END,
		   coalesce(max(c.error),
				CASE WHEN bool_or(c.missing) THEN 'the product is no longer in the shop; archive it here, or unlink it and stage it anew' END,
				string_agg(format('the variant of %s is no longer in the shop; it is read again, decide there', c.path), '; ') FILTER (WHERE c.variant_gone),
				string_agg(format('the shop changed %s from %s to %s after it was approved, here it is %s', c.path, left(coalesce(c.expected::text, 'nothing'), 100),
					left(coalesce(c.shop::text, 'nothing'), 100), left(coalesce(c.wanted::text, 'nothing'), 100)), '; ' ORDER BY c.path)
					FILTER (WHERE NOT c.there AND NOT c.as_expected)),
		   sync.push_seen(min(c.product::text)::jsonb)
	FROM compared c GROUP BY c.push_id;
END
$$;

-- What is kept of a product that was read: types and digests of metafields, media.
CREATE FUNCTION sync.push_seen(product jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT nullif(jsonb_strip_nulls(jsonb_build_object(
		'metafields', (SELECT jsonb_object_agg((m ->> 'namespace') || '.' || (m ->> 'key'), jsonb_build_object('type', m -> 'type', 'digest', m -> 'compareDigest'))
					   FROM unnest(sync.shopify_list(product -> 'metafields')) m),
		'media', (SELECT jsonb_agg(jsonb_build_object('id', m -> 'id', 'src', m #> '{image,url}', 'alt', m -> 'alt', 'kind', m -> 'mediaContentType', 'status', m -> 'status'))
				  FROM unnest(sync.shopify_list(product -> 'media')) m))), '{}')
$$;

-- Writing --------------------------------------------------------------------------------------------------------------------------------------

-- Fields of a product as ProductUpdateInput takes them, without its id.
CREATE FUNCTION sync.push_product_input(wanted jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT coalesce(jsonb_object_agg(CASE e.key WHEN 'description' THEN 'descriptionHtml' WHEN 'type' THEN 'productType' ELSE e.key END,
			CASE e.key WHEN 'status' THEN to_jsonb(upper(coalesce(e.value #>> '{}', 'draft'))) WHEN 'tags' THEN coalesce(nullif(e.value, 'null'), '[]')
				ELSE coalesce(nullif(e.value, 'null'), '""') END) FILTER (WHERE e.key NOT LIKE 'attributes.%'), '{}')
		|| coalesce(jsonb_build_object('seo', jsonb_object_agg(CASE e.key WHEN 'attributes.seo_title' THEN 'title' ELSE 'description' END, coalesce(nullif(e.value, 'null'), '""'))
			FILTER (WHERE e.key IN ('attributes.seo_title', 'attributes.seo_description'))), '{}')
	FROM jsonb_each(wanted) e
$$;

-- Fields of a variant ({"price": 12.5, "options.Color": "Red"}) as ProductVariantsBulkInput takes them, without its id.
CREATE FUNCTION sync.push_variant_input(wanted jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT coalesce(jsonb_object_agg(CASE e.key WHEN 'compare_at_price' THEN 'compareAtPrice' ELSE e.key END,
			CASE WHEN e.value = 'null' AND e.key = 'barcode' THEN '""' WHEN e.value = 'null' THEN e.value ELSE to_jsonb(e.value #>> '{}') END)
			FILTER (WHERE e.key IN ('price', 'compare_at_price', 'barcode')), '{}')
		|| CASE WHEN wanted ?| ARRAY['cost', 'weight', 'sku', 'tracked'] THEN jsonb_build_object('inventoryItem', coalesce(jsonb_object_agg(
				CASE e.key WHEN 'weight' THEN 'measurement' ELSE e.key END,
				CASE e.key WHEN 'weight' THEN jsonb_build_object('weight', jsonb_build_object('value', coalesce(nullif(e.value, 'null'), '0'), 'unit', 'GRAMS'))
					WHEN 'cost' THEN CASE e.value WHEN 'null' THEN e.value ELSE to_jsonb(e.value #>> '{}') END ELSE e.value END)
				FILTER (WHERE e.key IN ('cost', 'weight', 'sku', 'tracked')), '{}')) ELSE '{}' END
		|| coalesce(jsonb_build_object('optionValues', jsonb_agg(jsonb_build_object('optionName', substr(e.key, 9), 'name', e.value) ORDER BY e.key)
			FILTER (WHERE e.key LIKE 'options.%')), '{}')
	FROM jsonb_each(wanted) e
$$;

-- A variant's document as fields for push_variant_input().
CREATE FUNCTION sync.push_variant_fields(variant jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT coalesce((SELECT jsonb_object_agg(e.key, e.value) FROM jsonb_each(variant) e WHERE e.key IN ('price', 'compare_at_price', 'barcode', 'cost', 'weight')), '{}')
		|| coalesce((SELECT jsonb_object_agg('options.' || o.key, o.value) FROM jsonb_each(coalesce(nullif(variant -> 'options', 'null'), '{}')) o), '{}')
$$;

-- A metafield's value as text, and the type that a new one gets.
CREATE FUNCTION sync.push_metafield(value jsonb, type text, OUT content text, OUT its_type text)
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT CASE WHEN jsonb_typeof(value) = 'string' THEN value #>> '{}' ELSE value::text END,
		   coalesce(type, CASE WHEN jsonb_typeof(value) = 'array' AND NOT jsonb_path_exists(value, '$[*] ? (@.type() != "string")') THEN 'list.single_line_text_field'
			   WHEN jsonb_typeof(value) IN ('array', 'object') THEN 'json' WHEN value #>> '{}' LIKE E'%\n%' THEN 'multi_line_text_field' ELSE 'single_line_text_field' END)
$$;

-- The mutations of one product: aliases, their roots with variables, the paths of each, and the arguments' types.  prefix keeps them apart from
-- those of other products.
CREATE FUNCTION sync.push_mutations(push_id bigint, prefix text, seen jsonb) RETURNS TABLE (no integer, alias text, root text, declares text, variables jsonb, paths text[])
LANGUAGE plpgsql STABLE ROWS 3 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call bigint := (SELECT p.call_id FROM sync.push p WHERE p.id = push_mutations.push_id);
	gid text := (SELECT sync.shopify_gid('Product', p.remote_id) FROM sync.push p WHERE p.id = push_mutations.push_id);
	chosen record := sync.push_selection(ARRAY(SELECT jsonb_object_keys(p.wanted) FROM sync.push p WHERE p.id = push_mutations.push_id), false);
	part record;
BEGIN
	no := 0;
	-- Roots are patterns for format().
	chosen.product := replace(chosen.product, '%', '%%');
	chosen.variant := replace(chosen.variant, '%', '%%');
	FOR part IN
		WITH field AS MATERIALIZED (SELECT * FROM sync.push_rows(call, ARRAY[push_mutations.push_id])),
		variant AS (
			SELECT f.remote_variant, (row_number() OVER (ORDER BY f.remote_variant) - 1) / 250 AS chunk, array_agg(f.path ORDER BY f.path) AS paths,
				   jsonb_build_object('id', sync.shopify_gid('ProductVariant', f.remote_variant))
					   || sync.push_variant_input(jsonb_object_agg(array_to_string((sync.document_path(f.path))[3:], '.'), coalesce(f.wanted, 'null'))) AS input
			FROM field f WHERE f.root = 'variants' GROUP BY f.remote_variant),
		metafield AS (
			SELECT f.path, f.wanted, (row_number() OVER (PARTITION BY f.wanted IS NULL ORDER BY f.path) - 1) / 25 AS chunk,
				   jsonb_build_object('ownerId', gid, 'namespace', split_part(substr(f.path, 12), '.', 1), 'key', substr(f.path, 13 + length(split_part(substr(f.path, 12), '.', 1)))) AS id,
				   m.content, m.its_type, coalesce(seen -> 'metafields' -> substr(f.path, 12) -> 'digest', 'null') AS digest
			FROM field f CROSS JOIN LATERAL sync.push_metafield(f.wanted, seen -> 'metafields' -> substr(f.path, 12) ->> 'type') m WHERE f.root = 'metafields')
		SELECT 1 AS place, 0 AS chunk, 'productUpdate(product: $%1$s) { product { ' || chosen.product || ' } userErrors { field message } }' AS root, 'ProductUpdateInput!' AS type,
			   jsonb_build_object('id', gid) || sync.push_product_input(jsonb_object_agg(f.path, coalesce(f.wanted, 'null'))) AS input, array_agg(f.path ORDER BY f.path) AS paths
		FROM field f WHERE f.root = 'product' HAVING count(*) > 0
		UNION ALL
		SELECT 2, m.chunk::integer, 'metafieldsDelete(metafields: $%1$s) { deletedMetafields { namespace key } userErrors { field message } }', '[MetafieldIdentifierInput!]!',
			   jsonb_agg(m.id ORDER BY m.path), array_agg(m.path ORDER BY m.path) FROM metafield m WHERE m.wanted IS NULL GROUP BY m.chunk
		UNION ALL
		SELECT 3, m.chunk::integer, 'metafieldsSet(metafields: $%1$s) { metafields { namespace key type value } userErrors { field message code } }', '[MetafieldsSetInput!]!',
			   jsonb_agg(m.id || jsonb_build_object('type', m.its_type, 'value', m.content, 'compareDigest', m.digest) ORDER BY m.path), array_agg(m.path ORDER BY m.path)
		FROM metafield m WHERE m.wanted IS NOT NULL GROUP BY m.chunk
		UNION ALL
		SELECT 4, 0, 'productVariantsBulkCreate(productId: ' || to_json(gid)::text || ', strategy: PRESERVE_STANDALONE_VARIANT, variants: $%1$s) { productVariants { id } userErrors { field message code } }', '[ProductVariantsBulkInput!]!',
			   jsonb_agg(sync.push_variant_input(sync.push_variant_fields(f.wanted) || jsonb_build_object('sku', f.sku, 'tracked', true)) ORDER BY f.path), array_agg(f.path ORDER BY f.path)
		FROM field f WHERE f.root = 'variant_create' HAVING count(*) > 0
		UNION ALL
		SELECT 5, v.chunk::integer, 'productVariantsBulkUpdate(productId: ' || to_json(gid)::text || ', variants: $%1$s) { product { id updatedAt } productVariants { ' || chosen.variant || ' } userErrors { field message code } }',
			   '[ProductVariantsBulkInput!]!', jsonb_agg(v.input ORDER BY v.remote_variant), (SELECT array_agg(q ORDER BY q) FROM unnest(string_to_array(string_agg(array_to_string(v.paths, E'\x01'), E'\x01'), E'\x01')) q)
		FROM variant v GROUP BY v.chunk
		UNION ALL
		SELECT 6, 0, 'productVariantsBulkDelete(productId: ' || to_json(gid)::text || ', variantsIds: $%1$s) { product { id } userErrors { field message code } }', '[ID!]!',
			   jsonb_agg(sync.shopify_gid('ProductVariant', f.remote_variant) ORDER BY f.path), array_agg(f.path ORDER BY f.path)
		FROM field f WHERE f.root = 'variant_delete' AND f.remote_variant IS NOT NULL HAVING count(*) > 0
		UNION ALL
		SELECT i.* FROM sync.push_image_mutations(push_mutations.push_id, seen) i
		ORDER BY 1, 2
	LOOP
		no := no + 1;
		alias := prefix || no;
		root := alias || ': ' || format(part.root, alias);
		declares := '$' || alias || ': ' || part.type;
		variables := jsonb_build_object(alias, part.input);
		paths := part.paths;
		RETURN NEXT;
	END LOOP;
END
$$;

CREATE FUNCTION sync.push_edit_request(call_id bigint, OUT request jsonb, OUT cost numeric, OUT body jsonb)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	most constant interval := '30 seconds';
	parts record;
	open bigint[];
BEGIN
	IF coalesce(call.checked_at < clock_timestamp() - most, true) THEN
		-- It waited too long for its turn: what was read is old.
		UPDATE sync.push_call c SET step = 'check', request = NULL WHERE c.id = call.id RETURNING c.* INTO call;
		SELECT r.request, r.cost INTO request, cost FROM sync.push_check_request(call.id) r;
		RETURN;
	END IF;
	PERFORM sync.push_drop_moved(call.id);
	open := sync.push_open(call.id);
	IF open = '{}' THEN
		RETURN;
	END IF;
	SELECT string_agg(m.declares, ', ' ORDER BY u.no, m.no) AS declares, string_agg(m.root, ' ' ORDER BY u.no, m.no) AS roots,
		   jsonb_object_agg(m.alias, m.variables -> m.alias) AS variables, jsonb_object_agg(m.alias, jsonb_build_object('push', u.id, 'paths', m.paths)) AS aliases
	INTO parts
	FROM unnest(open) WITH ORDINALITY AS u (id, no)
	CROSS JOIN LATERAL sync.push_mutations(u.id, 'p' || u.no || '_', call.request -> 'seen' -> u.id::text) m;
	IF parts.roots IS NULL THEN
		-- Images that only change places, which comes after a look at them.
		UPDATE sync.push_call c SET step = 'settle' WHERE c.id = call.id;
		SELECT r.request, r.cost, call.request INTO request, cost, body FROM sync.push_image_request(call.id) r;
		RETURN;
	END IF;
	request := sync.shopify_request(call.connection, format('mutation(%s) { %s }', parts.declares, parts.roots), parts.variables)
		-- A variant that is made twice is two.
		|| CASE WHEN parts.roots LIKE '%productVariantsBulkCreate%' THEN '{"once": true}' ELSE '{}' END::jsonb;
	SELECT sum(c.sending) INTO cost FROM sync.push p CROSS JOIN LATERAL sync.push_cost(p.wanted) c WHERE p.id = ANY (open);
	body := jsonb_build_object('seen', call.request -> 'seen', 'aliases', parts.aliases, 'variables', parts.variables);
END
$$;

-- Fields whose value here is no longer what was approved are not sent: they are staged anew.  A push that has none left ends.
CREATE FUNCTION sync.push_drop_moved(call_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	moved record;
	emptied bigint[] := '{}';
BEGIN
	FOR moved IN
		WITH field AS MATERIALIZED (SELECT r.push_id, r.product_id, r.path, r.wanted FROM sync.push_rows(push_drop_moved.call_id) r),
		document AS MATERIALIZED (SELECT d.* FROM sync.product_documents(ARRAY(SELECT DISTINCT f.product_id FROM field f)) d)
		SELECT f.push_id, array_agg(f.path) AS paths FROM field f LEFT JOIN document d ON d.product_id = f.product_id
		WHERE d.product_id IS NULL OR NOT sync.value_equal(f.path, sync.document_get(d.document, f.path), f.wanted)
		GROUP BY f.push_id
	LOOP
		UPDATE sync.push p SET wanted = p.wanted - moved.paths, expected = p.expected - moved.paths WHERE p.id = moved.push_id AND p.wanted - moved.paths <> '{}';
		IF NOT FOUND THEN
			emptied := emptied || moved.push_id;
		END IF;
		PERFORM sync.shop_up_wanted(p.connection) FROM sync.push p WHERE p.id = moved.push_id;
	END LOOP;
	PERFORM sync.push_end(ARRAY(SELECT p.id FROM sync.push p WHERE p.id = ANY (emptied) AND p.state = 'checking'), 'cancelled', 'changed here before it was sent');
	PERFORM sync.push_end(ARRAY(SELECT p.id FROM sync.push p WHERE p.id = ANY (emptied) AND p.state = 'retry'), 'stale', 'changed here before it was sent again');
END
$$;

-- What came back of each mutation: values become the base, errors end their product's push with what to do.
CREATE FUNCTION sync.push_edit_response(call_id bigint, data jsonb, OUT outcome text, OUT retry_in interval, OUT error jsonb)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	result record;
BEGIN
	FOR result IN
		SELECT r.* FROM sync.push_results(call.id, call.request -> 'aliases', data) r ORDER BY r.good DESC, r.ids[1]
	LOOP
		PERFORM sync.push_agreed(call.id, result.ids, result.payloads, CASE WHEN NOT result.good THEN result.paths END) WHERE result.good OR result.paths <> '{}';
		IF result.good AND EXISTS (SELECT FROM sync.push p WHERE p.id = result.ids[1] AND p.wanted ? 'images') THEN
			-- It is alone in its call, which goes on until Shopify has the images.
			UPDATE sync.push_call c SET step = 'settle' WHERE c.id = call.id;
			outcome := 'defer';
			retry_in := interval '0';
			RETURN;
		ELSIF result.good THEN
			PERFORM sync.push_end(result.ids, 'synced');
		ELSIF result.stale THEN
			PERFORM sync.push_end(result.ids, 'stale', sync.push_words(result.ids[1]) || ': the shop changed it at this moment', jsonb_build_object('signal', result.code));
		ELSIF result.later THEN
			PERFORM sync.push_move(result.ids, 'retry', call.id, result.message);
			error := jsonb_build_object('class', 'api_limit', 'message', result.message);
		ELSE
			PERFORM sync.push_end(result.ids, 'failed', format('%s: Shopify refuses it: %s', sync.push_words(result.ids[1]), result.message),
				jsonb_build_object('class', 'validation', 'signal', result.code));
		END IF;
	END LOOP;
	IF sync.push_open(call.id) = '{}' THEN
		PERFORM sync.push_call_finish(call.id);
		outcome := 'done';
	ELSE
		UPDATE sync.push_call c SET step = 'check', request = NULL, checked_at = NULL WHERE c.id = call.id;
		outcome := 'retry';
	END IF;
END
$$;

-- What became of each push of a call, by its mutations: all that went through in one row, each other in its own.  payloads: by push.
CREATE FUNCTION sync.push_results(call_id bigint, aliases jsonb, data jsonb)
RETURNS TABLE (ids bigint[], good boolean, later boolean, stale boolean, message text, code text, paths text[], payloads jsonb)
LANGUAGE plpgsql STABLE ROWS 10 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	open bigint[] := sync.push_open(push_results.call_id);
BEGIN
	RETURN QUERY
	WITH mutation AS MATERIALIZED (
		SELECT (a.value ->> 'push')::bigint AS id, a.key, a.value -> 'paths' AS paths, p.* FROM jsonb_each(aliases) a CROSS JOIN LATERAL sync.push_payload(data -> a.key) p),
	each AS MATERIALIZED (
		SELECT m.id, bool_and(m.good) AS good, NOT coalesce(bool_or(m.verdict = 'fail'), false) AS later, bool_or(m.stale) AS stale,
			   string_agg(m.message, '; ' ORDER BY m.key) AS message, min(m.code) AS code,
			   ARRAY(SELECT q FROM mutation o, jsonb_array_elements_text(o.paths) q WHERE o.id = m.id AND o.good) AS paths,
			   jsonb_agg(m.payload_out) FILTER (WHERE m.good) AS payloads
		FROM mutation m WHERE m.id = ANY (open) GROUP BY m.id)
	SELECT array_agg(e.id ORDER BY e.id), e.good, bool_or(e.later), bool_or(e.stale), min(e.message), min(e.code),
		   CASE WHEN e.good THEN '{}' ELSE min(e.paths::text)::text[] END, jsonb_object_agg(e.id, e.payloads)
	FROM each e GROUP BY e.good, CASE WHEN NOT e.good THEN e.id END;
END
$$;

-- One mutation's payload: whether it went through, and what to tell and do where it did not.
CREATE FUNCTION sync.push_payload(payload jsonb, OUT good boolean, OUT verdict text, OUT stale boolean, OUT code text, OUT message text, OUT payload_out jsonb)
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	found record;
BEGIN
	payload_out := payload;
	IF jsonb_typeof(payload) IS DISTINCT FROM 'object' THEN
		good := false;
		verdict := 'retry';
		message := 'Shopify''s answer does not tell of it';
		stale := false;
		RETURN;
	END IF;
	good := coalesce(nullif(payload -> 'userErrors', 'null'), '[]') = '[]';
	stale := NOT good AND payload @? '$.userErrors[*] ? (@.code == "STALE_OBJECT")';
	IF NOT good THEN
		found := sync.shopify_user_error(payload);
		verdict := found.verdict;
		code := payload #>> '{userErrors,0,code}';
		SELECT string_agg(DISTINCT left(e ->> 'message', 500), '; ') INTO message FROM jsonb_array_elements(payload -> 'userErrors') e;
		message := message || coalesce('. ' || sync.push_advice(code), '');
	END IF;
END
$$;

-- What a person can do about a refusal.
CREATE FUNCTION sync.push_advice(code text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
	SELECT CASE
		WHEN code IN ('PRODUCT_VARIANT_DOES_NOT_EXIST', 'PRODUCT_DOES_NOT_EXIST') THEN 'It is gone in the shop: it is read again, and decided there.'
		WHEN code LIKE '%NEGATIVE%' THEN 'Correct the amount here.'
		WHEN code IN ('TOO_LONG', 'TOO_SHORT', 'BLANK', 'INVALID', 'INVALID_VALUE', 'INVALID_INPUT', 'TAKEN') THEN 'Correct the field here, then approve it again.'
		WHEN code LIKE '%LIMIT%' OR code LIKE '%GREATER_THAN%' OR code LIKE '%TOO_MANY%' THEN 'The product has as many as Shopify allows (2048 variants): split it.'
		WHEN code = 'PRODUCT_SUSPENDED' THEN 'Shopify suspended the product: see its page in the admin.' END
$$;

-- What both sides agree on from now on ---------------------------------------------------------------------------------------------------------

-- The shop has what these pushes wanted, of all their fields or of some (paths): as it answered, or as they wanted it where the answer does not tell.
-- payloads: by push, what its mutations returned.  The base is that, and so is the mirror.  Variants that came or went are read anew; images are agreed
-- on by themselves (89_push_image.sql).
CREATE FUNCTION sync.push_agreed(call_id bigint, push_ids bigint[], payloads jsonb, paths text[] DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	shop text := (SELECT c.connection FROM sync.push_call c WHERE c.id = push_agreed.call_id);
	sent timestamptz := (SELECT coalesce(c.sent_at, c.created_at) FROM sync.push_call c WHERE c.id = push_agreed.call_id);
	rows sync.push_agreed_row[];
	products sync.merge_product[];
	seen bigint[];
	unsure bigint[];
BEGIN
	IF coalesce(push_ids, '{}') = '{}' THEN
		RETURN;
	END IF;
	PERFORM FROM sync.shopify_product m WHERE m.connection = shop AND m.remote_id IN (SELECT p.remote_id FROM sync.push p WHERE p.id = ANY (push_ids)) ORDER BY m.id FOR UPDATE;
	rows := ARRAY(
		SELECT ROW(r.product_id, r.remote_id, r.path, r.root, r.remote_path, r.wanted, CASE WHEN t.told THEN t.value ELSE r.wanted END, t.at)::sync.push_agreed_row
		FROM sync.push_rows(push_agreed.call_id, push_ids) r
		CROSS JOIN LATERAL sync.push_told(shop, r.path, r.root, r.remote_path, r.remote_variant, payloads -> r.push_id::text) t
		WHERE push_agreed.paths IS NULL OR r.path = ANY (push_agreed.paths));
	PERFORM sync.shopify_product_fetch(shop, w.remote_id) FROM (
		SELECT DISTINCT r.remote_id FROM unnest(rows) r WHERE r.root IN ('variant_create', 'variant_delete') ORDER BY 1) w;
	rows := ARRAY(SELECT r FROM unnest(rows) r WHERE r.root NOT IN ('variant_create', 'variant_delete') AND (r.root <> 'images' OR push_agreed.paths = ARRAY['images']));
	-- A reading that came after the call went out may be from before or after it.  Where the answer has no time to tell, the product is read
	-- again, and the note of what was sent settles it then.  Where the reading is newer, the mirror stays, and is compared.
	unsure := ARRAY(SELECT m.remote_id FROM sync.shopify_product m
					JOIN (SELECT r.remote_id, max(r.at) AS at FROM unnest(rows) r GROUP BY r.remote_id) s ON s.remote_id = m.remote_id
					WHERE m.connection = shop AND m.seen_at > sent AND s.at IS NULL);
	PERFORM sync.shopify_product_fetch(shop, u) FROM unnest(unsure) u;
	rows := ARRAY(SELECT r FROM unnest(rows) r WHERE r.remote_id <> ALL (unsure));
	seen := ARRAY(SELECT m.remote_id FROM sync.shopify_product m
				  JOIN (SELECT r.remote_id, max(r.at) AS at FROM unnest(rows) r GROUP BY r.remote_id) s ON s.remote_id = m.remote_id
				  WHERE m.connection = shop AND m.seen_at > sent AND m.remote_updated_at > s.at);
	PERFORM sync.push_compare_again(shop, seen) WHERE seen <> '{}';
	UPDATE sync.shopify_product m
	SET document = sync.document_patch_all(m.document, s.paths, s.new_values), handle = coalesce(s.handle, m.handle),
		remote_updated_at = greatest(m.remote_updated_at, s.at), seen_at = clock_timestamp()
	FROM (SELECT r.remote_id, array_agg(r.remote_path ORDER BY r.path) AS paths, array_agg(r.told ORDER BY r.path) AS new_values, max(r.at) AS at,
				 max(r.told #>> '{}') FILTER (WHERE r.path = 'handle') AS handle
		  FROM unnest(rows) r GROUP BY r.remote_id) s
	WHERE m.connection = shop AND m.remote_id = s.remote_id AND m.remote_id <> ALL (seen);
	products := ARRAY(SELECT p FROM sync.merge_products(shop, ARRAY(SELECT m.id FROM sync.shopify_product m
		WHERE m.connection = shop AND m.remote_id IN (SELECT r.remote_id FROM unnest(rows) r))) p);
	PERFORM sync.base_write(shop, products,
		ARRAY(SELECT ROW(r.product_id, r.path, NULL, r.wanted, r.told, 'local', 'converged', NULL, NULL, NULL, NULL, NULL)::sync.merge_field FROM unnest(rows) r));
END
$$;

CREATE TYPE sync.push_agreed_row AS (product_id bigint, remote_id bigint, path text, root text, remote_path text, wanted jsonb, told jsonb, at timestamptz);

-- What the answers to mutations tell of a field; told: whether they do.
CREATE FUNCTION sync.push_told(connection text, path text, root text, remote_path text, remote_variant bigint, payloads jsonb,
	OUT told boolean, OUT value jsonb, OUT at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
DECLARE
	product jsonb;
	variants jsonb[];
	metafields jsonb;
	read record;
BEGIN
	told := false;
	SELECT p -> 'product' INTO product FROM jsonb_array_elements(payloads) p WHERE jsonb_typeof(p #> '{product,updatedAt}') = 'string' LIMIT 1;
	at := sync.shopify_time(product ->> 'updatedAt');
	IF root = 'images' THEN
		SELECT true, p -> 'images' INTO told, value FROM jsonb_array_elements(payloads) p WHERE p ? 'images';
		told := coalesce(told, false);
		RETURN;
	ELSIF payloads IS NULL OR root NOT IN ('product', 'variants', 'metafields') THEN
		RETURN;
	END IF;
	IF root = 'variants' THEN
		variants := ARRAY(SELECT v FROM jsonb_array_elements(payloads) p, jsonb_array_elements(coalesce(nullif(p -> 'productVariants', 'null'), '[]')) v
						  WHERE v ->> 'id' = sync.shopify_gid('ProductVariant', remote_variant));
		told := variants <> '{}';
	ELSIF root = 'metafields' THEN
		SELECT jsonb_build_object('nodes', jsonb_agg(m)) INTO metafields FROM jsonb_array_elements(payloads) p,
			jsonb_array_elements(coalesce(nullif(p -> 'metafields', 'null'), '[]')) m WHERE (m ->> 'namespace') || '.' || (m ->> 'key') = substr(path, 12);
		told := jsonb_typeof(metafields -> 'nodes') = 'array';
	ELSE
		told := product IS NOT NULL;
	END IF;
	IF told THEN
		read := sync.push_document(connection, coalesce(product, '{}') || jsonb_build_object('id', sync.shopify_gid('Product', 1), 'metafields', metafields), variants);
		told := read.error IS NULL;
		value := sync.document_get(read.document, remote_path);
	END IF;
END
$$;
