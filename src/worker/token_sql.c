/*
 * token_sql.c
 *	  What SQL may know of kept tokens: whether there is one.  And it may drop one, which a rollback does not bring back.
 */
#include "postgres.h"

#include "worker/secret.h"
#include "worker/token.h"

#include <sys/stat.h>
#include <unistd.h>

#include "fmgr.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(sync_token_present);
PG_FUNCTION_INFO_V1(sync_token_drop);

/* The path of a token; NULL where this database has none at all. */
static char *
token_path(text *argument)
{
	char	   *name = text_to_cstring(argument);
	char	   *folder;

	if (!token_name_good(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" is not the name of a token", name),
				 errhint("Use at most %d letters, digits, \"_\", \"-\" and \".\", not starting with \".\".", TOKEN_MAX_NAME)));
	folder = secret_token_folder(false);
	return folder ? psprintf("%s/%s", folder, name) : NULL;
}

/* Whether there is a token of this name; it may have ended since. */
Datum
sync_token_present(PG_FUNCTION_ARGS)
{
	char	   *path = token_path(PG_GETARG_TEXT_PP(0));
	struct stat st;

	if (path == NULL)
		PG_RETURN_BOOL(false);
	if (lstat(path, &st) < 0)
	{
		if (errno == ENOENT)
			PG_RETURN_BOOL(false);
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not examine \"%s\": %m", path)));
	}
	PG_RETURN_BOOL(S_ISREG(st.st_mode) && st.st_size > 0);
}

/* Removes a token.  Returns whether there was one. */
Datum
sync_token_drop(PG_FUNCTION_ARGS)
{
	char	   *path = token_path(PG_GETARG_TEXT_PP(0));

	if (path == NULL)
		PG_RETURN_BOOL(false);
	if (unlink(path) == 0)
		PG_RETURN_BOOL(true);
	if (errno != ENOENT)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not remove \"%s\": %m", path)));
	PG_RETURN_BOOL(false);
}
