/*
 * match_catalog.c
 *	  The index of our own catalogue: its file, and the searches in it.
 *
 * The file is built once for a catalogue version, by whoever needs it first, and mapped by every session and worker, which so share it
 * through the page cache.  A session keeps the newest mapping that it used.  SQL (src/sql/60_match.sql) decides which version is the
 * present one and who builds; see sync.match_index_refresh().
 *
 * While the catalogue changes all the time, sync_match_one() goes on with the newest index for product_sync.match_index_staleness.
 */
#include "match/match_pg.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "product_sync.h"

#define MOST_CANDIDATES 20
#define SAMPLE_GROUP 4

/* The advisory lock of who builds; the one before it is sync.catalogue_lock(). */
#define BUILD_LOCK INT64CONST(5786931804123)

/* A temporary file of an index that nobody can be writing any more. */
#define ABANDONED_SECONDS 3600

PG_FUNCTION_INFO_V1(product_sync_match_index_build);
PG_FUNCTION_INFO_V1(product_sync_match_one);
PG_FUNCTION_INFO_V1(product_sync_match_feed);
PG_FUNCTION_INFO_V1(product_sync_match_shares);
PG_FUNCTION_INFO_V1(product_sync_match_mirror);

/* This session's mapping. */
static MatchIndex mapped_index;
static MatchScratch *mapped_scratch;
static bool is_mapped;
static time_t mapped_built;		/* when its file was written */
static TimestampTz looked_at;	/* when newer files were last looked for */

static const char *const catalogue_query =
"SELECT v.id::text, v.sku, coalesce(v.gtin, left(v.barcode, 64)), left(p.vendor, 1024), left(v.mpn, 1024),"
" concat_ws(' ', left(p.title, 1000), CASE WHEN v.options <> '{}' THEN (SELECT string_agg(left(o.value, 100), ' ')"
" FROM jsonb_each_text(v.options) o WHERE o.value <> 'Default Title') END),"
" CASE WHEN p.title = '' THEN left(p.description, 1024) END, v.price::text"
" FROM sync.variant v JOIN sync.product p ON p.id = v.product_id ORDER BY v.id";

/*
 * Title and vendor are those of the product's first row.  One pass and no joins, for new tables have no statistics and the planner would
 * take the feed for a few rows; links are looked up one by one.  A sample takes products in groups of SAMPLE_GROUP, since rows that repeat
 * each other often stand together.
 */
static const char *const feed_query =
"SELECT f.product_no, f.id::text, f.sku, left(f.variant ->> 'barcode', 64), f.vendor, left(f.variant ->> 'mpn', 1024),"
" concat_ws(' ', f.title, CASE WHEN jsonb_typeof(f.variant -> 'options') = 'object' THEN"
" (SELECT string_agg(left(o.value, 100), ' ') FROM jsonb_each_text(f.variant -> 'options') o WHERE o.value <> 'Default Title') END),"
" f.description, left(f.variant ->> 'price', 64)"
" FROM (SELECT i.id, i.product_no, i.sku, i.variant,"
"  first_value(left(i.product ->> 'title', 1000)) OVER w AS title,"
"  first_value(left(i.product ->> 'vendor', 1024)) OVER w AS vendor,"
"  first_value(CASE WHEN i.product ->> 'title' IS NULL THEN left(i.product ->> 'description', 1024) END) OVER w AS description"
"  FROM sync.feed_item i WHERE i.feed_file_id = $1 AND i.product_no BETWEEN $3 AND $4 AND i.kind <> 'image'"
"   AND (i.product_no - 1) / " CppAsString2(SAMPLE_GROUP) " % $5 = 0"
"  WINDOW w AS (PARTITION BY i.product_no ORDER BY i.kind, i.id)) f"
" WHERE f.sku IS NOT NULL"
" AND (SELECT s.id FROM sync.variant_source s WHERE s.connection = $2 AND s.supplier_sku = f.sku) IS NULL"
" ORDER BY f.id";

