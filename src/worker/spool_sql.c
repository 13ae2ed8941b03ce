/*
 * spool_sql.c
 *	  The few things that SQL may do with files in the spool folder: look, rename, remove.
 *
 * Only downloaded feeds and readings of a shop, by their exact form of name: a mistake in a function must not reach other files.  What is done to a file is not
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

/* Whether a name is <prefix><number><ending> or that with .part behind it. */
static bool
has_form(const char *name, const char *prefix, const char *ending)
{
	size_t		digits;

	if (strncmp(name, prefix, strlen(prefix)) != 0)
		return false;
	name += strlen(prefix);
	digits = strspn(name, "0123456789");
	name += digits;
	if (digits < 1 || digits > 19 || strncmp(name, ending, strlen(ending)) != 0)
		return false;
	name += strlen(ending);
	return name[0] == '\0' || strcmp(name, ".part") == 0;
}

/* The path of a download in the spool folder; raises an error for every other name. */
static char *
download_path(text *argument)
{
	char	   *name = text_to_cstring(argument);

	if (!has_form(name, "feed-", ".zip") && !has_form(name, "shopify-", ".jsonl"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" is not the name of a download in the spool folder", name),
				 errhint("The names are feed-<id>.zip and shopify-<id>.jsonl, while they arrive with .part behind.")));
	return ps_spool_path(name);
}

/* Bytes of the file, or NULL where there is none. */
Datum
sync_spool_size(PG_FUNCTION_ARGS)
{
	char	   *path = download_path(PG_GETARG_TEXT_PP(0));
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
	durable_rename(download_path(PG_GETARG_TEXT_PP(0)), download_path(PG_GETARG_TEXT_PP(1)), ERROR);
	PG_RETURN_VOID();
}

/* Removes the file.  Returns whether there was one. */
Datum
sync_spool_remove(PG_FUNCTION_ARGS)
{
	char	   *path = download_path(PG_GETARG_TEXT_PP(0));

	if (unlink(path) == 0)
		PG_RETURN_BOOL(true);
	if (errno != ENOENT)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not remove \"%s\": %m", path)));
	PG_RETURN_BOOL(false);
}
