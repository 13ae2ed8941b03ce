-- The push: approved fields and levels of stock on their way to a shop.
--
--		queued -> checking -> sent -> synced            also stale, failed
--		queued -> cancelled                            before it was sent
--		checking, sent -> retry -> checking, sent      tried again
--
-- A push is the fields of one product that one entry approved, or one level of stock.  sync.push_move() is the one place where its state
-- changes, and notes each move.  Calls take pushes together (83_push_plan.sql); what a call will do is committed before it goes out, so
-- whoever comes after a crash knows what may have happened: stock is sent again under the same key, anything else is read first.
--
-- What a shop has is compared with what it had when the change was approved.  Where it moved on nothing is sent: what a person approved goes
-- back to review, what went by itself is decided anew.  An entry ends when all its pushes have.

CREATE FUNCTION sync.install_part_82_push() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	INSERT INTO sync.push_transition (from_state, to_state, meaning) VALUES
		('queued', 'checking', 'taken into a call'),
		('queued', 'cancelled', 'overtaken or cancelled before it was sent'),
		('queued', 'stale', 'what was approved is no longer what is here'),
		('queued', 'failed', 'it cannot be sent'),
		('checking', 'queued', 'its call was dissolved before it was sent'),
		('checking', 'sent', 'its call goes out'),
		('checking', 'synced', 'the shop has it already'),
		('checking', 'stale', 'the shop has something else than when it was approved'),
		('checking', 'failed', 'it cannot be sent'),
		('checking', 'retry', 'the shop could not be read'),
		('checking', 'cancelled', 'changed here meanwhile, or cancelled'),
		('sent', 'synced', 'the shop has taken it'),
		('sent', 'stale', 'the shop compared, and had something else'),
		('sent', 'failed', 'the shop refused it'),
		('sent', 'retry', 'no answer, or one that says later'),
		('sent', 'queued', 'its call was refused for another item in it'),
		('retry', 'checking', 'tried again'),
		('retry', 'sent', 'tried again'),
		('retry', 'queued', 'its call was given up'),
		('retry', 'failed', 'tried too often'),
		('retry', 'synced', 'it was there all the same'),
		('retry', 'stale', 'the shop has something else by now')
	ON CONFLICT DO NOTHING;
END
$$;

