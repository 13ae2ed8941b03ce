-- Tokens that servers gave: kept by the engine outside the database (src/worker/token.c), never seen by SQL.

CREATE FUNCTION sync.token_present(name text) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'sync_token_present';
COMMENT ON FUNCTION sync.token_present(text) IS
'Whether a token of this name was kept (request key keep_secret) and can be used as secret_ref token:NAME; it may have ended since. NULL for NULL. Errors: 42602 for what is no name.';

CREATE FUNCTION sync.token_drop(name text) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'sync_token_drop';
COMMENT ON FUNCTION sync.token_drop(text) IS
'Removes a kept token. Returns whether there was one. A rollback does not bring it back. Errors: 42602 for what is no name.';
