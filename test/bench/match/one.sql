-- sync_match_one() on the catalogue of one_build.sql: 2000 different items in one session.
CREATE TEMP TABLE item AS
SELECT row_number() OVER () AS no, e.id, k.kind, CASE k.kind
		WHEN 'title' THEN jsonb_build_object('title', e.title, 'brand', e.brand)
		WHEN 'as typed' THEN jsonb_build_object('title', left(e.title, 4 + (figures.h(e.id, 80) % 16)::integer))
		WHEN 'words lost' THEN jsonb_build_object('title', concat_ws(' ', split_part(e.title, ' ', 2), split_part(e.title, ' ', 1), e.brand))
		ELSE jsonb_build_object('mpn', lower(e.mpn)) END AS item
FROM (SELECT *, row_number() OVER (ORDER BY figures.h(id, 81)) AS place FROM existing ORDER BY place LIMIT 2000) e
JOIN (VALUES (0, 'title'), (1, 'as typed'), (2, 'words lost'), (3, 'part number')) k(no, kind) ON k.no = e.place % 4;
CREATE TEMP TABLE call (kind text, ms double precision, found boolean);
DO $$
DECLARE
	row record;
	began timestamptz;
	took double precision;
	ids text[];
BEGIN
	PERFORM sync_match_one(item) FROM item WHERE no <= 100;
	FOR row IN SELECT * FROM item LOOP
		began := clock_timestamp();
		SELECT array_agg(m.existing_id) INTO ids FROM sync_match_one(row.item) m;
		took := 1000 * extract(epoch FROM clock_timestamp() - began);
		INSERT INTO call VALUES (row.kind, took, row.id::text = ANY (ids));
	END LOOP;
END
$$;
SELECT figures.line(format('one: sync_match_one on %s variants, %s calls: median', :existing, count(*)), percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), 1, false, ' ms', 3),
	figures.line('one:   99th percentile', percentile_cont(0.99) WITHIN GROUP (ORDER BY ms), 5, false, ' ms', 3),
	figures.line('one:   the longest', max(ms), NULL, false, ' ms', 3)
FROM call \g (fieldsep='\n')
SELECT format('one:   %s median %s ms, 99th percentile %s ms, among the first five %s', rpad(kind, 12), round(percentile_cont(0.5) WITHIN GROUP (ORDER BY ms)::numeric, 3),
	round(percentile_cont(0.99) WITHIN GROUP (ORDER BY ms)::numeric, 3), round(avg(found::integer), 3)) FROM call GROUP BY kind ORDER BY kind;
SELECT figures.line('one: most memory of the session (shared buffers and mapped index included)', figures.peak_memory(), NULL, false, ' MB', 0);
