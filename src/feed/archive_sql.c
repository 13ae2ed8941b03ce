/*
 * archive_sql.c
 *	  A feed's zip file in the spool folder: its errors as SQL errors, and what can be known of it without loading it.
 */
#include "feed/feed_sql.h"

#include <errno.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "product_sync.h"
#include "utils/array.h"
#include "utils/memutils.h"
#if __has_include("varatt.h")
#include "varatt.h"				/* apart from postgres.h since 16 */
#endif

#define HASH_PIECE	((size_t) 1 << 17)

PG_FUNCTION_INFO_V1(product_sync_feed_claims);
PG_FUNCTION_INFO_V1(product_sync_feed_hash);

/* The limits as they are set now. */
ArchiveLimits
feed_archive_limits(void)
{
	ArchiveLimits limits;

	limits.max_entries = (uint64) ps_feed_max_entries;
	limits.max_bytes = (uint64) ps_feed_max_megabytes << 20;
	limits.max_ratio = (uint64) ps_feed_max_ratio;
	return limits;
}

/* Raises the error that an archive's error is. */
void
feed_archive_error(const ArchiveError *error, int64 feed_file_id)
{
	char	   *file = psprintf("feed-" INT64_FORMAT ".zip", feed_file_id);
	const char *member = error->member;

	switch (error->status)
	{
		case ARCHIVE_CANNOT_OPEN:
			errno = error->system_error;
			ereport(ERROR, (errcode_for_file_access(),
							errmsg("could not open \"%s\" in the spool folder: %m", file),
							errhint("Retry the run, so that the file is downloaded again.")));
			break;
		case ARCHIVE_EMPTY_FILE:
			ereport(ERROR, (errcode(ERRCODE_FEED_EMPTY_FILE),
							errmsg("the feed's file is empty"),
							errdetail("\"%s\" has no byte.", file),
							errhint("The supplier has to publish it again.")));
			break;
		case ARCHIVE_NOT_ZIP:
			ereport(ERROR, (errcode(ERRCODE_FEED_NOT_ZIP),
							errmsg("the feed's file is not a zip file, or one that was cut short"),
							errdetail("\"%s\": %s.", file, error->detail),
							errhint("The supplier has to publish it again.")));
			break;
		case ARCHIVE_TOO_MANY_ENTRIES:
			ereport(ERROR, (errcode(ERRCODE_FEED_TOO_MANY_ENTRIES),
							errmsg("the feed's zip file has " UINT64_FORMAT " members, more than the %d that are allowed",
								   error->number, ps_feed_max_entries),
							errhint("If that is right, raise product_sync.feed_max_entries.")));
			break;
		case ARCHIVE_UNSAFE_NAME:
			ereport(ERROR, (errcode(ERRCODE_FEED_UNSAFE_NAME),
							errmsg("the feed's zip file has a member with the unsafe name \"%s\"", member),
							errdetail("A name must not be absolute and must not hold \"..\".")));
			break;
		case ARCHIVE_NO_CSV:
			ereport(ERROR, (errcode(ERRCODE_FEED_NO_CSV),
							errmsg("the feed's zip file has no member *.csv"),
							errdetail("It has " UINT64_FORMAT " members.", error->number)));
			break;
		case ARCHIVE_ENCRYPTED:
			ereport(ERROR, (errcode(ERRCODE_FEED_ENCRYPTED),
							errmsg("member \"%s\" of the feed's zip file is encrypted", member),
							errhint("The supplier has to publish it without a password.")));
			break;
		case ARCHIVE_UNSUPPORTED:
			ereport(ERROR, (errcode(ERRCODE_FEED_UNSUPPORTED),
							errmsg("member \"%s\" of the feed's zip file is packed in a way that cannot be read", member),
							errdetail("%s.", error->detail)));
			break;
		case ARCHIVE_CORRUPT:
			ereport(ERROR, (errcode(ERRCODE_FEED_CORRUPT),
							errmsg("member \"%s\" of the feed's zip file is damaged", member),
							errdetail("%s.", error->detail),
							errhint("Retry the run, so that the file is downloaded again; if it fails again, the supplier's file is damaged.")));
			break;
		case ARCHIVE_TOO_LARGE:
			ereport(ERROR, (errcode(ERRCODE_FEED_TOO_LARGE),
							errmsg("the feed is larger than %d MB", ps_feed_max_megabytes),
							errdetail("Member \"%s\" was unpacked up to there.", member),
							errhint("If that is right, raise product_sync.feed_max_megabytes.")));
			break;
		case ARCHIVE_RATIO:
			ereport(ERROR, (errcode(ERRCODE_FEED_RATIO),
							errmsg("the feed's zip file unpacks to more than %d times its size", ps_feed_max_ratio),
							errdetail("Member \"%s\" was unpacked up to there.", member),
							errhint("If that is right, raise product_sync.feed_max_ratio.")));
			break;
		case ARCHIVE_OK:
		case ARCHIVE_ABORTED:
			elog(ERROR, "reading of \"%s\" ended without a reason", file);
			break;
		case ARCHIVE_NO_MEMORY:
			break;
	}
	ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY),
					errmsg("out of memory"),
					errdetail("Failed while reading \"%s\". %s", file, error->detail)));
}

