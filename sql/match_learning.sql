-- What people's decisions teach the matcher: labels, a supplier's curve, the run as a whole, and the report that they make possible.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS product_sync CASCADE;
DROP SCHEMA IF EXISTS sync CASCADE;
CREATE EXTENSION product_sync;
-- Before sync_install() there is nothing to learn from.
CREATE TEMP TABLE mine AS SELECT 1 AS id, 'Canon PIXMA MP480 photo printer' AS title;
CREATE TEMP TABLE theirs AS SELECT 'a' AS id, 'Canon MP480 Pixma printer' AS title;
SELECT incoming_id, evidence -> 'added' ? 'supplier' AS calibrated FROM sync_match('theirs', 'mine', '{"supplier": "nobody"}');
SELECT sync_install() IS NOT NULL AS installed;
SELECT sync_install() IS NOT NULL AS installed_again;
RESET client_min_messages;
SET application_name = 'test';

INSERT INTO sync.connection (name, kind, base_url) VALUES ('acme', 'etilize', 'ftp://127.0.0.1/');
INSERT INTO sync.product (id, title) OVERRIDING SYSTEM VALUE SELECT g, 'Product ' || g FROM generate_series(1, 12) g;
INSERT INTO sync.variant (id, product_id, sku) OVERRIDING SYSTEM VALUE SELECT 100 + g, g, 'V-' || g FROM generate_series(1, 12) g;

-- Labels: one of each kind of decision ------------------------------------------------------------------------------------------------

INSERT INTO sync.run (kind, connection, state, active, feed_file_id) VALUES ('etilize', 'acme', 'manual_review', false, 1) RETURNING id AS run \gset
INSERT INTO sync.run_phase (run_id, state, attempt) VALUES (:run, 'manual_review', 1);
CREATE TABLE sync.feed_item_1 PARTITION OF sync.feed_item FOR VALUES IN (1);
ALTER TABLE sync.feed_item_1 OWNER TO sync_worker;
INSERT INTO sync.feed_item (id, feed_file_id, line, product_no, kind, sku) SELECT g, 1, g, g, 'product', 'F-' || g FROM generate_series(1, 12) g;
INSERT INTO sync.match_result (run_id, feed_item_id, product_no, variant_id, product_id, confidence, method, evidence)
SELECT :run, g, g, 100 + g, g, 0.8, 'tokens', jsonb_build_object('score', g / 10.0, 'added', '{}'::jsonb) FROM generate_series(1, 12) g;
-- 1 to 8 are updates, 9 and 10 new products with a poor candidate, 11 an update by a link, 12 one that was approved by itself and applied.
INSERT INTO sync.staging (id, run_id, connection, kind, sku, reason, confidence, method, evidence, product_id, product_no, links, flags) OVERRIDING SYSTEM VALUE
SELECT g, :run, 'acme', CASE WHEN g IN (9, 10) THEN 'create' ELSE 'update' END::sync.staging_kind, 'F-' || g, 'test', 0.8, 'tokens',
	   jsonb_build_object('score', g / 10.0), CASE WHEN g NOT IN (9, 10) THEN g END, g,
	   CASE WHEN g IN (9, 10) THEN '{}' ELSE jsonb_build_object('F-' || g, 100 + g) END, CASE g WHEN 4 THEN '{unknown_to_erp}' ELSE '{}' END::text[]
FROM generate_series(1, 12) g;
INSERT INTO sync.staging_field (staging_id, path, old_value, new_value, base_version)
SELECT g, f, '"old"', '"new"', 0 FROM unnest('{1,2,3,4,5,6,7,8,11,12}'::integer[]) g, unnest('{title,vendor}'::text[]) f;
UPDATE sync.match_result SET method = 'link', evidence = '{}' WHERE product_no = 11;
SET ROLE sync_worker;
UPDATE sync.staging SET evidence = '{}', method = 'link' WHERE id = 11;
UPDATE sync.staging SET decision = 'approved', state = 'applied', decided_how = 'auto', decided_by = 'product_sync' WHERE id = 12;
RESET ROLE;
CREATE VIEW pg_temp.label AS
	SELECT supplier, incoming_id, existing_id, correct, log_odds, confidence, method, source, staging_id, decided_by = session_user AS by_me
	FROM sync.match_label;

