-- Approval: people set decision (and match_correct, see 73_match_label.sql) in sync.staging or sync.staging_field, in a table editor, by SQL or through sync_approve().
--
-- The triggers are ordinary objects, so decisions can be made while the extension is away.  They hold for everybody but sync_worker, the
-- machine itself: it owns the tables, and its code writes decisions that follow from others (fields of an entry, approval by itself).
-- Checks and the record of who decided are made row by row, what follows from a decision once a statement.
--
--		entry to		its fields
--		approved		pending ones are approved; rejected ones stay rejected
--		rejected		all are rejected
--		pending			all are pending again
--
-- A field's decision makes its entry's: pending while any field is, else approved if any field is, else rejected.

CREATE FUNCTION sync.install_part_74_approval() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $install$
BEGIN
	INSERT INTO sync.setting (name, value, unit, description) VALUES
		('apply_on_approval', 'true', 'boolean', 'Whether approved entries are applied at once; else by sync_apply().')
	ON CONFLICT (name) DO NOTHING;

	-- Who decides, and how.  A JWT is believed only where the session's user is PostgREST's: anybody can set the claims.
	CREATE OR REPLACE FUNCTION sync.decision_by(OUT decided_by text, OUT decided_how text)
	LANGUAGE plpgsql STABLE SET search_path = '' AS $$
	BEGIN
		IF session_user = 'authenticator' THEN
			decided_by := nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub';
			decided_how := 'jwt';
		END IF;
		IF decided_by IS NULL OR decided_by = '' THEN
			decided_by := session_user;
			decided_how := 'sql:' || current_setting('application_name');
		END IF;
		-- Set by sync.decide_where(): nobody looked at each.
		IF current_setting('sync.decided_by_filter', true) = 'true' THEN
			decided_how := decided_how || ', by filter';
		END IF;
	END
	$$;
	REVOKE ALL ON FUNCTION sync.decision_by() FROM PUBLIC;
	GRANT EXECUTE ON FUNCTION sync.decision_by() TO sync_viewer;

	CREATE OR REPLACE FUNCTION sync.staging_protect() RETURNS trigger
	LANGUAGE plpgsql SET search_path = '' AS $$
	DECLARE
		name text;
	BEGIN
		SELECT o.key INTO name
		FROM jsonb_each(to_jsonb(OLD)) o JOIN jsonb_each(to_jsonb(NEW)) n ON n.key = o.key
		WHERE n.value IS DISTINCT FROM o.value AND o.key NOT IN ('decision', 'note', 'match_correct')
		ORDER BY o.key LIMIT 1;
		IF name IS NOT NULL THEN
			RAISE EXCEPTION 'column "%" of % % cannot be edited', name, TG_TABLE_NAME, OLD.id
				USING ERRCODE = 'check_violation', HINT = CASE TG_TABLE_NAME WHEN 'staging' THEN 'Only decision, match_correct and note are for people to set.'
						  ELSE 'Only decision and note are for people to set.' END;
		END IF;
		RETURN NEW;
	END
	$$;

	CREATE OR REPLACE FUNCTION sync.staging_decide() RETURNS trigger
	LANGUAGE plpgsql SET search_path = '' AS $$
	DECLARE
		advice text := CASE
			WHEN NEW.decision = OLD.decision THEN NULL
			WHEN OLD.state = 'applied' THEN 'It is in the catalogue already; a change back is a change of its own.'
			WHEN OLD.state = 'superseded' THEN 'A newer run has looked at this product again, or its run was cancelled; decide the newest entry.'
			WHEN OLD.state = 'failed' AND NEW.decision = 'approved' THEN 'It could not be applied; set it to pending first.'
			WHEN OLD.state = 'rejected' AND NEW.decision = 'approved' THEN 'Set it to pending first.'
		END;
	BEGIN
		-- What is the wrong product, or not a new one, cannot be applied as it stands.
		IF OLD.state = 'open' AND NEW.match_correct = (NEW.kind = 'create') THEN
			IF NEW.decision = 'approved' AND OLD.decision <> 'approved' THEN
				RAISE EXCEPTION 'staging entry % cannot be approved: match_correct says that it is %', OLD.id,
					CASE NEW.kind WHEN 'create' THEN 'not new' ELSE 'another product' END
					USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Set match_correct to null first, or leave it rejected.';
			END IF;
			NEW.decision := 'rejected';
			advice := NULL;
		END IF;
		IF advice IS NOT NULL THEN
			RAISE EXCEPTION 'staging entry % is % and cannot become %', OLD.id,
				CASE OLD.state WHEN 'open' THEN OLD.decision::text ELSE OLD.state::text END, NEW.decision
				USING ERRCODE = 'object_not_in_prerequisite_state', HINT = advice;
		END IF;
		IF NEW.decision = OLD.decision THEN
			RETURN NEW;
		ELSIF NEW.decision = 'pending' THEN
			NEW.decided_by := NULL;
			NEW.decided_how := NULL;
			NEW.decided_at := NULL;
			NEW.error := NULL;
		ELSE
			SELECT d.decided_by, d.decided_how, now() INTO NEW.decided_by, NEW.decided_how, NEW.decided_at FROM sync.decision_by() d;
		END IF;
		NEW.state := CASE NEW.decision WHEN 'rejected' THEN 'rejected' ELSE 'open' END::sync.staging_state;
		RETURN NEW;
	END
	$$;

	CREATE OR REPLACE FUNCTION sync.staging_field_decide() RETURNS trigger
	LANGUAGE plpgsql SET search_path = '' AS $$
	BEGIN
		IF NEW.decision = OLD.decision THEN
			RETURN NEW;
		ELSIF NEW.decision = 'pending' THEN
			NEW.decided_by := NULL;
			NEW.decided_how := NULL;
			NEW.decided_at := NULL;
		ELSE
			SELECT d.decided_by, d.decided_how, now() INTO NEW.decided_by, NEW.decided_how, NEW.decided_at FROM sync.decision_by() d;
		END IF;
		RETURN NEW;
	END
	$$;

	-- Runs in which something was decided: what is approved is applied, and a run with nothing left to decide ends.
	CREATE OR REPLACE FUNCTION sync.staging_wake(run_ids bigint[]) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
	DECLARE
		run record;
	BEGIN
		-- While the extension is away, decisions are kept; sync_apply() finds them later.
		IF to_regprocedure('sync.apply_wanted(bigint,text,boolean)') IS NOT NULL THEN
			FOR run IN
				SELECT r.id, r.connection,
					   EXISTS (SELECT FROM sync.staging s WHERE s.run_id = r.id AND s.state = 'open' AND s.decision = 'approved') AS approved
				FROM sync.run r WHERE r.id = ANY (run_ids) ORDER BY r.id
			LOOP
				EXECUTE 'SELECT sync.apply_wanted($1, $2, $3)' USING run.id, run.connection, run.approved;
			END LOOP;
		END IF;
	END
	$$;
	REVOKE ALL ON FUNCTION sync.staging_wake(bigint[]) FROM PUBLIC;

	CREATE OR REPLACE FUNCTION sync.staging_decided() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
	DECLARE
		run_ids bigint[];
		labelled bigint[];
		verdicts bigint[];
	BEGIN
		SELECT array_agg(DISTINCT n.run_id) FILTER (WHERE n.decision <> o.decision), array_agg(n.id),
			   array_agg(n.id) FILTER (WHERE n.match_correct IS DISTINCT FROM o.match_correct)
		INTO run_ids, labelled, verdicts
		FROM new_entry n JOIN old_entry o ON o.id = n.id
		WHERE n.decision <> o.decision OR n.match_correct IS DISTINCT FROM o.match_correct;
		IF labelled IS NOT NULL THEN
			PERFORM sync.staging_label(labelled);
		END IF;
		IF verdicts IS NOT NULL THEN
			PERFORM sync.staging_verdict(verdicts);
		END IF;
		IF run_ids IS NULL THEN
			RETURN NULL;
		END IF;
		UPDATE sync.staging_field f
		SET decision = n.decision, decided_by = n.decided_by, decided_at = n.decided_at, decided_how = n.decided_how
		FROM new_entry n JOIN old_entry o ON o.id = n.id
		WHERE f.staging_id = n.id AND n.decision <> o.decision AND f.decision <> n.decision
		  AND (n.decision <> 'approved' OR f.decision = 'pending');
		PERFORM sync.staging_wake(run_ids);
		RETURN NULL;
	END
	$$;

	CREATE OR REPLACE FUNCTION sync.staging_field_decided() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
	DECLARE
		ids bigint[];
		closed record;
		who record;
		run_ids bigint[];
		labelled bigint[];
	BEGIN
		SELECT array_agg(DISTINCT n.staging_id) INTO ids
		FROM new_field n JOIN old_field o ON o.id = n.id WHERE n.decision <> o.decision;
		IF ids IS NULL THEN
			RETURN NULL;
		END IF;
		PERFORM FROM sync.staging s WHERE s.id = ANY (ids) ORDER BY s.id FOR UPDATE;
		SELECT s.id, s.state INTO closed FROM sync.staging s
		WHERE s.id = ANY (ids) AND s.state NOT IN ('open', 'rejected') ORDER BY s.id LIMIT 1;
		IF FOUND THEN
			RAISE EXCEPTION 'the fields of staging entry % cannot be decided: it is %', closed.id, closed.state
				USING ERRCODE = 'object_not_in_prerequisite_state',
					  HINT = CASE closed.state WHEN 'failed' THEN 'Set the entry to pending first.'
						  ELSE 'Decide the newest entry of the product.' END;
		END IF;
		SELECT s.id INTO closed FROM sync.staging s
		WHERE s.id = ANY (ids) AND NOT s.match_correct
		  AND EXISTS (SELECT FROM sync.staging_field f WHERE f.staging_id = s.id AND f.decision = 'approved')
		ORDER BY s.id LIMIT 1;
		IF FOUND THEN
			RAISE EXCEPTION 'no field of staging entry % can be approved: match_correct says that it is another product', closed.id
				USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Set match_correct to null first, or leave it rejected.';
		END IF;
		SELECT * INTO who FROM sync.decision_by();
		WITH decided AS (
			SELECT f.staging_id, CASE WHEN bool_or(f.decision = 'pending') THEN 'pending'
									  WHEN bool_or(f.decision = 'approved') THEN 'approved' ELSE 'rejected' END::sync.decision AS decision
			FROM sync.staging_field f WHERE f.staging_id = ANY (ids)
			GROUP BY f.staging_id),
		changed AS (
			UPDATE sync.staging s
			SET decision = d.decision, state = CASE d.decision WHEN 'rejected' THEN 'rejected' ELSE 'open' END::sync.staging_state,
				decided_by = CASE WHEN d.decision <> 'pending' THEN who.decided_by END,
				decided_how = CASE WHEN d.decision <> 'pending' THEN who.decided_how || ', by fields' END,
				decided_at = CASE WHEN d.decision <> 'pending' THEN now() END
			FROM decided d WHERE d.staging_id = s.id AND d.decision <> s.decision
			RETURNING s.id, s.run_id)
		SELECT array_agg(DISTINCT c.run_id), array_agg(c.id) INTO run_ids, labelled FROM changed c;
		IF run_ids IS NOT NULL THEN
			PERFORM sync.staging_label(labelled);
			PERFORM sync.staging_wake(run_ids);
		END IF;
		RETURN NULL;
	END
	$$;

	CREATE OR REPLACE TRIGGER staging_1_protect
		BEFORE UPDATE OF id, run_id, connection, kind, state, title, sku, reason, confidence, method, evidence, flags, product_id,
			base_version, product_no, feed_item_id, document, links, decided_by, decided_at, decided_how, applied_version, applied_at,
			error, created_at ON sync.staging
		FOR EACH ROW WHEN (current_user <> 'sync_worker') EXECUTE FUNCTION sync.staging_protect();
	CREATE OR REPLACE TRIGGER staging_2_decide
		BEFORE UPDATE OF decision, match_correct ON sync.staging
		FOR EACH ROW WHEN (current_user <> 'sync_worker') EXECUTE FUNCTION sync.staging_decide();
	CREATE OR REPLACE TRIGGER staging_3_decided
		AFTER UPDATE ON sync.staging REFERENCING OLD TABLE AS old_entry NEW TABLE AS new_entry
		FOR EACH STATEMENT WHEN (current_user <> 'sync_worker') EXECUTE FUNCTION sync.staging_decided();
	CREATE OR REPLACE TRIGGER staging_field_1_protect
		BEFORE UPDATE OF id, staging_id, path, old_value, new_value, base_version, decided_by, decided_at, decided_how ON sync.staging_field
		FOR EACH ROW WHEN (current_user <> 'sync_worker') EXECUTE FUNCTION sync.staging_protect();
	CREATE OR REPLACE TRIGGER staging_field_2_decide
		BEFORE UPDATE OF decision ON sync.staging_field
		FOR EACH ROW WHEN (current_user <> 'sync_worker') EXECUTE FUNCTION sync.staging_field_decide();
	CREATE OR REPLACE TRIGGER staging_field_3_decided
		AFTER UPDATE ON sync.staging_field REFERENCING OLD TABLE AS old_field NEW TABLE AS new_field
		FOR EACH STATEMENT WHEN (current_user <> 'sync_worker') EXECUTE FUNCTION sync.staging_field_decided();
