/*
 * match_cache.c
 *	  Kept indexes of the existing tables of sync_match().
 *
 * The index of a plain table is written to the spool folder and found again by the table's storage, the columns that are read, the brands'
 * aliases, and a fingerprint of the rows that the snapshot sees: the place and the inserting transaction (ctid, raw xmin) of each, by one
 * scan.  An update makes a new version of a row, at another place or by another transaction; a row's bytes never change otherwise;
 * freezing leaves the raw xmin.  So equal fingerprints are equal contents, but for these, whose index is built in private memory:
 * - storage that this transaction made, and rows that it wrote: both may be undone and made again under the same numbers;
 * - what row-level security filters, views, foreign and partitioned tables, tables with children, system catalogs;
 * - columns whose text depends on more than their bytes: settings, names, generating expressions.
 * Rows that are older than a column have its first default, which is part of the key: an ADD COLUMN that was undone may come again with
 * another.
 * A transaction number is given again where the server lost the transaction, so the log is flushed before an index is kept; and after a
 * copy of the data directory was put back, so the key has the server's start and timeline.  (It is given again after four thousand million
 * transactions too: all rows that differ would have to meet both their old place and their old number.)
 *
 * Files are mapped by all sessions and never change once they are there.  The key names the contents, so a mapping stays true for its key
 * even after its file was removed; a session keeps the last one that it used, whose checksum need not be looked at again.
 */
#include "match/match_pg.h"

#include <dirent.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "common/file_perm.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "product_sync.h"

/* Below, building takes less time than all this. */
#define SMALL_PAGES 128
#define SMALL_ROWS 20000

#define FILE_PREFIX "table-"
#define WAIT_MILLISECONDS 20
#define MOST_WAITS 500

/* A temporary file that nobody can be writing any more. */
#define ABANDONED_SECONDS 3600

/* What an index depends on; hashed, so without padding. */
typedef struct CacheKey
{
	uint64		system;
	uint64		rows_hash;
	uint64		aliases;
	int64		rows;
	TimestampTz started;		/* the server */
	Oid			relation;
	Oid			tablespace;
	uint32		storage;
	uint32		timeline;
	uint32		missing;		/* of the columns' values in rows that are older than they */
	Oid			types[MATCH_COLUMNS];
	int32		columns[MATCH_COLUMNS];
	int32		float_digits;
} CacheKey;

typedef struct CacheFile
{
	uint64		key;
	char	   *family;			/* how the names of all states of this table and these columns begin */
	char	   *path;
} CacheFile;

/* This session's mapping, while pins is not 0 in use by a sync_match() under way. */
static MatchIndex kept;
static bool is_kept;
static int	pins;

/* Lets go of the kept index; for the owners that pinned it. */
void
match_cache_release(void)
{
	pins--;
}

/* Whether the text of a column's values depends on their bytes alone, and not on a cast that somebody made.  Sets the type. */
static bool
is_plain_column(Relation relation, AttrNumber number, Oid *type)
{
	Form_pg_attribute column = TupleDescAttr(RelationGetDescr(relation), number - 1);
	CoercionPathType path;
	Oid			function = InvalidOid;

	if (number <= 0 || (column->attgenerated != '\0' && column->attgenerated != ATTRIBUTE_GENERATED_STORED))
		return false;
	*type = getBaseType(column->atttypid);
	path = *type == TEXTOID ? COERCION_PATH_RELABELTYPE : find_coercion_pathway(TEXTOID, *type, COERCION_EXPLICIT, &function);
	if (path == COERCION_PATH_RELABELTYPE)
		return true;
	if (path != COERCION_PATH_COERCEVIAIO && (path != COERCION_PATH_FUNC || function >= FirstNormalObjectId))
		return false;
	switch (*type)
	{
		case BPCHAROID:
		case CHAROID:
		case NAMEOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
		case BOOLOID:
		case UUIDOID:
			return true;
		default:
			return false;
	}
}

/* Hash of a column's value in rows that were there before it, 0 where that is NULL. */
static uint32
missing_hash(Relation relation, AttrNumber number)
{
	Form_pg_attribute column = TupleDescAttr(RelationGetDescr(relation), number - 1);
	bool		isnull;
	Datum		value = getmissingattr(RelationGetDescr(relation), number, &isnull);

	return isnull ? 0 : datum_image_hash(value, column->attbyval, column->attlen);
}