UPDATE sync.staging SET decision = 'approved' WHERE id = 1;								-- right
UPDATE sync.staging SET decision = 'rejected' WHERE id = 2;								-- wrong
UPDATE sync.staging_field SET decision = 'rejected' WHERE staging_id = 3;				-- the values are not wanted
UPDATE sync.staging SET decision = 'rejected' WHERE id = 4;								-- the ERP does not know it
UPDATE sync.staging_field SET decision = 'rejected' WHERE staging_id = 5 AND path = 'title';
UPDATE sync.staging SET decision = 'approved' WHERE id = 5;								-- right, with one value
UPDATE sync.staging SET decision = 'rejected', match_correct = true WHERE id = 6;		-- right, but the values are not wanted
SELECT entries FROM sync_approve_where('{"sku": "F-7"}');								-- counts too
UPDATE sync.staging SET match_correct = false WHERE id = 8;								-- wrong, and thereby rejected
UPDATE sync.staging SET decision = 'approved' WHERE id = 9;								-- new: its candidate is wrong
UPDATE sync.staging SET decision = 'rejected' WHERE id = 10;							-- not wanted, new or not
UPDATE sync.staging SET decision = 'approved' WHERE id = 11;							-- a link is no estimate
SELECT * FROM pg_temp.label ORDER BY staging_id;
SELECT id, decision, state, decided_how FROM sync.staging WHERE id IN (3, 6, 7, 8) ORDER BY id;
-- Where people decide by filter without looking, that is no review.
BEGIN;
UPDATE sync.setting SET value = 'false' WHERE name = 'match_learn_from_filters';
UPDATE sync.staging SET decision = 'pending' WHERE id = 7;
SELECT entries FROM sync_approve_where('{"sku": "F-7"}');
SELECT count(*) FROM sync.match_label WHERE staging_id = 7;
ROLLBACK;

-- A decision that is changed changes its label; one that is taken back takes it back.
UPDATE sync.staging SET decision = 'pending' WHERE id IN (1, 2);
UPDATE sync.staging SET decision = 'approved' WHERE id = 2;
-- What was approved by itself is looked at afterwards.  The few of it that are found wrong are no sample: its score is not learnt from.
UPDATE sync.staging SET match_correct = false WHERE id = 12;
SELECT * FROM pg_temp.label WHERE staging_id IN (1, 2, 12) ORDER BY staging_id;
SELECT decision, state FROM sync.staging WHERE id = 12;
-- A verdict is remembered as a link, or a link forgotten; a verdict that is taken back leaves nothing.
SELECT supplier_sku, variant_id, staging_id FROM sync.variant_source ORDER BY 1;
UPDATE sync.staging SET match_correct = NULL WHERE id = 6;
SELECT count(*) FROM sync.variant_source;
SELECT correct, source FROM pg_temp.label WHERE staging_id = 6;
-- What contradicts itself is refused.
UPDATE sync.staging SET decision = 'pending' WHERE id = 8;
UPDATE sync.staging SET match_correct = NULL, decision = 'pending' WHERE id = 8;
UPDATE sync.staging SET match_correct = false, decision = 'approved' WHERE id = 8;
UPDATE sync.staging SET decision = 'pending' WHERE id = 10;
UPDATE sync.staging SET match_correct = true WHERE id = 10;
SELECT decision, state FROM sync.staging WHERE id = 10;
SELECT correct, source, existing_id FROM pg_temp.label WHERE staging_id = 10;
-- Match results go with time; an entry of one variant knows enough itself.
DELETE FROM sync.match_result WHERE run_id = :run;
UPDATE sync.staging SET decision = 'approved' WHERE id = 1;
SELECT * FROM pg_temp.label WHERE staging_id = 1;
-- Decisions are kept while the extension is away, and so are labels.
SET client_min_messages = warning;
DROP EXTENSION product_sync;
UPDATE sync.staging SET match_correct = true WHERE id = 2;
SELECT correct, source FROM pg_temp.label WHERE staging_id = 2;
INSERT INTO sync.brand_alias (alias, brand) VALUES ('Roxbury Printers', 'Roxbury');
CREATE EXTENSION product_sync;
SELECT sync_install() IS NOT NULL AS installed;
-- Workers wait for what an upgrade brings: here the tables are those of before.
BEGIN;
DELETE FROM sync.installed_step WHERE step >= 2;
SELECT sync.schema_ready();
ROLLBACK;
SELECT sync.schema_ready();
RESET client_min_messages;