-- Moves pushes to a state, each with why.  Those that have no place in their call get one, in the order of ids; those that end are taken out of
-- their call's way.
CREATE FUNCTION sync.push_move(ids bigint[], to_state text, call_id bigint DEFAULT NULL, note text DEFAULT NULL, error jsonb DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	strange record;
	target constant sync.push_state := to_state::sync.push_state;
BEGIN
	IF coalesce(ids, '{}') = '{}' THEN
		RETURN;
	END IF;
	PERFORM FROM sync.push p WHERE p.id = ANY (ids) ORDER BY p.id FOR UPDATE;
	SELECT p.id, p.state INTO strange FROM sync.push p
	WHERE p.id = ANY (ids) AND p.state <> target
	  AND NOT EXISTS (SELECT FROM sync.push_transition t WHERE t.from_state = p.state AND t.to_state = target) LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'push % cannot go from % to %', strange.id, strange.state, to_state
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'sync.push_transition lists the moves of a push.';
	END IF;
	INSERT INTO sync.push_event (push_id, from_state, to_state, call_id, note)
	SELECT p.id, p.state, target, coalesce(push_move.call_id, p.call_id), push_move.note
	FROM sync.push p WHERE p.id = ANY (ids) AND p.state <> target ORDER BY p.id;
	UPDATE sync.push p
	SET state = target, error = coalesce(push_move.error, p.error),
		attempts = p.attempts + (target = 'sent')::integer,
		call_id = CASE WHEN target IN ('queued', 'cancelled') THEN NULL ELSE coalesce(push_move.call_id, p.call_id) END,
		place = CASE WHEN target NOT IN ('queued', 'cancelled') THEN coalesce(p.place, u.no) END,
		ended_at = CASE WHEN target IN ('synced', 'stale', 'failed', 'cancelled') THEN clock_timestamp() END
	FROM unnest(ids) WITH ORDINALITY AS u (id, no)
	WHERE p.id = u.id AND p.state <> target;
END
$$;
COMMENT ON FUNCTION sync.push_move(bigint[], text, bigint, text, jsonb) IS
'Moves pushes to a state: the only place that does; those that are there already stay. Error 55000 where sync.push_transition has no such move.';

-- From approval to the queue -----------------------------------------------------------------------------------------------------

-- Approved fields of entries, as they stand here now.  why_not: a reason that they cannot be sent; final: for good.
CREATE FUNCTION sync.push_approved(entry_ids bigint[]) RETURNS TABLE (staging_id bigint, path text, old_value jsonb, new_value jsonb,
	product_id bigint, remote_id bigint, variant_id bigint, location_id bigint, agreed boolean, why_not text, final boolean)
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	product_ids bigint[] := ARRAY(SELECT DISTINCT s.product_id FROM sync.staging s WHERE s.id = ANY (entry_ids));
	shop text := (SELECT s.connection FROM sync.staging s WHERE s.id = ANY (entry_ids) LIMIT 1);
	frozen text[] := (SELECT array_agg(l.product_id || ' ' || l.pattern) FROM sync.locked(product_ids) l WHERE l.kind = 'freeze');
BEGIN
	RETURN QUERY
	WITH document AS MATERIALIZED (SELECT * FROM sync.product_documents(product_ids)),
	field AS MATERIALIZED (
		SELECT s.id, s.connection, s.product_id, f.path, f.old_value, f.new_value, s.flags,
			   substring(f.path FROM '^(variants\[.*\])\.stock\[[0-9]+\]$') AS stock_of, substring(f.path FROM '\]\.stock\[([0-9]+)\]$')::bigint AS location_id
		FROM sync.staging s JOIN sync.entry_fields(entry_ids) f ON f.staging_id = s.id AND f.decision = 'approved'
		WHERE s.id = ANY (entry_ids) AND s.kind = 'update'),
	present AS (
		SELECT f.*, l.id AS listing_id, l.remote_id, v.id AS variant_id, n.base, n.local, d.document, m.gone_since, v.currency, h.currency AS shop_currency,
			   CASE WHEN f.location_id IS NULL THEN sync.document_get(d.document, f.path) ELSE to_jsonb(n.local) END AS here,
			   (f.product_id, f.path) IN (SELECT c.product_id, c.path FROM sync.conflict c
										  WHERE c.product_id = ANY (product_ids) AND c.connection = shop AND c.state IN ('open', 'resolved')) AS in_conflict,
			   frozen IS NOT NULL AND f.product_id || ' ' || f.path LIKE ANY (frozen) AS frozen
		FROM field f
		LEFT JOIN document d ON d.product_id = f.product_id
		LEFT JOIN sync.product_listing l ON l.connection = f.connection AND l.product_id = f.product_id
		LEFT JOIN sync.shopify_product m ON m.connection = f.connection AND m.remote_id = l.remote_id
		LEFT JOIN sync.shopify_shop h ON h.connection = f.connection
		LEFT JOIN sync.variant v ON v.product_id = f.product_id AND f.path LIKE 'variants[%' AND v.sku = (sync.document_path(coalesce(f.stock_of, f.path)))[2]
		LEFT JOIN sync.stock_level n ON n.connection = f.connection AND n.variant_id = v.id AND n.location_id = f.location_id)
	SELECT p.id, p.path, p.old_value, p.new_value, p.product_id, p.remote_id, p.variant_id, p.location_id,
		   p.location_id IS NOT NULL AND p.base IS NOT DISTINCT FROM p.local, substr(w.why_not, 2), coalesce(w.why_not LIKE '!%', false)
	FROM present p
	-- What begins with an exclamation mark holds for good.
	CROSS JOIN LATERAL (SELECT CASE
		WHEN p.document IS NULL THEN format('!product %s is no longer in the catalogue', p.product_id)
		WHEN p.listing_id IS NULL THEN '!the product is linked to none of the shop any more; stage it anew'
		WHEN p.gone_since IS NOT NULL THEN '!the product is no longer in the shop; archive it here, or stage it to be created again'
		-- It may have become so after it was staged.
		WHEN p.path ~ '\.(price|compare_at_price|cost)$' AND p.new_value IS NOT NULL AND p.currency <> p.shop_currency
			OR p.new_value IS NOT NULL AND sync.is_variant_path(p.path) AND p.currency <> p.shop_currency
			THEN format('!%s is in %s, but the shop sells in %s; set the amount and currency of the variant, or reject this', p.path, p.currency, p.shop_currency)
		-- The shop would not compare it.
		WHEN p.location_id IS NOT NULL AND p.old_value IS NULL THEN format(' %s: the shop''s level is not agreed on yet', p.path)
		WHEN p.location_id IS NOT NULL AND p.new_value::numeric < 0
			THEN format('!a stock of %s cannot be sent to a shop; correct it in the ERP, or reject this', p.new_value)
		WHEN p.path ~ '\.(price|compare_at_price|cost)$' AND jsonb_typeof(p.new_value) = 'number' AND p.new_value::numeric < 0
			THEN format('!%s is below 0; correct it, or reject this', p.path)
		WHEN p.path ~ '\.price$' AND p.new_value IS NULL THEN format('!%s is empty, and a shop sells nothing without a price', p.path)
		WHEN CASE WHEN p.location_id IS NULL THEN NOT sync.value_equal(p.path, p.here, p.new_value) ELSE p.here IS DISTINCT FROM p.new_value END
			THEN format(' %s changed here after this was staged, from %s to %s', p.path, left(coalesce(p.new_value::text, 'nothing'), 100), left(coalesce(p.here::text, 'nothing'), 100))
		WHEN p.in_conflict THEN format(' %s was changed in the shop too, and that conflict is not decided yet', p.path)
		WHEN p.frozen THEN format(' %s is frozen, since it went back and forth', p.path) END AS why_not) w;
END
$$;

CREATE TYPE sync.push_approved_field AS (staging_id bigint, path text, old_value jsonb, new_value jsonb, product_id bigint, remote_id bigint, variant_id bigint,
	location_id bigint, agreed boolean, why_not text, final boolean);

-- Hands a run's approved entries to the push; the counterpart of sync.apply_run() for runs that write to a shop.
CREATE FUNCTION sync.push_run(run_id bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	shop text := (SELECT r.connection FROM sync.run r WHERE r.id = push_run.run_id);
	ids bigint[] := sync.apply_take(push_run.run_id, 2000);
	stale bigint[];
	reasons text[];
	failed bigint[];
	why text[];
	good bigint[];
	approved sync.push_approved_field[] := ARRAY(SELECT ROW(p.*)::sync.push_approved_field FROM sync.push_approved(ids) p);
	queued bigint;
BEGIN
	SELECT array_agg(a.staging_id ORDER BY a.staging_id) FILTER (WHERE NOT a.final), array_agg(a.reason ORDER BY a.staging_id) FILTER (WHERE NOT a.final),
		   array_agg(a.staging_id ORDER BY a.staging_id) FILTER (WHERE a.final), array_agg(a.reason ORDER BY a.staging_id) FILTER (WHERE a.final)
	INTO stale, reasons, failed, why
	FROM (SELECT p.staging_id, bool_or(p.final) AS final, string_agg(p.why_not, '; ' ORDER BY p.final DESC, p.path) AS reason
		  FROM unnest(approved) p WHERE p.why_not IS NOT NULL GROUP BY p.staging_id) a;
	UPDATE sync.staging s SET state = 'failed', error = f.reason FROM unnest(failed, why) AS f (id, reason) WHERE s.id = f.id;
	PERFORM sync.push_send_back(stale, reasons);
	good := ARRAY(SELECT i FROM unnest(ids) i WHERE i <> ALL (coalesce(stale || failed, stale, failed, '{}')));
	approved := ARRAY(SELECT p FROM unnest(approved) p WHERE p.staging_id = ANY (good));
	WITH pushed AS (
		INSERT INTO sync.push (connection, run_id, staging_id, part, product_id, remote_id, variant_id, location_id, class, wanted, expected)
		SELECT shop, push_run.run_id, p.staging_id, 'stock', p.product_id, p.remote_id, p.variant_id, p.location_id,
			   -- What is less than the shop sells is urgent: it may be sold twice.
			   CASE WHEN p.new_value::numeric < p.old_value::numeric THEN 1 ELSE 2 END,
			   jsonb_build_object(p.path, p.new_value), jsonb_build_object(p.path, p.old_value)
		FROM unnest(approved) p WHERE p.location_id IS NOT NULL AND NOT p.agreed
		UNION ALL
		SELECT shop, push_run.run_id, p.staging_id, 'edit', min(p.product_id), min(p.remote_id), NULL, NULL,
			   CASE WHEN bool_or(p.path ~ '\.price$') THEN 2 ELSE 3 END,
			   jsonb_object_agg(p.path, p.new_value), jsonb_object_agg(p.path, p.old_value)
		FROM unnest(approved) p WHERE p.location_id IS NULL GROUP BY p.staging_id
		UNION ALL
		SELECT shop, push_run.run_id, s.id, 'create', s.product_id, NULL, NULL, NULL, 3, jsonb_build_object('document', s.document), '{}'
		FROM sync.staging s WHERE s.id = ANY (good) AND s.kind = 'create'
		ORDER BY 3, 4
		RETURNING id, staging_id),
	event AS (INSERT INTO sync.push_event (push_id, to_state, note) SELECT p.id, 'queued', 'approved' FROM pushed p ORDER BY p.id),
	sending AS (
		UPDATE sync.staging s SET state = 'sending' WHERE s.id IN (SELECT p.staging_id FROM pushed p))
	SELECT count(*) INTO queued FROM pushed;
	-- Those whose fields were all agreed on meanwhile have nothing left to do.
	UPDATE sync.staging s SET state = 'applied', applied_at = now()
	WHERE s.id = ANY (good) AND s.id NOT IN (SELECT p.staging_id FROM sync.push p WHERE p.staging_id = ANY (good) AND p.ended_at IS NULL);
	IF queued > 0 THEN
		PERFORM sync.push_plan_wanted(shop);
	END IF;
	-- Sending takes as long as the shop's bucket makes it: what changes meanwhile does not wait for that.
	UPDATE sync.run r SET context = r.context || '{"sending": true}' WHERE r.id = push_run.run_id AND NOT r.context ? 'sending';
	PERFORM sync.notify_review(push_run.run_id, cardinality(stale)) WHERE EXISTS (
		SELECT FROM sync.staging s WHERE s.id = ANY (stale) AND s.state = 'open' AND s.decision = 'pending');
	IF EXISTS (SELECT FROM sync.staging s WHERE s.run_id = push_run.run_id AND s.state = 'open' AND s.decision = 'approved') THEN
		PERFORM sync.job_enqueue('apply_batch', push_run.run_id,
			run_at => CASE WHEN cardinality(ids) > 0 THEN now() ELSE clock_timestamp() + interval '1 second' END);
	END IF;
	RETURN jsonb_build_object('done', 0, 'queued', queued, 'failed', coalesce(cardinality(failed), 0), 'stale', coalesce(cardinality(stale), 0));
END
$$;

-- Entries that cannot go on as they were approved: a person's go back to review with what the shop has and what is here now, those that
-- were approved by themselves are staged anew.
CREATE FUNCTION sync.push_send_back(entry_ids bigint[], reasons text[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	mine bigint[];
	shop text;
BEGIN
	IF coalesce(entry_ids, '{}') = '{}' THEN
		RETURN;
	END IF;
	UPDATE sync.staging s SET state = 'superseded', error = b.reason
	FROM unnest(entry_ids, reasons) AS b (id, reason) WHERE s.id = b.id AND s.decided_how = 'auto';
	mine := ARRAY(SELECT s.id FROM sync.staging s WHERE s.id = ANY (entry_ids) AND s.decided_how IS DISTINCT FROM 'auto');
	UPDATE sync.staging_field f
	SET old_value = CASE WHEN n.variant_id IS NULL THEN sync.document_get(w.document, f.path) ELSE to_jsonb(n.base) END,
		new_value = CASE WHEN n.variant_id IS NULL THEN sync.document_get(d.document, f.path) ELSE to_jsonb(n.local) END,
		base_version = d.version, decision = 'pending', decided_by = NULL, decided_at = NULL, decided_how = NULL
	FROM sync.staging s
	JOIN sync.product_documents(ARRAY(SELECT o.product_id FROM sync.staging o WHERE o.id = ANY (mine))) d ON d.product_id = s.product_id
	JOIN LATERAL (SELECT sync.shop_document(s.connection, s.product_id) AS document) w ON true
	JOIN sync.staging_field o ON o.staging_id = s.id
	LEFT JOIN sync.stock_level n ON n.connection = s.connection AND o.path ~ '\]\.stock\[[0-9]+\]$'
		AND n.location_id = substring(o.path FROM '\]\.stock\[([0-9]+)\]$')::bigint
		AND n.variant_id = (SELECT v.id FROM sync.variant v WHERE v.product_id = s.product_id AND sync.variant_path(v.sku) = substring(o.path FROM '^(.*)\.stock\['))
	WHERE s.id = ANY (mine) AND f.id = o.id AND f.decision = 'approved'
	  AND NOT EXISTS (SELECT FROM sync.push p WHERE p.staging_id = s.id AND p.state = 'synced' AND p.wanted ? f.path);
	UPDATE sync.staging s
	SET decision = 'pending', state = 'open', decided_by = NULL, decided_at = NULL, decided_how = NULL, reason = b.reason || '; decide again',
		flags = array_append(array_remove(s.flags, 'stale'), 'stale'),
		base_version = coalesce((SELECT p.version FROM sync.product p WHERE p.id = s.product_id), s.base_version),
		document = CASE s.kind WHEN 'create' THEN (SELECT d.document FROM sync.product_documents(ARRAY[s.product_id]) d) ELSE s.document END
	FROM unnest(entry_ids, reasons) AS b (id, reason)
	WHERE s.id = b.id AND s.id = ANY (mine);
	FOR shop IN SELECT DISTINCT s.connection FROM sync.staging s WHERE s.id = ANY (entry_ids) AND s.state = 'superseded' ORDER BY 1 LOOP
		PERFORM sync.shop_up_wanted(shop);
	END LOOP;
END
$$;

-- A product as the mirror has it, with our SKUs.
CREATE FUNCTION sync.shop_document(connection text, product_id bigint) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
	SELECT p.shop FROM sync.merge_products(shop_document.connection, ARRAY(
		SELECT m.id FROM sync.product_listing l JOIN sync.shopify_product m ON m.connection = l.connection AND m.remote_id = l.remote_id
		WHERE l.connection = shop_document.connection AND l.product_id = shop_document.product_id)) p
$$;

-- Ends -----------------------------------------------------------------------------------------------------------------------------

-- Pushes that waited, and whose value here has moved on since: they are not sent, and what is here now is staged in their place.  Only what was
-- approved by itself: what a person approved is looked at when its turn comes.  Returns how many.
CREATE FUNCTION sync.push_overtaken(connection text, product_ids bigint[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	ids bigint[];
BEGIN
	SELECT array_agg(w.id) INTO ids
	FROM (SELECT p.id FROM sync.push p JOIN sync.staging s ON s.id = p.staging_id
		  WHERE p.connection = push_overtaken.connection AND p.product_id = ANY (push_overtaken.product_ids) AND p.ended_at IS NULL AND p.state = 'queued'
			AND p.part = 'stock' AND s.decided_how = 'auto'
			AND EXISTS (SELECT FROM sync.stock_level n WHERE n.connection = p.connection AND n.variant_id = p.variant_id AND n.location_id = p.location_id
						AND NOT p.wanted @> jsonb_build_object(sync.json_key(p.wanted), to_jsonb(n.local)))
		  ORDER BY p.id FOR UPDATE OF p SKIP LOCKED) w;
	PERFORM sync.push_move(ids, 'cancelled', note => 'changed here before it was sent');
	PERFORM sync.push_settle(ids);
	RETURN coalesce(cardinality(ids), 0);
END
$$;

-- The only key of an object.
CREATE FUNCTION sync.json_key(object jsonb) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$ SELECT k FROM jsonb_object_keys(object) k LIMIT 1 $$;

-- Entries of these pushes whose pushes have all ended become applied, failed, go back to review, or are staged anew; runs that have nothing
-- left to do end.
CREATE FUNCTION sync.push_settle(push_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	ids bigint[];
	bad bigint[];
	entry record;
	run bigint;
	stale bigint[] := '{}';
	reasons text[] := '{}';
	shop text;
BEGIN
	ids := ARRAY(SELECT DISTINCT p.staging_id FROM sync.push p WHERE p.id = ANY (push_ids) AND p.ended_at IS NOT NULL);
	-- Locked before it is looked whether all have ended: of two that end the last two pushes of an entry at one time, the second sees both.
	PERFORM FROM sync.staging s WHERE s.id = ANY (ids) AND s.state::text = 'sending' ORDER BY s.id FOR UPDATE;
	ids := ARRAY(SELECT p.staging_id FROM sync.push p WHERE p.staging_id = ANY (ids) GROUP BY p.staging_id HAVING bool_and(p.ended_at IS NOT NULL));
	ids := ARRAY(SELECT s.id FROM sync.staging s WHERE s.id = ANY (ids) AND s.state::text = 'sending' ORDER BY s.id FOR UPDATE);
	IF ids = '{}' THEN
		RETURN;
	END IF;
	-- An entry that was decided again has older pushes too.
	bad := ARRAY(SELECT DISTINCT p.staging_id FROM sync.push p JOIN sync.staging s ON s.id = p.staging_id
				 WHERE p.staging_id = ANY (ids) AND p.state <> 'synced' AND p.created_at >= coalesce(s.decided_at, s.created_at));
	UPDATE sync.staging s SET state = 'applied', applied_at = now(), error = NULL WHERE s.id = ANY (ids) AND s.id <> ALL (bad);
	FOR entry IN
		SELECT s.id, s.connection, bool_or(p.state = 'failed') AS failed, bool_or(p.state = 'stale') AS stale,
			   string_agg(DISTINCT p.error ->> 'message', '; ') AS message, EXISTS (SELECT FROM sync.run r WHERE r.id = s.run_id AND r.state = 'cancelled') AS cancelled
		FROM sync.staging s JOIN sync.push p ON p.staging_id = s.id AND p.created_at >= coalesce(s.decided_at, s.created_at)
		WHERE s.id = ANY (bad) GROUP BY s.id ORDER BY s.id
	LOOP
		IF entry.failed THEN
			UPDATE sync.staging s SET state = 'failed', error = entry.message WHERE s.id = entry.id;
		ELSIF entry.cancelled THEN
			-- Nobody works on its run any more, so it could not be approved again.
			UPDATE sync.staging s SET state = 'superseded', error = coalesce(entry.message, 'its run was cancelled') WHERE s.id = entry.id;
		ELSIF entry.stale THEN
			stale := stale || entry.id;
			reasons := reasons || coalesce(entry.message, 'the shop changed it after it was approved');
		ELSE
			UPDATE sync.staging s SET state = 'superseded', error = 'changed here before it was sent' WHERE s.id = entry.id;
			PERFORM sync.shop_up_wanted(entry.connection);
		END IF;
	END LOOP;
	PERFORM sync.push_send_back(stale, reasons);
	FOR run, shop IN SELECT s.run_id, min(s.connection) FROM sync.staging s WHERE s.id = ANY (ids) GROUP BY s.run_id ORDER BY s.run_id LOOP
		PERFORM FROM sync.run r WHERE r.id = run FOR NO KEY UPDATE;
		UPDATE sync.run_phase p SET done = p.done + (SELECT count(*) FROM sync.staging s WHERE s.id = ANY (ids) AND s.run_id = run)
		WHERE p.run_id = run AND p.ended_at IS NULL;
		PERFORM sync.notify_review(run, (SELECT count(*) FROM sync.staging s WHERE s.id = ANY (stale) AND s.run_id = run AND s.state = 'open'))
		WHERE EXISTS (SELECT FROM sync.staging s WHERE s.id = ANY (stale) AND s.run_id = run AND s.state = 'open');
		PERFORM sync.run_advance(run);
	END LOOP;
END
$$;

-- What a cancelled run has not sent yet is not sent.
CREATE FUNCTION sync.push_cancel(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = 'force_custom_plan' AS $$
#variable_conflict use_column
DECLARE
	ids bigint[];
BEGIN
	SELECT array_agg(w.id) INTO ids
	-- With their entries, so that nobody settles one of these at the same time; what somebody has hold of is dropped by its call (push_drop_cancelled).
	FROM (SELECT p.id FROM sync.push p JOIN sync.staging s ON s.id = p.staging_id
		  WHERE p.run_id = push_cancel.run_id AND p.state IN ('queued', 'checking') ORDER BY p.id FOR UPDATE OF p, s SKIP LOCKED) w;
	PERFORM sync.push_move(ids, 'cancelled', note => 'its run was cancelled');
	UPDATE sync.staging s SET state = 'superseded', error = 'its run was cancelled'
	WHERE s.id IN (SELECT p.staging_id FROM sync.push p WHERE p.id = ANY (ids)) AND s.state::text = 'sending'
	  AND NOT EXISTS (SELECT FROM sync.push p WHERE p.staging_id = s.id AND p.ended_at IS NULL);
END
$$;
