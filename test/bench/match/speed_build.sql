-- A session that needs the index first: its own time for it, and memory.
SELECT format('speed: threads %s, index cache %s', coalesce(current_setting('product_sync.match_threads', true), '1'),
	coalesce(current_setting('product_sync.match_cache_size', true), 'not built yet: each call builds the index'));
-- Reading it once, so that what is measured is not the disk.
SELECT figures.seconds('SELECT count(*) FROM existing WHERE length(title || brand || mpn) > 0') AS read \gset
INSERT INTO timing SELECT 'build', figures.seconds($$SELECT count(*) FROM sync_match('nothing', 'existing')$$);
SELECT figures.line(format('speed: index of %s existing rows built', :existing), min(seconds), 5, false, ' s', 2) FROM timing WHERE what = 'build';
SELECT figures.line('speed:   of this the mere reading of the table', :read, NULL, false, ' s', 2);
SELECT figures.line('speed: most memory of the session that builds (shared buffers included)', figures.peak_memory(), 300, false, ' MB', 0);