-- What match_correct calls another product is not applied, whichever way it is approved: by field, by filter or by itself.
UPDATE sync.staging SET match_correct = false WHERE id = 3;
UPDATE sync.staging_field SET decision = 'approved' WHERE staging_id = 3;
SELECT entries, fields, already, refused FROM sync_approve_where('{"sku": "F-3", "path": "title"}');
UPDATE sync.staging SET decision = 'pending' WHERE id = 3;
SELECT entries, fields, already, refused FROM sync_approve(ARRAY[3, 4]);
SELECT entries, fields, already, refused FROM sync_approve_where('{"sku": "F-3", "path": "title"}');
UPDATE sync.setting SET value = '0.5' WHERE name = 'auto_approve_threshold';
SET ROLE sync_worker;
SELECT count(sync.auto_approve(:run, 'acme'));
RESET ROLE;
UPDATE sync.setting SET value = '0.95' WHERE name = 'auto_approve_threshold';
SELECT id, state, decision, match_correct FROM sync.staging WHERE id IN (3, 4) ORDER BY id;
-- Variants of a feed product that are matched to the same one have each its own score.
INSERT INTO sync.feed_item (id, feed_file_id, line, product_no, kind, sku) VALUES (51, 1, 51, 50, 'product', 'G-1'), (52, 1, 52, 50, 'variant', 'G-2');
INSERT INTO sync.match_result (run_id, feed_item_id, product_no, variant_id, product_id, confidence, method, evidence)
VALUES (:run, 51, 50, 101, 1, 0.99, 'tokens', '{"score": 5}'), (:run, 52, 50, 101, 1, 0.6, 'tokens', '{"score": 0.5}');
INSERT INTO sync.staging (id, run_id, connection, kind, sku, reason, confidence, method, evidence, product_id, product_no, links) OVERRIDING SYSTEM VALUE
VALUES (50, :run, 'acme', 'update', 'G-1', 'test', 0.6, 'tokens', '{"score": 5}', 1, 50, '{"G-1": 101, "G-2": 101}');
UPDATE sync.staging SET decision = 'rejected' WHERE id = 50;
SELECT incoming_id, existing_id, log_odds, confidence FROM pg_temp.label WHERE staging_id = 50 ORDER BY 1;
-- A review does not take the place of a verdict that says the same; a link that was confirmed after a verdict holds.
SELECT sync_match_review('acme', '{"score": 1}', false, 'F-3', '103');
SELECT correct, source, staging_id FROM pg_temp.label WHERE incoming_id = 'F-3';
INSERT INTO sync.match_result (run_id, feed_item_id, product_no, variant_id, product_id, confidence, method, evidence)
VALUES (:run, 3, 3, 103, 3, 0.9, 'tokens', '{"score": 3}');
BEGIN;
SELECT sync.match_forget_wrong(:run);
ROLLBACK;
INSERT INTO sync.variant_source (connection, supplier_sku, variant_id) VALUES ('acme', 'F-3', 103);
SELECT sync.match_forget_wrong(:run);
SELECT sync_match_review('acme', '{"score": 1}', true, 'F-3', '103');
SELECT correct, source, staging_id FROM pg_temp.label WHERE incoming_id = 'F-3';
DELETE FROM sync.match_result;
DELETE FROM sync.feed_item WHERE product_no = 50;

-- Reviews of tables matched outside the flow -----------------------------------------------------------------------------------------

