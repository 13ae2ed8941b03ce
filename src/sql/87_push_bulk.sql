-- Many products at once: a bulk mutation, one product a line.  Read (step check), then ask where to upload (target), upload the lines, start the
-- operation, look until it is done (poll), get its result, and take each line for what it says (load).
--
-- Lines run in no order and each by itself; the result has one line for each, with its number.  The operation's number is committed with the
-- answer that tells it.  If that answer is lost, it is looked for among the shop's operations, since a second one would do it all twice.

-- The one mutation that a bulk call runs.
CREATE FUNCTION sync.push_bulk_mutation(call_id bigint, OUT kind text, OUT mutation text)
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	chosen record;
BEGIN
	SELECT c.bulk INTO kind
	FROM (SELECT o.wanted FROM sync.push o WHERE o.call_id = call.id ORDER BY o.id LIMIT 1) p CROSS JOIN LATERAL sync.push_cost(p.wanted) c;
	chosen := sync.push_selection(ARRAY(SELECT DISTINCT k FROM sync.push p CROSS JOIN LATERAL jsonb_object_keys(p.wanted) k WHERE p.call_id = call.id), false);
	mutation := CASE kind
		WHEN 'variants' THEN 'mutation($id: ID!, $variants: [ProductVariantsBulkInput!]!) { productVariantsBulkUpdate(productId: $id, variants: $variants) { product { id updatedAt } productVariants { '
			|| chosen.variant || ' } userErrors { field message code } } }'
		ELSE 'mutation($product: ProductUpdateInput!) { productUpdate(product: $product) { product { ' || chosen.product || ' } userErrors { field message } } }' END;
END
$$;

-- Its lines, in the order of the pushes' places: variables of one execution each.
CREATE FUNCTION sync.push_bulk_lines(call_id bigint) RETURNS TABLE (push_id bigint, line jsonb)
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	kind text := (SELECT m.kind FROM sync.push_bulk_mutation(call.id) m);
BEGIN
	RETURN QUERY
	WITH field AS MATERIALIZED (SELECT * FROM sync.push_rows(call.id)),
	variant AS (
		SELECT f.push_id, f.remote_id, f.remote_variant, jsonb_build_object('id', sync.shopify_gid('ProductVariant', f.remote_variant))
				   || sync.push_variant_input(jsonb_object_agg(array_to_string((sync.document_path(f.path))[3:], '.'), coalesce(f.wanted, 'null'))) AS input
		FROM field f WHERE kind = 'variants' GROUP BY f.push_id, f.remote_id, f.remote_variant),
	line AS (
		SELECT v.push_id, jsonb_build_object('id', sync.shopify_gid('Product', v.remote_id), 'variants', jsonb_agg(v.input ORDER BY v.remote_variant)) AS line
		FROM variant v GROUP BY v.push_id, v.remote_id
		UNION ALL
		SELECT f.push_id, jsonb_build_object('product', jsonb_build_object('id', sync.shopify_gid('Product', f.remote_id))
			|| sync.push_product_input(jsonb_object_agg(f.path, coalesce(f.wanted, 'null'))))
		FROM field f WHERE kind = 'product' GROUP BY f.push_id, f.remote_id)
	SELECT l.push_id, l.line FROM line l JOIN sync.push p ON p.id = l.push_id ORDER BY p.place;
END
$$;

CREATE FUNCTION sync.push_bulk_request(call_id bigint, OUT request jsonb, OUT cost numeric, OUT body jsonb)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	most constant interval := '10 minutes';
	chosen record;
