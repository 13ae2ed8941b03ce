-- Product documents: what differs, and that every field has one name that leads back to it.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install();
RESET client_min_messages;

-- A feed that repeats what the catalogue has changes nothing, however it writes it.
SELECT * FROM sync.document_diff(
	'{"title": "Pen", "tags": ["a", "b"], "images": [{"src": "1", "alt": "one"}], "metafields": {"custom.A": "1"},
	  "variants": {"S": {"price": 12.50, "weight": 0, "options": {"Color": "Red"}}}}',
	'{"title": "Pen", "tags": ["b", "a", "b"], "images": [{"src": "1"}],
	  "variants": {"S": {"price": 12.5, "weight": -0.00, "options": {}}}}');
-- Everything that a feed may change.
SELECT * FROM sync.document_diff(
	'{"title": "Pen", "tags": ["a"], "images": [{"src": "1"}, {"src": "2"}], "metafields": {"custom.A": "1", "custom.B": "2"},
	  "attributes": {"published": true}, "variants": {"S": {"price": 12.5, "barcode": "1", "options": {"Color": "Red"}}}}',
	'{"title": "pen", "tags": ["a", "c"], "images": [{"src": "2"}, {"src": "1"}], "metafields": {"custom.A": "1 ", "custom.C": {"x": [1]}},
	  "attributes": {"published": false},
	  "variants": {"S": {"price": 12.51, "barcode": null, "options": {"Color": "Blue", "Size": "L"}}, "T": {"price": 1}}}')
ORDER BY path COLLATE "C";
-- Lists: an order of images matters, an alt that is not mentioned does not, an empty list is nothing.
SELECT * FROM sync.document_diff('{"images": []}', '{"tags": [], "images": null}');
SELECT * FROM sync.document_diff('{"images": [{"src": "1", "alt": "x"}]}', '{"images": [{"src": "1", "alt": "y"}]}');
SELECT * FROM sync.document_diff('{"tags": ["a"]}', '{"tags": []}');

-- What is not shaped like a document is refused with the place.
SELECT * FROM sync.document_diff('{}', '[]');
SELECT * FROM sync.document_diff('{"variants": 5}', '{"variants": {}}');
SELECT * FROM sync.document_diff('{}', '{"variants": {"S": {"options": [1]}}}');
SELECT * FROM sync.document_diff('{}', '{"variants": {"S": {"Price": 1}}}');
SELECT * FROM sync.document_diff('{}', '{"a.b": 1}');
SELECT * FROM sync.document_diff('{}', ('{"title": ' || repeat('[', 40) || repeat(']', 40) || '}')::jsonb);

-- Odd keys: each path is read back as the keys it stands for, and patching with it makes the very same document.
WITH key (k) AS (VALUES ('CWS-1042'), ('a.b'), ('a]b'), ('a[b'), ('say "x"'), ('back\slash'), (E'tab\there'), (E'\x01'), (' '), ('*')),
doc AS (SELECT k, jsonb_build_object('metafields', jsonb_build_object(k, 1), 'variants', jsonb_build_object(k,
			   jsonb_build_object('price', 2, 'options', jsonb_build_object(k, 3)))) AS d FROM key),
change AS (SELECT doc.k, f.path, f.new_value, d FROM doc, sync.document_diff('{"variants": {}}', d) f
		   UNION ALL SELECT doc.k, f.path, f.new_value, d FROM doc,
			   sync.document_diff(jsonb_build_object('variants', jsonb_build_object(k, '{}'::jsonb)), d) f)
SELECT path, sync.document_path(path) AS keys, sync.document_get(d, path) = new_value AS got FROM change
ORDER BY k COLLATE "C", path COLLATE "C";
WITH key (k) AS (VALUES ('a.b'), ('a]b'), ('say "x"'), ('back\slash'), (E'tab\there')),
doc AS (SELECT jsonb_build_object('title', 'x', 'metafields', jsonb_object_agg(k, 1), 'variants', jsonb_object_agg(k,
			   jsonb_build_object('price', 2, 'options', jsonb_build_object(k, 3)))) AS d FROM key)
SELECT sync.document_patch_all('{}', array_agg(path), array_agg(new_value)) = (SELECT d FROM doc) AS same
FROM doc, sync.document_diff('{}', d);
SELECT sync.variant_path(k) = f.path AS same_in_sql, f.path
FROM (VALUES ('a]b'), ('say "x"'), ('back\slash'), (E'a\nb'), (E'\x1f'), ('plain.1')) v (k),
	 sync.document_diff('{}', jsonb_build_object('variants', jsonb_build_object(k, '{}'::jsonb))) f;

-- Setting and taking out.
SELECT sync.document_patch('{"title": "x"}', 'variants[S].options.Color', '"Red"');
SELECT sync.document_patch('{"title": "x", "metafields": {"a": 1, "b": 2}}', 'metafields.a', NULL);
SELECT sync.document_patch('{"title": "x"}', 'variants[S].price', 'null');
SELECT sync.document_patch('{"variants": {"S": {"price": 1}, "T": {}}}', 'variants[S]', NULL);
SELECT sync.document_get('{"title": 5}', 'title'), sync.document_get('{"metafields": 5}', 'metafields.x'), sync.document_get('{}', 'vendor');

