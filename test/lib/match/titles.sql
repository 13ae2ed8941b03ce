-- Matching by titles alone: of what test/lib/match/corruption.sql made, the rows that their titles tell apart, without any code, some with
-- letters swapped, words in another order, or the brand left out.  Replaces incoming, existing and truth.
CREATE TABLE made_title AS
SELECT i.id, t.existing_id, CASE WHEN hashtextextended(i.id, 1) % 3 = 0 THEN NULL ELSE i.brand END AS brand,
	CASE WHEN hashtextextended(i.id, 2) % 4 = 0 THEN regexp_replace(i.title, '([a-z])([a-z])([a-z]{2,} )', '\2\1\3')
		WHEN hashtextextended(i.id, 2) % 4 = 1 THEN regexp_replace(i.title, '^(\S+) (\S+) (.*)$', '\2 \3, \1')
		WHEN hashtextextended(i.id, 2) % 4 = 2 THEN regexp_replace(i.title, '^\S+ ', '') ELSE i.title END AS title, i.price
FROM incoming i JOIN truth t ON t.incoming_id = i.id
WHERE t.trouble IN ('clean', 'gtin_digit', 'gtin_swapped', 'gtin_other', 'gtin_restricted', 'mpn_format', 'mpn_prefix', 'new_family', 'new_sibling', 'new_other_gtin');
ALTER TABLE existing DROP COLUMN sku, DROP COLUMN gtin, DROP COLUMN mpn;
DROP TABLE incoming, truth;
CREATE TABLE incoming AS SELECT id, brand, title, price FROM made_title;
CREATE TABLE truth AS SELECT id AS incoming_id, existing_id FROM made_title;
DROP TABLE made_title;