BEGIN
	CASE call.step
		WHEN 'target' THEN
			PERFORM sync.push_drop_moved(call.id);
			IF sync.push_open(call.id) = '{}' THEN
				RETURN;
			END IF;
			request := sync.shopify_request(call.connection,
				'mutation($input: [StagedUploadInput!]!) { stagedUploadsCreate(input: $input) { stagedTargets { url parameters { name value } } userErrors { field message } } }',
				jsonb_build_object('input', jsonb_build_array(jsonb_build_object('resource', 'BULK_MUTATION_VARIABLES', 'filename', 'changes.jsonl', 'mimeType', 'text/jsonl',
					'httpMethod', 'POST'))));
			cost := 11;
		WHEN 'upload' THEN
			request := sync.push_bulk_upload(call.id);
		WHEN 'start' THEN
			PERFORM sync.push_drop_moved(call.id);
			IF sync.push_open(call.id) = '{}' THEN
				RETURN;
			ELSIF coalesce(call.checked_at < clock_timestamp() - most, true) THEN
				-- It waited too long for its turn: what was read is old.
				UPDATE sync.push_call c SET step = 'check', request = NULL WHERE c.id = call.id;
				SELECT r.request, r.cost INTO request, cost FROM sync.push_check_request(call.id) r;
				RETURN;
			ELSIF call.request ->> 'lines' IS DISTINCT FROM sync.push_bulk_digest(call.id) THEN
				-- Something was cancelled, or changed here, after it was uploaded.
				PERFORM sync.push_bulk_step(call.id, 'target');
				SELECT r.request, r.cost INTO request, cost FROM sync.push_bulk_request(call.id) r;
				RETURN;
			END IF;
			chosen := sync.push_bulk_mutation(call.id);
			request := sync.shopify_request(call.connection,
				'mutation($mutation: String!, $path: String!, $client: String) { bulkOperationRunMutation(mutation: $mutation, stagedUploadPath: $path, clientIdentifier: $client)'
				|| ' { bulkOperation { id status } userErrors { field message code } } }',
				jsonb_build_object('mutation', chosen.mutation, 'path', call.request #>> '{target,path}', 'client', 'product_sync-' || call.key)) || '{"once": true}';
			cost := 10;
			body := call.request;
		WHEN 'seek' THEN
			-- The answer to the start was lost.  What we started carries our upload in no field that can be asked for, so the newest one of
			-- ours since then is it: no other of our mutations is started meanwhile.
			request := sync.shopify_request(call.connection,
				'query($query: String!) { bulkOperations(first: 10, query: $query, sortKey: CREATED_AT, reverse: true) { nodes { id status createdAt type query } } }',
				jsonb_build_object('query', 'operation_type:mutation'));
			cost := 8;
		WHEN 'poll' THEN
			request := sync.shopify_request(call.connection,
				'query($id: ID!) { bulkOperation(id: $id) { id status errorCode objectCount url partialDataUrl } }',
				jsonb_build_object('id', sync.shopify_gid('BulkOperation', call.bulk_id)));
			cost := 1;
		WHEN 'get' THEN
			request := jsonb_build_object('op', 'http', 'method', 'GET', 'url', call.request ->> 'url', 'connect_timeout_ms', 15000,
				'timeout_ms', sync.interval_ms(sync.setting_value(call.connection, 'request_timeout')::interval), 'max_bytes', 256 * 1024 * 1024);
	END CASE;
END
$$;

-- What the lines of a call are made of, in short.
CREATE FUNCTION sync.push_bulk_digest(call_id bigint) RETURNS text
LANGUAGE sql STABLE SET search_path = '' AS $$
	SELECT md5(string_agg(md5(p.id || p.wanted::text), '' ORDER BY p.place)) FROM sync.push p WHERE p.call_id = push_bulk_digest.call_id AND p.ended_at IS NULL
$$;

-- The upload, as a form: the parameters that Shopify gave, the file last.
CREATE FUNCTION sync.push_bulk_upload(call_id bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	boundary text := 'product_sync-' || replace(call.key::text, '-', '');
	parts text;
	lines record;
BEGIN
	SELECT string_agg(l.line::text, E'\n' ORDER BY l.no) AS content, array_agg(l.push_id ORDER BY l.no) AS ids INTO lines
	FROM (SELECT o.push_id, o.line, row_number() OVER () AS no FROM sync.push_bulk_lines(call.id) o) l;
	UPDATE sync.push p SET place = u.no FROM unnest(lines.ids) WITH ORDINALITY AS u (id, no) WHERE p.id = u.id AND p.place IS DISTINCT FROM u.no;
	PERFORM sync.push_bulk_step(call.id, 'upload', jsonb_build_object('lines', sync.push_bulk_digest(call.id)));
	SELECT string_agg(format(E'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n', boundary, p.value ->> 'name', p.value ->> 'value'), '' ORDER BY p.no) INTO parts
	FROM jsonb_array_elements(call.request #> '{target,parameters}') WITH ORDINALITY AS p (value, no);
	RETURN jsonb_build_object('op', 'http', 'method', 'POST', 'url', call.request #>> '{target,url}',
		'headers', jsonb_build_object('Content-Type', 'multipart/form-data; boundary=' || boundary),
		'body', parts || format(E'--%s\r\nContent-Disposition: form-data; name="file"; filename="changes.jsonl"\r\nContent-Type: text/jsonl\r\n\r\n', boundary)
			|| lines.content || format(E'\r\n--%s--\r\n', boundary),
		'connect_timeout_ms', 15000, 'timeout_ms', sync.interval_ms(sync.setting_value(call.connection, 'request_timeout')::interval), 'max_bytes', 1024 * 1024);
END
$$;

CREATE FUNCTION sync.push_bulk_step(call_id bigint, step text, changes jsonb DEFAULT '{}') RETURNS void
LANGUAGE sql SET search_path = '' AS $$
	UPDATE sync.push_call c SET step = push_bulk_step.step, request = coalesce(c.request, '{}') || changes WHERE c.id = call_id
$$;

CREATE FUNCTION sync.push_bulk_response(call_id bigint, data jsonb, OUT outcome text, OUT retry_in interval, OUT error jsonb)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	payload jsonb;
	found record;
	operation jsonb;
	ids bigint[] := sync.push_open(call.id);
BEGIN
	outcome := 'defer';
	retry_in := interval '0';
	payload := COALESCE(data -> 'stagedUploadsCreate', data -> 'bulkOperationRunMutation');
	SELECT e.verdict, e.error INTO found FROM sync.shopify_user_error(payload) e;
	IF found.error IS NOT NULL THEN
		error := found.error;
		IF call.step = 'start' THEN
			PERFORM sync.push_forget(ids);
			PERFORM sync.push_move(ids, 'retry', call.id, error ->> 'message', error);
		END IF;
		IF error ->> 'signal' IN ('NO_SUCH_FILE', 'INVALID_STAGED_UPLOAD_FILE') THEN
			-- The upload was lost, or grew old: once more.
			PERFORM sync.push_bulk_step(call.id, 'target');
			outcome := 'retry';
		ELSIF found.verdict <> 'fail' THEN
			-- As many operations as the shop allows run already: later, without an attempt.
			outcome := 'defer';
			retry_in := least(interval '1 minute', greatest(interval '5 seconds', (clock_timestamp() - call.checked_at) / 4));
		ELSE
			outcome := 'fail';
		END IF;
		RETURN;
	END IF;
	CASE call.step
		WHEN 'target' THEN
			PERFORM sync.push_bulk_step(call.id, 'upload', jsonb_build_object('target', jsonb_build_object('url', payload #> '{stagedTargets,0,url}',
				'parameters', payload #> '{stagedTargets,0,parameters}', 'path', (
					SELECT p -> 'value' FROM jsonb_array_elements(payload #> '{stagedTargets,0,parameters}') p WHERE p ->> 'name' = 'key'))));
		WHEN 'start' THEN
			operation := payload -> 'bulkOperation';
			UPDATE sync.push_call c SET bulk_id = sync.shopify_number(operation ->> 'id'), step = 'poll' WHERE c.id = call.id;
			retry_in := interval '0.3 seconds';
		WHEN 'seek' THEN
			SELECT n INTO operation FROM jsonb_array_elements(data #> '{bulkOperations,nodes}') n
			WHERE sync.shopify_time(n ->> 'createdAt') >= date_trunc('second', call.sent_at) - interval '5 seconds' AND n ->> 'type' = 'MUTATION'
			  AND NOT EXISTS (SELECT FROM sync.push_call o WHERE o.connection = call.connection AND o.bulk_id = sync.shopify_number(n ->> 'id'))
			ORDER BY sync.shopify_time(n ->> 'createdAt') LIMIT 1;
			IF operation IS NULL THEN
				-- It was never started.  What the shop has is read again before the next try.
				UPDATE sync.push_call c SET step = 'check', request = NULL, checked_at = NULL, sent_at = NULL WHERE c.id = call.id;
			ELSE
				UPDATE sync.push_call c SET bulk_id = sync.shopify_number(operation ->> 'id'), step = 'poll' WHERE c.id = call.id;
			END IF;
		WHEN 'poll' THEN
			operation := data -> 'bulkOperation';
			IF operation ->> 'status' IN ('CREATED', 'RUNNING', 'CANCELING') THEN
				retry_in := least(interval '5 seconds', greatest(interval '0.3 seconds', (clock_timestamp() - call.sent_at) / 4));
			ELSIF coalesce(operation ->> 'url', operation ->> 'partialDataUrl') IS NOT NULL THEN
				PERFORM sync.push_bulk_step(call.id, 'get', jsonb_build_object('url', coalesce(operation ->> 'url', operation ->> 'partialDataUrl'), 'status', operation -> 'status'));
			ELSE
				-- It ended without a result: whatever it did is read.
				PERFORM sync.push_bulk_rest(call.id, format('the bulk operation ended as %s', operation ->> 'status'));
				outcome := CASE WHEN sync.push_open(call.id) = '{}' THEN 'done' ELSE 'retry' END;
				error := jsonb_build_object('class', 'network', 'message', format('the bulk operation ended as %s without a result', operation ->> 'status'));
			END IF;
	END CASE;
END
$$;

-- What is left of a bulk call without a line in its result: read again, then sent where it is not there.
CREATE FUNCTION sync.push_bulk_rest(call_id bigint, why text) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	ids bigint[] := sync.push_open(call.id);
BEGIN
	IF ids = '{}' THEN
		PERFORM sync.push_call_finish(call.id);
	ELSE
		PERFORM sync.push_move(ids, 'retry', call.id, why);
		UPDATE sync.push_call c SET step = 'check', request = NULL, checked_at = NULL, sent_at = NULL, bulk_id = NULL WHERE c.id = call.id;
	END IF;
END
$$;

-- The upload's answer, and the result.
CREATE FUNCTION sync.push_file_response(call_id bigint, result jsonb, body bytea, OUT outcome text, OUT retry_in interval, OUT error jsonb)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	status integer := (result ->> 'status')::integer;
BEGIN
	IF call.finished_at IS NOT NULL OR call.id IS NULL THEN
		outcome := 'done';
	ELSIF NOT coalesce((result ->> 'ok')::boolean, false) OR status >= 300 THEN
		error := jsonb_build_object('class', coalesce(result ->> 'class', 'network'), 'status', status, 'message',
			format('%s failed: %s', CASE call.step WHEN 'upload' THEN 'the upload for a bulk mutation' ELSE 'the download of a bulk mutation''s result' END, result ->> 'message'));
		outcome := 'retry';
		-- An address that has grown old is asked for again.
		PERFORM sync.push_bulk_step(call.id, CASE call.step WHEN 'upload' THEN 'target' ELSE 'poll' END) WHERE status BETWEEN 400 AND 499;
	ELSIF call.step = 'upload' THEN
		PERFORM sync.push_bulk_step(call.id, 'start');
		outcome := 'defer';
		retry_in := interval '0';
	ELSE
		outcome := sync.push_bulk_load(call.id, body);
		error := CASE outcome WHEN 'retry' THEN jsonb_build_object('class', 'network', 'message', format('the bulk operation ended as %s; the rest of it goes again', call.request ->> 'status')) END;
	END IF;
END
$$;

-- Takes each line of a result for what it says.  Returns what becomes of the job: done, or retry where lines are missing.
CREATE FUNCTION sync.push_bulk_load(call_id bigint, body bytea) RETURNS text
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	call sync.push_call := (SELECT c FROM sync.push_call c WHERE c.id = call_id);
	batch record;
	mistake record;
BEGIN
	FOR batch IN
		WITH line AS MATERIALIZED (
			SELECT sync.shopify_json(convert_to(l, 'UTF8')) AS value FROM regexp_split_to_table(convert_from(body, 'UTF8'), E'\n') l WHERE l <> ''),
		answer AS MATERIALIZED (
			SELECT p.id, a.key, CASE WHEN jsonb_typeof(l.value -> 'errors') = 'array' AND l.value -> 'errors' <> '[]' AND nullif(a.value, 'null') IS NULL
				THEN jsonb_build_object('userErrors', jsonb_build_array(jsonb_build_object('message', l.value #> '{errors,0,message}', 'code', l.value #> '{errors,0,extensions,code}')))
				ELSE a.value END AS payload
			FROM line l
			JOIN sync.push p ON p.call_id = call.id AND p.ended_at IS NULL AND p.place = (l.value ->> '__lineNumber')::integer + 1
			CROSS JOIN LATERAL jsonb_each(CASE jsonb_typeof(l.value -> 'data') WHEN 'object' THEN l.value -> 'data' ELSE '{"none": null}' END) a
			WHERE jsonb_typeof(l.value) = 'object'
			  -- Of another product it would be another operation's result.
			  AND coalesce(a.value #>> '{product,id}' = sync.shopify_gid('Product', p.remote_id), true)),
		judged AS MATERIALIZED (SELECT a.id, p.* FROM answer a CROSS JOIN LATERAL sync.push_payload(a.payload) p)
		SELECT array_agg(j.id ORDER BY j.id) AS ids, jsonb_object_agg(j.id, jsonb_build_array(j.payload_out)) AS payloads
		FROM (SELECT o.*, (row_number() OVER (ORDER BY o.id) - 1) / 500 AS no FROM judged o WHERE o.good) j GROUP BY j.no
		UNION ALL
		SELECT NULL, jsonb_agg(jsonb_build_object('id', j.id, 'message', j.message, 'code', j.code, 'verdict', j.verdict)) FROM judged j WHERE NOT j.good
	LOOP
		IF batch.ids IS NOT NULL THEN
			PERFORM sync.push_agreed(call.id, batch.ids, batch.payloads);
			PERFORM sync.push_end(batch.ids, 'synced');
		ELSE
			FOR mistake IN SELECT (m ->> 'id')::bigint AS id, m ->> 'message' AS message, m ->> 'code' AS code FROM jsonb_array_elements(batch.payloads) m
						   WHERE m ->> 'verdict' = 'fail' ORDER BY 1 LOOP
				PERFORM sync.push_end(ARRAY[mistake.id], 'failed', format('%s: Shopify refuses it: %s', sync.push_words(mistake.id), mistake.message),
					jsonb_build_object('class', 'validation', 'signal', mistake.code));
			END LOOP;
		END IF;
	END LOOP;
	PERFORM sync.push_bulk_rest(call.id, 'the bulk operation''s result does not tell of it');
	RETURN CASE WHEN sync.push_open(call.id) = '{}' THEN 'done' ELSE 'retry' END;
END
$$;
