-- Loading a feed: what a good file gives, and that each bad one ends in its own clear error with nothing loaded.
\set SHOW_CONTEXT never
\set VERBOSITY default
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install();
LOAD 'product_sync';

-- A zip writer: members are stored, not packed.  CRC-32 as in RFC 1952.
CREATE FUNCTION pg_temp.crc32(data bytea) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	crc bigint := 4294967295;
BEGIN
	FOR i IN 0 .. length(data) - 1 LOOP
		crc := crc # get_byte(data, i);
		FOR k IN 1 .. 8 LOOP
			crc := CASE WHEN crc & 1 = 1 THEN (crc >> 1) # 3988292384 ELSE crc >> 1 END;
		END LOOP;
	END LOOP;
	RETURN crc # 4294967295;
END $$;
CREATE FUNCTION pg_temp.le(value bigint, bytes integer) RETURNS bytea LANGUAGE sql AS
$$ SELECT string_agg(set_byte('\x00', 0, ((value >> (8 * k)) & 255)::integer), ''::bytea ORDER BY k) FROM generate_series(0, bytes - 1) k $$;
CREATE TYPE pg_temp.member AS (name text, data bytea, packed bytea, crc bigint, flags integer);
CREATE FUNCTION pg_temp.member(name text, data bytea, packed bytea DEFAULT NULL, crc bigint DEFAULT NULL, flags integer DEFAULT 0)
RETURNS pg_temp.member LANGUAGE sql AS $$ SELECT name, data, packed, coalesce(crc, pg_temp.crc32(data)), flags $$;
CREATE FUNCTION pg_temp.zip(VARIADIC members pg_temp.member[]) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
	m pg_temp.member;
	body bytea := '';
	directory bytea := '';
	common bytea;
	offset_ integer;
BEGIN
	FOREACH m IN ARRAY members LOOP
		offset_ := length(body);
		common := '\x1400'::bytea || pg_temp.le(m.flags, 2) || pg_temp.le(CASE WHEN m.packed IS NULL THEN 0 ELSE 8 END, 2) || '\x00002100'::bytea
			|| pg_temp.le(m.crc, 4) || pg_temp.le(length(coalesce(m.packed, m.data)), 4) || pg_temp.le(length(m.data), 4)
			|| pg_temp.le(octet_length(m.name), 2) || '\x0000'::bytea;
		body := body || '\x504b0304'::bytea || common || convert_to(m.name, 'UTF8') || coalesce(m.packed, m.data);
		directory := directory || '\x504b01021400'::bytea || common || '\x00000000000000000000'::bytea || pg_temp.le(offset_, 4)
			|| convert_to(m.name, 'UTF8');
	END LOOP;
	RETURN body || directory || '\x504b050600000000'::bytea || pg_temp.le(cardinality(members), 2) || pg_temp.le(cardinality(members), 2)
		|| pg_temp.le(length(directory), 4) || pg_temp.le(length(body), 4) || '\x0000'::bytea;
END $$;

-- A feed file with the archive in the spool folder; returns its id.
INSERT INTO sync.connection (name, kind, base_url) VALUES ('feed', 'etilize', 'ftp://127.0.0.1/');
CREATE FUNCTION pg_temp.publish(archive bytea) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	file bigint;
	object oid;
BEGIN
	INSERT INTO sync.feed_file (connection, name, size, state) VALUES ('feed', 'feed.zip', length(archive), 'downloaded') RETURNING id INTO file;
	BEGIN
		PERFORM sync.feed_claims(file);		-- makes the spool folder
	EXCEPTION WHEN undefined_file THEN
		NULL;
	END;
	object := lo_from_bytea(0, archive);
	PERFORM lo_export(object, format('%s/%s/feed-%s.zip', current_setting('product_sync.spool_directory'),
									 (SELECT oid FROM pg_database WHERE datname = current_database()), file)), lo_unlink(object);
	RETURN file;
