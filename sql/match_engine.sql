-- What sync_match() keeps between calls never shows: not in what it finds, and not in who may see it.  And brands' aliases, threads,
-- candidates, and suggestions while the catalogue changes.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
RESET client_min_messages;

-- The kept indexes, each by its file.
CREATE VIEW kept AS
	SELECT f AS name FROM pg_database d, pg_ls_dir(current_setting('product_sync.spool_directory') || '/' || d.oid, true, false) f
	WHERE d.datname = current_database() AND f LIKE 'table-%.idx';
-- Existing rows enough to be worth a file, in three kinds of words.
CREATE TABLE big (id int, brand text, mpn text, title text);
INSERT INTO big SELECT i, 'Brand' || i % 40, 'QX-' || 100000 + i, concat_ws(' ', 'Brand' || i % 40,
	(ARRAY['steel', 'oak', 'paper', 'wireless'])[1 + i % 4], (ARRAY['lamp', 'desk', 'mouse', 'case', 'drill'])[1 + i % 5], 'QX-' || 100000 + i)
FROM generate_series(1, 25000) i;
CREATE TABLE feed (id int, title text);
INSERT INTO feed VALUES (1, 'Brand7 QX100007'), (2, 'Brand10 oak case QX 124990'), (3, 'nothing of the kind ZZ-1');
CREATE FUNCTION found() RETURNS text LANGUAGE sql AS
	$$SELECT coalesce(string_agg(incoming_id || '=' || existing_id, ' ' ORDER BY incoming_id), 'nothing')
	FROM public.sync_match('public.feed', 'public.big') WHERE confidence >= 0.5$$;

SELECT found();
SELECT count(*) FROM kept;
SELECT name AS first FROM kept \gset
SELECT found();
SELECT count(*) AS kept, count(*) FILTER (WHERE name = :'first') AS same FROM kept;
-- Freezing changes no contents.
VACUUM FREEZE big;
SELECT found();
SELECT name = :'first' AS same FROM kept;

-- What this transaction wrote is seen, and not by others.
BEGIN;
UPDATE big SET title = 'Brand1 harp QX-999', mpn = 'QX-999' WHERE id = 7;
SELECT found();
DELETE FROM big WHERE id = 24990;
SELECT found();
ROLLBACK;
SELECT found();
BEGIN;
DELETE FROM big WHERE id = 7;
SELECT found();
ROLLBACK;
SELECT found();
BEGIN;
TRUNCATE big;
SELECT found();
INSERT INTO big SELECT i, 'Brand8', 'QX-100007', 'Brand7 steel QX-100007' FROM generate_series(30000, 30000) i;
SELECT found();
ROLLBACK;
SELECT found();
SELECT count(*) AS same FROM kept WHERE name = :'first';
-- What was committed is seen too, and of one table and its columns one state is kept.
UPDATE big SET id = 70007 WHERE id = 7;
SELECT found();
DELETE FROM big WHERE id = 70007;
SELECT found();
SELECT count(*) AS kept, count(*) FILTER (WHERE name = :'first') AS first FROM kept;
INSERT INTO big VALUES (7, 'Brand7', 'QX-100007', 'Brand7 wireless mouse QX-100007');
SELECT found();
VACUUM FULL big;
SELECT found();
-- Another column of the same name, made without writing a row anew.
ALTER TABLE big RENAME title TO old_title;
ALTER TABLE big ADD title text DEFAULT 'the same';
SELECT existing_id FROM sync_match('feed', 'big', '{"mpn": null, "existing": {"brand": null}}') WHERE incoming_id = '1';
ALTER TABLE big DROP title;
ALTER TABLE big RENAME old_title TO title;
SELECT found();

-- A name of the caller's own does not get into an index that others use.
CREATE SCHEMA evil;
CREATE FUNCTION evil.left(text, integer) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'poison'$$;
UPDATE big SET id = 7 WHERE id = 7;
SET search_path = evil, pg_catalog, public;
SELECT public.found();
RESET search_path;
SELECT found();

