-- What a rule would have decided: decisions of the past, by the present rules and by the present rules with one more.

-- A rule as a person gives it, over the row of its name where there is one; NULL where it is switched off.
CREATE FUNCTION sync.rule_with(rule jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	present jsonb;
	wrong text;
	asked jsonb;
BEGIN
	IF jsonb_typeof(rule) IS DISTINCT FROM 'object' OR coalesce(rule ->> 'name', '') = '' THEN
		RAISE EXCEPTION 'the rule is not a JSON object with a name'
			USING ERRCODE = 'invalid_parameter_value', HINT = 'For example {"name": "price_threshold", "parameters": {"percent": 8}}.';
	END IF;
	SELECT k INTO wrong FROM jsonb_object_keys(rule) k
	WHERE k NOT IN ('name', 'field', 'connection', 'vendor', 'product_type', 'action', 'parameters', 'priority', 'enabled', 'note') ORDER BY k LIMIT 1;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION 'the rule has an unknown key "%"', wrong
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Its keys are the columns of sync.conflict_rule.';
	END IF;
	IF jsonb_typeof(coalesce(rule -> 'enabled', 'true')) <> 'boolean' THEN
		RAISE EXCEPTION '"enabled" of the rule is not true or false' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT to_jsonb(r) - '{id,note,updated_by,updated_at}'::text[] INTO present FROM sync.conflict_rule r WHERE r.name = rule ->> 'name';
	-- Who tries a rule that is switched off wants to see it on.
	asked := coalesce(present, '{}') || '{"enabled": true}' || rule - 'note'
		|| CASE WHEN jsonb_typeof(rule -> 'parameters') = 'object'
				THEN jsonb_build_object('parameters', coalesce(present -> 'parameters', '{}') || (rule -> 'parameters')) ELSE '{}' END;
	-- A switch to another kind of rule leaves the old one's numbers behind.
	IF present IS NOT NULL AND asked ->> 'action' IS DISTINCT FROM present ->> 'action' THEN
		asked := asked || jsonb_build_object('parameters', coalesce(rule -> 'parameters', '{}'));
	END IF;
	PERFORM sync.rule_check(jsonb_build_array(asked));
	RETURN CASE WHEN (asked ->> 'enabled')::boolean THEN asked END;
END
$$;

CREATE FUNCTION @extschema@.sync_simulate_rule(rule jsonb, since interval DEFAULT '30 days')
RETURNS TABLE (decided_at timestamptz, connection text, product_id bigint, title text, path text, base_value jsonb, local_value jsonb,
			   shopify_value jsonb, logged_outcome text, outcome_now text, value_now jsonb, rule_now text, reason_now text, outcome_then text,
			   value_then jsonb, rule_then text, reason_then text)
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	added jsonb := sync.rule_with(rule);
	shop text;
	present jsonb;
	changed jsonb;
BEGIN
	FOR shop IN
		SELECT DISTINCT l.connection FROM sync.decision_log l WHERE l.decided_at >= now() - since ORDER BY l.connection
	LOOP
		present := sync.decision_rules(shop);
		SELECT coalesce(jsonb_agg(e.value ORDER BY e.value ->> 'name' COLLATE "C"), '[]') INTO changed
		FROM (SELECT r.value FROM jsonb_array_elements(present) r WHERE r.value ->> 'name' <> rule ->> 'name'
			  UNION ALL
			  SELECT added WHERE added IS NOT NULL AND coalesce(added ->> 'connection', shop) = shop) e;
		-- What a person or a lock decided, no rule would have decided otherwise.
		RETURN QUERY
		SELECT l.decided_at, l.connection, l.product_id, p.title, l.path, l.base_value, l.local_value, l.shopify_value, l.outcome,
			   o.outcome, o.value, o.rule, o.reason, n.outcome, n.value, n.rule, n.reason
		FROM sync.decision_log l
		CROSS JOIN LATERAL sync.decide_field(l.path, l.base_value, l.local_value, l.shopify_value, present, l.context) o
		CROSS JOIN LATERAL sync.decide_field(l.path, l.base_value, l.local_value, l.shopify_value, changed, l.context) n
		LEFT JOIN sync.product p ON p.id = l.product_id
		WHERE l.decided_at >= now() - since AND l.connection = shop
		  AND l.rule NOT IN ('person', 'locked', 'oscillation', 'drift', 'no_store', 'only_one_changed')
		  AND (o.outcome, o.value) IS DISTINCT FROM (n.outcome, n.value)
		ORDER BY l.decided_at, l.id;
	END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.sync_simulate_rule(jsonb, interval) IS
'Decides again what was decided within since (default 30 days) with the present rules and with this rule added, or put in place of the one of its name; returns each decision that comes out otherwise, with outcome, value, rule and reason now and then. Changes nothing. rule: columns of sync.conflict_rule; of a rule that exists only what is to change, and "enabled": false to try without it. Errors: 22023 for a rule that would be refused. Example: SELECT outcome_now, outcome_then, count(*) FROM sync_simulate_rule(''{"name": "price_threshold", "parameters": {"percent": 8}}'') GROUP BY 1, 2;';
GRANT EXECUTE ON FUNCTION @extschema@.sync_simulate_rule(jsonb, interval), sync.rule_with(jsonb), sync.rule_check(jsonb),
	sync.decide_field(text, jsonb, jsonb, jsonb, jsonb, jsonb) TO sync_viewer;
