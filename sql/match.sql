-- sync_match() on small tables: who matches whom, why, and what it says when it is asked wrongly.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
RESET client_min_messages;
CREATE TABLE ours (id int, sku text, barcode text, manufacturer text, modelno text, name text, price numeric);
INSERT INTO ours VALUES
	(1, 'S-1', '036000291452', 'Sony', 'DSC-W150/B', 'Sony Cyber-shot DSC-W150 8 MP digital camera black', 199),
	(2, 'S-2', '4006381333931', 'Sony', 'DSC-W170/B', 'Sony Cyber-shot DSC-W170 10 MP digital camera black', 249),
	(3, 'S-3', NULL, 'HP', 'CB435A', 'HP 35A black toner cartridge CB435A', 60),
	(4, 'S-4', NULL, 'Dataproducts', NULL, 'Remanufactured toner cartridge for HP CB435A 35A black', 30),
	(5, 'S-5', NULL, 'Kingston', 'DTI/64GB', 'Kingston DataTraveler 64 GB USB drive', 40),
	(6, 'S-6', NULL, 'Kingston', 'DTI/32GB', 'Kingston DataTraveler 32 GB USB drive', 25),
	(7, 'S-7', '96385074', 'Acme', 'A1', 'Acme stapler', 9),
	(8, 'S-8', '96385074', 'Acme', 'A2', 'Acme stapler large', 12);
CREATE TABLE feed (sku text, gtin text, brand text, part text, title text, price text);
INSERT INTO feed VALUES
	('gtin', '0036000291452', 'Sony', NULL, 'digital camera', '$201.00'),
	('gtin, other brand', '4006381333931', 'Canon', NULL, 'garden hose', NULL),
	('gtin of two', '96385074', 'Acme', NULL, 'stapler', NULL),
	('part number', NULL, 'HEWLETT-PACKARD', 'cb-435-a', 'HP LaserJet toner', NULL),
	('size', NULL, NULL, NULL, 'Kingston DataTraveler 32GB USB drive', NULL),
	('new', NULL, 'Weber', NULL, 'charcoal grill 22 inch', NULL),
	('nothing', NULL, NULL, NULL, NULL, NULL);

SELECT incoming_id, existing_id, CASE WHEN confidence > 0.95 THEN 'sure' WHEN confidence >= 0.5 THEN 'likely' ELSE 'doubtful' END AS confidence,
	method, evidence ? 'contradicted' AS contradicted, evidence ? 'key_shared' AS key_shared
FROM sync_match('feed', 'ours', '{"incoming": {"id": "sku", "sku": null, "mpn": "part"}}') ORDER BY 1;

-- The evidence adds up to the score.
SELECT bool_and(abs((evidence ->> 'score')::numeric - (SELECT sum(value::numeric) FROM jsonb_each_text(evidence -> 'added'))) < 0.15) AS adds_up
FROM sync_match('feed', 'ours', '{"incoming": {"id": "sku", "sku": null, "mpn": "part"}}');

-- Two incoming rows that claim one existing row are not both approved.
CREATE TABLE twice (id int, brand text, mpn text, title text);
INSERT INTO twice VALUES (1, 'Sony', 'DSCW150B', 'Sony DSC-W150 camera black'), (2, 'Sony', 'DSCW150B', 'Sony DSC-W150 camera');
SELECT incoming_id, existing_id, confidence > 0.95 AS sure, evidence ? 'shared' AS shared FROM sync_match('twice', 'ours') ORDER BY 1;

-- Both sides may be empty, and a view will do.
CREATE TABLE nobody (id int, title text);
CREATE VIEW some_of_ours AS SELECT id, name AS title FROM ours WHERE id < 3;
SELECT count(*) FROM sync_match('nobody', 'ours');
SELECT count(*) FROM sync_match('twice', 'nobody');
SELECT existing_id FROM sync_match('twice', 'some_of_ours') WHERE incoming_id = '1';

-- Names that need quoting.
CREATE TABLE "Our Feed" ("Id" int, "The Title" text);
INSERT INTO "Our Feed" VALUES (1, 'Kingston DataTraveler 64 GB USB drive');
SELECT incoming_id, existing_id FROM sync_match('"Our Feed"', 'ours', '{"incoming": {"id": "Id", "title": "The Title"}}');

-- Asked wrongly.
SELECT * FROM sync_match('feed', 'ours');
SELECT * FROM sync_match('feed', 'ours', '{"id": "number"}');
SELECT * FROM sync_match('twice', 'ours', '{"incoming": {"title": "name"}}');
SELECT * FROM sync_match('twice', 'ours', '{"titel": "name"}');
SELECT * FROM sync_match('twice', 'ours', '{"incoming": "name"}');
SELECT * FROM sync_match('twice', 'ours', '{"title": 3}');
SELECT * FROM sync_match('twice', 'ours', '[]');
CREATE TABLE numbers (id int, price numeric);
SELECT * FROM sync_match('numbers', 'ours');
CREATE INDEX ours_id_idx ON ours (id);
SELECT * FROM sync_match('ours_id_idx', 'ours');

-- The caller's rights, not the function's.
CREATE ROLE match_reader;
GRANT sync_viewer TO match_reader;
GRANT SELECT ON twice TO match_reader;
SET ROLE match_reader;
SELECT * FROM sync_match('twice', 'ours');
RESET ROLE;

-- The catalogue, by sync_match_one().
SET client_min_messages = warning;
SELECT sync_install() IS NOT NULL AS installed;
RESET client_min_messages;
BEGIN;
INSERT INTO sync.product (id, title, vendor) OVERRIDING SYSTEM VALUE SELECT -id, name, manufacturer FROM ours;
INSERT INTO sync.variant (id, product_id, sku, gtin, mpn, price) OVERRIDING SYSTEM VALUE
	SELECT -id, -id, 'match-' || sku, sync_gtin(barcode), modelno, price FROM ours;
SELECT sync.catalogue_version() AS before \gset
SELECT sync.catalogue_changed();
SELECT sync.catalogue_version() > :before AS moved;
SELECT existing_id, method, confidence > 0.95 AS sure
FROM sync_match_one('{"id": "x", "title": "digital camera", "brand": "Sony", "gtin": "036000291452"}', 1);
SELECT count(*) FROM sync_match_one('{"title": "Kingston DataTraveler"}', 2);
-- As somebody types: the last word may be unfinished, until a space or anything else follows it.
SELECT t AS typed, m.existing_id, m.evidence -> 'added' -> 'begun' AS begun
FROM unnest(ARRAY['sony dscw15', 'sony dsc-w17', 'sony dsc-w170', 'hp cb4', 'acme stapler l', 'k']) WITH ORDINALITY AS typed(t, no)
	LEFT JOIN LATERAL sync_match_one(jsonb_build_object('title', t), 1) m ON true
ORDER BY no;
ROLLBACK;
-- What was built of changes that nobody else could see is not taken for the catalogue.
SELECT count(*) FROM sync_match_one('{"gtin": "036000291452"}') WHERE existing_id = '-1';
SELECT sync_match_one('{"titel": "x"}');
SELECT sync_match_one('{"title": ["x"]}');
SELECT sync_match_one('[]');
SELECT sync_match_one('{"title": "x"}', 0);

DROP VIEW some_of_ours;
DROP TABLE ours, feed, twice, nobody, numbers, "Our Feed";
DROP ROLE match_reader;