SELECT * FROM sync.match_curve('nobody');
SELECT sync_match_review('shop', '{"score": 3}', false, 'x' || g, 'y') FROM generate_series(1, 10) g;
SELECT labels, correct, slope < 1 AND "offset" < 0 AS lower FROM sync.match_curve('shop');
SELECT sync.calibrated(3, 1, 0) > 0.95 AS before, sync.calibrated(3, slope, "offset") < 0.5 AS after FROM sync.match_curve('shop');
-- A second review of the same match replaces the first; null takes it back.
SELECT sync_match_review('shop', '{"score": 3}', true, 'x1', 'y');
SELECT sync_match_review('shop', '{"score": 3}', NULL, 'x2', 'y');
SELECT labels, correct FROM sync.match_curve('shop');
-- Confidences of the supplier follow, those of others do not.
CREATE TEMP TABLE plain AS SELECT * FROM sync_match('theirs', 'mine');
CREATE TEMP TABLE taught AS SELECT * FROM sync_match('theirs', 'mine', '{"supplier": "shop"}');
SELECT taught.confidence < plain.confidence OR plain.confidence < 0.4 AS lower, taught.evidence -> 'added' ? 'supplier' AS said,
	   taught.evidence -> 'score' = plain.evidence -> 'score' AS same_score
FROM plain LEFT JOIN taught USING (incoming_id);
SELECT count(*) FROM sync_match('theirs', 'mine', '{"supplier": "other"}') o JOIN plain p USING (incoming_id, existing_id, confidence);
SELECT sync_match_review('', '{"score": 3}', true);
SELECT sync_match_review('shop', '{"scores": 3}', true);
SELECT sync_match_review('shop', NULL, true);
SELECT sync_match_review('shop', '{"score": 3}', NULL);
SELECT * FROM sync_match('theirs', 'mine', '{"supplier": 3}');
SELECT * FROM sync_match('theirs', 'mine', '{"incoming": {"supplier": "x"}}');
SELECT sync.match_calibration_fit('{1,2}', '{true}');
SELECT * FROM sync.match_calibration_fit('{NaN,Infinity,NULL,1}', '{true,true,true,NULL}') f WHERE f.slope BETWEEN 0.2 AND 3;
-- Only the newest 2000 count: earlier words of a supplier that has mended its ways are forgotten.
INSERT INTO sync.match_label (supplier, correct, log_odds, source, decided_by, decided_at)
SELECT 'old', g > 500, 3, 'review', 'me', now() - (5000 - g) * interval '1 minute' FROM generate_series(1, 2500) g;
SELECT labels, correct FROM sync.match_curve('old');

-- Who may: a viewer sees, an approver reviews, nobody writes labels by hand.
SET client_min_messages = error;
DROP ROLE IF EXISTS sync_test_approver;
DROP ROLE IF EXISTS sync_test_viewer;
CREATE ROLE sync_test_approver IN ROLE sync_approver;
CREATE ROLE sync_test_viewer IN ROLE sync_viewer;
RESET client_min_messages;
GRANT SELECT ON mine, theirs TO sync_test_viewer;
SET ROLE sync_test_viewer;
SELECT count(*) FROM sync_match_report('shop');
SELECT count(*) FROM sync_match('theirs', 'mine', '{"supplier": "other"}');
SELECT count(*) > 0 AS seen FROM sync.match_label;
SELECT sync_match_review('shop', '{"score": 3}', true);
DELETE FROM sync.match_label;
SELECT sync.staging_label('{1}');
SET ROLE sync_test_approver;
SELECT sync_match_review('shop', '{"score": 3}', true, 'by', 'approver');
UPDATE sync.staging SET match_correct = true WHERE id = 3;
SELECT decided_by = session_user AS by_me FROM sync.match_label WHERE incoming_id = 'by';
RESET ROLE;
DROP ROLE sync_test_approver;
REVOKE ALL ON mine, theirs FROM sync_test_viewer;
DROP ROLE sync_test_viewer;

-- The run as a whole: claims in different ranges -------------------------------------------------------------------------------------

INSERT INTO sync.run (kind, connection, state, active, context) VALUES ('etilize', 'acme', 'matching', false,
	'{"match": {"range": 2, "repeats": 0.1, "slope": 1, "offset": 0, "shift": 0, "incoming": 20}}') RETURNING id AS run2 \gset
