-- What is not staged again: values of a feed or a shop that a person said no to.
--
-- A no holds while the source goes on saying the same.  It is one of two: the newest decision about the field was a rejection, or a
-- rollback that was applied since then undid the value.  Several rollbacks one after another (two bad feeds, the newer undone first) are
-- several values, each of which is refused.  A rollback that undoes a rollback takes its no back; one that undoes that one too gives it
-- again.

-- The refused values of each field of these products; at most one row for each value.
CREATE FUNCTION sync.refused_fields(connection text, product_ids bigint[], before_run bigint)
RETURNS TABLE (product_id bigint, path text, new_value jsonb)
LANGUAGE plpgsql STABLE ROWS 10 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	-- In two steps, each of which can only go by its index: statistics of a table that is being filled mislead the planner.
	ids bigint[];
	rollbacks bigint[];
BEGIN
	SELECT array_agg(s.id) FILTER (WHERE s.connection = refused_fields.connection),
		   array_agg(s.id) FILTER (WHERE s.method = 'rollback' AND (s.state = 'applied' OR s.decided_how = 'kept' AND EXISTS (
										SELECT FROM sync.staging o WHERE o.run_id = s.run_id AND o.state = 'applied')))
	INTO ids, rollbacks
	FROM sync.staging s
	WHERE s.product_id = ANY (product_ids) AND s.run_id < before_run AND (s.connection = refused_fields.connection OR s.method = 'rollback');
	RETURN QUERY
	WITH RECURSIVE decided AS MATERIALIZED (
		SELECT DISTINCT ON (s.product_id, f.path) s.product_id, f.path, f.new_value, s.id, f.decision = 'rejected' AS refused
		FROM sync.staging s JOIN sync.staging_field f ON f.staging_id = s.id
		WHERE s.id = ANY (ids) AND f.staging_id = ANY (ids) AND f.decision <> 'pending'
		ORDER BY s.product_id, f.path, s.id DESC),
	undone AS MATERIALIZED (
		SELECT s.product_id, u.key AS path, nullif(u.value -> 'value', 'null') AS new_value, s.id, s.run_id,
			   u.value ->> 'source' = 'rollback' AS of_rollback, (r.context ->> 'undoes_run')::bigint AS undoes_run
		FROM sync.staging s JOIN sync.run r ON r.id = s.run_id CROSS JOIN LATERAL jsonb_each(s.evidence -> 'undoes') u
		WHERE s.id = ANY (rollbacks) AND u.value ->> 'source' IN (refused_fields.connection, 'rollback')
		  AND NOT EXISTS (SELECT FROM sync.staging_field f
						  WHERE f.staging_id = s.id AND f.path = u.key AND f.decision = 'rejected' AND f.decided_how <> 'kept')),
	-- Each no, and the rollbacks that took it back, gave it again, and so on: the newest counts.
	chain AS (
		SELECT u.product_id, u.path, u.new_value, u.id AS first, u.id AS last, u.run_id, true AS holds FROM undone u WHERE NOT u.of_rollback
		UNION
		SELECT c.product_id, c.path, c.new_value, c.first, u.id, u.run_id, u.undoes_run IS NOT NULL AND NOT c.holds
		FROM chain c JOIN undone u ON u.product_id = c.product_id AND u.path = c.path
		WHERE u.of_rollback AND u.id > c.last AND coalesce(u.undoes_run, c.run_id) = c.run_id)
	SELECT d.product_id, d.path, d.new_value FROM decided d WHERE d.refused
	UNION
	SELECT n.product_id, n.path, n.new_value
	FROM (SELECT DISTINCT ON (c.product_id, c.path, c.first) c.* FROM chain c ORDER BY c.product_id, c.path, c.first, c.last DESC, c.holds) n
	WHERE n.holds AND NOT EXISTS (SELECT FROM decided d WHERE d.product_id = n.product_id AND d.path = n.path AND d.id > n.first);
END
$$;