/* Whether equal fingerprints of the table mean equal contents; see the top of the file.  Fills what the key has of it. */
static bool
is_keepable(Relation relation, const MatchSource *source, CacheKey *key)
{
	int			i;

	if ((relation->rd_rel->relkind != RELKIND_RELATION && relation->rd_rel->relkind != RELKIND_MATVIEW) ||
		relation->rd_rel->relam != HEAP_TABLE_AM_OID || RelationGetRelid(relation) < FirstNormalObjectId ||
		RELATION_IS_OTHER_TEMP(relation) || ps_storage_is_new(relation) ||
		(relation->rd_rel->relhassubclass && find_inheritance_children(RelationGetRelid(relation), NoLock) != NIL) ||
		check_enable_rls(RelationGetRelid(relation), InvalidOid, true) == RLS_ENABLED)
		return false;
	memset(key, 0, sizeof(CacheKey));
	key->relation = RelationGetRelid(relation);
	key->tablespace = ps_storage_tablespace(relation);
	key->storage = ps_storage_number(relation);
	for (i = 0; i < MATCH_COLUMNS; i++)
	{
		key->columns[i] = source->columns[i];
		if (key->columns[i] != 0 && !is_plain_column(relation, source->columns[i], &key->types[i]))
			return false;
		if (key->columns[i] != 0)
			key->missing = hash_combine(key->missing, missing_hash(relation, source->columns[i]));
		if (key->types[i] == FLOAT4OID || key->types[i] == FLOAT8OID)
			key->float_digits = extra_float_digits;
	}
	return true;
}

/*
 * The caller's right to read the columns, by number, and then by the query that would read them, which errs as it always would.
 */