INSERT INTO sync.match_result (run_id, feed_item_id, product_no, variant_id, product_id, confidence, method, evidence)
SELECT :run2, no, no, v, 1, CASE WHEN score IS NULL THEN 1 ELSE sync.calibrated(score, 1, 0) END, CASE WHEN score IS NULL THEN 'link' ELSE 'tokens' END,
	   CASE WHEN score IS NULL THEN '{}' ELSE jsonb_build_object('score', score, 'added', jsonb_build_object('title', score)) END
FROM (VALUES
	(1, 101, 6.0), (5, 101, 1.0),					-- one is much better: it stays sure
	(2, 102, 4.0), (6, 102, 4.0),					-- as good as each other: neither is
	(3, 103, 5.0), (4, 103, 5.0),					-- of one range, which has weighed them already
	(7, 104, NULL), (9, 104, 8.0),					-- a link wins
	(10, 105, NULL), (10, 105, 3.0),				-- also within a range
	(11, 106, 5.0), (13, 106, 4.0), (15, 106, 3.0),	-- three
	(17, 107, 7.0), (19, 108, 7.0)) AS t (no, v, score);
INSERT INTO sync.match_result (run_id, feed_item_id, product_no, variant_id, product_id, confidence, method, evidence)
SELECT :run2, no, no, no, 1, 0.99, 'tokens', '{"score": 5, "added": {"title": 5}}' FROM generate_series(1001, 1060) no;	-- hardly any row repeats another
CREATE TEMP TABLE before AS SELECT id, confidence, evidence FROM sync.match_result WHERE run_id = :run2;
CREATE VIEW pg_temp.settled AS
	SELECT m.variant_id AS v, m.product_no AS no, m.method, round(m.confidence::numeric, 3) AS confidence, m.evidence -> 'shared' AS shared,
		   m.evidence -> 'score' AS score, m.evidence -> 'added' AS added, m.unsettled IS NOT NULL AS changed,
		   abs((m.evidence ->> 'score')::numeric - (SELECT sum(p.value::numeric) FROM jsonb_each_text(m.evidence -> 'added') p)) AS off
	FROM sync.match_result m ORDER BY m.variant_id, m.product_no, m.id;
SELECT sync.match_settle(:run2);
SELECT s.v, s.no, s.method, s.shared, s.changed, s.off = 0 AS adds_up FROM pg_temp.settled s
JOIN sync.match_result m ON m.variant_id = s.v AND m.product_no = s.no AND m.method = s.method WHERE m.run_id = :run2 AND s.no < 1000;
-- By hand: with odds a of the one other claim, and r of repeats, the odds are multiplied by (1 + r a) / (1 + a); with two others by p / (1 + (p - 1) / r).
SELECT m.variant_id AS v, m.product_no AS no, abs((m.evidence ->> 'score')::float8 - h.score - c.slope * ln(CASE
		WHEN h.other2 IS NULL THEN (1 + r * odds) / (1 + odds)
		ELSE p / (1 + (p - 1) / r) END)) < 0.006 AS as_by_hand
FROM (VALUES (101, 1, 6.0, 1.0, NULL), (101, 5, 1.0, 6.0, NULL), (102, 2, 4.0, 4.0, NULL), (106, 11, 5.0, 4.0, 3.0)) AS h (v, no, score, other, other2)
JOIN sync.match_result m ON m.run_id = :run2 AND m.variant_id = h.v AND m.product_no = h.no
CROSS JOIN sync.match_shipped_curve() c
CROSS JOIN (SELECT 0.1::float8 AS r) r
CROSS JOIN LATERAL (SELECT exp((h.other - c."offset") / c.slope) AS odds) a
CROSS JOIN LATERAL (SELECT (1 + r * odds) * (1 + r * exp((coalesce(h.other2, 0) - c."offset") / c.slope)) AS p) o ORDER BY 1, 2;
-- Of those that claim one, at most the best is above 0.94; and once more changes nothing.
SELECT count(*) FROM (SELECT m.variant_id FROM sync.match_result m WHERE m.run_id = :run2 AND m.confidence > 0.94 AND m.evidence ? 'shared'
					  GROUP BY m.variant_id HAVING count(*) > 1) v;
