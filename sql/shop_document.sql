-- A shop's side: its products as documents, what both sides do not agree on, and a bulk operation's lines.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install();
RESET client_min_messages;

-- The same value, however the shop writes it (test/unit/test_merge.c has the whole table).
SELECT sync.value_equal('variants[A].price', '1.50', '1.5') AS price, sync.value_equal('tags', '["b", "A"]', '["a", "b"]') AS tags,
	   sync.value_equal('description', '"<P class=a>AT&T<br/></P>\n"', '"<p class=\"a\">AT&amp;T<br></p>"') AS description,
	   sync.value_equal('images', '[{"src": "https://x/a.jpg?v=1"}]', '[{"src": "https://x/a.jpg?v=2", "alt": ""}]') AS images,
	   sync.value_equal('weight', '0', NULL) AS weight, sync.value_equal('vendor', NULL, '""') AS vendor,
	   sync.value_equal('title', '"a"', '"b"') AS title, sync.value_equal('price', '1', NULL) AS no_price,
	   sync.value_equal(NULL, '1', '1') AS no_field;

-- What only one side changed, what both did, and whole variants.
SELECT * FROM sync.document_merge(
	'{"title": "Pen", "vendor": "Acme", "type": "Pens", "variants": {"A": {"price": 1}, "B": {"price": 2}, "C": {"price": 3}}}',
	'{}',
	'{"title": "Pen!", "vendor": "Acme", "type": "Writing", "tags": ["x"], "variants": {"A": {"price": 1.00, "cost": 0.5}, "B": {"price": 2}, "D": {"price": 4}}}',
	'{"title": "Pen", "vendor": "ACME", "type": "Tools", "tags": ["X"], "variants": {"A": {"price": 1.5}, "C": {"price": 3}, "E": {"price": 5}}}');
-- The first time that both meet.
SELECT * FROM sync.document_merge(NULL, NULL,
	'{"title": "Pen", "vendor": "Acme", "variants": {"A": {"price": 1, "currency": "USD"}}}',
	'{"title": "Pen ", "vendor": "ACME", "variants": {"A": {"price": 1.0, "currency": "CAD"}, "B": {}}}');
-- Agreed on different texts: nothing changed.
SELECT * FROM sync.document_merge('{"description": "<p>new</p>"}', '{"description": "old"}', '{"description": "old"}', '{"description": "<P>new"}');
SELECT * FROM sync.document_merge('{"description": "<p>new</p>"}', '{"description": "old"}', '{"description": "old"}', '{"description": "<P>new</P>"}');
SELECT count(*) FROM sync.document_merge(NULL, '{}', '{}', NULL);
SELECT * FROM sync.document_merge('{}', '{}', '{}', '{"variants": {"A": 5}}');
SELECT * FROM sync.document_merge('{}', '{}', '[]', '{}');