-- Rights: those of the caller, also where another has made the index.
CREATE ROLE match_reader;
GRANT sync_viewer TO match_reader;
GRANT SELECT ON feed, big TO match_reader;
SET ROLE match_reader;
SELECT count(*) FROM sync_match('feed', 'big');
RESET ROLE;
REVOKE SELECT ON big FROM match_reader;
SET ROLE match_reader;
SELECT count(*) FROM sync_match('feed', 'big');
RESET ROLE;
GRANT SELECT (id, title) ON big TO match_reader;
SET ROLE match_reader;
SELECT count(*) FROM sync_match('feed', 'big');
SELECT count(*) FROM sync_match('feed', 'big', '{"brand": null, "mpn": null}');
RESET ROLE;
GRANT SELECT ON big TO match_reader;
CREATE POLICY half ON big USING (id > 10000);
ALTER TABLE big ENABLE ROW LEVEL SECURITY;
SET ROLE match_reader;
SELECT existing_id FROM sync_match('feed', 'big') WHERE confidence >= 0.5 ORDER BY 1;
RESET ROLE;
SELECT found();
ALTER TABLE big DISABLE ROW LEVEL SECURITY;

-- What is not kept: values whose text depends on more than the row, views, tables with children, and nothing where the size is 0.
SELECT count(*) AS before FROM kept \gset
CREATE TYPE colour AS ENUM ('red', 'green');
CREATE TABLE coloured AS SELECT id, 'green'::colour AS brand, mpn, title FROM big;
SELECT count(*) > 0 AS some FROM sync_match('feed', 'coloured');
CREATE VIEW big_view AS SELECT * FROM big;
SELECT count(*) > 0 AS some FROM sync_match('feed', 'big_view');
CREATE TABLE child () INHERITS (big);
INSERT INTO child VALUES (80000, 'Brand7', 'ZZ-1', 'nothing of the kind ZZ-1');
SELECT found();
DROP TABLE child;
CREATE TABLE other AS SELECT * FROM big;
SET product_sync.match_cache_size = 0;
SELECT count(*) > 0 AS some FROM sync_match('feed', 'other');
RESET product_sync.match_cache_size;
SELECT count(*) - :before AS more FROM kept;
-- The size is kept to: the file that was used longest ago goes.
SET product_sync.match_cache_size = 6;
SELECT count(*) > 0 AS some FROM sync_match('feed', 'other');
RESET product_sync.match_cache_size;
SELECT count(*) BETWEEN 1 AND 2 AS few FROM kept;
SELECT found();

-- A temporary table, a materialized view, and a call within a call.
CREATE TEMP TABLE big_temp AS SELECT * FROM big;
SELECT count(*) > 0 AS some FROM sync_match('feed', 'big_temp');
CREATE MATERIALIZED VIEW big_matview AS SELECT * FROM big;
SELECT count(*) > 0 AS some FROM sync_match('feed', 'big_matview');
CREATE MATERIALIZED VIEW empty_matview AS SELECT * FROM big WITH NO DATA;
SELECT count(*) FROM sync_match('feed', 'empty_matview');
CREATE VIEW feed_matched AS
	SELECT f.id, f.title FROM feed f JOIN sync_match('feed', 'other') m ON m.incoming_id = f.id::text
	JOIN sync_match('feed', 'big_matview') n ON n.incoming_id = f.id::text;
SELECT incoming_id, existing_id FROM sync_match('feed_matched', 'big') ORDER BY 1;

-- As many threads as one likes find the same.
CREATE TABLE large_feed AS SELECT id, lower(replace(title, '-', '')) AS title FROM big WHERE id % 9 = 0;
SET product_sync.match_threads = 1;
CREATE TABLE by_one AS SELECT * FROM sync_match('large_feed', 'big');
SET product_sync.match_threads = 7;
CREATE TABLE by_seven AS SELECT * FROM sync_match('large_feed', 'big');
RESET product_sync.match_threads;
SELECT count(*) > 2500 AS found, count(*) FILTER (WHERE incoming_id = existing_id) > 2500 AS right FROM by_one;
SELECT count(*) AS differ FROM ((TABLE by_one EXCEPT TABLE by_seven) UNION ALL (TABLE by_seven EXCEPT TABLE by_one)) d;
SET product_sync.match_threads = 17;
-- An error of the incoming rows ends the threads.
CREATE VIEW broken AS SELECT id, title || 1 / (id - 20700) AS title FROM large_feed;
SELECT count(*) FROM sync_match('broken', 'big');
SELECT found();

