/*
 * match_rows.c
 *	  Rows of a query as items, streamed through a cursor, and indexes built from them.
 *
 * An index is memory of malloc, not of a memory context, since the kernel knows nothing of those; a reset callback of the context that
 * the index is meant to live in frees it, whatever way the function ends.
 */
#include "match/match_pg.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

static void
owner_free(void *arg)
{
	MatchOwner *owner = arg;

	mindex_abandon(owner->builder);
	mindex_free(&owner->index);
	scratch_free(owner->scratch);
	owner->builder = NULL;
	owner->scratch = NULL;
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

/* Makes the room that searches in the owner's index need. */
void
match_need_scratch(MatchOwner *owner)
{
	if (owner->scratch == NULL)
		owner->scratch = scratch_create(&owner->index);
	if (owner->scratch == NULL)
		out_of_memory();
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

/* Reads the MATCH_COLUMNS columns of a row from number first on. */
void
match_read_row(HeapTuple tuple, TupleDesc desc, int first, MatchFields *fields)
{
	fields->id = read_text(tuple, desc, first);
	fields->sku = read_text(tuple, desc, first + 1);
	fields->gtin = read_text(tuple, desc, first + 2);
	fields->brand = read_text(tuple, desc, first + 3);
	fields->mpn = read_text(tuple, desc, first + 4);
	fields->title = read_text(tuple, desc, first + 5);
	fields->description = read_text(tuple, desc, first + 6);
	fields->price = match_read_price(read_text(tuple, desc, first + 7));
}

/*
 * Builds the owner's index from a query that gives the MATCH_COLUMNS columns.  SPI must be connected.  Rows without an id are left out,
 * since nothing could be said of them.
 */
void
match_build_index(MatchOwner *owner, const char *query, uint64 version)
{
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "match batch", ALLOCSET_DEFAULT_SIZES);
	Portal		portal = SPI_cursor_open_with_args("match_existing", query, 0, NULL, NULL, NULL, true, 0);

	owner->builder = mindex_begin(match_seed(), version);
	if (owner->builder == NULL)
		out_of_memory();
	for (;;)
	{
		MemoryContext old;
		uint64		i;

		SPI_cursor_fetch(portal, true, MATCH_BATCH);
		if (SPI_processed == 0)
			break;
		old = MemoryContextSwitchTo(batch);
		for (i = 0; i < SPI_processed; i++)
		{
			MatchFields fields;

			match_read_row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &fields);
			if (fields.id.data != NULL && !mindex_add(owner->builder, &fields))
				out_of_memory();
		}
		MemoryContextSwitchTo(old);
		SPI_freetuptable(SPI_tuptable);
		MemoryContextReset(batch);
		CHECK_FOR_INTERRUPTS();
	}
	SPI_freetuptable(SPI_tuptable);
	SPI_cursor_close(portal);
	MemoryContextDelete(batch);
	if (!mindex_finish(owner->builder, &owner->index))
		out_of_memory();
	owner->builder = NULL;
}