-- A product as the API gives it.
CREATE TABLE public.made AS
SELECT * FROM sync.shopify_document(
	'{"id": "gid://shopify/Product/7", "handle": "pen", "title": "Pen", "descriptionHtml": "<p>x</p>", "vendor": "", "productType": "Pens",
	  "tags": ["b", "a"], "status": "UNLISTED", "updatedAt": "2026-10-01T00:00:00Z", "seo": {"title": "s", "description": null}}',
	ARRAY['{"id": "gid://shopify/ProductVariant/71", "sku": "A", "barcode": null, "price": "12.50", "compareAtPrice": null, "position": 1,
		"inventoryPolicy": "DENY", "selectedOptions": [{"name": "Title", "value": "Default Title"}],
		"inventoryItem": {"id": "gid://shopify/InventoryItem/710", "tracked": true, "unitCost": {"amount": "3.0000", "currencyCode": "USD"},
			"measurement": {"weight": {"value": 1.5, "unit": "POUNDS"}},
			"inventoryLevels": {"nodes": [{"id": "gid://shopify/InventoryLevel/1?inventory_item_id=710", "location": {"id": "gid://shopify/Location/5"},
				"quantities": [{"name": "on_hand", "quantity": 9}, {"name": "available", "quantity": 4, "updatedAt": "2026-10-01T00:00:00Z"}]}]}}}',
		-- Lines of a bulk operation.
		'{"id": "gid://shopify/ProductVariant/72", "__parentId": "gid://shopify/Product/7", "sku": "B", "price": "0.10", "inventoryPolicy": "CONTINUE",
		"selectedOptions": [{"name": "Color", "value": "Red"}], "inventoryItem": {"id": "gid://shopify/InventoryItem/720",
			"measurement": {"weight": {"value": 0, "unit": "KILOGRAMS"}}}}',
		'{"id": "gid://shopify/InventoryLevel/9", "__parentId": "gid://shopify/ProductVariant/72", "location": {"id": "gid://shopify/Location/6"},
		"quantities": [{"name": "available", "quantity": -2}]}',
		'{"id": "gid://shopify/ProductVariant/73", "__parentId": "gid://shopify/Product/7", "inventoryItem": {"id": "gid://shopify/InventoryItem/730",
			"measurement": {"weight": {"value": 0.1, "unit": "KILOGRAMS"}}}}']::jsonb[],
	ARRAY['{"id": "gid://shopify/MediaImage/1", "alt": "a", "image": {"url": "https://cdn/x.jpg?v=1"}}', '{"id": "gid://shopify/Video/1"}',
		'{"id": "gid://shopify/MediaImage/2", "image": null}', '{"id": "gid://shopify/MediaImage/3", "image": {"url": "https://cdn/y.jpg", "altText": "b"}}']::jsonb[],
	ARRAY['{"namespace": "custom", "key": "x", "type": "json", "value": "{\"a\": [1, 2]}"}',
		'{"namespace": "custom", "key": "y", "type": "json", "value": "{\"a\": \"\\u0000\"}"}',
		'{"namespace": "custom", "key": "z", "type": "number_integer", "value": "5"}',
		'{"namespace": "custom", "key": "l", "type": "list.single_line_text_field", "value": "[\"p\"]"}']::jsonb[], 'EUR');