-- Candidates: the one that is matched comes first, and there are no more than asked for.
SELECT c.place, c.existing_id = m.existing_id AS matched, c.method FROM sync.match_candidates('feed', 'big') c
JOIN sync_match('feed', 'big') m USING (incoming_id) WHERE c.incoming_id = '1' AND c.place = 1;
SELECT max(place), count(*) = count(DISTINCT (incoming_id, place)) AS numbered FROM sync.match_candidates('feed', 'big', '{}', 3);
SELECT bool_and(ordered) FROM (SELECT score <= lag(score, 1, score) OVER (PARTITION BY incoming_id ORDER BY place) AS ordered
	FROM sync.match_candidates('large_feed', 'big', candidates => 24)) s;
SELECT * FROM sync.match_candidates('feed', 'big', '{}', 25);
SELECT * FROM sync.match_candidates('feed', 'big', '{}', 0);

-- Aliases: those that are shipped without tables, then those of the table.
CREATE TABLE ours AS SELECT 1 AS id, 'HP' AS brand, 'X1-77' AS mpn, 'laser printer' AS title;
CREATE TABLE theirs AS SELECT 1 AS id, 'Hewlett-Packard' AS brand, 'X177' AS mpn, 'printer' AS title
	UNION ALL SELECT 2, 'Roxbury Office Brands', 'X1 77', 'printer';
CREATE VIEW same_brand AS SELECT incoming_id, method = 'brand_mpn' AND evidence -> 'added' -> 'brand_conflict' IS NULL AS same
	FROM sync_match('theirs', 'ours');
SELECT bool_or(same) FILTER (WHERE incoming_id = '1') AS shipped, coalesce(bool_or(same) FILTER (WHERE incoming_id = '2'), false) AS own FROM same_brand;
SET client_min_messages = warning;
SELECT sync_install() IS NOT NULL AS installed;
RESET client_min_messages;
SELECT count(*) > 50 AS many, count(*) = (SELECT count(*) FROM sync.brand_alias_shipped()) AS all FROM sync.brand_alias;
SELECT found();
SELECT sync.catalogue_version() AS version \gset
SELECT string_agg(name, ' ' ORDER BY name) AS names FROM kept \gset
-- A chain, and a circle, which harms nobody.
GRANT sync_admin TO match_reader;
SET ROLE match_reader;
INSERT INTO sync.brand_alias VALUES ('Roxbury', 'Roxbury Printers'), ('ROXBURY PRINTERS, Inc.', 'Hewlett Packard'), ('Roxbury Office-Brands', 'roxbury'),
	('circle a', 'circle b'), ('circle b', 'circle c'), ('circle c', 'circle a'), ('self', 'self');
RESET ROLE;
SELECT sync.catalogue_version() > :version AS moved;
DELETE FROM theirs WHERE id = 1;
SELECT bool_and(same) AS own FROM same_brand;
SELECT found();
SELECT string_agg(name, ' ' ORDER BY name) <> :'names' AS other_file FROM kept;
BEGIN;
INSERT INTO sync.brand_alias SELECT 'alias' || i, 'brand' FROM generate_series(1, 10000) i;
SELECT found();
ROLLBACK;
INSERT INTO sync.brand_alias VALUES ('--', 'x');

-- Suggestions go on with the index that there is; what is gone is not suggested, what is new only later.
CREATE FUNCTION suggested(item jsonb) RETURNS text LANGUAGE sql AS
	$$SELECT coalesce(string_agg(existing_id, ' ' ORDER BY confidence DESC, existing_id), 'nothing') FROM sync_match_one(item, 3) WHERE method = 'gtin'$$;
