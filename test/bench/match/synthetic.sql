-- Synthetic products for speed: a brand, a model number of their own, three to seven words of a skewed vocabulary; incoming ones are some of
-- them with words lost, the model number written otherwise or left out.
DROP TABLE IF EXISTS incoming, existing, pair, result, truth;
CREATE FUNCTION figures.h(n bigint, salt integer) RETURNS bigint LANGUAGE sql IMMUTABLE AS
	'SELECT (hashint8extended(n, salt) & 9007199254740991)';
CREATE FUNCTION figures.word(n bigint, salt integer) RETURNS text LANGUAGE sql IMMUTABLE AS
$$SELECT translate(to_hex(floor(20000 * power((figures.h(n, salt) % 1000003) / 1000003.0, 3))::int + 4096), '0123456789', 'ghijklmnop')$$;
CREATE UNLOGGED TABLE existing AS
	SELECT i AS id, 'brand' || translate((figures.h(i, 1) % 3000)::text, '0123456789', 'abcdefghij') AS brand,
		upper(substr(md5(i::text), 1, 3)) || '-' || (figures.h(i, 2) % 900000 + 100000) AS mpn,
		concat_ws(' ', figures.word(i, 11), figures.word(i, 12), figures.word(i, 13), CASE WHEN i % 2 = 0 THEN figures.word(i, 14) END,
			CASE WHEN i % 3 = 0 THEN figures.word(i, 15) || ' ' || figures.word(i, 16) END, (figures.h(i, 3) % 64 + 1) || ' gb') AS title,
		round((figures.h(i, 4) % 100000) / 100.0, 2) AS price
	FROM generate_series(1, :existing) i;
CREATE UNLOGGED TABLE incoming AS
	SELECT e.id, e.brand, CASE WHEN e.id % 3 = 0 THEN replace(lower(e.mpn), '-', '') END AS mpn,
		regexp_replace(e.title, ' [a-z]+ ', ' ') || CASE WHEN e.id % 3 = 1 THEN ' ' || e.mpn ELSE '' END AS title,
		round(e.price * (0.9 + (figures.h(e.id, 5) % 20) / 100.0), 2) AS price
	FROM existing e WHERE e.id % greatest(:existing / :items, 1) = 0 LIMIT :items;
CREATE UNLOGGED TABLE nothing (LIKE incoming);
CREATE TABLE pair AS SELECT id::text AS incoming_id, id::text AS existing_id FROM incoming;
CREATE TABLE timing (what text, seconds double precision);
VACUUM ANALYZE;