/* Variants of a shop's products.  A part number is the whole product's there, so it says something of an only variant. */
static const char *const mirror_query =
"SELECT w.no::integer, v.key, nullif(btrim(left(v.value ->> 'sku', 256)), ''), left(v.value ->> 'barcode', 64),"
" left(m.document ->> 'vendor', 1024),"
" CASE WHEN (SELECT count(*) FROM jsonb_object_keys(m.document -> 'variants')) = 1 THEN"
" left(coalesce(m.document -> 'metafields' ->> 'mm-google-shopping.mpn', m.document -> 'metafields' ->> 'custom.mpn'), 1024) END,"
" concat_ws(' ', left(m.document ->> 'title', 1000), CASE WHEN jsonb_typeof(v.value -> 'options') = 'object' THEN"
" (SELECT string_agg(left(o.value, 100), ' ') FROM jsonb_each_text(v.value -> 'options') o WHERE o.value <> 'Default Title') END),"
" CASE WHEN coalesce(m.document ->> 'title', '') = '' THEN left(m.document ->> 'description', 1024) END, left(v.value ->> 'price', 64)"
" FROM unnest($1) WITH ORDINALITY AS w (id, no) JOIN sync.shopify_product m ON m.id = w.id"
" CROSS JOIN LATERAL jsonb_each(CASE WHEN jsonb_typeof(m.document -> 'variants') = 'object' THEN m.document -> 'variants' END) v"
" WHERE v.key ~ '^[0-9]{1,18}$' AND jsonb_typeof(v.value) = 'object' ORDER BY w.no, v.key";

static char *
index_path(int64 version)
{
	return ps_spool_path(psprintf("match-%u-" INT64_FORMAT ".idx", MyDatabaseId, version));
}

static void
forget_mapping(void)
{
	if (is_mapped)
		mindex_free(&mapped_index);
	scratch_free(mapped_scratch);
	mapped_scratch = NULL;
	is_mapped = false;
}

/* Maps the file of a version.  Returns false, with the log saying why unless it is just missing, where that cannot be. */
static bool
map_version(int64 version)
{
	char	   *path;
	struct stat info;
	IndexStatus status;

	if (is_mapped && mapped_index.version == (uint64) version)
		return true;
	forget_mapping();
	path = index_path(version);
	if (stat(path, &info) != 0)
		info.st_mtime = 0;
	status = mindex_open(&mapped_index, path);
	if (status == INDEX_OK && mapped_index.version == (uint64) version)
	{
		is_mapped = true;
		mapped_built = info.st_mtime;
		return true;
	}
	if (status == INDEX_OK)
		mindex_free(&mapped_index);
	if (status != INDEX_MISSING)
		ereport(LOG,
				(errmsg("match index \"%s\" is %s; it will be built again", path,
						status == INDEX_OK ? "of another version" : mindex_status_text(status))));
	return false;
}

/*
 * Walks this database's index files.  Those of versions before outdated are removed, and so is what a killed builder left.  Returns the
 * newest version up to latest, 0 where there is none.
 */
static int64
walk_files(int64 outdated, int64 latest)
{
	char	   *prefix = psprintf("match-%u-", MyDatabaseId);
	char	   *folder = ps_spool_folder();
	DIR		   *dir = AllocateDir(folder);
	struct dirent *entry;
	int64		newest = 0;

	while (dir != NULL && (entry = ReadDirExtended(dir, folder, LOG)) != NULL)
	{
		char	   *rest;
		char	   *path;
		struct stat info;
		int64		found;

		if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		found = strtoll(entry->d_name + strlen(prefix), &rest, 10);
		path = psprintf("%s/%s", folder, entry->d_name);
		if ((strcmp(rest, ".idx") == 0 && found < outdated) ||
			(outdated > 0 && strlen(rest) > 4 && strcmp(rest + strlen(rest) - 4, ".tmp") == 0 && stat(path, &info) == 0 &&
			 info.st_mtime < time(NULL) - ABANDONED_SECONDS))
			unlink(path);
		else if (strcmp(rest, ".idx") == 0 && found <= latest && found > newest)
			newest = found;
	}
	if (dir != NULL)
		FreeDir(dir);
	return newest;
}

/* Builds and writes the index file of a version.  Returns the number of items. */
static int64
build_file(int64 version)
{
	MemoryContext old = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(old, "match index", ALLOCSET_DEFAULT_SIZES);
	MatchOwner *owner;
	uint32_t	n_items;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	MemoryContextSwitchTo(work);
	owner = match_owner_create(work);
	owner->keep_texts = true;
	match_build_index(owner, catalogue_query, (uint64) version);
	if (!mindex_write(&owner->own, index_path(version)))
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write match index \"%s\": %m", index_path(version)),
				 errhint("It needs about %zu MB in product_sync.spool_directory.", owner->own.bytes / (1024 * 1024) + 1)));
	n_items = owner->own.n_items;
	walk_files(version, 0);
	SPI_finish();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(work);
	return n_items;
}

/*
 * sync.match_index_build(version): builds the index file of this version from the catalogue as this statement sees it, unless a sound one
 * is there.  Returns the number of items.
 */
