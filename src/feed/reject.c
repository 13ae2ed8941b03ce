/*
 * reject.c
 *	  Records of a feed that could not be used, written to sync.feed_reject in batches.  All are counted; so many are kept that a person
 *	  can see what is wrong with a feed that is broken throughout, and no more.
 */
#include "feed/load.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "feed/feed_sql.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define STORED			100000	/* rejects of a file that are kept */
#define BATCH			500
#define RECORD_BYTES	500		/* of a record's text that are kept */
#define VALUE_BYTES		200

enum
{
	SKU,
	HEADER,
	VALUE,
	REASON,
	RECORD,
	TEXTS
};

struct FeedRejects
{
	int64		feed_file_id;
	int64		count;
	int			waiting;
	Datum		lines[BATCH];
	Datum		texts[TEXTS][BATCH];
	bool		nulls[TEXTS][BATCH];
	MemoryContext context;		/* of the waiting texts */
};

FeedRejects *
feed_rejects_create(int64 feed_file_id)
{
	FeedRejects *rejects = palloc0(sizeof(FeedRejects));

	rejects->feed_file_id = feed_file_id;
	rejects->context = AllocSetContextCreate(CurrentMemoryContext, "feed rejects", ALLOCSET_DEFAULT_SIZES);
	return rejects;
}

static void
set_text(FeedRejects *rejects, int which, const char *raw, size_t len, size_t max)
{
	rejects->nulls[which][rejects->waiting] = raw == NULL;
	rejects->texts[which][rejects->waiting] = raw == NULL ? (Datum) 0 : CStringGetTextDatum(feed_presentable(raw, len, max));
}

/* Counts a rejected record and keeps it; the caller is connected to SPI.  sku may be NULL. */
void
feed_rejects_add(FeedRejects *rejects, const CsvRecord *record, const FeedCell *sku, const FeedFault *fault)
{
	MemoryContext caller;

	if (rejects->count++ >= STORED)
		return;
	caller = MemoryContextSwitchTo(rejects->context);
	rejects->lines[rejects->waiting] = Int64GetDatum((int64) record->line);
	set_text(rejects, SKU, sku == NULL || sku->len == 0 ? NULL : sku->text, sku == NULL ? 0 : sku->len, VALUE_BYTES);
	set_text(rejects, HEADER, fault->header, fault->header == NULL ? 0 : strlen(fault->header), VALUE_BYTES);
	set_text(rejects, VALUE, fault->value, fault->value_len, VALUE_BYTES);
	set_text(rejects, REASON, fault->reason, strlen(fault->reason), VALUE_BYTES * 2);
	set_text(rejects, RECORD, record->raw, record->raw_len, RECORD_BYTES);
	MemoryContextSwitchTo(caller);
	if (++rejects->waiting == BATCH)
		feed_rejects_flush(rejects);
}

/* Writes what waits. */
void
feed_rejects_flush(FeedRejects *rejects)
{
	static const char command[] =
		"INSERT INTO sync.feed_reject (feed_file_id, line, sku, header, value, reason, record) "
		"SELECT $1, r.* FROM unnest($2, $3, $4, $5, $6, $7) r";
	Oid			types[TEXTS + 2] = {INT8OID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID};
	Datum		values[TEXTS + 2];
	MemoryContext caller;
	int			dims[1] = {rejects->waiting};
	int			lbs[1] = {1};

	if (rejects->waiting == 0)
		return;
	caller = MemoryContextSwitchTo(rejects->context);
	values[0] = Int64GetDatum(rejects->feed_file_id);
	values[1] = PointerGetDatum(construct_array(rejects->lines, rejects->waiting, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	for (int i = 0; i < TEXTS; i++)
		values[i + 2] = PointerGetDatum(construct_md_array(rejects->texts[i], rejects->nulls[i], 1, dims, lbs, TEXTOID, -1, false,
														   TYPALIGN_INT));
	if (SPI_execute_with_args(command, TEXTS + 2, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not insert into sync.feed_reject");
	MemoryContextSwitchTo(caller);
	MemoryContextReset(rejects->context);
	rejects->waiting = 0;
}

/* How many records were rejected, kept or not. */
int64
feed_rejects_count(const FeedRejects *rejects)
{
	return rejects->count;
}