END
$install$;

-- A decision was made in a run: applies what is approved, or lets the run end when nothing is left to decide.  The job is enqueued
-- without a key, so that nobody waits for another who decides at the same time; jobs of a run are worked on together.
CREATE FUNCTION sync.apply_wanted(run_id bigint, connection text, approved boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	at_once boolean := sync.setting_value(apply_wanted.connection, 'apply_on_approval')::boolean;
BEGIN
	IF (approved AND at_once) THEN
		PERFORM sync.job_enqueue('apply_batch', apply_wanted.run_id);
	ELSIF NOT approved THEN
		-- One that is locked is being decided by somebody else, who sees ours locked likewise: both enqueue, so neither is the last unseen.
		PERFORM FROM sync.staging s
		WHERE s.run_id = apply_wanted.run_id AND s.state = 'open' AND s.decision = 'pending' LIMIT 1 FOR SHARE SKIP LOCKED;
		IF NOT FOUND THEN
			PERFORM sync.job_enqueue('apply_batch', apply_wanted.run_id);
		END IF;
	END IF;
END
$$;
ALTER FUNCTION sync.apply_wanted(bigint, text, boolean) OWNER TO sync_worker;

-- Decisions by call ----------------------------------------------------------------------------------------------------------------

-- A filter's keys as conditions on sync.staging s.
CREATE FUNCTION sync.staging_condition(filter jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = '' AS $$
DECLARE
	item record;
	wanted text;
	list text[];
	condition text := 'true';
BEGIN
	IF jsonb_typeof(filter) IS DISTINCT FROM 'object' OR filter = '{}' THEN
		RAISE EXCEPTION 'the filter must be an object with at least one key' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'For example {"run_id": 7, "min_confidence": 0.9}.';
	END IF;
	FOR item IN SELECT e.key, e.value, e.value #>> '{}' AS text FROM jsonb_each(filter) e LOOP
		wanted := CASE
			WHEN item.key IN ('run_id', 'min_confidence', 'max_confidence', 'max_price_change') THEN 'number'
			WHEN item.key IN ('connection', 'kind', 'method', 'sku', 'title', 'vendor', 'path') THEN 'string'
			WHEN item.key IN ('paths', 'flags', 'without_flags') THEN 'array' END;
		IF wanted IS NULL THEN
			RAISE EXCEPTION 'the filter has an unknown key "%"', item.key USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Known keys are run_id, connection, kind, min_confidence, max_confidence, method, sku, title, vendor, path, paths, flags, without_flags and max_price_change.';
		ELSIF jsonb_typeof(item.value) <> wanted THEN
			RAISE EXCEPTION 'the filter''s "%" must be of type %, not %', item.key, wanted, jsonb_typeof(item.value)
				USING ERRCODE = 'invalid_parameter_value';
		END IF;
		IF wanted = 'array' THEN
			-- A null in a list is neither like nor unlike anything: it would select every entry.
			IF jsonb_path_exists(item.value, 'strict $[*] ? (@.type() != "string")') THEN
				RAISE EXCEPTION 'the filter''s "%" must be a list of strings, not %', item.key, item.value
					USING ERRCODE = 'invalid_parameter_value';
			END IF;
			list := ARRAY(SELECT CASE item.key WHEN 'paths' THEN sync.path_pattern(a) ELSE a END FROM jsonb_array_elements_text(item.value) a);
		END IF;
		condition := condition || ' AND ' || CASE item.key
			WHEN 'run_id' THEN format('s.run_id = %L::bigint', item.text)
			WHEN 'connection' THEN format('s.connection = %L', item.text)
			WHEN 'kind' THEN format('s.kind = %L::sync.staging_kind', item.text)
			WHEN 'method' THEN format('s.method = %L', item.text)
			WHEN 'min_confidence' THEN format('s.confidence >= %L::double precision', item.text)
			WHEN 'max_confidence' THEN format('s.confidence <= %L::double precision', item.text)
			WHEN 'sku' THEN format('s.sku LIKE %L', item.text)
			WHEN 'title' THEN format('s.title ILIKE %L', item.text)
			WHEN 'vendor' THEN format('coalesce(s.document ->> ''vendor'', (SELECT p.vendor FROM sync.product p WHERE p.id = s.product_id)) = %L', item.text)
			WHEN 'flags' THEN format('s.flags @> %L::text[]', list)
			WHEN 'without_flags' THEN format('NOT s.flags && %L::text[]', list)
			WHEN 'path' THEN format('EXISTS (SELECT FROM sync.staging_field f WHERE f.staging_id = s.id AND f.path LIKE %L)', sync.path_pattern(item.text))
			WHEN 'paths' THEN format('s.kind = ''update'' AND NOT EXISTS (SELECT FROM sync.staging_field f WHERE f.staging_id = s.id AND NOT f.path LIKE ANY (%L::text[]))', list)
			WHEN 'max_price_change' THEN format('s.kind = ''update'' AND NOT EXISTS (SELECT FROM sync.staging_field f WHERE f.staging_id = s.id AND f.path LIKE ''variants[%%].price'''
				' AND (abs((f.new_value #>> ''{}'')::numeric - (f.old_value #>> ''{}'')::numeric)'
				' <= %L::numeric * (f.old_value #>> ''{}'')::numeric) IS NOT TRUE)', item.text)
			END;
	END LOOP;
	RETURN condition;
END
$$;

-- Decides these entries; with a pattern, only their fields with such a path.  Locks in the order of ids, so that two who decide much at
-- a time wait for each other and do not deadlock.
CREATE FUNCTION sync.decide(ids bigint[], decision text, note text, dry_run boolean, pattern text,
							OUT entries bigint, OUT fields bigint, OUT already bigint, OUT refused bigint)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
	wanted sync.decision := decide.decision::sync.decision;
	chosen bigint[];
	field_ids bigint[];
BEGIN
	IF NOT dry_run THEN
		PERFORM FROM sync.staging s WHERE s.id = ANY (ids) ORDER BY s.id FOR UPDATE;
	END IF;
	SELECT array_agg(s.id ORDER BY s.id) FILTER (WHERE s.state = 'open' AND NOT s.mismatch AND (pattern IS NOT NULL OR s.decision <> wanted)),
		   count(*) FILTER (WHERE pattern IS NULL AND s.decision = wanted AND s.state IN ('open', 'rejected')),
		   count(*) FILTER (WHERE s.state = 'open' AND s.mismatch
							OR s.state <> 'open' AND (s.decision <> wanted OR s.state NOT IN ('open', 'rejected')))
	INTO chosen, already, refused
	FROM (SELECT e.id, e.state, e.decision, wanted = 'approved' AND coalesce(e.match_correct = (e.kind = 'create'), false) AS mismatch
		  FROM sync.staging e WHERE e.id = ANY (ids)) s;
	refused := refused + (SELECT count(DISTINCT i) FROM unnest(ids) i WHERE NOT EXISTS (SELECT FROM sync.staging s WHERE s.id = i));
	SELECT array_agg(f.id ORDER BY f.id), count(DISTINCT f.staging_id), count(*) INTO field_ids, entries, fields
	FROM sync.staging_field f
	WHERE f.staging_id = ANY (chosen) AND f.decision <> wanted AND (pattern IS NULL OR f.path LIKE pattern)
	  AND (wanted = 'rejected' OR f.decision = 'pending');
	IF pattern IS NULL THEN
		entries := coalesce(cardinality(chosen), 0);
	END IF;
	IF dry_run THEN
		RETURN;
	ELSIF pattern IS NULL THEN
		UPDATE sync.staging s SET decision = wanted, note = coalesce(decide.note, s.note) WHERE s.id = ANY (chosen);
	ELSE
		UPDATE sync.staging_field f SET decision = wanted, note = coalesce(decide.note, f.note) WHERE f.id = ANY (field_ids);
	END IF;
END
$$;
GRANT EXECUTE ON FUNCTION sync.path_pattern(text), sync.staging_condition(jsonb), sync.decide(bigint[], text, text, boolean, text) TO sync_approver;

CREATE FUNCTION sync.decide_where(filter jsonb, decision text, note text, dry_run boolean,
								  OUT entries bigint, OUT fields bigint, OUT already bigint, OUT refused bigint)
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	-- Approving an entry again that was found stale takes back what somebody has done since: nobody means that who does not say so.
	keeps_stale boolean := decision = 'approved' AND NOT coalesce(filter -> 'flags' ? 'stale', false);
	ids bigint[];
	stale bigint[];
BEGIN
	IF dry_run IS NULL THEN
		RAISE EXCEPTION 'dry_run must be true or false, not null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	EXECUTE 'SELECT array_agg(s.id) FILTER (WHERE NOT t.kept), array_agg(s.id) FILTER (WHERE t.kept) FROM sync.staging s'
		|| ' CROSS JOIN LATERAL (SELECT $1 AND s.decision = ''pending'' AND s.flags @> ''{stale}'' AS kept) t WHERE s.state = ''open'' AND '
		|| sync.staging_condition(filter)
	INTO ids, stale USING keeps_stale;
	PERFORM set_config('sync.decided_by_filter', 'true', true);
	SELECT d.* INTO entries, fields, already, refused
	FROM sync.decide(coalesce(ids, '{}'), decision, note, dry_run, sync.path_pattern(filter ->> 'path')) d;
	PERFORM set_config('sync.decided_by_filter', '', true);
	IF stale <> '{}' THEN
		refused := refused + cardinality(stale);
		RAISE NOTICE '% stale entries are not approved: their products have changed since they were staged', cardinality(stale)
			USING HINT = 'Look at their fields, then approve them by sync_approve(), or with "flags": ["stale"] in the filter.';
	END IF;
END
$$;
GRANT EXECUTE ON FUNCTION sync.decide_where(jsonb, text, text, boolean) TO sync_approver;

CREATE FUNCTION @extschema@.sync_approve(ids bigint[], note text DEFAULT NULL)
RETURNS TABLE (entries bigint, fields bigint, already bigint, refused bigint)
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	RETURN QUERY SELECT * FROM sync.decide(ids, 'approved', note, false, NULL);
END
$$;
CREATE FUNCTION @extschema@.sync_reject(ids bigint[], note text DEFAULT NULL)
RETURNS TABLE (entries bigint, fields bigint, already bigint, refused bigint)
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	RETURN QUERY SELECT * FROM sync.decide(ids, 'rejected', note, false, NULL);
END
$$;
CREATE FUNCTION @extschema@.sync_approve_where(filter jsonb, note text DEFAULT NULL, dry_run boolean DEFAULT false)
RETURNS TABLE (entries bigint, fields bigint, already bigint, refused bigint)
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	RETURN QUERY SELECT * FROM sync.decide_where(filter, 'approved', note, dry_run);
END
$$;
CREATE FUNCTION @extschema@.sync_reject_where(filter jsonb, note text DEFAULT NULL, dry_run boolean DEFAULT false)
RETURNS TABLE (entries bigint, fields bigint, already bigint, refused bigint)
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	RETURN QUERY SELECT * FROM sync.decide_where(filter, 'rejected', note, dry_run);
END
$$;
GRANT EXECUTE ON FUNCTION @extschema@.sync_approve(bigint[], text), @extschema@.sync_reject(bigint[], text),
	@extschema@.sync_approve_where(jsonb, text, boolean), @extschema@.sync_reject_where(jsonb, text, boolean) TO sync_approver;
COMMENT ON FUNCTION @extschema@.sync_approve(bigint[], text) IS
'Approves staging entries by id, the same as setting their decision; note is kept with them. Returns how many entries and fields were decided, how many entries were so already, and how many could not be (applied, superseded, failed, rejected, of the wrong product by match_correct, or no such id).';
COMMENT ON FUNCTION @extschema@.sync_reject(bigint[], text) IS
'Rejects staging entries by id, the same as setting their decision; note is kept with them. Returns the counts of sync_approve(). A rejected value is not staged again until the feed''s value changes. Rejecting an update as a whole also says that its match was wrong; where it was right, set match_correct to true beside it, or reject its fields.';
COMMENT ON FUNCTION @extschema@.sync_approve_where(jsonb, text, boolean) IS
'Approves all open entries that a filter selects; dry_run only counts. Keys, all of which must hold: run_id, connection, kind (create, update), min_confidence and max_confidence (0 to 1), method, sku and title (LIKE patterns), vendor, paths (only entries all of whose changed fields are among these; * stands for anything, as in variants[*].price), flags and without_flags (lists), max_price_change (share of the old price). With path only fields of that path are approved. Entries flagged stale, whose product was changed after they were approved, are refused unless flags names stale. Example: SELECT * FROM sync_approve_where(''{"run_id": 7, "min_confidence": 0.9, "without_flags": ["shared_match"]}'', dry_run => true). Errors: 22023 unknown key or wrong type, 22004 dry_run is null.';
COMMENT ON FUNCTION @extschema@.sync_reject_where(jsonb, text, boolean) IS
'Rejects all open entries, or with the key path their fields, that a filter selects; see sync_approve_where().';
