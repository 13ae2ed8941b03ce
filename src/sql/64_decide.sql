-- The conflict decision tree: what becomes of a field on which the catalogue and the shop disagree.  docs/conflicts.md tells all cases.

CREATE FUNCTION sync.field_class(path text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ps_field_class';
COMMENT ON FUNCTION sync.field_class(text) IS
'Which branch of the decision tree a field goes through: price (compare_at_price too), inventory (stock at a location), description, variant and product (a whole one), other.';

CREATE FUNCTION @extschema@.sync_decide(field text, local jsonb, shopify jsonb, context jsonb DEFAULT '{}')
RETURNS TABLE (outcome text, value jsonb, rule text, reason text)
LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 1 AS 'MODULE_PATHNAME', 'ps_decide';
COMMENT ON FUNCTION @extschema@.sync_decide(text, jsonb, jsonb, jsonb) IS
'The decision tree for one field whose two values disagree: pure, nothing is read or changed. field: a class (price, inventory, description), a field (title, tags) or a path (variants[SKU].price). SQL null and JSON null are no value. context: facts, limits and rules, see docs/conflicts.md; without rules, those that are shipped. outcome: use_shopify, use_local, use_lower, apply_rule, equal or manual; value: what to take, null for manual; rule: the row of sync.conflict_rule, or the case, that decided; reason: one sentence with the numbers. Errors: 22004 without a field, 22023 for a context that is not understood. Example: SELECT * FROM sync_decide(''price'', ''100'', ''104.99'');';

CREATE FUNCTION @extschema@.sync_merge(field text, base jsonb, local jsonb, shopify jsonb, context jsonb DEFAULT '{}')
RETURNS TABLE (outcome text, value jsonb, rule text, reason text)
LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 1 AS 'MODULE_PATHNAME', 'ps_merge';
COMMENT ON FUNCTION @extschema@.sync_merge(text, jsonb, jsonb, jsonb, jsonb) IS
'The same three-way: base is the value on which both sides last agreed (JSON null: that there is none; SQL null: they never agreed). Only one side changed: use_local or use_shopify; both, or never agreed: the decision tree; neither, and yet they differ: manual, rule drift. Arguments, result and errors as of sync_decide. Example: SELECT * FROM sync_merge(''price'', ''100'', ''100'', ''120'');';

CREATE FUNCTION sync.decide_field(path text, base jsonb, local jsonb, shopify jsonb, rules jsonb, facts jsonb, OUT outcome text, OUT value jsonb,
								  OUT rule text, OUT reason text)
LANGUAGE c IMMUTABLE PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'ps_decide_field';
COMMENT ON FUNCTION sync.decide_field(text, jsonb, jsonb, jsonb, jsonb, jsonb) IS
'The decision tree for the merge: both sides changed the field, or never agreed. rules: sync.decision_rules(), read once in a statement; facts: a context without rules, in which unknown keys are ignored.';

CREATE FUNCTION sync.decide_merge(path text, base jsonb, local jsonb, shopify jsonb, rules jsonb, facts jsonb, OUT outcome text, OUT value jsonb,
								  OUT rule text, OUT reason text)
LANGUAGE c IMMUTABLE PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'ps_decide_merge';
COMMENT ON FUNCTION sync.decide_merge(text, jsonb, jsonb, jsonb, jsonb, jsonb) IS
'The same with a look at who changed it first, as sync_merge(): where only one side did, prices and stock are still checked.';

CREATE FUNCTION sync.rule_check(rules jsonb) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ps_rule_check';
COMMENT ON FUNCTION sync.rule_check(jsonb) IS 'How many rules an array of them has. Errors: 22023 for the first that is not understood, with its name.';

GRANT EXECUTE ON FUNCTION @extschema@.sync_decide(text, jsonb, jsonb, jsonb), @extschema@.sync_merge(text, jsonb, jsonb, jsonb, jsonb),
	sync.field_class(text) TO sync_viewer;

-- The rules of a connection as sync.decide_field() takes them, once for a whole batch; NULL where the tables are not there.
CREATE FUNCTION sync.decision_rules(connection text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
	RETURN (
		SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', r.name, 'field', r.field, 'connection', r.connection,
			'vendor', r.vendor, 'product_type', r.product_type, 'action', r.action, 'priority', r.priority))
			|| jsonb_build_object('parameters', r.parameters) ORDER BY r.name), '[]')
		FROM sync.conflict_rule r
		WHERE r.enabled AND (r.connection IS NULL OR r.connection = decision_rules.connection));
END
$$;
COMMENT ON FUNCTION sync.decision_rules(text) IS 'The enabled rules of a connection (and those of all), as an array that sync.decide_field() and a context''s rules take.';
GRANT EXECUTE ON FUNCTION sync.decision_rules(text) TO sync_viewer;
