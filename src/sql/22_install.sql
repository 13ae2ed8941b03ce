-- sync_install(): creates or upgrades the tables.  Each step runs once; each part runs every time and is idempotent.

CREATE FUNCTION sync.schema_step_expected() RETURNS integer
LANGUAGE sql IMMUTABLE AS 'SELECT 3';
COMMENT ON FUNCTION sync.schema_step_expected() IS 'The newest step of sync_install() that this version of the extension knows.';

CREATE FUNCTION sync.schema_ready() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
	RETURN to_regclass('sync.installed_step') IS NOT NULL
		AND (SELECT max(step) = sync.schema_step_expected() FROM sync.installed_step);
END
$$;
COMMENT ON FUNCTION sync.schema_ready() IS 'Whether the tables are at the version that this extension expects; workers stay idle until they are.';

CREATE FUNCTION @extschema@.sync_install() RETURNS text
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	expected constant integer := sync.schema_step_expected();
	caller constant text := current_setting('role');
	present integer := 0;
	step integer;
	part record;
BEGIN
	IF NOT pg_has_role(current_user, 'sync_worker', 'MEMBER') THEN
		RAISE EXCEPTION 'only a member of sync_worker may install the tables'
			USING ERRCODE = 'insufficient_privilege',
				  HINT = format('As a superuser: GRANT sync_worker TO %I;', current_user);
	END IF;
	PERFORM pg_advisory_xact_lock(hashtextextended('product_sync.install', 0));
	-- The tables belong to sync_worker, whoever installs them.
	PERFORM set_config('role', 'sync_worker', true);

	IF to_regclass('sync.installed_step') IS NOT NULL THEN
		SELECT coalesce(max(i.step), 0) INTO present FROM sync.installed_step i;
	END IF;
	IF present > expected THEN
		RAISE EXCEPTION 'the tables are at step %, but this version of product_sync knows only step %', present, expected
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = 'Install the newer library and ALTER EXTENSION product_sync UPDATE.';
	END IF;
	FOR step IN present + 1 .. expected LOOP
		EXECUTE format('SELECT sync.%I()', 'install_step_' || step);
		INSERT INTO sync.installed_step (step) VALUES (step);
	END LOOP;

	FOR part IN
		SELECT p.proname FROM pg_proc p
		WHERE p.pronamespace = 'sync'::regnamespace AND p.proname LIKE 'install\_part\_%' AND p.pronargs = 0
		ORDER BY p.proname COLLATE "C"
	LOOP
		EXECUTE format('SELECT sync.%I()', part.proname);
	END LOOP;

	PERFORM set_config('role', caller, true);
	PERFORM sync.wake();
	RETURN CASE WHEN present = 0 THEN format('installed at step %s', expected)
				WHEN present < expected THEN format('upgraded from step %s to step %s', present, expected)
				ELSE format('already at step %s', expected) END;
END
$$;
COMMENT ON FUNCTION @extschema@.sync_install() IS
'Creates or upgrades the tables in schema sync and refreshes their triggers, grants and shipped rows; rows of yours are left alone. Returns what it did. Call it after CREATE EXTENSION and after ALTER EXTENSION UPDATE. Errors: 42501 when the caller is no member of sync_worker, 55000 when the tables are newer than the library.';

