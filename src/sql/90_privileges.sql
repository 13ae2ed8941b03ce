-- Nothing is for everybody: Supabase grants new functions in public to its API roles by default, PostgreSQL to PUBLIC.
DO $$
DECLARE
	f record;
	grantee text;
BEGIN
	FOR f IN
		SELECT p.oid::pg_catalog.regprocedure AS signature, p.prokind
		FROM pg_catalog.pg_depend d
		JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'product_sync'
		JOIN pg_catalog.pg_proc p ON p.oid = d.objid
		WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
		  AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.deptype = 'e'
	LOOP
		EXECUTE pg_catalog.format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', f.signature);
		FOR grantee IN SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role') LOOP
			EXECUTE pg_catalog.format('REVOKE ALL ON ROUTINE %s FROM %I', f.signature, grantee);
		END LOOP;
		EXECUTE pg_catalog.format('GRANT EXECUTE ON ROUTINE %s TO sync_worker', f.signature);
	END LOOP;
END
$$;