CREATE TEMP TABLE once AS SELECT id, confidence, evidence, unsettled FROM sync.match_result WHERE run_id = :run2;
SELECT sync.match_settle(:run2);
SELECT count(*) AS differ FROM once o JOIN sync.match_result m USING (id) WHERE (o.confidence, o.evidence, o.unsettled) IS DISTINCT FROM (m.confidence, m.evidence, m.unsettled);
-- A range that is matched again without its claims frees the others.
DELETE FROM sync.match_result WHERE run_id = :run2 AND product_no IN (5, 6, 9, 13, 15) OR run_id = :run2 AND product_no = 10 AND method = 'link';
SELECT sync.match_settle(:run2);
SELECT count(*) AS differ FROM before b JOIN sync.match_result m USING (id) WHERE (b.confidence, b.evidence) IS DISTINCT FROM (m.confidence, m.evidence);
-- The supplier's own curve holds here too, and its piece is added up anew.
UPDATE sync.run SET context = jsonb_set(context, '{match}', context -> 'match' || '{"slope": 0.5, "offset": -1}') WHERE id = :run2;
INSERT INTO sync.match_result (run_id, feed_item_id, product_no, variant_id, product_id, confidence, method, evidence)
SELECT :run2, no, no, 110, 1, sync.calibrated(4, 0.5, -1), 'tokens', '{"score": 4, "added": {"title": 4, "supplier": -3}}' FROM unnest('{21,23}'::integer[]) no;
SELECT sync.match_settle(:run2);
SELECT confidence = sync.calibrated((evidence ->> 'score')::float8, 0.5, -1) AS calibrated, evidence -> 'added' ?& '{title,rivals,supplier}' AS pieces,
	   round((0.5 * (evidence ->> 'score')::numeric - 1), 2) = (SELECT sum(p.value::numeric) FROM jsonb_each_text(evidence -> 'added') p) AS adds_up
FROM sync.match_result WHERE run_id = :run2 AND variant_id = 110;
-- A supplier whose rows repeat each other: claims are not rivals, but only one is approved by itself.
UPDATE sync.run SET context = jsonb_set(context, '{match}', context -> 'match' || '{"slope": 1, "offset": 0, "repeats": 1}') WHERE id = :run2;
DELETE FROM sync.match_result WHERE run_id = :run2 AND variant_id = 110;
INSERT INTO sync.match_result (run_id, feed_item_id, product_no, variant_id, product_id, confidence, method, evidence)
SELECT :run2, no, no, 110, 1, sync.calibrated(6, 1, 0), 'tokens', '{"score": 6, "added": {"title": 6}}' FROM unnest('{21,23}'::integer[]) no;
SELECT sync.match_settle(:run2);
SELECT round(confidence::numeric, 3) AS confidence, evidence FROM sync.match_result WHERE run_id = :run2 AND variant_id = 110 ORDER BY id;
DELETE FROM sync.run WHERE id = :run2;

-- The flow: what one run teaches the next --------------------------------------------------------------------------------------------

TRUNCATE sync.match_label, sync.staging, sync.staging_field, sync.variant_source;
UPDATE sync.connection SET settings = '{"match_range_products": 3}';
UPDATE sync.product SET title = 'Acme part ' || md5(id::text), vendor = 'Acme';
UPDATE sync.variant SET mpn = 'AC-' || 1000 + id;
UPDATE sync.variant SET gtin = '00036000291452', barcode = '036000291452' WHERE id = 103;
INSERT INTO sync.variant_source (connection, supplier_sku, variant_id) VALUES ('acme', 'F-1', 101), ('acme', 'F-3', 103);
SELECT sync.catalogue_changed();
UPDATE sync.feed_item SET product = jsonb_build_object('title', 'Acme part ' || md5(product_no::text), 'vendor', 'Acme'),
	variant = jsonb_build_object('sku', sku, 'mpn', 'AC' || 1100 + product_no, 'barcode', CASE product_no WHEN 3 THEN '4006381333931' END);
