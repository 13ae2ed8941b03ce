-- The synthetic products as a catalogue, and its index, built by the first call.
-- As replica, so that no version is written for each product: what is measured is the search.
SET session_replication_role = replica;
INSERT INTO sync.product (id, handle, title, vendor) SELECT e.id, 'p' || e.id, e.title, e.brand FROM existing e;
INSERT INTO sync.variant (id, product_id, sku, mpn, price) SELECT e.id, e.id, 'V' || e.id, e.mpn, e.price FROM existing e;
SELECT FROM sync.catalogue_changed();
RESET session_replication_role;
ANALYZE sync.product, sync.variant;
SELECT figures.line(format('one: index of %s variants built by the first call', :existing), figures.seconds($$SELECT count(*) FROM sync_match_one('{"title": "x"}')$$), NULL, false, ' s', 2);
SELECT figures.line('one: most memory of the session that builds (shared buffers included)', figures.peak_memory(), NULL, false, ' MB', 0);
