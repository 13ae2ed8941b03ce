/*
 * match_rows.c
 *	  Rows of a query as items, streamed through a cursor, and indexes built from them.
 *
 * An index is memory of malloc, not of a memory context, since the kernel knows nothing of those; a reset callback of the context that
 * the index is meant to live in frees it, whatever way the function ends.
 */
#include "match/match_pg.h"

#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "product_sync.h"

/* The threads end before what they read is freed. */
static void
owner_free(void *arg)
{
	MatchOwner *owner = arg;

	batch_build_free(owner->build);
	batch_search_free(owner->search);
	batch_free(owner->batches[0]);
	batch_free(owner->batches[1]);
	mindex_abandon(owner->builder);
	mindex_free(&owner->own);
	brand_aliases_free(&owner->aliases);
	if (owner->pinned)
		match_cache_release();
	memset(owner, 0, offsetof(MatchOwner, callback));
}

/* An owner of an index that is freed with the context. */
MatchOwner *
match_owner_create(MemoryContext context)
{
	MatchOwner *owner = MemoryContextAllocZero(context, sizeof(MatchOwner));

	owner->callback.func = owner_free;
	owner->callback.arg = owner;
	MemoryContextRegisterResetCallback(context, &owner->callback);
	return owner;
}

static void
out_of_memory(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory while matching products")));
}

/* A number that nobody outside can foresee, so that hostile titles cannot aim at the hash tables. */
uint64
match_seed(void)
{
	uint64		seed;

	if (!pg_strong_random(&seed, sizeof(seed)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not get a random number")));
	return seed;
}

/* A column of type text; data stays NULL for NULL.  Points into the tuple or into the current memory context. */
static MatchText
read_text(HeapTuple tuple, TupleDesc desc, int column)
{
	MatchText	result = {NULL, 0};
	bool		isnull;
	Datum		datum = SPI_getbinval(tuple, desc, column, &isnull);

	if (!isnull)
	{
		text	   *value = DatumGetTextPP(datum);

		result.data = VARDATA_ANY(value);
		result.length = VARSIZE_ANY_EXHDR(value);
	}
	return result;
}

/* The same text as UTF-8, which the kernels read.  Text of a database that has no encoding stays as it is. */
MatchText
match_utf8(MatchText text)
{
	const char *converted = text.data;

	if (text.data != NULL && GetDatabaseEncoding() != PG_SQL_ASCII)
		converted = pg_server_to_any(text.data, (int) text.length, PG_UTF8);
	if (converted != text.data)
		text = (MatchText) {converted, strlen(converted)};
	return text;
}

/* A column of what is compared. */
static MatchText
read_utf8(HeapTuple tuple, TupleDesc desc, int column)
{
	return match_utf8(read_text(tuple, desc, column));
}

/* Reads the MATCH_COLUMNS columns of a row from number first on. */
void
match_read_row(HeapTuple tuple, TupleDesc desc, int first, MatchFields *fields)
{
	fields->id = read_text(tuple, desc, first);
	fields->sku = read_utf8(tuple, desc, first + 1);
	fields->gtin = read_utf8(tuple, desc, first + 2);
	fields->brand = read_utf8(tuple, desc, first + 3);
	fields->mpn = read_utf8(tuple, desc, first + 4);
	fields->title = read_utf8(tuple, desc, first + 5);
	fields->description = read_utf8(tuple, desc, first + 6);
	fields->price = match_read_price(read_text(tuple, desc, first + 7));
}

/* Makes the owner's two batches. */
static void
create_batches(MatchOwner *owner, int want)
{
	int			i;

	for (i = 0; i < 2; i++)
	{
		batch_free(owner->batches[i]);
		owner->batches[i] = batch_create(want);
		if (owner->batches[i] == NULL)
			out_of_memory();
	}
}

/*
 * Fetches rows into a batch.  The MATCH_COLUMNS columns begin at number first; where that is 2, the first is an integer, the item's group.
 * Rows without an id are left out, since nothing could be said of them.  Returns false when there were no more rows.
 */
static bool
fetch_batch(Portal portal, int first, int most, MatchBatch *batch, MemoryContext context)
{
	MemoryContext old;
	uint64		i;

	CHECK_FOR_INTERRUPTS();
	batch_clear(batch);
	SPI_cursor_fetch(portal, true, most);
	old = MemoryContextSwitchTo(context);
	for (i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		MatchFields fields;
		bool		isnull = true;
		int64		group = 0;

		match_read_row(tuple, SPI_tuptable->tupdesc, first, &fields);
		if (first == 2)
			group = DatumGetInt32(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull));
		if (fields.id.data != NULL && !batch_add(batch, &fields, isnull ? 0 : group))
			out_of_memory();
	}
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
	MemoryContextReset(context);
	return i > 0;
}

/* Builds the owner's index from a query that gives the MATCH_COLUMNS columns.  SPI must be connected. */
void
match_build_index(MatchOwner *owner, const char *query, uint64 version)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "match batch", ALLOCSET_DEFAULT_SIZES);
	Portal		portal = SPI_cursor_open_with_args(NULL, query, 0, NULL, NULL, NULL, true, 0);
	int			turn = 0;

	match_load_aliases(owner);
	owner->builder = mindex_begin(match_seed(), version, &owner->aliases);
	if (owner->builder == NULL)
		out_of_memory();
	if (owner->keep_texts)
		mindex_keep_texts(owner->builder);
	owner->build = batch_build_create(owner->builder, ps_match_threads);
	if (owner->build == NULL)
		out_of_memory();
	create_batches(owner, 0);
	for (; fetch_batch(portal, 1, BUILD_BATCH, owner->batches[turn], context); turn = 1 - turn)
		if (!batch_build_add(owner->build, owner->batches[turn]))
			out_of_memory();
	SPI_cursor_close(portal);
	MemoryContextDelete(context);
	if (!batch_build_finish(owner->build, &owner->own))
		out_of_memory();
	owner->builder = NULL;
	owner->index = &owner->own;
	batch_build_free(owner->build);
	owner->build = NULL;
}

/*
 * Searches the owner's index for each row of a portal, whose columns are those of fetch_batch(), and gives what was found to receive().
 * While the threads search for a batch, the next is fetched.
 */
void
match_search_rows(MatchOwner *owner, Portal portal, int first, int want, MatchReceiver receive, void *arg)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "match batch", ALLOCSET_DEFAULT_SIZES);
	int			turn = 0;
	bool		more;

	create_batches(owner, want);
	owner->search = batch_search_create(owner->index, ps_match_threads);
	if (owner->search == NULL)
		out_of_memory();
	more = fetch_batch(portal, first, MATCH_BATCH, owner->batches[turn], context);
	while (more)
	{
		MatchBatch *batch = owner->batches[turn];
		int			i;

		batch_search_start(owner->search, batch);
		turn = 1 - turn;
		more = fetch_batch(portal, first, MATCH_BATCH, owner->batches[turn], context);
		batch_search_wait(owner->search);
		for (i = 0; i < batch->n; i++)
			receive(arg, owner, batch, i);
	}
	batch_search_free(owner->search);
	owner->search = NULL;
	MemoryContextDelete(context);
}
