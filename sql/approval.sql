-- Approval: which decisions are possible, what follows from them, who is recorded.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
SELECT sync_install();
RESET client_min_messages;
SET application_name = 'test';

INSERT INTO sync.connection (name, kind, base_url) VALUES ('feed', 'etilize', 'ftp://127.0.0.1/');
INSERT INTO sync.product (id, title, vendor) SELECT g, 'Product ' || g, 'V' || g % 2 FROM generate_series(1, 8) g;
INSERT INTO sync.variant (product_id, sku, price) SELECT g, 'S-' || g, 100 FROM generate_series(1, 8) g;
INSERT INTO sync.run (kind, connection, state, active) VALUES ('etilize', 'feed', 'manual_review', false) RETURNING id AS run \gset
INSERT INTO sync.run_phase (run_id, state, attempt) VALUES (:run, 'manual_review', 1);
-- Entries 1 to 8 are updates of a title and a price, 9 is a new product.
INSERT INTO sync.staging (id, run_id, connection, kind, title, sku, reason, confidence, method, flags, product_id, base_version, product_no) OVERRIDING SYSTEM VALUE
SELECT g, :run, 'feed', 'update', 'Product ' || g, 'S-' || g, 'because', 0.5 + g / 20.0, CASE g % 2 WHEN 0 THEN 'gtin' ELSE 'tokens' END,
	   CASE g WHEN 3 THEN '{stale}' ELSE '{}' END::text[], g, 0, g FROM generate_series(1, 8) g;
INSERT INTO sync.staging_field (staging_id, path, old_value, new_value, base_version)
SELECT g, 'title', to_jsonb('Product ' || g), to_jsonb('New ' || g), 0 FROM generate_series(1, 8) g WHERE g <> 8
UNION ALL SELECT g, format('variants[S-%s].price', g), '100', to_jsonb(100 + g), 0 FROM generate_series(1, 8) g;
INSERT INTO sync.staging (id, run_id, connection, kind, title, sku, reason, confidence, method, document, product_no) OVERRIDING SYSTEM VALUE
VALUES (9, :run, 'feed', 'create', 'Brand new', 'S-9', 'new', 1, 'none', '{"title": "Brand new", "vendor": "V1", "variants": {"S-9": {}}}', 9);

CREATE VIEW pg_temp.entry AS
SELECT s.id, s.decision::text || '/' || s.state AS entry, s.decided_by = session_user AS by_me, s.decided_how,
	   string_agg(left(f.path, 1) || ':' || f.decision, ' ' ORDER BY f.path) AS fields, s.note
FROM sync.staging s LEFT JOIN sync.staging_field f ON f.staging_id = s.id GROUP BY s.id;

-- The entry decides its fields.
UPDATE sync.staging SET decision = 'approved' WHERE id = 1;
UPDATE sync.staging SET decision = 'rejected', note = 'too dear' WHERE id = 2;
SELECT * FROM pg_temp.entry WHERE id <= 2 ORDER BY id;
-- A person changes their mind, as long as it is not applied.
UPDATE sync.staging SET decision = 'pending' WHERE id IN (1, 2);
SELECT * FROM pg_temp.entry WHERE id <= 2 ORDER BY id;
-- Its fields decide the entry, once all of them are decided.
UPDATE sync.staging_field SET decision = 'rejected' WHERE staging_id = 1 AND path = 'title';
SELECT * FROM pg_temp.entry WHERE id = 1;
UPDATE sync.staging_field SET decision = 'approved' WHERE staging_id = 1 AND path <> 'title';
UPDATE sync.staging_field SET decision = 'rejected' WHERE staging_id = 2;
SELECT * FROM pg_temp.entry WHERE id <= 2 ORDER BY id;
UPDATE sync.staging_field SET decision = 'pending' WHERE staging_id IN (1, 2) AND path = 'title';
SELECT * FROM pg_temp.entry WHERE id <= 2 ORDER BY id;
-- Approving an entry leaves the fields rejected that were.
UPDATE sync.staging SET decision = 'pending' WHERE id = 1;
UPDATE sync.staging_field SET decision = 'rejected' WHERE staging_id = 1 AND path = 'title';
UPDATE sync.staging SET decision = 'approved' WHERE id = 1;
SELECT * FROM pg_temp.entry WHERE id = 1;

