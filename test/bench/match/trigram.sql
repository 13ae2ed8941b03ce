-- The same join by pg_trgm, on a sample: the most similar title of at least .4 by a GIN index.
SELECT count(*) = 0 AS absent FROM pg_available_extensions WHERE name = 'pg_trgm' \gset
\if :absent
	\echo trigram: skipped, this server has no pg_trgm (it is in contrib)
	\q
\endif
CREATE EXTENSION pg_trgm;
SET maintenance_work_mem = '512MB';
SELECT figures.seconds('CREATE INDEX existing_trgm ON existing USING gin (title gin_trgm_ops)') AS built \gset
ANALYZE existing;
SET pg_trgm.similarity_threshold = 0.4;
CREATE TEMP TABLE sample AS SELECT title FROM incoming ORDER BY figures.h(id, 77) LIMIT 30;
-- Once before, so that what is measured is not the disk.
DO $$
DECLARE
	row record;
BEGIN
	FOR round IN 1 .. 2 LOOP
		FOR row IN SELECT * FROM sample LOOP
			INSERT INTO timing SELECT 'trigram ' || round, figures.seconds(format(
				'SELECT e.id FROM existing e WHERE e.title %% %L ORDER BY similarity(e.title, %L) DESC LIMIT 1', row.title, row.title));
		END LOOP;
	END LOOP;
END
$$;
SELECT figures.line('trigram: its index built', :built, NULL, false, ' s', 1);
SELECT figures.line(format('trigram: pg_trgm, GIN, of %s rows, index warm: a row', count(*)), 1000 * avg(seconds), NULL, false, ' ms', 2) FROM timing WHERE what = 'trigram 2';
-- Ours with all that it does, as in the part before; where that was left out, of one call.
INSERT INTO timing SELECT 'count', figures.seconds($$SELECT count(*) FROM sync_match('incoming', 'existing')$$)
FROM generate_series(1, 2) WHERE NOT EXISTS (SELECT FROM timing WHERE what = 'count');
SELECT figures.line('trigram: sync_match, a row', 1000 * min(t.seconds) / :items, NULL, false, ' ms', 4),
	figures.line('trigram: how many times as fast sync_match is', (SELECT avg(seconds) FROM timing WHERE what = 'trigram 2') / (min(t.seconds) / :items), NULL, true, '', 0)
FROM timing t WHERE t.what = 'count' \g (fieldsep='\n')
DROP INDEX existing_trgm;