SELECT jsonb_pretty(document), error FROM public.made;
SELECT v.* FROM public.made, jsonb_each(variants) v;
SELECT s.* FROM public.made, jsonb_each(stock) s;
DROP TABLE public.made;
-- A node that is not as it should be makes it one that cannot be read, and says why.
SELECT (sync.shopify_document(p::jsonb, ARRAY[v]::jsonb[], NULL, NULL)).error
FROM (VALUES
	('{"id": "gid://shopify/Product/7"}', '{"id": "gid://shopify/ProductVariant/72", "price": "NaN"}'),
	('{"id": "gid://shopify/Product/7"}', '{"id": "gid://shopify/ProductVariant/72", "price": "-1"}'),
	('{"id": "gid://shopify/Product/7"}', '{"id": "gid://shopify/ProductVariant/72", "price": "12345678901.00"}'),
	('{"id": "gid://shopify/Product/7"}', '{"id": "gid://shopify/ProductVariant/72", "price": {}}'),
	('{"id": "gid://shopify/Product/7"}', '{"id": "gid://shopify/Order/72"}'),
	('{"id": "gid://shopify/Product/7"}', '{"sku": "x"}'),
	('{"id": "gid://shopify/Product/7"}', '5'),
	('{"id": 5}', '{}'),
	('[]', '{}'),
	(NULL, '{}'),
	('{"id": "gid://shopify/Product/7", "title": ["x"]}', '{}'),
	('{"id": "gid://shopify/Product/7", "tags": [1]}', '{}'),
	('{"id": "gid://shopify/Product/7", "status": "WHAT"}', '{}'),
	('{"id": "gid://shopify/Product/7"}', '{"id": "gid://shopify/ProductVariant/72", "position": 1e300}'),
	('{"id": "gid://shopify/Product/7"}', '{"id": "gid://shopify/ProductVariant/72", "selectedOptions": ["x"]}'),
	('{"id": "gid://shopify/Product/7"}', '{"id": "gid://shopify/ProductVariant/72", "inventoryItem": {"id": "gid://shopify/InventoryItem/1", "measurement": {"weight": {"value": 1, "unit": "STONE"}}}}'),
	('{"id": "gid://shopify/Product/7"}', '{"id": "gid://shopify/ProductVariant/72", "inventoryItem": {"id": "gid://shopify/InventoryItem/1", "inventoryLevels": {"nodes": [{}]}}}'),
	('{"id": "gid://shopify/Product/7"}', '{"id": "gid://shopify/InventoryLevel/1?inventory_item_id=5", "location": {"id": "gid://shopify/Location/5"}, "updatedAt": "2026-02-30T00:00:00Z"}'),
	('{"id": "gid://shopify/Product/7"}', '{"id": "gid://shopify/InventoryLevel/1?inventory_item_id=5", "location": {"id": "gid://shopify/Location/5"}, "quantities": [{"name": "available", "quantity": 2.5}]}'),
	('{"id": "gid://shopify/Product/7"}', '{"id": "gid://shopify/InventoryLevel/1", "__parentId": "gid://shopify/ProductVariant/99", "location": {"id": "gid://shopify/Location/5"}}')
) t (p, v);
-- A metafield that is deep enough to break its reader stays text.
SELECT jsonb_typeof((sync.shopify_document('{"id": "gid://shopify/Product/7"}', NULL, NULL, ARRAY[jsonb_build_object('namespace', 'a', 'key', 'b',
	'type', 'json', 'value', repeat('[', 100000) || repeat(']', 100000))])).document #> '{metafields,a.b}');
SELECT sync.shopify_id('gid://shopify/Product/7', 'Product');
SELECT sync.shopify_id('gid://shopify/Product/7', 'Order');
SELECT sync.shopify_id('gid://shopify/Product/7x', 'Product');

-- A bulk operation's result, with all that can be wrong in one.
CREATE FUNCTION public.spool(name text, content bytea) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	folder text := format('%s/%s', current_setting('product_sync.spool_directory'), (SELECT oid FROM pg_database WHERE datname = current_database()));
	object oid := lo_from_bytea(0, content);
BEGIN
	EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', format('mkdir -p %s', folder));
	PERFORM lo_export(object, folder || '/' || name);
	PERFORM lo_unlink(object);
END
$$;
SELECT public.spool('shopify-1.jsonl', convert_to(concat_ws(E'\n',
	'{"id": "gid://shopify/Product/1"}',
	'{"id": "gid://shopify/ProductVariant/11", "inventoryItem": {"id": "gid://shopify/InventoryItem/111"}, "__parentId": "gid://shopify/Product/1"}',
	'no JSON',
	'{"id": "gid://shopify/Product/2", "title": "\u0000"}',
	'{"id": "gid://shopify/ProductVariant/21", "__parentId": "gid://shopify/Product/2"}',
	'', '[1]', '{"a": 1}', '{"id": "gid://shopify/Product/1"}', '{"id": "gid://shopify/Order/1"}',
	'{"id": "gid://shopify/InventoryLevel/5?inventory_item_id=111", "__parentId": "gid://shopify/InventoryItem/111"}',
	'{"id": "gid://shopify/InventoryLevel/6?inventory_item_id=111", "__parentId": "gid://shopify/ProductVariant/11"}',
	'{"id": "gid://shopify/Video/8", "__parentId": "gid://shopify/Product/1"}',
	'{"id": "gid://shopify/Metafield/9", "__parentId": "gid://shopify/Product/1"}',
	repeat('[', 1000000),
	'{"id": "gid://shopify/Product/3"}', ''), 'UTF8')
	|| '\x7b226964223a2022ff227d0a'::bytea
	|| convert_to('{"x": "' || repeat('x', 17 * 1024 * 1024) || E'"}\n{"id": "gid://shopify/Prod', 'UTF8'));
SELECT * FROM sync.shopify_bulk_load(1, 'shopify-1.jsonl');
SELECT line, kind, owner_id, parent FROM sync.shopify_bulk_line WHERE crawl_id = 1 ORDER BY line;
-- All there, though its last line has no end; and nothing at all.
SELECT public.spool('shopify-2.jsonl', '{"id": "gid://shopify/Product/1"}'), public.spool('shopify-3.jsonl', '');
SELECT * FROM sync.shopify_bulk_load(2, 'shopify-2.jsonl');
SELECT * FROM sync.shopify_bulk_load(3, 'shopify-3.jsonl');
SELECT * FROM sync.shopify_bulk_load(1, '../shopify-1.jsonl');
SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace AND p.proname IN ('document_merge', 'value_equal', 'shopify_document', 'shopify_id', 'shopify_bulk_load')
	AND has_function_privilege('public', p.oid, 'EXECUTE');
DROP FUNCTION public.spool(text, bytea);
DROP EXTENSION product_sync CASCADE;
SET client_min_messages = warning;
DROP SCHEMA sync CASCADE;