-- Each way that is closed says why, and what to do.
BEGIN;
SET ROLE sync_worker;
UPDATE sync.staging SET state = 'applied', decision = 'approved' WHERE id = 3;
UPDATE sync.staging SET state = 'superseded' WHERE id = 4;
UPDATE sync.staging SET state = 'failed', decision = 'approved' WHERE id = 5;
RESET ROLE;
\set ON_ERROR_ROLLBACK on
UPDATE sync.staging SET decision = 'rejected' WHERE id = 3;
UPDATE sync.staging SET decision = 'approved' WHERE id = 4;
UPDATE sync.staging SET decision = 'pending' WHERE id = 3;
UPDATE sync.staging_field SET decision = 'approved' WHERE staging_id = 3;
UPDATE sync.staging_field SET decision = 'approved' WHERE staging_id = 4;
UPDATE sync.staging_field SET decision = 'approved' WHERE staging_id = 5;
UPDATE sync.staging SET decision = 'rejected' WHERE id = 6;
UPDATE sync.staging SET decision = 'approved' WHERE id = 6;
UPDATE sync.staging SET decision = 'pending' WHERE id = 5;
SELECT * FROM pg_temp.entry WHERE id BETWEEN 3 AND 6 ORDER BY id;
\set ON_ERROR_ROLLBACK off
ROLLBACK;
-- What is not for people to edit.
UPDATE sync.staging SET confidence = 1 WHERE id = 3;
UPDATE sync.staging SET decided_by = 'somebody else', decision = 'approved' WHERE id = 3;
UPDATE sync.staging SET state = 'applied' WHERE id = 3;
UPDATE sync.staging_field SET new_value = '"Mine"' WHERE staging_id = 3;
-- A table editor that writes the whole row back is no edit.
UPDATE sync.staging SET note = 'seen', reason = reason, flags = flags, confidence = confidence WHERE id = 3;
SELECT * FROM pg_temp.entry WHERE id = 3;

-- Approval asks for applying, once a statement; a setting can leave that to sync_apply().
DELETE FROM sync.job;
UPDATE sync.staging SET decision = 'approved' WHERE id IN (3, 4, 5);
SELECT kind, run_id = :run AS this_run FROM sync.job;
DELETE FROM sync.job;
UPDATE sync.connection SET settings = '{"apply_on_approval": false}';
UPDATE sync.staging SET decision = 'approved' WHERE id = 6;
SELECT count(*) FROM sync.job;
SELECT sync_apply(:run);
SELECT count(*) FROM sync.job;
UPDATE sync.connection SET settings = '{}';
UPDATE sync.staging SET decision = 'pending';

-- By call: counts, and a second time there is nothing to do.
SELECT * FROM sync_approve('{1, 2, 12345}', 'fine');
SELECT * FROM sync_approve('{1, 2, 12345}');
SELECT * FROM sync_reject('{2, 3}');
SELECT * FROM sync_approve('{3}');
SELECT * FROM pg_temp.entry WHERE id <= 3 ORDER BY id;
UPDATE sync.staging SET decision = 'pending';

-- By filter, counted first.
SELECT * FROM sync_approve_where('{"min_confidence": 0.8, "kind": "update"}', dry_run => true);
SELECT count(*) FROM sync.staging WHERE decision <> 'pending';
SELECT * FROM sync_approve_where('{"min_confidence": 0.8, "kind": "update"}');
SELECT * FROM sync_approve_where('{"min_confidence": 0.8}', dry_run => true);
UPDATE sync.staging SET decision = 'pending';
SELECT f, d.* FROM unnest(ARRAY['{"method": "gtin"}', '{"max_confidence": 0.6}', '{"sku": "S-_"}', '{"title": "product%"}', '{"vendor": "V1"}',
	'{"flags": ["stale"]}', '{"without_flags": ["stale", "x"]}', '{"paths": ["variants[*].price"]}', '{"paths": ["variants[*].price", "title"]}',
	'{"max_price_change": 0.05}', '{"path": "variants[*].price"}', '{"path": "variants[S-1].*", "method": "tokens"}', '{"connection": "no"}']::jsonb[]) f,
	sync_approve_where(f, dry_run => true) d;