Datum
product_sync_match_index_build(PG_FUNCTION_ARGS)
{
	int64		version = PG_GETARG_INT64(0);
	Datum		lock = Int64GetDatum(BUILD_LOCK);
	volatile int64 n_items = 0;

	if (map_version(version))
		PG_RETURN_INT64(mapped_index.n_items);
	/* Of several who need it one builds; the others wait and find it done.  Not until the transaction ends: that may be long. */
	DirectFunctionCall1(pg_advisory_lock_int8, lock);
	PG_TRY();
	{
		n_items = map_version(version) ? (int64) mapped_index.n_items : build_file(version);
	}
	PG_FINALLY();
	{
		DirectFunctionCall1(pg_advisory_unlock_int8, lock);
	}
	PG_END_TRY();
	PG_RETURN_INT64(n_items);
}

/* A number that a query without arguments gives; its plan is kept in *plan. */
static int64
query_number(SPIPlanPtr *plan, const char *query)
{
	bool		isnull = true;
	int64		value = 0;

	if (*plan == NULL)
	{
		SPIPlanPtr	made = SPI_prepare(query, 0, NULL);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "could not prepare %s", query);
		*plan = made;
	}
	if (SPI_execute_plan(*plan, NULL, NULL, false, 1) == SPI_OK_SELECT && SPI_processed == 1)
		value = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (isnull)
		elog(ERROR, "no result from %s", query);
	SPI_freetuptable(SPI_tuptable);
	return value;
}

static int64
present_version(void)
{
	static SPIPlanPtr plan;

	return query_number(&plan, "SELECT sync.catalogue_version()");
}

/* The first version of the present tables; files of lower ones are of tables that were dropped. */
static int64
first_version(void)
{
	static SPIPlanPtr plan;

	return query_number(&plan, "SELECT s.seqstart FROM pg_catalog.pg_sequence s"
						" WHERE s.seqrelid = 'sync.catalogue_version_seq'::pg_catalog.regclass");
}

/* Maps the index of the present version, which is built where there is none.  SPI is connected. */
static void
map_present(void)
{
	static SPIPlanPtr plan;
	int64		version = present_version();

	if (map_version(version))
		return;
	version = query_number(&plan, "SELECT sync.match_index_refresh()");
	if (!map_version(version))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("match index of catalogue version " INT64_FORMAT " was built but cannot be read", version),
				 errhint("See the server's log, and look at product_sync.spool_directory.")));
}

/*
 * Maps the index of a version, or a newer one where that is gone; what is gone from the catalogue since is for the caller to leave out.
 * Version 0: where it is not yet built.  SPI is connected.
 */
static void
map_version_or_newer(int64 version)
{
	int64		newest;

	if (version > 0 && map_version(version))
		return;
	newest = version > 0 ? walk_files(0, PG_INT64_MAX) : 0;
	if (newest == 0 || newest < version || newest < first_version() || !map_version(newest))
		map_present();
}

/*
 * Maps the index of the present version, or one that is not older than product_sync.match_index_staleness, which *stale tells.  Which files
 * there are is looked at once a second.  SPI is connected.
 */
static void
map_recent(bool *stale)
{
	int64		version = present_version();
	TimestampTz now = GetCurrentTimestamp();

	*stale = false;
	if (is_mapped && mapped_index.version == (uint64) version)
		return;
	if (ps_match_index_staleness > 0 && (!is_mapped || now - looked_at > USECS_PER_SEC))
	{
		int64		newest = walk_files(0, version);

		looked_at = now;
		if (newest > 0)
			map_version(newest);
	}
	*stale = ps_match_index_staleness > 0 && is_mapped && mapped_index.version <= (uint64) version &&
		mapped_index.version >= (uint64) first_version() && mapped_built >= time(NULL) - ps_match_index_staleness;
	if (!*stale)
		map_present();
	*stale = mapped_index.version != (uint64) version;
}