-- No path.
SELECT sync.document_path('');
SELECT sync.document_path('metafields');
SELECT sync.document_path('title.x');
SELECT sync.document_path('variants');
SELECT sync.document_path('variants[');
SELECT sync.document_path('variants[]');
SELECT sync.document_path('variants["plain"]');
SELECT sync.document_path('variants["a\u0041]"]');
SELECT sync.document_path('variants[S]price');
SELECT sync.document_path('variants[S].options');
SELECT sync.document_path('variants[S].price.x');
SELECT sync.document_path('Title');
SELECT sync.path_target('variants[S].options.Color'), sync.path_target('images'), sync.path_target('metafields.custom.A'),
	   sync.path_label('variants[S].price', true), sync.path_label('variants[S].price', false), sync.path_label('variants[S]', false);

-- The feed's rows as documents: image rows follow, each image counts once.
INSERT INTO sync.connection (name, kind, base_url) VALUES ('feed', 'etilize', 'ftp://127.0.0.1/');
INSERT INTO sync.feed_file (connection, name, size, state) VALUES ('feed', 'f.zip', 1, 'loaded') RETURNING id AS file \gset
CREATE TABLE sync.feed_item_t PARTITION OF sync.feed_item FOR VALUES IN (:file);
INSERT INTO sync.feed_item (id, feed_file_id, line, product_no, kind, product_key, sku, product, variant, image) VALUES
	(1, :file, 2, 1, 'product', 'shirt', 'S-1', '{"title": "Shirt"}',
	 '{"sku": "S-1", "price": 9, "options": {"Size": "L", "Color": "Red"}}',
	 '{"src": "http://x/b.jpg", "position": 2}'),
	(2, :file, 3, 1, 'variant', 'shirt', 'S-2', NULL, '{"sku": "S-2", "options": {"Size": "M", "Color": "Blue"}}', NULL),
	(3, :file, 4, 1, 'image', 'shirt', NULL, NULL, NULL, '{"src": "http://x/a.jpg", "position": 1, "alt": "front"}'),
	(4, :file, 5, 1, 'image', 'shirt', NULL, NULL, NULL, '{"src": "http://x/b.jpg", "position": 3}'),
	(5, :file, 6, 2, 'product', 'mug', 'M-1', '{"title": "Mug"}', '{"sku": "M-1"}', NULL);
SELECT product_no, line, product_key, sku, title, jsonb_pretty(document) FROM sync.feed_documents(:file, 1, 9) ORDER BY 1;
SELECT product_no FROM sync.feed_documents(:file, 2, 2);

-- A product's row and its variants' as a document, whatever the user did to the tables that hold them.
\pset null '(null)'
INSERT INTO sync.product (id, handle, title, vendor, tags, images, status, metafields) VALUES
	(1, 'pen', 'Pen', 'Acme', '{blue,"a \"b\""}', '[{"src": "1", "alt": null}]', 'active', '{"custom.A": {"x": [1, null]}}'), (2, NULL, 'Bare', NULL, '{}', '[]', 'draft', '{}');
INSERT INTO sync.variant (product_id, sku, barcode, price, cost, weight, options) VALUES
	(1, 'A"]', '0123', 12.5000, NULL, 0, '{"Color": "Red"}'), (1, 'B', NULL, 'NaN', 100, 0.0001, '{}');
SELECT product_id, version, jsonb_pretty(document) FROM sync.product_documents('{1,2,3}') ORDER BY 1;
SELECT sync.document_from_rows(NULL::sync.product, NULL::sync.variant[]);
BEGIN;
ALTER TABLE sync.variant ADD COLUMN note text DEFAULT 'mine', DROP COLUMN weight, ADD COLUMN weight numeric(14, 4) DEFAULT 5;
SELECT sync.product_document(1) -> 'variants' -> 'B';
-- Columns of other types, and rows of another table.
SAVEPOINT here;
ALTER TABLE sync.variant ALTER COLUMN mpn TYPE varchar(10);
SELECT sync.product_document(1);
ROLLBACK TO here;
SELECT sync.document_from_rows(c, NULL::sync.variant[]) FROM (VALUES (1)) c;
ROLLBACK TO here;
SELECT sync.document_from_rows(p, ARRAY[1]) FROM sync.product p WHERE p.id = 2;
ROLLBACK;

-- A table that changes between two calls of one function.
CREATE FUNCTION pg_temp.title(p sync.product) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	document jsonb;
BEGIN
	document := sync.document_from_rows(p, NULL::sync.variant[]);
	RETURN document ->> 'title';
END
$$;
BEGIN;
SELECT pg_temp.title(p) FROM sync.product p WHERE p.id = 2;
ALTER TABLE sync.product ADD COLUMN first integer DEFAULT 7;
SELECT pg_temp.title(p) FROM sync.product p WHERE p.id = 2;
ROLLBACK;

-- How a level of stock is named.
SELECT sync.stock_path('CWS-1042', 7), sync.stock_path('a]"b', -1), sync.stock_path('', 9223372036854775807), sync.stock_path(NULL, 1);