END $$;
CREATE FUNCTION pg_temp.load_csv(csv text) RETURNS jsonb LANGUAGE sql AS
$$ SELECT sync.feed_load(pg_temp.publish(pg_temp.zip(pg_temp.member('feed.csv', convert_to(csv, 'UTF8'))))) $$;
CREATE FUNCTION pg_temp.load_bad(archive bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	file bigint := pg_temp.publish(archive);
	message text;
	detail text;
BEGIN
	PERFORM sync.feed_load(file);
	RETURN 'loaded';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	RETURN format('%s %s', SQLSTATE, message);
END $$;

-- A good file
SELECT pg_temp.load_csv(E'\uFEFF"URL handle",Title,Vendor,Tags,Status,Published,SKU,Barcode,Price,Cost per item,Weight value (grams),'
	'Option1 Name,Option1 Value,Product image URL,Image position,Google Shopping / MPN,"Metafield: custom.CWS_A[list.single_line_text]",'
	'Metafield: custom.Note,SEO Title,Nobody knows this,Title' || E'\r\n'
	'desk,Desk,Acme,"wood, , oak ",ACTIVE,TRUE,D-1,0123,"$1,234.50",9.9,12000,Color,Red,https://img/1.jpg,1,MP-1,"a,b", text ,T,?,Second' || E'\r\n'
	'desk,,,,,,D-2,,12,,,,Blue,,,,,,,,' || E'\r\n'
	'desk,,,,,,,,,,,,,https://img/2.jpg,2,,,,,,' || E'\r\n'
	',,,,,,,,,,,,,,,,,,,,' || E'\r\n'
	',,,,,,,,,,,,,https://img/3.jpg,3,,,,,,' || E'\r\n'
	'chair,Chair,,,draft,no,C-1,,,,,Title,Default Title,,,,,,,,,,' || E'\r\n') AS counts;
SELECT id - (feed_file_id << 32) AS record, line, product_no, kind, product_key, sku, product, variant, image
FROM sync.feed_item WHERE feed_file_id = 1 ORDER BY id;
-- What is staged is what was read, variants' options too.
SELECT product_no, jsonb_pretty(document) AS document FROM sync.feed_documents(1, 1, 2);
SELECT state, member, records, products, rejected, profile, encode(sha256, 'hex') AS sha256, header[1:3] AS header FROM sync.feed_file WHERE id = 1;
-- The documents are what jsonb itself would store.
SELECT count(*) FROM sync.feed_item WHERE product::text::jsonb <> product OR variant::text::jsonb <> variant
	OR pg_column_size(product::text::jsonb || '{}') <> pg_column_size(product || '{}') OR image::text::jsonb <> image;
SELECT indexdef FROM pg_indexes WHERE schemaname = 'sync' AND tablename = 'feed_item_1' ORDER BY 1;
SELECT pg_get_expr(relpartbound, oid) AS bound, relowner::regrole AS owner FROM pg_class WHERE relname = 'feed_item_1';

-- Records that cannot be used
SELECT pg_temp.load_csv(E'Handle,Title,Variant SKU,Variant Price,Image position,Image Src,Published,Status\n'
	'a,A,A-1,1.50,,,,\n'
	'b,B,B-1,12.3.4,,,,\n'
	'b,,,,1,https://img/b.jpg,,\n'
	'c,C,,1,,,,\n'
	'd,D,A-1,1,,,,\n'
	'e,E,E-1\n'
	'f,F,F-1,1,,,,,\n'
	'g,G,G-1,1,,,,,surplus\n'
	'h,H,H-1,"1,50",,,,\n'
	'i,I,I-1,-1,,,,\n'
	'j,J,J-1,99999999999,,,,\n'
	'k,K,K-1,1,1.5,,,\n'
	'l,L,L-1,1,,file:///etc/passwd,,\n'
	'm,M,M-1,1,,,perhaps,\n'
	'n,N,N-1,1,,,,gone\n'
	'o,"O" x,O-1,1,,,,\n'
	'z,,Z-1,1,,,,\n'
	'a,,,,,,,\n'
	'a,,A-2,2,,,,\n'
	'p,"P,P-1,1,,,,\n') AS counts;
SELECT line, sku, header, value, reason, record FROM sync.feed_reject WHERE feed_file_id = 2 ORDER BY line;
SELECT line, product_no, kind, sku, variant FROM sync.feed_item WHERE feed_file_id = 2 ORDER BY id;

-- Encodings: Windows-1252 as a whole, damaged UTF-8 record by record
SELECT sync.feed_load(pg_temp.publish(pg_temp.zip(pg_temp.member('f.csv', 'Title,SKU\012Caf\351 14\224,X-1\012\231Plain,X-2\012x\201,X-3\012'))));
SELECT line, product ->> 'title' AS title FROM sync.feed_item WHERE feed_file_id = 3 ORDER BY id;
SELECT line, header, value, reason FROM sync.feed_reject WHERE feed_file_id = 3;
SELECT sync.feed_load(pg_temp.publish(pg_temp.zip(pg_temp.member('f.csv', 'Title,SKU\012Caf\303\251,X-1\012\302\256,X-2\012caf\351,X-3\012'))));
SELECT line, header, value, reason FROM sync.feed_reject WHERE feed_file_id = 4;

-- The same CSV in another zip is no news; loading again after a crash is the same load
SELECT sync.feed_load(pg_temp.publish(pg_temp.zip(pg_temp.member('other.txt', 'x'), pg_temp.member('again.csv',
	'Title,SKU\012Caf\303\251,X-1\012\302\256,X-2\012caf\351,X-3\012'))));
SELECT state, sha256 = (SELECT sha256 FROM sync.feed_file WHERE id = 4) AS same FROM sync.feed_file WHERE id = 5;
-- but not where its run was cancelled
BEGIN;
INSERT INTO sync.run (kind, connection, feed_file_id, state, active) VALUES ('etilize', 'feed', 4, 'cancelled', false);
SELECT sync.feed_same_as(5) AS cancelled;
UPDATE sync.run SET state = 'complete';
SELECT sync.feed_same_as(5) AS complete;
ROLLBACK;
SELECT sync.feed_load(4);
BEGIN;
UPDATE sync.feed_file SET state = 'downloaded' WHERE id = 4;
DROP TABLE sync.feed_item_4;
CREATE TABLE sync.feed_item_4 (left_over integer);
SELECT sync.feed_load(4);
SELECT count(*), min(id) >> 32 AS file FROM sync.feed_item WHERE feed_file_id = 4;
ROLLBACK;

-- Files that cannot be loaded
SELECT id AS before FROM sync.feed_file ORDER BY id DESC LIMIT 1 \gset
SELECT pg_temp.load_bad('');
SELECT pg_temp.load_bad('this is no zip file');
SELECT pg_temp.load_bad(substr(z, 1, length(z) - 10)) FROM pg_temp.zip(pg_temp.member('feed.csv', 'Title,SKU')) z;
SELECT pg_temp.load_bad(pg_temp.zip(pg_temp.member('feed.csv', 'Title,SKU', flags => 1)));
SELECT pg_temp.load_bad(pg_temp.zip(pg_temp.member('feed.csv', E'Title,SKU\nA,B', crc => 1)));
SELECT pg_temp.load_bad(pg_temp.zip(pg_temp.member('feed.csv', E'Title,SKU\nA,B'), pg_temp.member('other.bin', 'damaged', crc => 1)));
SELECT pg_temp.load_bad(pg_temp.zip(pg_temp.member('../feed.csv', 'Title,SKU')));
SELECT pg_temp.load_bad(pg_temp.zip(pg_temp.member('feed.csv', 'Title,SKU'), pg_temp.member('a\..\x.txt', '')));
SELECT pg_temp.load_bad(pg_temp.zip(pg_temp.member('/feed.csv', 'Title,SKU')));
SELECT pg_temp.load_bad(pg_temp.zip(pg_temp.member('feed.txt', 'Title,SKU'), pg_temp.member('._feed.csv', '')));
SELECT pg_temp.load_bad(pg_temp.zip(pg_temp.member('feed.csv', '')));
SELECT pg_temp.load_bad(pg_temp.zip(pg_temp.member('feed.csv', E'Title,Price\nA,1')));
SELECT pg_temp.load_bad(pg_temp.zip(pg_temp.member('feed.csv', E'Title,"SKU\nA,1')));
SELECT pg_temp.load_bad(pg_temp.zip(pg_temp.member('feed.csv', '\xfffe54006900')));
SET product_sync.feed_max_entries = 1;
SELECT pg_temp.load_bad(pg_temp.zip(pg_temp.member('feed.csv', E'Title,SKU\n'), pg_temp.member('b', '')));
RESET product_sync.feed_max_entries;
SET product_sync.feed_max_megabytes = 1;
SELECT pg_temp.load_bad(pg_temp.zip(pg_temp.member('feed.csv', convert_to(repeat('x', 1100000), 'UTF8'), crc => 0)));
RESET product_sync.feed_max_megabytes;
SET product_sync.feed_max_ratio = 100;
-- 2.5 MB of zeros in 16 kB of fixed Huffman codes, which repeat every 13 bytes
SELECT pg_temp.load_bad(pg_temp.zip(pg_temp.member('feed.csv', 'x', packed => '\x6360'::bytea ||
	decode(repeat('1805a360148c8251300a46c128', 1199), 'hex') || '\x1805a360148c8251300a46c1880700'::bytea, crc => 0)));
RESET product_sync.feed_max_ratio;
SELECT pg_temp.load_bad(pg_temp.zip(pg_temp.member('feed.csv', 'x', packed => '\x6360'::bytea, crc => 0)));
SELECT count(*) AS items FROM sync.feed_item WHERE feed_file_id > :before;
SELECT count(*) AS rejects FROM sync.feed_reject WHERE feed_file_id > :before;
SELECT count(*) AS leftovers FROM pg_tables WHERE schemaname = 'sync' AND tablename ~ '^feed_item_[0-9]' AND substr(tablename, 11)::bigint > :before;
-- and the next good file works
SELECT pg_temp.load_csv(E'Title,SKU\nA,A-1\n');
UPDATE sync.connection SET settings = '{"feed_profile": "nobody"}';
SELECT pg_temp.load_bad(pg_temp.zip(pg_temp.member('feed.csv', E'Title,SKU\nA,A-2\n')));
UPDATE sync.connection SET settings = '{}';

-- A profile of one's own: another delimiter, a price list without titles
INSERT INTO sync.feed_profile (name, description, delimiter, group_target) VALUES ('prices', 'Prices only', '|', 'variant.sku');
INSERT INTO sync.feed_profile_column (profile, header, target, transform) VALUES ('prices', 'item no', 'variant.sku', 'text'), ('prices', 'eur', 'variant.price', 'number');
UPDATE sync.connection SET settings = '{"feed_profile": "prices"}';
SELECT pg_temp.load_csv(E'Item No|EUR\nP-1|1.5\nP-2|x\nP-3|3\n');
SELECT line, product_no, kind, product_key, sku, product, variant FROM sync.feed_item WHERE feed_file_id = (SELECT max(id) FROM sync.feed_file) ORDER BY id;
-- A target that the catalogue has no place for would be staged in every run and applied to nothing.
INSERT INTO sync.feed_profile_column (profile, header, target) VALUES ('prices', 'more', 'product.title');
CREATE FUNCTION pg_temp.load_target(target text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	UPDATE sync.feed_profile_column c SET target = load_target.target WHERE c.profile = 'prices' AND c.header = 'more';
	RETURN pg_temp.load_bad(pg_temp.zip(pg_temp.member('feed.csv', convert_to(E'Item No|More\nQ-1|' || target, 'UTF8'))));
END $$;
SELECT t.target, pg_temp.load_target(t.target) FROM unnest(ARRAY['product.subtitle', 'product.variants', 'variant.stock',
	'variant.metafields.color', 'variant.options.4.value', 'image.attributes.size', 'product.metafields.a.b', 'variant.currency']) t (target);
UPDATE sync.connection SET settings = '{}';

-- A variant's numbers as the catalogue will keep them, so that a value of more places is not a change in every run; a metafield's as it is.
SELECT pg_temp.load_csv(E'Title,SKU,Price,Weight value (grams),Metafield: custom.ratio\nA,A-1,12.34565,453.59237000,1.234567\nB,B-1,0.00004,"1,234.50001",\n') AS counts;
SELECT sku, variant -> 'price' AS price, variant -> 'weight' AS weight, product -> 'metafields' AS metafields FROM sync.feed_item
WHERE feed_file_id = (SELECT max(id) FROM sync.feed_file) ORDER BY id;

-- A SKU or handle that no index could hold costs its own records, not the whole feed.
SELECT pg_temp.load_csv(format(E'Handle,Title,SKU,Image Src\na,A,A-1,\nb,B,%s,\n%s,C,C-1,\n%2$s,,,https://img/c.jpg\n%s,D,%3$s,\n', l.long, 'h' || l.long, left(l.long, 1000))) AS counts
FROM (SELECT string_agg(md5(g::text), '') AS long FROM generate_series(1, 160) g) l;
SELECT line, left(sku, 10) AS sku, header, length(value), reason FROM sync.feed_reject WHERE feed_file_id = (SELECT max(id) FROM sync.feed_file) ORDER BY line;
SELECT left(sku, 10) AS sku, octet_length(sku) FROM sync.feed_item WHERE feed_file_id = (SELECT max(id) FROM sync.feed_file) ORDER BY id;

-- A feed that should be held
UPDATE sync.feed_file SET state = 'dropped', records = NULL;
CREATE FUNCTION pg_temp.products(n integer, header text DEFAULT 'Title,SKU,Price', bad integer DEFAULT 0) RETURNS text LANGUAGE sql AS
$$ SELECT header || E'\n' || coalesce(string_agg(CASE WHEN k <= bad THEN format('T%s', k) ELSE format('T%s,S%s,1', k, k) END, E'\n'), '') FROM generate_series(1, n) k $$;
SELECT sync.feed_load(pg_temp.publish(pg_temp.zip(pg_temp.member('f.csv', convert_to(pg_temp.products(0), 'UTF8'))))) \g /dev/null
SELECT sync.feed_hold_reason(max(id)) FROM sync.feed_file;
SELECT sync.feed_load(pg_temp.publish(pg_temp.zip(pg_temp.member('f.csv', convert_to(pg_temp.products(10), 'UTF8'))))) \g /dev/null
SELECT sync.feed_hold_reason(max(id)) FROM sync.feed_file;
SELECT sync.feed_load(pg_temp.publish(pg_temp.zip(pg_temp.member('f.csv', convert_to(pg_temp.products(7), 'UTF8'))))) \g /dev/null
SELECT sync.feed_hold_reason(max(id)) FROM sync.feed_file;
SELECT sync.feed_load(pg_temp.publish(pg_temp.zip(pg_temp.member('f.csv', convert_to(pg_temp.products(4), 'UTF8'))))) \g /dev/null
SELECT sync.feed_hold_reason(max(id)) FROM sync.feed_file;
SELECT sync.feed_load(pg_temp.publish(pg_temp.zip(pg_temp.member('f.csv', convert_to(pg_temp.products(8, 'Title,SKU,Cost of nothing'), 'UTF8'))))) \g /dev/null
SELECT sync.feed_hold_reason(max(id)) FROM sync.feed_file;
SELECT sync.feed_load(pg_temp.publish(pg_temp.zip(pg_temp.member('f.csv', convert_to(pg_temp.products(8, bad => 5), 'UTF8'))))) \g /dev/null
SELECT sync.feed_hold_reason(max(id)) FROM sync.feed_file;
UPDATE sync.connection SET settings = '{"max_reject_share": "0.9", "max_feed_shrink": "0.9"}';
SELECT sync.feed_hold_reason(max(id)) FROM sync.feed_file;

-- As the queue calls it
SELECT pg_temp.publish(pg_temp.zip(pg_temp.member('f.csv', E'Title,SKU\nA,A-1\nB,\n'))) AS file \gset
INSERT INTO sync.job (kind, class, payload, max_attempts) VALUES ('feed_load', 2, jsonb_build_object('feed_file_id', :file), 1) RETURNING id AS job \gset
SELECT sync.work_feed_load(ARRAY[:job]);
UPDATE sync.feed_file SET state = 'downloaded' WHERE id = :file;
SELECT sync.failed_feed_load(:job, '{"message": "it broke"}');
SELECT state, error FROM sync.feed_file WHERE id = :file;

-- The install step leaves a user's profile alone
UPDATE sync.feed_profile_column SET target = 'product.attributes.maker' WHERE profile = 'shopify_wide' AND header = 'Vendor';
DELETE FROM sync.feed_profile_column WHERE profile = 'shopify_wide' AND header = 'Tags';
SELECT sync_install();
SELECT header, target FROM sync.feed_profile_column WHERE profile = 'shopify_wide' AND header IN ('Vendor', 'Tags');

SELECT count(pg_catalog.lo_unlink(oid)) FROM pg_largeobject_metadata;
DROP EXTENSION product_sync CASCADE;
DROP SCHEMA sync CASCADE;