-- Number 11 claims what number 2 is, in another range; number 12 is something new.
UPDATE sync.feed_item SET product = jsonb_build_object('title', 'Acme part ' || md5('2'), 'vendor', 'Acme'), variant = '{"mpn": "AC1102"}' WHERE product_no = 11;
UPDATE sync.feed_item SET product = '{"title": "Weber charcoal grill", "vendor": "Weber"}', variant = '{"mpn": "741001"}' WHERE product_no = 12;
CREATE FUNCTION pg_temp.match_run() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	run bigint;
	turn integer;
BEGIN
	UPDATE sync.run SET active = false;
	INSERT INTO sync.run (kind, connection, state, feed_file_id) VALUES ('etilize', 'acme', 'matching', 1) RETURNING id INTO run;
	INSERT INTO sync.run_phase (run_id, state, attempt) VALUES (run, 'matching', 1);
	SET ROLE sync_worker;
	PERFORM sync.match_begin(run);
	FOR turn IN 1 .. 2 LOOP
		PERFORM sync.work_match_index(array_agg(j.id)) FROM sync.job j WHERE j.kind = 'match_index' HAVING count(*) > 0;
		PERFORM sync.work_match_batch(array_agg(j.id)) FROM sync.job j WHERE j.kind = 'match_batch' HAVING count(*) > 0;
		DELETE FROM sync.job WHERE kind = 'match_index';
	END LOOP;
	DELETE FROM sync.job;
	PERFORM sync.run_advance(run);
	PERFORM sync.work_match_settle(array_agg(j.id)) FROM sync.job j WHERE j.kind = 'match_settle';
	DELETE FROM sync.job;
	PERFORM sync.run_advance(run);
	PERFORM sync.work_stage_batch(array_agg(j.id)) FROM sync.job j WHERE j.kind = 'stage_batch';
	DELETE FROM sync.job;
	PERFORM sync.finish_staging(run);
	RESET ROLE;
	DELETE FROM sync.job;
	RETURN run;
END $$;
UPDATE sync.setting SET value = '1' WHERE name = 'auto_approve_threshold';
SELECT pg_temp.match_run() AS first \gset
SELECT state, context -> 'match_settled' AS settled, context -> 'match' ->> 'range' AS range, context #>> '{match,incoming}' AS incoming FROM sync.run WHERE id = :first;
SELECT supplier, slope, "offset", labels, repeats BETWEEN 0.005 AND 0.2 AS bounded, sampled, run_id = :first AS of_this_run FROM sync.match_calibration;
SELECT product_no, variant_id - 100 AS variant, method, evidence ? 'contradicted' AS contradicted, evidence ? 'shared' AS shared
FROM sync.match_result WHERE run_id = :first AND confidence > 0.3 OR run_id = :first AND product_no IN (2, 11) ORDER BY 1;
SELECT product_no, kind, flags FROM sync.staging WHERE run_id = :first AND product_no IN (1, 3, 4, 12) ORDER BY 1;
-- People say that what it was sure of is wrong: the next run is less sure of the same.
UPDATE sync.staging SET decision = 'rejected' WHERE run_id = :first AND product_no BETWEEN 4 AND 9;
UPDATE sync.staging SET match_correct = false WHERE run_id = :first AND product_no = 10;
SELECT count(*), bool_or(correct) AS any_right FROM sync.match_label;
SELECT pg_temp.match_run() AS second \gset
SELECT labels, correct, slope < 1 OR "offset" < 0 AS lower FROM sync.match_calibration;
SELECT count(*) FILTER (WHERE coalesce(n.confidence, 0) < o.confidence - 0.05) AS less_sure
FROM sync.match_result o LEFT JOIN sync.match_result n ON n.product_no = o.product_no AND n.run_id = :second
WHERE o.run_id = :first AND o.product_no BETWEEN 4 AND 9;

-- What a person called wrong is not offered again.
SELECT count(*) FROM sync.match_result WHERE run_id = :second AND product_no = 10;