INSERT INTO sync.product (id, title, vendor) OVERRIDING SYSTEM VALUE VALUES (1, 'Acme rocket skates', 'Acme'), (2, 'Kingston DataTraveler 64 GB', 'Kingston');
INSERT INTO sync.variant (id, product_id, sku, gtin) OVERRIDING SYSTEM VALUE VALUES (1, 1, 'A-1', '00036000291452'), (2, 2, 'K-1', '04006381333931');
SELECT sync.catalogue_changed();
SELECT suggested('{"gtin": "036000291452", "title": "Acme rocket skates"}'), suggested('{"gtin": "4006381333931", "title": "Kingston DataTraveler 64GB"}');
DELETE FROM sync.product WHERE id = 2;
INSERT INTO sync.product (id, title, vendor) OVERRIDING SYSTEM VALUE VALUES (3, 'Acme stapler', 'Acme');
INSERT INTO sync.variant (id, product_id, sku, gtin) OVERRIDING SYSTEM VALUE VALUES (3, 3, 'A-3', '00000096385074');
SELECT sync.catalogue_changed();
SELECT suggested('{"gtin": "036000291452", "title": "Acme rocket skates"}'), suggested('{"gtin": "4006381333931", "title": "Kingston DataTraveler 64GB"}'),
	suggested('{"gtin": "96385074", "title": "Acme stapler"}') LIKE '%3%' AS new;
SET product_sync.match_index_staleness = 0;
SELECT suggested('{"gtin": "4006381333931", "title": "Kingston DataTraveler 64GB"}'), suggested('{"gtin": "96385074", "title": "Acme stapler"}') LIKE '%3%' AS new;
RESET product_sync.match_index_staleness;
-- Whatever is asked.
SELECT count(*) < 4 AS few FROM sync_match_one(jsonb_build_object('title', repeat('rocket skates 12 GB ', 500000), 'brand', repeat('x', 1000000)));
SELECT count(*) FROM sync_match_one('{"title": "", "brand": null, "price": null}');
SELECT count(*) FROM sync_match_one('{}');
SELECT count(*) FROM sync_match_one('{"title": "👨‍👩‍👧‍👦 مصباح מנורה \u202e"}');
SELECT count(*) FROM sync_match_one('{"title": {"title": "x"}}');

-- A column that is added, undone, and added again with another default: no row was written.
CREATE VIEW by_note AS SELECT count(*) AS by_note FROM sync.match_candidates('feed', 'big', '{"incoming": {"sku": "title"}, "existing": {"sku": "price"}}', 1)
	WHERE method = 'sku';
BEGIN;
ALTER TABLE big ADD COLUMN price text DEFAULT 'Brand7 QX100007';
TABLE by_note;
ROLLBACK;
ALTER TABLE big ADD COLUMN price text DEFAULT 'another';
TABLE by_note;

-- Which of equals is taken does not depend on where another scan of a large table stopped.
CREATE TABLE equals AS SELECT i AS id, 'Acme lamp AB-' || i % 10 AS title, repeat('x', 1000) AS filler FROM generate_series(1, 40000) i;
CREATE TABLE ten AS SELECT i AS id, 'Acme lamp AB-' || i AS title FROM generate_series(0, 9) i;
SET product_sync.match_cache_size = 0;
CREATE TABLE before AS SELECT incoming_id, existing_id FROM sync.match_candidates('ten', 'equals', '{}', 1);
BEGIN;
DECLARE half CURSOR FOR SELECT * FROM equals;
MOVE 20000 IN half;
COMMIT;
SELECT count(*), count(*) FILTER (WHERE b.existing_id = a.existing_id) AS same
FROM before b JOIN sync.match_candidates('ten', 'equals', '{}', 1) a USING (incoming_id);
RESET product_sync.match_cache_size;

DROP VIEW by_note, broken, feed_matched, same_brand, big_view, kept;
DROP MATERIALIZED VIEW big_matview, empty_matview;
DROP TABLE equals, ten, before, big, big_temp, coloured, other, feed, large_feed, by_one, by_seven, ours, theirs;
DROP TYPE colour;
DROP FUNCTION found, suggested, evil.left;
DROP SCHEMA evil;
DROP ROLE match_reader;