static bool
may_read(const MatchSource *source)
{
	bool		all = pg_class_aclcheck(source->relation, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
	int			i;

	for (i = 0; !all && i < MATCH_COLUMNS; i++)
		if (source->columns[i] != 0 && pg_attribute_aclcheck(source->relation, source->columns[i], GetUserId(), ACL_SELECT) != ACLCHECK_OK)
			return false;
	if (SPI_execute(psprintf("%s LIMIT 0", source->alone_query), true, 0) != SPI_OK_SELECT)
		return false;
	SPI_freetuptable(SPI_tuptable);
	return true;
}

/*
 * Scans the table for the fingerprint of the rows that the snapshot sees.  Not from where another scan happens to be: the order counts.
 * Returns false where a row is of this transaction or there are few.
 */
static bool
take_fingerprint(Relation relation, CacheKey *key)
{
	TableScanDesc scan = table_beginscan_strat(relation, GetActiveSnapshot(), 0, NULL, true, false);
	TransactionId seen = InvalidTransactionId;
	bool		ours = false;
	uint64		hash = 0;
	int64		rows = 0;
	HeapTuple	tuple;

	while (!ours && (tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		TransactionId xmin = HeapTupleHeaderGetRawXmin(tuple->t_data);

		if (xmin != seen)
			ours = TransactionIdIsCurrentTransactionId(xmin);
		seen = xmin;
		hash = (hash ^ ((uint64) ItemPointerGetBlockNumber(&tuple->t_self) << 32 | xmin)) * UINT64CONST(0x9e3779b97f4a7c15);
		hash = (hash << 29 | hash >> 35) + ItemPointerGetOffsetNumber(&tuple->t_self) * UINT64CONST(0xff51afd7ed558ccd);
		if ((++rows & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	table_endscan(scan);
	key->rows_hash = hash;
	key->rows = rows;
	key->system = GetSystemIdentifier();
	key->timeline = GetWALInsertionTimeLine();
	key->started = PgStartTime;
	return !ours && rows >= SMALL_ROWS;
}

/* Names the file of a key. */
static void
name_file(const CacheKey *key, CacheFile *file)
{
	uint64		columns = hash_bytes_extended((const unsigned char *) key->types,
											  (int) (sizeof(CacheKey) - offsetof(CacheKey, types)), 0);

	file->key = hash_bytes_extended((const unsigned char *) key, sizeof(CacheKey), 0);
	file->family = psprintf(FILE_PREFIX "%u-%08x-", key->relation, (uint32) columns);
	file->path = psprintf("%s/%s%016llx.idx", ps_spool_folder_name(), file->family, (unsigned long long) file->key);
}

/* Takes the index of the file for the owner, from the session's mapping or by mapping it.  Returns false where there is no sound one. */
static bool
map_file(MatchOwner *owner, const CacheFile *file)
{
	MatchIndex	index;
	IndexStatus status;

	if (!is_kept || kept.version != file->key)
	{
		status = mindex_open(&index, file->path);
		if (status != INDEX_OK && status != INDEX_MISSING)
			ereport(LOG,
					(errmsg("match index \"%s\" is %s; it will be built again", file->path, mindex_status_text(status))));
		if (status != INDEX_OK)
			return false;
		if (index.version != file->key)
		{
			mindex_free(&index);
			return false;
		}
		if (pins > 0)
		{
			/* The incoming rows come from a view that itself calls sync_match(). */
			owner->own = index;
			owner->index = &owner->own;
			return true;
		}
		if (is_kept)
			mindex_free(&kept);
		kept = index;
		is_kept = true;
	}
	utime(file->path, NULL);	/* for keep_within_size() */
	pins++;
	owner->pinned = true;
	owner->index = &kept;
	return true;
}

typedef struct FoundFile
{
	char	   *path;
	time_t		used;
	off_t		size;
} FoundFile;

static int
compare_use(const void *a, const void *b)
{
	const FoundFile *x = a;
	const FoundFile *y = b;

	return x->used < y->used ? 1 : x->used > y->used ? -1 : strcmp(x->path, y->path);
}

/*
 * Removes what has no use any more: this table's earlier states, what killed builders left, and the files that were used longest ago, until
 * the rest takes no more than it may.
 */
static void
keep_within_size(const CacheFile *file, uint64 size)
{
	char	   *folder = ps_spool_folder_name();
	DIR		   *dir = AllocateDir(folder);
	struct dirent *entry;
	int			n = 0;
	int			room = 64;
	FoundFile  *files = palloc(room * sizeof(FoundFile));
	uint64		total = size;
	int			i;

	while (dir != NULL && (entry = ReadDirExtended(dir, folder, LOG)) != NULL)
	{
		char	   *path = psprintf("%s/%s", folder, entry->d_name);
		size_t		length = strlen(entry->d_name);
		struct stat info;

		if (strncmp(entry->d_name, FILE_PREFIX, strlen(FILE_PREFIX)) != 0 || strcmp(path, file->path) == 0 || stat(path, &info) != 0)
			continue;
		if (length > 4 && strcmp(entry->d_name + length - 4, ".tmp") == 0)
		{
			if (info.st_mtime < time(NULL) - ABANDONED_SECONDS)
				unlink(path);
			continue;
		}
		if (strncmp(entry->d_name, file->family, strlen(file->family)) == 0)
		{
			unlink(path);
			continue;
		}
		if (n == room)
			files = repalloc(files, (room *= 2) * sizeof(FoundFile));
		files[n++] = (FoundFile) {path, info.st_mtime, info.st_size};
	}
	if (dir != NULL)
		FreeDir(dir);
	qsort(files, n, sizeof(FoundFile), compare_use);
	for (i = 0; i < n; i++)
	{
		total += (uint64) files[i].size;
		if (total > (uint64) ps_match_cache_size * 1024 * 1024)
			unlink(files[i].path);
	}
}

/* Makes the owner's index durable as a file, and takes the file's mapping for it.  What fails is no error: the index is there. */
static void
keep_index(MatchOwner *owner, const CacheFile *file)
{
	XLogRecPtr	written = GetXLogInsertRecPtr();
	uint32		header = written % wal_segment_size < XLOG_BLCKSZ ? SizeOfXLogLongPHD : SizeOfXLogShortPHD;

	if (owner->own.bytes > (size_t) ps_match_cache_size * 1024 * 1024)
		return;
	/* Rows whose transaction a crash could still undo must not be known by its number.  A page without records has no header yet. */
	if (written % XLOG_BLCKSZ == header)
		written -= header;
	XLogFlush(written);
	if (!mindex_write(&owner->own, file->path))
	{
		(void) MakePGDirectory(ps_spool_directory);
		(void) MakePGDirectory(ps_spool_folder_name());
		if (!mindex_write(&owner->own, file->path))
		{
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not keep match index \"%s\": %m", file->path)));
			return;
		}
	}
	mindex_free(&owner->own);
	owner->index = NULL;
	if (map_file(owner, file))
		keep_within_size(file, owner->index->bytes);
}

/* Builds the owner's index and keeps it, unless another session has done so meanwhile. */
static void
build_and_keep(MatchOwner *owner, const MatchSource *source, const CacheFile *file)
{
	Datum		lock = Int64GetDatum((int64) file->key);
	int			waits;

	/* Only so long: whoever builds may wait for something that this transaction holds. */
	for (waits = 0; !DatumGetBool(DirectFunctionCall1(pg_try_advisory_lock_int8, lock)); waits++)
	{
		if (map_file(owner, file))
			return;
		if (waits == MOST_WAITS)
		{
			match_build_index(owner, source->alone_query, file->key);
			return;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, WAIT_MILLISECONDS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	PG_TRY();
	{
		if (!map_file(owner, file))
		{
			match_build_index(owner, source->alone_query, file->key);
			keep_index(owner, file);
		}
	}
	PG_FINALLY();
	{
		DirectFunctionCall1(pg_advisory_unlock_int8, lock);
	}
	PG_END_TRY();
	if (owner->index == NULL)
		match_build_index(owner, source->alone_query, file->key);
}

/* Whether the table's index may be kept; names its file. */
static bool
find_file(MatchOwner *owner, const MatchSource *source, CacheFile *file)
{
	Relation	relation;
	CacheKey	key;
	bool		found;

	if (ps_match_cache_size == 0 || RecoveryInProgress())
		return false;
	relation = relation_open(source->relation, AccessShareLock);
	found = is_keepable(relation, source, &key) && RelationGetNumberOfBlocks(relation) >= SMALL_PAGES && may_read(source) &&
		take_fingerprint(relation, &key);
	relation_close(relation, NoLock);
	if (!found)
		return false;
	match_load_aliases(owner);
	key.aliases = brand_aliases_hash(&owner->aliases);
	name_file(&key, file);
	return true;
}

/* Gives the owner the index of the existing table, a kept one where that can be.  SPI must be connected. */
void
match_existing_index(MatchOwner *owner, const MatchSource *source)
{
	CacheFile	file;

	if (!find_file(owner, source, &file))
		match_build_index(owner, source->query, 0);
	else if (!map_file(owner, &file))
		build_and_keep(owner, source, &file);
}
