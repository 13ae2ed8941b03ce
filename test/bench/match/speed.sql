-- Warm calls, in a session of its own.  Where sessions do not share indexes its first call builds one, and is not counted.
INSERT INTO timing SELECT 'first', figures.seconds($$SELECT count(*) FROM sync_match('incoming', 'existing')$$);
INSERT INTO timing SELECT 'count', figures.seconds($$SELECT count(*) FROM sync_match('incoming', 'existing')$$) FROM generate_series(1, 3);
SELECT figures.peak_memory() AS peak \gset
DO $$
BEGIN
	FOR round IN 1 .. 3 LOOP
		DROP TABLE IF EXISTS result;
		INSERT INTO timing SELECT 'table', figures.seconds('CREATE TABLE result AS SELECT * FROM sync_match(''incoming'', ''existing'')');
	END LOOP;
END
$$;
SELECT figures.line(format('speed: %s x %s, index warm, count(*): best of three', :items, :existing), min(seconds), 5, false, ' s', 2),
	figures.line('speed:   median', percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds), 5, false, ' s', 2),
	figures.line('speed:   incoming rows a second', :items / min(seconds), NULL, true, '', 0)
FROM timing WHERE what = 'count' \g (fieldsep='\n')
SELECT figures.line('speed: the same, CREATE TABLE AS: best of three', min(seconds), 5, false, ' s', 2),
	figures.line('speed:   median', percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds), 5, false, ' s', 2)
FROM timing WHERE what = 'table' \g (fieldsep='\n')
SELECT figures.line('speed: the first call of this session', seconds, NULL, false, ' s', 2) FROM timing WHERE what = 'first';
SELECT figures.line('speed: most memory of this session (shared buffers and mapped index included)', :peak, 300, false, ' MB', 0);
SELECT figures.line('speed: candidate recall on these rows, 20 candidates', r, 0.99, true)
FROM figures.candidate_recall(20) r;
SELECT figures.line('speed: right at p >= .5, of the incoming rows', 1.0 * correct / pairs, NULL, true) FROM figures.at('result', 0.5);
