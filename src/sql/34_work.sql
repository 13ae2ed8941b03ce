CREATE PROCEDURE @extschema@.sync_work(max_time interval DEFAULT '1 minute')
LANGUAGE c AS 'MODULE_PATHNAME', 'ps_work';
GRANT EXECUTE ON PROCEDURE @extschema@.sync_work(interval) TO sync_operator;
COMMENT ON PROCEDURE @extschema@.sync_work(interval) IS
'Works on the queue in this session, with the workers'' own code and one commit a step, until max_time has passed or nothing is left that falls due before then. For servers where the library is not preloaded, and for tests. Errors: 2D000 inside a transaction block, 55000 when the tables are not installed.';
