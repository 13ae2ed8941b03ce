/*
 * spool_sql.c
 *	  The few things that SQL may do with files in the spool folder: look, rename, remove.
 *
 * Only downloaded feeds, by their exact form of name: a mistake in a function must not reach other files.  What is done to a file is not
 * undone by a rollback, so callers do it last, and find it done when they are called again.
 */
#include "postgres.h"

#include "product_sync.h"

#include <sys/stat.h>
#include <unistd.h>

#include "fmgr.h"
#include "storage/fd.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(sync_spool_size);
PG_FUNCTION_INFO_V1(sync_spool_rename);
PG_FUNCTION_INFO_V1(sync_spool_remove);

/* The path of feed-<number>.zip or feed-<number>.zip.part; raises an error for every other name. */
static char *
feed_path(text *argument)
{
	char	   *name = text_to_cstring(argument);
	size_t		digits = 0;
	const char *ending = "";

	if (strncmp(name, "feed-", 5) == 0)
	{
		digits = strspn(name + 5, "0123456789");
		ending = name + 5 + digits;
	}
	if (digits < 1 || digits > 19 || (strcmp(ending, ".zip") != 0 && strcmp(ending, ".zip.part") != 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" is not the name of a feed in the spool folder", name),
				 errhint("The names are feed-<id>.zip and feed-<id>.zip.part.")));
	return ps_spool_path(name);
}

/* Bytes of the file, or NULL where there is none. */
Datum
sync_spool_size(PG_FUNCTION_ARGS)
{
	char	   *path = feed_path(PG_GETARG_TEXT_PP(0));
	struct stat st;

	if (lstat(path, &st) < 0)
	{
		if (errno == ENOENT)
			PG_RETURN_NULL();
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not examine \"%s\": %m", path)));
	}
	if (!S_ISREG(st.st_mode))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a regular file", path)));
	PG_RETURN_INT64(st.st_size);
}

/* Gives the file another name, and both name and content survive a crash afterwards. */
Datum
sync_spool_rename(PG_FUNCTION_ARGS)
{
	durable_rename(feed_path(PG_GETARG_TEXT_PP(0)), feed_path(PG_GETARG_TEXT_PP(1)), ERROR);
	PG_RETURN_VOID();
}

/* Removes the file.  Returns whether there was one. */
Datum
sync_spool_remove(PG_FUNCTION_ARGS)
{
	char	   *path = feed_path(PG_GETARG_TEXT_PP(0));

	if (unlink(path) == 0)
		PG_RETURN_BOOL(true);
	if (errno != ENOENT)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not remove \"%s\": %m", path)));
	PG_RETURN_BOOL(false);
}