CREATE FUNCTION sync.setting_value(connection text, name text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
	found_value text;
BEGIN
	SELECT c.settings ->> setting_value.name INTO found_value FROM sync.connection c WHERE c.name = setting_value.connection;
	IF found_value IS NULL THEN
		SELECT s.value INTO found_value FROM sync.setting s WHERE s.name = setting_value.name;
	END IF;
	RETURN found_value;
END
$$;
COMMENT ON FUNCTION sync.setting_value(text, text) IS 'A setting of a connection: its own where it has one, else the default in sync.setting; NULL where neither is.';

-- Grants on the tables, for people.  Given again at each sync_install(), so that tables of later steps are covered.
CREATE FUNCTION sync.install_part_95_grants() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
	trigger_function regprocedure;
BEGIN
	-- Who may execute a trigger function may put it on a table of his own, and so let it act, in its owner's name, on rows that he made up.
	FOR trigger_function IN
		SELECT p.oid FROM pg_proc p
		WHERE p.pronamespace = 'sync'::regnamespace AND p.prorettype = 'trigger'::regtype AND p.proowner = 'sync_worker'::regrole
	LOOP
		EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', trigger_function);
	END LOOP;
	GRANT SELECT ON ALL TABLES IN SCHEMA sync TO sync_viewer;
	GRANT UPDATE (decision, note) ON sync.staging, sync.staging_field TO sync_approver;
	GRANT UPDATE (match_correct) ON sync.staging TO sync_approver;
	GRANT UPDATE (choice, custom_value, note) ON sync.conflict TO sync_approver;
	GRANT INSERT, UPDATE, DELETE ON sync.field_lock TO sync_approver;
	GRANT UPDATE (store) ON sync.shopify_location TO sync_operator;
	GRANT UPDATE (read_at) ON sync.notification TO sync_viewer;
	GRANT INSERT, UPDATE, DELETE ON sync.setting, sync.connection, sync.feed_profile, sync.feed_profile_column, sync.product,
		sync.variant, sync.variant_source, sync.conflict_rule TO sync_admin;
	GRANT UPDATE ON sync.job_kind TO sync_admin;
END
$$;

-- A setting that nobody knows is a typing error; a wrong value would fail hours later, in a worker.
CREATE FUNCTION sync.install_part_24_connection_guard() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $install$
BEGIN
	CREATE OR REPLACE FUNCTION sync.connection_guard() RETURNS trigger
	LANGUAGE plpgsql SET search_path = '' AS $$
	DECLARE
		item record;
		unit text;
	BEGIN
		-- Here and not only in the table's CHECKs: their message would show the row, and with it a password that does not belong there.
		IF NEW.base_url !~ '^(ftp|ftps|http|https)://[^/@[:space:]]+(/|$)' OR NEW.base_url ~ '@' THEN
			RAISE EXCEPTION 'base_url of connection "%" is not an address such as ftp://host/folder/ or https://host/path/', NEW.name
				USING ERRCODE = 'invalid_parameter_value',
					  HINT = 'User name and password do not belong in it: set username and secret_ref.';
		ELSIF NEW.secret_ref !~ '^(vault|file|env):[A-Za-z0-9_.-]+$' THEN
			RAISE EXCEPTION 'secret_ref of connection "%" does not say where the secret is', NEW.name
				USING ERRCODE = 'invalid_parameter_value',
					  HINT = 'It is vault:NAME, file:NAME or env:NAME, never the secret itself.';
		END IF;
		FOR item IN SELECT e.key, e.value #>> '{}' AS value FROM jsonb_each(NEW.settings) e LOOP
			SELECT s.unit INTO unit FROM sync.setting s WHERE s.name = item.key;
			IF NOT FOUND THEN
				RAISE EXCEPTION 'connection "%" has an unknown setting "%"', NEW.name, item.key
					USING ERRCODE = 'invalid_parameter_value', HINT = 'SELECT name, value, description FROM sync.setting lists them.';
			END IF;
			PERFORM sync.setting_check(item.key, unit, item.value);
		END LOOP;
		NEW.updated_at := now();
		RETURN NEW;
	END
	$$;
	-- Where a connection's name is that no foreign key renames: jobs, what waits for people, history, kept tokens.  Before the row, so that who
	-- works on a job of the connection is done with its old name; and after it, for jobs that came while this waited.
	CREATE OR REPLACE FUNCTION sync.connection_renamed() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
	BEGIN
		PERFORM FROM sync.job j
		WHERE j.payload ->> 'connection' = OLD.name OR j.run_id IN (SELECT r.id FROM sync.run r WHERE r.connection = OLD.name) ORDER BY j.id FOR UPDATE;
		UPDATE sync.job j
		SET payload = j.payload || jsonb_build_object('connection', NEW.name),
			key = CASE WHEN j.key = OLD.name OR starts_with(j.key, OLD.name || '/') THEN NEW.name || substr(j.key, length(OLD.name) + 1) ELSE j.key END
		WHERE j.payload ->> 'connection' = OLD.name;
		IF TG_WHEN = 'BEFORE' THEN
			RETURN NEW;
		END IF;
		UPDATE sync.staging s SET connection = NEW.name WHERE s.connection = OLD.name;
		UPDATE sync.conflict c SET connection = NEW.name WHERE c.connection = OLD.name;
		UPDATE sync.decision_log d SET connection = NEW.name WHERE d.connection = OLD.name;
		UPDATE sync.webhook_event e SET connection = NEW.name WHERE e.connection = OLD.name;
		UPDATE sync.product_version v SET source = NEW.name WHERE v.source = OLD.name;
		UPDATE sync.match_label l SET supplier = NEW.name WHERE l.supplier = OLD.name;
		IF to_regprocedure('sync.token_drop(text)') IS NOT NULL THEN
			EXECUTE 'SELECT sync.token_drop($1), sync.token_drop($2)' USING OLD.name, NEW.name;
		END IF;
		RETURN NULL;
	END
	$$;
	REVOKE ALL ON FUNCTION sync.connection_renamed() FROM PUBLIC;
	CREATE OR REPLACE FUNCTION sync.setting_guard() RETURNS trigger
	LANGUAGE plpgsql SET search_path = '' AS $$
	BEGIN
		PERFORM sync.setting_check(NEW.name, NEW.unit, NEW.value);
		RETURN NEW;
	END
	$$;
	CREATE OR REPLACE FUNCTION sync.setting_check(name text, unit text, value text) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = '' AS $$
	DECLARE
		good boolean := true;
	BEGIN
		BEGIN
			CASE unit
				WHEN 'interval' THEN good := value::interval >= interval '0';
				WHEN 'share' THEN good := value::numeric BETWEEN 0 AND 1;
				WHEN 'boolean' THEN PERFORM value::boolean;
				WHEN 'count' THEN good := value::bigint >= 0;
				WHEN 'bytes' THEN good := value::bigint >= 0;
				WHEN 'per second' THEN good := value::numeric > 0;
				WHEN 'secret reference' THEN good := value ~ '^((vault|file|env):[A-Za-z0-9_.-]+(, ?(vault|file|env):[A-Za-z0-9_.-]+)*)?$';
				ELSE good := value IS NOT NULL;
			END CASE;
		EXCEPTION WHEN data_exception THEN
			good := false;
		END;
		IF good IS NOT TRUE AND unit = 'secret reference' THEN
			-- It may be the secret itself: not repeated.
			RAISE EXCEPTION 'setting "%" does not say where the secret is', name
				USING ERRCODE = 'invalid_parameter_value', HINT = 'It is vault:NAME, file:NAME or env:NAME, never the secret itself.';
		ELSIF good IS NOT TRUE THEN
			RAISE EXCEPTION 'setting "%" cannot be "%"', name, coalesce(value, 'null')
				USING ERRCODE = 'invalid_parameter_value',
					  DETAIL = format('Its unit is %s.', CASE unit WHEN 'share' THEN 'a share from 0 to 1' WHEN '' THEN 'text'
						  WHEN 'interval' THEN 'an interval such as "15 minutes"' ELSE unit END);
		END IF;
	END
	$$;
	CREATE OR REPLACE TRIGGER connection_guard BEFORE INSERT OR UPDATE ON sync.connection
		FOR EACH ROW EXECUTE FUNCTION sync.connection_guard();
	CREATE OR REPLACE TRIGGER connection_renamed_1 BEFORE UPDATE OF name ON sync.connection
		FOR EACH ROW WHEN (OLD.name <> NEW.name) EXECUTE FUNCTION sync.connection_renamed();
	CREATE OR REPLACE TRIGGER connection_renamed_2 AFTER UPDATE OF name ON sync.connection
		FOR EACH ROW WHEN (OLD.name <> NEW.name) EXECUTE FUNCTION sync.connection_renamed();
	CREATE OR REPLACE TRIGGER setting_guard BEFORE INSERT OR UPDATE ON sync.setting
		FOR EACH ROW EXECUTE FUNCTION sync.setting_guard();
END
$install$;