static void
need_scratch(void)
{
	if (mapped_scratch == NULL)
		mapped_scratch = scratch_create(&mapped_index);
	if (mapped_scratch == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory while matching products")));
}

/* The id of an existing item, which for the catalogue is a variant's. */
static char *
existing_id(const MatchFound *found)
{
	size_t		length;
	const char *id = mindex_item_id(&mapped_index, found->item, &length);

	return pnstrdup(id, length);
}

/* Leaves those out whose variant is gone.  Returns how many stay.  SPI is connected. */
static int
drop_gone(MatchFound *found, int n)
{
	static SPIPlanPtr plan;
	Datum		ids[MOST_CANDIDATES];
	Datum		array;
	int			kept = 0;
	int			i;
	uint64		k;

	if (plan == NULL)
	{
		Oid			type = INT8ARRAYOID;
		SPIPlanPtr	made = SPI_prepare("SELECT v.id FROM sync.variant v WHERE v.id = ANY ($1)", 1, &type);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "could not prepare the look-up of variants");
		plan = made;
	}
	for (i = 0; i < n; i++)
		ids[i] = Int64GetDatum(strtoll(existing_id(&found[i]), NULL, 10));
	array = PointerGetDatum(construct_array(ids, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	if (SPI_execute_plan(plan, &array, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "the look-up of variants failed");
	for (i = 0; i < n; i++)
	{
		bool		there = false;
		bool		isnull;

		for (k = 0; k < SPI_processed && !there; k++)
			there = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[k], SPI_tuptable->tupdesc, 1, &isnull)) == DatumGetInt64(ids[i]);
		if (there)
			found[kept++] = found[i];
	}
	SPI_freetuptable(SPI_tuptable);
	return kept;
}

/* The variants that an item may be, at most want of them. */
static int
search_one(const MatchFields *fields, MatchFound *found, int want)
{
	MatchItem  *item = palloc(sizeof(MatchItem));
	bool		stale;
	int			n;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	map_recent(&stale);
	need_scratch();
	item_prepare(item, fields, mapped_index.seed, &mapped_index.aliases, false);
	item_note_begun(item, &fields->title);
	n = match_search(&mapped_index, mapped_scratch, item, found, stale ? MOST_CANDIDATES : want);
	if (stale && n > 0)
		n = drop_gone(found, n);
	SPI_finish();
	return Min(n, want);
}

/* sync_match_one(item, candidates) */
Datum
product_sync_match_one(PG_FUNCTION_ARGS)
{
	Jsonb	   *json = PG_GETARG_JSONB_P(0);
	int32		candidates = PG_GETARG_INT32(1);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const MatchCalibration *calibration = &calibration_shipped;
	MatchFields fields;
	MatchFound	found[MOST_CANDIDATES];
	float		log_odds[MOST_CANDIDATES];
	Datum		values[5] = {0};
	bool		nulls[5] = {false};
	int			n;
	int			i;

	if (candidates < 1 || candidates > MOST_CANDIDATES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("candidates must be from 1 to %d, not %d", MOST_CANDIDATES, candidates)));
	match_read_json(json, &fields);
	InitMaterializedSRF(fcinfo, 0);
	n = search_one(&fields, found, candidates);
	assign_alone(found, n, log_odds);
	nulls[0] = fields.id.data == NULL;
	if (!nulls[0])
		values[0] = PointerGetDatum(cstring_to_text_with_len(fields.id.data, (int) fields.id.length));
	for (i = 0; i < n; i++)
	{
		values[1] = CStringGetTextDatum(existing_id(&found[i]));
		values[2] = Float8GetDatum((double) assign_doubt(&found[i], calibrate(calibration, log_odds[i])));
		values[3] = CStringGetTextDatum(match_method_name(&found[i]));
		values[4] = JsonbPGetDatum(match_evidence(&found[i], 0, log_odds[i], calibration, false));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* A MatchReceiver: keeps what was found until all is. */
static void
keep_outcome(void *arg, const MatchOwner *owner, const MatchBatch *batch, int item)
{
	(void) owner;
	outcomes_add(arg, &batch->fields[item].id, batch->groups[item], batch->found + (size_t) item * (size_t) batch->want,
				 batch->n_found[item]);
}

static void
emit_feed_matches(ReturnSetInfo *result, const MatchOutcomes *outcomes, const MatchCalibration *calibration, MemoryContext row_context)
{
	size_t		i;

	for (i = 0; i < outcomes->n; i++)
	{
		const MatchRow *row = &outcomes->rows[i];
		const MatchRowId *row_id = &outcomes->row_ids[i];
		const MatchFound *found = &row->found[row->chosen < 0 ? 0 : row->chosen];
		MemoryContext old;
		Datum		values[6];
		bool		nulls[6] = {false};

		if (!outcome_worth(row))
			continue;
		old = MemoryContextSwitchTo(row_context);
		values[0] = Int64GetDatum(strtoll(pnstrdup(outcomes->ids + row_id->start, row_id->length), NULL, 10));
		values[1] = Int32GetDatum((int32) row_id->group);
		values[2] = Int64GetDatum(strtoll(existing_id(found), NULL, 10));
		values[3] = Float8GetDatum((double) row->confidence);
		values[4] = CStringGetTextDatum(match_method_name(found));
		values[5] = JsonbPGetDatum(match_evidence(found, outcomes->shares.shift, row->log_odds, calibration, row->shared));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row_context);
	}
}

/* Searches for the items that a query gives in the index of a version or a newer one.  SPI is connected. */
static void
search_query(MatchOutcomes *outcomes, int64 version, const char *query, int nargs, Oid *types, Datum *args)
{
	MatchOwner *owner;
	Portal		portal;

	map_version_or_newer(version);
	owner = match_owner_create(CurrentMemoryContext);
	owner->index = &mapped_index;
	portal = SPI_cursor_open_with_args(NULL, query, nargs, types, args, NULL, true, 0);
	match_search_rows(owner, portal, 2, MATCH_KEPT, keep_outcome, outcomes);
	SPI_cursor_close(portal);
}

/* The items of the feed rows from one product to another, of every step-th group of products. */
static void
search_feed(MatchOutcomes *outcomes, int64 version, Datum feed_file_id, Datum connection, int32 from, int32 to, int32 step)
{
	Oid			types[5] = {INT8OID, TEXTOID, INT4OID, INT4OID, INT4OID};
	Datum		args[5] = {feed_file_id, connection, Int32GetDatum(from), Int32GetDatum(to), Int32GetDatum(step)};

	search_query(outcomes, version, feed_query, 5, types, args);
}

/*
 * sync.match_feed(feed_file_id, connection, version, first product, last product, shift, repeats, slope, offset): the best match of each
 * variant of a range of a feed that has no link yet.  The last four are what the run knows of its supplier.
 */
Datum
product_sync_match_feed(PG_FUNCTION_ARGS)
{
	MatchOutcomes outcomes = {.shares = {.shift = PG_GETARG_FLOAT4(5), .repeats = PG_GETARG_FLOAT4(6)}};
	MatchCalibration calibration = {.slope = PG_GETARG_FLOAT4(7), .offset = PG_GETARG_FLOAT4(8)};
	MemoryContext row;

	InitMaterializedSRF(fcinfo, 0);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	search_feed(&outcomes, PG_GETARG_INT64(2), PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), PG_GETARG_INT32(3), PG_GETARG_INT32(4), 1);
	row = AllocSetContextCreate(CurrentMemoryContext, "match row", ALLOCSET_DEFAULT_SIZES);
	outcomes_settle(&outcomes, false, &calibration);
	emit_feed_matches((ReturnSetInfo *) fcinfo->resultinfo, &outcomes, &calibration, row);
	SPI_finish();
	return (Datum) 0;
}