-- A sample of what could be approved by itself is left to people, the same one whenever it is drawn.
TRUNCATE sync.match_label, sync.staging, sync.staging_field;
UPDATE sync.setting SET value = '0.5' WHERE name IN ('auto_approve_threshold', 'match_audit_share');
SELECT pg_temp.match_run() AS third \gset
CREATE TEMP TABLE sampled AS SELECT sku, flags, decision FROM sync.staging WHERE run_id = :third;
SELECT count(*) FILTER (WHERE flags = '{audit}' AND decision = 'pending') > 0 AS some, count(*) FILTER (WHERE decided_how = 'auto') > 0 AS others,
	   count(*) FILTER (WHERE flags @> '{audit}' AND (decision <> 'pending' OR method = 'link')) AS none
FROM sync.staging WHERE run_id = :third;
SET ROLE sync_worker;
SELECT sync.auto_approve(:third, 'acme');
RESET ROLE;
SELECT count(*) AS differ FROM sampled s JOIN sync.staging t USING (sku) WHERE t.run_id = :third AND (s.flags, s.decision) IS DISTINCT FROM (t.flags, t.decision);

-- The report -------------------------------------------------------------------------------------------------------------------------

TRUNCATE sync.match_label, sync.staging, sync.staging_field;
DELETE FROM sync.match_result;
SELECT count(*), sum(labels) AS labels, count(share_right) AS shares, count(above_coverage) AS coverages FROM sync_match_report();
-- About as many right as the shipped curve says: it stays about where it is.
INSERT INTO sync.match_label (supplier, incoming_id, existing_id, correct, log_odds, source, decided_by)
SELECT 'acme', x || ' ' || g, '1', g <= good, x, 'review', 'me'
FROM (VALUES (-2.0, 20, 2), (1.5, 20, 16), (3.5, 100, 97), (6.0, 40, 40)) AS t (x, n, good), generate_series(1, n) g;
INSERT INTO sync.match_result (run_id, feed_item_id, product_no, variant_id, product_id, confidence, method, evidence)
SELECT :second, 1, 1, 101, 1, CASE WHEN x IS NULL THEN 1 ELSE 0.5 END, CASE WHEN x IS NULL THEN 'link' ELSE 'tokens' END,
	   CASE WHEN x IS NULL THEN '{}' ELSE jsonb_build_object('score', x) END
FROM unnest('{-2.0,1.5,3.5,3.5,6.0,NULL}'::numeric[]) x;
INSERT INTO sync.match_result (run_id, feed_item_id, product_no, variant_id, product_id, confidence, method, evidence)
VALUES (:second, 1, 1, 101, 1, 0.94, 'tokens', '{"score": 8, "shared": true}');
INSERT INTO sync.staging (run_id, connection, kind, reason, confidence, method, product_no, decision, decided_how, match_correct)
SELECT :second, 'acme', 'update', 'test', 0.97, 'tokens', g, 'approved', 'auto', CASE WHEN g < 5 THEN true WHEN g = 5 THEN false END FROM generate_series(1, 10) g;
SELECT abs(slope - 1) < 0.2 AND abs("offset") < 0.5 AS about_shipped FROM sync.match_curve('acme');
SELECT band, matches, labels, labels_right, share_right, share_lowest, share_highest FROM sync_match_report('acme');
SELECT band, above_coverage, above_labels, above_precision, above_lowest, approved_by_itself, found_right, found_wrong FROM sync_match_report('acme');
-- By hand: the mean confidence is that of the present curve, the coverage is of the 12 rows of the run, 137 of 140 are 0.9786.
SELECT r.band, r.mean_confidence = round(sync.calibrated(x, c.slope, c."offset")::numeric, 4) AS mean_is_right
FROM sync.match_curve('acme') c, unnest('{-2,1.5,3.5,6}'::float8[]) x
JOIN sync_match_report('acme') r ON r.labels > 0 AND r.from_confidence = (SELECT max(b) FROM unnest(sync.match_bands()) b, sync.match_curve('acme') c WHERE b <= sync.calibrated(x, c.slope, c."offset"));
-- All suppliers together, each by its own curve.
INSERT INTO sync.match_label (supplier, correct, log_odds, source, decided_by) SELECT 'other', true, 3.5, 'review', 'me' FROM generate_series(1, 5);
SELECT sum(labels) AS labels, max(above_labels) AS all_of_them FROM sync_match_report();
SELECT sum(labels) AS labels, sum(matches) AS matches FROM sync_match_report('nobody');