/* Opens the spool file of a feed; who calls frees it, by a memory context's callback. */
Archive *
feed_archive_open(int64 feed_file_id)
{
	char	   *path = ps_spool_path(psprintf("feed-" INT64_FORMAT ".zip", feed_file_id));
	ArchiveLimits limits = feed_archive_limits();
	ArchiveError error;
	Archive    *archive = archive_open(path, &limits, &error);

	if (archive == NULL)
		feed_archive_error(&error, feed_file_id);
	return archive;
}

/* Raises 0A000 in a database whose encoding is not UTF8. */
void
feed_check_database_encoding(void)
{
	if (GetDatabaseEncoding() != PG_UTF8)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("product_sync reads feeds in databases with encoding UTF8 only"),
				 errdetail("The encoding of this database is %s.", GetDatabaseEncodingName())));
}

/* Bytes of a feed as text that can be stored and read: what is not UTF-8 and NUL as \xNN, at most "max" bytes of input. */
char *
feed_presentable(const char *raw, size_t len, size_t max)
{
	StringInfoData out;
	size_t		i = 0;
	size_t		n = Min(len, max);

	initStringInfo(&out);
	while (i < n)
	{
		int			size = pg_utf_mblen((const unsigned char *) raw + i);

		if (raw[i] != '\0' && i + size <= n && pg_utf8_islegal((const unsigned char *) raw + i, size))
		{
			appendBinaryStringInfo(&out, raw + i, size);
			i += size;
		}
		else if (raw[i] != '\0' && i + size > n && n < len)
			break;				/* cut in a character */
		else
			appendStringInfo(&out, "\\x%02x", (unsigned char) raw[i++]);
	}
	if (n < len)
		appendStringInfoString(&out, "...");
	return out.data;
}

static void
close_archive(void *archive)
{
	archive_close(archive);
}

/*
 * sync.feed_claims(feed_file_id bigint) returns bigint[]: size and CRC of the CSV as the zip's directory gives them; NULL where it does
 * not.  They say that a CSV differs from another, never that it is the same.
 */
Datum
product_sync_feed_claims(PG_FUNCTION_ARGS)
{
	Archive    *archive = feed_archive_open(PG_GETARG_INT64(0));
	Datum		values[2];
	uint64		size;
	uint32		crc;
	bool		known = archive_claims(archive, &size, &crc) && size <= PG_INT64_MAX;

	archive_close(archive);
	if (!known)
		PG_RETURN_NULL();
	values[0] = Int64GetDatum((int64) size);
	values[1] = Int64GetDatum((int64) crc);
	PG_RETURN_ARRAYTYPE_P(construct_array(values, lengthof(values), INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* sync.feed_hash(feed_file_id bigint) returns bytea: SHA-256 of the CSV; the whole archive is read and checked for it. */
Datum
product_sync_feed_hash(PG_FUNCTION_ARGS)
{
	int64		id = PG_GETARG_INT64(0);
	char	   *buf = palloc(HASH_PIECE);
	bytea	   *result = palloc(VARHDRSZ + ARCHIVE_HASH_BYTES);
	MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "feed hash", ALLOCSET_SMALL_SIZES);
	Archive    *archive = feed_archive_open(id);
	ArchiveError error;
	ssize_t		n;

	callback->func = close_archive;
	callback->arg = archive;
	MemoryContextRegisterResetCallback(work, callback);
	while ((n = archive_read(archive, buf, HASH_PIECE, &error)) > 0)
		CHECK_FOR_INTERRUPTS();
	if (n < 0 || !archive_finish(archive, &error))
		feed_archive_error(&error, id);
	if (!archive_hash(archive, (unsigned char *) VARDATA(result)))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not compute a SHA-256")));
	SET_VARSIZE(result, VARHDRSZ + ARCHIVE_HASH_BYTES);
	MemoryContextDelete(work);
	PG_RETURN_BYTEA_P(result);
}