SELECT * FROM sync_approve_where(jsonb_build_object('run_id', :run, 'path', 'title', 'max_confidence', 0.65), 'titles are fine');
SELECT * FROM sync_reject_where('{"path": "variants[*].price", "max_confidence": 0.6}');
SELECT * FROM pg_temp.entry WHERE id <= 3 ORDER BY id;
SELECT * FROM sync_approve_where('{}');
SELECT * FROM sync_approve_where('{"colour": "red"}');
SELECT * FROM sync_approve_where('{"run_id": "7"}');
SELECT * FROM sync_approve_where('{"flags": "stale"}');
SELECT * FROM sync_approve_where('{"paths": [null]}');
SELECT * FROM sync_approve_where('{"without_flags": [["stale"]]}');
SELECT * FROM sync_approve_where('{"kind": "update"}', dry_run => NULL);
SELECT * FROM sync_approve_where('{"title": "x'' OR true --"}');

-- Who: the JWT's subject counts only from PostgREST, and nobody can say so otherwise.
UPDATE sync.staging SET decision = 'pending';
SET request.jwt.claims = '{"sub": "mallory"}';
UPDATE sync.staging SET decision = 'approved' WHERE id = 1;
SELECT * FROM pg_temp.entry WHERE id = 1;
SET client_min_messages = error;
CREATE ROLE authenticator SUPERUSER;
RESET client_min_messages;
SET SESSION AUTHORIZATION authenticator;
SET request.jwt.claims = '{"sub": "user-1"}';
UPDATE sync.staging SET decision = 'approved' WHERE id = 2;
UPDATE sync.staging_field SET decision = 'approved' WHERE staging_id = 3;
SET request.jwt.claims = '';
UPDATE sync.staging SET decision = 'approved' WHERE id = 4;
RESET SESSION AUTHORIZATION;
DROP ROLE authenticator;
SELECT id, decided_by, decided_how FROM sync.staging WHERE id BETWEEN 2 AND 4 ORDER BY id;

-- What an approver may do, and no more.
SET client_min_messages = error;
DROP ROLE IF EXISTS sync_test_approver;
DROP ROLE IF EXISTS sync_test_viewer;
CREATE ROLE sync_test_approver IN ROLE sync_approver;
CREATE ROLE sync_test_viewer IN ROLE sync_viewer;
RESET client_min_messages;
SET ROLE sync_test_approver;
UPDATE sync.staging SET decision = 'approved' WHERE id = 5;
SELECT * FROM sync_approve('{6}');
UPDATE sync.staging_field SET decision = 'rejected' WHERE staging_id = 7;
UPDATE sync.staging SET reason = 'x' WHERE id = 5;
UPDATE sync.product SET title = 'x' WHERE id = 1;
SELECT sync.work_apply_batch('{}');
SELECT sync_release(1);
SET ROLE sync_test_viewer;
UPDATE sync.staging SET decision = 'approved' WHERE id = 8;
SELECT * FROM sync_approve('{8}');
RESET ROLE;
SELECT * FROM pg_temp.entry WHERE id BETWEEN 5 AND 8 ORDER BY id;
DROP ROLE sync_test_approver;
DROP ROLE sync_test_viewer;

-- Rejecting the last one lets the run end.
UPDATE sync.staging SET decision = 'pending';
DELETE FROM sync.job;
UPDATE sync.staging SET decision = 'rejected' WHERE id < 9;
SELECT count(*) FROM sync.job;
UPDATE sync.staging SET decision = 'rejected' WHERE id = 9;
SELECT kind, run_id = :run AS this_run FROM sync.job;

-- Decisions can be made while the extension is away.
UPDATE sync.staging SET decision = 'pending';
SET client_min_messages = warning;
DROP EXTENSION product_sync;
RESET client_min_messages;
UPDATE sync.staging SET decision = 'approved' WHERE id = 1;
UPDATE sync.staging_field SET decision = 'rejected' WHERE staging_id = 2;
UPDATE sync.product SET title = 'By hand' WHERE id = 1;
SELECT * FROM pg_temp.entry WHERE id <= 2 ORDER BY id;
SELECT product_id, version, kind, changes -> 'title' -> 1 AS title FROM sync.product_version;
