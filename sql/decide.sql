-- The decision tree's calls, rules that people write, and what they would have decided.  The cases themselves are in test/decisions.tsv.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS product_sync;
RESET client_min_messages;
SELECT sync_install() LIKE '%step%' AS installed;
\pset null -
\set SHOW_CONTEXT never

-- Every branch, with its formula.
SELECT d.* FROM (VALUES ('price', '100', '104.99'), ('price', '100', '105'), ('inventory', '7', '0'), ('inventory', '20', '11'),
	('inventory', '20', '10'), ('description', '"a"', '"b"'), ('title', '"a"', '"b"')) v(field, local, shopify)
CROSS JOIN LATERAL sync_decide(v.field, v.local::jsonb, v.shopify::jsonb) d;
SELECT * FROM sync_merge('price', '100', '100', '120');
SELECT * FROM sync_merge('price', '90', '100', '120');
SELECT p.proname, p.provolatile, p.proparallel, p.proisstrict FROM pg_proc p WHERE p.proname IN ('sync_decide', 'sync_merge') ORDER BY 1;
SELECT path, sync.field_class(path) FROM (VALUES ('price'), ('variants[A].price'), ('variants["a]b"].compare_at_price'), ('cost'),
	('variants[A].stock[1]'), ('inventory'), ('description'), ('metafields.description'), ('variants[A]'), ('product'), ('tags')) v(path);
-- What is read once in a statement, also when it changes between rows.
SELECT d.outcome, d.rule FROM (VALUES ('[]'), ('[{"name": "a", "field": "title", "action": "prefer_local"}]'), ('[]'), (NULL)) v(rules)
CROSS JOIN LATERAL sync.decide_field('title', NULL, '"a"', '"b"', v.rules::jsonb, '{"unknown": 1}') d;

-- What is not understood is refused.
SELECT * FROM sync_decide(NULL, '1', '2');
SELECT * FROM sync_decide('', '1', '2');
SELECT * FROM sync_decide('price', '1', '2', '{"price_percnt": 5}');
SELECT * FROM sync_decide('price', '1', '2', '{"price_percent": "5"}');
SELECT * FROM sync_decide('price', '1', '2', '{"price_percent": -1}');
SELECT * FROM sync_decide('price', '1', '2', '{"price_percent": 1e300}');
SELECT * FROM sync_decide('price', '1', '2', '{"now": "yesterday"}');
SELECT * FROM sync_decide('price', '1', '2', '{"was_set": "yes"}');
SELECT * FROM sync_decide('price', '1', '2', '[]');
SELECT * FROM sync_decide('price', '1', '2', '{"rules": {}}');
SELECT * FROM sync_decide('price', '1', '2', '{"rules": [1]}');
SELECT * FROM sync_decide('price', '1', '2', '{"rules": [{"name": "a", "field": "title", "action": "threshold"}]}');
SELECT outcome, value FROM sync_decide('price', '1', '2', NULL);
-- Hostile lengths.
SELECT outcome, rule FROM sync_decide('price', ('1' || repeat('0', 100000))::jsonb, '2');
SELECT outcome, rule FROM sync_decide('inventory', '5', ('-' || repeat('9', 100))::jsonb);
SELECT outcome, rule, length(reason) FROM sync_decide('description', to_jsonb(repeat('<b>', 1000000)), '"x"', '{"etilize_updated": true}');
SELECT outcome, length(reason) FROM sync_decide('title', '"a"', '"b"', jsonb_build_object('rules', jsonb_build_array(
	jsonb_build_object('name', repeat('é', 5000), 'field', 'title', 'action', 'prefer_local'),
	jsonb_build_object('name', repeat('ö', 5000), 'field', 'title', 'action', 'prefer_shopify'))));
SELECT outcome FROM sync_decide(repeat('*', 10000), '"a"', '"b"', jsonb_build_object('rules', jsonb_build_array(
	jsonb_build_object('name', 'a', 'field', repeat('*a', 5000), 'action', 'prefer_local'))));