/*
 * sync.match_shares(feed_file_id, connection, version, last product, step): what a sample of a feed tells of its supplier, for all its
 * ranges to go by: how many rows have a match, and whether rows repeat each other.
 */
Datum
product_sync_match_shares(PG_FUNCTION_ARGS)
{
	MatchOutcomes outcomes = {.shares = shares_unknown};
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	search_feed(&outcomes, PG_GETARG_INT64(2), PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), 1, PG_GETARG_INT32(3), Max(PG_GETARG_INT32(4), 1));
	if (!assign_estimate(outcomes.rows, outcomes.n, &outcomes.shares))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory while matching products")));
	SPI_finish();
	values[0] = Float4GetDatum(outcomes.shares.shift);
	values[1] = Float4GetDatum(outcomes.shares.repeats);
	values[2] = Int64GetDatum((int64) outcomes.n);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/*
 * sync.match_mirror(mirror ids, version, slope, offset): the best match of each variant of these products of a shop.  What they tell of the
 * shop as a supplier is estimated from themselves.
 */
Datum
product_sync_match_mirror(PG_FUNCTION_ARGS)
{
	MatchOutcomes outcomes = {.shares = shares_unknown};
	MatchCalibration calibration = {.slope = PG_GETARG_FLOAT4(2), .offset = PG_GETARG_FLOAT4(3)};
	Oid			type = INT8ARRAYOID;
	Datum		ids = PG_GETARG_DATUM(0);
	MemoryContext row;

	InitMaterializedSRF(fcinfo, 0);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	search_query(&outcomes, PG_GETARG_INT64(1), mirror_query, 1, &type, &ids);
	row = AllocSetContextCreate(CurrentMemoryContext, "match row", ALLOCSET_DEFAULT_SIZES);
	outcomes_settle(&outcomes, true, &calibration);
	emit_feed_matches((ReturnSetInfo *) fcinfo->resultinfo, &outcomes, &calibration, row);
	SPI_finish();
	return (Datum) 0;
}
