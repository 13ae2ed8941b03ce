-- The job that makes a call.  What it asks and what it makes of the answer depends on the call's part and step (85 to 89); what is the same for all
-- of them is here: when a request may go out, that it is committed before, and what becomes of it when no answer comes that can be believed.

CREATE FUNCTION sync.request_shopify_push(job_ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	target record;
	call sync.push_call;
	asked record;
	gate record;
BEGIN
	-- The bucket before anything else, as by who handles an answer.
	PERFORM FROM sync.rate_limit l
	WHERE l.connection IN (SELECT j.payload ->> 'connection' FROM sync.job j WHERE j.id = ANY (job_ids)) ORDER BY l.connection FOR UPDATE;
	FOR target IN
		SELECT j.id, (j.payload ->> 'call')::bigint AS call FROM sync.job j WHERE j.id = ANY (job_ids)
		ORDER BY j.payload ->> 'connection', j.class, j.id
	LOOP
		SELECT * INTO call FROM sync.push_call c WHERE c.id = target.call AND c.finished_at IS NULL FOR UPDATE;
		CONTINUE WHEN NOT FOUND;
		-- It went out, and whoever had the answer died or was rolled back: no answer came.
		PERFORM sync.push_unanswered(call.id, 'retry', 'retry', NULL, '{"message": "its answer was lost before it was noted"}')
		WHERE call.step IN ('send', 'create', 'start') AND EXISTS (SELECT FROM sync.push p WHERE p.call_id = call.id AND p.state = 'sent');
		PERFORM sync.push_drop_cancelled(call.id);
		asked := sync.push_request(call.id);
		CONTINUE WHEN asked.request IS NULL;
		job_id := target.id;
		IF asked.cost IS NULL AND asked.request ->> 'op' = 'http' THEN
			-- Where Shopify keeps files is a place of its own, which may fail alone.
			gate := sync.breaker_gate(call.connection, ARRAY[target.id], 'files');
			request := CASE WHEN gate.allowed = '{}' THEN jsonb_build_object('op', 'defer', 'retry_in', extract(epoch FROM gate.wait)) ELSE asked.request END;
		ELSIF asked.cost IS NULL THEN
			request := asked.request;
		ELSE
			SELECT s.request INTO request FROM sync.shopify_schedule(call.connection, ARRAY[target.id], ARRAY[asked.request], ARRAY[asked.cost],
				CASE WHEN call.part = 'stock' THEN ARRAY['push_stock'] END, CASE WHEN call.part = 'stock' THEN ARRAY[''] END) s;
		END IF;
		IF request ->> 'op' NOT IN ('defer', 'fail') THEN
			UPDATE sync.push_call c SET requests = c.requests + 1, points = c.points + coalesce(asked.cost, 0) WHERE c.id = call.id;
			-- From here on it may have happened.
			PERFORM sync.push_sending(call.id, asked.body) WHERE asked.body IS NOT NULL;
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;

-- What was approved in a run that is cancelled does not go out; sync_cancel() leaves it to this where somebody had hold of it just then.
CREATE FUNCTION sync.push_drop_cancelled(call_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	PERFORM sync.push_end(ARRAY(SELECT p.id FROM sync.push p JOIN sync.run r ON r.id = p.run_id AND r.state = 'cancelled'
								WHERE p.call_id = push_drop_cancelled.call_id AND p.state = 'checking'), 'cancelled', 'its run was cancelled');
END
$$;

-- What a call asks next.  body: what is to be committed as sent, NULL where the request changes nothing.  cost NULL: it does not go through the
-- bucket.  request NULL: the call is over.
CREATE FUNCTION sync.push_request(call_id bigint, OUT request jsonb, OUT cost numeric, OUT body jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	asked record;
BEGIN
	IF sync.push_open(call.id) = '{}' THEN
		PERFORM sync.push_call_finish(call.id);
		RETURN;
	ELSIF call.method = 'bulk' AND call.step <> 'check' THEN
		asked := sync.push_bulk_request(call.id);
	ELSIF call.part = 'stock' THEN
		asked := sync.push_stock_request(call.id);
	ELSIF call.part = 'create' THEN
		asked := sync.push_create_request(call.id);
	ELSIF call.step = 'check' AND call.method = 'direct' AND sync.push_crowded(call.id) THEN
		request := '{"op": "defer", "retry_in": 0.5}';
		RETURN;
	ELSIF call.step = 'check' THEN
		asked := sync.push_check_request(call.id);
	ELSIF call.step IN ('settle', 'reorder') THEN
		asked := sync.push_image_request(call.id);
	ELSE
		asked := sync.push_edit_request(call.id);
	END IF;
	request := asked.request;
	cost := asked.cost;
	body := asked.body;
	IF request IS NULL THEN
		PERFORM sync.push_call_finish(call.id);
	END IF;
END
$$;

-- Whether calls that were read already wait for so many points that what would be read now would be old when its turn comes.
CREATE FUNCTION sync.push_crowded(call_id bigint) RETURNS boolean
LANGUAGE sql STABLE SET search_path = '' AS $$
	SELECT coalesce(sum(o.sending), 0) > 10 * coalesce(min(l.points_per_second), min(sync.setting_value(c.connection, 'points_per_second')::numeric))
	FROM sync.push_call c JOIN sync.push_call o ON o.connection = c.connection AND o.finished_at IS NULL AND o.step = 'send' AND o.method = 'direct' AND o.part = 'edit' AND o.id <> c.id
	LEFT JOIN sync.rate_limit l ON l.connection = c.connection
	-- A pause holds them all, and costs nothing.
	WHERE c.id = push_crowded.call_id AND sync.paused(c.connection) IS NULL
$$;

-- The pushes of a call that are not at their end, in its order.
CREATE FUNCTION sync.push_open(call_id bigint) RETURNS bigint[]
LANGUAGE sql STABLE SET search_path = '' AS $$
	SELECT coalesce(array_agg(p.id ORDER BY p.place), '{}') FROM sync.push p WHERE p.call_id = push_open.call_id AND p.ended_at IS NULL
$$;

-- Notes that a call goes out: its request, its pushes, and what of each product and level is on its way, by which a reading of the shop knows
-- it again when no answer comes.
CREATE FUNCTION sync.push_sending(call_id bigint, body jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call;
BEGIN
	UPDATE sync.push_call c SET request = body, sent_at = clock_timestamp() WHERE c.id = push_sending.call_id RETURNING c.* INTO call;
	PERFORM sync.push_move(sync.push_open(call.id), 'sent', call.id);
	UPDATE sync.product_listing l SET sent = l.sent || s.sent
	FROM (SELECT p.product_id, jsonb_object_agg(w.key, jsonb_build_object('value', w.value, 'seen', m.remote_updated_at, 'at', clock_timestamp())) AS sent
		  FROM sync.push p CROSS JOIN LATERAL jsonb_each(p.wanted) w
		  LEFT JOIN sync.shopify_product m ON m.connection = p.connection AND m.remote_id = p.remote_id
		  WHERE p.call_id = call.id AND p.state = 'sent' AND p.part = 'edit' GROUP BY p.product_id) s
	WHERE l.connection = call.connection AND l.product_id = s.product_id;
	UPDATE sync.stock_level n SET sent = w.value::numeric, sent_seen = s.remote_updated_at
	FROM sync.push p CROSS JOIN LATERAL jsonb_each_text(p.wanted) w
	JOIN sync.listing l ON l.connection = p.connection AND l.variant_id = p.variant_id
	LEFT JOIN sync.shopify_stock s ON s.connection = l.connection AND s.inventory_item_id = l.inventory_item_id AND s.location_id = p.location_id
	WHERE p.call_id = call.id AND p.state = 'sent' AND p.part = 'stock'
	  AND n.connection = p.connection AND n.variant_id = p.variant_id AND n.location_id = p.location_id;
END
$$;

-- Answers ------------------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION sync.response_shopify_push(job_ids bigint[], results jsonb[], bodies bytea[])
RETURNS TABLE (job_id bigint, outcome text, retry_in interval, error jsonb, counts jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	-- Of several shops, in one order.
	PERFORM FROM sync.rate_limit l
	WHERE l.connection IN (SELECT j.payload ->> 'connection' FROM sync.job j WHERE j.id = ANY (job_ids)) ORDER BY l.connection FOR UPDATE;
	FOR i IN 1 .. cardinality(job_ids) LOOP
		RETURN QUERY SELECT job_ids[i], p.outcome, p.retry_in, p.error, '{}'::jsonb FROM sync.push_response(job_ids[i], results[i], bodies[i]) p;
	END LOOP;
END
$$;

CREATE FUNCTION sync.push_response(job_id bigint, result jsonb, body bytea, OUT outcome text, OUT retry_in interval, OUT error jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call;
	answer record;
	next record;
	wait interval;
BEGIN
	SELECT c.* INTO call FROM sync.job j JOIN sync.push_call c ON c.id = (j.payload ->> 'call')::bigint WHERE j.id = push_response.job_id FOR UPDATE OF c;
	IF call.method = 'bulk' AND call.step IN ('upload', 'get') THEN
		wait := sync.breaker_told(call.connection, push_response.job_id, CASE WHEN (result ->> 'ok')::boolean OR (result ->> 'status')::integer < 500 THEN 'up' ELSE 'down' END,
			jsonb_build_object('message', result ->> 'message', 'status', result -> 'status'), 'files');
		next := sync.push_file_response(call.id, result, body);
		IF next.outcome = 'retry' AND wait IS NOT NULL THEN
			next.outcome := 'defer';
			next.retry_in := wait;
		END IF;
	ELSE
		answer := sync.shopify_answer(call.connection, push_response.job_id, result, body);
		IF call.finished_at IS NOT NULL OR call.id IS NULL THEN
			outcome := 'done';
			RETURN;
		ELSIF answer.outcome IS NOT NULL THEN
			next := sync.push_unanswered(call.id, answer.verdict, answer.outcome, answer.retry_in, answer.error);
		ELSIF call.method = 'bulk' AND call.step <> 'check' THEN
			next := sync.push_bulk_response(call.id, answer.data);
		ELSIF call.part = 'stock' THEN
			next := sync.push_stock_response(call.id, answer.data);
		ELSIF call.part = 'create' THEN
			next := sync.push_create_response(call.id, answer.data);
		ELSIF call.step = 'check' THEN
			next := sync.push_check_response(call.id, answer.data);
		ELSIF call.step IN ('settle', 'reorder') THEN
			next := sync.push_image_response(call.id, answer.data);
		ELSE
			next := sync.push_edit_response(call.id, answer.data);
		END IF;
	END IF;
	outcome := next.outcome;
	retry_in := next.retry_in;
	error := next.error;
END
$$;

-- No answer that can be believed.  A request that was refused as a whole did nothing: with several products in it, each goes by itself, so that
-- one bad one does not hold up the others twice.  After any other the shop may have done it.
CREATE FUNCTION sync.push_unanswered(call_id bigint, verdict text, INOUT outcome text, INOUT retry_in interval, INOUT error jsonb)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	ids bigint[] := sync.push_open(call.id);
	-- Steps that only look, or that may be done twice, are done again as they are.
	sending boolean := EXISTS (SELECT FROM sync.push p WHERE p.id = ANY (ids) AND p.state = 'sent') AND call.step IN ('send', 'create', 'start');
BEGIN
	IF verdict = 'shrink' AND call.step = 'check' AND coalesce((call.request ->> 'shrink')::integer, 1) < 64 THEN
		UPDATE sync.push_call c SET request = coalesce(c.request, '{}') || jsonb_build_object('shrink', 2 * coalesce((c.request ->> 'shrink')::integer, 1)) WHERE c.id = call.id;
		outcome := 'defer';
		retry_in := interval '0';
		error := NULL;
	ELSIF verdict IN ('fail', 'shrink') AND cardinality(ids) > 1 AND (call.method = 'direct' OR call.step IN ('check', 'start')) THEN
		PERFORM sync.push_forget(ids);
		IF sending THEN
			PERFORM sync.push_move(ids, 'retry', call.id, error ->> 'message', error);
		END IF;
		UPDATE sync.push p SET alone = true WHERE p.id = ANY (ids);
		PERFORM sync.push_move(ids, 'queued', NULL, 'goes by itself: the call with others in it was refused');
		PERFORM sync.push_call_finish(call.id, error);
		outcome := 'done';
		error := NULL;
	ELSIF sending THEN
		PERFORM sync.push_move(ids, 'retry', call.id, error ->> 'message', error);
		-- Stock goes again as it is, under its key; anything else is read first.
		IF verdict IN ('throttled', 'refresh_token', 'paused', 'fail') THEN
			PERFORM sync.push_forget(ids);
			-- It did nothing, so what is sent in its place is what is here by then.
			UPDATE sync.push_call c SET request = NULL, sent_at = NULL, key = gen_random_uuid() WHERE c.id = call.id AND c.part = 'stock';
		ELSIF call.method = 'bulk' THEN
			UPDATE sync.push_call c SET step = 'seek' WHERE c.id = call.id AND c.step = 'start';
		ELSIF call.part <> 'stock' THEN
			UPDATE sync.push_call c SET step = CASE c.part WHEN 'create' THEN 'find' ELSE 'check' END, checked_at = NULL WHERE c.id = call.id;
		END IF;
	END IF;
END
$$;

-- What was noted as on its way never left, or did nothing.
CREATE FUNCTION sync.push_forget(push_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
BEGIN
	UPDATE sync.product_listing l SET sent = l.sent - s.paths
	FROM (SELECT p.connection, p.product_id, array_agg(k) AS paths FROM sync.push p CROSS JOIN LATERAL jsonb_object_keys(p.wanted) k
		  WHERE p.id = ANY (push_ids) AND p.part = 'edit' GROUP BY p.connection, p.product_id) s
	WHERE l.connection = s.connection AND l.product_id = s.product_id AND l.sent ?| s.paths;
	UPDATE sync.stock_level n SET sent = NULL, sent_seen = NULL
	FROM sync.push p WHERE p.id = ANY (push_ids) AND p.part = 'stock'
	  AND n.connection = p.connection AND n.variant_id = p.variant_id AND n.location_id = p.location_id AND n.sent IS NOT NULL;
END
$$;

-- Products of a shop that a reading saw while something of them was on its way are compared once more.
CREATE FUNCTION sync.push_compare_again(connection text, remote_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
	UPDATE sync.shopify_product m SET merge_due = true
	WHERE m.connection = push_compare_again.connection AND m.remote_id = ANY (remote_ids) AND m.gone_since IS NULL;
	PERFORM sync.shopify_merge_wanted(connection);
END
$$;

-- Pushes end by what is known of each: moves them, settles their entries, and where the shop has something that we have not seen reads the product again.
CREATE FUNCTION sync.push_end(ids bigint[], to_state text, message text DEFAULT NULL, error jsonb DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
BEGIN
	IF coalesce(ids, '{}') = '{}' THEN
		RETURN;
	END IF;
	PERFORM sync.push_forget(ids) WHERE to_state <> 'synced';
	PERFORM sync.push_move(ids, to_state, note => message, error => CASE WHEN to_state <> 'synced' THEN
		coalesce(push_end.error, '{}') || jsonb_build_object('message', message) END);
	PERFORM sync.shopify_product_fetch(p.connection, p.remote_id)
	FROM (SELECT DISTINCT o.connection, o.remote_id FROM sync.push o
		  WHERE o.id = ANY (ids) AND to_state IN ('stale', 'failed') AND o.remote_id IS NOT NULL ORDER BY 1, 2) p;
	PERFORM sync.push_settle(ids);
END
$$;

-- A job that was tried too often, or refused: what is left of its call fails, visibly.
CREATE FUNCTION sync.failed_shopify_push(job_id bigint, error jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	call bigint := (SELECT (j.payload ->> 'call')::bigint FROM sync.job j WHERE j.id = failed_shopify_push.job_id);
	ids bigint[] := sync.push_open(call);
	one bigint;
	unknown boolean;
BEGIN
	FOREACH one IN ARRAY ids LOOP
		unknown := EXISTS (SELECT FROM sync.push p WHERE p.id = one AND p.state IN ('sent', 'retry') AND p.attempts > 0);
		PERFORM sync.push_move(ARRAY[one], 'failed', call, error ->> 'message', error || jsonb_build_object('message', concat_ws('; ',
			sync.push_words(one), error ->> 'message', CASE WHEN unknown THEN 'it is not known whether the shop has it: the next reading will tell' END)));
	END LOOP;
	PERFORM sync.shopify_product_fetch(p.connection, p.remote_id)
	FROM (SELECT DISTINCT o.connection, o.remote_id FROM sync.push o WHERE o.id = ANY (ids) AND o.remote_id IS NOT NULL ORDER BY 1, 2) p;
	PERFORM sync.push_settle(ids);
	PERFORM sync.push_call_finish(call, error);
END
$$;

-- Which product a push is of, for a person: its title and SKU.
CREATE FUNCTION sync.push_words(push_id bigint) RETURNS text
LANGUAGE sql STABLE SET search_path = '' AS $$
	SELECT format('%s of "%s"%s', CASE p.part WHEN 'stock' THEN 'stock' WHEN 'create' THEN 'creation' ELSE (
			SELECT string_agg(k, ', ' ORDER BY k) FROM (SELECT k FROM jsonb_object_keys(p.wanted) k ORDER BY k LIMIT 5) f) END, left(s.title, 200),
		CASE WHEN p.variant_id IS NOT NULL THEN ' (' || (SELECT v.sku FROM sync.variant v WHERE v.id = p.variant_id) || ')' ELSE coalesce(' (' || s.sku || ')', '') END)
	FROM sync.push p JOIN sync.staging s ON s.id = p.staging_id WHERE p.id = push_words.push_id
$$;
