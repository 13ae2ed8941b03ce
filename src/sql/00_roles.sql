\echo Use "CREATE EXTENSION product_sync" to load this file. \quit

-- Roles are of the whole cluster, so another database may have made them already.
DO $$
DECLARE
	role_name text;
BEGIN
	FOREACH role_name IN ARRAY ARRAY['sync_viewer', 'sync_approver', 'sync_operator', 'sync_admin', 'sync_worker'] LOOP
		IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role_name) THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role_name);
		END IF;
	END LOOP;
	GRANT sync_viewer TO sync_approver;
	GRANT sync_viewer TO sync_operator;
	GRANT sync_approver, sync_operator TO sync_admin;

	-- sync_install() makes tables in the name of sync_worker; who creates the extension may call it.
	IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
		EXECUTE pg_catalog.format('GRANT sync_worker TO %I', current_user);
	END IF;
END
$$;

COMMENT ON ROLE sync_viewer IS 'product_sync: reads runs, products and staged changes';
COMMENT ON ROLE sync_approver IS 'product_sync: a viewer who also decides staged changes';
COMMENT ON ROLE sync_operator IS 'product_sync: a viewer who also starts, cancels and retries runs';
COMMENT ON ROLE sync_admin IS 'product_sync: approver and operator who also edits connections, profiles and settings';
COMMENT ON ROLE sync_worker IS 'product_sync: owns the tables; background workers act as this role, never as a superuser';

-- The schema holds the user's tables, so it must outlive the extension: made here, then let go of at the end of this script.
DO $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'sync') THEN
		-- Its owner is whoever creates the extension: pg_restore makes schemas before extensions, and so before these roles.
		CREATE SCHEMA sync;
		GRANT ALL ON SCHEMA sync TO sync_worker;
		GRANT USAGE ON SCHEMA sync TO sync_viewer;
		ALTER EXTENSION product_sync DROP SCHEMA sync;
	ELSIF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner
					  WHERE n.nspname = 'sync' AND (r.rolsuper OR r.rolname IN ('sync_worker', current_user))) THEN
		RAISE EXCEPTION 'schema "sync" exists and belongs to somebody else'
			USING ERRCODE = 'duplicate_schema',
				  DETAIL = 'product_sync keeps its tables and functions in a schema of that name.',
				  HINT = pg_catalog.format('Rename the schema, or make %I its owner, and create the extension again.', current_user);
	ELSIF NOT pg_catalog.has_schema_privilege('sync_worker', 'sync', 'CREATE') THEN
		GRANT ALL ON SCHEMA sync TO sync_worker;
		GRANT USAGE ON SCHEMA sync TO sync_viewer;
	END IF;
END
$$;