-- Rules are rows, and wrong ones are refused.
SELECT name, field, action, parameters, enabled, updated_by FROM sync.conflict_rule
WHERE name IN ('price_threshold', 'inventory_difference', 'description_shrink', 'snapshot_age') ORDER BY name;
INSERT INTO sync.conflict_rule (name, field, action) VALUES ('bad', 'title', 'prefer_me');
INSERT INTO sync.conflict_rule (name, field, action) VALUES ('bad', 'title', 'threshold');
INSERT INTO sync.conflict_rule (name, field, action, parameters) VALUES ('bad', 'title', 'prefer_local', '{"percent": 5}');
INSERT INTO sync.conflict_rule (name, field, action) VALUES (repeat('x', 61), 'title', 'prefer_local');
UPDATE sync.conflict_rule SET parameters = '{"percent": 5.5, "of": "mine"}' WHERE name = 'price_threshold';
UPDATE sync.conflict_rule SET parameters = '{"percent": "5"}' WHERE name = 'price_threshold';
UPDATE sync.conflict_rule SET parameters = '{"share": 1.1}' WHERE name = 'description_shrink';
UPDATE sync.conflict_rule SET parameters = '{"units": -1}' WHERE name = 'inventory_difference';
BEGIN;
UPDATE sync.conflict_rule SET parameters = '{"percent": 8}' WHERE name = 'price_threshold';
INSERT INTO sync.conflict_rule (name, field, action, vendor) VALUES ('acme_titles', 'title', 'prefer_local', 'ACME');
SET LOCAL ROLE sync_worker;
SELECT d.* FROM (VALUES ('price', '100', '107.99'), ('price', '100', '108'), ('title', '"a"', '"b"')) v(field, local, shopify)
CROSS JOIN LATERAL sync.decide_field(v.field, NULL, v.local::jsonb, v.shopify::jsonb, sync.decision_rules('shop'), '{"vendor": "Acme"}') d;
ROLLBACK;

-- What would have been decided otherwise.
BEGIN;
DELETE FROM sync.decision_log;
INSERT INTO sync.decision_log (connection, path, field, base_value, local_value, shopify_value, context, outcome, value, rule, reason) VALUES
	('shop', 'variants[A].price', 'price', '90', '100', '104', '{}', 'use_shopify', '104', 'price_threshold', ''),
	('shop', 'variants[B].price', 'price', '90', '100', '107', '{"vendor": "ACME"}', 'manual', NULL, 'price_threshold', ''),
	('shop', 'variants[B].stock[1]', 'inventory', '20', '19', '8', '{}', 'manual', NULL, 'inventory_difference', ''),
	('shop', 'title', 'other', '"a"', '"b"', '"c"', '{"vendor": "ACME"}', 'manual', NULL, 'no_rule', ''),
	('shop', 'title', 'other', '"a"', '"b"', '"c"', '{"vendor": "ACME"}', 'apply_rule', NULL, 'person', ''),
	('other', 'title', 'other', '"a"', '"b"', '"c"', '{"vendor": "ACME"}', 'manual', NULL, 'no_rule', '');
INSERT INTO sync.decision_log (decided_at, connection, path, field, base_value, local_value, shopify_value, outcome, rule, reason) VALUES
	(now() - interval '31 days', 'shop', 'variants[C].price', 'price', '90', '100', '107', 'manual', 'price_threshold', '');
SET LOCAL ROLE sync_viewer;
SELECT path, logged_outcome, outcome_now, reason_now, outcome_then, value_then, rule_then, reason_then
FROM sync_simulate_rule('{"name": "price_threshold", "parameters": {"percent": 8}}');
SELECT path, outcome_now, outcome_then FROM sync_simulate_rule('{"name": "price_threshold", "parameters": {"percent": 8}}', '60 days');
SELECT path, outcome_now, outcome_then, rule_then FROM sync_simulate_rule('{"name": "price_threshold", "enabled": false}');
SELECT path, outcome_now, outcome_then, value_then FROM sync_simulate_rule('{"name": "inventory_difference", "parameters": {"delta_merge": true, "units": 12}}');
SELECT connection, path, outcome_now, outcome_then, value_then
FROM sync_simulate_rule('{"name": "titles", "field": "title", "action": "prefer_local", "vendor": "acme", "connection": "other"}');
SELECT connection, path, outcome_then, value_then FROM sync_simulate_rule('{"name": "acme", "field": "*", "action": "prefer_shopify", "vendor": "acme"}');
SELECT count(*) FROM sync_simulate_rule('{"name": "price_threshold", "parameters": {"percent": 5}}');
SAVEPOINT s;
SELECT count(*) FROM sync_simulate_rule('{"field": "title", "action": "prefer_local"}');
ROLLBACK TO s;
SELECT count(*) FROM sync_simulate_rule('{"name": "x", "feild": "title"}');
ROLLBACK TO s;
SELECT count(*) FROM sync_simulate_rule('{"name": "x", "field": "title"}');
ROLLBACK TO s;
SELECT name, parameters FROM sync.conflict_rule WHERE name = 'price_threshold';
ROLLBACK;
